"""Plots of benchmarks: panels of lines over axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.errors import ConfigError
from facerestore.pictures.plots import new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

PANEL_INCHES = (5.6, 3.9)
COLUMNS = 2
MOST_NAMED = 6
"""Places of points along the lower axis up to which each is named, instead of round numbers."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points that belong together, joined in their order.

    Attributes:
        name: in the legend.
        points: (x, y) each.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel.

    Attributes:
        title: what is shown.
        x_label: of the lower axis, with its unit.
        lines: at least one, with at least one point.
        y_label: of the other axis, with its unit.
        log_x: the lower axis is logarithmic; then all its numbers are above 0.
        log_y: so is the other.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        """Check that there is something to draw.

        Raises:
            ConfigError: there is not, or a logarithmic axis would have to show 0.
        """
        if not self.lines or not all(line.points for line in self.lines):
            raise ConfigError(f"the plot '{self.title}' has no points to draw")
        for logarithmic, which in ((self.log_x, 0), (self.log_y, 1)):
            least = min(point[which] for line in self.lines for point in line.points)
            if logarithmic and least <= 0:
                raise ConfigError(f"a logarithmic plot cannot show {least:g}; give numbers above 0")


def write_plots(path: Path, plots: Sequence[Plot]) -> Path:
    """Write panels as a PNG, whole or not at all, and return its path; an existing file is replaced.

    Raises:
        ImageError: the name does not end in .png, or the file cannot be written.
        ConfigError: there is nothing to draw, or matplotlib is not installed.
    """
    if not plots:
        raise ConfigError("there is no plot to draw; give one")
    figure, panels = new_figure(len(plots), columns=COLUMNS, panel_inches=PANEL_INCHES)
    for axes, plot in zip(panels, plots, strict=True):
        _draw(axes, plot)
    return write_figure(path, figure)


def _draw(axes: Axes, plot: Plot) -> None:
    for line in plot.lines:
        axes.plot(*zip(*line.points, strict=True), marker="o", markersize=4, label=line.name)
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    if plot.log_x:
        axes.set_xscale("log")
    if plot.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    places = sorted({point[0] for line in plot.lines for point in line.points})
    if len(places) <= MOST_NAMED:
        axes.set_xticks(places)
        axes.set_xticks([], minor=True)
    for axis in (axes.xaxis, axes.yaxis):
        _write_plainly(axis)
    if len(plot.lines) > 1:
        axes.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
        )  # beside, where it hides nothing


def _write_plainly(axis: Axis) -> None:
    """Write numbers as people do, 1,000 and 0.01, and not as powers of ten."""
    axis.set_major_formatter(lambda value, _: f"{value:,.6g}")

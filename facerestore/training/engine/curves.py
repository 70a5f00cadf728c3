"""The curves of a run as one picture: each validation metric and each term of the losses over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.pictures.plots import new_figure, write_figure
from facerestore.training.engine.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = (4.0, 2.4)
COLUMNS = 3
METRIC_COLOUR, TERM_COLOUR, BASELINE_COLOUR = "#2682b4", "#d6603c", "#969696"
FEW = 20
"""Values up to which each gets a dot: one alone makes no line."""

LOG_RATIO = 30.0
"""A term whose largest value is this many times its smallest is drawn on a logarithmic scale."""

BASELINE = "_input"
"""Ends the name of a metric of the input, which is drawn beside that of the result."""

APART = frozenset({"step", "seconds", "rate"})
"""What a line of the log holds beside terms."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line: (N,) steps and (N,) values."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One plot.

    Attributes:
        title: name of the metric or term.
        curve: what is shown.
        colour: of its line.
        baseline: the same metric of the input, or None.
        smooth: draw a running mean over the values, which scatter from batch to batch.
    """

    title: str
    curve: Curve
    colour: str
    baseline: Curve | None = None
    smooth: bool = False


def plot_run(run: Path, out: Path) -> Path:
    """Write the curves of a run as a PNG and return its path.

    Raises:
        ConfigError: the folder holds no run, or its log no step yet; or matplotlib is not installed.
        ImageError: the picture cannot be written.
    """
    records = RunFolder(run, main=False).records()
    panels = panels_of(records)
    if not panels:
        raise ConfigError(f"'{run}' has no log of any step to draw; is it the folder of a run?")
    return write_figure(out, curves_figure(panels))


def panels_of(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return one panel for each validation metric, then one for each term, of the lines of a log.

    Lines of steps hold a rate and those of validations hold none. Norms of gradients are left out.
    """
    metrics = _curves_by_name([record for record in records if "rate" not in record])
    terms = _curves_by_name([record for record in records if "rate" in record])
    panels = [
        Panel(name, curve, METRIC_COLOUR, baseline=metrics.get(name + BASELINE))
        for name, curve in metrics.items()
        if not (name.endswith(BASELINE) and name.removesuffix(BASELINE) in metrics)
    ]
    shown = {name: curve for name, curve in terms.items() if "/" not in name}
    return panels + [Panel(name, curve, TERM_COLOUR, smooth=True) for name, curve in shown.items()]


def _curves_by_name(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the finite values of each name over the steps, in the order in which names come."""
    names = dict.fromkeys(name for record in records for name in record if name not in APART)
    found = {}
    for name in names:
        pairs = [
            (record["step"], record[name])
            for record in records
            if name in record and math.isfinite(record[name])
        ]
        if pairs:
            steps, values = np.array(pairs, dtype=np.float64).T
            found[name] = Curve(steps, values)
    return found


def curves_figure(panels: Sequence[Panel]) -> Figure:
    """Return a figure with the panels in rows.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, places = new_figure(len(panels), columns=COLUMNS, panel_inches=PANEL_INCHES)
    last_step = max(float(panel.curve.steps.max()) for panel in panels)
    for axes, panel in zip(places, panels, strict=True):
        axes.set_xlim(0, 1.02 * last_step or 1)
        _draw_panel(axes, panel)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel; its title says where the curve ends."""
    steps, values = panel.curve.steps, panel.curve.values
    dots: dict[str, Any] = {"marker": "o" if len(steps) <= FEW else "", "markersize": 3}
    ends = f"{values[-1]:.4g}"
    if panel.baseline is not None:
        axes.plot(panel.baseline.steps, panel.baseline.values, BASELINE_COLOUR, **dots)
        ends += f" (input {panel.baseline.values[-1]:.4g})"
    axes.plot(steps, values, panel.colour, alpha=0.35 if panel.smooth else 1, **dots)
    if panel.smooth:
        axes.plot(steps, running_mean(values), panel.colour, **dots)
        if values.min() > 0 and values.max() / values.min() > LOG_RATIO:
            axes.set_yscale("log")
    axes.set_title(panel.title, loc="left")
    axes.set_title(ends, loc="right", fontsize="medium")


def running_mean(values: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
    """Return the mean over a window of this share of all values, narrower at the ends so that it stays centred."""
    half = int(share * len(values) / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    reach = np.minimum(half, np.minimum(index, len(values) - 1 - index))
    means: NDArray[np.float64] = (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)
    return means

"""Plots for people: panels over axes, drawn by matplotlib without a display, and written as PNG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.errors import ImageError, required_package
from facerestore.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = 'pip install "facerestore[train]" or "facerestore[bench]"'
DOTS_PER_INCH = 100


def new_figure(count: int, *, columns: int, panel_inches: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its ``count`` panels, in rows of ``columns``.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    required_package("matplotlib", what="a plot", install=INSTALL)
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = (columns * panel_inches[0], rows * panel_inches[1])
    figure = Figure(
        figsize=size, dpi=DOTS_PER_INCH, layout="constrained"
    )  # no pyplot: no window, nothing global
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def write_figure(path: Path, figure: Figure) -> Path:
    """Write a figure as a PNG, whole or not at all, and return its path; an existing file is replaced.

    Raises:
        ImageError: the name does not end in .png, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise ImageError(f"plots are written as PNG; give a name such as '{path.with_suffix('.png')}'")
    try:
        with written_whole(path) as stream:
            figure.savefig(stream, format="png")
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error
    return path

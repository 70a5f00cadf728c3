"""Plots as pictures, drawn with Pillow: panels with axes, linear or logarithmic, and lines with a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facerestore.errors import ConfigError, ImageError
from facerestore.files import written_whole
from facerestore.pictures.layout import GAP_PX, INK, PAPER

_Colour: TypeAlias = tuple[int, int, int]

# The look: chosen by eye; nothing else depends on it.
OVERSAMPLING = 2
"""Pictures are drawn this much larger and reduced, since Pillow's lines have hard edges."""
GRID_COLOUR: _Colour = (228, 226, 222)
FINE_COLOUR: _Colour = (241, 240, 237)
"""Of the finer grid between the numbers of a logarithmic axis."""
AXIS_COLOUR: _Colour = (150, 150, 150)
COLOURS: tuple[_Colour, ...] = (
    (38, 130, 180),
    (214, 96, 60),
    (66, 150, 90),
    (150, 100, 170),
    (190, 150, 40),
    (110, 110, 110),
    (176, 62, 112),
)
"""Of the lines, in their order; after the last the first comes again."""
PANEL_PX = (560, 390)
COLUMNS = 2
AXIS_PX, RIGHT_PX, TITLE_PX, FOOT_PX = 74, 104, 60, 54
"""Room for the numbers on the left, the names of the lines on the right, the title above, the lower axis below."""
FONT_PX = 14
MOST_NAMED = 6
"""Places of points along the lower axis up to which each is named, instead of round numbers."""
LEAST_APART_PX = 34
"""Between two numbers of the lower axis."""
FEW_DECADES = 2
"""Up to as many a logarithmic axis names 2 and 5 as well."""
LOGARITHMIC = " (logarithmic)"
"""Is written behind the name of such an axis."""
LINE_PX, DOT_PX = 2, 3
SPREADING_ROUNDS = 100
"""Of moving names of lines apart, two at a time; six that begin in one place are apart well before."""
MARGIN = 0.05
"""Share of an axis that is left free beyond the lowest and highest value."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of numbers along one side of a plot.

    Attributes:
        low: at its beginning.
        high: at its end.
        logarithmic: equal steps are equal factors.
    """

    low: float
    high: float
    logarithmic: bool = False

    def __post_init__(self) -> None:
        """Check that the range is one.

        Raises:
            ConfigError: it is empty, or a logarithmic one holds 0.
        """
        if not self.low < self.high or (self.logarithmic and self.low <= 0):
            kind = "logarithmic " if self.logarithmic else ""
            raise ConfigError(
                f"a {kind}axis from {self.low:g} to {self.high:g} cannot be drawn; give another range"
            )

    def share(self, value: float) -> float:
        """Return where a number lies, 0 at the beginning and 1 at the end."""
        low, high, found = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return (found - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round numbers within the range; of a logarithmic one powers of ten, or 1, 2 and 5 times these."""
        if not self.logarithmic:
            return ticks(self.low, self.high)
        decades = math.log10(self.high / self.low)
        return self._multiples((1,) if decades > FEW_DECADES else (1, 2, 5))

    def fine_ticks(self) -> list[float]:
        """Return the numbers of the finer grid: of a logarithmic axis 1 to 9 times the powers of ten, else none."""
        return self._multiples(tuple(range(1, 10))) if self.logarithmic else []

    def _multiples(self, factors: Sequence[int]) -> list[float]:
        """Return these multiples of the powers of ten, as far as they lie within the range."""
        powers = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        found = (float(f"{factor}e{power}") for power in powers for factor in factors)
        return [number for number in found if self.low <= number <= self.high]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about ``count`` round numbers between two."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(low / width), math.floor(high / width)
    return [number * width for number in range(first, last + 1)]


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
            ConfigError: there is not.
        """
        if not self.lines or not all(line.points for line in self.lines):
            raise ConfigError(f"the plot '{self.title}' has no points to draw")

    def axes(self) -> tuple[Axis, Axis]:
        """Return the axes that hold all points; a linear one of values begins at 0."""
        x, y = zip(*(point for line in self.lines for point in line.points), strict=True)
        below = min(y) if self.log_y else min(0.0, *y)
        return _axis(min(x), max(x), self.log_x), _axis(below, max(y), self.log_y)

    def named_places(self) -> list[float]:
        """Return the numbers along the lower axis: where points are, if these are few, else round ones."""
        places = sorted({point[0] for line in self.lines for point in line.points})
        axis = self.axes()[0]
        return _with_room(places, axis) if len(places) <= MOST_NAMED else axis.ticks()


def _with_room(places: Sequence[float], axis: Axis) -> list[float]:
    """Return the places without those that would be too close to the one before."""
    least = LEAST_APART_PX / (PANEL_PX[0] - AXIS_PX - RIGHT_PX)
    found: list[float] = []
    for place in places:
        if not found or axis.share(place) - axis.share(found[-1]) >= least:
            found.append(place)
    return found


def plain(number: float) -> str:
    """Return a number as people write it: 0.00002, 0.5, 12, 1,000; at most six digits that count."""
    decimals = max(0, 5 - math.floor(math.log10(abs(number)))) if number else 0
    text = f"{number:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _axis(low: float, high: float, logarithmic: bool) -> Axis:
    """Return an axis with some room beyond its numbers."""
    if logarithmic:
        if low <= 0:
            raise ConfigError(f"a logarithmic plot cannot show {low:g}; give numbers above 0")
        factor = (high / low) ** MARGIN if high > low else 2.0
        return Axis(low / factor, high * factor, logarithmic=True)
    room = MARGIN * (high - low) or abs(high) or 1.0
    return Axis(low - (0 if low == 0 else room), high + room)


def write_plots(path: Path, plots: Sequence[Plot]) -> Path:
    """Write panels as a PNG, whole or not at all, and return its path; an existing file is replaced.

    Raises:
        ImageError: the name does not end in .png, or the file cannot be written.
        ConfigError: there is nothing to draw.
    """
    if path.suffix.lower() != ".png":
        raise ImageError(f"plots are written as PNG; give a name such as '{path.with_suffix('.png')}'")
    picture = Image.fromarray(plots_picture(plots))
    try:
        with written_whole(path) as stream:
            picture.save(stream, format="PNG")
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error
    return path


def plots_picture(plots: Sequence[Plot]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB with the panels in rows.

    Raises:
        ConfigError: there are none.
    """
    if not plots:
        raise ConfigError("there is no plot to draw; give one")
    columns = min(COLUMNS, len(plots))
    rows = math.ceil(len(plots) / columns)
    width, height = PANEL_PX[0] + GAP_PX, PANEL_PX[1] + GAP_PX
    picture = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), PAPER)
    for index, plot in enumerate(plots):
        row, column = divmod(index, columns)
        picture.paste(_drawn(plot), (GAP_PX + column * width, GAP_PX + row * height))
    return np.asarray(picture)


def _drawn(plot: Plot) -> Image.Image:
    """Return one panel."""
    picture = Image.new("RGB", (OVERSAMPLING * PANEL_PX[0], OVERSAMPLING * PANEL_PX[1]), PAPER)
    draw = ImageDraw.Draw(picture)
    x, y = plot.axes()
    _grid(draw, x, y, plot.named_places())
    label = ImageFont.load_default(OVERSAMPLING * FONT_PX)
    _name(draw, plot)
    places = [[_place(x, y, *point) for point in line.points] for line in plot.lines]
    for index, points in enumerate(places):
        _draw_line(draw, points, COLOURS[index % len(COLOURS)])
    heights = spread_apart([points[-1][1] for points in places], OVERSAMPLING * (FONT_PX + 3))
    for index, (line, points, height) in enumerate(zip(plot.lines, places, heights, strict=True)):
        across = points[-1][0] + OVERSAMPLING * 8
        draw.text((across, height), line.name, fill=COLOURS[index % len(COLOURS)], font=label, anchor="lm")
    return picture.resize(PANEL_PX, Image.Resampling.LANCZOS)


def _name(draw: ImageDraw.ImageDraw, plot: Plot) -> None:
    """Write the title, what goes up below it, and what goes across under the middle of the lower axis."""
    title, label = (ImageFont.load_default(OVERSAMPLING * size) for size in (FONT_PX + 3, FONT_PX))
    left, right = OVERSAMPLING * AXIS_PX, OVERSAMPLING * (PANEL_PX[0] - RIGHT_PX)
    draw.text((left, 8), plot.title, fill=INK, font=title)
    up = plot.y_label + (LOGARITHMIC if plot.log_y else "")
    draw.text((left, OVERSAMPLING * (TITLE_PX - 10)), up, fill=AXIS_COLOUR, font=label, anchor="ls")
    across = plot.x_label + (LOGARITHMIC if plot.log_x else "")
    bottom = OVERSAMPLING * PANEL_PX[1] - 12
    draw.text(((left + right) / 2, bottom), across, fill=AXIS_COLOUR, font=label, anchor="ms")


def _draw_line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: _Colour) -> None:
    """Draw points with dots, joined."""
    draw.line(points, fill=colour, width=OVERSAMPLING * LINE_PX, joint="curve")
    radius = OVERSAMPLING * DOT_PX
    for left, top in points:
        draw.ellipse((left - radius, top - radius, left + radius, top + radius), fill=colour)


def spread_apart(heights: Sequence[float], least: float) -> list[float]:
    """Return heights in the same order, neighbours moved until about ``least`` apart; others stay where they are."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = [float(heights[index]) for index in order]
    for _ in range(SPREADING_ROUNDS):
        for index in range(1, len(moved)):
            lack = least - (moved[index] - moved[index - 1])
            if lack > 0:
                moved[index - 1] -= lack / 2
                moved[index] += lack / 2
    found = [0.0] * len(heights)
    for index, height in zip(order, moved, strict=True):
        found[index] = height
    return found


def _place(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    """Return where a point lies in a panel that is drawn ``OVERSAMPLING`` times larger, px."""
    width, height = PANEL_PX[0] - AXIS_PX - RIGHT_PX, PANEL_PX[1] - TITLE_PX - FOOT_PX
    return (
        OVERSAMPLING * (AXIS_PX + width * x.share(across)),
        OVERSAMPLING * (TITLE_PX + height * (1 - y.share(up))),
    )


def _grid(draw: ImageDraw.ImageDraw, x: Axis, y: Axis, places: Sequence[float]) -> None:
    """Draw the grid, the axes and their numbers; those of the lower axis at these places."""
    font = ImageFont.load_default(OVERSAMPLING * FONT_PX)
    for colour, values in ((FINE_COLOUR, y.fine_ticks()), (GRID_COLOUR, y.ticks())):
        for value in values:
            draw.line(
                (_place(x, y, x.low, value), _place(x, y, x.high, value)), fill=colour, width=OVERSAMPLING
            )
    for value in y.ticks():
        left, level = _place(x, y, x.low, value)
        draw.text((left - 12, level), plain(value), fill=INK, font=font, anchor="rm")
    corner = _place(x, y, x.low, y.low)
    for end in (_place(x, y, x.high, y.low), _place(x, y, x.low, y.high)):
        draw.line((corner, end), fill=AXIS_COLOUR, width=OVERSAMPLING)
    for value in places:
        across, bottom = _place(x, y, value, y.low)
        draw.line((across, bottom, across, bottom + 8), fill=AXIS_COLOUR, width=OVERSAMPLING)
        draw.text((across, bottom + 12), plain(value), fill=INK, font=font, anchor="mt")

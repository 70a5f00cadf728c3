"""The curves of a run as one picture: each validation metric and each term of the losses over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facerestore.errors import ConfigError, ImageError
from facerestore.files import written_whole
from facerestore.pictures.layout import GAP_PX, INK, PAPER
from facerestore.pictures.plots import GRID_COLOUR, OVERSAMPLING, Axis, ticks
from facerestore.training.engine.folder import RunFolder

_Colour: TypeAlias = tuple[int, int, int]

# The look: chosen by eye; nothing else depends on it.
PANEL_PX = (400, 240)
"""Width and height of one panel."""
COLUMNS = 3
AXIS_PX, RIGHT_PX, TITLE_PX, FOOT_PX = 58, 24, 28, 24
"""Room for the numbers on the left, half a number on the right, the title above and the steps below."""
FONT_PX = 13
METRIC_COLOUR: _Colour = (38, 130, 180)
TERM_COLOUR: _Colour = (214, 96, 60)
BASELINE_COLOUR: _Colour = (150, 150, 150)

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
    colour: _Colour
    baseline: Curve | None = None
    smooth: bool = False


def plot_run(run: Path, out: Path) -> Path:
    """Write the curves of a run as a PNG and return its path.

    Raises:
        ConfigError: the folder holds no run, or its log no step yet.
        ImageError: the picture cannot be written.
    """
    records = RunFolder(run, main=False).records()
    panels = panels_of(records)
    if not panels:
        raise ConfigError(f"'{run}' has no log of any step to draw; is it the folder of a run?")
    if out.suffix.lower() != ".png":
        raise ImageError(f"curves are written as PNG; give a name such as '{out.with_suffix('.png')}'")
    try:
        with written_whole(out) as stream:
            Image.fromarray(curves_picture(panels)).save(stream, format="PNG")
    except OSError as error:
        raise ImageError(f"'{out}' cannot be written: {error}") from error
    return out


def panels_of(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return one panel for each validation metric, then one for each term, of the lines of a log.

    Lines of steps hold a rate and those of validations hold none. Norms of gradients are left out.
    """
    metrics = _curves([record for record in records if "rate" not in record])
    terms = _curves([record for record in records if "rate" in record])
    panels = [
        Panel(name, curve, METRIC_COLOUR, baseline=metrics.get(name + BASELINE))
        for name, curve in metrics.items()
        if not (name.endswith(BASELINE) and name.removesuffix(BASELINE) in metrics)
    ]
    shown = {name: curve for name, curve in terms.items() if "/" not in name}
    return panels + [Panel(name, curve, TERM_COLOUR, smooth=True) for name, curve in shown.items()]


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
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


def curves_picture(panels: Sequence[Panel]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB with the panels in rows."""
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL_PX[0] + GAP_PX, PANEL_PX[1] + GAP_PX
    picture = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), PAPER)
    last_step = max(float(panel.curve.steps.max()) for panel in panels)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        picture.paste(_drawn(panel, last_step), (GAP_PX + column * width, GAP_PX + row * height))
    return np.asarray(picture)


@dataclass(frozen=True, slots=True)
class _Frame:
    """From steps and values to px of a panel that is drawn ``OVERSAMPLING`` times larger."""

    steps: Axis
    values: Axis

    def place(self, step: float, value: float) -> tuple[float, float]:
        width, height = PANEL_PX[0] - AXIS_PX - RIGHT_PX, PANEL_PX[1] - TITLE_PX - FOOT_PX
        x = AXIS_PX + width * self.steps.share(step)
        y = TITLE_PX + height * (1 - self.values.share(value))
        return OVERSAMPLING * x, OVERSAMPLING * y


def _drawn(panel: Panel, last_step: float) -> Image.Image:
    """Return one panel."""
    picture = Image.new("RGB", (OVERSAMPLING * PANEL_PX[0], OVERSAMPLING * PANEL_PX[1]), PAPER)
    draw = ImageDraw.Draw(picture)
    frame = _frame(panel, last_step)
    _axes(draw, frame)
    _title(draw, panel)
    if panel.baseline is not None:
        _line(draw, frame, panel.baseline, BASELINE_COLOUR, 2)
    if panel.smooth:
        pale = _blend(panel.colour, 0.35)
        _line(draw, frame, panel.curve, pale, 2)
        _line(draw, frame, Curve(panel.curve.steps, running_mean(panel.curve.values)), panel.colour, 4)
    else:
        _line(draw, frame, panel.curve, panel.colour, 4)
    return picture.resize(PANEL_PX, Image.Resampling.LANCZOS)


def _frame(panel: Panel, last_step: float) -> _Frame:
    values = (
        panel.curve.values if panel.baseline is None else np.r_[panel.curve.values, panel.baseline.values]
    )
    low, high = float(values.min()), float(values.max())
    logarithmic = panel.smooth and low > 0 and high / low > LOG_RATIO
    if not logarithmic:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
    return _Frame(Axis(0.0, last_step or 1.0), Axis(low, high, logarithmic=logarithmic))


def _axes(draw: ImageDraw.ImageDraw, frame: _Frame) -> None:
    """Draw the grid and its numbers."""
    font = ImageFont.load_default(OVERSAMPLING * FONT_PX)
    for value in frame.values.ticks():
        (left, y), (right, _) = frame.place(0, value), frame.place(frame.steps.high, value)
        draw.line((left, y, right, y), fill=GRID_COLOUR, width=OVERSAMPLING)
        draw.text((left - 12, y), f"{value:.6g}", fill=INK, font=font, anchor="rm")
    bottom = frame.place(0, frame.values.low)[1]
    for step in ticks(0, frame.steps.high):
        x = frame.place(step, frame.values.low)[0]
        draw.line((x, bottom, x, bottom + 6), fill=INK, width=OVERSAMPLING)
        draw.text((x, bottom + 10), f"{step:,.6g}", fill=INK, font=font, anchor="mt")


def _title(draw: ImageDraw.ImageDraw, panel: Panel) -> None:
    """Write what is shown, and where it ends."""
    font = ImageFont.load_default(OVERSAMPLING * (FONT_PX + 2))
    last = panel.curve.values[-1]
    ends = f"{last:.4g}"
    if panel.baseline is not None:
        ends += f" (input {panel.baseline.values[-1]:.4g})"
    draw.text((OVERSAMPLING * AXIS_PX, 4), panel.title, fill=panel.colour, font=font)
    draw.text((OVERSAMPLING * (PANEL_PX[0] - RIGHT_PX), 4), ends, fill=INK, font=font, anchor="ra")


def _line(draw: ImageDraw.ImageDraw, frame: _Frame, curve: Curve, colour: _Colour, width: int) -> None:
    points = [frame.place(s, v) for s, v in zip(curve.steps.tolist(), curve.values.tolist(), strict=True)]
    draw.line(points, fill=colour, width=width, joint="curve")
    if len(points) <= 20:  # so few that a dot helps, and one alone makes no line
        for x, y in points:
            draw.ellipse((x - width, y - width, x + width, y + width), fill=colour)


def running_mean(values: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
    """Return the mean over a window of this share of all values, narrower at the ends so that it stays centred."""
    half = int(share * len(values) / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    reach = np.minimum(half, np.minimum(index, len(values) - 1 - index))
    means: NDArray[np.float64] = (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)
    return means


def _blend(colour: _Colour, share: float) -> _Colour:
    red, green, blue = (
        round(share * ink + (1 - share) * paper) for ink, paper in zip(colour, PAPER, strict=True)
    )
    return red, green, blue

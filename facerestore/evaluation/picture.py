"""The best and the worst cases of a method as one picture: the input, the restored face, and the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from facerestore.evaluation.cases import CaseSource, Face, fit_face
from facerestore.evaluation.methods import INPUT, Method
from facerestore.evaluation.result import Evaluation, FaceResult, MetricFacts
from facerestore.pictures.layout import drawable

RANKED_BY = ("identity", "psnr", "ssim", "niqe")
"""By which metric's gain over the input cases are ranked: the first that was measured."""

SHOWN = 4
"""Best cases, and as many worst ones."""

CELL_PX = 256
_MARGIN_PX, _GAP_PX, _TEXT_PX, _TITLE_PX = 16, 8, 13, 20
_LINE_PX = 18
_PAPER, _INK, _GOOD, _BAD = (255, 255, 255), (40, 40, 40), (20, 110, 50), (160, 40, 30)
_METRICS_SHOWN = 4  # as many as stand below a cell in two lines


@dataclass(frozen=True, slots=True, eq=False)
class ShownCase:
    """One row of the picture: a face, its gain, and whether it is one of the best."""

    face: FaceResult
    gain: float
    is_best: bool


def ranking_metric(evaluation: Evaluation) -> MetricFacts | None:
    """Return the metric that cases are ranked by; None where none of `RANKED_BY` was measured."""
    measured = {metric.name: metric for metric in evaluation.face_metrics}
    return next((measured[name] for name in RANKED_BY if name in measured), None)


def ranked_cases(
    evaluation: Evaluation, method: str, metric: MetricFacts, *, shown: int = SHOWN
) -> list[ShownCase]:
    """Return the cases with the largest gains of a method over the input, then those with the smallest.

    No face is in both parts; faces without a value are in neither.
    """
    found = []
    for face in evaluation.faces:
        own, before = face.values[method].get(metric.name), face.values[INPUT].get(metric.name)
        if own is not None and before is not None:
            found.append((metric.sign * (own - before), face))
    found.sort(key=lambda item: -item[0])
    count = min(shown, len(found) // 2) if len(found) > 1 else len(found)
    best = [ShownCase(face, gain, True) for gain, face in found[:count]]
    worst = found[max(count, len(found) - count) :] if len(found) > 1 else []
    return best + [ShownCase(face, gain, False) for gain, face in reversed(worst)]


def case_picture(
    evaluation: Evaluation,
    source: CaseSource,
    method: Method,
    *,
    metric: MetricFacts,
    before: Method,
    on_face: Callable[[str], None] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture of the best (left) and worst (right) cases of a method; its faces are restored once more.

    Args:
        evaluation: what was found.
        source: reads the faces.
        method: whose cases are shown.
        metric: by whose gain they are ranked.
        before: the method of the row ``input``.
        on_face: called with the name of each face.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    size = int(evaluation.protocol["face_size"])
    files = {each.name: each for each in source.files}
    rows = []
    for case in ranked_cases(evaluation, method.name, metric):
        if on_face is not None:
            on_face(case.face.name)
        loaded = source.load(files[case.face.name], size)
        cells: list[tuple[str, Face]] = [
            (before.name, before.restore(loaded, size)),
            (method.name, method.restore(loaded, size)),
        ]
        if loaded.hq is not None:
            cells.append(("original", loaded.hq))
        rows.append((case, cells))
    return _draw_page(evaluation, method.name, metric, rows)


def _draw_page(
    evaluation: Evaluation,
    method: str,
    metric: MetricFacts,
    rows: Sequence[tuple[ShownCase, list[tuple[str, Face]]]],
) -> NDArray[np.uint8]:
    block = max(len(cells) for _, cells in rows) * (CELL_PX + _GAP_PX) - _GAP_PX
    best, worst = ([row for row in rows if row[0].is_best is wanted] for wanted in (True, False))
    height = _LINE_PX + CELL_PX + 3 * _LINE_PX + _GAP_PX
    top = _MARGIN_PX + 2 * _LINE_PX + _GAP_PX
    size = (3 * _MARGIN_PX + 2 * block, top + max(len(best), len(worst)) * height + _MARGIN_PX)
    page = PillowImage.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(page)
    _write_text(draw, (_MARGIN_PX, _MARGIN_PX), f"{method}: best and worst cases", _INK, _TITLE_PX)
    by = f"by the gain in {metric.title} over the input; {len(evaluation.faces)} faces"
    _write_text(draw, (_MARGIN_PX, _MARGIN_PX + _TITLE_PX + 4), by, _INK)
    for left, part in ((_MARGIN_PX, best), (2 * _MARGIN_PX + block, worst)):
        for number, (case, cells) in enumerate(part):
            _draw_row(page, draw, evaluation, metric, case, cells, (left, top + number * height))
    return np.asarray(page)


def _draw_row(
    page: PillowImage.Image,
    draw: ImageDraw.ImageDraw,
    evaluation: Evaluation,
    metric: MetricFacts,
    case: ShownCase,
    cells: Sequence[tuple[str, Face]],
    corner: tuple[int, int],
) -> None:
    left, top = corner
    word, colour = ("best", _GOOD) if case.is_best else ("worst", _BAD)
    title = f"{word}: {case.face.name} · gain {case.gain:+.{metric.decimals}f} {metric.unit}"
    _write_text(draw, (left, top), title, colour)
    for name, face in cells:
        shown = fit_face(face, CELL_PX, enlarge=cv2.INTER_NEAREST)
        page.paste(PillowImage.fromarray(shown), (left, top + _LINE_PX))
        lines = [name, *_value_lines(evaluation, case.face, name)]
        for number, line in enumerate(lines):
            _write_text(draw, (left, top + _LINE_PX + CELL_PX + 2 + number * _LINE_PX), line, _INK)
        left += CELL_PX + _GAP_PX


def _value_lines(evaluation: Evaluation, face: FaceResult, method: str) -> list[str]:
    """Return two lines of the face's values under a method; none for the original."""
    if method not in face.values:
        return []
    found = []
    for metric in evaluation.face_metrics:
        value = face.values[method].get(metric.name)
        if value is not None:
            unit = "%" if metric.unit.startswith("%") else f" {metric.unit}" if metric.unit else ""
            short = metric.title.split()[0]
            found.append(f"{short} {value:.{metric.decimals}f}{unit}")
    found = found[: 2 * _METRICS_SHOWN]
    half = (len(found) + 1) // 2
    return [" · ".join(part) for part in (found[:half], found[half:]) if part]


def _write_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    size: int = _TEXT_PX,
) -> None:
    draw.text(place, drawable(text), fill=colour, font=_default_font(size))


@lru_cache(maxsize=4)
def _default_font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow: the same on every machine."""
    return ImageFont.load_default(size_px)

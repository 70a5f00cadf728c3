"""The best and the worst cases of a method as one picture: the input, the restored face, and the original."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import count
from facerestore.evaluation.cases import CaseSource
from facerestore.evaluation.methods import INPUT, Method
from facerestore.evaluation.result import Evaluation, FaceResult, MetricFacts
from facerestore.pictures.contact_sheet import Group, Tile, contact_sheet

RANKED_BY = ("identity", "psnr", "ssim", "niqe")
"""By which metric's gain over the input cases are ranked: the first that was measured."""

SHOWN = 4
"""Best cases, and as many worst ones."""

CELL_PX = 256


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
            found.append((metric.gain(own, before), face))
    found.sort(key=lambda item: -item[0])
    each = min(shown, len(found) // 2) if len(found) > 1 else len(found)
    best = [ShownCase(face, gain, True) for gain, face in found[:each]]
    worst = found[max(each, len(found) - each) :] if len(found) > 1 else []
    return best + [ShownCase(face, gain, False) for gain, face in reversed(worst)]


def case_picture(
    evaluation: Evaluation,
    source: CaseSource,
    method: Method,
    *,
    metric: MetricFacts,
    before: Method,
) -> NDArray[np.uint8]:
    """Return the picture of the best (left) and worst (right) cases of a method; its faces are restored once more.

    Args:
        evaluation: what was found.
        source: reads the faces.
        method: whose cases are shown.
        metric: by whose gain they are ranked.
        before: the method of the row ``input``.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    size = int(evaluation.protocol["face_size"])
    files = {each.name: each for each in source.files}
    ranked = ranked_cases(evaluation, method.name, metric)
    best, worst = ([case for case in ranked if case.is_best is wanted] for wanted in (True, False))
    by = f"by the gain in {metric.title} over the input; {count(len(evaluation.faces), 'face')}"
    groups, columns = [Group(f"{method.name}: best and worst cases, {by}", [])], 1
    for pair in zip_longest(best, worst):
        titles, tiles = [], list[Tile]()
        for case in filter(None, pair):
            loaded = source.load(files[case.face.name], size)
            faces = {each.name: each.restore(loaded, size) for each in (before, method)}
            faces |= {} if loaded.hq is None else {"original": loaded.hq}
            word = "best" if case.is_best else "worst"
            titles.append(f"{word}: {case.face.name} · gain {case.gain:+.{metric.decimals}f} {metric.unit}")
            tiles += [Tile(face, _caption(evaluation, case.face, name)) for name, face in faces.items()]
        groups.append(Group(" · ".join(titles), tiles))
        columns = max(columns, len(tiles))
    return contact_sheet(groups, columns=columns, tile_px=CELL_PX)


def _caption(evaluation: Evaluation, face: FaceResult, method: str) -> str:
    """Return the name of a method, and a line of the face's values under it; none for the original."""
    found = []
    for metric in evaluation.face_metrics if method in face.values else ():
        value = face.values[method].get(metric.name)
        if value is not None:
            unit = "%" if metric.unit.startswith("%") else f" {metric.unit}" if metric.unit else ""
            found.append(f"{metric.title.split()[0]} {value:.{metric.decimals}f}{unit}")
    return f"{method}\n{' · '.join(found)}".strip()

"""The search for the faces of a photo, whatever the network: all sizes and tiles, upright and in the quarter turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from facerestore.detection.frames import Reduction, View, apart
from facerestore.detection.pyramid import Pyramid, Reach, pyramid, tiles
from facerestore.types import DetectedFace, FoundFaces, Image, Search

QUARTER_TURNS = (1, 2, 3)
TURNED_PIXELS = 2**21
"""Most pixels of a photo that is looked at in the quarter turns because it shows no upright face."""
INSIDE = 0.7
"""A face of which more lies within a surer one is a part of that: an ear, an eye, a pattern on the skin."""


class Judged(NamedTuple):
    """Candidates after judging.

    Attributes:
        faces: those that are faces.
        best_rejected: score of the likeliest other; None where there was none.
    """

    faces: list[DetectedFace]
    best_rejected: float | None


See: TypeAlias = Callable[[View], Iterable[DetectedFace]]
"""Gives the candidates that a network sees in a view, in image px; faces and others."""

Judge: TypeAlias = Callable[[Pyramid, list[DetectedFace], bool], Judged]
"""Selects the faces among the candidates of a photo; strictly at sizes above the usual ones and for turned faces, where
so much is searched that even rare mistakes would add up."""


def by_score(least: float, *, strictly: float) -> Judge:
    """Return the judge for networks that see no candidate twice.

    Args:
        least: score of a face.
        strictly: score of one where judgement is strict.
    """

    def judge(photo: Pyramid, seen: list[DetectedFace], strict: bool) -> Judged:
        bar = max(least, strictly) if strict else least
        rejected = [face.score for face in seen if face.score < bar]
        return Judged([face for face in seen if face.score >= bar], max(rejected, default=None))

    return judge


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a photo is searched.

    Attributes:
        detect_size: longest side at which it is looked at, px; None looks at its own.
        rotations: look at the quarter turns too, at every size, and not only where there is no upright face.
    """

    detect_size: int | None = None
    rotations: bool = False


def search_photo(image: Image, *, see: See, judge: Judge, reach: Reach, extent: Extent) -> FoundFaces:
    """Return the faces of a photo, best score first, and what was looked at.

    Args:
        image: (H, W, 3) or (H, W), uint8 or uint16.
        see: gives the candidates in one view.
        judge: selects the faces among the candidates.
        reach: sizes of faces that ``see`` finds.
        extent: how much of the photo is looked at.

    Raises:
        ImageError: the image is of another kind, or empty.
    """
    most_side = math.inf if extent.detect_size is None else extent.detect_size
    upright = turned = pyramid(image, reach, most_side_px=most_side)
    judged = judge(upright, _candidates_in(upright.usual, upright, see), False)
    judged = _together(judged, judge(upright, _candidates_in(upright.fine, upright, see), True))
    search = Search(upright.sizes, _least_face_px(upright, reach))
    if extent.rotations or not any(face.stands_upright for face in judged.faces):
        if not extent.rotations:
            turned = pyramid(image, reach, most_side_px=most_side, most_pixels=TURNED_PIXELS)
        also = [face for turn in QUARTER_TURNS for face in _candidates_in(turned.levels, turned, see, turn)]
        judged = _together(judged, judge(turned, also, True))
        search = replace(search, turned_sizes=turned.sizes, least_turned_px=_least_face_px(turned, reach))
    rejected = None if judged.faces else judged.best_rejected
    return FoundFaces(judged.faces, search=replace(search, best_rejected=rejected))


def _together(one: Judged, other: Judged) -> Judged:
    """Return both judgements as one: of faces that are the same the surer."""
    rejected = [score for score in (one.best_rejected, other.best_rejected) if score is not None]
    return Judged(apart([*one.faces, *other.faces], inside=INSIDE), max(rejected, default=None))


def _candidates_in(
    levels: Iterable[Reduction], photo: Pyramid, see: See, turn: int = 0
) -> list[DetectedFace]:
    """Return the candidates of some sizes, of all tiles; one that a tile cuts off is left to its neighbour."""
    return [
        face
        for level in levels
        for tile in tiles(level, photo.overlap_px, turn=turn)
        for face in see(tile.view)
        if tile.holds(face.box)
    ]


def _least_face_px(photo: Pyramid, reach: Reach) -> float:
    """Return the width of the narrowest face that the largest size shows as the network needs it, image px."""
    return reach.least_px / min(photo.levels[0].scale)

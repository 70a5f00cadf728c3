"""Which of the faces of a photo the user means, and which of them are restored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from facerestore.config import parse_faces
from facerestore.face_parts import parse_dial
from facerestore.types import AlignedFace, Box, DetectedFace, FoundFaces, Outcome, RestoredFace, search_of


def left_to_right(faces: Sequence[DetectedFace]) -> FoundFaces:
    """Return faces in the order of their indices, by the middle of the box, then by its top; the search is kept."""
    in_order = sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1]))
    return FoundFaces(in_order, search=search_of(faces))


def select_faces(
    choice: str | Sequence[int], faces: Sequence[DetectedFace], shape: tuple[int, ...]
) -> frozenset[int]:
    """Return the indices of the faces that ``choice`` names.

    Args:
        choice: ``all``, ``largest``, ``center`` (nearest to the middle of the photo), or indices such as ``0,2``.
        faces: left to right.
        shape: (H, W, ...) of the photo.

    Raises:
        ConfigError: ``choice`` is none of these.
    """
    indices = parse_faces(choice)
    if indices is not None:
        return frozenset(indices) & frozenset(range(len(faces)))
    if choice == "all" or not faces:
        return frozenset(range(len(faces)))
    rank = _box_area if choice == "largest" else partial(_closeness, shape=shape)
    return frozenset({max(range(len(faces)), key=lambda index: rank(faces[index].box))})


def absent_indices(choice: str | Sequence[int], count: int, *, dial: str = "") -> list[int]:
    """Return the indices that a choice or a dial names and a photo of ``count`` faces does not have, in order."""
    return sorted(index for index in {*(parse_faces(choice) or ()), *parse_dial(dial)} if index >= count)


def to_restore(faces: Sequence[RestoredFace]) -> list[tuple[int, AlignedFace]]:
    """Return index and crop of the faces that are to be restored."""
    return [
        (index, face.aligned)
        for index, face in enumerate(faces)
        if face.decision.outcome is Outcome.RESTORED and face.aligned is not None
    ]


def _box_area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _closeness(box: Box, *, shape: tuple[int, ...]) -> float:
    """Return minus the distance of a box from the middle of the photo, pixels."""
    return -math.hypot((box[0] + box[2] - shape[1]) / 2, (box[1] + box[3] - shape[0]) / 2)

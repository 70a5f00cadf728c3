"""A face's crop as numbers: at other sizes, and on the levels of 8 bits; its parsing map likewise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.types import FaceImage, ParsingMap


def resize_face(face: FaceImage, size: int) -> FaceImage:
    """Return a square float32 RGB face in [0, 1] at ``size`` pixels a side; the same array where it has that size.

    By area when reducing, cubic when enlarging; what a cubic overshoots is clipped.
    """
    if face.shape[0] == size:
        return face
    import cv2

    interpolation = cv2.INTER_AREA if face.shape[0] > size else cv2.INTER_CUBIC
    resized = cv2.resize(face, (size, size), interpolation=interpolation)
    return np.asarray(np.clip(resized, 0.0, 1.0), dtype=np.float32)


def resize_map(parsing_map: ParsingMap, size: int) -> ParsingMap:
    """Return a square map of class ids at ``size`` pixels a side, by nearest pixel centres: ids are never blended."""
    side = parsing_map.shape[0]
    if side == size:
        return np.ascontiguousarray(parsing_map)
    nearest = ((np.arange(size) + 0.5) * side / size).astype(np.intp)
    return np.ascontiguousarray(parsing_map[np.ix_(nearest, nearest)])


def to_8_bit(face: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values in [0, 1], such as a ``FaceImage``, as the nearest of 256 levels; others are clipped."""
    return np.rint(np.clip(face, 0, 1) * 255).astype(np.uint8)

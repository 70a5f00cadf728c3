"""From the face detector's maps to faces: the cells above a threshold, decoded, without overlaps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.detection.frames import suppress_overlaps

STRIDES = (8, 16, 32, 64)
"""px of the picture for each cell of the four maps."""

SIDE_PER_STRIDE = 3.0
"""A cell's box before it has learnt anything, in strides: the middle of the sizes that its map is taught."""

NMS_THRESHOLD = 0.4  # faces that overlap more are one
MOST = 2000  # cells that are looked at, best first; a crowd of hundreds has fewer


class Candidates(NamedTuple):
    """Faces found in one picture, best score first.

    Attributes:
        boxes: (N, 4) left, top, right, bottom, px.
        points: (N, 5, 2) px, image-left first.
        scores: (N,) in [0, 1].
    """

    boxes: NDArray[np.float64]
    points: NDArray[np.float64]
    scores: NDArray[np.float64]


def candidates(
    outputs: NDArray[np.float32], size: tuple[int, int], threshold: float, *, at_least: int = 0
) -> Candidates:
    """Return the faces that one picture's cells predict.

    Args:
        outputs: (N, 15) of all cells, as ``facerestore.archs.detector.flatten`` lays them out.
        size: height and width of the picture that the network saw, px.
        threshold: cells of a lower score are left out.
        at_least: but so many of the best are taken, whatever their score.
    """
    scores = 1 / (1 + np.exp(-outputs[:, 0].astype(np.float64)))
    chosen = np.flatnonzero(scores >= threshold)
    if not at_least <= len(chosen) <= MOST:
        chosen = _best(scores, min(MOST, max(at_least, len(chosen))))
    boxes, points = _decoded(outputs[chosen].astype(np.float64), *_cells(chosen, size))
    kept = suppress_overlaps(boxes, scores[chosen], NMS_THRESHOLD)
    return Candidates(boxes[kept], points[kept], scores[chosen][kept])


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Return the places of the best scores, best first; of equal ones the first."""
    if count == 1:  # in most tiles of a large photo, and a tenth of the time of sorting
        return np.atleast_1d(np.argmax(scores))
    return np.argsort(-scores, kind="stable")[:count]


def _cells(
    chosen: NDArray[np.intp], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 2) centres x y of cells, px, and their (N, 1) strides, px: rows of each map, finest map first."""
    centres, strides = np.empty((len(chosen), 2)), np.empty((len(chosen), 1))
    first = 0
    for stride in STRIDES:
        rows, columns = (side // stride for side in size)
        own = (chosen >= first) & (chosen < first + rows * columns)
        row, column = np.divmod(chosen[own] - first, columns)
        centres[own] = (np.stack([column, row], axis=1) + 0.5) * stride - 0.5
        strides[own] = stride
        first += rows * columns
    return centres, strides


def _decoded(
    outputs: NDArray[np.float64], centres: NDArray[np.float64], strides: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 4) boxes and (N, 5, 2) points that cells stand for, px, as ``facerestore.archs.detector.decode``."""
    middle = centres + outputs[:, 1:3] * strides
    half = np.exp(np.clip(outputs[:, 3:5], -4, 4)) * strides * (SIDE_PER_STRIDE / 2)
    points = centres[:, None] + outputs[:, 5:].reshape(-1, 5, 2) * (strides * SIDE_PER_STRIDE)[:, None]
    return np.concatenate([middle - half, middle + half], axis=1), points

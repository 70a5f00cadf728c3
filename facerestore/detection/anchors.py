"""The anchors of RetinaFace and the decoding of its regressions, without a loop over cells.

Boxes are (left, top, right, bottom) and points (x, y), both as fractions of the picture; SSD's encoding
(Liu et al., ECCV 2016, eq. 2) with variances 0.1 and 0.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STEPS = (8, 16, 32)  # px of the picture per cell of each level
VARIANCES = (0.1, 0.2)  # of shifts and of sizes


def anchors(height: int, width: int, min_sizes: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return (A, 4) anchors as centre x, centre y, width and height over the picture's.

    Order: level, row, column, size; as the heads lay out their outputs.

    Args:
        height: of the picture, px.
        width: of the picture, px.
        min_sizes: for each of the three levels, the anchor sides, px.
    """
    levels = []
    for step, sizes in zip(STEPS, min_sizes, strict=True):
        rows, columns = -(-height // step), -(-width // step)
        y, x, side = np.meshgrid(np.arange(rows), np.arange(columns), np.array(sizes), indexing="ij")
        level = [(x + 0.5) * step / width, (y + 0.5) * step / height, side / width, side / height]
        levels.append(np.stack([np.broadcast_to(part, x.shape).ravel() for part in level], axis=1))
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(regressions: NDArray[np.float32], priors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (A, 4) boxes from (A, 4) regressions."""
    centres = priors[:, :2] + regressions[:, :2] * VARIANCES[0] * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(regressions[:, 2:] * VARIANCES[1])
    top_left = centres - sizes / 2
    return np.concatenate([top_left, top_left + sizes], axis=1).astype(np.float32)


def decode_points(regressions: NDArray[np.float32], priors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (A, 5, 2) points from (A, 10) regressions."""
    shifts = regressions.reshape(-1, 5, 2) * VARIANCES[0] * priors[:, None, 2:]
    return (priors[:, None, :2] + shifts).astype(np.float32)

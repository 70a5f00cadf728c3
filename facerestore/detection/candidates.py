"""From the face detector's maps to faces: the cells above a threshold, decoded, without overlaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.detection.frames import suppress_overlaps

if TYPE_CHECKING:
    from torch import Tensor

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


def candidates(outputs: Tensor, size: tuple[int, int], threshold: float, *, at_least: int = 0) -> Candidates:
    """Return the faces that one picture's cells predict.

    Args:
        outputs: (N, 15) of all cells, as ``facerestore.archs.detector.flatten`` lays them out.
        size: height and width of the picture that the network saw, px.
        threshold: cells of a lower score are left out.
        at_least: but so many of the best are taken, whatever their score.
    """
    import torch

    from facerestore.archs.detector import cell_centres, decode

    scores = torch.sigmoid(outputs[:, 0])
    chosen = torch.nonzero(scores >= threshold).squeeze(1)
    if not at_least <= len(chosen) <= MOST:
        chosen = scores.topk(min(MOST, max(at_least, len(chosen)))).indices
    centres, strides = cell_centres(*size, outputs.device)
    boxes, points = (
        found.double().cpu().numpy() for found in decode(outputs[chosen], centres[chosen], strides[chosen])
    )
    values = scores[chosen].double().cpu().numpy()
    kept = suppress_overlaps(boxes, values, NMS_THRESHOLD)
    return Candidates(boxes[kept], points[kept], values[kept])

"""Targets and losses of the face detector: which cells predict which face, and how far off they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from facerestore.archs.detector import STRIDES, cell_centres, decode

USABLE, IGNORED = 1, 0  # states of a face; places without one have any other
SIDES_PX = ((0.0, 48.0), (28.0, 96.0), (60.0, 192.0), (130.0, float("inf")))
"""Face sides (root of the box's area) that the cells of each map predict; a face in two ranges belongs to both maps."""

NEAREST, FARTHEST = 0.5, 1.0  # strides: the nearest cell always answers, none farther than this does
CENTRE_SHARE = 0.25  # of a face's side: how far from its centre cells answer
CELLS_EACH = 12.0  # cells that answer, for each picture: what composites have on average, to scale the losses
FOCUS = 2.0  # the exponent of quality focal loss (arXiv 2006.04388)
KNEE = 0.02  # landmark error over the face's side below which the loss is quadratic


class Goals(NamedTuple):
    """The targets of cells.

    Attributes:
        face: (B, N) int64, which face of the picture the cell predicts; -1 for none.
        counts: (B, N) whether the cell's score is judged.
    """

    face: Tensor
    counts: Tensor


class Losses(NamedTuple):
    """The three terms, each a scalar."""

    score: Tensor
    box: Tensor
    points: Tensor


def assign(boxes: Tensor, state: Tensor, centres: Tensor, strides: Tensor) -> Goals:
    """Return which cells predict which faces.

    Args:
        boxes: (B, F, 4) px.
        state: (B, F); see `USABLE`.
        centres: (N, 2) px of the cells.
        strides: (N,) px.
    """
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp_min(1e-3)
    side = size.prod(dim=2).sqrt().unsqueeze(2)  # B F 1
    away = (centres[None, None] - middle.unsqueeze(2)).abs().amax(dim=3)  # B F N
    reach = torch.minimum(torch.maximum(CENTRE_SHARE * side, NEAREST * strides), FARTHEST * strides)
    low, high = (torch.tensor([limits[n] for limits in SIDES_PX], device=boxes.device) for n in (0, 1))
    level = torch.log2(strides / STRIDES[0]).round().long()
    fits = (side >= low[level]) & (side < high[level])
    answers = (away <= reach) & fits & (state == USABLE).unsqueeze(2)
    distance = torch.where(answers, away / side, torch.inf)
    nearest, face = distance.min(dim=1)  # B N
    inside = ((centres[None, None] - middle.unsqueeze(2)).abs() < size.unsqueeze(2) / 2).all(dim=3)
    ignored = (inside & (state == IGNORED).unsqueeze(2)).any(dim=1)
    answering = torch.isfinite(nearest)
    return Goals(torch.where(answering, face, -1), answering | ~ignored)


def finder_losses(
    outputs: Tensor, size: tuple[int, int], boxes: Tensor, points: Tensor, state: Tensor
) -> Losses:
    """Return the losses of a batch, over the expected number of answering cells.

    Args:
        outputs: (B, N, 15) of all cells.
        size: height and width of the pictures, px.
        boxes: (B, F, 4) px.
        points: (B, F, 5, 2) px.
        state: (B, F); see `USABLE`.
    """
    centres, strides = cell_centres(*size, outputs.device)
    goals = assign(boxes, state, centres, strides)
    picture, cell = torch.nonzero(goals.face >= 0, as_tuple=True)
    which = goals.face[picture, cell]
    found_boxes, found_points = decode(outputs[picture, cell], centres[cell], strides[cell])
    goal_boxes = boxes[picture, which]
    overlap, distance = overlap_and_distance(found_boxes, goal_boxes)
    quality = torch.zeros_like(outputs[..., 0])
    quality[picture, cell] = overlap.detach().clamp(0, 1)
    scale = 1 / (CELLS_EACH * len(outputs))
    side = (goal_boxes[:, 2:] - goal_boxes[:, :2]).prod(dim=1).sqrt()
    errors = (found_points - points[picture, which]) / side[:, None, None]
    huber = functional.huber_loss(errors, torch.zeros_like(errors), delta=KNEE, reduction="none")
    return Losses(
        (quality_focal(outputs[..., 0], quality) * goals.counts).sum() * scale,
        (1 - overlap + distance).sum() * scale,
        huber.mean(dim=(1, 2)).sum() * scale / KNEE,
    )


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """Return ``|q - p|^2 * cross entropy(p, q)`` of each cell (arXiv 2006.04388, eq. 2)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    weighed: Tensor = (quality - torch.sigmoid(logits)).abs().pow(FOCUS) * entropy
    return weighed


def overlap_and_distance(found: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much (M, 4) boxes share, over their union, and how far their centres are apart, squared.

    The distance is over the diagonal of the box about both (DIoU, arXiv 1911.08287, eq. 6).
    """
    shared = (
        (torch.minimum(found[:, 2:], goal[:, 2:]) - torch.maximum(found[:, :2], goal[:, :2]))
        .clamp_min(0)
        .prod(dim=1)
    )
    areas = [(one[:, 2:] - one[:, :2]).prod(dim=1) for one in (found, goal)]
    overlap = shared / (areas[0] + areas[1] - shared).clamp_min(1e-6)
    about = torch.maximum(found[:, 2:], goal[:, 2:]) - torch.minimum(found[:, :2], goal[:, :2])
    apart = (found[:, :2] + found[:, 2:] - goal[:, :2] - goal[:, 2:]) / 2
    return overlap, apart.square().sum(dim=1) / about.square().sum(dim=1).clamp_min(1e-6)

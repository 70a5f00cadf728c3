"""Parsing maps on which a network may be conditioned in training, as (B, S, S) int64 class ids."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.alignment import template
from facerestore.face_parts import CLASS_COLOURS
from facerestore.parsing import LandmarkParser
from facerestore.types import AlignedFace, DetectedFace


def parsed_maps(lq: Tensor, network: nn.Module, input_size: int) -> Tensor:
    """Return what a parser sees in degraded faces; resized as it is at test time (``parsing.networks``).

    Args:
        lq: (B, 3, S, S) in [0, 1].
        network: in eval mode; (B, 3, s, s) in [-1, 1] to logits, the first of its outputs.
        input_size: s, the side of the faces that it was trained on, px.
    """
    size = lq.shape[-1]
    if size > input_size:
        lq = functional.adaptive_avg_pool2d(lq, input_size)
    elif size < input_size:
        lq = functional.interpolate(lq, size=(input_size, input_size), mode="bicubic", align_corners=False)
    with torch.no_grad():
        logits: Tensor = network(lq.clamp(0, 1) * 2 - 1)[0]
    labels = logits.argmax(dim=1, keepdim=True)
    return functional.interpolate(labels.float(), size=(size, size), mode="nearest-exact").squeeze(1).long()


def landmark_maps(lq: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Return maps drawn from five points, as the parser ``landmarks`` draws them.

    Args:
        lq: (B, 3, S, S), for its size alone.
        shifts: (B, 5, 2), how far the points are from where an aligned face has them on average, as shares of S;
            None for not at all.
    """
    size = lq.shape[-1]
    points = np.broadcast_to(template(size), (len(lq), 5, 2))
    if shifts is not None:
        points = points + size * shifts.double().cpu().numpy()
    blank = np.zeros((size, size, 3), np.float32)
    faces = [
        AlignedFace(DetectedFace((0.0, 0.0, size, size), five.astype(np.float32), 1.0), np.eye(2, 3), blank)
        for five in points
    ]
    drawn = np.stack(LandmarkParser().parse(faces))
    return torch.from_numpy(drawn).to(lq.device).long()


def coloured(labels: Tensor) -> Tensor:
    """Return (B, S, S) class ids in the colours of CelebAMask-HQ, (B, 3, S, S) in [0, 1]."""
    palette = torch.tensor(CLASS_COLOURS, device=labels.device) / 255
    return palette[labels.long()].permute(0, 3, 1, 2)

"""Learning to colour: the network sees the luma of a face, and its chroma alone is judged.

Chroma is what is left of a colour without its luma (ITU-R BT.601 of encoded values, as in ``pipeline.tasks.colorize``,
which keeps the luma of the photo whatever the network says).
"""

from __future__ import annotations

from torch import Tensor

from facerestore.training.losses.detail import luma_of

LEAST_CHROMA = 0.02
"""Root mean square of a face's chroma, of 1, below which it counts as grey: nothing can be learnt from its colours."""

EPSILON = 1e-3
"""Of the Charbonnier distance."""


def greyed(faces: Tensor) -> Tensor:
    """Return faces without colour, B 3 S S -> B 3 S S."""
    return luma_of(faces).expand_as(faces).contiguous()


def chroma_of(faces: Tensor) -> Tensor:
    """Return colours without their luma, B 3 S S -> B 3 S S, whose luma is 0."""
    return faces - luma_of(faces)


def chroma_distance(coloured: Tensor, real: Tensor) -> Tensor:
    """Return the mean Charbonnier distance of chroma over the faces that have colours; 0 where none has.

    Args:
        coloured: B 3 S S.
        real: B 3 S S.
    """
    theirs = chroma_of(real)
    has_colour = (theirs.square().mean(dim=(1, 2, 3)).sqrt() >= LEAST_CHROMA).to(real.dtype)  # B
    square = (chroma_of(coloured) - theirs).square().sum(dim=1)  # B S S
    distance = (square + EPSILON**2).sqrt().mean(dim=(1, 2))  # B
    return (distance * has_colour).sum() / has_colour.sum().clamp_min(1)

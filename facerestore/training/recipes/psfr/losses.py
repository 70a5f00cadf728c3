"""Losses of PSFR-GAN: style by face part, and those of its discriminators at several scales.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", arXiv 2009.08709; numbers
are those of the published training code, whose results ours equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from facerestore.archs.psfr import CLASSES, Judgement
from facerestore.errors import ConfigError
from facerestore.training.losses.common import (
    GANMode,
    discriminator_score_loss,
    feature_matching,
    generator_score_loss,
)

LEAST_JUDGED_SIDE = 3
"""Side of the features that a discriminator's score is computed from, at least: that of its last kernel."""

# Keeps the Gram matrix of a class without pixels finite.
GRAM_EPS = 1e-8

PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the five levels of VGG19, finest first."""

STYLE_LEVELS = slice(2, None)
"""Levels of the five whose style is compared: relu3_4, relu4_4 and conv5_4."""


def class_grams(features: Tensor, labels: Tensor) -> Tensor:
    """Return the Gram matrix of the pixels of each class, divided by channels and pixels, in float32.

    Args:
        features: B C H W.
        labels: B H' W' class ids, reduced by nearest pixel to H W; pixels of other ids are of no class.

    Returns:
        B 19 C C; zero for a class without pixels.
    """
    channels, size = features.shape[1], features.shape[-2:]
    ids = functional.interpolate(labels.float().unsqueeze(1), size=size, mode="nearest").long().flatten(1)
    ids = torch.where((ids >= 0) & (ids < CLASSES), ids, CLASSES)
    # Pixels in the order of their classes: each is multiplied once, not once for each class.
    order = ids.argsort(dim=1, stable=True)
    counts = functional.one_hot(ids, CLASSES + 1).sum(dim=1).tolist()
    grams = []
    with torch.autocast(features.device.type, enabled=False):
        sorted_ = features.float().flatten(2).gather(2, order.unsqueeze(1).expand(-1, channels, -1))
        for pixels, sizes in zip(sorted_, counts, strict=True):
            parts = pixels.split(sizes, dim=1)[:CLASSES]
            grams += [part @ part.T / (channels * (part.shape[1] + GRAM_EPS)) for part in parts]
    return torch.stack(grams).reshape(len(features), CLASSES, channels, channels)


def region_style(restored: Sequence[Tensor], hq: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the semantic-aware style loss (arXiv 2009.08709, equation 6).

    Args:
        restored: features of restored faces, one B C H W for each level.
        hq: those of the real faces; no gradient flows to them.
        labels: B H W class ids of the real faces, used for both.

    Returns:
        The sum over levels of the mean squared difference of the classes' Gram matrices.
    """
    losses = [
        functional.mse_loss(class_grams(ours, labels), class_grams(real.detach(), labels))
        for ours, real in zip(restored, hq, strict=True)
    ]
    return torch.stack(losses).sum()


def scale_feature_matching(fake: Sequence[Judgement], real: Sequence[Judgement]) -> Tensor:
    """Return the mean over scales of the feature distances of their discriminators."""
    losses = [feature_matching(f.features, r.features) for f, r in zip(fake, real, strict=True)]
    return torch.stack(losses).mean()


def scale_adversarial(fake: Sequence[Judgement], mode: GANMode) -> Tensor:
    """Return the generator's adversarial loss, meaned over scales."""
    return torch.stack([generator_score_loss(judgement.score, mode) for judgement in fake]).mean()


def scale_discrimination(
    fake: Sequence[Judgement],
    real: Sequence[Judgement],
    mode: GANMode,
) -> Tensor:
    """Return the discriminators' loss: half of that on fakes and half of that on real faces, meaned over scales."""
    losses = [discriminator_score_loss(r.score, f.score, mode) / 2 for f, r in zip(fake, real, strict=True)]
    return torch.stack(losses).mean()


def fitting_scales(face_size: int, layers: int, most: int) -> int:
    """Return at how many scales faces can be judged, ``most`` or fewer.

    Raises:
        ConfigError: at none.
    """
    side, scales = face_size, 0
    while scales < most and side >> layers >= LEAST_JUDGED_SIDE:
        side, scales = (side + 1) // 2, scales + 1
    if not scales:
        raise ConfigError(
            f"recipe 'psfr': faces of {face_size} px are too small for discriminators of {layers} layers, which need"
            f" {LEAST_JUDGED_SIDE << layers} px; set recipe.discriminator_layers or data.face_size"
        )
    return scales

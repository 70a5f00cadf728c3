"""Losses between restored and real faces, and the regularisers of adversarial games, without their weights.

All are means over the batch. Regularisers: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
arXiv 1912.04958, section 3.2 (path length) and appendix B; Mescheder et al., "Which Training Methods for GANs do
actually Converge?", arXiv 1801.04406 (R1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

# Keeps the gradient of a norm finite where features are equal.
NORM_FLOOR = 1e-8
# How fast the running mean of path lengths moves (arXiv 1912.04958, appendix B).
PATH_MEAN_DECAY = 0.01


def charbonnier(restored: Tensor, hq: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return mean sqrt(d^2 + eps^2), a smooth L1 (Lai et al., arXiv 1710.01992, eq. 6)."""
    return torch.sqrt((restored - hq) ** 2 + epsilon**2).mean()


def frequency(restored: Tensor, hq: Tensor) -> Tensor:
    """Return the L1 distance of real and imaginary parts of the orthonormal 2-D spectra (arXiv 2108.05054, eq. 5)."""
    difference = torch.fft.rfft2(restored - hq, norm="ortho")
    return torch.view_as_real(difference).abs().mean()


GANMode: TypeAlias = Literal["hinge", "lsgan", "vanilla", "wgangp"]
"""``hinge`` (arXiv 1705.02894), ``lsgan`` (squares, 1611.04076), ``vanilla`` (logistic, 1406.2661) or ``wgangp`` (the
plain scores of 1701.07875; the gradient penalty of 1704.00028 is a term of its own)."""


def real_score_loss(scores: Tensor, mode: GANMode) -> Tensor:
    """Return a discriminator's loss on its scores of real faces."""
    match mode:
        case "hinge":
            return torch.relu(1 - scores).mean()
        case "lsgan":
            return (scores - 1).square().mean()
        case "vanilla":
            return functional.softplus(-scores).mean()
        case "wgangp":
            return -scores.mean()


def fake_score_loss(scores: Tensor, mode: GANMode) -> Tensor:
    """Return a discriminator's loss on its scores of restored faces."""
    match mode:
        case "hinge":
            return torch.relu(1 + scores).mean()
        case "lsgan":
            return scores.square().mean()
        case "vanilla":
            return functional.softplus(scores).mean()
        case "wgangp":
            return scores.mean()


def discriminator_score_loss(real_scores: Tensor, fake_scores: Tensor, mode: GANMode) -> Tensor:
    """Return the sum of both losses of a discriminator."""
    return real_score_loss(real_scores, mode) + fake_score_loss(fake_scores, mode)


def generator_score_loss(fake_scores: Tensor, mode: GANMode) -> Tensor:
    """Return a generator's loss on the scores of its faces; for ``hinge`` the negative scores, without a margin."""
    return -fake_scores.mean() if mode == "hinge" else real_score_loss(fake_scores, mode)


def feature_matching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Return the sum of mean squared distances of a discriminator's activations (after arXiv 1711.11585, equation 3).

    Args:
        fake: activations of restored faces, any shapes.
        real: those of real faces; no gradient flows to them.
    """
    distances = [functional.mse_loss(f, r.detach()) for f, r in zip(fake, real, strict=True)]
    return torch.stack(distances).sum()


PERCEPTUAL_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
"""Of ``archs.vgg.PERCEPTUAL_TAPS``, as GFP-GAN weighs them."""


def perceptual(
    restored: Sequence[Tensor],
    hq: Sequence[Tensor],
    *,
    weights: Sequence[float] = PERCEPTUAL_WEIGHTS,
    distance: Callable[[Tensor, Tensor], Tensor] = functional.l1_loss,
) -> Tensor:
    """Return the weighted sum of distances of VGG19's activations, mean absolute ones unless another is given."""
    distances = [
        weight * distance(ours, real.detach())
        for weight, ours, real in zip(weights, restored, hq, strict=True)
    ]
    return torch.stack(distances).sum()


def identity(restored: Tensor, hq: Tensor) -> Tensor:
    """Return the mean of 1 - cos between (B, D) unit vectors of persons (ArcFace)."""
    return (1 - (restored * hq.detach()).sum(dim=1)).mean()


def pyramid(heads: Mapping[int, Tensor], hq: Tensor) -> Tensor:
    """Return the sum over sides of mean absolute distances to the real face reduced by area (``L_pyr``).

    Args:
        heads: side r -> (B, 3, r, r), what a network has drawn at that side; sides divide that of ``hq``.
        hq: (B, 3, S, S).
    """
    distances = [functional.l1_loss(x, functional.adaptive_avg_pool2d(hq, side)) for side, x in heads.items()]
    return torch.stack(distances).sum()


CONSISTENT_LATENTS = 0.1  # share of the latents in ``L_cons``: a choice of ours, not measured


def consistency(
    features: Sequence[Tensor], teacher: Sequence[Tensor], latents: Tensor, teacher_latents: Tensor
) -> Tensor:
    """Return how far a student's features are from a teacher's of the real face (``L_cons``).

    ``mean over levels of mean |IN(d_r) - IN(d_r^T)| + 0.1 mean (Delta - Delta^T)^2``; IN sets the mean of each channel
    of each face to 0 and its deviation to 1. No gradient flows to the teacher.

    Args:
        features: the student's, (B, C, H, W) each, H W > 1.
        teacher: the teacher's, alike.
        latents: (B, L, D), the student's offsets from the mean latent.
        teacher_latents: the teacher's, alike.
    """
    levels = [
        functional.l1_loss(_instance_normed(ours), _instance_normed(theirs.detach()))
        for ours, theirs in zip(features, teacher, strict=True)
    ]
    return torch.stack(levels).mean() + CONSISTENT_LATENTS * functional.mse_loss(
        latents, teacher_latents.detach()
    )


def latent(offsets: Tensor) -> Tensor:
    """Return the mean square of offsets from the mean latent, where the prior is at home (``L_w``)."""
    return offsets.square().mean()


def _instance_normed(x: Tensor) -> Tensor:
    return functional.instance_norm(x.float(), eps=1e-5)  # torch's default


def feature_distance(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Return the sum over layers of the norm of the difference of discriminator features (arXiv 2105.06070, eq. 4).

    Each norm is divided by the square root of the number of its terms, so that a weight serves any size and width.
    """
    squares = [functional.mse_loss(f, r.detach()) for f, r in zip(fake, real, strict=True)]
    return torch.sqrt(torch.stack(squares) + NORM_FLOOR).sum()


def r1_penalty(real_scores: Tensor, real: Tensor) -> Tensor:
    """Return the squared norm of the scores' gradient at real images, meaned over the batch.

    Args:
        real_scores: (B, 1), computed from ``real``.
        real: (B, 3, S, S), requiring a gradient.
    """
    (gradient,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def path_length_penalty(
    image: Tensor,
    latents: Tensor,
    mean_length: Tensor,
    *,
    noise: Tensor,
    decay: float = PATH_MEAN_DECAY,
    mean_over: Callable[[Tensor], Tensor] = lambda value: value,
) -> tuple[Tensor, Tensor, Tensor]:
    """Penalise that a step in latent space changes the image by more or less than it does on average.

    The average takes this batch in before it is compared with, and gradients flow through it.

    Args:
        image: (B, 3, H, W), computed from ``latents``.
        latents: (B, layers, D), one style for each layer, requiring a gradient.
        mean_length: running mean so far, a scalar.
        noise: (B, 3, H, W) from a standard normal distribution, divided by sqrt(H * W).
        decay: how far the running mean moves toward this batch's.
        mean_over: mean of a scalar over all processes that have a part of the batch; by default this is the only one.
            The mean of the penalties' gradients over processes is then that of the whole batch.

    Returns:
        The penalty, the new running mean (detached), and the lengths of the batch (B,), detached.
    """
    (gradient,) = torch.autograd.grad((image * noise).sum(), latents, create_graph=True)
    lengths = torch.sqrt(gradient.square().sum(dim=2).mean(dim=1))
    own = lengths.mean()
    overall = mean_over(own.detach())
    mean = mean_length + decay * (overall - mean_length)
    # Zero; its gradient is that which the penalty has through the mean. No graph leads to other processes' lengths.
    through_mean = -2 * decay * (overall - mean) * (own - own.detach())
    return (lengths - mean).square().mean() + through_mean, mean.detach(), lengths.detach()

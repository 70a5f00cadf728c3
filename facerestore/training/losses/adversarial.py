"""Regularisers of the adversarial games of StyleGAN2 and GPEN, without their weights.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, section 3.2 (path
length) and appendix B; Mescheder et al., "Which Training Methods for GANs do actually Converge?", arXiv
1801.04406 (R1).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# How fast the running mean of path lengths moves (arXiv 1912.04958, appendix B).
PATH_MEAN_DECAY = 0.01


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

"""Losses between restored and real faces, (B, C, H, W) each, averaged over everything."""

from __future__ import annotations

import torch
from torch import Tensor


def charbonnier(restored: Tensor, hq: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return mean sqrt(d^2 + eps^2), a smooth L1 (Lai et al., arXiv 1710.01992, eq. 6)."""
    return torch.sqrt((restored - hq) ** 2 + epsilon**2).mean()


def frequency(restored: Tensor, hq: Tensor) -> Tensor:
    """Return the L1 distance of real and imaginary parts of the orthonormal 2-D spectra (arXiv 2108.05054, eq. 5)."""
    difference = torch.fft.rfft2(restored - hq, norm="ortho")
    return torch.view_as_real(difference).abs().mean()

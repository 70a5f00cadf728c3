"""Bicubic resizing as ``interpolate`` does it, by fixed convolutions.

ONNX Runtime takes ten to thirty times as long for its own operator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SLOPE = -0.75
"""Of the cubic convolution at its neighbours, as PyTorch and OpenCV have it; -0.5 in Keys 1981, eq. 15."""


def doubled(x: Tensor) -> Tensor:
    """Return B C H W pictures enlarged twice, B C 2H 2W; each output of the convolution is a quarter of the pixels."""
    channels = x.shape[1]
    weights = torch.zeros(2, 5)  # of even and odd pixels of a row, for neighbours from -2 to 2
    for parity, (first, fraction) in enumerate(((0, 0.75), (1, 0.25))):
        weights[parity, first : first + 4] = _shares(fraction)
    kernel = torch.einsum("ay,bx->abyx", weights, weights).reshape(4, 1, 5, 5).repeat(channels, 1, 1, 1)
    padded = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    return functional.pixel_shuffle(functional.conv2d(padded, kernel.to(x), groups=channels), 2)


def reduced(x: Tensor, step: int) -> Tensor:
    """Return B C S S pictures reduced, B C S/step S/step, without a low-pass filter, for an even step.

    Each sample lies half-way between two pixels, so that it is always the same sum of four by four.
    """
    channels, start, shares = x.shape[1], step // 2 - 2, _shares(0.5)
    if start < 0:
        x, start = functional.pad(x, (1, 1, 1, 1), mode="replicate"), 0
    kernel = torch.outer(shares, shares).expand(channels, 1, 4, 4)
    return functional.conv2d(x[..., start:, start:], kernel.to(x), stride=step, groups=channels)


def _shares(fraction: float) -> Tensor:
    """Return (4,), the shares of the pixels around in what lies by a fraction of a pixel behind the second of them."""
    distances = torch.tensor([1 + fraction, fraction, 1 - fraction, 2 - fraction])
    near = ((SLOPE + 2) * distances - (SLOPE + 3)) * distances**2 + 1
    far = ((SLOPE * distances - 5 * SLOPE) * distances + 8 * SLOPE) * distances - 4 * SLOPE
    return torch.where(distances <= 1, near, far)

"""3x3 convolutions by Winograd's method where torch can and where it is quicker; plain ones everywhere else.

Winograd's F(6x6, 3x3) needs 2.25 to 5 times fewer multiplications than the sum it computes (Lavin and Gray, "Fast
algorithms for convolutional neural networks", arXiv 1509.09308). torch carries it as NNPACK behind a private operator,
so it is probed before it is used, and nothing depends on it. Results differ by rounding: about 3e-6 of the output's
standard deviation a layer.

`quicken` prepares a network for inference; in training, on other devices, in other number formats and while a network
is exported, all convolutions are torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facerestore.archs.exporting import exporting

Network = TypeVar("Network", bound=nn.Module)

_as_published: ContextVar[bool] = ContextVar("as_published", default=False)

KERNEL_SIZE = 3

LEAST_CHANNELS = 19
LEAST_SIDE = 48
"""Where it wins: measured layer by layer on one and two threads (AVX-512), 1.0 to 2.3 times with 19 to 96 channels and
1.2 to 2.9 times with more. With 16 channels, or on smaller sides, it wins on one thread only."""
LEAST_WIDE_CHANNELS = 128
LEAST_WIDE_SIDE = 32
"""With so many channels it wins on sides from here on: 1.0 to 1.3 times on two threads, 1.8 to 2.0 on one."""

TILE_SIDE = 6
TILE_TRANSFORM_BYTES = 8 * 8 * 4
"""F(6x6, 3x3) takes 8x8 numbers to 6x6."""
STRIP_BYTES = 96 * 2**20
"""Most memory for the transforms of a strip. A GPEN of 512 px takes 1.05 times as long with strips as without, and 0.3
GB less (measured)."""

# Largest difference from torch's own convolution, over the largest value, that the probe accepts; 1e-5 is usual.
PROBE_TOLERANCE = 1e-3

NORMED_PAIRS = (("conv", "bn"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv_atten", "bn_atten"), ("0", "1"))
"""Names of a convolution and of the batch norm behind it, within the module that has both."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, padding: int | tuple[int, int] = 0
) -> Tensor:
    """Return the convolution of stride 1, as `torch.nn.functional.conv2d` does, by the quicker method.

    Args:
        x: B Cin H W.
        weight: Cout Cin k k.
        bias: Cout.
        padding: zeros on each side; for rows and columns where they differ.

    Returns:
        B Cout H' W' with H' = H + 2 padding - k + 1.
    """
    if _is_quicker(x, weight):
        return _winograd(x, weight, bias, padding)
    return functional.conv2d(x, weight, bias, padding=padding)


def convolved_strips(x: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield a 3x3 convolution, padded by one, in strips of rows: which rows, and B Cout rows W.

    Winograd's method holds the transforms of all that it is given: 360 MB for 128 features of 512 px. Of a strip it
    holds at most `STRIP_BYTES`, and the sum is the same.

    Args:
        x: B Cin H W.
        weight: Cout Cin 3 3.
        bias: Cout.
    """
    height = x.shape[2]
    rows = _strip_rows(x, weight) if _is_quicker(x, weight) else height
    if rows >= height:
        yield slice(0, height), convolve(x, weight, bias, padding=1)
        return
    for start in range(0, height, rows):
        own = slice(start, min(start + rows, height))
        yield own, convolved_rows(x, weight, bias, rows=own)


def convolved_rows(x: Tensor, weight: Tensor, bias: Tensor | None, *, rows: slice) -> Tensor:
    """Return some rows of a 3x3 convolution that is padded by one: B Cin H W -> B Cout h W."""
    above, below = int(rows.start == 0), int(rows.stop == x.shape[2])
    seen = x[:, :, rows.start - 1 + above : rows.stop + 1 - below]
    if above or below:
        seen = functional.pad(seen, (0, 0, above, below))
    return convolve(seen, weight, bias, padding=(0, 1))


def _strip_rows(x: Tensor, weight: Tensor) -> int:
    """Return how many rows make a strip: all alike, whole tiles, and not so few that the method is not taken."""
    height, width = x.shape[2:]
    bytes_a_tile = sum(weight.shape[:2]) * TILE_TRANSFORM_BYTES
    tiles_across = math.ceil(width / TILE_SIDE)
    strips = math.ceil(math.ceil(height / TILE_SIDE) * tiles_across * bytes_a_tile / STRIP_BYTES)
    rows = TILE_SIDE * math.ceil(height / strips / TILE_SIDE)
    return max(rows, LEAST_SIDE)


def in_phases(x: Tensor) -> Tensor:
    """B 4C H W, the four phases of C channels -> B C H 2 W 2, a view in the order of B C 2H 2W.

    The same numbers as those of ``pixel_shuffle``, for what can read them in place.
    """
    batch, _, height, width = x.shape
    return x.view(batch, -1, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)


def repeated_pixels_weight(weight: Tensor) -> Tensor:
    """Return the weight that gives the four phases of a 3x3 convolution behind a repetition of pixels.

    Of the 3x3 repeated pixels that it sees, each phase has 2x2 that differ. The sum is the same where what lies
    beyond the borders is repeated too.

    Args:
        weight: Cout Cin 3 3.

    Returns:
        4Cout Cin 3 3 to be applied before the repetition, its channels in the order of ``pixel_shuffle``.
    """
    # Which of the pixels before, at and behind (rows) each of the three taps (columns) falls on.
    even = weight.new_tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    odd = weight.new_tensor([[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    phases = [rows @ weight @ columns.T for rows in (even, odd) for columns in (even, odd)]
    return torch.stack(phases, dim=1).flatten(0, 1).contiguous()


class QuickConv2d(nn.Conv2d):
    """A convolution of stride 1 that takes `convolve`; its parameters and keys are those of ``nn.Conv2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """B Cin H W -> B Cout H' W'."""
        return convolve(input, self.weight, self.bias, padding=int(self.padding[0]))


@contextmanager
def published_forms() -> Iterator[None]:
    """Within, restorers and parsers are made of their networks as they were trained: to export or to compare them."""
    token = _as_published.set(True)
    try:
        yield
    finally:
        _as_published.reset(token)


def takes_published_forms() -> bool:
    """Say whether networks are to stay as they were trained."""
    return _as_published.get()


def quicken(network: Network) -> Network:
    """Let the 3x3 convolutions of a network take `convolve`, in place; return the network.

    Only plain ``nn.Conv2d`` of stride 1 with zeros around are touched.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _can_be_quick(module):
            module.__class__ = QuickConv2d
    return network


def fold_batch_norms(network: Network) -> Network:
    """Fold each batch norm into the convolution before it, in place; return the network, which must be in eval mode."""
    for module in network.modules():
        for conv, norm in NORMED_PAIRS:
            if isinstance(getattr(module, norm, None), nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return network


def _can_be_quick(conv: nn.Conv2d) -> bool:
    plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
    zeros = conv.padding_mode == "zeros" and conv.padding in {(0, 0), (1, 1)}
    wide = min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
    return conv.kernel_size == (KERNEL_SIZE, KERNEL_SIZE) and plain and zeros and wide


def _is_quicker(x: Tensor, weight: Tensor) -> bool:
    """Say whether Winograd's method is to be taken for this convolution, here and now."""
    channels, side = min(weight.shape[:2]), min(x.shape[2:])
    if weight.shape[2:] != (KERNEL_SIZE, KERNEL_SIZE) or x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    if channels < (LEAST_CHANNELS if side >= LEAST_SIDE else LEAST_WIDE_CHANNELS) or side < LEAST_WIDE_SIDE:
        return False
    return not (torch.is_grad_enabled() or exporting()) and has_winograd()


@cache
def has_winograd() -> bool:
    """Say whether this torch carries the method for this processor, and whether it computes what it should."""
    available = getattr(torch, "_nnpack_available", None)
    if available is None or not hasattr(torch, "_nnpack_spatial_convolution") or not available():
        return False
    values = torch.linspace(-1, 1, 2 * LEAST_SIDE**2).reshape(1, 2, LEAST_SIDE, LEAST_SIDE)
    weight = torch.linspace(-1, 1, 36).reshape(2, 2, 3, 3)
    with torch.no_grad():
        plain = functional.conv2d(values, weight, padding=1)
        try:
            quick = _winograd(values, weight, None, 1)
        except RuntimeError:  # the operator stands in some builds for processors that it cannot use
            return False
    error = (quick - plain).abs().max() / plain.abs().max()
    return bool(error < PROBE_TOLERANCE)


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int | tuple[int, int]) -> Tensor:
    # The operator knows this one layout of memory only.
    result: Tensor = torch._nnpack_spatial_convolution(
        x.contiguous(), weight.contiguous(), bias, padding=padding
    )
    return result

"""ParseNet for inference: the same sums with batch norms folded, and with what two branches share done once.

In a block both the shortcut and the first convolution see the input with its borders reflected, and where the block
enlarges with its pixels repeated too. Reflecting repeated pixels is repeating the borders' pixels, so both can be
computed at the size before the repetition, for four phases of the result. Shapes are written B C H W.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import convolve, in_phases, repeated_pixels_weight
from facerestore.archs.parsenet import LEAKY_SLOPE, ParseNet, ResidualBlock, fold_norms

LEAST_POLYPHASE_SIDE = 128
"""Side before the repetition of pixels from which four phases at that size are quicker (measured)."""


class FusedBlock(nn.Module):
    """A `ResidualBlock` that does not enlarge, its norms folded."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first, self.second = block.conv1.conv2d, block.conv2.conv2d
        self.shortcut = None if block.plain else block.shortcut_func.conv2d

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W, or halved."""
        reflected = _reflected(x)
        first = functional.leaky_relu_(_convolved(self.first, reflected), LEAKY_SLOPE)
        second = _convolved(self.second, _reflected(first))
        return second.add_(x if self.shortcut is None else _convolved(self.shortcut, reflected))


class FusedEnlargingBlock(nn.Module):
    """A `ResidualBlock` that doubles the size, its norms folded."""

    weight: Tensor
    bias: Tensor

    def __init__(self, block: ResidualBlock, *, polyphase: bool) -> None:
        super().__init__()
        branches = [block.shortcut_func.conv2d, block.conv1.conv2d]
        weight = torch.cat([conv.weight.detach() for conv in branches])
        bias = torch.cat([cast(Tensor, conv.bias).detach() for conv in branches])
        self.polyphase = polyphase
        self.register_buffer("weight", repeated_pixels_weight(weight) if polyphase else weight)
        self.register_buffer("bias", bias.repeat_interleave(4) if polyphase else bias)
        self.second = block.conv2.conv2d

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' 2H 2W."""
        if self.polyphase:
            bordered = functional.pad(x, (1, 1, 1, 1), mode="replicate")
            shortcut, first = in_phases(convolve(bordered, self.weight, self.bias)).chunk(2, dim=1)
        else:
            bordered = _reflected(functional.interpolate(x, scale_factor=2, mode="nearest"))
            shortcut, first = convolve(bordered, self.weight, self.bias).chunk(2, dim=1)
        second = _convolved(self.second, _reflected_whole(functional.leaky_relu_(first, LEAKY_SLOPE)))
        second.view(shortcut.shape).add_(shortcut)
        return second


def _convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the convolution of features that have their borders."""
    if conv.stride == (1, 1):
        return convolve(x, conv.weight, conv.bias)
    return functional.conv2d(x, conv.weight, conv.bias, stride=conv.stride)


def _reflected(x: Tensor) -> Tensor:
    """B C H W -> B C H+2 W+2."""
    return functional.pad(x, (1, 1, 1, 1), mode="reflect")


def _reflected_whole(x: Tensor) -> Tensor:
    """B C H W, or the phases B C H/2 2 W/2 2 -> B C H+2 W+2."""
    if x.dim() == 4:
        return _reflected(x)
    batch, width, rows, _, columns, _ = x.shape
    y = x.new_empty(batch, width, 2 * rows + 2, 2 * columns + 2)
    y[:, :, 1:-1, 1:-1].view(x.shape).copy_(x)
    y[:, :, 0, 1:-1], y[:, :, -1, 1:-1] = y[:, :, 2, 1:-1], y[:, :, -3, 1:-1]
    y[:, :, :, 0], y[:, :, :, -1] = y[:, :, :, 2], y[:, :, :, -3]
    return y


def fuse_parsenet(network: ParseNet, *, side: int) -> ParseNet:
    """Fold norms and put quicker blocks in the place of the network's, in place; return it, not for training.

    Args:
        network: as it was trained.
        side: of the faces that it will be given, pixels; at another it is right too, but maybe slower.
    """
    fold_norms(network)
    for blocks in (network.encoder, network.body, network.decoder):
        for index, block in enumerate(blocks):
            if not isinstance(block, ResidualBlock):
                continue
            if blocks is network.decoder:
                own_side = side // network.config.reduction << index
                blocks[index] = FusedEnlargingBlock(block, polyphase=own_side >= LEAST_POLYPHASE_SIDE)
            else:
                blocks[index] = FusedBlock(block)
    return network

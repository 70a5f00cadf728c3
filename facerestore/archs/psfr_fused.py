"""PSFR-GAN's style blocks for inference: the same sums in half as many convolutions.

Both norms of a block see the same condition, and the scale and the shift of a norm come from the same features, so
their convolutions are one each. Shapes are written B C H W.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import convolve
from facerestore.archs.ops import LEAKY_SLOPE
from facerestore.archs.psfr import INSTANCE_EPS, STYLE_CHANNELS, PSFRGenerator, StyleBlock, StyleNorm


class FusedStyleBlock(nn.Module):
    """A `StyleBlock` in four convolutions and the two of its features, for inference."""

    style_weight: Tensor
    style_bias: Tensor

    def __init__(self, block: StyleBlock) -> None:
        super().__init__()
        norms = (block.norm_0, block.norm_1)
        firsts = [cast(nn.Conv2d, norm.conv1[0]) for norm in norms]
        self.register_buffer("style_weight", torch.cat([conv.weight.detach() for conv in firsts]))
        self.register_buffer("style_bias", torch.cat([cast(Tensor, conv.bias).detach() for conv in firsts]))
        for index, norm in enumerate(norms):
            weight, bias = _scale_and_shift(norm)
            self.register_buffer(f"weight_{index}", weight)
            self.register_buffer(f"bias_{index}", bias)
        self.conv_0 = block.conv_0
        self.conv_1 = block.conv_1

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """B C H W, B 22 H W -> B C H W."""
        styles = functional.conv2d(condition, self.style_weight, self.style_bias, padding=1)
        first, second = torch.split(functional.leaky_relu_(styles, LEAKY_SLOPE), STYLE_CHANNELS, dim=1)
        h = self.conv_0(self._restyled(x, first, 0))
        y: Tensor = self.conv_1(self._restyled(h, second, 1)).add_(x)
        return y

    def _restyled(self, x: Tensor, style: Tensor, index: int) -> Tensor:
        """Return the normalised features, scaled, shifted and activated."""
        weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
        gamma, beta = convolve(style, weight, bias, padding=1).chunk(2, dim=1)
        normalised = functional.instance_norm(x, eps=INSTANCE_EPS)
        return functional.leaky_relu_(torch.addcmul(beta, normalised, gamma), LEAKY_SLOPE)


def _scale_and_shift(norm: StyleNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that gives gamma, then beta."""
    convs = (norm.gamma_conv, norm.beta_conv)
    weight = torch.cat([conv.weight.detach() for conv in convs])
    return weight, torch.cat([cast(Tensor, conv.bias).detach() for conv in convs])


def fuse_style_blocks(network: PSFRGenerator) -> PSFRGenerator:
    """Put `FusedStyleBlock` in the place of each style block, in place; return the network, not for training."""
    network.head[1] = FusedStyleBlock(cast(StyleBlock, network.head[1]))
    for stage in network.body:
        blocks = cast(nn.ModuleList, stage)
        blocks[2] = FusedStyleBlock(cast(StyleBlock, blocks[2]))
    return network

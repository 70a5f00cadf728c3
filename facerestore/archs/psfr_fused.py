"""PSFR-GAN for inference: the same sums in fewer and cheaper convolutions.

Both norms of a block see the same condition, and the scale and the shift of a norm come from the same features, so
their convolutions are one each. Pixels are not repeated before they are convolved, and what no face changes is computed
once. Shapes are written B C H W.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import convolve, repeated_pixels_weight
from facerestore.archs.ops import LEAKY_SLOPE
from facerestore.archs.psfr import INSTANCE_EPS, STYLE_CHANNELS, PSFRGenerator, StyleBlock, StyleNorm

LEAST_POLYPHASE_SIDE = 128
"""Side before the repetition of pixels from which the convolution is quicker at that size (measured)."""


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
        styles = convolve(condition, self.style_weight, self.style_bias, padding=1)
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


class FusedEnlarging(nn.Module):
    """The convolution of an `UpsamplingStage`, at the size before its pixels are repeated."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("weight", repeated_pixels_weight(conv.weight.detach()))
        self.register_buffer("bias", cast(Tensor, conv.bias).detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout 2H 2W."""
        return functional.pixel_shuffle(convolve(x, self.weight, self.bias, padding=1), 2)


def fuse_psfr(network: PSFRGenerator) -> PSFRGenerator:
    """Make a network quicker in place, and return it, not for training.

    Style blocks become `FusedStyleBlock`, convolutions behind a repetition of many pixels `FusedEnlarging`, and what
    the first convolution makes of the constant is computed once.
    """
    network.const_input = nn.Parameter(network.head[0](network.const_input).detach(), requires_grad=False)
    network.head[0] = nn.Identity()
    network.head[1] = FusedStyleBlock(cast(StyleBlock, network.head[1]))
    for stage, side in zip(network.body, network.config.sizes, strict=False):
        layers = cast(nn.ModuleList, stage)
        if side >= LEAST_POLYPHASE_SIDE:
            layers[0], layers[1] = nn.Identity(), FusedEnlarging(cast(nn.Conv2d, layers[1]))
        layers[2] = FusedStyleBlock(cast(StyleBlock, layers[2]))
    return network

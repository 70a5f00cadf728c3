"""ParseNet, the face parser of PSFR-GAN, GPEN and facexlib.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", CVPR 2021,
arXiv 2009.08709. Attribute names are those of the published checkpoints. Images are RGB in [-1, 1]. Shapes are
written B C H W.

`fuse_parsenet` makes the same sums quicker for inference: batch norms are folded, and what two branches share is done
once. In a block both the shortcut and the first convolution see the input with its borders reflected, and where the
block enlarges with its pixels repeated too. Reflecting repeated pixels is repeating the borders' pixels, so both can
be computed at the size before the repetition, for four phases of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facerestore.archs.convolution import convolve, in_phases, repeated_pixels_weight

LEAKY_SLOPE = 0.2
# Side before the repetition of pixels from which four phases at that size are quicker (measured).
LEAST_POLYPHASE_SIDE = 128

Scaling: TypeAlias = Literal["none", "down", "up"]


@dataclass(frozen=True, slots=True)
class ParseNetConfig:
    """The widths of a ParseNet; the defaults are those of every published one.

    Attributes:
        encoder: channels after the first convolution, then after each halving of the resolution.
        body_blocks: residual blocks at the lowest resolution.
        decoder: channels after each doubling of the resolution.
        classes: classes that are told apart.
    """

    encoder: tuple[int, ...] = (64, 128, 256, 256, 256)
    body_blocks: int = 10
    decoder: tuple[int, ...] = (256, 256, 128, 64)
    classes: int = 19

    @property
    def reduction(self) -> int:
        """The sides of the input are multiples of this, and at least twice it: reflection needs two pixels."""
        return 1 << (len(self.encoder) - 1)


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y


class ConvUnit(nn.Module):
    """A 3x3 convolution with reflected borders: doubled before, or halved by its stride; then norm and activation.

    With a norm it has no bias of its own.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        scaling: Scaling = "none",
        norm: bool = False,
        active: bool = False,
    ) -> None:
        super().__init__()
        self.enlarges = scaling == "up"
        self.active = active
        self.conv2d = nn.Conv2d(width_in, width, 3, stride=2 if scaling == "down" else 1, bias=not norm)
        if norm:
            self.norm = _Norm(width)
        self.normed = norm

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W, halved or doubled."""
        if self.enlarges:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")  # B C 2H 2W
        x = self.conv2d(_reflect(x))
        if self.normed:
            x = self.norm(x)
        return functional.leaky_relu(x, LEAKY_SLOPE) if self.active else x


def fold_norms(network: ParseNet) -> ParseNet:
    """Fold each batch norm into the convolution before it, in place, for inference; return the network."""
    for unit in network.modules():
        if isinstance(unit, ConvUnit) and unit.normed:
            unit.conv2d = fuse_conv_bn_eval(unit.conv2d, unit.norm.norm)
            unit.normed = False
    return network


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut; nothing is applied to their sum.

    Halving is done by the second convolution, doubling by the first.
    """

    def __init__(self, width_in: int, width: int, *, scaling: Scaling = "none") -> None:
        super().__init__()
        self.plain = scaling == "none" and width_in == width
        if not self.plain:
            self.shortcut_func = ConvUnit(width_in, width, scaling=scaling)
        first: Scaling = "up" if scaling == "up" else "none"
        second: Scaling = "down" if scaling == "down" else "none"
        self.conv1 = ConvUnit(width_in, width, scaling=first, norm=True, active=True)
        self.conv2 = ConvUnit(width, width, scaling=second, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W, halved or doubled."""
        shortcut = x if self.plain else self.shortcut_func(x)
        return torch.add(shortcut, self.conv2(self.conv1(x)))


class ParseNet(nn.Module):
    """Labels the parts of a face, and draws the face anew, which helped in training."""

    def __init__(self, config: ParseNetConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else ParseNetConfig()
        widths, middle = self.config.encoder, self.config.encoder[-1]
        self.encoder = nn.Sequential(
            ConvUnit(3, widths[0]),
            *(ResidualBlock(before, after, scaling="down") for before, after in pairwise(widths)),
        )
        self.body = nn.Sequential(*(ResidualBlock(middle, middle) for _ in range(self.config.body_blocks)))
        self.decoder = nn.Sequential(
            *(
                ResidualBlock(before, after, scaling="up")
                for before, after in pairwise((middle, *self.config.decoder))
            )
        )
        self.out_mask_conv = ConvUnit(self.config.decoder[-1], self.config.classes)
        self.out_img_conv = ConvUnit(self.config.decoder[-1], 3)

    def features(self, x: Tensor) -> Tensor:
        """B 3 H W in [-1, 1] -> B C H W, what both outputs are read from."""
        encoded = self.encoder(x)  # B C H/16 W/16
        y: Tensor = self.decoder(encoded + self.body(encoded))
        return y

    def logits(self, x: Tensor) -> Tensor:
        """B 3 H W in [-1, 1] -> B classes H W, larger where a class is likelier."""
        y: Tensor = self.out_mask_conv(self.features(x))
        return y

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B 3 H W in [-1, 1] -> logits B classes H W, and the image B 3 H W, not clamped."""
        features = self.features(x)
        return self.out_mask_conv(features), self.out_img_conv(features)


class FusedBlock(nn.Module):
    """A `ResidualBlock` that does not enlarge, its norms folded."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first, self.second = block.conv1.conv2d, block.conv2.conv2d
        self.shortcut = None if block.plain else block.shortcut_func.conv2d

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W, or halved."""
        reflected = _reflect(x)  # B C H+2 W+2
        first = functional.leaky_relu_(_convolve_inside(self.first, reflected), LEAKY_SLOPE)  # B C' H W
        second = _convolve_inside(self.second, _reflect(first))
        return second.add_(x if self.shortcut is None else _convolve_inside(self.shortcut, reflected))


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
            bordered = functional.pad(x, (1, 1, 1, 1), mode="replicate")  # B C H+2 W+2
            shortcut, first = in_phases(convolve(bordered, self.weight, self.bias)).chunk(2, dim=1)
        else:
            bordered = _reflect(functional.interpolate(x, scale_factor=2, mode="nearest"))  # B C 2H+2 2W+2
            shortcut, first = convolve(bordered, self.weight, self.bias).chunk(2, dim=1)
        second = _convolve_inside(self.second, _reflect_whole(functional.leaky_relu_(first, LEAKY_SLOPE)))
        second.view(shortcut.shape).add_(shortcut)
        return second


def _convolve_inside(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the convolution of features that have their borders."""
    if conv.stride == (1, 1):
        return convolve(x, conv.weight, conv.bias)
    return functional.conv2d(x, conv.weight, conv.bias, stride=conv.stride)


def _reflect(x: Tensor) -> Tensor:
    """B C H W -> B C H+2 W+2."""
    return functional.pad(x, (1, 1, 1, 1), mode="reflect")


def _reflect_whole(x: Tensor) -> Tensor:
    """B C H W, or the phases B C H/2 2 W/2 2 -> B C H+2 W+2."""
    if x.dim() == 4:
        return _reflect(x)
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

"""ParseNet, the face parser of PSFR-GAN, GPEN and facexlib.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", CVPR 2021,
arXiv 2009.08709. Attribute names are those of the published checkpoints. Images are RGB in [-1, 1]. Shapes are
written B C H W.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

LEAKY_SLOPE = 0.2

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
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"))
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
        y: Tensor = shortcut + self.conv2(self.conv1(x))
        return y


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
        encoded = self.encoder(x)
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

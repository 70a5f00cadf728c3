"""PSFR-GAN: a face grown from a learnt constant, restyled at each scale by the degraded face and its parsing map.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", arXiv 2009.08709.
The network has no latent code and no noise. Attribute names and shapes are those of the published checkpoint;
that one has spectral norm on every convolution, which `facerestore.archs.spectral` folds into plain weights
for inference or attaches for training. Images are RGB in [-1, 1]. Shapes are written B C H W.

Between the style blocks there are only upsampling and convolutions, and each block adds to what it is given.
So the picture is a sum: what the constant gives, and what the style block of each scale adds to it
(`PSFRGenerator.pictures`).

`fuse_psfr` makes the same sums quicker for inference. Both norms of a block see the same condition, and the scale and
the shift of a norm come from the same features, so their convolutions are one each; pixels are not repeated before
they are convolved; and what no face changes is computed once.

The bias of each block's first convolution has no effect, since the instance norm behind it removes it; it is
kept for the checkpoint, and its gradient is zero. The same holds in the discriminator, from its second layer on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import convolve, repeated_pixels_weight
from facerestore.archs.exporting import exporting
from facerestore.archs.ops import LEAKY_SLOPE, normal_parameter
from facerestore.archs.resizing import reduced

# The classes of CelebAMask-HQ (arXiv 1907.11922).
CLASSES = 19
# What styles are computed from: the degraded face, then one plane for each class.
CONDITION_CHANNELS = 3 + CLASSES
# Channels between the condition and the style, whatever the scale; fixed in the published network.
STYLE_CHANNELS = 64
# Channels times side at the coarsest scale, before the limits.
COARSE_PRODUCT = 16384
# torch's default, which the published network was trained with.
INSTANCE_EPS = 1e-5
# The discriminator widens up to this.
MOST_DISCRIMINATOR_CHANNELS = 1024
# Standard deviation of its first weights, as the published recipe draws them.
DISCRIMINATOR_INIT_STD = 0.02
# Side before the repetition of pixels from which the fused convolution is quicker at that size (measured).
LEAST_POLYPHASE_SIDE = 128


@dataclass(frozen=True, slots=True)
class PSFRConfig:
    """Shape of the generator.

    Attributes:
        face_size: side of the output, pixels; a power of two times ``least_size``.
        least_size: side of the learnt constant, pixels.
        ch_range: least and most channels of a scale.
    """

    face_size: int = 512
    least_size: int = 16
    ch_range: tuple[int, int] = (32, 1024)

    def __post_init__(self) -> None:
        """Check the sizes."""
        scales, rest = divmod(self.face_size, max(self.least_size, 1))
        if self.least_size < 2 or rest or scales < 1 or scales & (scales - 1):
            raise ValueError(
                f"face size {self.face_size} is no power of two times the least size {self.least_size}"
            )
        if not 1 <= self.ch_range[0] <= self.ch_range[1]:
            raise ValueError(f"the range of channels is {self.ch_range}, it must be positive and ascending")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the features, coarsest first: 16, 32, ..., ``face_size``."""
        scales = (self.face_size // self.least_size).bit_length()
        return tuple(self.least_size << scale for scale in range(scales))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each of `sizes`: halved with each doubling of the side, within ``ch_range``."""
        least, most = self.ch_range
        coarsest = min(max(COARSE_PRODUCT // self.least_size, least), most)
        return tuple(max(coarsest >> scale, least) for scale in range(len(self.sizes)))


def conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return the 3 x 3 convolution that keeps the size, with zero padding and bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class StyleNorm(nn.Module):
    """Normalise each channel of each face, then scale and shift every pixel as the condition says.

    Like SPADE (arXiv 1903.07291, equation 1), except that the scale is gamma itself and not 1 + gamma.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv3(CONDITION_CHANNELS, STYLE_CHANNELS), nn.LeakyReLU(LEAKY_SLOPE))
        self.gamma_conv = conv3(STYLE_CHANNELS, channels)
        self.beta_conv = conv3(STYLE_CHANNELS, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """B C H W, B 22 H W -> B C H W."""
        style = self.conv1(condition)  # B 64 H W
        normalised = functional.instance_norm(x, eps=INSTANCE_EPS)
        return torch.addcmul(self.beta_conv(style), normalised, self.gamma_conv(style))


class StyleNormRef(StyleNorm):
    """`StyleNorm` that resizes the condition for itself, as published."""

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """B C H W, B 22 S S -> B C H W."""
        return super().forward(x, resized_condition(condition, x.shape[-1]))


class StyleBlock(nn.Module):
    """Add to the features what two styled convolutions make of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_0 = StyleNorm(channels)
        self.conv_0 = conv3(channels, channels)
        self.norm_1 = StyleNorm(channels)
        self.conv_1 = conv3(channels, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """B C H W, B 22 H W -> B C H W."""
        h = self.conv_0(functional.leaky_relu(self.norm_0(x, condition), LEAKY_SLOPE))  # B C H W
        h = self.conv_1(functional.leaky_relu(self.norm_1(h, condition), LEAKY_SLOPE))
        return torch.add(x, h)


class UpsamplingStage(nn.ModuleList):
    """One scale: double the size by repeating pixels, convolve, restyle."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            [nn.Upsample(scale_factor=2), conv3(in_channels, out_channels), StyleBlock(out_channels)]
        )

    def carry(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout 2H 2W, not yet restyled; linear but for its bias."""
        y: Tensor = self[1](self[0](x))
        return y

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """B Cin H W, B 22 2H 2W -> B Cout 2H 2W."""
        y: Tensor = self[2](self.carry(x), condition)
        return y


class PSFRGenerator(nn.Module):
    """Degraded face and one-hot parsing map in, restored face out.

    In bfloat16 the published size departs from float32 by at most 0.8 % of the largest value (measured on a CPU
    with random weights).
    """

    def __init__(self, config: PSFRConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.const_input = normal_parameter(1, widths[0], config.least_size, config.least_size)
        self.head = nn.ModuleList([conv3(widths[0], widths[0]), StyleBlock(widths[0])])
        self.body = nn.ModuleList(map(UpsamplingStage, widths[:-1], widths[1:]))
        self.img_out = conv3(widths[-1], 3)

    def forward(self, x: Tensor, parsing: Tensor) -> Tensor:
        """B 3 H W in [-1, 1], B 19 H W one-hot -> B 3 S S with S the face size, nominally in [-1, 1], not clamped."""
        y: Tensor = self.img_out(self.features(x, parsing)[-1])  # B C S S -> B 3 S S
        return y

    def features(self, x: Tensor, parsing: Tensor) -> list[Tensor]:
        """Return the features of each scale, coarsest first: B C s s for each s of ``config.sizes``.

        Args:
            x: B 3 H W; any size, its own is best.
            parsing: B 19 H W.
        """
        coarsest, *finer = self.conditions(torch.cat((x, parsing), dim=1))  # B 22 s s each
        constant = self.head[0](self.const_input).expand(x.shape[0], -1, -1, -1)  # B C 16 16
        features = [self.head[1](constant, coarsest)]
        for stage, condition in zip(self.body, finer, strict=True):
            features.append(stage(features[-1], condition))  # B C s s
        return features

    def conditions(self, condition: Tensor) -> list[Tensor]:
        """Return the condition of each scale, which its two norms share: B 22 H W -> B 22 s s."""
        return [resized_condition(condition, size) for size in self.config.sizes]

    def pictures(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the picture that the network has reached at each scale, all at full size.

        The first is what it gives without any style block, equal for all faces; each further one has the block
        of one more scale; the last is what `forward` gives. So the difference of neighbours is what a scale adds.

        Args:
            features: what `features` gives for B faces.

        Returns:
            1 + scales tensors, the first 1 3 S S, the others B 3 S S.
        """
        partial = [self.head[0](self.const_input), features[0]]  # C 16 16 with batch 1, then B
        for stage, restyled in zip(self.body, features[1:], strict=True):
            partial = [*map(cast(UpsamplingStage, stage).carry, partial), restyled]
        return [self.img_out(x) for x in partial]


class PSFRGeneratorRef(PSFRGenerator):
    """`PSFRGenerator` whose norms are each given the whole condition, as published."""

    def conditions(self, condition: Tensor) -> list[Tensor]:
        """Return the condition once for each scale."""
        return [condition] * len(self.config.sizes)


def resized_condition(condition: Tensor, size: int) -> Tensor:
    """Return the condition, B 22 H W, at one size: itself where it fits.

    Bicubic without a low-pass filter, the planes of the classes too, so that they leave [0, 1]: the network was
    trained with that.
    """
    if condition.shape[-2:] == (size, size):
        return condition
    if exporting() and condition.shape[-1] % (2 * size) == 0:
        return reduced(condition, condition.shape[-1] // size)
    return functional.interpolate(condition, size=(size, size), mode="bicubic", align_corners=False)


def one_hot(labels: Tensor) -> Tensor:
    """Return B H W class ids, 0 to 18, as B 19 H W float32 planes of 0 and 1."""
    classes = torch.arange(CLASSES, device=labels.device).reshape(1, CLASSES, 1, 1)
    return (labels.long().unsqueeze(1) == classes).float()


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
        styles = convolve(condition, self.style_weight, self.style_bias, padding=1)  # B 128 H W
        first, second = torch.split(functional.leaky_relu_(styles, LEAKY_SLOPE), STYLE_CHANNELS, dim=1)
        h = self.conv_0(self._restyled(x, first, 0))  # B C H W
        y: Tensor = self.conv_1(self._restyled(h, second, 1)).add_(x)
        return y

    def _restyled(self, x: Tensor, style: Tensor, index: int) -> Tensor:
        """Return the normalised features, scaled, shifted and activated."""
        weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
        gamma, beta = convolve(style, weight, bias, padding=1).chunk(2, dim=1)  # B C H W each
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


class Judgement(NamedTuple):
    """The output of a discriminator at one scale: B 1 H' W' scores, and the activations of its layers."""

    score: Tensor
    features: list[Tensor]


class ReflectedConv(nn.Module):
    """A layer of the discriminator: convolution and leaky ReLU, with halving and instance norm between or without."""

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect")
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout H W, or of half the size."""
        x = self.conv2d(x)  # B Cout H W
        if self.halve:
            x = functional.instance_norm(functional.avg_pool2d(x, 2), eps=INSTANCE_EPS)
        return functional.leaky_relu(x, LEAKY_SLOPE)


class ScoreHead(nn.Module):
    """Scores of overlapping patches."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(channels, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B 1 H-2 W-2."""
        y: Tensor = self.conv2d(x)
        return y


class PatchDiscriminator(nn.Module):
    """Judges the patches of a picture at one scale."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        widths = [min(width << layer, MOST_DISCRIMINATOR_CHANNELS) for layer in range(layers + 1)]
        first = ReflectedConv(CONDITION_CHANNELS, widths[0], halve=False)
        rest = [ReflectedConv(a, b, halve=True) for a, b in pairwise(widths)]
        self.model = nn.ModuleList([first, *rest])
        self.score_out = ScoreHead(widths[-1])

    def forward(self, x: Tensor) -> Judgement:
        """B 22 H W -> scores and activations."""
        features: list[Tensor] = []
        for layer in self.model:
            x = layer(x)  # B C H W, halved from the second layer on
            features.append(x)
        return Judgement(self.score_out(x), features)


class PSFRDiscriminator(nn.Module):
    """Judges faces together with their parsing maps, at several scales by networks of their own.

    It too is trained with spectral norm on every convolution (`facerestore.archs.spectral`).

    Args:
        width: channels of the first layer; doubled by each further one, to at most 1024.
        layers: layers that halve the size.
        scales: networks; each sees half the size of the one before.
    """

    def __init__(self, width: int = 64, *, layers: int = 4, scales: int = 3) -> None:
        super().__init__()
        self.D_pool = nn.ModuleList(PatchDiscriminator(width, layers) for _ in range(scales))
        for name, parameter in self.named_parameters():
            if parameter.is_meta:  # has no values, and a draw would load torch's decompositions
                continue
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=DISCRIMINATOR_INIT_STD)

    def forward(self, x: Tensor, parsing: Tensor) -> list[Judgement]:
        """B 3 H W in [-1, 1], B 19 H W one-hot -> one judgement per scale; sides are at least 192 with 3 scales."""
        x = torch.cat((x, parsing), dim=1)  # B 22 H W
        judgements: list[Judgement] = []
        for network in self.D_pool:
            if judgements:
                x = functional.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            judgements.append(network(x))
        return judgements

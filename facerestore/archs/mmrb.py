"""MMRB: an asymmetric codec of mixed multi-path residual blocks that steers a StyleGAN2 prior.

An independent implementation after Hu et al., "Enhancing Quality of Pose-varied Face Restoration with Local Weak
Feature Sensing and GAN Prior", arXiv 2205.14377. The abstract gives the structure: such blocks gradually extract
weak texture features of the input, in an asymmetric codec before a StyleGAN2 prior network. What it leaves open is
decided here, each behind a field of `MMRBConfig`; no number here is the paper's.

The encoder has the blocks, the decoder is light. The deepest feature gives each layer's style as an offset from the
mean style; the decoder's features scale and shift half the channels of the prior. Images are RGB in [-1, 1]; shapes
are written B C H W, D is the length of a style, L their count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.lite import conv
from facerestore.archs.ops import LEAKY_SLOPE
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig, Upsampling, enlarge_bilinear, resolutions

Injection: TypeAlias = Literal["sft_half", "sft_full", "add", "noise_concat"]
"""How decoder features reach the prior: scale and shift of the second half of its channels (GFPGAN's balance of
likeness and realism) or of all; added; or as noise beside the channels (GPEN), which needs a prior of that form."""

INJECTIONS: tuple[Injection, ...] = ("sft_half", "sft_full", "add", "noise_concat")

# The attention's hidden width: with fewer than eight units all may be off at the start, and their weights never learn.
ATTENTION_REDUCTION = 16
ATTENTION_MIN_WIDTH = 8


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """Shape of a mixed multi-path residual block.

    Attributes:
        paths: (kernel size, dilation, share of the channels) of each parallel convolution; the shares add to 1.
        rounds: how often the channels go through the paths and are put together again.
        attention: weigh the result's channels by its mean over the picture.
        beta_init: the learnt gain of the residual branch, at first.
    """

    paths: tuple[tuple[int, int, float], ...] = ((3, 1, 0.5), (5, 1, 0.25), (3, 2, 0.25))
    rounds: int = 2
    attention: bool = True
    beta_init: float = 0.2

    def __post_init__(self) -> None:
        """Check the paths."""
        if not self.paths or abs(sum(share for _, _, share in self.paths) - 1) > 1e-6 or self.rounds < 1:
            raise ValueError(
                f"a block needs paths whose shares add to 1, and rounds; got {self.paths}, {self.rounds}"
            )
        if any(kernel % 2 == 0 or kernel < 1 or dilation < 1 for kernel, dilation, _ in self.paths):
            raise ValueError(f"kernel sizes must be odd and dilations from 1, got {self.paths}")

    def widths(self, channels: int) -> list[int]:
        """Return the output channels of each path for a block of ``channels``."""
        widths = [round(channels * share) for _, _, share in self.paths]
        if sum(widths) != channels or min(widths) < 1:
            raise ValueError(f"{channels} channels cannot be shared as {self.paths} says")
        return widths


@dataclass(frozen=True, slots=True)
class MMRBConfig:
    """Shape of the network.

    Attributes:
        face_size: side of input and output, pixels; a power of two from 8.
        style_dim: length of a style; the latent head's hidden width too.
        channel_multiplier: widens the layers from 64 px on; it is the prior's.
        narrow: scales every width.
        block: shape of the encoder's blocks.
        block_counts: blocks at 4, 8, 16, ... px; entries above ``face_size`` are dropped.
        inject: how decoder features reach the prior.
        mod_max_res: finest resolution that they reach, pixels; 0 for ``face_size``.
        upsampling: how the prior doubles sizes; it is the prior's.
    """

    face_size: int
    style_dim: int = 512
    channel_multiplier: float = 1
    narrow: float = 1
    block: BlockConfig = field(default_factory=BlockConfig)
    block_counts: tuple[int, ...] = (1, 1, 2, 2, 2, 1, 1, 1, 1)
    inject: Injection = "sft_half"
    mod_max_res: int = 0
    upsampling: Upsampling = "fir"

    def __post_init__(self) -> None:
        """Check the values and fill in those that follow from the size."""
        levels = len(resolutions(self.face_size))
        object.__setattr__(self, "mod_max_res", self.mod_max_res or self.face_size)
        if self.inject not in INJECTIONS:
            raise ValueError(f"inject is {self.inject!r}, not one of {', '.join(INJECTIONS)}")
        if len(self.block_counts) < levels or min(self.block_counts) < 0:
            raise ValueError(f"{self.face_size} px faces need {levels} block counts, got {self.block_counts}")
        if self.mod_max_res not in resolutions(self.face_size)[1:]:
            raise ValueError(
                f"mod_max_res must be a power of two from 8 to {self.face_size}, got {self.mod_max_res}"
            )
        object.__setattr__(self, "block_counts", tuple(self.block_counts[:levels]))

    def prior(self) -> GeneratorConfig:
        """Return the shape of the prior, without a mapping network."""
        return GeneratorConfig(
            face_size=self.face_size,
            style_dim=self.style_dim,
            mapping_layers=0,
            channel_multiplier=self.channel_multiplier,
            narrow=self.narrow,
            upsampling=self.upsampling,
            noise_mode="concat" if self.inject == "noise_concat" else "add",
        )

    def width(self, resolution: int) -> int:
        """Return the codec's channels at ``resolution`` pixels: half of the prior's."""
        return self.prior().width(resolution) // 2

    def modulated(self) -> list[int]:
        """Return the resolutions at which decoder features reach the prior, coarse to fine."""
        return [size for size in resolutions(self.face_size) if 8 <= size <= self.mod_max_res]

    def head_width(self, resolution: int) -> int:
        """Return the channels that a modulation head gives: one or two for each that it changes."""
        width = self.prior().width(resolution)
        return 2 * width if self.inject == "sft_full" else width


class MixedMultiPathBlock(nn.Module):
    """x + beta * attention(mix(paths(paths(x)))): B C H W -> B C H W, any size; it fits in any network.

    Each round sends all channels through parallel convolutions of different kernels and dilations, whose outputs
    together are C channels again, so that the next round's paths see what all of this round's found.
    """

    def __init__(self, channels: int, config: BlockConfig | None = None) -> None:
        super().__init__()
        config = config or BlockConfig()
        self.rounds = nn.ModuleList(_parallel_paths(channels, config) for _ in range(config.rounds))
        self.mix = _conv(channels, channels, 1, slope=1.0)
        self.attention = ChannelAttention(channels) if config.attention else nn.Identity()
        self.beta = nn.Parameter(torch.full((1, channels, 1, 1), config.beta_init))

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        y = x
        for paths in self.rounds:
            # The paths' widths add up: B C H W.
            y = torch.cat([_lrelu(path(y)) for path in paths.values()], dim=1)  # type: ignore[operator]
        return torch.add(x, self.beta * self.attention(self.mix(y)))


def _parallel_paths(channels: int, config: BlockConfig) -> nn.ModuleDict:
    """Return one round's convolutions; the names tell what no shape does, the dilation."""
    return nn.ModuleDict(
        {
            f"{index}_k{kernel}_d{dilation}": _conv(channels, width, kernel, dilation=dilation)
            for index, ((kernel, dilation, _), width) in enumerate(
                zip(config.paths, config.widths(channels), strict=True)
            )
        }
    )


class ChannelAttention(nn.Module):
    """Scales each channel by a number from 0 to 1 that follows from all channels' means (arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // ATTENTION_REDUCTION, ATTENTION_MIN_WIDTH)
        self.squeeze = _conv(channels, hidden, 1)
        self.excite = _conv(hidden, channels, 1, slope=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        means = x.mean(dim=(2, 3), keepdim=True)  # B C 1 1
        importance = torch.sigmoid(self.excite(_lrelu(self.squeeze(means))))  # B C 1 1
        return x * importance


class DownBlock(nn.Module):
    """LReLU(strided convolution) + 1x1 of the average: B C H W -> B C' H/2 W/2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, 3, stride=2, padding=1)
        self.skip = _conv(in_channels, out_channels, 1, bias=False, slope=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H/2 W/2."""
        return _lrelu(self.conv(x)).add(self.skip(functional.avg_pool2d(x, 2)))


class UpBlock(nn.Module):
    """LReLU(convolution of the enlarged coarse feature + 1x1 of the encoder's feature of this size)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, 3)
        self.skip = _conv(out_channels, out_channels, 1)

    def forward(self, coarse: Tensor, encoded: Tensor) -> Tensor:
        """B C H W and B C' 2H 2W -> B C' 2H 2W."""
        return _lrelu(self.conv(enlarge_bilinear(coarse)) + self.skip(encoded))


class LatentHead(nn.Module):
    """The deepest feature to one style offset for each layer, at first zero: B C 4 4 -> B L D."""

    def __init__(self, channels: int, config: MMRBConfig) -> None:
        super().__init__()
        self.count = config.prior().latent_count
        self.hidden = nn.Linear(channels * 4 * 4, config.style_dim)
        self.offsets = nn.Linear(config.style_dim, self.count * config.style_dim)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor) -> Tensor:
        """B C 4 4 -> B L D."""
        offsets: Tensor = self.offsets(_lrelu(self.hidden(x.flatten(1))))  # B L*D
        return offsets.reshape(x.shape[0], self.count, -1)


class Codes(NamedTuple):
    """The codec's output for faces.

    Attributes:
        offsets: B L D, each layer's style less the mean style.
        features: by resolution from 8 px, the decoder's features, B C r r.
        modulations: by resolution, what the heads made of them for the prior, B head_width r r.
    """

    offsets: Tensor
    features: dict[int, Tensor]
    modulations: dict[int, Tensor]


class MMRBCodec(nn.Module):
    """The asymmetric codec: an encoder of mixed multi-path residual blocks, and a light decoder.

    Modules are named by resolution; the heads' name tells the injection, which no shape does.
    """

    def __init__(self, config: MMRBConfig) -> None:
        super().__init__()
        self.config = config
        sizes = resolutions(config.face_size)
        width = {size: config.width(size) for size in sizes}
        self.stem = _conv(3, width[config.face_size], 3)
        self.encoder = nn.ModuleDict()
        self.down = nn.ModuleDict()
        self.decoder = nn.ModuleDict()
        self.rgb = nn.ModuleDict()
        for size, count in zip(sizes, config.block_counts, strict=True):
            blocks = (MixedMultiPathBlock(width[size], config.block) for _ in range(count))
            self.encoder[str(size)] = nn.Sequential(*blocks)
        for half, size in pairwise(sizes):
            self.down[str(size)] = DownBlock(width[size], width[half])
            self.decoder[str(size)] = UpBlock(width[half], width[size])
            self.rgb[str(size)] = _conv(width[size], 3, 1, slope=1.0)
        self.latent = LatentHead(width[4], config)
        heads = {str(size): _zero_conv(width[size], config.head_width(size)) for size in config.modulated()}
        self.heads = nn.ModuleDict({config.inject: nn.ModuleDict(heads)})

    def forward(self, x: Tensor) -> Codes:
        """B 3 face_size face_size -> styles and modulations."""
        size = self.config.face_size
        if tuple(x.shape[1:]) != (3, size, size):
            raise ValueError(f"input has shape {tuple(x.shape)}; this network takes (B, 3, {size}, {size})")
        encoded = self.encode(x)
        features = self.decode(encoded)
        heads = self.heads.get_submodule(self.config.inject)
        modulations = {r: heads.get_submodule(str(r))(features[r]) for r in self.config.modulated()}
        return Codes(self.latent(encoded[4]), features, modulations)

    def encode(self, x: Tensor) -> dict[int, Tensor]:
        """Return the encoder's feature of each resolution, B C r r."""
        features: dict[int, Tensor] = {}
        x = _lrelu(self.stem(x))  # B C S S
        for size in reversed(resolutions(self.config.face_size)):
            features[size] = x = self.encoder[str(size)](x)
            if size > 4:
                x = self.down[str(size)](x)  # B C r/2 r/2
        return features

    def decode(self, encoded: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the decoder's feature of each resolution from 8 px, B C r r."""
        features: dict[int, Tensor] = {}
        x = encoded[4]
        for size in resolutions(self.config.face_size)[1:]:
            features[size] = x = self.decoder[str(size)](x, encoded[size])
        return features

    def side_images(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return an RGB view of each decoder feature, B 3 r r, for a loss at every size; restoring needs none."""
        return {size: self.rgb[str(size)](x) for size, x in features.items()}


class MMRBGenerator(nn.Module):
    """The restoration network: B 3 S S -> B 3 S S, RGB in [-1, 1], not clamped.

    At first it draws the prior's mean face whatever it is given. In eval mode it is deterministic.
    """

    def __init__(self, config: MMRBConfig) -> None:
        super().__init__()
        self.config = config
        self.codec = MMRBCodec(config)
        self.prior = StyleGAN2Prior(config.prior())

    def forward(self, x: Tensor) -> Tensor:
        """B 3 S S -> B 3 S S."""
        return self.synthesise(self.codec(x))

    @torch.no_grad()
    def adopt_prior(self, prior: StyleGAN2Prior) -> None:
        """Copy a trained prior's synthesis, mean style and noise into this network's; its mapping is not needed.

        Raises:
            ValueError: the prior has another shape.
        """
        wanted, given = self.config.prior(), replace(prior.config, mapping_layers=0)
        if given != wanted:
            raise ValueError(f"the network needs a prior of {wanted}, not {given}")
        own = {key: value for key, value in prior.state_dict().items() if not key.startswith("style.")}
        self.prior.load_state_dict(own)

    def synthesise(self, codes: Codes, *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return the faces, B 3 S S, that the prior draws from what the codec found.

        Args:
            codes: of the faces.
            noise: one tensor for each styled convolution of the prior; None takes the prior's own.
        """
        latents = self.prior.w_avg + codes.offsets  # B L D
        noise = self.prior.draw_noise(latents.shape[0]) if noise is None else noise
        if self.config.inject == "noise_concat":
            return self.prior.synthesise(latents, noise=_steered_noise(noise, codes.modulations))
        return self.prior.synthesise(
            latents, noise=noise, steer=lambda x, size: self._steer_features(x, codes.modulations.get(size))
        )

    def _steer_features(self, x: Tensor, modulation: Tensor | None) -> Tensor:
        if modulation is None:
            return x
        if self.config.inject == "add":
            return x + modulation
        scale, shift = modulation.chunk(2, dim=1)  # B C r r, or half of the channels
        if self.config.inject == "sft_full":
            return x * (1 + scale) + shift
        kept, changed = x.chunk(2, dim=1)  # B C/2 r r each
        return torch.cat([kept, changed * (1 + scale) + shift], dim=1)


def _steered_noise(noise: Sequence[Tensor], modulations: Mapping[int, Tensor]) -> list[Tensor]:
    """Return the noise plus the modulation of the same resolution, for each styled convolution."""
    return [n + modulations[n.shape[2]] if n.shape[2] in modulations else n for n in noise]


def _lrelu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, LEAKY_SLOPE)


_conv = partial(conv, slope=LEAKY_SLOPE)
"""A convolution behind which a leaky ReLU follows."""


def _zero_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 3x3 convolution that gives zero at first."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv

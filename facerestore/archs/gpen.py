"""GPEN: an encoder that steers a StyleGAN2 generator layer by layer.

Yang, Ren, Xie, Zhang, "GAN Prior Embedded Network for Blind Face Restoration in the Wild", arXiv 2105.06070.
The deepest encoder feature becomes the latent code; the feature of each resolution takes the place of the
generator's noise. So the network has no randomness, unless it gives larger faces than it takes. Attribute
names and shapes are those of the published checkpoints, which load strictly. Images are RGB in [-1, 1].
Shapes are written B C H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from facerestore.archs.ops import (
    NORM_EPS,
    ActivatedEqualLinear,
    ConvLayer,
    DownsamplingBlock,
    EqualLinear,
)
from facerestore.archs.stylegan2 import (
    GeneratorConfig,
    NoiseMode,
    SynthesisNetwork,
    layer_width,
    resolutions,
)

# Any fixed number will do: it makes runs repeat.
NOISE_SEED = 0


@dataclass(frozen=True, slots=True)
class GPENConfig(GeneratorConfig):
    """Shape of the network: of its generator, whose noise are the encoder's features, and of the input.

    Attributes:
        input_size: side of the input, pixels; a power of two from 8, or 0 for ``face_size``.
    """

    channel_multiplier: float = 2
    noise_mode: NoiseMode = "concat"
    input_size: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        object.__setattr__(self, "input_size", self.input_size or self.face_size)
        for size in (self.face_size, self.input_size):
            if size < 8 or size & (size - 1):
                raise ValueError(f"face and input size must be powers of two from 8, got {size}")


class PriorGenerator(SynthesisNetwork):
    """The StyleGAN2 generator inside GPEN; alone, the face prior that is trained first."""

    def noise_shapes(self) -> list[tuple[int, int, int]]:
        """Return (C, H, W) of each styled convolution's noise: one at 4 px, two at each larger size."""
        return [(self.config.width(side), side, side) for side in self.noise_sides]

    def forward(self, z: Tensor, *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return faces for latent codes.

        Args:
            z: B D, from a standard normal distribution.
            noise: one tensor for each entry of `noise_shapes`, B C H W or broadcast to it; None takes the
                same fixed normal noise at every call.

        Returns:
            B 3 face_size face_size.
        """
        latents = self.expand_latents(self.style(z))  # B L D
        return self.synthesise(latents, fixed_noise(self.noise_shapes(), z) if noise is None else noise)


class GPENGenerator(nn.Module):
    """The restoration network: B 3 input_size input_size -> B 3 face_size face_size, RGB in [-1, 1], not clamped."""

    def __init__(self, config: GPENConfig) -> None:
        super().__init__()
        self.config = config
        fine_to_coarse = resolutions(config.input_size)[::-1]
        widths = [config.width(size) for size in fine_to_coarse]
        self.ecd0 = nn.Sequential(ConvLayer(3, widths[0], 1))
        for index in range(1, len(widths)):
            layer = ConvLayer(widths[index - 1], widths[index], 3, downsample=True)
            self.add_module(f"ecd{index}", nn.Sequential(layer))
        self.encoder_depth = len(widths)
        self.final_linear = nn.Sequential(ActivatedEqualLinear(widths[-1] * 4 * 4, config.style_dim))
        self.generator = PriorGenerator(config)

    def forward(self, x: Tensor, *, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return restored faces.

        Args:
            x: B 3 input_size input_size.
            noise: only where face_size is above input_size: the noise of the layers that have no encoder
                feature, as `extra_noise_shapes` lists them; None takes the same fixed normal noise at every
                call.

        Returns:
            B 3 face_size face_size.
        """
        latents, features = self.encode(x)  # B L D; B C r r from 4 px on
        extra = fixed_noise(self.extra_noise_shapes(), x) if noise is None else noise
        return self.generator.synthesise(latents, self.layer_noise(features, extra))

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return each layer's style, B L D, and the encoder's features from 4 px to input_size."""
        size = self.config.input_size
        if tuple(x.shape[1:]) != (3, size, size):
            raise ValueError(f"input has shape {tuple(x.shape)}; this network takes (B, 3, {size}, {size})")
        features: list[Tensor] = []
        for index in range(self.encoder_depth):
            x = self.get_submodule(f"ecd{index}")(x)  # B C S/2^index S/2^index
            features.insert(0, x)
        w = self.generator.style(self.final_linear(x.flatten(1)))  # B C*4*4 -> B D
        return self.generator.expand_latents(w), features

    def layer_noise(self, features: Sequence[Tensor], extra: Sequence[Tensor]) -> list[Tensor]:
        """Return what each styled convolution takes as noise: the feature of its resolution, then ``extra``."""
        levels = min(len(features), len(resolutions(self.config.face_size)))
        coarsest, *finer = features[:levels]
        return [coarsest, *(feature for feature in finer for _ in range(2)), *extra]

    def extra_noise_shapes(self) -> list[tuple[int, int, int]]:
        """Return (C, H, W) of the noise of each styled convolution that works above the input size."""
        return [shape for shape in self.generator.noise_shapes() if shape[1] > self.config.input_size]


class GPENDiscriminator(nn.Module):
    """The residual StyleGAN2 discriminator: B 3 S S -> B 1 scores, high for real faces.

    A score depends on the other faces of its group, through `minibatch_stddev`.
    """

    def __init__(
        self, size: int, *, channel_multiplier: float = 2, narrow: float = 1, stddev_group: int = 0
    ) -> None:
        """Make a network for faces of ``size`` px; ``stddev_group`` as in `minibatch_stddev`."""
        super().__init__()
        self.stddev_group = stddev_group
        fine_to_coarse = resolutions(size)[::-1]
        widths = [layer_width(side, multiplier=channel_multiplier, narrow=narrow) for side in fine_to_coarse]
        blocks = [DownsamplingBlock(a, b) for a, b in pairwise(widths)]
        last = widths[-1]
        self.convs = nn.Sequential(ConvLayer(3, widths[0], 1), *blocks)
        self.final_conv = ConvLayer(last + 1, last, 3)
        self.final_linear = nn.Sequential(ActivatedEqualLinear(last * 4 * 4, last), EqualLinear(last, 1))

    def forward(self, x: Tensor) -> Tensor:
        """B 3 S S, RGB in [-1, 1] -> B 1."""
        return self.score(self.features(x)[-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """Return what the first layer and each block give for B 3 S S: B C r r for r = S, S/2, ..., 4."""
        found = []
        for block in self.convs:
            x = block(x)  # B C r r
            found.append(x)
        return found

    def score(self, deepest: Tensor) -> Tensor:
        """Return B 1 scores from the features at 4 px, B C 4 4."""
        x = self.final_conv(minibatch_stddev(deepest, group=self.stddev_group))  # B C+1 4 4 -> B C 4 4
        score: Tensor = self.final_linear(x.flatten(1))  # B 1
        return score


def minibatch_stddev(x: Tensor, *, group: int = 0) -> Tensor:
    """Append one constant channel, the standard deviation over a group of samples averaged over C, H and W.

    Progressive GAN (arXiv 1710.10196, section 3): B C H W -> B C+1 H W.

    Args:
        x: features.
        group: consecutive samples that are compared with each other, the last ones being fewer where the batch is no
            multiple; 0 for the whole batch, as GPEN has it. StyleGAN2 has 4.
    """
    if group and x.shape[0] > group:
        starts = range(0, x.shape[0], group)
        return torch.cat([minibatch_stddev(x[start : start + group]) for start in starts])
    variance = x.var(dim=0, unbiased=False)  # C H W
    mean = torch.sqrt(variance + NORM_EPS).mean()
    return torch.cat([x, mean.expand(x.shape[0], 1, *x.shape[2:])], dim=1)  # B C+1 H W


def fixed_noise(shapes: Sequence[tuple[int, int, int]], like: Tensor) -> list[Tensor]:
    """Return N(0, 1) tensors 1 C H W on the device and in the dtype of ``like``, the same at every call.

    One noise for all samples of a batch: a face does not depend on its neighbours, nor on the device.
    """
    source = torch.Generator("cpu").manual_seed(NOISE_SEED)
    return [torch.randn(1, *shape, generator=source).to(like) for shape in shapes]

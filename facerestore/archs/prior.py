"""The face prior: a plain StyleGAN2 generator whose features can be steered while it draws.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, configuration F: mapping
network, weight demodulation, RGB by skip connections. Noise is stored with the parameters, so that a result
repeats. Attribute names are those of rosinality/stylegan2-pytorch, of which most published checkpoints are;
`facerestore.backends.priors` brings others to them. Images are RGB in [-1, 1]; shapes are written B C H W, D is
the length of a style.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.gpen import layer_width, resolutions
from facerestore.archs.stylegan2 import ConstantInput, NoiseMode, StyledConv, ToRGB, mapping_network

Upsampling: TypeAlias = Literal["fir", "bilinear"]
"""How features and RGB double their size: the filter [1, 3, 3, 1] behind a transposed convolution, as StyleGAN2
does, or bilinear interpolation before a plain one, as the "clean" generators of GFPGAN do."""

Steer: TypeAlias = Callable[[Tensor, int], Tensor]
"""Changes the features behind the up-convolution of one resolution r: (B C r r, r) -> B C r r."""

# Any fixed number will do: it makes new networks alike.
NOISE_SEED = 0
# Styles that are averaged for the mean latent: what StyleGAN2's own projector takes (arXiv 1912.04958, appendix D).
MEAN_LATENT_SAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class PriorConfig:
    """Shape of the generator.

    Attributes:
        face_size: side of the output, pixels; a power of two from 8.
        style_dim: length of a style.
        mapping_layers: layers of the mapping network; 0 leaves it out, where styles come from elsewhere.
        channel_multiplier: widens the layers from 64 px on; 2 in the original, 1 in GFPGAN's.
        narrow: scales every width.
        upsampling: how sizes double; it belongs to the parameters and cannot be changed under them.
        noise_mode: noise added as in StyleGAN2, or concatenated as in GPEN, which doubles the widths behind it.
    """

    face_size: int
    style_dim: int = 512
    mapping_layers: int = 8
    channel_multiplier: float = 1
    narrow: float = 1
    upsampling: Upsampling = "fir"
    noise_mode: NoiseMode = "add"

    def __post_init__(self) -> None:
        """Check the size."""
        if self.face_size < 8 or self.face_size & (self.face_size - 1):
            raise ValueError(f"face size must be a power of two from 8, got {self.face_size}")

    def width(self, resolution: int) -> int:
        """Return the channels of the features that are ``resolution`` pixels wide."""
        return layer_width(resolution, multiplier=self.channel_multiplier, narrow=self.narrow)

    @property
    def latent_count(self) -> int:
        """Styles that one face takes: 2 log2(face_size) - 2."""
        return 2 * len(resolutions(self.face_size))


class StyleGAN2Prior(nn.Module):
    """Draws faces from styles; every layer may have its own (W+)."""

    w_avg: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        dim, mode = config.style_dim, config.noise_mode
        factor = 2 if mode == "concat" else 1
        is_fir = config.upsampling == "fir"
        coarsest, *self.sizes = resolutions(config.face_size)
        width = config.width(coarsest)
        self.style = mapping_network(dim, config.mapping_layers) if config.mapping_layers else nn.Identity()
        self.register_buffer("w_avg", torch.zeros(dim))
        self.input = ConstantInput(width)
        self.conv1 = StyledConv(width, width, style_dim=dim, noise_mode=mode)
        self.to_rgb1 = ToRGB(width * factor, style_dim=dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for size in self.sizes:
            before, width = width, config.width(size)
            up = StyledConv(
                before * factor, width, style_dim=dim, noise_mode=mode, resample="up" if is_fir else "same"
            )
            self.convs.extend([up, StyledConv(width * factor, width, style_dim=dim, noise_mode=mode)])
            self.to_rgbs.append(ToRGB(width * factor, style_dim=dim, upsample=is_fir))
        self.noises = _stored_noise([coarsest, *(size for size in self.sizes for _ in range(2))])

    def forward(self, z: Tensor) -> Tensor:
        """Return faces, B 3 S S.

        Args:
            z: B D, latent codes from a standard normal distribution; styles, where there is no mapping network.
        """
        return self.synthesise(self.expand_latents(self.style(z)))

    def expand_latents(self, w: Tensor) -> Tensor:
        """Give each layer the same style: B D -> B latent_count D."""
        return w.unsqueeze(1).expand(-1, self.config.latent_count, -1)

    def synthesise(
        self, latents: Tensor, *, noise: Sequence[Tensor] | None = None, steer: Steer | None = None
    ) -> Tensor:
        """Return faces for one style of each layer.

        Args:
            latents: B latent_count D.
            noise: one tensor for each styled convolution, coarse to fine, broadcast to its features; None takes
                `draw_noise`.
            steer: changes the features of each resolution from 8 px on.

        Returns:
            B 3 face_size face_size.
        """
        noise = self.draw_noise(latents.shape[0]) if noise is None else noise
        if len(noise) != len(self.convs) + 1:
            raise ValueError(f"{len(noise)} noise tensors for {len(self.convs) + 1} styled convolutions")
        x = self.conv1(self.input(latents.shape[0]), latents[:, 0], noise[0])
        image: Tensor = self.to_rgb1(x, latents[:, 1])
        for index, size in enumerate(self.sizes):
            layer = 2 * index + 1  # an RGB layer shares its style with the convolution that follows it
            x = self.convs[layer - 1](self._enlarge(x), latents[:, layer], noise[layer])
            if steer is not None:
                x = steer(x, size)
            x = self.convs[layer](x, latents[:, layer + 1], noise[layer + 1])
            image = self._add_rgb(index, x, latents[:, layer + 2], image)
        return image

    def draw_noise(self, batch: int) -> list[Tensor]:
        """Return each styled convolution's noise: the stored one, 1 1 r r; in training mode a new one, B 1 r r."""
        stored = [self.noises.get_buffer(f"noise_{index}") for index in range(len(self.convs) + 1)]
        if not self.training:
            return stored
        return [torch.randn_like(noise.expand(batch, -1, -1, -1)) for noise in stored]

    @torch.no_grad()
    def set_mean_latent(self, *, samples: int = MEAN_LATENT_SAMPLES, seed: int = NOISE_SEED) -> None:
        """Store as ``w_avg`` the mean style of ``samples`` normal latent codes, drawn on the CPU from ``seed``.

        Raises:
            ValueError: there is no mapping network to make styles with.
        """
        if not self.config.mapping_layers:
            raise ValueError(
                "a prior without mapping network cannot compute its mean style; load it with one"
            )
        source = torch.Generator("cpu").manual_seed(seed)
        z = torch.randn(samples, self.config.style_dim, generator=source, device="cpu").to(self.w_avg)
        self.w_avg.copy_(self.style(z).mean(dim=0))

    def _enlarge(self, x: Tensor) -> Tensor:
        """Double the size where the convolution that follows does not."""
        return x if self.config.upsampling == "fir" else enlarge_bilinear(x)

    def _add_rgb(self, index: int, x: Tensor, latent: Tensor, image: Tensor) -> Tensor:
        to_rgb = self.to_rgbs[index]
        if self.config.upsampling == "fir":
            rgb: Tensor = to_rgb(x, latent, image)
            return rgb
        own: Tensor = to_rgb(x, latent)
        return enlarge_bilinear(image) + own


def enlarge_bilinear(x: Tensor) -> Tensor:
    """B C H W -> B C 2H 2W; pixels are areas, so corners are not aligned."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _stored_noise(sizes: Sequence[int]) -> nn.Module:
    """Return a module that holds N(0, 1) buffers ``noise_0``, ``noise_1``, ..., 1 1 size size each."""
    source = torch.Generator("cpu").manual_seed(NOISE_SEED)
    holder = nn.Module()
    for index, size in enumerate(sizes):
        value = torch.empty(1, 1, size, size)
        if not value.is_meta:
            value.copy_(torch.randn(1, 1, size, size, generator=source, device="cpu"))
        holder.register_buffer(f"noise_{index}", value)
    return holder

"""StyleGAN2's generator: modulated convolution, noise injection, RGB output, mapping, and their sum.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, section 2.2 and
figure 2. Noise comes in two forms: added, as in StyleGAN2, or concatenated to the features as in GPEN (Yang
et al., "GAN Prior Embedded Network for Blind Face Restoration in the Wild", arXiv 2105.06070), which doubles
the channels behind each styled convolution. Attribute names are those of the published checkpoints. Shapes
are written B C H W; D is the length of a style, L the number of styles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import convolve
from facerestore.archs.exporting import exporting
from facerestore.archs.ops import (
    FIR_TAPS,
    NORM_EPS,
    ActivatedEqualLinear,
    EqualLinear,
    FusedLeakyReLU,
    PixelNorm,
    blur_after_transpose,
    blur_before_stride,
    normal_parameter,
    upsampler,
)

Resample: TypeAlias = Literal["same", "up", "down"]
"""What a modulated convolution does to the size: keep, double or halve."""

NoiseMode: TypeAlias = Literal["concat", "add"]
"""How noise joins the features: as further channels (GPEN), or summed (StyleGAN2)."""

Upsampling: TypeAlias = Literal["fir", "bilinear"]
"""How features and RGB double their size: the filter [1, 3, 3, 1] behind a transposed convolution, as StyleGAN2
does, or bilinear interpolation before a plain one, as the "clean" generators of GFPGAN do."""

Steer: TypeAlias = Callable[[Tensor, int], Tensor]
"""Changes the features behind the up-convolution of one resolution r: (B C r r, r) -> B C r r."""

# The mapping network learns a hundred times slower than the rest (arXiv 1812.04948, appendix C).
MAPPING_LR_MULTIPLIER = 0.01
# Width at 4 to 32 px, and at 64 px before the multiplier; it halves with each doubling (arXiv 1912.04958, table 5).
COARSE_WIDTH = 512
WIDTH_AT_64 = 256


def layer_width(resolution: int, *, multiplier: float, narrow: float) -> int:
    """Return the channels at ``resolution`` pixels: one width to 32 px, halved with each doubling from 64 px."""
    width = narrow * (COARSE_WIDTH if resolution <= 32 else WIDTH_AT_64 * 64 / resolution * multiplier)
    return int(width + 1e-6)  # a width read back from tensor shapes may be a rounding error below an integer


def resolutions(size: int) -> list[int]:
    """Return 4, 8, ..., ``size``."""
    return [2**level for level in range(2, size.bit_length())]


def modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, resample: Resample = "same"
) -> Tensor:
    """Convolve each sample with its own weight, ``weight`` scaled on the input channels by ``style``.

    The same sum as `modulated_conv2d_ref`: a single sample folds style and demodulation into one weight; several
    scale the features before and behind a convolution with the shared weight, since conv(x, d (w s)) = d conv(x s, w).

    Args:
        x: B Cin H W, already blurred where ``resample`` is ``down``.
        weight: Cout Cin k k.
        style: B Cin.
        demodulate: scale each sample's filters to unit norm (equation 3).
        resample: ``up`` is a transposed convolution to 2H + 1, to be blurred; ``down`` has stride 2 and no
            padding.

    Returns:
        B Cout H' W'.
    """
    if x.shape[0] == 1 and not exporting():
        folded = weight * style[0][:, None, None]  # Cout Cin k k
        if demodulate:
            folded = folded * torch.rsqrt(folded.square().sum((1, 2, 3), keepdim=True) + NORM_EPS)
        return _convolve(x, folded, resample)  # 1 Cout H' W'
    y = _convolve(x * style[:, :, None, None], weight, resample)  # B Cout H' W'
    if not demodulate:
        return y
    energy = functional.linear(style.square(), weight.square().sum((2, 3)))  # B Cout
    return y * torch.rsqrt(energy + NORM_EPS)[:, :, None, None]


def modulated_conv2d_ref(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, resample: Resample = "same"
) -> Tensor:
    """Do what `modulated_conv2d` does as published, equations 1 to 3: each sample's own weight, in one grouped sum."""
    b, _, h, w = x.shape
    own = weight * style[:, None, :, None, None]  # B Cout Cin k k
    if demodulate:
        own = own * torch.rsqrt(own.square().sum((2, 3, 4), keepdim=True) + NORM_EPS)
    x = x.reshape(1, -1, h, w)  # 1 B*Cin H W
    if resample == "up":
        y = functional.conv_transpose2d(x, own.transpose(1, 2).flatten(0, 1), stride=2, groups=b)
    else:
        stride, padding = (2, 0) if resample == "down" else (1, weight.shape[2] // 2)
        y = functional.conv2d(x, own.flatten(0, 1), stride=stride, padding=padding, groups=b)
    return y.reshape(b, -1, *y.shape[2:])  # B Cout H' W'


def _convolve(x: Tensor, weight: Tensor, resample: Resample) -> Tensor:
    if resample == "up":
        return functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    if resample == "down":
        return functional.conv2d(x, weight, stride=2)
    return convolve(x, weight, padding=weight.shape[2] // 2)


class ModulatedConv2d(nn.Module):
    """Equalised convolution whose weight is scaled by a style, then demodulated; resampled through a FIR filter."""

    convolve = staticmethod(modulated_conv2d)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        style_dim: int,
        demodulate: bool = True,
        resample: Resample = "same",
        taps: Sequence[float] = FIR_TAPS,
    ) -> None:
        super().__init__()
        self.weight = normal_parameter(1, out_channels, in_channels, kernel_size, kernel_size)
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        if resample == "up":
            self.blur = blur_after_transpose(kernel_size, taps)
        elif resample == "down":
            self.blur = blur_before_stride(kernel_size, taps)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.demodulate = demodulate
        self.resample: Resample = resample

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """B Cin H W, B D -> B Cout H' W', H' = H, 2H or H/2."""
        # The equalised-weight scale goes onto the style: it has far fewer entries than the weight.
        style = self.modulation(latent) * self.scale  # B Cin
        if self.resample == "down":
            x = self.blur(x)  # B Cin H+1 W+1
        y = self.convolve(x, self.weight[0], style, demodulate=self.demodulate, resample=self.resample)
        return self.blur(y) if self.resample == "up" else y  # B Cout H' W'


class ModulatedConv2dRef(ModulatedConv2d):
    """`ModulatedConv2d` by `modulated_conv2d_ref`."""

    convolve = staticmethod(modulated_conv2d_ref)


class AddNoise(nn.Module):
    """x + strength * noise, the strength one learnt number, at first zero."""

    channel_factor = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """B C H W and anything that broadcasts to it -> B C H W."""
        return x + self.weight * noise


class ConcatNoise(AddNoise):
    """Channels of x, then channels of strength * noise (arXiv 2105.06070, figure 2c)."""

    channel_factor = 2

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """B C H W and anything that broadcasts to it -> B 2C H W."""
        return torch.cat([x, (self.weight * noise).expand_as(x)], dim=1)


NOISE_LAYERS: dict[NoiseMode, type[AddNoise]] = {"concat": ConcatNoise, "add": AddNoise}


class StyledConv(nn.Module):
    """3x3 modulated convolution, noise, bias and leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        style_dim: int,
        noise_mode: NoiseMode,
        resample: Resample = "same",
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim=style_dim, resample=resample)
        self.noise = NOISE_LAYERS[noise_mode]()
        self.activate = FusedLeakyReLU(out_channels * self.noise.channel_factor)

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """B Cin H W, B D, B Cout H' W' -> B Cout H' W', or B 2Cout H' W' with concatenated noise."""
        y: Tensor = self.activate(self.noise(self.conv(x, latent), noise))
        return y


class ToRGB(nn.Module):
    """1x1 modulated convolution to RGB without demodulation, added to the upsampled RGB of the size below."""

    upsample: nn.Module

    def __init__(
        self, in_channels: int, *, style_dim: int, upsample: bool, upsampling: Upsampling = "fir"
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, style_dim=style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if upsample:
            self.upsample = upsampler() if upsampling == "fir" else BilinearUpsampling()

    def forward(self, x: Tensor, latent: Tensor, skip: Tensor | None = None) -> Tensor:
        """B Cin H W, B D and, where the layer upsamples, B 3 H/2 W/2 -> B 3 H W."""
        rgb: Tensor = self.conv(x, latent) + self.bias  # B 3 H W
        return rgb if skip is None else rgb + self.upsample(skip)


class BilinearUpsampling(nn.Module):
    """Doubles the size; pixels are areas, so corners are not aligned."""

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C 2H 2W."""
        return enlarge_bilinear(x)


def enlarge_bilinear(x: Tensor) -> Tensor:
    """B C H W -> B C 2H 2W, as `BilinearUpsampling`."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class ConstantInput(nn.Module):
    """The learnt 4x4 tensor where synthesis starts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = normal_parameter(1, channels, 4, 4)

    def forward(self, batch: int) -> Tensor:
        """Return B C 4 4."""
        return self.input.expand(batch, -1, -1, -1)


def mapping_network(style_dim: int, layers: int) -> nn.Sequential:
    """Return the mapping from latent z to style w, B D -> B D."""
    return nn.Sequential(
        PixelNorm(),
        *(
            ActivatedEqualLinear(style_dim, style_dim, lr_multiplier=MAPPING_LR_MULTIPLIER)
            for _ in range(layers)
        ),
    )


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
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


class SynthesisNetwork(nn.Module):
    """Draws faces from styles; every layer may have its own (W+). GPEN's generator and the priors are such networks."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        styled = partial(StyledConv, style_dim=config.style_dim, noise_mode=config.noise_mode)
        rgb = partial(ToRGB, style_dim=config.style_dim, upsampling=config.upsampling)
        factor = NOISE_LAYERS[config.noise_mode].channel_factor
        self.enlarges = config.upsampling == "bilinear"
        coarsest, *self.sizes = resolutions(config.face_size)
        self.latent_count = config.latent_count
        self.noise_sides = [coarsest, *(size for size in self.sizes for _ in range(2))]
        c = config.width(coarsest)
        layers = config.mapping_layers
        self.style = mapping_network(config.style_dim, layers) if layers else nn.Identity()
        self.input = ConstantInput(c)
        self.conv1 = styled(c, c)
        self.to_rgb1 = rgb(c * factor, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for size in self.sizes:
            before, c = c, config.width(size)
            self.convs.append(styled(before * factor, c, resample="same" if self.enlarges else "up"))
            self.convs.append(styled(c * factor, c))
            self.to_rgbs.append(rgb(c * factor, upsample=True))

    def expand_latents(self, w: Tensor) -> Tensor:
        """Give each layer the same style: B D -> B L D."""
        return w.unsqueeze(1).expand(-1, self.latent_count, -1)

    def synthesise(self, latents: Tensor, noise: Sequence[Tensor], *, steer: Steer | None = None) -> Tensor:
        """Return faces for one style of each layer.

        Args:
            latents: B L D.
            noise: one tensor for each styled convolution, coarse to fine, broadcast to its features.
            steer: changes the features of each resolution from 8 px on.

        Returns:
            B 3 S S.
        """
        if len(noise) != len(self.convs) + 1:
            raise ValueError(f"{len(noise)} noise tensors for {len(self.convs) + 1} styled convolutions")
        x = self.input(latents.shape[0])  # B C 4 4
        x = self.conv1(x, latents[:, 0], noise[0])
        image: Tensor = self.to_rgb1(x, latents[:, 1])  # B 3 4 4
        for index, size in enumerate(self.sizes):
            layer = 2 * index + 1  # an RGB layer shares its style with the convolution that follows it
            x = enlarge_bilinear(x) if self.enlarges else x
            x = self.convs[layer - 1](x, latents[:, layer], noise[layer])  # B C size size
            x = x if steer is None else steer(x, size)
            x = self.convs[layer](x, latents[:, layer + 1], noise[layer + 1])
            image = self.to_rgbs[index](x, latents[:, layer + 2], image)  # B 3 size size
        return image

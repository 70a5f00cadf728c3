"""The styled layers of StyleGAN2: modulated convolution, noise injection, RGB output, mapping.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, section 2.2 and
figure 2. Noise comes in two forms: added, as in StyleGAN2, or concatenated to the features as in GPEN (Yang
et al., "GAN Prior Embedded Network for Blind Face Restoration in the Wild", arXiv 2105.06070), which doubles
the channels behind each styled convolution. Attribute names are those of the published checkpoints. Shapes
are written B C H W; style_dim is D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

# The mapping network learns a hundred times slower than the rest (arXiv 1812.04948, appendix C).
MAPPING_LR_MULTIPLIER = 0.01


def modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, resample: Resample = "same"
) -> Tensor:
    """Convolve each sample with its own weight, ``weight`` scaled on the input channels by ``style``.

    Same as `modulated_conv2d_reference`, the definition. A single sample folds style and demodulation into
    one weight; several scale the features before and behind a convolution with the shared weight, which is
    the same sum: conv(x, d (w s)) = d conv(x s, w).

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
        return _convolve(x, folded, resample)
    y = _convolve(x * style[:, :, None, None], weight, resample)
    if not demodulate:
        return y
    energy = functional.linear(style.square(), weight.square().sum((2, 3)))  # B Cout
    return y * torch.rsqrt(energy + NORM_EPS)[:, :, None, None]


def modulated_conv2d_reference(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, resample: Resample = "same"
) -> Tensor:
    """Do what `modulated_conv2d` does, sample by sample, as equations 1 to 3 of the paper are written."""
    results = []
    for sample, scales in zip(x, style, strict=True):
        own = weight * scales[None, :, None, None]
        if demodulate:
            own = own / torch.sqrt(own.square().sum((1, 2, 3), keepdim=True) + NORM_EPS)
        results.append(_convolve(sample[None], own, resample))
    return torch.cat(results)


def _convolve(x: Tensor, weight: Tensor, resample: Resample) -> Tensor:
    if resample == "up":
        return functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    if resample == "down":
        return functional.conv2d(x, weight, stride=2)
    return convolve(x, weight, padding=weight.shape[2] // 2)


class ModulatedConv2d(nn.Module):
    """Equalised convolution whose weight is scaled by a style, then demodulated; resampled through a FIR filter."""

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
        style = self.modulation(latent) * self.scale
        if self.resample == "down":
            x = self.blur(x)
        y = modulated_conv2d(x, self.weight[0], style, demodulate=self.demodulate, resample=self.resample)
        return self.blur(y) if self.resample == "up" else y


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

    def __init__(self, in_channels: int, *, style_dim: int, upsample: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, style_dim=style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if upsample:
            self.upsample = upsampler()

    def forward(self, x: Tensor, latent: Tensor, skip: Tensor | None = None) -> Tensor:
        """B Cin H W, B D and, where the layer upsamples, B 3 H/2 W/2 -> B 3 H W."""
        rgb: Tensor = self.conv(x, latent) + self.bias
        return rgb if skip is None else rgb + self.upsample(skip)


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

"""Layers of StyleGAN2 that have no style: filtered resampling, fused activation, equalised weights.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958. Everything is plain
PyTorch, so it runs and differentiates (twice, for the regularisers) on any device without a compiler.
Attribute names are those of the published checkpoints. Shapes are written B C H W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# The binomial low-pass filter of StyleGAN2, before normalisation.
FIR_TAPS = (1, 3, 3, 1)
LEAKY_SLOPE = 0.2
# Keeps the variance after a leaky ReLU, as all StyleGAN2 implementations do.
ACTIVATION_GAIN = math.sqrt(2)
NORM_EPS = 1e-8


def normal_parameter(*shape: int, std: float = 1.0) -> nn.Parameter:
    """Return a parameter drawn from N(0, std * std); on the meta device, which holds no values, an empty one.

    There torch would load its Python decompositions for the draw, which takes more than a second.
    """
    value = torch.empty(shape)
    return nn.Parameter(value if value.is_meta else value.normal_(std=std))


def fir_kernel(taps: Sequence[float] = FIR_TAPS, *, gain: float = 1.0) -> Tensor:
    """Return the (n, n) separable filter with these taps whose entries sum to ``gain``.

    Filtering after zero insertion by a factor f needs gain f * f, to keep the mean.
    """
    total = sum(taps) ** 2
    return torch.tensor([[gain * a * b / total for b in taps] for a in taps], dtype=torch.float32)


def upfirdn2d(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Upsample by zero insertion, pad, filter, and downsample, as one depthwise convolution.

    Args:
        x: B C H W.
        kernel: (kh, kw) filter; it is convolved, not correlated.
        up: each sample is followed by ``up - 1`` zeros, on both axes.
        down: every ``down``-th result is kept, from the first.
        padding: zeros before and after, on both axes; negative crops.

    Returns:
        B C H' W' with H' = (H * up + sum(padding) - kh) // down + 1.
    """
    channels = x.shape[1]
    if up > 1:
        x = _insert_zeros(x, up)  # B C H*up W*up
    before, after = padding
    if before != after or before < 0:
        x = functional.pad(x, (before, after, before, after))
        before = 0
    weight = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, *kernel.shape)
    return functional.conv2d(x, weight, stride=down, padding=before, groups=channels)


def upfirdn2d_ref(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Do what `upfirdn2d` does as the published programs do on a CPU: channel by channel, then leave out."""
    b, c, _, _ = x.shape
    x = functional.pad(_insert_zeros(x, up), (*padding, *padding))  # B C H*up+p W*up+p
    y = functional.conv2d(x.reshape(b * c, 1, *x.shape[2:]), kernel.flip(0, 1)[None, None])  # BC 1 h w
    y = y[:, :, ::down, ::down]  # BC 1 H' W'
    return y.reshape(b, c, *y.shape[2:])


def _insert_zeros(x: Tensor, up: int) -> Tensor:
    """Follow each sample by ``up - 1`` zeros: B C H W -> B C H*up W*up."""
    b, c, h, w = x.shape
    x = functional.pad(x.reshape(b, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1))  # B C H up W up
    return x.reshape(b, c, h * up, w * up)


def fused_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """Return sqrt(2) * LReLU(x + bias); ``bias`` has one value for each channel, axis 1."""
    x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return functional.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN


class FusedLeakyReLU(nn.Module):
    """`fused_leaky_relu` with a learnt bias, at first zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """B C ... -> B C ..."""
        return fused_leaky_relu(x, self.bias)


class PixelNorm(nn.Module):
    """Scale each vector along axis 1 to unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        """B C ... -> B C ..."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + NORM_EPS)


class EqualConv2d(nn.Module):
    """Convolution whose stored N(0, 1) weight is scaled at run time by 1 / sqrt(fan-in) (arXiv 1710.10196, 4.1)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = normal_parameter(out_channels, in_channels, kernel_size, kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout H' W'."""
        return functional.conv2d(
            x, self.weight * self.scale, self.bias, stride=self.stride, padding=self.padding
        )


class EqualLinear(nn.Module):
    """Linear layer with run-time weight scaling and its own learning rate.

    The weight acts as ``weight * lr_multiplier / sqrt(in)`` and the bias as ``bias * lr_multiplier``; they
    are stored divided by ``lr_multiplier``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = normal_parameter(out_features, in_features, std=1 / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.scale = lr_multiplier / math.sqrt(in_features)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """B in -> B out."""
        return functional.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


class ActivatedEqualLinear(EqualLinear):
    """`EqualLinear` whose bias is part of a `fused_leaky_relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """B in -> B out."""
        return fused_leaky_relu(
            functional.linear(x, self.weight * self.scale), self.bias * self.lr_multiplier
        )


class Filter(nn.Module):
    """`upfirdn2d` with a fixed filter, kept in the state dict as ``kernel``."""

    kernel: Tensor
    resample = staticmethod(upfirdn2d)

    def __init__(
        self,
        taps: Sequence[float] = FIR_TAPS,
        *,
        up: int = 1,
        down: int = 1,
        padding: tuple[int, int] = (0, 0),
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(taps, gain=gain))
        self.up = up
        self.down = down
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H' W'."""
        return self.resample(x, self.kernel, up=self.up, down=self.down, padding=self.padding)


class FilterRef(Filter):
    """`Filter` by `upfirdn2d_ref`."""

    resample = staticmethod(upfirdn2d_ref)


def upsampler() -> Filter:
    """Return a filter B C H W -> B C 2H 2W."""
    return Filter(up=2, padding=_halves(len(FIR_TAPS) - 1), gain=4.0)


def blur_before_stride(kernel_size: int, taps: Sequence[float] = FIR_TAPS) -> Filter:
    """Return the low-pass filter ahead of a stride-2 convolution without padding, which then halves the size."""
    return Filter(taps, padding=_halves(len(taps) + kernel_size - 3))


def blur_after_transpose(kernel_size: int, taps: Sequence[float] = FIR_TAPS) -> Filter:
    """Return the low-pass filter behind a stride-2 transposed convolution without padding, which then doubles the size.

    The transposed convolution gives 2(H - 1) + kernel_size samples; the filter brings them to 2H.
    """
    return Filter(taps, padding=_halves(len(taps) + 1 - kernel_size), gain=4.0)


def _halves(total: int) -> tuple[int, int]:
    """Return the padding before and behind that together is ``total``."""
    return (total + 1) // 2, total // 2


class ConvLayer(nn.Sequential):
    """Equalised convolution of the encoder and the discriminator: [blur,] convolution [, fused activation].

    With ``downsample`` the size is halved behind a low-pass filter. The bias belongs to the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        downsample: bool = False,
        activate: bool = True,
    ) -> None:
        stride, padding = (2, 0) if downsample else (1, kernel_size // 2)
        layers: list[nn.Module] = [blur_before_stride(kernel_size)] if downsample else []
        layers.append(
            EqualConv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)
        )
        if activate:
            layers.append(FusedLeakyReLU(out_channels))
        super().__init__(*layers)


class DownsamplingBlock(nn.Module):
    """Residual block of the discriminator that halves the size (arXiv 1912.04958, figure 7c)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, downsample=True)
        self.skip = ConvLayer(in_channels, out_channels, 1, downsample=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout H/2 W/2."""
        y: Tensor = self.conv2(self.conv1(x))  # B Cout H/2 W/2
        return torch.add(y, self.skip(x)) / math.sqrt(2)

"""GPEN for inference: the same sums as `facerestore.archs.gpen.GPENGenerator`, with far fewer passes over memory.

A GPEN of 512 px spends half of its time beside convolutions: scaling weights, filtering, adding noise, bias and gain.
Here all that does not depend on the face is prepared once: equalisation and activation gain lie in the weights, and
filter and transposed convolution of the large layers are one convolution. What depends on it goes where it is
cheapest: style and demodulation onto the weight or onto the features, whichever is smaller; the bias into the
convolution; the activation straight into the buffer that features and noise share.

Shapes are written B C H W; D is the length of a style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import KERNEL_SIZE, convolve, convolved_rows, convolved_strips, in_phases
from facerestore.archs.gpen import GPENGenerator, fixed_noise
from facerestore.archs.ops import (
    ACTIVATION_GAIN,
    LEAKY_SLOPE,
    NORM_EPS,
    ActivatedEqualLinear,
    ConvLayer,
    EqualConv2d,
    EqualLinear,
    Filter,
    FusedLeakyReLU,
)
from facerestore.archs.stylegan2 import ConcatNoise, ModulatedConv2d, StyledConv, ToRGB

LEAST_POLYPHASE_SIDE = 128
"""Input side from which one convolution to all four phases beats transposing and filtering (measured)."""

PIECE_VALUES = 2**20
"""Values of a feature map that are activated at a time on a CPU: 4 MB stay in its cache until they are used, so that a
map of 64 MB passes through memory once instead of twice or thrice (20 ms instead of 34 ms, measured)."""

LEAST_STREAMED_SIDE = 256
"""Input side from which the last level is computed in strips on a CPU."""
STREAMED_ROWS = 64
"""Rows of the input in such a strip: with one above and below, eleven of Winograd's tiles."""


def float32_products(like: Tensor) -> AbstractContextManager[object]:
    """Return a context in which products stay in float32 whatever the features' format: styles need its bits and range.

    Their squares, and the energies that demodulation divides by, would underflow in fp16.
    """
    kind = like.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def layout_of(x: Tensor) -> torch.memory_format:
    """Return the order in which the numbers of features lie in an accelerator's memory; a CPU's networks have one."""
    if x.device.type != "cpu" and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


class FusedLinear(nn.Module):
    """An `EqualLinear`, activated or not, with its factors in its weight."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: EqualLinear, *, scale: float = 1.0) -> None:
        super().__init__()
        self.active = isinstance(layer, ActivatedEqualLinear)
        gain = scale * (ACTIVATION_GAIN if self.active else 1.0)
        self.register_buffer("weight", layer.weight.detach() * (layer.scale * gain))
        self.register_buffer("bias", layer.bias.detach() * (layer.lr_multiplier * gain))

    def forward(self, x: Tensor) -> Tensor:
        """B in -> B out."""
        with float32_products(x):
            y = functional.linear(x.float(), self.weight, self.bias)
        return functional.leaky_relu_(y, LEAKY_SLOPE) if self.active else y


class FusedConv(nn.Module):
    """A `ConvLayer` of the encoder: [filter,] convolution, activation."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: ConvLayer) -> None:
        super().__init__()
        *before, conv, activation = layer
        conv, activation = cast(EqualConv2d, conv), cast(FusedLeakyReLU, activation)
        self.register_buffer("weight", conv.weight.detach() * (conv.scale * ACTIVATION_GAIN))
        self.register_buffer("bias", activation.bias.detach() * ACTIVATION_GAIN)
        self.stride, self.padding = conv.stride, conv.padding
        self.filter = deepcopy(cast(Filter, before[0])) if before else None

    def forward(self, x: Tensor) -> Tensor:
        """B Cin H W -> B Cout H W, or of half the size."""
        if self.filter is not None:
            x = self.filter(x)  # B Cin H+1 W+1
        y = functional.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)
        return functional.leaky_relu_(y, LEAKY_SLOPE)


class Modulation(nn.Module):
    """Style and demodulation of a layer: what its input and its output channels are scaled by."""

    energy: Tensor

    def __init__(self, conv: ModulatedConv2d, *, gain: float) -> None:
        super().__init__()
        self.style = FusedLinear(conv.modulation, scale=conv.scale)
        self.register_buffer("energy", conv.weight[0].detach().square().sum((2, 3)))  # Cout Cin
        self.gain = gain

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """B D -> B Cin and B Cout."""
        style = self.style(latent)  # B Cin
        with float32_products(style):
            energy = functional.linear(style.square(), self.energy)  # B Cout
        return style, self.gain * torch.rsqrt(energy + NORM_EPS)


class FusedStyledConv(nn.Module):
    """A `StyledConv` whose input is ``side`` pixels wide."""

    weight: Tensor
    bias: Tensor
    noise_bias: Tensor
    kernel: Tensor

    def __init__(self, layer: StyledConv, side: int) -> None:
        super().__init__()
        self.modulation = Modulation(layer.conv, gain=ACTIVATION_GAIN)
        weight = layer.conv.weight[0].detach()
        width = weight.shape[0]
        self.enlarges = layer.conv.resample == "up"
        self.polyphase = self.enlarges and side >= LEAST_POLYPHASE_SIDE
        self.transposes = self.enlarges and not self.polyphase
        if self.enlarges:
            blur = layer.conv.blur
            self.blur_padding = blur.padding[0]  # the same on all sides behind a 3x3 convolution
            self.register_buffer("kernel", blur.kernel.flip(0, 1).expand(width, 1, -1, -1).contiguous())
        if self.polyphase:
            weight = polyphase_weight(weight, blur.kernel)
        elif self.transposes:
            weight = weight.transpose(0, 1).contiguous()  # Cin Cout 3 3, as transposed convolutions take it
        else:
            weight = weight.clone()  # not a view of the file that it was read from, which is to be let go
        self.register_buffer("weight", weight)
        bias = layer.activate.bias.detach() * ACTIVATION_GAIN
        self.concatenates = isinstance(layer.noise, ConcatNoise)
        self.register_buffer("bias", bias[:width].clone())
        self.register_buffer("noise_bias", bias[width:].reshape(1, -1, 1, 1).clone())
        self.strength = float(layer.noise.weight.detach()) * ACTIVATION_GAIN

    def forward(self, x: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """B Cin H W, B D, B Cout H' W' -> B Cout H' W', or B 2Cout H' W' with concatenated noise."""
        if not self.concatenates:
            y = self._in_whole(x, latent)  # B Cout H' W', or the four phases B 4Cout H W
            y = functional.pixel_shuffle(y, 2) if self.polyphase else y
            return functional.leaky_relu_(y.add_(noise, alpha=self.strength), LEAKY_SLOPE)
        both: Tensor | None = None
        for rows, y in self._in_strips(x, latent):
            if both is None:
                size = (x.shape[0], 2 * noise.shape[1], *noise.shape[2:])
                both = torch.empty(size, dtype=y.dtype, device=y.device, memory_format=layout_of(y))
            for channels, values in self.pieces(y, noise[:, :, rows]):
                both[:, channels, rows].view(values.shape).copy_(values)
        return cast(Tensor, both)

    def prepared(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias for one face."""
        style, gain, bias = self._scales(latent)
        return self._scaled_weight(style, gain), bias

    def pieces(self, y: Tensor, noise: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the activated channels of a strip of the convolution, and those of its noise: which ones, and B c h W.

        Those of the four phases come as B c h/2 2 W/2 2, which is the same order.
        """
        noise = noise.expand(y.shape[0], -1, -1, -1)
        batch, width, height, columns = noise.shape
        at_a_time = width if y.device.type != "cpu" else max(1, PIECE_VALUES // (batch * height * columns))
        for start in range(0, width, at_a_time):
            stop = min(start + at_a_time, width)
            yield slice(start, stop), self._activated_piece(y, start, stop)
            noisy = torch.add(self.noise_bias[:, start:stop], noise[:, start:stop], alpha=self.strength)
            yield slice(width + start, width + stop), functional.leaky_relu_(noisy, LEAKY_SLOPE)

    def _activated_piece(self, y: Tensor, start: int, stop: int) -> Tensor:
        if not self.polyphase:
            return functional.leaky_relu(y[:, start:stop], LEAKY_SLOPE)
        return in_phases(functional.leaky_relu_(y[:, 4 * start : 4 * stop], LEAKY_SLOPE))

    def _in_strips(self, x: Tensor, latent: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield `_in_whole` in strips where it can be: which rows of the result, and their B Cout h W."""
        if self.transposes or self.weight.shape[2] != KERNEL_SIZE or not self._weight_is_smaller(x):
            yield slice(None), self._in_whole(x, latent)
            return
        scale = 2 if self.polyphase else 1
        for rows, y in convolved_strips(x, *self.prepared(latent)):
            yield slice(scale * rows.start, scale * rows.stop), y

    def _in_whole(self, x: Tensor, latent: Tensor) -> Tensor:
        """Return the modulated convolution and the bias, both times the activation's gain.

        Four phases come one behind the other, as ``pixel_shuffle`` takes them.
        """
        style, gain, bias = self._scales(latent)
        if not self.transposes:
            return self._modulate(x, style, gain, bias)
        y = self._modulate(x, style, gain, None)  # B Cout 2H+1 2W+1
        return functional.conv2d(y, self.kernel, bias, padding=self.blur_padding, groups=y.shape[1])

    def _scales(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the input's and the output's channels are scaled by, B Cin and B Cout, and the bias, Cout."""
        style, gain = self.modulation(latent)
        if self.polyphase:
            return style, gain.repeat_interleave(4, dim=1), self.bias.repeat_interleave(4)
        return style, gain, self.bias

    def _modulate(self, x: Tensor, style: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve with the style and the gain on the weight or on the features: whichever has fewer numbers.

        The same sum either way: conv(x, g (w s)) = g conv(x s, w).
        """
        if self._weight_is_smaller(x):
            return self._convolve(x, self._scaled_weight(style, gain), bias)
        y = self._convolve(x * style[:, :, None, None].to(x.dtype), self.weight, None)
        gain = gain[:, :, None, None].to(y.dtype)
        return y.mul_(gain) if bias is None else torch.addcmul(bias[:, None, None].to(y.dtype), y, gain)

    def _weight_is_smaller(self, x: Tensor) -> bool:
        """Say whether there is one face, and its weight has fewer numbers than the features before and behind it."""
        outputs = self.weight.shape[1 if self.transposes else 0]
        features = x.numel() + x.numel() // x.shape[1] * outputs
        return x.shape[0] == 1 and self.weight.numel() < features

    def _scaled_weight(self, style: Tensor, gain: Tensor) -> Tensor:
        """Return the weight with the style and the gain of one face on it."""
        scale = torch.outer(*((style[0], gain[0]) if self.transposes else (gain[0], style[0])))
        return self.weight * scale[:, :, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.transposes:
            return functional.conv_transpose2d(x, weight, bias, stride=2)
        return convolve(x, weight, bias, padding=weight.shape[2] // 2)


def polyphase_weight(weight: Tensor, kernel: Tensor) -> Tensor:
    """Return the weight of the plain convolution that a stride-2 transposed one and its filter amount to.

    Together they are a 6x6 kernel on the zero-filled picture, of which each of the four phases of the result sees
    3x3 taps. Its output has four channels for each, in the order of ``pixel_shuffle``.

    Args:
        weight: Cout Cin 3 3 of the transposed convolution.
        kernel: the (4, 4) filter behind it, padded by one on each side.

    Returns:
        4Cout Cin 3 3.
    """
    outputs, inputs, *_ = weight.shape
    taps = kernel.flip(0, 1).to(weight)[None, None]
    whole = functional.conv2d(weight.reshape(-1, 1, 3, 3), taps, padding=3)  # Cout*Cin 1 6 6
    whole = whole.reshape(outputs, inputs, 6, 6)
    phases = [
        whole[:, :, [4 + row, 2 + row, row]][:, :, :, [4 + column, 2 + column, column]]
        for row in (0, 1)
        for column in (0, 1)
    ]
    return torch.stack(phases, dim=1).reshape(4 * outputs, inputs, 3, 3).contiguous()


class FusedToRGB(nn.Module):
    """A `ToRGB`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: ToRGB) -> None:
        super().__init__()
        self.style = FusedLinear(layer.conv.modulation, scale=layer.conv.scale)
        self.register_buffer("weight", layer.conv.weight[0, :, :, 0, 0].detach().clone())  # 3 Cin
        self.register_buffer("bias", layer.bias.detach().reshape(-1).clone())
        self.upsample: Filter | None = (
            deepcopy(cast(Filter, layer.upsample)) if hasattr(layer, "upsample") else None
        )

    def forward(self, x: Tensor, latent: Tensor, skip: Tensor | None = None) -> Tensor:
        """B Cin H W, B D and, where the layer upsamples, B 3 H/2 W/2 -> B 3 H W."""
        rgb = torch.cat(
            [
                functional.conv2d(face[None], weight[:, :, None, None], self.bias)
                for face, weight in zip(x, self.weights(latent), strict=True)
            ]
        )
        if skip is None or self.upsample is None:
            return rgb
        return rgb.add_(self.upsample(skip))

    def weights(self, latent: Tensor) -> Tensor:
        """B D -> B 3 Cin."""
        weights: Tensor = self.weight * self.style(latent)[:, None]
        return weights


class FusedGPEN(nn.Module):
    """The restoration network: B 3 input_size input_size -> B 3 face_size face_size, RGB in [-1, 1], not clamped.

    Made from a network, of whose parameters it keeps none: the file that they are mapped from can be let go, and with
    it as much memory. Not for training.
    """

    def __init__(self, network: GPENGenerator) -> None:
        super().__init__()
        self.config = network.config
        prior = network.generator
        self.encoder = nn.ModuleList(
            FusedConv(cast(nn.Sequential, network.get_submodule(f"ecd{index}"))[0])  # type: ignore[arg-type]
            for index in range(network.encoder_depth)
        )
        self.latent = FusedLinear(cast(EqualLinear, network.final_linear[0]))
        norm, *mapping = cast(nn.Sequential, prior.style)
        self.mapping = nn.Sequential(norm, *(FusedLinear(cast(EqualLinear, layer)) for layer in mapping))
        self.register_buffer("constant", prior.input.input.detach().clone())
        first = FusedStyledConv(prior.conv1, 4)
        sides = [2 ** (2 + (index + 1) // 2) for index in range(len(prior.convs))]
        rest = (
            FusedStyledConv(cast(StyledConv, layer), side)
            for layer, side in zip(prior.convs, sides, strict=True)
        )
        self.convs = nn.ModuleList([first, *rest])
        self.to_rgbs = nn.ModuleList(
            FusedToRGB(cast(ToRGB, layer)) for layer in (prior.to_rgb1, *prior.to_rgbs)
        )
        self._levels = len(prior.to_rgbs) + 1
        for index, noise in enumerate(fixed_noise(network.extra_noise_shapes(), prior.input.input.detach())):
            self.register_buffer(f"extra_noise_{index}", noise)
        self._extra_noise = len(network.extra_noise_shapes())

    def forward(self, x: Tensor) -> Tensor:
        """Return restored faces."""
        if x.shape[0] > 1 and x.device.type == "cpu":
            # A batch of four takes twice as long a face (4.5 s instead of 2.2 s at 512 px on one thread).
            return torch.cat([self._restored_together(face[None]) for face in x])
        return self._restored_together(x)

    def _restored_together(self, x: Tensor) -> Tensor:
        streams, features = self._uses_strips(x), [x]
        for layer in self.encoder:
            features.append(layer(features[-1]))  # B C r r, down to 4 px
        latent = self.mapping(self.latent(features[-1].flatten(1)))  # B D
        del features[: 2 if streams else 1]  # the input, and the largest features, which can be had again
        features.reverse()
        del features[self._levels :]
        extra = [self.get_buffer(f"extra_noise_{index}") for index in range(self._extra_noise)]
        y, image = self._synthesise(latent, features, extra)
        return self._last_level_in_strips(y, latent, x, image) if streams else image  # B 3 S S

    def _synthesise(
        self, latent: Tensor, features: list[Tensor], extra: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the picture of the last level that there is noise for.

        Args:
            latent: B D.
            features: of the encoder, coarsest first; they are let go as they are used.
            extra: noise for the convolutions behind those that the encoder has features for.
        """
        x = self.get_buffer("constant").expand(latent.shape[0], -1, -1, -1)  # B C 4 4
        x = self.convs[0](x, latent, features.pop(0))
        image: Tensor = self.to_rgbs[0](x, latent)  # B 3 4 4
        noise = [(own, own) for own in features] + list(zip(extra[::2], extra[1::2], strict=True))
        features.clear()
        for level in range(1, 1 + len(noise)):
            first, second = noise.pop(0)
            x = self.convs[2 * level - 1](x, latent, first)  # B C r r, r = 4 * 2^level
            x = self.convs[2 * level](x, latent, second)
            image = self.to_rgbs[level](x, latent, image)
        return x, image

    def _uses_strips(self, x: Tensor) -> bool:
        """Say whether the last level is to be computed in strips: of one large face on a CPU."""
        first, side = cast(FusedStyledConv, self.convs[-2]), self.config.face_size
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        large = x.shape[0] == 1 and x.shape[2] == side >= 2 * LEAST_STREAMED_SIDE
        return plain and large and first.concatenates and first.polyphase

    def _last_level_in_strips(self, x: Tensor, latent: Tensor, faces: Tensor, image: Tensor) -> Tensor:
        """Return what the last level gives, a strip of rows at a time: its features are never all there.

        Args:
            x: 1 Cin H W.
            latent: 1 D.
            faces: 1 3 2H 2W, of which the encoder's first layer makes this level's noise, pixel by pixel.
            image: 1 3 H W, what the levels before gave.
        """
        first, second, to_rgb = (cast(Any, own[-1]) for own in (self.convs[:-1], self.convs, self.to_rgbs))
        enlarging, keeping, weights = first.prepared(latent), second.prepared(latent), to_rgb.weights(latent)
        rgb: Tensor = to_rgb.upsample(image).add_(to_rgb.bias[:, None, None])
        height, width = x.shape[2:]
        for start in range(0, height, STREAMED_ROWS):
            stop = min(start + STREAMED_ROWS, height)
            seen = slice(max(start - 1, 0), min(stop + 1, height))
            noise = self.encoder[0](faces[:, :, 2 * seen.start : 2 * seen.stop])
            # Two rows more above and below than the strip, which are zeros beyond the face.
            features = x.new_empty(1, 2 * noise.shape[1], 2 * (stop - start + 2), 2 * width)
            features[:, :, :2], features[:, :, -2:] = 0, 0
            inside = features[:, :, 2 * (seen.start - start + 1) : 2 * (seen.stop - start + 1)]
            for channels, values in first.pieces(convolved_rows(x, *enlarging, rows=seen), noise):
                inside[:, channels].view(values.shape).copy_(values)
            y = convolve(features, *keeping, padding=(0, 1))[:, :, 1:-1]
            noise = noise[:, :, 2 * (start - seen.start) :][:, :, : y.shape[2]]
            own = rgb[:, :, 2 * start : 2 * stop]
            for channels, values in second.pieces(y, noise):
                own += torch.bmm(weights[:, :, channels], values.flatten(2)).view(own.shape)
        return rgb

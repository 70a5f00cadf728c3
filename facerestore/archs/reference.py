"""The networks as their papers state them: plain, readable and slow; what the shipped forms are measured against.

Each is a function of a state dict and its inputs, and nothing is prepared, folded or fused: resampling filters work
on pictures with zeros put in, channel by channel; modulated convolutions make a weight for every sample and run as one
grouped convolution; noise is concatenated; each norm of PSFR-GAN resizes the condition for itself; parsers compute all
of their outputs. So the arithmetic is that of the published programs on a CPU, and so is its cost. Parameters are
shared with the shipped networks, whose keys these are. Shapes are written B C H W; p is a module's own parameters.

Sources: Karras et al., arXiv 1912.04958 (StyleGAN2); Yang et al., arXiv 2105.06070 (GPEN); Chen et al., arXiv
2009.08709 (PSFR-GAN and ParseNet); Yu et al., arXiv 1808.00897 (BiSeNet). The bundled restorer is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# StyleGAN2's constants; the shipped networks have them in `facerestore.archs.ops`.
SLOPE = 0.2
GAIN = math.sqrt(2)
EPS = 1e-8
MAPPING_RATE = 0.01
# torch's default for instance and batch norm, with which PSFR-GAN and the parsers were trained.
NORM_EPS = 1e-5
# Seed of the noise that GPEN draws above the size of its input: ours, so that runs repeat.
NOISE_SEED = 0


class Parameters:
    """The tensors of a state dict under one module's name."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self._tensors, self._prefix = tensors, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._prefix + name]

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def get(self, name: str) -> Tensor | None:
        """Return a tensor, or None where there is none of that name."""
        return self._tensors.get(self._prefix + name)

    def at(self, name: str | int) -> Parameters:
        """Return those of a submodule."""
        return Parameters(self._tensors, f"{self._prefix}{name}.")

    def __iter__(self) -> Iterator[Parameters]:
        """Yield those of the submodules 0, 1, 2, ..."""
        names = {
            key[len(self._prefix) :].split(".")[0] for key in self._tensors if key.startswith(self._prefix)
        }
        return (self.at(index) for index in sorted(int(name) for name in names if name.isdecimal()))


Network = Callable[..., Tensor]
"""(p, x, and for PSFR-GAN one-hot maps) to what the shipped network gives for them."""


class ReferenceNetwork(nn.Module):
    """A reference form as a module, with the tensors of a state dict, which are not copied."""

    def __init__(self, function: Network, state_dict: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.function = function
        self.tensors = dict(state_dict)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the network gives."""
        return self.function(Parameters(self.tensors), *inputs)


# --- StyleGAN2 -----------------------------------------------------------------------------------------------------


def upfirdn2d(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Put ``up - 1`` zeros behind each sample, pad, convolve each channel by itself, keep every ``down``-th result."""
    b, c, h, w = x.shape
    x = x.reshape(b * c, 1, h, 1, w, 1)
    x = functional.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(b * c, 1, h * up, w * up)
    x = functional.pad(x, [*padding, *padding])
    y = functional.conv2d(x, kernel.flip(0, 1)[None, None])[:, :, ::down, ::down]
    return y.reshape(b, c, *y.shape[2:])


def halves(total: int) -> tuple[int, int]:
    """Return the padding before and after whose sum is ``total``."""
    return (total + 1) // 2, total // 2


def activated(x: Tensor, bias: Tensor) -> Tensor:
    """Return sqrt(2) LReLU(x + bias), the bias by channel, axis 1."""
    return functional.leaky_relu(x + bias.reshape(1, -1, *[1] * (x.ndim - 2)), SLOPE) * GAIN


def equal_linear(p: Parameters, x: Tensor, *, rate: float = 1.0) -> Tensor:
    """B in -> B out, the stored weight scaled by 1 / sqrt(in); ``rate`` is the layer's own learning rate."""
    scale = rate / math.sqrt(p["weight"].shape[1])
    return functional.linear(x, p["weight"] * scale, p["bias"] * rate)


def activated_linear(p: Parameters, x: Tensor, *, rate: float = 1.0) -> Tensor:
    """B in -> B out; the bias is part of the activation."""
    scale = rate / math.sqrt(p["weight"].shape[1])
    return activated(functional.linear(x, p["weight"] * scale), p["bias"] * rate)


def mapping(p: Parameters, z: Tensor) -> Tensor:
    """B D -> B D: latent code to style."""
    w = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + EPS)
    for layer in p:
        w = activated_linear(layer, w, rate=MAPPING_RATE)
    return w


def encoder_layer(p: Parameters, x: Tensor) -> Tensor:
    """[Blur,] equalised convolution, activation; behind a blur the convolution has stride 2."""
    conv, *activation = [layer for layer in p if "weight" in layer or "bias" in layer]
    weight = conv["weight"]
    scaled = weight / math.sqrt(weight[0].numel())
    size = weight.shape[2]
    blurs = [layer["kernel"] for layer in p if "kernel" in layer]
    for kernel in blurs:
        x = upfirdn2d(x, kernel, padding=halves(len(kernel) + size - 3))
    x = functional.conv2d(x, scaled, stride=2) if blurs else functional.conv2d(x, scaled, padding=size // 2)
    return activated(x, activation[0]["bias"])


def modulated_conv2d(p: Parameters, x: Tensor, latent: Tensor, *, demodulate: bool = True) -> Tensor:
    """B Cin H W, B D -> B Cout H W, or B Cout 2H 2W where the layer has a blur: equations 1 to 3 of StyleGAN2."""
    b, c, h, w = x.shape
    weight = p["weight"]  # 1 Cout Cin k k
    _, out, _, k, _ = weight.shape
    style = equal_linear(p.at("modulation"), latent).reshape(b, 1, c, 1, 1)
    own = weight / math.sqrt(c * k * k) * style  # B Cout Cin k k
    if demodulate:
        own = own * torch.rsqrt(own.square().sum((2, 3, 4), keepdim=True) + EPS)
    x = x.reshape(1, b * c, h, w)
    if "blur.kernel" not in p:
        y = functional.conv2d(x, own.reshape(b * out, c, k, k), padding=k // 2, groups=b)
        return y.reshape(b, out, h, w)
    own = own.transpose(1, 2).reshape(b * c, out, k, k)
    y = functional.conv_transpose2d(x, own, stride=2, groups=b)
    kernel = p["blur.kernel"]
    return upfirdn2d(y.reshape(b, out, *y.shape[2:]), kernel, padding=halves(len(kernel) + 1 - k))


def styled_conv(p: Parameters, x: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
    """Modulated convolution, noise added or concatenated (the bias tells which), activation."""
    y = modulated_conv2d(p.at("conv"), x, latent)
    noise = p["noise.weight"] * noise
    bias = p["activate.bias"]
    concatenated = len(bias) == 2 * y.shape[1]
    return activated(torch.cat([y, noise.expand_as(y)], dim=1) if concatenated else y + noise, bias)


def to_rgb(p: Parameters, x: Tensor, latent: Tensor, skip: Tensor | None = None) -> Tensor:
    """B C H W -> B 3 H W, on top of the upsampled RGB of the size below."""
    rgb = modulated_conv2d(p.at("conv"), x, latent, demodulate=False) + p["bias"]
    if skip is None:
        return rgb
    kernel = p["upsample.kernel"]
    return rgb + upfirdn2d(skip, kernel, up=2, padding=halves(len(kernel) - 1))


# --- GPEN ----------------------------------------------------------------------------------------------------------


def gpen(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S in [-1, 1] -> B 3 S' S': GPEN with the keys of `facerestore.archs.gpen.GPENGenerator`."""
    features: list[Tensor] = []  # coarse to fine
    while f"ecd{len(features)}.0.0.weight" in p or f"ecd{len(features)}.0.1.weight" in p:
        x = encoder_layer(p.at(f"ecd{len(features)}").at(0), x)
        features.insert(0, x)
    latent = mapping(p.at("generator.style"), activated_linear(p.at("final_linear").at(0), x.flatten(1)))
    return synthesis(p.at("generator"), latent, gpen_noise(p.at("generator"), features))


def gpen_noise(p: Parameters, features: Sequence[Tensor]) -> list[Tensor]:
    """Return each styled convolution's noise: the encoder's feature of its size, and above those fixed noise."""
    layers = [p.at("conv1"), *p.at("convs")]
    sizes = [4, *(8 << index // 2 for index in range(len(layers) - 1))]
    largest = features[-1].shape[-1]
    by_size = {feature.shape[-1]: feature for feature in features}
    source = torch.Generator("cpu").manual_seed(NOISE_SEED)
    return [
        by_size[size]
        if size <= largest
        else torch.randn(1, layer["conv.weight"].shape[1], size, size, generator=source).to(features[0])
        for layer, size in zip(layers, sizes, strict=True)
    ]


def synthesis(p: Parameters, latent: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """B D and the noise of each styled convolution -> B 3 S S: StyleGAN2's generator, one style for all layers."""
    x = p["input.input"].expand(len(latent), -1, -1, -1)
    x = styled_conv(p.at("conv1"), x, latent, noise[0])
    image = to_rgb(p.at("to_rgb1"), x, latent)
    convs = list(p.at("convs"))
    for index, rgb in enumerate(p.at("to_rgbs")):
        x = styled_conv(convs[2 * index], x, latent, noise[2 * index + 1])
        x = styled_conv(convs[2 * index + 1], x, latent, noise[2 * index + 2])
        image = to_rgb(rgb, x, latent, image)
    return image


# --- PSFR-GAN ------------------------------------------------------------------------------------------------------


def conv3(p: Parameters, x: Tensor) -> Tensor:
    """3 x 3 convolution with zeros beyond the border."""
    return functional.conv2d(x, p["weight"], p["bias"], padding=1)


def psfr(p: Parameters, x: Tensor, parsing: Tensor) -> Tensor:
    """B 3 S S in [-1, 1], B 19 S S one-hot -> B 3 S' S': `facerestore.archs.psfr.PSFRGenerator`."""
    condition = torch.cat([x, parsing], dim=1)
    y = p["const_input"].expand(len(x), -1, -1, -1)
    y = style_block(p.at("head").at(1), conv3(p.at("head").at(0), y), condition)
    for stage in p.at("body"):
        y = conv3(stage.at(1), functional.interpolate(y, scale_factor=2, mode="nearest"))
        y = style_block(stage.at(2), y, condition)
    return conv3(p.at("img_out"), y)


def style_block(p: Parameters, x: Tensor, condition: Tensor) -> Tensor:
    """Add to the features what two styled convolutions make of them."""
    y = x
    for index in (0, 1):
        y = functional.leaky_relu(style_norm(p.at(f"norm_{index}"), y, condition), SLOPE)
        y = conv3(p.at(f"conv_{index}"), y)
    return x + y


def style_norm(p: Parameters, x: Tensor, condition: Tensor) -> Tensor:
    """Normalise each channel of each face, then scale and shift every pixel as the condition, resized, says."""
    condition = functional.interpolate(condition, size=x.shape[2:], mode="bicubic", align_corners=False)
    style = functional.leaky_relu(conv3(p.at("conv1").at(0), condition), SLOPE)
    gamma, beta = conv3(p.at("gamma_conv"), style), conv3(p.at("beta_conv"), style)
    return functional.instance_norm(x, eps=NORM_EPS) * gamma + beta


# --- ParseNet ------------------------------------------------------------------------------------------------------


def batch_norm(p: Parameters, x: Tensor) -> Tensor:
    """Batch norm with its running statistics."""
    return functional.batch_norm(
        x, p["running_mean"], p["running_var"], p["weight"], p["bias"], training=False, eps=NORM_EPS
    )


def parsenet(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S in [-1, 1] -> logits B 19 S S; the face that it also draws is computed, as published, and let go."""
    first, *rest = p.at("encoder")
    encoded = reflected_conv(first, x)
    for block in rest:
        encoded = parsing_block(block, encoded, down=True)
    y = encoded
    for block in p.at("body"):
        y = parsing_block(block, y)
    y = encoded + y
    for block in p.at("decoder"):
        y = parsing_block(block, y, up=True)
    logits, _ = reflected_conv(p.at("out_mask_conv"), y), reflected_conv(p.at("out_img_conv"), y)
    return logits


def parsing_block(p: Parameters, x: Tensor, *, down: bool = False, up: bool = False) -> Tensor:
    """Two convolutions and a shortcut; the second halves, or the first doubles."""
    shortcut = (
        reflected_conv(p.at("shortcut_func"), x, down=down, up=up)
        if "shortcut_func.conv2d.weight" in p
        else x
    )
    y = functional.leaky_relu(reflected_conv(p.at("conv1"), x, up=up), SLOPE)
    return shortcut + reflected_conv(p.at("conv2"), y, down=down)


def reflected_conv(p: Parameters, x: Tensor, *, down: bool = False, up: bool = False) -> Tensor:
    """[Double by repeating pixels,] reflect the border, convolve [with stride 2], [normalise]."""
    if up:
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
    x = functional.pad(x, (1, 1, 1, 1), mode="reflect")
    x = functional.conv2d(x, p["conv2d.weight"], p.get("conv2d.bias"), stride=2 if down else 1)
    return batch_norm(p.at("norm").at("norm"), x) if "norm.norm.weight" in p else x


# --- BiSeNet -------------------------------------------------------------------------------------------------------


def bisenet(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S -> logits B 19 S S; the two auxiliary outputs are computed, as published, and let go."""
    eighth, sixteenth, deepest = resnet18(p.at("cp.resnet"), x)
    cp = p.at("cp")
    whole = conv_bn_relu(cp.at("conv_avg"), deepest.mean(dim=(2, 3), keepdim=True))
    context16 = refined(cp.at("arm32"), deepest) + whole
    context16 = functional.interpolate(context16, size=sixteenth.shape[2:], mode="nearest")
    context16 = conv_bn_relu(cp.at("conv_head32"), context16)
    context8 = refined(cp.at("arm16"), sixteenth) + context16
    context8 = functional.interpolate(context8, size=eighth.shape[2:], mode="nearest")
    context8 = conv_bn_relu(cp.at("conv_head16"), context8)
    sources = {
        "conv_out": fused(p.at("ffm"), eighth, context8),
        "conv_out16": context8,
        "conv_out32": context16,
    }
    outputs = [
        functional.interpolate(
            parsing_head(p.at(name), features), size=x.shape[2:], mode="bilinear", align_corners=True
        )
        for name, features in sources.items()
    ]
    return outputs[0]


def resnet18(p: Parameters, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """B 3 H W -> features at an eighth, a sixteenth and a thirty-second of the sides."""
    x = functional.conv2d(x, p["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(functional.relu(batch_norm(p.at("bn1"), x)), 3, stride=2, padding=1)
    found = []
    for stage in range(1, 5):
        for index, block in enumerate(p.at(f"layer{stage}")):
            x = basic_block(block, x, stride=2 if stage > 1 and index == 0 else 1)
        found.append(x)
    return found[1], found[2], found[3]


def basic_block(p: Parameters, x: Tensor, *, stride: int) -> Tensor:
    """Two 3 x 3 convolutions and a shortcut, projected where the shape changes."""
    shortcut = x
    if "downsample.0.weight" in p:
        shortcut = functional.conv2d(x, p["downsample.0.weight"], stride=stride)
        shortcut = batch_norm(p.at("downsample").at(1), shortcut)
    y = functional.relu(
        batch_norm(p.at("bn1"), functional.conv2d(x, p["conv1.weight"], stride=stride, padding=1))
    )
    return functional.relu(
        shortcut + batch_norm(p.at("bn2"), functional.conv2d(y, p["conv2.weight"], padding=1))
    )


def conv_bn_relu(p: Parameters, x: Tensor) -> Tensor:
    """Convolution without bias, batch norm, ReLU."""
    weight = p["conv.weight"]
    return functional.relu(batch_norm(p.at("bn"), functional.conv2d(x, weight, padding=weight.shape[2] // 2)))


def refined(p: Parameters, x: Tensor) -> Tensor:
    """A convolution whose channels are weighed by their own mean."""
    y = conv_bn_relu(p.at("conv"), x)
    weights = functional.conv2d(y.mean(dim=(2, 3), keepdim=True), p["conv_atten.weight"])
    return y * torch.sigmoid(batch_norm(p.at("bn_atten"), weights))


def fused(p: Parameters, detail: Tensor, context: Tensor) -> Tensor:
    """Joins detail and context, and adds the joint features weighed by their own mean."""
    y = conv_bn_relu(p.at("convblk"), torch.cat([detail, context], dim=1))
    weights = functional.relu(functional.conv2d(y.mean(dim=(2, 3), keepdim=True), p["conv1.weight"]))
    return y * torch.sigmoid(functional.conv2d(weights, p["conv2.weight"])) + y


def parsing_head(p: Parameters, x: Tensor) -> Tensor:
    """Features to logits, at the features' own size."""
    return functional.conv2d(conv_bn_relu(p.at("conv"), x), p["conv_out.weight"])


# --- the bundled restorer ------------------------------------------------------------------------------------------


def lite(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S in [0, 1] -> the same: `facerestore.archs.lite.LiteGenerator`."""
    fold = math.isqrt(p["stem.weight"].shape[1] // 3)
    h = lite_trunk(p, x)
    restored = x + functional.pixel_shuffle(conv3(p.at("head"), h), fold)
    return restored + fine_head(p.at("fine"), h, x) if list(p.at("fine.look")) else restored


def fine_head(p: Parameters, h: Tensor, x: Tensor) -> Tensor:
    """Features and the B 3 S S input -> B 3 S S: `facerestore.archs.lite.FineHead`."""
    for up, look, blocks in zip(p.at("up"), p.at("look"), p.at("blocks"), strict=True):
        fold = math.isqrt(look["weight"].shape[1] // 3)
        h = functional.pixel_shuffle(functional.conv2d(h, up["weight"], up["bias"]), 2)
        h = residual_blocks(blocks, h + conv3(look, functional.pixel_unshuffle(2 * x - 1, fold)))
    return conv3(p.at("draw"), h)


def parse(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S in [-1, 1] -> B 19 S S logits: `facerestore.archs.parts.PartsNet`."""
    fold = math.isqrt(p["stem.weight"].shape[1] // 3)
    return functional.pixel_shuffle(conv3(p.at("label"), lite_trunk(p, (x + 1) / 2)), fold)


def lite_trunk(p: Parameters, x: Tensor) -> Tensor:
    """B 3 S S in [0, 1] -> features of the first level: `facerestore.archs.lite.LiteTrunk`."""
    fold = math.isqrt(p["stem.weight"].shape[1] // 3)
    h = conv3(p.at("stem"), functional.pixel_unshuffle(2 * x - 1, fold))
    down, up, decoder = list(p.at("down")), list(p.at("up")), list(p.at("decoder"))
    skips: list[Tensor] = []
    for level, blocks in enumerate(p.at("encoder")):
        h = residual_blocks(blocks, h)
        if level < len(down):
            skips.append(h)
            h = functional.conv2d(h, down[level]["weight"], down[level]["bias"], stride=2)
    for level in reversed(range(len(down))):
        h = functional.conv2d(h, up[level]["weight"], up[level]["bias"])
        h = residual_blocks(decoder[level], functional.pixel_shuffle(h, 2) + skips[level])
    return h


def residual_blocks(blocks: Parameters, x: Tensor) -> Tensor:
    """Return x + conv(LReLU(conv(norm(x)))), one block after the other; the norm is over the channels of each pixel."""
    for p in blocks:
        normed = functional.layer_norm(
            x.permute(0, 2, 3, 1), x.shape[1:2], p["norm.weight"], p["norm.bias"], NORM_EPS
        ).permute(0, 3, 1, 2)
        x = x + conv3(p.at("conv2"), functional.leaky_relu(conv3(p.at("conv1"), normed), SLOPE))
    return x


REFERENCES: Mapping[str, Network] = {
    "bisenet": bisenet,
    "gpen": gpen,
    "lite": lite,
    "parse": parse,
    "parsenet": parsenet,
    "psfr": psfr,
}
"""The reference form of each network that has one, by the name of its backend or parser."""

"""The bundled restorer: a small residual U-shaped network on pixel-unshuffled features.

All convolutions but the first and last run at a quarter of the face size or below, where an ordinary processor is fast;
the network predicts what to add to its input, so an undamaged face costs it nothing to keep. The layout follows
common practice for fast restoration (pixel unshuffle as in Real-ESRGAN x2, arXiv 2107.10833; channel-wise layer norm
before each residual branch as in NAFNet, arXiv 2204.04676).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2  # of the leaky ReLU
JUDGED_FOLD = (
    2  # pixels that the discriminator folds into channels: full-size convolutions cost most and see least
)


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """Shape of the network.

    Attributes:
        unshuffle: factor by which space is folded into channels before the first convolution.
        widths: channels at each level, the first at ``face_size / unshuffle``, each next at half the size.
        blocks: residual blocks at each level, on the way down and again on the way up (the last level once).
    """

    unshuffle: int = 4
    widths: tuple[int, ...] = (48, 96, 192, 256)
    blocks: tuple[int, ...] = (2, 2, 2, 3)


class ResidualBlock(nn.Module):
    """x + conv(LReLU(conv(norm(x)))), both convolutions 3x3, the norm over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv1 = _conv(width, width, 3, slope=SLOPE)
        self.conv2 = _conv(width, width, 3, scale=0.2)  # residual branches start small

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        branch: Tensor = self.conv2(functional.leaky_relu(self.conv1(normed), SLOPE))
        return x + branch


def _conv(
    inputs: int, outputs: int, size: int, *, stride: int = 1, slope: float = 1.0, scale: float = 1.0
) -> nn.Conv2d:
    """Return a convolution that keeps the variance of its input (He 2015) times ``scale`` squared."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0)
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, slope)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            conv.weight.mul_(scale)
    return conv


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class LiteGenerator(nn.Module):
    """Restores (B, 3, S, S) RGB in [0, 1] to the same shape and range, S a multiple of ``size_multiple``."""

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        config = config or LiteConfig()
        widths, blocks, fold = config.widths, config.blocks, config.unshuffle
        if len(widths) != len(blocks) or len(widths) < 2:
            raise ValueError(
                f"widths {widths} and blocks {blocks} must have one entry for each of 2 or more levels"
            )
        self.config = config
        self.size_multiple = fold * 2 ** (len(widths) - 1)
        pixels = 3 * fold**2
        self.stem = _conv(pixels, widths[0], 3)
        self.encoder = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_conv(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(_conv(b, 4 * a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(_blocks(a, n) for (a, _), n in zip(pairs, blocks[:-1], strict=True))
        self.head = _conv(widths[0], pixels, 3, scale=0.01)  # at first the output is the input

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 3, S, S); the output is not clamped."""
        fold = self.config.unshuffle
        h = self.stem(functional.pixel_unshuffle(2 * x - 1, fold))  # B C0 S/4 S/4
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            h = blocks(h)
            if level < len(self.down):
                skips.append(h)
                h = self.down[level](h)
        for level in reversed(range(len(self.down))):
            h = functional.pixel_shuffle(self.up[level](h), 2) + skips[level]
            h = self.decoder[level](h)
        return x + functional.pixel_shuffle(self.head(h), fold)  # B 3 S S


class LiteDiscriminator(nn.Module):
    """Tells real faces from restored ones, patch by patch, with the degraded face beside them.

    A patch is 56 px wide, enough for an eye at 256 px and too little for a face: who it is stays with the other losses.
    Judged with its input beside it, a face gains nothing from detail that belongs to another (conditional patches,
    arXiv 1611.07004). It is trained with spectral norm on every convolution (`facerestore.archs.spectral`).

    Args:
        width: channels of the first layer; doubled twice.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            (
                nn.Conv2d(2 * 3 * JUDGED_FOLD**2, width, 3, padding=1),
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
                nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            )
        )
        self.score = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, face: Tensor, lq: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge faces.

        Args:
            face: B 3 S S in [0, 1], real or restored; S is a multiple of 8.
            lq: B 3 S S in [0, 1], what they were restored from.

        Returns:
            Scores B 1 S/8 S/8, high for real, and what each layer gives, finest first.
        """
        x = functional.pixel_unshuffle(2 * torch.cat((face, lq), dim=1) - 1, JUDGED_FOLD)
        features: list[Tensor] = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.score(x), features


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> LiteConfig:
    """Return the configuration of a state dict from the shapes of its tensors.

    Raises:
        KeyError: a tensor that every such network has is missing.
    """
    levels = 1 + max(int(key.split(".")[1]) for key in shapes if key.startswith("down."))
    widths = [int(shapes["stem.weight"][0])]
    widths += [int(shapes[f"down.{level}.weight"][0]) for level in range(levels)]
    blocks = [
        1 + max(int(key.split(".")[2]) for key in shapes if key.startswith(f"encoder.{level}."))
        for level in range(levels + 1)
    ]
    fold = round((int(shapes["stem.weight"][1]) / 3) ** 0.5)
    return LiteConfig(unshuffle=fold, widths=tuple(widths), blocks=tuple(blocks))

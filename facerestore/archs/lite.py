"""The bundled restorer: a small residual U-shaped network on pixel-unshuffled features.

All convolutions but the first and last run at a quarter of the face size or below, where an ordinary processor is fast;
the network predicts what to add to its input, so an undamaged face costs it nothing to keep. The layout follows
common practice for fast restoration (pixel unshuffle as in Real-ESRGAN x2, arXiv 2107.10833; residual blocks without
batch normalisation as in EDSR, arXiv 1707.02921).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


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
    """x + conv(LReLU(conv(x))), both 3x3, the second starting near zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)  # residual branches start small, as in EDSR
            self.conv2.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        branch: Tensor = self.conv2(functional.leaky_relu(self.conv1(x), 0.2))
        return x + branch


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
        self.stem = nn.Conv2d(pixels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(w, n) for w, n in zip(widths, blocks, strict=True))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(_blocks(a, n) for (a, _), n in zip(pairs, blocks[:-1], strict=True))
        self.head = nn.Conv2d(widths[0], pixels, 3, padding=1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()  # type: ignore[union-attr]

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


def config_from_shapes(shapes: dict[str, Sequence[int]]) -> LiteConfig:
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

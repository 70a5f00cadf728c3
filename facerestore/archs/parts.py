"""A small parser of ours: labels the parts of degraded faces.

Its trunk is that of the bundled restorer (:mod:`facerestore.archs.lite`) folded by two, so that eyes and lips, a few
pixels high, are seen at half the size of the face; each of its pixels says the classes of two by two pixels of the face
(sub-pixel convolution, Shi et al., arXiv 1609.05158). What it is for, labels of the low-quality face, is Chen et al.,
"Progressive Semantic-Aware Style Transformation for Blind Face Restoration", arXiv 2009.08709, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.lite import LiteTrunk, config_from_shapes, conv


@dataclass(frozen=True, slots=True)
class PartsConfig:
    """Shape of the network.

    Attributes:
        unshuffle: factor by which space is folded into channels before the first convolution.
        widths: channels at each level, the first at ``face_size / unshuffle``, each next at half the size.
        blocks: residual blocks at each level, on the way down and again on the way up (the last level once).
        classes: of each pixel.
    """

    unshuffle: int = 2
    widths: tuple[int, ...] = (16, 32, 64, 96, 104)
    blocks: tuple[int, ...] = (1, 2, 1, 2, 2)
    classes: int = 19


class PartsNet(LiteTrunk):
    """Labels B 3 S S RGB in [-1, 1], S a multiple of ``size_multiple``."""

    def __init__(self, config: PartsConfig | None = None) -> None:
        config = config or PartsConfig()
        super().__init__(config.unshuffle, config.widths, config.blocks)
        self.config = config
        self.label = conv(config.widths[0], config.classes * config.unshuffle**2, 3)

    def logits(self, x: Tensor) -> Tensor:
        """B 3 S S -> B classes S S."""
        h = self.features((x + 1) / 2)  # B C0 S/2 S/2
        return functional.pixel_shuffle(self.label(h), self.unshuffle)  # B classes S S

    forward = logits


class PartLabels(nn.Module):
    """Labels B S S 3 RGB in [0, 1], as an engine is given them: the network, and the choice of the likeliest class."""

    def __init__(self, network: PartsNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """B S S 3 -> B S S uint8 ids, and B: the sum of a face's logits, which is finite if all of them are."""
        logits = self.network(faces.permute(0, 3, 1, 2) * 2 - 1)  # B classes S S
        return logits.argmax(dim=1).to(torch.uint8), logits.sum(dim=(1, 2, 3))


class DamageShares(nn.Module):
    """Tells how likely each pixel of B S S 3 RGB in [0, 1] is damaged, by a network of one class."""

    def __init__(self, network: PartsNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        """B S S 3 -> B S S in [0, 1]."""
        logits: Tensor = self.network(faces.permute(0, 3, 1, 2) * 2 - 1)  # B 1 S S
        return logits.sigmoid().squeeze(1)


def parts_config(shapes: Mapping[str, Sequence[int]]) -> PartsConfig:
    """Return the configuration of a state dict from the shapes of its tensors.

    Raises:
        KeyError: a tensor that every such network has is missing.
    """
    trunk = config_from_shapes(shapes)
    classes = int(shapes["label.weight"][0]) // trunk.unshuffle**2
    return PartsConfig(trunk.unshuffle, trunk.widths, trunk.blocks, classes)

"""RetinaFace (Deng et al., CVPR 2020): backbone, feature pyramid, context modules and three heads, put together.

The parts are handed in, so that they can be facexlib's; the module names give the published files' keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Body(nn.ModuleDict):
    """A backbone's stages in order, of which some are tapped.

    Args:
        stages: name to module, in the order they run.
        tapped: names of the stages whose output the pyramid takes.
    """

    def __init__(self, stages: Mapping[str, nn.Module], tapped: Sequence[str]) -> None:
        super().__init__(dict(stages))
        self._tapped = frozenset(tapped)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the tapped feature maps, fine to coarse."""
        taps = []
        for name, stage in self.items():
            x = stage(x)  # B C H/s W/s
            if name in self._tapped:
                taps.append(x)
        return taps


class RetinaFaceNet(nn.Module):
    """BGR picture to the regressions and scores of every anchor.

    Args:
        body: the backbone.
        fpn: the feature pyramid, list of maps to list of maps.
        context: one context module (SSH) per level.
        heads: per level, the class head, the box head and the landmark head, each (B, anchors, 2 | 4 | 10).
    """

    def __init__(
        self,
        body: Body,
        fpn: nn.Module,
        *,
        context: Sequence[nn.Module],
        heads: tuple[nn.ModuleList, nn.ModuleList, nn.ModuleList],
    ) -> None:
        super().__init__()
        self.body, self.fpn = body, fpn
        self.ssh1, self.ssh2, self.ssh3 = context
        self.ClassHead, self.BboxHead, self.LandmarkHead = heads

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box regressions, class probabilities and landmark regressions, fine level first.

        Args:
            x: B 3 H W, BGR 0..255 minus (104, 117, 123).

        Returns:
            (B, A, 4), (B, A, 2) with the face in column 1, and (B, A, 10).
        """
        contexts = (self.ssh1, self.ssh2, self.ssh3)
        pyramid = self.fpn(self.body(x))  # B C H/8 W/8, then 16 and 32
        levels = [ssh(level) for ssh, level in zip(contexts, pyramid, strict=True)]
        boxes, classes, points = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)  # B A n
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, torch.softmax(classes, dim=-1), points

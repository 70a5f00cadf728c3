"""A tiny network of ours that tells closed eyes from open ones in degraded faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FACE_SIZE = 256
"""Side of the faces that it takes, pixels."""

LEFT_EYE = (slice(100, 140), slice(69, 125))
"""Rows and columns around the left eye of the FFHQ frame at `FACE_SIZE`; its mirror image holds the right one."""

STEADY = 4 / 255
"""Added to the deviation by which a patch is divided, so that noise is not taken for an eye."""

LUMA = (0.299, 0.587, 0.114)


class EyesNet(nn.Module):
    """Tells how likely each eye of B 3 256 256 RGB in [0, 1] is closed, by its luma at half of the size.

    The right eye is seen mirrored, so both have the same network: two convolutions with maxima, two layers.
    """

    luma: Tensor

    def __init__(self, widths: tuple[int, int] = (12, 16), hidden: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        rows, columns = ((edge.stop - edge.start) // 2 for edge in LEFT_EYE)
        self.near = nn.Conv2d(1, widths[0], 3, padding=1)
        self.wide = nn.Conv2d(widths[0], widths[1], 3, padding=1)
        self.hidden = nn.Linear(widths[1] * (rows // 4) * (columns // 4), hidden)
        self.closed = nn.Linear(hidden, 1)
        self.dropout = dropout
        self.register_buffer("luma", torch.tensor(LUMA).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """B 3 256 256 -> B 2: logits of the left and the right eye."""
        x = (x * self.luma).sum(dim=1, keepdim=True)
        eyes = torch.stack([x[..., *LEFT_EYE], x.flip(-1)[..., *LEFT_EYE]], dim=1).flatten(0, 1)  # 2B 1 40 56
        h = functional.avg_pool2d(eyes, 2)
        h = h - h.mean(dim=(2, 3), keepdim=True)
        h = h / (h.square().mean(dim=(2, 3), keepdim=True).sqrt() + STEADY)
        h = functional.max_pool2d(self.near(h).relu(), 2)
        h = functional.max_pool2d(self.wide(h).relu(), 2).flatten(1)
        h = functional.dropout(h, self.dropout, self.training)
        found: Tensor = self.closed(self.hidden(h).relu())  # 2B 1
        return found.reshape(-1, 2)


class ClosedEyes(nn.Module):
    """Tells how likely each eye of B 256 256 3 RGB in [0, 1] is closed, as an engine is given them."""

    def __init__(self, network: EyesNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        """B 256 256 3 -> B 2 in [0, 1]."""
        found: Tensor = self.network(faces.permute(0, 3, 1, 2)).sigmoid()
        return found

"""The five-point landmark and face-score network of the bundled detector.

A plain strided convolutional regressor: on a 64 px grey crop a heat map would cost more than it gains, and the second
look at the re-aligned crop takes the place of a deeper network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facerestore.archs.detector import ConvNormReLU

CROP_SIZE = 64
POINTS = 5
WIDTHS = (32, 64, 96, 128)
"""Channels at 32, 16, 8 and 4 px."""
HIDDEN = 128
"""Width of the layer before the two heads."""


class _ResidualBlock(nn.Module):
    """x + conv(x), which keeps the resolution and the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        return torch.add(x, self.conv(x))


class LandmarkNet(nn.Module):
    """Grey crop to five points and one score."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.features = nn.Sequential(  # B 1 64 64
            ConvNormReLU(1, a, stride=2),  # B a 32 32
            ConvNormReLU(a, b, stride=2),  # B b 16 16
            _ResidualBlock(b),
            ConvNormReLU(b, c, stride=2),  # B c 8 8
            _ResidualBlock(c),
            ConvNormReLU(c, d, stride=2),  # B d 4 4
        )
        self.hidden = nn.Sequential(
            nn.Conv2d(d, d // 4, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(d // 4 * (CROP_SIZE // 16) ** 2, HIDDEN),
            nn.ReLU(inplace=True),
        )
        self.points = nn.Linear(HIDDEN, 2 * POINTS)
        self.score = nn.Linear(HIDDEN, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the landmarks and face scores of grey crops.

        Args:
            crops: (B, 1, 64, 64), each with mean 0 and standard deviation about 1 (see ``normalise``).

        Returns:
            (B, 5, 2) points in units of half the crop's side from its centre, x right and y down, and (B,) logits.
        """
        hidden = self.hidden(self.features(crops))  # B d 4 4 -> B hidden
        return self.points(hidden).view(-1, POINTS, 2), self.score(hidden).squeeze(1)


def normalise(crops: Tensor) -> Tensor:
    """Return (B, H, W) grey crops in [0, 1] as (B, 1, H, W) of mean 0 and spread 1, so that light does not matter.

    The spread has a floor of 0.02, five levels of 255, below which a crop is flat and must not become noise.
    """
    mean = crops.mean(dim=(1, 2), keepdim=True)
    spread = crops.std(dim=(1, 2), keepdim=True, correction=0)
    return ((crops - mean) / torch.clamp(spread, min=0.02)).unsqueeze(1)


class CropPoints(nn.Module):
    """What the detector runs: B 64 64 grey crops in [0, 1] to B 5 2 points and B scores in [0, 1]."""

    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """B 64 64 -> B 5 2 in units of half the crop's side, and B."""
        points, logits = self.network(normalise(crops))
        return points, torch.sigmoid(logits)

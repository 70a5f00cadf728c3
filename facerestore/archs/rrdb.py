"""RRDBNet, the background upscaler that GPEN uses.

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", arXiv 1809.00219; with the
pixel unshuffle of Real-ESRGAN, arXiv 2107.10833, for scales below 4. Attribute names are those of the
published checkpoints. Images are RGB in [0, 1]. Shapes are written B C H W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAKY_SLOPE = 0.2
# ESRGAN, section 3.1: residuals are scaled down before they are added.
RESIDUAL_SCALE = 0.2
# The body always enlarges four times; smaller scales fold the image first.
BODY_SCALE = 4


def _leaky_relu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, LEAKY_SLOPE)


class ResidualDenseBlock(nn.Module):
    """Five 3x3 convolutions, each seeing the features of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(width + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(width + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(width + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, _leaky_relu(conv(seen))], dim=1)  # B C + n growth H W
        return torch.add(x, RESIDUAL_SCALE * self.conv5(seen))


class RRDB(nn.Module):
    """Residual in residual: three dense blocks and a skip."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(width, growth)
        self.rdb2 = ResidualDenseBlock(width, growth)
        self.rdb3 = ResidualDenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        return torch.add(x, RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(x))))


class RRDBNet(nn.Module):
    """B 3 H W -> B 3 sH sW for scale s of 1, 2 or 4; H and W are multiples of 4 / s. The output is not clamped."""

    def __init__(self, *, scale: int, width: int = 32, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {scale}")
        self.scale = scale
        self.fold = BODY_SCALE // scale
        self.conv_first = nn.Conv2d(3 * self.fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """B 3 H W -> B 3 sH sW."""
        x = self.conv_first(functional.pixel_unshuffle(x, self.fold))  # B C sH/4 sW/4
        x = x + self.conv_body(self.body(x))
        for conv in (self.conv_up1, self.conv_up2):
            x = _leaky_relu(conv(functional.interpolate(x, scale_factor=2, mode="nearest")))  # twice the size
        y: Tensor = self.conv_last(_leaky_relu(self.conv_hr(x)))
        return y

"""ArcFace's IR-SE50: from a face to a unit vector, which is similar for pictures of one person.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", arXiv 1801.07698: a residual network
of 50 layers ("improved residual units", pre-activated) with squeeze-and-excitation (Hu et al., arXiv 1709.01507).
Keys are those of the published ``model_ir_se50.pth``. Images are RGB in [-1, 1]. Shapes are written B C H W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Side of the faces, in ArcFace's own five-point frame.
INPUT_SIZE = 112
EMBEDDING = 512
# Width and number of the units of each stage; the first unit of a stage halves the size.
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
# Reduction of the channels inside the gate.
SQUEEZE = 16
# Side of what the last stage gives for a face of `INPUT_SIZE`.
LAST_SIZE = 7
DROPOUT = 0.6  # of training the recogniser; without effect in eval mode

# The part of an FFHQ-aligned face at 256 px that lies in ArcFace's frame: rows and columns, end exclusive, as in GPEN's
# and pSp's identity losses. ArcFace's template, mapped there, is at most 3.4 px of 112 away from FFHQ's mean points.
CROP_FRAME = 256
CROP_ROWS = (35, 223)
CROP_COLUMNS = (32, 220)


class ChannelGate(nn.Module):
    """Scales channels by numbers that follow from their means (squeeze and excitation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(width // SQUEEZE, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        squeezed = functional.relu(self.fc1(functional.adaptive_avg_pool2d(x, 1)))  # B C/16 1 1
        return torch.mul(x, self.fc2(squeezed).sigmoid())


class ResidualUnit(nn.Module):
    """Norm, two convolutions, gate; and a shortcut, which only picks every second pixel where no width changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.widens = width_in != width
        if self.widens:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            ChannelGate(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H/s W/s."""
        shortcut = self.shortcut_layer(x) if self.widens else x[..., :: self.stride, :: self.stride]
        return torch.add(shortcut, self.res_layer(x))


class ArcFace(nn.Module):
    """IR-SE50, 43,797,696 parameters."""

    def __init__(self) -> None:
        super().__init__()
        first = STAGES[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        units: list[ResidualUnit] = []
        before = first
        for width, count in STAGES:
            for number in range(count):
                units.append(ResidualUnit(before, width, 1 if number else 2))
                before = width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Dropout(DROPOUT),
            nn.Flatten(),
            nn.Linear(before * LAST_SIZE**2, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING),
        )

    def forward(self, x: Tensor) -> Tensor:
        """B 3 112 112 in [-1, 1], in ArcFace's frame -> B 512, of length 1."""
        features = self.body(self.input_layer(x))  # B 512 7 7
        return functional.normalize(self.output_layer(features), dim=1)

    def of_aligned(self, x: Tensor) -> Tensor:
        """B 3 S S in [-1, 1], in the FFHQ frame -> B 512, of length 1."""
        y: Tensor = self(arcface_crop(x))
        return y


def arcface_crop(x: Tensor) -> Tensor:
    """Return FFHQ-aligned faces, B 3 S S, as ArcFace takes them: B 3 112 112.

    The inner part is cut out and pooled by area. Faces below 256 px, whose inner part has too few pixels to pool, are
    enlarged to 256 px first, bilinearly; for sizes that 256 does not divide, the part is rounded to whole pixels.
    """
    if x.shape[-1] < CROP_FRAME:
        x = functional.interpolate(x, size=(CROP_FRAME, CROP_FRAME), mode="bilinear", align_corners=False)
    scale = x.shape[-1] / CROP_FRAME
    (top, bottom), (left, right) = (
        (round(first * scale), round(end * scale)) for first, end in (CROP_ROWS, CROP_COLUMNS)
    )
    return functional.adaptive_avg_pool2d(x[..., top:bottom, left:right], INPUT_SIZE)

"""dlib's face recognition network: from a face to 128 numbers, which lie close for pictures of one person.

Davis King, "High quality face recognition with deep metric learning", blog.dlib.net, 2017: a residual network after He
et al. (arXiv 1512.03385) of 29 convolutions, trained so that pictures of one person come within 0.6 of each other and
those of two people do not. Parameters are those of ``dlib_face_recognition_resnet_model_v1.dat``, 5,614,592 numbers.
Shapes are written B C H W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE = 150
"""Side of the faces, in dlib's own frame, px."""

NUMBERS = 128
"""That describe a face."""

MEAN = (122.782, 117.001, 104.298)
"""Of red, green and blue, taken off levels of 255; what is left is divided by 256."""

FIRST = 32
"""Width of the first convolution, 7 x 7."""

UNITS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""Width and number of the residual units of each stage; from the second stage on, the first unit halves the size."""


class ChannelAffine(nn.Module):
    """A factor and a shift for each channel: what a batch norm becomes once training is over."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C H W."""
        return x * self.scale + self.shift


class DlibResNet(nn.Module):
    """The network; convolutions and their affine layers are numbered in the order in which they act."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(3, FIRST, 7, 2)]
        before = FIRST
        self.halves: list[bool] = []
        for stage, (width, count) in enumerate(UNITS):
            for number in range(count):
                self.halves.append(stage > 0 and number == 0)
                first = (
                    nn.Conv2d(before, width, 3, 2) if self.halves[-1] else nn.Conv2d(before, width, 3, 1, 1)
                )
                convolutions += [first, nn.Conv2d(width, width, 3, 1, 1)]
                before = width
        self.conv = nn.ModuleList(convolutions)
        self.affine = nn.ModuleList([ChannelAffine(each.out_channels) for each in convolutions])
        self.last = nn.Parameter(torch.zeros(before, NUMBERS))
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        """B 150 150 3, RGB in levels of 255 -> B 128."""
        x = ((chips.float() - self.mean) / 256).permute(0, 3, 1, 2)
        x = functional.relu(self._step(0, x))  # B 32 72 72
        x = functional.max_pool2d(x, 3, 2)  # B 32 35 35
        for unit, halves in enumerate(self.halves):
            y = self._step(2 * unit + 2, functional.relu(self._step(2 * unit + 1, x)))
            shortcut = functional.avg_pool2d(x, 2) if halves else x
            x = functional.relu(padded_sum(y, shortcut))
        return x.mean(dim=(2, 3)) @ self.last  # B 256 1 1 -> B 128

    def _step(self, number: int, x: Tensor) -> Tensor:
        y: Tensor = self.affine[number](self.conv[number](x))
        return y


def padded_sum(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of two tensors, the smaller filled up with zeros: channels behind, rows below, columns right."""
    sides = [max(one, other) for one, other in zip(x.shape[1:], y.shape[1:], strict=True)]
    return _filled(x, sides) + _filled(y, sides)


def _filled(x: Tensor, sides: list[int]) -> Tensor:
    padding = [side - own for side, own in zip(sides, x.shape[1:], strict=True)]
    return functional.pad(x, (0, padding[2], 0, padding[1], 0, padding[0]))

"""BiSeNet with a ResNet-18 context path, in the form that labels the parts of faces.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018,
arXiv 1808.00897; He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, for the ResNet. The
paper's spatial path is left out, as in the published face parser: the ResNet's features at an eighth stand in for it.
Attribute names are those of that checkpoint. Images are RGB, normalised by ImageNet's mean and deviation. Shapes are
written B C H W.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.convolution import fold_batch_norms

BLOCKS_PER_STAGE = 2
"""ResNet-18, table 1 of its paper."""


@dataclass(frozen=True, slots=True)
class BiSeNetConfig:
    """The widths of a BiSeNet; the defaults are those of the published one.

    Attributes:
        stages: channels of the four stages of the ResNet.
        context: channels of the context path; the second stage of the ResNet has as many.
        head: channels inside the two auxiliary heads.
        squeeze: channels between the two convolutions of the fusion's attention.
        classes: classes that are told apart.
    """

    stages: tuple[int, int, int, int] = (64, 128, 256, 512)
    context: int = 128
    head: int = 64
    squeeze: int = 64
    classes: int = 19


class ConvBNReLU(nn.Module):
    """A convolution without bias, batch norm and ReLU; borders are zero."""

    def __init__(self, width_in: int, width: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W."""
        return functional.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is projected where the shape changes."""

    def __init__(self, width_in: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.projects = stride != 1 or width_in != width
        if self.projects:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W, divided by the stride."""
        shortcut = self.downsample(x) if self.projects else x  # B C' H/s W/s
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))  # B C' H/s W/s
        return functional.relu(shortcut + y)


class ResNet18(nn.Module):
    """The trunk of ResNet-18, up to its last features."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _resnet_stage(widths[0], widths[0], stride=1)
        self.layer2 = _resnet_stage(widths[0], widths[1], stride=2)
        self.layer3 = _resnet_stage(widths[1], widths[2], stride=2)
        self.layer4 = _resnet_stage(widths[2], widths[3], stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """B 3 H W -> features at an eighth, a sixteenth and a thirty-second of the sides."""
        x = functional.relu(self.bn1(self.conv1(x)))  # B 64 H/2 W/2
        x = functional.max_pool2d(x, 3, stride=2, padding=1)  # B 64 H/4 W/4
        x = x.contiguous()  # `for_inference` lets what comes before lie in memory channel by channel
        eighth = self.layer2(self.layer1(x))  # B 128 H/8 W/8
        sixteenth = self.layer3(eighth)  # B 256 H/16 W/16
        return eighth, sixteenth, self.layer4(sixteenth)  # B 512 H/32 W/32


def _resnet_stage(width_in: int, width: int, *, stride: int) -> nn.Sequential:
    rest = (BasicBlock(width, width, stride=1) for _ in range(BLOCKS_PER_STAGE - 1))
    return nn.Sequential(BasicBlock(width_in, width, stride=stride), *rest)


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighed by their own mean (section 3.2 of the paper)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(width_in, width)
        self.conv_atten = nn.Conv2d(width, width, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H W."""
        features = self.conv(x)  # B C' H W
        weights = torch.sigmoid(self.bn_atten(self.conv_atten(_mean_over_pixels(features))))  # B C' 1 1
        return torch.mul(features, weights)


class ContextPath(nn.Module):
    """What surrounds each pixel: the ResNet's deep features, refined and carried up to an eighth of the sides."""

    def __init__(self, config: BiSeNetConfig) -> None:
        super().__init__()
        width = config.context
        self.resnet = ResNet18(config.stages)
        self.arm16 = AttentionRefinement(config.stages[2], width)
        self.arm32 = AttentionRefinement(config.stages[3], width)
        self.conv_head32 = ConvBNReLU(width, width)
        self.conv_head16 = ConvBNReLU(width, width)
        self.conv_avg = ConvBNReLU(config.stages[3], width, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """B 3 H W -> the ResNet's features at an eighth; context at an eighth and at a sixteenth."""
        eighth, sixteenth, deepest = self.resnet(x)
        whole = self.conv_avg(_mean_over_pixels(deepest))  # B 128 1 1
        context16 = self.conv_head32(_enlarge_to(self.arm32(deepest) + whole, sixteenth))  # B 128 H/16 W/16
        context8 = self.conv_head16(_enlarge_to(self.arm16(sixteenth) + context16, eighth))  # B 128 H/8 W/8
        return eighth, context8, context16


class FeatureFusion(nn.Module):
    """Joins detail and context, and adds the joint features weighed by their own mean (section 3.3)."""

    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(width, width, kernel=1)
        self.conv1 = nn.Conv2d(width, squeeze, 1, bias=False)
        self.conv2 = nn.Conv2d(squeeze, width, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """B C H W, B C' H W -> B C+C' H W."""
        features = self.convblk(torch.cat([detail, context], dim=1))  # B C+C' H W
        weights = torch.sigmoid(
            self.conv2(functional.relu(self.conv1(_mean_over_pixels(features))))
        )  # B C+C' 1 1
        return torch.add(features * weights, features)


class Head(nn.Module):
    """Features to logits, at the features' own size."""

    def __init__(self, width_in: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(width_in, width)
        self.conv_out = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B classes H W."""
        y: Tensor = self.conv_out(self.conv(x))
        return y


class BiSeNet(nn.Module):
    """Labels the parts of a face; the two auxiliary outputs serve training."""

    def __init__(self, config: BiSeNetConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else BiSeNetConfig()
        fused = self.config.stages[1] + self.config.context
        self.cp = ContextPath(self.config)
        self.ffm = FeatureFusion(fused, self.config.squeeze)
        self.conv_out = Head(fused, fused, self.config.classes)
        self.conv_out16 = Head(self.config.context, self.config.head, self.config.classes)
        self.conv_out32 = Head(self.config.context, self.config.head, self.config.classes)

    def logits(self, x: Tensor) -> Tensor:
        """B 3 H W -> B classes H W, larger where a class is likelier."""
        detail, context, _ = self.cp(x)  # B 128 H/8 W/8 each
        return _to_size_of(self.conv_out(self.ffm(detail, context)), x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """B 3 H W -> three times B classes H W: the result, and those of the context at an eighth and a sixteenth."""
        detail, context8, context16 = self.cp(x)  # B 128 H/8 W/8 twice, B 128 H/16 W/16
        return (
            _to_size_of(self.conv_out(self.ffm(detail, context8)), x),
            _to_size_of(self.conv_out16(context8), x),
            _to_size_of(self.conv_out32(context16), x),
        )


def for_inference(network: BiSeNet) -> BiSeNet:
    """Fold its batch norms, in place, and let the first convolution give channels last; return it, in eval mode.

    Pooling channels last is 25 times quicker (measured).
    """
    fold_batch_norms(network)
    network.cp.resnet.conv1.to(memory_format=torch.channels_last)
    return network


def _mean_over_pixels(x: Tensor) -> Tensor:
    """B C H W -> B C 1 1."""
    return x.mean(dim=(2, 3), keepdim=True)


def _enlarge_to(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="nearest")


def _to_size_of(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)

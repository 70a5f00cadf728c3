"""The convolutions of VGG19, whose activations measure how similar two pictures look.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556,
configuration E, without batch norm. Keys are those of torchvision's ``vgg19-dcbb9e9d.pth``, ``features.N.weight``; its
classifier is not part of this network. Shapes are written B C H W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Channels and number of the convolutions of each block; a halving of the size stands between two blocks.
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

# Of ImageNet's pictures in [0, 1]; what the network was trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

# Side of the pictures that the network was trained on.
TRAINED_SIZE = 224

PSFR_TAPS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4", "conv5_4")
"""What PSFR-GAN compares: its in-place ReLUs turn all taps but the last into what comes after them."""

PERCEPTUAL_TAPS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
"""What GFP-GAN's recipe compares: what each block's last convolution gives, before its ReLU."""


class VGG19(nn.Module):
    """Activations of VGG19 at named places.

    Args:
        taps: ``convB_N`` for what the N-th convolution of block B gives, ``reluB_N`` for that after its ReLU.
        least_size: narrower pictures are enlarged to a square of this side, bilinearly; 0 leaves all as they are.

    Raises:
        ValueError: there is no such tap.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, taps: Sequence[str] = PSFR_TAPS, *, least_size: int = TRAINED_SIZE) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        places: dict[str, int] = {}
        channels = 3
        for block, (width, count) in enumerate(BLOCKS, start=1):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for number in range(1, count + 1):
                places[f"conv{block}_{number}"] = len(layers)
                places[f"relu{block}_{number}"] = len(layers) + 1
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        unknown = [tap for tap in taps if tap not in places]
        if unknown or not taps:
            raise ValueError(
                f"VGG19 has no tap {unknown or 'named'}; give conv1_1 to conv5_4, or relu1_1 to relu5_4"
            )
        self.features = nn.Sequential(*layers)
        self.taps = tuple(taps)
        self.least_size = least_size
        self._places = [places[tap] for tap in taps]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(IMAGENET_DEVIATION).reshape(1, 3, 1, 1), persistent=False
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """B 3 H W RGB in [-1, 1] -> the activations of `taps`, in their order."""
        x = ((x + 1) / 2 - self.mean) / self.deviation  # B 3 H W
        if x.shape[-1] < self.least_size:
            size = (self.least_size, self.least_size)
            x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        found: dict[int, Tensor] = {}
        last = max(self._places)
        for place, layer in enumerate(self.features):
            x = layer(x)  # B C H/s W/s, s doubled by each block
            if place in self._places:
                found[place] = x
            if place == last:
                break
        return [found[place] for place in self._places]

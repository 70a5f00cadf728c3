"""Discriminators of fine detail for `facerestore.archs.lite`: one on pixels, one on the features of a frozen restorer.

Both see one plane of luma: colour is left to distances in pixels, since an adversary on colours tints what it draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.lite import SLOPE, conv

LUMA_PLANES = 2
"""Luma of the face, and of what it was restored from."""
PLANES = 6
"""What the first layer sees: both, what is finer than four pixels of both, and where in the face each pixel lies."""
FINE_PX, FINE_GAIN = 4, 8.0
"""Fine structure has an eighth of the amplitude of a face."""
FOLD = 2
"""Pixels that are folded into channels: full-size convolutions cost most and see least."""
HEAD_WIDTH = 64
PIXEL_SCORES = 2
"""Maps of scores by pixels, which come before those by features."""


class PixelJudge(nn.Module):
    """Scores patches of 1/8 and of 1/16 of the size, with the degraded face and the place beside them.

    Args:
        width: channels of the first layer; doubled twice.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide = 4 * width
        self.fine = nn.ModuleList(
            (
                conv(PLANES * FOLD**2, width, 3, slope=SLOPE),
                _halving(width, 2 * width),
                _halving(2 * width, wide),
                conv(wide, wide, 3, slope=SLOPE),
            )
        )
        self.coarse = nn.ModuleList((_halving(wide, wide), conv(wide, wide, 3, slope=SLOPE)))
        self.scores = nn.ModuleList(conv(wide, 1, 3) for _ in range(PIXEL_SCORES))

    def forward(self, planes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Judge cuts of faces.

        Args:
            planes: B 4 S S: luma and degraded luma in [0, 1], columns and rows in [-1, 1]; S is a multiple of 16.

        Returns:
            Scores B 1 S/8 S/8 and B 1 S/16 S/16, high for real, and what each layer gives, finest first.
        """
        luma, place = planes[:, :LUMA_PLANES], planes[:, LUMA_PLANES:]  # B 2 S S each
        coarse = functional.interpolate(
            functional.avg_pool2d(luma, FINE_PX), scale_factor=FINE_PX, mode="bilinear"
        )
        seen = torch.cat((2 * luma - 1, FINE_GAIN * (luma - coarse), place), dim=1)  # B 6 S S
        x = functional.pixel_unshuffle(seen, FOLD)  # B 24 S/2 S/2
        features: list[Tensor] = []
        scores: list[Tensor] = []
        for layers, score in zip((self.fine, self.coarse), self.scores, strict=True):
            for layer in layers:
                x = functional.leaky_relu(layer(x), SLOPE)
                features.append(x)
            scores.append(score(x))  # B 1 S/8 S/8, then B 1 S/16 S/16
        return scores, features


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution to half the size that keeps the variance of its input (He 2015)."""
    layer = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class FeatureJudge(nn.Module):
    """Scores the features that a frozen encoder has of cuts of faces, level by level (arXiv 2111.01007).

    A fixed random mixing of the channels of each level stands before its head, so that none can be exploited alone.

    Args:
        widths: channels of the encoder's levels.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        for level, width in enumerate(widths):
            self.register_buffer(f"mixing_{level}", torch.randn(HEAD_WIDTH, width, 1, 1) / width**0.5)
        self.heads = nn.ModuleList(
            nn.Sequential(
                conv(HEAD_WIDTH, HEAD_WIDTH, 3, slope=SLOPE), nn.LeakyReLU(SLOPE), conv(HEAD_WIDTH, 1, 3)
            )
            for _ in widths
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return scores B 1 H W for the B C H W features of each level, high for real."""
        mixed = [functional.conv2d(x, self.get_buffer(f"mixing_{level}")) for level, x in enumerate(features)]
        return [head(x) for head, x in zip(self.heads, mixed, strict=True)]


class Judges(nn.Module):
    """Both judges.

    Args:
        width: channels of the first layer of the judge of pixels.
        encoder_widths: channels of the encoder's levels.
    """

    def __init__(self, width: int, encoder_widths: Sequence[int]) -> None:
        super().__init__()
        self.pixels = PixelJudge(width)
        self.features = FeatureJudge(encoder_widths)

    def forward(
        self, planes: Tensor, encoded: Sequence[Tensor], noise: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Judge cuts of faces.

        Args:
            planes: B 4 S S, as `PixelJudge` takes them.
            encoded: features of the same cuts, a level each.
            noise: B 1 S S to be added to the face's luma for a second look at the pixels; None for none.

        Returns:
            Scores by pixels at two sizes and then by features of each level; activations of the judge of pixels; its
            scores of the second look.
        """
        scores, activations = self.pixels(planes)
        again: list[Tensor] = []
        if noise is not None:
            again, _ = self.pixels(torch.cat((planes[:, :1] + noise, planes[:, 1:]), dim=1))
        return scores + self.features(encoded), activations, again


def places(size: int, *, like: Tensor) -> Tensor:
    """Return where each pixel of a face lies: 2 S S, columns and rows from -1 to 1."""
    line = torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)
    return torch.stack((line.expand(size, size), line[:, None].expand(size, size)))

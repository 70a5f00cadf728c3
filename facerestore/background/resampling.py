"""One side of one tile: which canvas pixels it covers, and how they are computed from what the network gave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CUBIC_SLOPE = -0.5
"""Slope of the bicubic kernel at 1 (Keys, IEEE TASSP 1981, there a): the one value that keeps slopes straight."""

CUBIC_TAPS = 4

Pixels = NDArray[np.float32]


class Span(NamedTuple):
    """A stretch of pixels, [start, stop)."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Pixels in it."""
        return self.stop - self.start

    def widened(self, margin: int, *, limit: int) -> Span:
        """Return this span with ``margin`` more to both sides, within [0, limit)."""
        return Span(max(self.start - margin, 0), min(self.stop + margin, limit))


@dataclass(frozen=True, slots=True)
class Side:
    """Rows or columns of a tile on their way to the canvas.

    Pixel x of the photo lies at ``u * x + (u - 1) / 2`` of the canvas, u being the exact ratio of their lengths.

    Attributes:
        core: photo pixels that the tile is responsible for.
        window: photo pixels that the network saw.
        photo: length of the photo.
        canvas: length of the canvas.
        scale: the network's factor.
    """

    core: Span
    window: Span
    photo: int
    canvas: int
    scale: int

    @property
    def covered(self) -> Span:
        """The canvas pixels whose centres lie in the core."""
        ratio = self.canvas / self.photo
        return Span(math.ceil(self.core.start * ratio - 0.5), math.ceil(self.core.stop * ratio - 0.5))

    def resample(self, block: Pixels) -> Pixels:
        """Return the covered canvas pixels along the first axis.

        By area where the canvas is smaller than what the network gave, bicubic where it is larger, and as they are
        where it has that very size.

        Args:
            block: what the network gave for the window: ``scale * window.length`` long.
        """
        covered, origin = self.covered, self.window.start * self.scale
        if self.canvas == self.photo * self.scale:
            return block[covered.start - origin : covered.stop - origin]
        step = self.photo * self.scale / self.canvas
        targets = np.arange(covered.start, covered.stop, dtype=np.float64)
        taps, weights = (_area if step > 1 else _cubic)(targets, step, origin)
        taps = np.clip(taps, 0, len(block) - 1)
        mixed: Pixels = np.zeros((covered.length, *block.shape[1:]), dtype=np.float32)
        for tap, weight in zip(taps.T, weights.T, strict=True):
            mixed += block[tap] * weight.reshape(-1, *[1] * (block.ndim - 1))
        return mixed


def _area(
    targets: NDArray[np.float64], step: float, origin: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the pixels that each target of ``step`` pixels' width covers, and the share of each in it."""
    left = targets * step - origin
    taps = np.floor(left)[:, None] + np.arange(math.ceil(step) + 1)
    shares = np.minimum(left[:, None] + step, taps + 1) - np.maximum(left[:, None], taps)
    return taps.astype(np.intp), (np.maximum(shares, 0) / step).astype(np.float32)


def _cubic(
    targets: NDArray[np.float64], step: float, origin: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the four pixels around the centre of each target, and their weights."""
    centre = (targets + 0.5) * step - 0.5 - origin
    taps = np.floor(centre)[:, None] - 1 + np.arange(CUBIC_TAPS)
    distance = np.abs(centre[:, None] - taps)
    a = CUBIC_SLOPE
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return taps.astype(np.intp), np.where(distance <= 1, near, far).astype(np.float32)

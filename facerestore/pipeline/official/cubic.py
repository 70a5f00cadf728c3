"""The cubic warp of scikit-image, which PSFR-GAN's test program cuts faces out and pastes them back with.

scikit-image's ``warp`` of a similarity at order 3 is no spline: it is the cubic convolution of R. Keys (IEEE Trans.
ASSP 29 (6), 1981) with a = -1/2, without antialiasing, on pixels that are 0 outside the picture. OpenCV's cubic has
a = -3/4 and coordinates in 32nds of a pixel, so that it cannot stand in for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.types import Affine, Image

BAND_PIXELS = 2**17
"""Computed at a time: their 16 neighbours in float64 take 50 MB."""

_PAD = 4
"""Zeros around the picture: as many as the taps of a point that is clipped to just outside can reach."""


def cubic_warp(
    pixels: Image,
    to_source: Affine,
    size: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    band_pixels: int = BAND_PIXELS,
) -> NDArray[np.float64]:
    """Return the (H, W, 3) float64 picture whose pixel (x, y) is ``pixels`` at ``to_source`` of (x, y) + ``origin``.

    Values are those of ``pixels``, clipped to their range; what is exactly 0, as all is that lies outside, stays 0
    even where ``pixels`` has no 0 (scikit-image 0.17; from 0.19 on the rim of the picture may lie in between).

    Args:
        pixels: (H', W', 3) RGB.
        to_source: (2, 3) float64, pixels of the result to those of ``pixels``.
        size: (W, H) of the result.
        origin: what (0, 0) of the result is called in ``to_source``.
        band_pixels: computed at a time.
    """
    padded = np.pad(pixels, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)))
    width, height = size
    result = np.empty((height, width, pixels.shape[2]), dtype=np.float64)
    columns = np.arange(width, dtype=np.float64) + origin[0]
    rows = max(1, band_pixels // width)
    for top in range(0, height, rows):
        lines = np.arange(top, min(top + rows, height), dtype=np.float64)[:, None] + origin[1]
        x = to_source[0, 0] * columns + to_source[0, 1] * lines + to_source[0, 2]
        y = to_source[1, 0] * columns + to_source[1, 1] * lines + to_source[1, 2]
        result[top : top + rows] = _sample(padded, x, y)
    outside = result == 0
    np.clip(result, float(pixels.min()), float(pixels.max()), out=result)
    result[outside] = 0
    return result


def _sample(
    padded: NDArray[np.generic], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the picture without its padding at the points (x, y), each of one shape: first along x, then along y."""
    left, across = _cell(x, padded.shape[1])
    top, down = _cell(y, padded.shape[0])
    lines = [
        keys_cubic([padded[top + row, left + column].astype(np.float64) for column in range(4)], across)
        for row in range(4)
    ]
    return keys_cubic(lines, down)


def _cell(position: NDArray[np.float64], padded_length: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the index of the first of four taps in the padded picture, and the (..., 1) distance from the second."""
    second = np.floor(position)
    length = padded_length - 2 * _PAD
    index = np.clip(second, 1 - _PAD, length + _PAD - 3).astype(np.intp)
    return index + (_PAD - 1), (position - second)[..., None]


def keys_cubic(taps: list[NDArray[np.float64]], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' cubic convolution (a = -1/2) of four taps, ``distance`` in [0, 1) from the second to the third.

    Written with differences of the taps, so that four equal taps give exactly their value, and truncating it is safe.
    """
    before, here, there, beyond = taps
    slope = there - before
    bend = 2 * before - 5 * here + 4 * there - beyond
    twist = 3 * (here - there) + beyond - before
    return here + distance / 2 * (slope + distance * (bend + distance * twist))

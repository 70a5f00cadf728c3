"""A picture's samples as files hold them, put together some rows at a time."""

from __future__ import annotations

import numpy as np

from facerestore.io._source import Samples
from facerestore.types import DecodedImage

_ROWS_PER_BAND = 64  # what is computed beside the result stays small


class Rows:
    """The samples of a picture; any rows of them are an (N, W, C) array, made when it is asked for.

    Attributes:
        shape: (H, W, C); C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
    """

    def __init__(self, image: DecodedImage) -> None:
        self._image = image
        channels = (1 if image.grey else 3) + (image.alpha is not None)
        self.shape = (image.pixels.shape[0], image.pixels.shape[1], channels)
        self.dtype: np.dtype[np.generic] = image.pixels.dtype

    def __getitem__(self, rows: slice) -> Samples:
        """Return the samples of these rows, without a copy where the picture's own will do."""
        pixels = self._image.pixels[rows]
        colour: Samples = _one_channel(pixels)[..., None] if self._image.grey else pixels
        alpha = self._image.alpha
        return colour if alpha is None else np.concatenate((colour, alpha[rows, :, None]), axis=2)


def _one_channel(pixels: Samples) -> Samples:
    """Return (H, W): the mean of three channels, rounded to nearest, which is exact where they are equal."""
    grey: Samples = np.empty(pixels.shape[:2], pixels.dtype)
    for top in range(0, len(pixels), _ROWS_PER_BAND):
        band = pixels[top : top + _ROWS_PER_BAND]
        red, green, blue = band[..., 0], band[..., 1], band[..., 2]
        if np.array_equal(red, green) and np.array_equal(red, blue):
            grey[top : top + _ROWS_PER_BAND] = red
        else:
            total = band.sum(axis=2, dtype=np.uint32)
            grey[top : top + _ROWS_PER_BAND] = (total + 1) // 3
    return grey

"""A picture's samples as files hold them, put together some rows at a time."""

from __future__ import annotations

import numpy as np

from facerestore.io._source import Samples
from facerestore.types import DecodedImage


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
    """Return (H, W): the mean of three channels, rounded to nearest; exact where they are equal."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    total: Samples = pixels.sum(axis=2, dtype=np.uint32)
    return ((total + 1) // 3).astype(pixels.dtype)

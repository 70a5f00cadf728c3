"""Holes painted over: white, or filled from their rims, without a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerestore.types import Image

RADIUS_PX = 3
"""Of the neighbourhood that a pixel is made of; 5 and 8 px take two and five times as long for 0.03 and 0.07 dB."""


def fill(pixels: Image, holes: NDArray[np.bool_]) -> Image:
    """Return a copy of a photo, its holes filled inwards from their rims; all other pixels are the same.

    Telea, "An Image Inpainting Technique Based on the Fast Marching Method", Journal of Graphics Tools 9(1), 2004.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        holes: (H, W) True where it is to be filled; where nothing else is left, it stays as it is.
    """
    import cv2

    filled, mask = pixels.copy(), holes.astype(np.uint8)
    if holes.all():
        return filled
    # Hole by hole, since the time that it takes is that of the whole picture: a photo may have fifty megapixels.
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for label in range(1, count):
        left, top, width, height = boxes[label][:4].tolist()
        rows = slice(max(0, top - RADIUS_PX - 1), top + height + RADIUS_PX + 1)
        columns = slice(max(0, left - RADIUS_PX - 1), left + width + RADIUS_PX + 1)
        own = labels[rows, columns] == label
        filled[rows, columns][own] = _telea(pixels[rows, columns], mask[rows, columns])[own]
    return filled


def _telea(pixels: Image, mask: NDArray[np.uint8]) -> Image:
    """Return (H, W, 3) pixels filled where a mask is not 0; OpenCV takes 16 bits by the channel alone."""
    import cv2

    if pixels.dtype == np.uint8:
        return np.asarray(cv2.inpaint(pixels, mask, RADIUS_PX, cv2.INPAINT_TELEA), dtype=np.uint8)
    filled = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):
        plane = np.asarray(pixels[..., channel], dtype=np.uint16, order="C")
        filled[..., channel] = cv2.inpaint(plane, mask, RADIUS_PX, cv2.INPAINT_TELEA)
    return filled


def paint_white(pixels: Image, holes: NDArray[np.bool_]) -> Image:
    """Return a copy of a photo with its damage painted white.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
        holes: (H, W) True where it is damaged.
    """
    painted = pixels.copy()
    painted[holes] = np.iinfo(pixels.dtype).max
    return painted

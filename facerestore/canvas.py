"""The canvas: the photo at the size of the result, on which faces are pasted."""

from __future__ import annotations

import math

import numpy as np

from facerestore.errors import ConfigError, ImageError
from facerestore.types import Image


def resize_image(pixels: Image, upscale: float) -> Image:
    """Return a resized copy of ``pixels``: Lanczos where it grows, area-averaged where it shrinks.

    Pixel x of the input lies at ``s * x + (s - 1) / 2`` of the result, s being the exact ratio of the sides.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or uint16.
        upscale: factor, above 0; sides are rounded to whole pixels, at least one.

    Raises:
        ConfigError: ``upscale`` is not a positive number, or the pixels have another layout.
    """
    import cv2

    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ConfigError(
            f"the image is {pixels.dtype} {pixels.shape}; give uint8 or uint16 (H, W) or (H, W, 3)"
        )
    if not (math.isfinite(upscale) and upscale > 0):
        raise ConfigError(f"upscale is {upscale}; give a positive number")
    if upscale == 1:
        return pixels.copy()
    size = result_size(pixels, upscale)
    method = cv2.INTER_LANCZOS4 if upscale > 1 else cv2.INTER_AREA
    resized: Image = cv2.resize(pixels, size, interpolation=method)  # type: ignore[assignment]
    return resized


def result_size(pixels: Image, upscale: float) -> tuple[int, int]:
    """Return (width, height) of a photo enlarged by ``upscale``, in whole pixels, at least one."""
    return max(1, round(pixels.shape[1] * upscale)), max(1, round(pixels.shape[0] * upscale))


def checked_canvas(canvas: Image, image: Image, upscale: float) -> Image:
    """Return ``canvas``.

    Raises:
        ConfigError: it is not the size or dtype of ``image`` enlarged by ``upscale``.
    """
    width, height = result_size(image, upscale)
    if canvas.shape != (height, width, 3) or canvas.dtype != image.dtype:
        raise ConfigError(
            f"the background is {canvas.dtype} {canvas.shape}; the photo enlarged {upscale:g} times is"
            f" {image.dtype} {(height, width, 3)}"
        )
    return canvas


def check_result_size(pixels: Image, upscale: float, *, max_pixels: int) -> None:
    """Make sure that a photo is not enlarged beyond ``max_pixels``; at its own size or below it may have any.

    Raises:
        ImageError: it would be.
    """
    height, width = pixels.shape[:2]
    result = round(width * upscale) * round(height * upscale)
    if upscale > 1 and result > max_pixels:
        raise ImageError(
            f"{width} x {height} enlarged {upscale:g} times has {result:,} pixels, the limit is {max_pixels:,};"
            " choose a smaller --upscale, or raise --max-pixels"
        )

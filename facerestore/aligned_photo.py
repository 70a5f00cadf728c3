"""A photo that is itself the aligned crop of a face: there is nothing around the face to blend it into."""

from __future__ import annotations

import numpy as np

from facerestore.blending import checked_canvas, resize_image
from facerestore.types import FaceImage, Image, Mask


def replace_whole(
    pixels: Image,
    restored: FaceImage,
    *,
    upscale: float,
    strength: float | Mask,
    canvas: Image | None = None,
) -> Image:
    """Return an aligned photo mixed with its restored face over its whole area.

    Args:
        pixels: (S, S, 3) RGB, uint8 or uint16.
        restored: (T, T, 3) float32 RGB in [0, 1]; resized by area when larger, cubic when smaller.
        upscale: size of the result over that of ``pixels``.
        strength: share of the restored face, 0 to 1: one number, or (T, T) float32.
        canvas: the photo at the size of the result, where it was enlarged in another way; not changed.
    """
    import cv2

    background = resize_image(pixels, upscale) if canvas is None else checked_canvas(canvas, pixels, upscale)
    side = background.shape[0]
    method = cv2.INTER_AREA if side < restored.shape[0] else cv2.INTER_CUBIC
    face = restored if side == restored.shape[0] else cv2.resize(restored, (side, side), interpolation=method)
    limit = np.iinfo(pixels.dtype).max
    front = np.clip(face, 0, 1) * np.float32(limit)
    share = np.asarray(strength, dtype=np.float32)
    if share.ndim:
        resized = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
        share = np.asarray(resized, dtype=np.float32)[..., None]
    mixed = background + share * (front - background)
    result: Image = np.empty_like(pixels, shape=background.shape)
    np.rint(np.clip(mixed, 0, limit), out=result, casting="unsafe")
    return result

"""A photo that is itself the aligned crop of a face: there is nothing around the face to blend it into."""

from __future__ import annotations

import numpy as np

from facerestore.alignment import template
from facerestore.canvas import checked_canvas, resize_image
from facerestore.errors import ImageError
from facerestore.face_image import resize_face
from facerestore.types import DetectedFace, FaceImage, Image, Mask


def whole_face(pixels: Image) -> DetectedFace:
    """Return the face that fills a square crop in the FFHQ frame.

    Raises:
        ImageError: the picture is not square.
    """
    height, width = pixels.shape[:2]
    if height != width:
        raise ImageError(
            f"an aligned face is square, this picture is {width} x {height}; crop it, or leave out --aligned"
        )
    landmarks = template(width).astype(np.float32)
    return DetectedFace(box=(0.0, 0.0, width - 1.0, height - 1.0), landmarks=landmarks, score=1.0)


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
    limit = np.iinfo(pixels.dtype).max
    front = np.clip(resize_face(restored, side), 0, 1) * np.float32(limit)
    share = np.asarray(strength, dtype=np.float32)
    if share.ndim:
        resized = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
        share = np.asarray(resized, dtype=np.float32)[..., None]
    mixed = background + share * (front - background)
    result: Image = np.empty_like(pixels, shape=background.shape)
    np.rint(np.clip(mixed, 0, limit), out=result, casting="unsafe")
    return result

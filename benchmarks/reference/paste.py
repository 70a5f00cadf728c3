"""Restored faces put back the plain way: every face warped onto a canvas of the whole photo, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import upscale_affine
from facerestore.imaging.blending import Paste


def paste_whole_canvas(
    image: NDArray[np.uint8], pastes: Sequence[Paste], *, upscale: float = 1.0
) -> NDArray[np.uint8]:
    """Return the photo with faces blended in one after the other over the whole of it.

    Args:
        image: (H, W, 3) RGB.
        pastes: the faces; strengths of their own and colours are not looked at.
        upscale: size of the result over the photo's; it is resized with Lanczos, as ours is.
    """
    height, width = (round(upscale * side) for side in image.shape[:2])
    canvas = cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4).astype(np.float64)
    for paste in pastes:
        to_crop = upscale_affine(paste.affine, (width / image.shape[1], height / image.shape[0]))
        flags = cv2.WARP_INVERSE_MAP
        face = cv2.warpAffine(
            paste.restored.astype(np.float64) * 255, to_crop, (width, height), flags=flags | cv2.INTER_CUBIC
        )
        mask = cv2.warpAffine(
            paste.mask.astype(np.float64), to_crop, (width, height), flags=flags | cv2.INTER_LINEAR
        )
        mask = mask[..., None]
        canvas = mask * face + (1 - mask) * canvas
    return np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)

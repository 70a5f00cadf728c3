"""Colouring: the network sees the luma of a face and gives its colours; the photo's luma stays as it is.

Luma is that of ITU-R BT.601, Y = 0.299 R + 0.587 G + 0.114 B of the encoded values, as in OpenCV's YUV. The official
test code keeps the Y of the input only where its size differs from the network's; here it is kept at every size: in
the crop, and once more in the photo, because resampling the crop would soften it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facerestore.config import COLORIZE
from facerestore.imaging.blending import BAND_PIXELS
from facerestore.imaging.pixels import LUMA, grey_face, has_single_tone, resize_image
from facerestore.parsing import whole_mask
from facerestore.pipeline import stages
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.report import photo_notes
from facerestore.pipeline.restore import Procedure
from facerestore.types import DecodedImage, FaceImage, Image, RestoredFace

TINT_RMS = 3.5 / 255
"""Most deviation of a crop from a single tone that is no colour: 0.9 to 2.8 levels in five crops of sepia scans,
scratches included, 4.5 levels up in 32 crops of colour photos, hand-coloured ones and an autochrome among them."""

FADE = 0.15
"""Share of a crop's side over which colours fade towards its border: necks go on beyond it, in grey. Chosen by eye."""

ALREADY_COLOURED = "the photo has colours already; those of its faces were replaced"


def _restore(parts: Parts, photo: Passage) -> Passage:
    """Return the photo, its faces with the chroma that the network gives to their luma."""
    coloured = stages.restore(parts, replace(photo, faces=[_seen(face) for face in photo.faces]))
    faces = [
        face
        if new.restored is None or face.aligned is None
        else replace(face, restored=_coloured(parts, new.restored, face.aligned.lq))
        for face, new in zip(photo.faces, coloured.faces, strict=True)
    ]
    return replace(photo, faces=faces)


def _coloured(parts: Parts, seen: FaceImage, lq: FaceImage) -> FaceImage:
    """Return a crop in the colours that a network sees in it, faded towards its border within the photo."""
    colours, side = with_luma(seen, lq @ LUMA), len(lq)
    if parts.config.aligned:
        return colours
    inwards = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5  # pixels from the nearer border
    ramp = np.clip(inwards / (FADE * side), 0, 1).astype(np.float32)
    share = np.minimum.outer(ramp, ramp)[..., None]
    result: FaceImage = lq + share * share * (3 - 2 * share) * (colours - lq)
    return result


def _blend(parts: Parts, photo: Passage) -> DecodedImage:
    """Return the photo with the new colours and its own luma, for which its pixels are kept."""
    image = replace(photo.image, grey=False) if photo.image.grey else photo.image
    blended = stages.blend(parts, replace(photo, image=image, spent=False))
    if blended is image:
        return photo.image
    luma_of = resize_image(image.pixels, parts.config.upscale)
    return replace(blended, pixels=keep_luma(blended.pixels, luma_of))


def _notes(parts: Parts, photo: Passage) -> list[str]:
    """Return that the photo had colours, where a face that was coloured had."""
    crops = [
        face.aligned.lq for face in photo.faces if face.restored is not None and face.aligned is not None
    ]
    coloured = any(not has_single_tone(crop, whole_mask(len(crop)), most_rms=TINT_RMS) for crop in crops)
    return [*photo_notes(parts, photo), *([ALREADY_COLOURED] if coloured else [])]


def with_luma(colours: NDArray[np.float32], luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the U and V of ``colours`` with another Y; chroma shrinks, hue kept, where RGB would leave [0, 1].

    U and V are multiples of B - Y and R - Y, so that they stay when the same number is added to R, G and B.

    Args:
        colours: (..., 3) float32 RGB in [0, 1].
        luma: (...) float32 in [0, 1].

    Returns:
        (..., 3) float32 RGB in [0, 1] of exactly that luma, up to the rounding of float32.
    """
    chroma = colours - (colours @ LUMA)[..., None]
    tiny = np.finfo(np.float32).tiny
    room_above = (1 - luma) / np.maximum(chroma.max(axis=-1), tiny)
    room_below = luma / np.maximum(-chroma.min(axis=-1), tiny)
    share = np.clip(np.minimum(room_above, room_below), 0, 1)
    result: NDArray[np.float32] = np.clip(luma[..., None] + share[..., None] * chroma, 0, 1)
    return result


def keep_luma(coloured: Image, photo: Image) -> Image:
    """Return ``coloured`` with the luma of ``photo``, within half a level; pixels that are equal in both stay.

    Args:
        coloured: (H, W, 3) RGB, uint8 or uint16; not changed.
        photo: the same size and dtype.
    """
    result = coloured.copy()
    limit = np.float32(np.iinfo(photo.dtype).max)
    for rows in _bands(photo.shape):
        changed = (coloured[rows] != photo[rows]).any(axis=2)
        if changed.any():
            before, after = (pixels[rows][changed] / limit for pixels in (photo, coloured))
            kept = with_luma(after.astype(np.float32), (before @ LUMA).astype(np.float32))
            result[rows][changed] = np.rint(kept * limit).astype(photo.dtype)
    return result


def _seen(face: RestoredFace) -> RestoredFace:
    """Return a face as the network sees it, without colour."""
    if face.aligned is None:
        return face
    return replace(face, aligned=replace(face.aligned, lq=grey_face(face.aligned.lq)))


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield rows of a picture, some at a time, so that memory stays small."""
    height = max(1, BAND_PIXELS // shape[1])
    for top in range(0, shape[0], height):
        yield slice(top, top + height)


COLORIZING = Procedure(
    task=COLORIZE,
    judge=partial(stages.judge_size, reason="coloured, its luma kept"),
    restore=_restore,
    blend=_blend,
    measure=stages.unmeasured,
    notes=_notes,
)
"""Colours the faces of photos and keeps every pixel's luma.

Sharp faces are coloured too: sharpness is no colour. A grey file becomes a colour file where a face in it was coloured;
its profile is then one of the same tones in colour. Without any the result is the very photo.
"""

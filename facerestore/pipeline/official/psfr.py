"""PSFR-GAN's test pipeline: cubic warps, and a hard mask made from what is black."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage

from facerestore.config import RestoreConfig
from facerestore.imaging.alignment import (
    estimate_similarity,
    invert_affine,
    resize_affine,
    template,
    transform_points,
)
from facerestore.pipeline.official.base import Pixels8, Program, as_8_bit, canvas_size, levels, unit
from facerestore.pipeline.official.cubic import cubic_warp
from facerestore.pipeline.parts import Parts, Passage
from facerestore.types import Affine, AlignedFace, Decision, DecodedImage, DetectedFace, Outcome

LARGEST_BOX_PX = 999
"""A face with a wider or taller box ends the program's loop over the faces."""
GROWTH_PX = 2
"""By how much the region outside a face is grown: the reach of a 5 x 5 box."""
KERNEL_REACH_PX = 2
"""How far beyond a crop the cubic kernel still reads it."""


def _unknown(config: RestoreConfig) -> list[tuple[bool, str]]:
    return [
        (config.background is not None, "has no background network; leave out --background"),
        (config.strength not in (0, 1), "has no strength; leave out --strength"),
    ]


def _refused(found: Sequence[DetectedFace]) -> dict[int, Decision]:
    surest_first = sorted(range(len(found)), key=lambda index: -found[index].score)
    large = [
        position for position, index in enumerate(surest_first) if _longest(found[index]) > LARGEST_BOX_PX
    ]
    reason = f"the official psfr pipeline stops at the first face above {LARGEST_BOX_PX} px"
    dropped = surest_first[large[0] :] if large else []
    return {index: Decision(Outcome.KEPT, "over-999-px", reason) for index in dropped}


def _cut(parts: Parts, source: Pixels8, face: DetectedFace, photo_shape: tuple[int, ...]) -> AlignedFace:
    size = parts.restorer.face_size
    if parts.config.aligned:
        resized = PillowImage.fromarray(source).resize((size, size), PillowImage.Resampling.BICUBIC)
        return AlignedFace(face, resize_affine(size / source.shape[0]), unit(np.asarray(resized)))
    affine = estimate_similarity(face.landmarks, template(size))
    crop = cubic_warp(source, invert_affine(affine), (size, size))
    return AlignedFace(face, affine, unit(crop))


def _compose(parts: Parts, photo: Passage) -> DecodedImage:
    import cv2

    image, size = photo.image, canvas_size(parts.config, photo.pixels.shape)
    canvas, cubic = photo.canvas, cv2.INTER_CUBIC
    behind = as_8_bit(cv2.resize(image.pixels, size, interpolation=cubic) if canvas is None else canvas)
    for face in photo.faces:
        if face.aligned is not None and face.restored is not None:
            to_crop = face.aligned.affine.copy()
            to_crop[:, :2] /= parts.config.upscale
            paste_hard(behind, levels(face.restored), to_crop)
    alpha = None if image.alpha is None else as_8_bit(cv2.resize(image.alpha, size, interpolation=cubic))
    return replace(image, pixels=behind, alpha=alpha)


def paste_hard(canvas: Pixels8, restored: Pixels8, to_crop: Affine) -> None:
    """Write a restored face into ``canvas`` wherever its warped values are not exactly 0, less GROWTH_PX.

    Args:
        canvas: (H, W, 3) RGB; changed.
        restored: (S, S, 3) RGB.
        to_crop: (2, 3) float64, canvas pixels to those of ``restored``.
    """
    import cv2

    left, top, right, bottom = _landing(restored.shape[0], to_crop, canvas.shape)
    if left >= right or top >= bottom:
        return
    face = cubic_warp(restored, to_crop, (right - left, bottom - top), origin=(left, top))
    box = np.ones((2 * GROWTH_PX + 1,) * 2, dtype=np.uint8)
    # Beyond the rectangle the warped face is 0 too; dilation ignores what lies beyond an edge, as a reflection would.
    outside = cv2.dilate((face == 0).astype(np.uint8), box).astype(bool)
    area = canvas[top:bottom, left:right]
    np.copyto(area, face.astype(np.uint8), where=~outside)


def _landing(size: int, to_crop: Affine, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the canvas pixels that a crop of ``size`` px and its growth can reach."""
    low, high = -KERNEL_REACH_PX, size - 1 + KERNEL_REACH_PX
    corners = transform_points(invert_affine(to_crop), [(low, low), (high, low), (high, high), (low, high)])
    margin = GROWTH_PX + 1
    left, top = (math.floor(value) - margin for value in corners.min(axis=0))
    right, bottom = (math.ceil(value) + margin + 1 for value in corners.max(axis=0))
    return max(0, left), max(0, top), min(shape[1], right), min(shape[0], bottom)


def _longest(face: DetectedFace) -> float:
    """Return the longer side of a face's box, px."""
    return max(face.box[2] - face.box[0], face.box[3] - face.box[1])


PSFR = Program(
    backend="psfr",
    parser_weights="parsenet.psfr-90000",
    refused=_refused,
    cut=_cut,
    compose=_compose,
    unknown=_unknown,
)
"""PSFR-GAN's test program, its defects included.

- Faces are aligned to FFHQ's five points as facexlib publishes them, since our detectors give these; the original
  has dlib's points and a template for them, which frame a face nearly the same way.
- Crops are cut with a cubic kernel without antialiasing, black beyond the photo, and are not rounded.
- The result is pasted wherever it is not exactly 0, channel by channel, less 2 px all around: a black pixel in the
  face shows the photo through a hole of 5 px, in single channels as specks of colour, and nothing is feathered.
- With an enlargement the affine is divided by the factor without the half pixel, so that faces sit up to half a
  pixel of the photo off.
- A face above 999 px ends the loop: it and all after it stay as they are. (The order is the detector's score.)
- Faces are pasted one over the other, the surest first, and each time truncated to 8 bits.

Strength and backgrounds are not known to it. An aligned face is resized to the network by Pillow's bicubic.
"""

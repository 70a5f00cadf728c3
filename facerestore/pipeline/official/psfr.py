"""PSFR-GAN's test pipeline: cubic warps, and a hard mask made from what is black."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from PIL import Image as PillowImage

from facerestore.alignment import (
    estimate_similarity,
    invert_affine,
    resize_affine,
    template,
    transform_points,
)
from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError
from facerestore.pipeline.official.base import OfficialPipeline, Pixels8, as_8_bit, levels, unit
from facerestore.pipeline.official.cubic import cubic_warp
from facerestore.types import Affine, AlignedFace, Decision, DecodedImage, DetectedFace, Outcome, RestoredFace

LARGEST_BOX_PX = 999
"""A face with a wider or taller box ends the program's loop over the faces."""
GROWTH_PX = 2
"""By how much the region outside a face is grown: the reach of a 5 x 5 box."""
KERNEL_REACH_PX = 2
"""How far beyond a crop the cubic kernel still reads it."""


class PSFRPipeline(OfficialPipeline):
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

    backend: ClassVar[str] = "psfr"
    parser_weights: ClassVar[str] = "parsenet.psfr-90000"

    @classmethod
    def check_options(cls, config: RestoreConfig) -> None:
        """Check that the program knows what is asked for.

        Raises:
            ConfigError: it does not.
        """
        super().check_options(config)
        if config.background is not None:
            raise ConfigError(
                "the official psfr test pipeline has no background network; leave out --background or --official"
            )
        if config.strength not in (0, 1):
            raise ConfigError(
                "the official psfr test pipeline has no strength; leave out --strength, or leave out --official"
            )

    def _enlarged(self, pixels: Pixels8) -> Pixels8:
        return pixels

    def _refused(self, found: Sequence[DetectedFace]) -> dict[int, Decision]:
        surest_first = sorted(range(len(found)), key=lambda index: -found[index].score)
        large = [
            position for position, index in enumerate(surest_first) if _longest(found[index]) > LARGEST_BOX_PX
        ]
        reason = f"the official psfr pipeline stops at the first face above {LARGEST_BOX_PX} px"
        dropped = surest_first[large[0] :] if large else []
        return {index: Decision(Outcome.KEPT, "over-999-px", reason) for index in dropped}

    def _official_cut(
        self, source: Pixels8, detected: DetectedFace, photo_shape: tuple[int, ...]
    ) -> AlignedFace:
        size = self.restorer.face_size
        if self.config.aligned:
            resized = PillowImage.fromarray(source).resize((size, size), PillowImage.Resampling.BICUBIC)
            return AlignedFace(detected, resize_affine(size / source.shape[0]), unit(np.asarray(resized)))
        affine = estimate_similarity(detected.landmarks, template(size))
        crop = cubic_warp(source, invert_affine(affine), (size, size))
        return AlignedFace(detected, affine, unit(crop))

    def _compose(
        self, image: DecodedImage, faces: Sequence[RestoredFace], canvas: Pixels8 | None
    ) -> DecodedImage:
        import cv2

        size = self._canvas_size(image.pixels.shape)
        if canvas is None:
            canvas = as_8_bit(cv2.resize(image.pixels, size, interpolation=cv2.INTER_CUBIC))
        for face in faces:
            if face.aligned is not None and face.restored is not None:
                to_crop = face.aligned.affine.copy()
                to_crop[:, :2] /= self.config.upscale
                paste_hard(canvas, levels(face.restored), to_crop)
        alpha = None
        if image.alpha is not None:
            alpha = as_8_bit(cv2.resize(image.alpha, size, interpolation=cv2.INTER_CUBIC))
        return replace(image, pixels=canvas, alpha=alpha)


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

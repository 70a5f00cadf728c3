"""The judge: how good a face already is, and whether it is restored or kept.

Measured on the aligned crop are the edges of eyes, brows and mouth, the detail and noise of the skin
(``resolution``), and JPEG blocks, after screens and long lines that lie over the face have been taken out
(``overlays``). A face is sharp only when all are good and the photo really resolves the crop: an overlay
can only add sharp edges, at some places and along some directions, and most places along both axes must be resolved.

Fitted on 98 training portraits at 256 px and six degradations of each, alone and under the six kinds of overlay of
``benchmarks/overlays.py``: 82% to 89% of the clean ones are sharp, and 0.2% to 1.5% of the degraded. Of 90 validation
portraits (``benchmarks/judge.py``) 80% to 91%, and 0% to 2.0%; a face of the latter, and one of the clean, moved the
last threshold. In crops of 512 px fewer are sharp, and letters pass for the face more often. Who is not sharp by
mistake is restored: the judge errs to that side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import warp_to_crop
from facerestore.imaging.pixels import LUMA, whole_levels
from facerestore.quality.overlays import long_lines, regular_overlay, without_screens
from facerestore.quality.resolution import detail_level, resolution, window
from facerestore.types import Affine, AlignedFace, Decision, DetectedFace, FaceImage, Outcome

MIN_EYE_DISTANCE_PX = 8.0
"""Faces with closer eyes are kept. Below 16 x 16 px a face does not tell who it is (Zou and Yuen, "Very low resolution
face recognition problem", IEEE TIP 2012), and the eyes are 0.46 face widths apart in the FFHQ template."""

SHARP_BLUR_PX, SHARP_BLUR_POWER, MOST_SKIN_LEVELS = 1.46, 0.3, 1.5
"""Widest edges of a sharp face, crop pixels, times this power of the detail of its skin, levels up to the most: the two
bear each other out, and neither letters nor a screen over the face give both."""
SHARP_NOISE_LEVELS = 3.5
"""Most noise of a sharp face, in levels of 255: 96% of the clean portraits lie below, noise of 6 above."""
SHARP_SKIN_LEVELS, SKIN_LEVELS_AT_PX = 0.62, 256
"""Least that the skin of a sharp face has of detail from pixel to pixel, standard deviation in levels of 255, in a crop
of so many pixels; in a larger one the same skin has less, in proportion."""
SHARP_BLOCKINESS = 1.2
"""Most JPEG blockiness of a sharp face: no clean portrait reaches it, all at JPEG quality 50 do."""
SHARP_ENLARGEMENT = 1.5
"""Most enlargement of a sharp face, crop over photo pixels; beyond, over half of the crop's pixels are made up."""
SEEN_WHOLE = 0.8
"""Crop over photo scale from which a sharp crop means a sharp photo: below, what is finer is not seen."""

CORE = (0.34, 0.86, 0.24, 0.76)
"""Top, bottom, left, right of what is measured, of the crop: from brows to chin, no hair and no background."""
JPEG_BLOCK_PX = 8
BLOCKS_VISIBLE = 0.5
"""Least crop over photo scale at which blocks are looked for: below, one is under 4 crop pixels wide."""
TRIAL_PX = 64
"""Side of the noise that is cut out to see what cutting leaves of it, crop pixels."""
TRIAL_MARGIN_PX = 8
TRIAL_NOISE = (128.0, 36.0)
"""Mean and standard deviation of that noise, levels."""
AVERAGED = 0.5
"""Crop over photo scale at which cutting leaves as much; below, the skin itself has detail at the crop's scale."""
LEAST_GRADIENT = 0.05
"""Level differences below this are no content, in levels of 255: a tenth of the rounding step."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What was measured on one face.

    Attributes:
        eye_distance_px: distance between the eyes, image pixels.
        enlargement: crop over photo pixels; above 1 the crop was enlarged.
        blur_px: sigma of the edges of eyes, brows and mouth, crop pixels; about 1 when sharp.
        noise_sigma: standard deviation of the noise of the skin, levels of 255, at the octave where it is strongest.
        blockiness: steps at JPEG block borders over steps beside them; 1 when there are no blocks.
        skin_detail: standard deviation of what the skin has from pixel to pixel, levels of 255, as of
            photo pixels cut into 256 px of crop.
        sharp: nothing would be gained by a restoration.
        dots_px: how far the dots of a printed screen are apart that lies over it, photo pixels; None without one.
        lines_px: how far the lines of a display are apart that was photographed, photo pixels; None without any.
    """

    eye_distance_px: float
    enlargement: float
    blur_px: float
    noise_sigma: float
    blockiness: float
    skin_detail: float
    sharp: bool
    dots_px: float | None = None
    lines_px: float | None = None

    def at(self, factor: float) -> FaceQuality:
        """Return it for a crop of so many times the side, of the same face."""
        return replace(self, blur_px=factor * self.blur_px, enlargement=factor * self.enlargement)


def assess(aligned: AlignedFace) -> FaceQuality:
    """Return what is measured on an aligned face, and whether it is already sharp."""
    enlargement = math.sqrt(abs(float(np.linalg.det(aligned.affine[:, :2]))))
    luma = _luma_levels(aligned.lq)
    size = luma.shape[0]
    face = without_screens(luma, window(size))
    seen = resolution(face, size, taken_out=long_lines(face, size))
    measured = FaceQuality(
        eye_distance_px=aligned.detected.eye_distance_px,
        enlargement=enlargement,
        blur_px=seen.blur_px,
        noise_sigma=max(seen.fine, seen.coarse),
        blockiness=_blockiness(luma, aligned.affine) if enlargement >= BLOCKS_VISIBLE else 1.0,
        skin_detail=seen.fine * max(size / SKIN_LEVELS_AT_PX, 1) / _kept_detail(aligned.affine),
        sharp=False,
        **regular_overlay(luma, aligned.affine)._asdict(),
    )
    return replace(measured, sharp=not _fault_words(measured))


def too_small(detected: DetectedFace, *, min_eye_distance_px: float = MIN_EYE_DISTANCE_PX) -> Decision | None:
    """Return the decision to keep a face that is too small to know, or None; needs no crop."""
    if detected.eye_distance_px >= min_eye_distance_px:
        return None
    reason = (
        f"the face is {detected.eye_distance_px:.1f} px between the eyes, under {min_eye_distance_px:g} px; "
        "anything drawn there would be invented"
    )
    return Decision(Outcome.KEPT, "too-small", reason)


def decide(
    detected: DetectedFace, quality: FaceQuality, *, min_eye_distance_px: float = MIN_EYE_DISTANCE_PX
) -> Decision:
    """Return whether a face is restored or kept (too small, already sharp), with the numbers that decided.

    Args:
        detected: the face as found.
        quality: what ``assess`` measured on it.
        min_eye_distance_px: faces with closer eyes are kept, image pixels.
    """
    small = too_small(detected, min_eye_distance_px=min_eye_distance_px)
    if small is not None:
        return small
    if quality.sharp:
        sharp = (
            "already sharp"
            if quality.enlargement >= SEEN_WHOLE
            else f"sharp as the network sees it, reduced {1 / quality.enlargement:.1f} times"
        )
        reason = (
            f"{sharp}: edges {quality.blur_px:.1f} px wide, noise {quality.noise_sigma:.1f} levels, "
            f"{quality.eye_distance_px:.0f} px between the eyes"
        )
        return Decision(Outcome.KEPT, "sharp", reason)
    return Decision(Outcome.RESTORED, "restored", "; ".join(_fault_words(quality)))


def _fault_words(quality: FaceQuality) -> list[str]:
    """Return, one phrase each, why the face is not sharp; empty when it is."""
    faults = []
    if quality.enlargement > SHARP_ENLARGEMENT:
        faults.append(
            f"enlarged {quality.enlargement:.2f} times for the model (at most {SHARP_ENLARGEMENT:g} when sharp)"
        )
    widest = SHARP_BLUR_PX * min(quality.skin_detail, MOST_SKIN_LEVELS) ** SHARP_BLUR_POWER
    if quality.blur_px > widest:
        faults.append(f"edges {quality.blur_px:.1f} px wide (at most {widest:.2f} when sharp)")
    if quality.noise_sigma > SHARP_NOISE_LEVELS:
        faults.append(
            f"noise of {quality.noise_sigma:.1f} levels (at most {SHARP_NOISE_LEVELS:g} when clean)"
        )
    if quality.skin_detail < SHARP_SKIN_LEVELS:
        faults.append(
            f"skin without detail ({quality.skin_detail:.2f} levels, {SHARP_SKIN_LEVELS:g} when sharp)"
        )
    if quality.blockiness > SHARP_BLOCKINESS:
        faults.append(f"JPEG blocks {quality.blockiness:.2f} (at most {SHARP_BLOCKINESS:g} when clean)")
    return faults


def _kept_detail(affine: Affine) -> float:
    """Return what cutting a face out leaves of detail from pixel to pixel, by cutting noise out alike: 1 for all of it.

    A crop that is turned, shifted by part of a pixel or enlarged is interpolated, which takes half of it and more.
    """
    scale = math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))
    if scale <= AVERAGED:
        return AVERAGED
    side = math.ceil(TRIAL_PX * math.sqrt(2) / scale) + 2 * TRIAL_MARGIN_PX
    levels = np.random.default_rng(0).normal(*TRIAL_NOISE, (side, side, 1))
    noise = np.repeat(whole_levels(levels), 3, axis=2)
    # Whole pixels away from the face's own place, in the photo and in the crop: the phases are the same.
    start = np.rint(np.linalg.inv(affine[:, :2]) @ (TRIAL_PX / 2 - affine[:, 2])) - side // 2
    shift = affine[:, 2] + affine[:, :2] @ start
    cut = warp_to_crop(noise, np.column_stack([affine[:, :2], shift]), TRIAL_PX)
    return detail_level(_luma_levels(cut)) / detail_level(_luma_levels((noise / 255).astype(np.float32)))


def _luma_levels(face: FaceImage) -> NDArray[np.float32]:
    """Return (S, S) float32 luma in levels of 255."""
    luma: NDArray[np.float32] = (face @ LUMA) * np.float32(255)
    return luma


def _blockiness(luma: NDArray[np.float32], affine: Affine) -> float:
    """Return the steps across JPEG block borders over the steps right beside them; 1 without blocks.

    The border term of Wang, Sheikh and Bovik ("No-reference perceptual quality assessment of JPEG compressed
    images", ICIP 2002). The face is taken back onto the pixels of the photo, where the grid is known to start
    at the corner; blocks of a file that was cropped or resized afterwards are not seen. Blocks show along both axes,
    lines of a screen along one, so that of fewer steps counts.
    """
    import cv2

    corners = np.array([(x, y) for y in CORE[:2] for x in CORE[2:]]) * luma.shape[0]
    reached = (corners - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    start = np.ceil(reached.min(axis=0) / JPEG_BLOCK_PX) * JPEG_BLOCK_PX
    width, height = (np.floor(reached.max(axis=0) / JPEG_BLOCK_PX) * JPEG_BLOCK_PX - start).astype(int)
    if min(width, height) < 2 * JPEG_BLOCK_PX:
        return 1.0
    to_crop = np.column_stack([affine[:, :2], affine[:, 2] + affine[:, :2] @ start])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    photo = cv2.warpAffine(
        luma, to_crop, (int(width), int(height)), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    steps = [_block_steps(np.abs(np.diff(photo, axis=axis)).mean(axis=1 - axis)) for axis in (0, 1)]
    return min((border + LEAST_GRADIENT) / (beside + LEAST_GRADIENT) for border, beside in steps)


def _block_steps(profile: NDArray[np.floating]) -> tuple[float, float]:
    """Return the mean step at block borders and right beside them, from the mean steps along one axis."""
    phase = np.arange(len(profile)) % JPEG_BLOCK_PX
    border = phase == JPEG_BLOCK_PX - 1
    beside = (phase == JPEG_BLOCK_PX - 2) | (phase == 0)
    return float(profile[border].mean()), float(profile[beside].mean())

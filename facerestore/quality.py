"""The judge: how good a face already is, and whether it is restored or kept.

Three things are measured on the aligned crop, inside the face: the width of its edges, its noise, and its JPEG
blocks. A face is sharp only when all three are good and the photo really resolves the crop.

Operating point, measured on 90 aligned portraits (a third of them synthetic and softer) and 270 draws of the
"gfpgan" degradation of them, at 256 and 512 px: 82% and 73% of the portraits are sharp (93% and 90% of the studio
ones), none of the degraded; nor is any with noise of 6 levels, a blur of 1 px, or JPEG quality 50 in the photo.
Who is not sharp by mistake is restored: the judge errs to that side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.colour import LUMA
from facerestore.types import Affine, AlignedFace, Decision, DetectedFace, FaceImage, Outcome

MIN_EYE_DISTANCE_PX = 8.0
"""Faces with closer eyes are kept. Below 16 x 16 px a face does not tell who it is (Zou and Yuen, "Very low resolution
face recognition problem", IEEE TIP 2012), and the eyes are 0.46 face widths apart in the FFHQ template."""

SHARP_BLUR_PX = 1.35
"""Widest edges of a sharp face, crop pixels. 88% of clean 256 px portraits lie below; a blur of 1 px puts all above."""
SHARP_NOISE_LEVELS = 3.25
"""Most noise of a sharp face, in levels of 255. 95% of clean portraits, pores included, lie below; noise of 6 above."""
SHARP_BLOCKINESS = 1.2
"""Most JPEG blockiness of a sharp face: no clean portrait reaches it, all at JPEG quality 50 do."""
SHARP_ENLARGEMENT = 1.5
"""Most enlargement of a sharp face, crop over photo pixels; beyond, over half of the crop's pixels are made up."""

CORE = (0.34, 0.86, 0.24, 0.76)
"""Top, bottom, left, right of what is measured, of the crop: from brows to chin, no hair and no background."""
EDGE_SHARE = 0.1
"""Share of the pixels that count as edges: the lids, brows, nostrils and lips."""
FLAT_SHARE = 0.5
"""Share of the pixels that count as flat: skin, whose gradients are mostly noise."""
REBLUR_SIGMA_PX = 1.0
"""Sigma of the re-blur; Zhuo and Sim use 1 px too."""
EDGE_SIGMA_PX = 2.0
"""Smoothing with which edges are told from noise."""
MOST_BLUR_PX = 10.0
"""Blur that is reported where no edge is left to measure."""
MAD_OF_NORMAL = 0.6745
"""Median absolute value of a standard normal variable; turns a median into a sigma that edges do not raise."""
NOISE_KERNEL: NDArray[np.float32] = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
"""Difference of two Laplacians, blind to image structure (Immerkaer, CVIU 1996); noise comes out 6 times."""
NOISE_GAIN = 6.0
JPEG_BLOCK_PX = 8
BLOCKS_VISIBLE = 0.5
"""Least crop over photo scale at which blocks are looked for: below, one is under 4 crop pixels wide."""
LEAST_GRADIENT = 0.05
"""Level differences below this are no content, in levels of 255: a tenth of the rounding step."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What was measured on one face.

    Attributes:
        eye_distance_px: distance between the eyes, image pixels.
        enlargement: crop over photo pixels; above 1 the crop was enlarged.
        blur_px: sigma of the edges, crop pixels; about 1 when sharp.
        noise_sigma: standard deviation of the noise in the crop, levels of 255.
        blockiness: steps at JPEG block borders over steps beside them; 1 when there are no blocks.
        sharp: nothing would be gained by a restoration.
    """

    eye_distance_px: float
    enlargement: float
    blur_px: float
    noise_sigma: float
    blockiness: float
    sharp: bool


def assess(aligned: AlignedFace) -> FaceQuality:
    """Return what is measured on an aligned face, and whether it is already sharp."""
    enlargement = math.sqrt(abs(float(np.linalg.det(aligned.affine[:, :2]))))
    luma = _luma(aligned.lq)
    core = _core(luma)
    blur, noise = _blur_px(core), _noise_sigma(core)
    blockiness = _blockiness(luma, aligned.affine) if enlargement >= BLOCKS_VISIBLE else 1.0
    return FaceQuality(
        eye_distance_px=aligned.detected.eye_distance_px,
        enlargement=enlargement,
        blur_px=blur,
        noise_sigma=noise,
        blockiness=blockiness,
        sharp=not _faults(enlargement, blur, noise, blockiness),
    )


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
        reason = (
            f"already sharp: edges {quality.blur_px:.1f} px wide, noise {quality.noise_sigma:.1f} levels, "
            f"{quality.eye_distance_px:.0f} px between the eyes"
        )
        return Decision(Outcome.KEPT, "sharp", reason)
    faults = _faults(quality.enlargement, quality.blur_px, quality.noise_sigma, quality.blockiness)
    return Decision(Outcome.RESTORED, "restored", "; ".join(faults))


def _faults(enlargement: float, blur: float, noise: float, blockiness: float) -> list[str]:
    """Return, one phrase each, why the face is not sharp; empty when it is."""
    faults = []
    if enlargement > SHARP_ENLARGEMENT:
        faults.append(
            f"enlarged {enlargement:.2f} times for the model (at most {SHARP_ENLARGEMENT:g} when sharp)"
        )
    if blur > SHARP_BLUR_PX:
        faults.append(f"edges {blur:.1f} px wide (at most {SHARP_BLUR_PX:g} when sharp)")
    if noise > SHARP_NOISE_LEVELS:
        faults.append(f"noise of {noise:.1f} levels (at most {SHARP_NOISE_LEVELS:g} when clean)")
    if blockiness > SHARP_BLOCKINESS:
        faults.append(f"JPEG blocks {blockiness:.2f} (at most {SHARP_BLOCKINESS:g} when clean)")
    return faults


def _luma(face: FaceImage) -> NDArray[np.float32]:
    """Return (S, S) float32 luma in levels of 255."""
    luma: NDArray[np.float32] = (face @ LUMA) * np.float32(255)
    return luma


def _core(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of the crop from brows to chin."""
    top, bottom, left, right = (round(share * luma.shape[0]) for share in CORE)
    return np.ascontiguousarray(luma[top:bottom, left:right])


def _blur_px(core: NDArray[np.float32]) -> float:
    """Return the sigma of the edges, pixels.

    Re-blurring an edge of width s by r lowers its squared gradient by R = (s^2 + r^2) / s^2, so s = r / sqrt(R - 1)
    (Zhuo and Sim, "Defocus map estimation from a single image", Pattern Recognition 2011). Taken here
    over all edges at once, less the squared gradient of the flat parts, so that noise does not pass for detail.
    """
    import cv2

    edge_strength = _squared_gradient(cv2.GaussianBlur(core, (0, 0), EDGE_SIGMA_PX))
    edges = edge_strength >= np.quantile(edge_strength, 1 - EDGE_SHARE)
    flat = edge_strength <= np.quantile(edge_strength, FLAT_SHARE)
    before = _squared_gradient(core)
    after = _squared_gradient(cv2.GaussianBlur(core, (0, 0), REBLUR_SIGMA_PX))
    signal_before = float(before[edges].mean() - before[flat].mean())
    signal_after = float(after[edges].mean() - after[flat].mean())
    if signal_after < LEAST_GRADIENT**2:
        return MOST_BLUR_PX
    excess = signal_before / signal_after - 1
    return min(REBLUR_SIGMA_PX / math.sqrt(max(excess, 1e-6)), MOST_BLUR_PX)


def _squared_gradient(luma: Any) -> NDArray[np.float32]:
    """Return the squared gradient of a float32 picture by central differences, per pixel."""
    import cv2

    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    return np.asarray(across * across + down * down, dtype=np.float32)


def _noise_sigma(core: NDArray[np.float32]) -> float:
    """Return the standard deviation of the noise, in the units of ``core``, at the octave where it is strongest.

    Noise of a photo that was enlarged, scanned from print or compressed is coarser than a pixel, which the operator
    does not see at full size; so the half-size picture is measured too.
    """
    import cv2

    half = cv2.resize(core, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return max(_octave_noise(core), _octave_noise(np.asarray(half, dtype=np.float32)))


def _octave_noise(core: NDArray[np.float32]) -> float:
    """Return Immerkaer's noise estimate ("Fast noise variance estimation", CVIU 1996), median in place of mean."""
    import cv2

    response = np.abs(cv2.filter2D(core, -1, NOISE_KERNEL)[1:-1, 1:-1])
    return float(np.median(response)) / (MAD_OF_NORMAL * NOISE_GAIN)


def _blockiness(luma: NDArray[np.float32], affine: Affine) -> float:
    """Return the steps across JPEG block borders over the steps right beside them; 1 without blocks.

    The border term of Wang, Sheikh and Bovik ("No-reference perceptual quality assessment of JPEG compressed
    images", ICIP 2002). The face is taken back onto the pixels of the photo, where the grid is known to start
    at the corner; blocks of a file that was cropped or resized afterwards are not seen.
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
    border, beside = np.mean(steps, axis=0)
    return float((border + LEAST_GRADIENT) / (beside + LEAST_GRADIENT))


def _block_steps(profile: NDArray[np.floating]) -> tuple[float, float]:
    """Return the mean step at block borders and right beside them, from the mean steps along one axis."""
    phase = np.arange(len(profile)) % JPEG_BLOCK_PX
    border = phase == JPEG_BLOCK_PX - 1
    beside = (phase == JPEG_BLOCK_PX - 2) | (phase == 0)
    return float(profile[border].mean()), float(profile[beside].mean())

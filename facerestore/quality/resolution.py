"""What an aligned face resolves: the edges of its eyes, brows and mouth, and the detail of its skin, by position.

Where something lies over the face that is sharp by itself, a crease or the letters of a watermark, the strongest edges
are its own. So every place of the eyes, brows and mouth has a say of about the same weight, across and along alone, and
the skin is taken as it mostly is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import FFHQ_SIZE

Luma = NDArray[np.float32]
Mask = NDArray[np.bool_]
Zone = tuple[int, int, int, int]

WINDOW: Zone = (130, 382, 180, 432)
"""Left, right, top, bottom in the FFHQ frame of 512 px: what is looked at, the face from brows to chin."""
FEATURES: tuple[Zone, ...] = ((150, 236, 195, 262), (276, 362, 195, 262), (190, 324, 350, 395))
"""Both eyes with their brows, and the mouth."""
SKIN: tuple[Zone, ...] = (
    (135, 230, 270, 345),
    (282, 377, 270, 345),
    (200, 312, 402, 432),
    (226, 286, 190, 290),
)
"""Both cheeks, the chin, and the bridge of the nose."""
LEAST_LEFT = 0.1
"""Share of a zone that must be left when lines are taken out; else the zone is taken whole."""

REBLUR_SIGMA_PX = 1.0
"""Sigma of the re-blur; Zhuo and Sim use 1 px too."""
COARSE_SIGMA_PX = 2.0
"""Smoothing at which a place has its weight: what is there, sharp or not."""
PLACE_SIGMA_PX = 2.0
"""Size of a place, over which squared gradients are averaged."""
PLACE_STEP_PX = 2
"""From place to place: those between say the same."""
MOST_WEIGHT = 2.0
"""Most weight of a place, of the median weight: an edge that is no part of the face is the strongest by far."""
RESOLVED_SHARE = 0.3
"""Share of the places that are at least as sharp as the width that is told."""
CROWDED_FACTOR, CROWDED_POWER = 1.11, 0.745
"""The rule for a lone edge is off where edges run into one another. Of 52 training portraits of 256 px it gives 1.09 px
in the median as they are, and 1.68, 2.14, 2.69, 2.91, 4.01 and 5.90 px blurred by 1, 1.5, 2, 2.2, 3 and 4 px; with
these the median lies within 6% of the hypotenuse of the blur and 1.18 px."""
MOST_WIDTH_PX = 25.0
"""Width of an edge that the re-blur does not widen any more."""
MOST_BLUR_PX = 10.0
"""Blur that is reported where no edge is left to measure."""
LEAST_POWER = 1e-3
"""Squared gradient below which there is no content, levels of 255."""
MEDIAN_OF_SQUARE = 0.455
"""Median of the square of a standard normal variable."""

LOWER_HALF_OF_NORMAL = 0.32466
"""Mean of the lower half of the absolute values of a standard normal variable: turns that of noise into its sigma,
whatever the upper half is."""
BLIND_KERNEL: Luma = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
"""Difference of two Laplacians, blind to image structure (Immerkaer, CVIU 1996)."""
ROW_KERNEL: Luma = np.array([[1, -4, 6, -4, 1]], dtype=np.float32)
"""Fourth difference along rows: blind to whatever changes from row to row only, as interlace does."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an aligned face resolves.

    Attributes:
        blur_px: sigma of the edges of eyes, brows and mouth, crop pixels.
        fine: what the skin has of detail or noise from pixel to pixel, standard deviation in levels of 255.
        coarse: the same of the half-size picture.
    """

    blur_px: float
    fine: float
    coarse: float


@dataclass(frozen=True, slots=True)
class _Places:
    """Where edges are measured.

    Attributes:
        features: (H, W), the places.
        skin: (H, W).
        kept: (H, W), 0 for what is taken out, else 1.
        scale: (N,) of each place one over the share of it that is kept.
    """

    features: Mask
    skin: Mask
    kept: Luma
    scale: Luma


def window(face_size: int) -> tuple[slice, slice]:
    """Return rows and columns of a crop of ``face_size`` px that are looked at."""
    left, right, top, bottom = (round(edge * face_size / FFHQ_SIZE) for edge in WINDOW)
    return slice(top, bottom), slice(left, right)


def resolution(luma: Luma, face_size: int, *, taken_out: Mask) -> Resolution:
    """Return what a face resolves.

    Args:
        luma: (H, W) in levels of 255, the ``window`` of a crop.
        face_size: side of the whole crop, pixels.
        taken_out: (H, W), what is no part of the face.
    """
    features, skin = (_left_of_zone(_zone_mask(zones, face_size), taken_out) for zones in (FEATURES, SKIN))
    features[1::PLACE_STEP_PX] = features[:, 1::PLACE_STEP_PX] = False
    fine, coarse = _skin_levels(luma, skin)
    return Resolution(_blur_px(luma, features, skin, taken_out), fine, coarse)


def _zone_mask(zones: tuple[Zone, ...], face_size: int) -> Mask:
    """Return the mask of zones in the window of a crop."""
    rows, columns = window(face_size)
    mask = np.zeros((face_size, face_size), dtype=np.bool_)
    for zone in zones:
        left, right, top, bottom = (round(edge * face_size / FFHQ_SIZE) for edge in zone)
        mask[top:bottom, left:right] = True
    return mask[rows, columns]


def _left_of_zone(zone: Mask, taken_out: Mask) -> Mask:
    """Return what is left of a zone; all of it where that would be next to nothing."""
    left = zone & ~taken_out
    return left if left.sum() >= LEAST_LEFT * zone.sum() else zone


def _blur_px(luma: Luma, features: Mask, skin: Mask, taken_out: Mask) -> float:
    """Return the width of edges that ``RESOLVED_SHARE`` of the places reach, along the axis where it is worse.

    Interlace and scan lines are sharp along one axis only; so is a face moved while it was taken.
    """
    import cv2

    coarse = np.asarray(cv2.GaussianBlur(luma, (0, 0), COARSE_SIGMA_PX), dtype=np.float32)
    kept = (~taken_out).astype(np.float32)
    share = cv2.GaussianBlur(kept, (0, 0), PLACE_SIGMA_PX)[features]
    scale = np.divide(1, share, out=np.zeros_like(share), where=share > 0)
    places = _Places(features, skin, kept, scale)
    return max(_axis_blur_px(luma, coarse, places, axis=axis) for axis in (0, 1))


def _axis_blur_px(luma: Luma, coarse: Luma, places: _Places, *, axis: int) -> float:
    """Return the width of edges along one axis, pixels.

    Re-blurring an edge of width s by r lowers its squared gradient by R = (s^2 + r^2) / s^2, so s = r / sqrt(R - 1)
    (Zhuo and Sim, "Defocus map estimation from a single image", Pattern Recognition 2011). Taken here place by place,
    less the squared gradient of the skin, so that noise does not pass for detail.
    """
    reblurred = _filtered_along(luma, _gaussian(REBLUR_SIGMA_PX), axis)
    before, after, content = (_place_power(each, places, axis=axis) for each in (luma, reblurred, coarse))
    ratio = np.maximum(before, LEAST_POWER) / np.maximum(after, LEAST_POWER)
    widths = REBLUR_SIGMA_PX / np.sqrt(np.maximum(ratio - 1, (REBLUR_SIGMA_PX / MOST_WIDTH_PX) ** 2))
    filled = content > LEAST_POWER
    if not filled.any():
        return MOST_BLUR_PX
    weights = np.clip(content, 0, MOST_WEIGHT * median_of(content[filled]))
    order = np.argsort(widths, kind="stable")
    reached = np.cumsum(weights[order], dtype=np.float64)
    width = float(widths[order][np.searchsorted(reached, RESOLVED_SHARE * reached[-1])])
    return min(CROWDED_FACTOR * math.pow(width, CROWDED_POWER), MOST_BLUR_PX)


def median_of(values: Luma) -> np.float32:
    """Return the median of some numbers, one at least, as ``np.median`` does; that imports numpy.ma, 20 ms."""
    half, odd = divmod(values.size, 2)
    middle = np.partition(values, (half - 1 + odd, half), axis=None)[half - 1 + odd : half + 1]
    return np.float32((middle[0] + middle[-1]) / 2)


def _place_power(luma: Luma, places: _Places, *, axis: int) -> Luma:
    """Return the squared gradient along an axis, averaged over each place, above that of the skin."""
    import cv2

    power = _filtered_along(luma, np.array([-0.5, 0, 0.5], dtype=np.float32), axis) ** 2
    ground = float(median_of(power[places.skin])) / MEDIAN_OF_SQUARE
    sums = cv2.GaussianBlur(power * places.kept, (0, 0), PLACE_SIGMA_PX)[places.features]
    return np.asarray(sums * places.scale - ground, dtype=np.float32)


def _skin_levels(luma: Luma, skin: Mask) -> tuple[float, float]:
    """Return the standard deviation of what the skin has of detail or noise, at full and at half size.

    Noise of a photo that was enlarged, scanned from print or compressed is coarser than a pixel, which the operators
    do not see at full size.
    """
    import cv2

    height, width = (side // 2 for side in luma.shape)
    half = cv2.resize(luma[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    halves = skin[: 2 * height : 2, : 2 * width : 2]
    return detail_level(luma, skin), detail_level(np.asarray(half, dtype=np.float32), halves)


def detail_level(luma: Luma, where: Mask | None = None) -> float:
    """Return the standard deviation of detail or noise from pixel to pixel, levels of 255.

    The least that an operator blind to structure sees, in the quieter half of the places.

    Args:
        luma: (H, W) in levels of 255.
        where: (H, W) mask of the places; None for all.
    """
    import cv2

    levels = []
    for kernel in (BLIND_KERNEL, ROW_KERNEL):
        response = np.sort(np.abs(cv2.filter2D(luma, -1, kernel)[... if where is None else where]), axis=None)
        lower = response[: max(1, len(response) // 2)]
        gain = math.sqrt(float(np.square(kernel).sum())) * LOWER_HALF_OF_NORMAL
        levels.append(float(lower.mean(dtype=np.float64)) / gain if lower.size else 0.0)
    return min(levels)


def _filtered_along(luma: Luma, kernel: Luma, axis: int) -> Luma:
    """Return a picture filtered along one axis."""
    import cv2

    filtered = cv2.filter2D(luma, -1, kernel[:, None] if axis == 0 else kernel[None])
    return np.asarray(filtered, dtype=np.float32)


def _gaussian(sigma_px: float) -> Luma:
    import cv2

    kernel = cv2.getGaussianKernel(2 * math.ceil(3 * sigma_px) + 1, sigma_px)
    return np.asarray(kernel, dtype=np.float32).ravel()

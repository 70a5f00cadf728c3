"""What lies over a photo and is no part of what it shows: screens of lines or dots, and long straight lines.

Creases, scratches, interlace, scan lines and halftone are sharp whatever lies below; who measures a photo by its
sharpest parts measures them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import affine_scale
from facerestore.imaging.pixels import whole_levels
from facerestore.types import Affine

GROUND_SIGMA_PX = 4.0
"""Coarser than this is never taken for a screen, and is set aside before the spectrum is looked at."""
LOWEST_FREQUENCY = 0.06
"""Cycles per pixel below which nothing is taken for a screen: 16 px and more from line to line."""
PEAK_RATIO = 30.0
"""Power of a screen's frequency over that around it; noise alone comes there once in 10 million frequencies."""
SKIRT_RATIO = 2.0
"""Power over that around, from which the neighbours of a peak go with it."""
AROUND_BINS, SKIRT_BINS = 21, 9
"""Sides of what counts as around a frequency, and as its neighbours."""
MARGIN_SHARE = 3 / 14
"""What lies around a window and is looked at too, of its side: there the picture is faded to nothing."""
LEAST_POWER = 1e-3
"""Added to the power of each frequency, so that an empty picture has a logarithm."""

DOTS_SHARE, DOTS_AT = 0.74, (0.22, 0.13)
"""Side, and top and left, of what is looked at for dots, of the crop: the face with what a window fades."""
DOTS_RATIO = 55.0
"""Least power of both frequencies of a screen of dots, over the median around."""
DOTS_TOLERANCE = 0.1
"""By how much of their length two frequencies may miss a right angle: a scan is stretched a little."""
DOTS_LEVELS = 0.5
"""Least amplitude of both, levels of 255."""
LEAST_TURN = 0.06
"""Of their directions against the sides of the photo, as a sine: what is nearer is blocks and lines."""
LINES_RATIO = 400.0
"""Least power of a screen's lines over the median around."""
LINES_LEVELS = 2.0
"""Least amplitude of lines, levels of 255: the pixels of what was enlarged are weaker."""
LINES_OVER_BLOCKS = 12.0
"""Least power of lines over what is as fine along the other side of the photo."""
LOG_STEPS = 6
"""Steps of a logarithm of power, of which 8 bits hold 42."""

LINE_SHARE, LINE_REACH_SHARE, LINE_HALF_SHARE = 0.078, 0.023, 0.016
"""Least length of a long line, how far it is drawn out at each end, and to each side, of the crop: 20, 6 and 4 px at
256. Lids, brows and lips are bent, and come in shorter pieces."""
LOOKED_AT_PX = 256
"""Side of the crop at which lines are looked for: a line that a larger crop alone shows is no crease."""
SUBPIXEL_BITS = 4  # of OpenCV's drawing


class Overlay(NamedTuple):
    """What lies regularly over a face.

    Attributes:
        dots_px: how far the dots of a print are apart, photo pixels; None without any.
        lines_px: how far the lines of a screen are apart, photo pixels; None without any.
    """

    dots_px: float | None = None
    lines_px: float | None = None


def without_screens(luma: NDArray[np.float32], window: tuple[slice, slice]) -> NDArray[np.float32]:
    """Return the window of a picture without regular screens of lines or dots.

    A screen is a handful of frequencies that stand far out of those around them. They are brought down to what lies
    around them, all else is left.

    Args:
        luma: (H, W) in levels of 255.
        window: rows and columns.
    """
    import cv2

    (rows, rows_faded), (columns, columns_faded) = (
        _margined(inner, side) for inner, side in zip(window, luma.shape, strict=True)
    )
    seen = luma[rows, columns]
    ground = cv2.GaussianBlur(seen, (0, 0), GROUND_SIGMA_PX)
    fine = np.asarray((seen - ground) * (rows_faded[:, None] * columns_faded), dtype=np.float32)
    spectrum = cv2.dft(fine, flags=cv2.DFT_COMPLEX_OUTPUT)
    gain = _screen_gain(spectrum)
    if gain is None:
        return np.ascontiguousarray(luma[window])
    flags = cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT
    change = cv2.dft(spectrum * gain[..., None], flags=flags) - fine
    inner = tuple(
        slice(one.start - outer.start, one.stop - outer.start)
        for one, outer in zip(window, (rows, columns), strict=True)
    )
    return np.asarray(luma[window] + change[inner], dtype=np.float32)


def _margined(inner: slice, side: int) -> tuple[slice, NDArray[np.float32]]:
    """Return a slice with its margins, and factors: 1 in the slice, falling to nothing along half a cosine."""
    margin = round((inner.stop - inner.start) * MARGIN_SHARE)
    outer = slice(max(inner.start - margin, 0), min(inner.stop + margin, side))
    place = np.arange(outer.start, outer.stop)
    away = np.maximum(np.maximum(inner.start - place, place - inner.stop + 1), 0) / (margin + 1)
    return outer, np.asarray((1 + np.cos(np.pi * away)) / 2, dtype=np.float32)


def _screen_gain(spectrum: NDArray[Any]) -> NDArray[np.float32] | None:
    """Return the (H, W) factor of each frequency that takes screens away; None where there is none."""
    import cv2

    height, width = spectrum.shape[:2]
    down, across = np.fft.fftfreq(height), np.fft.fftfreq(width)
    high = _with_margin(np.hypot(down[:, None], across).astype(np.float32)) > LOWEST_FREQUENCY
    power = _with_margin(np.log(spectrum[..., 0] ** 2 + spectrum[..., 1] ** 2 + LEAST_POWER))
    peaks = (power - cv2.blur(power, (AROUND_BINS, AROUND_BINS)) > math.log(PEAK_RATIO)) & high
    if not peaks.any():
        return None
    skirt = cv2.dilate(peaks.astype(np.uint8), np.ones((SKIRT_BINS, SKIRT_BINS), np.uint8)) > 0
    # Peaks raise the mean of what lies around them, so it is taken again without them.
    rest = (~skirt).astype(np.float32)
    sums, counts = (
        cv2.boxFilter(each, -1, (AROUND_BINS, AROUND_BINS), normalize=False) for each in (power * rest, rest)
    )
    above = power - sums / np.maximum(counts, 1)
    gain = np.where(skirt & (above > math.log(SKIRT_RATIO)), np.exp(-above / 2), 1)
    return np.asarray(gain[AROUND_BINS:-AROUND_BINS, AROUND_BINS:-AROUND_BINS], dtype=np.float32)


def _with_margin(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a spectrum with a margin on each side, since the highest frequencies have the lowest as neighbours."""
    return np.pad(values, AROUND_BINS, mode="wrap")


def regular_overlay(luma: NDArray[np.float32], affine: Affine) -> Overlay:
    """Return how far the dots or lines are apart that lie over a face.

    Dots of a print lie in a square lattice, turned against the photo's sides (the yellow of four inks apart): two
    frequencies of one length at right angles, both far out of those around them and strong enough to be seen. Lines of
    a screen follow one side of the photo, JPEG blocks both.

    Args:
        luma: (S, S) in levels of 255, an aligned crop.
        affine: (2, 3), photo pixels to those of the crop.
    """
    import cv2

    side = round(DOTS_SHARE * len(luma))
    top, left = (round(place * len(luma)) for place in DOTS_AT)
    fade = np.hanning(side + 2)[1:-1].astype(np.float32)
    seen = luma[top : top + side, left : left + side]
    fine = (seen - cv2.GaussianBlur(seen, (0, 0), GROUND_SIGMA_PX)) * np.outer(fade, fade)
    power = np.square(np.abs(np.fft.fftshift(np.fft.fft2(fine)))) + LEAST_POWER
    above = np.log(power).astype(np.float32) - _log_median(power)
    wave = (float(fade.sum()) ** 2 / 2) ** 2  # of amplitude 1, seen through the window
    middle = side // 2
    places = np.indices((side, side)) - middle
    waves = np.hypot(*places) / side
    seen_waves = (waves > LOWEST_FREQUENCY) & (waves < 0.5)
    peaks = (above > math.log(DOTS_RATIO)) & (power > DOTS_LEVELS**2 * wave) & seen_waves
    if not peaks.any():
        return Overlay()
    tops = np.argwhere(peaks & (above == cv2.dilate(above, np.ones((5, 5), np.uint8)))) - middle
    strengths = above[*(tops + middle).T]
    # Columns are x and y, in waves a photo pixel.
    found = (tops[:, ::-1] / side) @ affine[:, :2]
    turns = np.abs(found).min(axis=1) >= LEAST_TURN * np.hypot(*found.T)
    dots_px = _dots_px(found[turns], strengths[turns])
    if dots_px is not None:
        return Overlay(dots_px=dots_px)
    plain = ~turns & (power[*(tops + middle).T] > LINES_LEVELS**2 * wave)
    return Overlay(
        lines_px=_lines_px(found[plain], strengths[plain], finest=1.5 / side * affine_scale(affine))
    )


def _dots_px(found: NDArray[np.float64], strengths: NDArray[np.float32]) -> float | None:
    """Return how far dots are apart, of (N, 2) frequencies off the photo's sides; None where they are no lattice."""
    lengths = np.hypot(*found.T)
    if not len(found):
        return None
    # Of each two, one turned by a right angle: how far they are apart, as a share of their length.
    turned = found[:, ::-1] * (-1, 1)
    apart = np.hypot(*np.moveaxis(found[:, None] - turned[None], -1, 0)) / lengths
    pairs = np.argwhere(apart <= DOTS_TOLERANCE)
    if not len(pairs):
        return None
    return float(1 / lengths[max(pairs, key=lambda pair: strengths[pair].min())].mean())


def _lines_px(found: NDArray[np.float64], strengths: NDArray[np.float32], *, finest: float) -> float | None:
    """Return how far lines are apart, of (N, 2) frequencies along the photo's sides; None where they are blocks.

    Args:
        found: x and y, in waves a photo pixel.
        strengths: logarithms of their power over that around.
        finest: what the crop tells apart, in waves a photo pixel.
    """
    rows, lengths = np.abs(found[:, 1]) > np.abs(found[:, 0]), np.hypot(*found.T)
    alike = (rows[:, None] != rows) & (np.abs(lengths[:, None] - lengths) < finest)
    across = np.where(alike, strengths, 0).max(axis=1, initial=0)  # N
    lines = (strengths > math.log(LINES_RATIO)) & (strengths - across > math.log(LINES_OVER_BLOCKS))
    if not lines.any():
        return None
    return float(1 / lengths[lines][strengths[lines].argmax()])


def _log_median(power: NDArray[Any]) -> NDArray[np.float32]:
    """Return the logarithm of the median power around each frequency, to a sixth."""
    import cv2

    steps = whole_levels((np.log(power) - math.log(LEAST_POWER)) * LOG_STEPS).astype(np.uint8)
    padded = np.pad(steps, AROUND_BINS, mode="wrap")
    median = cv2.medianBlur(padded, AROUND_BINS)[AROUND_BINS:-AROUND_BINS, AROUND_BINS:-AROUND_BINS]
    return np.asarray(median / LOG_STEPS + math.log(LEAST_POWER), dtype=np.float32)


def long_lines(luma: NDArray[np.float32], face_size: int) -> NDArray[np.bool_]:
    """Return the (H, W) mask of what lies on a long straight line or within a few pixels of one.

    Segments are found by LSD (von Gioi, Jakubowicz, Morel and Randall, IPOL 2012): each side of a scratch is one.

    Args:
        luma: (H, W) in levels of 255; part of an aligned crop.
        face_size: side of the whole crop, pixels, by which lengths count.
    """
    import cv2

    scale = min(1.0, LOOKED_AT_PX / face_size)
    seen = luma if scale == 1 else cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    side = face_size * scale
    found = cv2.createLineSegmentDetector().detect(whole_levels(seen))[0]
    mask = np.zeros(seen.shape, np.uint8)
    ends = np.empty((0, 2, 2)) if found is None else found.reshape(-1, 2, 2).astype(np.float64)
    for start, end in ends:
        length = float(np.hypot(*(end - start)))
        if length < LINE_SHARE * side:
            continue
        reach = (end - start) / length * LINE_REACH_SHARE * side
        points = np.rint(np.stack([start - reach, end + reach]) * 2**SUBPIXEL_BITS).astype(np.int32)
        width = 2 * round(LINE_HALF_SHARE * side) + 1
        cv2.polylines(mask, [points], False, 1, width, cv2.LINE_8, SUBPIXEL_BITS)
    whole = cv2.resize(mask, luma.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(whole, dtype=np.bool_)

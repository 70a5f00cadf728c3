"""Blur kernels, all odd-sided, centred and summing to 1. Widths may be fractions of a pixel."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def gaussian_kernel(
    size_px: int, sigma_x_px: float, sigma_y_px: float, angle_rad: float
) -> NDArray[np.float32]:
    """Return a (size, size) Gaussian that sums to 1, its x axis turned by the angle."""
    axis = np.arange(size_px, dtype=np.float64) - size_px // 2
    x, y = np.meshgrid(axis, axis)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    along, across = cosine * x + sine * y, cosine * y - sine * x
    kernel = np.exp(-0.5 * ((along / sigma_x_px) ** 2 + (across / sigma_y_px) ** 2))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def box_kernel(width_px: float) -> NDArray[np.float32]:
    """Return the average over a square of ``width_px``, its outermost pixels weighted by the part that is covered."""
    reach = max(math.ceil((width_px - 1) / 2), 0)
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    profile = np.clip((width_px + 1) / 2 - np.abs(offsets), 0, 1)
    kernel = np.outer(profile, profile)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def motion_kernel(length_px: float, angle_rad: float, direction: float) -> NDArray[np.float32]:
    """Return a line of ``length_px`` through the centre, one pixel wide, turned by the angle.

    Args:
        length_px: length of the line.
        angle_rad: 0 runs along x.
        direction: how the weight changes along the line: even at 0, falling to nothing at its end at 1, at its
            start at -1.
    """
    reach = max(math.ceil((length_px - 1) / 2), 0)
    axis = np.arange(-reach, reach + 1, dtype=np.float64)
    x, y = np.meshgrid(axis, axis)
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    along, across = cosine * x + sine * y, cosine * y - sine * x
    inside = np.clip((length_px + 1) / 2 - np.abs(along), 0, 1)
    ramp = np.clip(1 - direction * along / max(reach, 1), 0, 2)
    kernel = np.clip(1 - np.abs(across), 0, 1) * inside * ramp
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


@lru_cache(maxsize=256)
def pillow_cubic(from_px: int, to_px: int) -> NDArray[np.float32]:
    """Return the (to, from) matrix of Pillow's bicubic resampling along one axis, antialiased where it reduces.

    The cubic is Keys' with a = -0.5, widened by the factor of reduction: what Matlab's ``imresize`` does too, in which
    the bicubic x4, x8 and x16 of the super-resolution literature are stated.
    """
    distance = _pixel_distances(from_px, to_px)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return _rows_summing_to_one(np.where(distance < 1, near, np.where(distance < 2, far, 0)))


@lru_cache(maxsize=256)
def pillow_lanczos(from_px: int, to_px: int) -> NDArray[np.float32]:
    """Return the (to, from) matrix of Pillow's Lanczos resampling, of three lobes, along one axis, antialiased."""
    distance = _pixel_distances(from_px, to_px)
    return _rows_summing_to_one(np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0))


def _pixel_distances(from_px: int, to_px: int) -> NDArray[np.float64]:
    """Return how far each old pixel is from each new one, (to, from), in pixels of the coarser of both."""
    factor = from_px / to_px
    centres = (np.arange(to_px, dtype=np.float64)[:, None] + 0.5) * factor - 0.5
    return np.asarray(np.abs(np.arange(from_px, dtype=np.float64)[None] - centres) / max(factor, 1.0))


def _rows_summing_to_one(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)

"""The outline of a face, as far as its five points tell it, and the measures that masks are made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError

# The oval, in units of the face's own landmarks, read off the mean of 90 aligned portraits: cheeks 1.08 eye
# distances from the middle, hairline 1.15 and chin 0.76 eye-to-mouth heights beyond the eyes and the mouth.
CHEEK_REACH = 1.15
"""Beyond an eye, in distances from that eye to the nose tip: the far cheek of a turned head is near."""
TOP_REACH = 1.15
"""Above the eyes, in heights from eyes to mouth."""
CHIN_REACH = 0.8
"""Below the mouth corners, in heights from eyes to mouth."""
NOSE_SHARE = (0.15, 0.85)
"""Where the nose tip may lie between the eyes; beyond, the head is in profile."""
WIDTH_OVER_HEIGHT = 0.6
"""Least eye distance over eye-to-mouth height, so that profiles keep a wide oval; frontal it is 0.96."""


class Oval(NamedTuple):
    """An ellipse with a half-axis of its own on each side, aligned pixels; ``across`` is its unit x axis."""

    centre: NDArray[np.float64]
    across: NDArray[np.float64]
    left: float
    right: float
    height: float


def face_oval(points: NDArray[np.float64]) -> Oval:
    """Return the face's outline from its five aligned points."""
    if not np.isfinite(points).all():
        raise ConfigError(f"the landmarks {points.tolist()} are not all finite; drop this face")
    across = (points[1] - points[0]) + (points[4] - points[3])
    across = across / max(math.hypot(*across), np.finfo(np.float64).tiny)
    down = np.array([-across[1], across[0]])
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    height = abs(float((mouth - eyes) @ down))
    width = max(abs(float((points[1] - points[0]) @ across)), WIDTH_OVER_HEIGHT * height, 1.0)
    nose = float(np.clip((points[2] - eyes) @ across / width + 0.5, *NOSE_SHARE))
    middle = (eyes + mouth) / 2
    shift = (1 + CHIN_REACH - TOP_REACH) / 2 - 0.5  # of the oval's centre below the middle of eyes and mouth
    return Oval(
        centre=middle + shift * height * down,
        across=across,
        left=width * (0.5 + CHEEK_REACH * nose),
        right=width * (0.5 + CHEEK_REACH * (1 - nose)),
        height=height * (1 + CHIN_REACH + TOP_REACH) / 2,
    )


def radius_from(oval: Oval, face_size: int) -> NDArray[np.float32]:
    """Return (S, S) float32: 0 at the centre of the oval, 1 on it, growing linearly outwards."""
    radius: NDArray[np.float32] = np.hypot(*_in_half_axes(oval, face_size))
    return radius


def inside_of(oval: Oval, face_size: int) -> NDArray[np.bool_]:
    """Return (S, S): where the radius is below 1, in a third of its time."""
    across, down = _in_half_axes(oval, face_size)
    return across * across + down * down < 1


def _in_half_axes(oval: Oval, face_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far each pixel is from the oval's centre, (S, S) float32 each: across it and down, in half-axes."""
    axis = np.arange(face_size, dtype=np.float32)
    x, y = axis[None, :] - np.float32(oval.centre[0]), axis[:, None] - np.float32(oval.centre[1])
    cosine, sine = np.float32(oval.across[0]), np.float32(oval.across[1])
    along, below = cosine * x + sine * y, cosine * y - sine * x
    half_width = np.where(along < 0, np.float32(max(oval.left, 1.0)), np.float32(max(oval.right, 1.0)))
    across: NDArray[np.float32] = np.divide(along, half_width)
    down: NDArray[np.float32] = np.divide(below, np.float32(max(oval.height, 1.0)))
    return across, down


def distance_from(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (S, S) float32: the distance of each pixel from the nearest one of a region; infinite without any."""
    import cv2

    if not region.any():
        return np.full(region.shape, np.inf, dtype=np.float32)
    outside = np.logical_not(region).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)


def smoothstep(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 3t^2 - 2t^3 of ``values`` clipped to [0, 1]: a ramp without a crease at either end."""
    t = np.clip(values, np.float32(0), np.float32(1))
    step: NDArray[np.float32] = t * t * (np.float32(3) - np.float32(2) * t)
    return step

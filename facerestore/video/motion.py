"""What moves in a clip: where a face has gone since the frame before, where a scene ends, and the one-euro filter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import compose_affine, invert_affine, resize_affine
from facerestore.imaging.pixels import in_8_bits
from facerestore.types import Affine, Box, Image

MOST_SIDE_PX = 960
"""Longest side of the view in which motion is sought: enough for a face of 20 px, and 4K costs no more than HD."""

POINTS_A_SIDE = 9
"""Points of a face that are followed, across and down."""
LEAST_POINTS = 12
"""Of them, that have to agree on a motion; chance does not bring so many together."""

THUMB_PX = (32, 18)
CUT_LEVELS = 26.0
"""Mean difference of neighbouring frames, reduced to `THUMB_PX`, that is a cut by itself."""
CUT_LEAST_LEVELS = 9.0
CUT_RATIO = 4.0
"""A smaller difference is a cut where it is this many times the mean of those before, and not too small to see."""


class View:
    """A frame as motion is sought in it.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.
    """

    def __init__(self, pixels: Image) -> None:
        import cv2

        height, width = pixels.shape[:2]
        scale = min(1.0, MOST_SIDE_PX / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small: NDArray[Any] = np.ascontiguousarray(in_8_bits(pixels))
        small = small if scale == 1 else cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        self.grey: NDArray[Any] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self.thumb: NDArray[Any] = cv2.resize(small, THUMB_PX, interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        self.to_view = resize_affine((size[0] / width, size[1] / height))


class Cuts:
    """Tells where a scene ends."""

    def __init__(self) -> None:
        self._before: View | None = None
        self._usual: float | None = None

    def at(self, view: View) -> bool:
        """Say whether a frame begins a scene; the first one does."""
        before, self._before = self._before, view
        if before is None:
            return True
        change = float(np.abs(view.thumb - before.thumb).mean())
        usual = self._usual
        sudden = usual is not None and change > max(CUT_LEAST_LEVELS, CUT_RATIO * usual)
        if change > CUT_LEVELS or sudden:
            self._usual = None
            return True
        self._usual = change if usual is None else 0.8 * usual + 0.2 * change
        return False


def motion_of(box: Box, before: View, now: View) -> Affine | None:
    """Return where the face in a box has gone, image px to image px; None where that cannot be told.

    Points within it are followed (pyramids of Lucas and Kanade's method), and the similarity that most of them agree on
    is taken.
    """
    import cv2

    left, top, right, bottom = box
    axis = (np.arange(POINTS_A_SIDE) + 0.5) / POINTS_A_SIDE
    x, y = np.meshgrid(left + axis * (right - left), top + axis * (bottom - top))
    linear, shift = before.to_view[:, :2], before.to_view[:, 2]
    points = (np.stack([x.ravel(), y.ravel()], axis=1) @ linear.T + shift).astype(np.float32)
    window = int(np.clip(linear[0, 0] * (right - left) / 4, 9, 31)) | 1
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before.grey,
        now.grey,
        points,
        None,
        winSize=(window, window),
        maxLevel=3,  # type: ignore[call-overload]
    )
    good = found.ravel() == 1
    if good.sum() < LEAST_POINTS:
        return None
    similarity, agree = cv2.estimateAffinePartial2D(
        points[good], moved[good], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if similarity is None or int(agree.sum()) < LEAST_POINTS:
        return None
    return compose_affine(invert_affine(now.to_view), compose_affine(similarity, before.to_view))


class OneEuro:
    """Smooths what is measured in frame after frame: much where it rests, little where it moves.

    G. Casiez, N. Roussel, D. Vogel, "1 Euro Filter", CHI 2012: a low-pass whose cutoff rises with the speed. Here the
    last value may be carried along by a motion that is known otherwise, so that only what departs from it counts as
    speed, and a steady motion leaves no lag.

    Args:
        least_hz: cutoff at rest.
        hz_per_speed: by how much it rises for each unit a second.
    """

    SPEED_HZ = 1.0
    """Cutoff for the speed itself, as the paper has it."""

    def __init__(self, *, least_hz: float, hz_per_speed: float) -> None:
        self._least, self._slope = least_hz, hz_per_speed
        self._speed = 0.0
        self._value: NDArray[Any] | None = None

    def __call__(
        self, value: NDArray[Any], lapse_s: float, *, carried: NDArray[Any] | None = None, unit: float = 1.0
    ) -> NDArray[Any]:
        """Return the smoothed value.

        Args:
            value: as measured, of any shape, the same each time.
            lapse_s: time since the one before.
            carried: the last smoothed value where the known motion has taken it; None for where it was.
            unit: in which speed is counted.
        """
        before = self._value if carried is None else carried
        if before is None or before.shape != value.shape or lapse_s <= 0:
            self._value = value
            return value
        step = float(np.abs(value - before).mean()) / (unit * lapse_s)
        self._speed += _share(self.SPEED_HZ, lapse_s) * (step - self._speed)
        share = _share(self._least + self._slope * self._speed, lapse_s)
        self._value = before + share * (value - before)
        return self._value


def _share(cutoff_hz: float, lapse_s: float) -> float:
    """Return how much of a new value a low-pass takes."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * lapse_s))

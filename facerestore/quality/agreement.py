"""Whether a restored face agrees with its input as far as that can say: low frequencies, colour, places of features.

Both are brought to what the input resolves, the restored one by the blur that the input has, then compared where the
face is. A network that draws another mouth, other eyes or another tone is seen so without any network; one that draws
the wrong lashes is not, for the input does not say what the lashes were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import FFHQ_SIZE, template
from facerestore.imaging.pixels import LUMA
from facerestore.quality.resolution import FEATURES
from facerestore.types import FaceImage

SIDE_PX = 128
"""Faces are compared at this size: what is finer is noise of the input, or drawn."""

SMOOTH_PX = 1.5
"""Sigma of the blur that takes noise and blocks off both, at `SIDE_PX`."""

CORE = (0.34, 0.86, 0.24, 0.76)
"""Top, bottom, left, right of what is compared, as in `facerestore.quality.judge`."""

REACH_PX = 6
"""Farthest that a feature is looked for from where the input has it, at `SIDE_PX`: a sixth of the eye distance."""

TOLD = 0.1
"""By how much the correlation must rise where a feature has moved to: that of a blurred one hardly tells its place."""

MARGIN_PX = 3
"""Around a feature, at `SIDE_PX`: a mouth is compared with its surroundings."""

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a restored face is from its input in what the input resolves.

    Attributes:
        structure: share of the input's variance of luma that the restored face does not explain, 0 to 1.
        colour: difference of mean chroma, levels of 255.
        shift: the farthest that a feature has moved, in percent of the eye distance.
    """

    structure: float
    colour: float
    shift: float


def agreement(lq: FaceImage, restored: FaceImage, *, blur_px: float) -> Agreement:
    """Return how far a restored face is from its input.

    Args:
        lq: (S, S, 3) float32 RGB in [0, 1], in the FFHQ frame.
        restored: the same face.
        blur_px: what the input resolves: sigma of its edges, pixels of S, as ``assess`` measures it.
    """
    given, made = _reduced(lq), _reduced(restored)
    blur = blur_px * SIDE_PX / lq.shape[0]
    given, made = _blurred(given, SMOOTH_PX), _blurred(made, math.hypot(SMOOTH_PX, blur))
    top, bottom, left, right = (round(share * SIDE_PX) for share in CORE)
    core = (slice(top, bottom), slice(left, right))
    chroma = [_chroma(face[core]) for face in (given, made)]
    luma = [face @ LUMA for face in (given, made)]
    return Agreement(
        structure=_unexplained(luma[0][core], luma[1][core]),
        colour=float(np.hypot(*(chroma[1] - chroma[0])) * 255),
        shift=_shift(*luma),
    )


def _reduced(face: FaceImage) -> NDArray[np.float32]:
    import cv2

    interpolation = cv2.INTER_AREA if face.shape[0] > SIDE_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(face, (SIDE_PX, SIDE_PX), interpolation=interpolation), dtype=np.float32)


def _blurred(face: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.GaussianBlur(face, (0, 0), sigma_px), dtype=np.float32)


def _chroma(face: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return mean blue and red less luma."""
    mean = face.mean(axis=(0, 1), dtype=np.float64)
    luma = float(mean @ LUMA)
    return np.array([mean[2] - luma, mean[0] - luma])


def _unexplained(given: Plane, made: Plane) -> float:
    """Return the share of variance that the best factor and shift of ``made`` leave of ``given``."""
    a, b = given - given.mean(), made - made.mean()
    power, common = float(np.vdot(a, a)) * float(np.vdot(b, b)), float(np.vdot(a, b))
    return 1.0 if power <= 0 or common <= 0 else max(0.0, 1 - common**2 / power)


def _shift(given: Plane, made: Plane) -> float:
    """Return the farthest shift of eyes and mouth that makes them agree best, percent of the eye distance."""
    points = template(SIDE_PX)
    eyes_px = float(np.hypot(*(points[1] - points[0])))
    moved = max(_feature_shift(given, made, zone) for zone in FEATURES)
    return 100 * moved / eyes_px


def _feature_shift(given: Plane, made: Plane, zone: tuple[int, int, int, int]) -> float:
    """Return by how much a feature of ``made`` has moved, pixels: the best match of the input's in its surroundings."""
    import cv2

    left, right, top, bottom = (round(edge * SIDE_PX / FFHQ_SIZE) for edge in zone)
    own = given[top - MARGIN_PX : bottom + MARGIN_PX, left - MARGIN_PX : right + MARGIN_PX]
    reach = MARGIN_PX + REACH_PX
    around = made[top - reach : bottom + reach, left - reach : right + reach]
    if float(own.std()) < 1 / 255:
        return 0.0  # nothing is seen there, so nothing can have moved
    found = cv2.matchTemplate(around, np.ascontiguousarray(own), cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    if found[y, x] - found[REACH_PX, REACH_PX] < TOLD:
        return 0.0
    return float(np.hypot(x - REACH_PX, y - REACH_PX))

"""The colours of faces: luma, a single tone such as grey or sepia, and the match of a restored face to its photo."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.types import FaceImage, Mask

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of R, G, B in luma, ITU-R BT.601."""

COLOUR_SIGMA = 0.06
"""Sigma of the colour match, of the crop's side: it spans an eye (0.1) and lies well within a cheek."""

COLOUR_GRID_PX = 64
"""Side of the grid on which low frequencies are compared; COLOUR_SIGMA is 4 px there, so nothing is lost."""

COLOUR_FLOOR = 1e-3
"""Least mask weight, of 1, that a low-frequency average may rest on; below it is float noise."""

SINGLE_TONE_RMS = 2 / 255
"""Most deviation of a single-toned face from its tone: 0.3 to 1.7 levels on scanned sepia, 2.7 up on colour photos."""

TONE_MASK = 0.5
"""Mask weight from which a pixel counts as face when its tone is looked for."""

LEAST_TONE_PIXELS = 30
"""Ten for each of the three numbers of a parabola; fewer fit anything."""


def match_colour(restored: FaceImage, lq: FaceImage, mask: Mask) -> FaceImage:
    """Return ``restored`` with the low-frequency colours that ``lq`` has under the mask.

    Adds the difference of both, low-passed with the mask as weight (normalised convolution, Knutsson and
    Westin, CVPR 1993), so that skin tone, shading and cast stay those of the photo and only detail is new.
    Where ``lq`` has a single tone the restored detail gets it too: a grey face stays exactly grey, sepia sepia.

    Args:
        restored: (S, S, 3) float32 RGB in [0, 1].
        lq: (S, S, 3) float32 RGB in [0, 1], the same crop.
        mask: (S, S) float32 in [0, 1]; what lies outside it does not count.
    """
    toned = _in_single_tone(restored, lq, mask)
    matched: FaceImage = np.clip(toned + _low_pass(lq - toned, mask), 0, 1)
    return matched


def grey_face(face: FaceImage) -> FaceImage:
    """Return an (H, W, 3) float32 RGB picture with its luma in all three channels."""
    return np.repeat((face @ LUMA)[..., None], 3, axis=2)


def has_single_tone(face: FaceImage, mask: Mask, *, most_rms: float = SINGLE_TONE_RMS) -> bool:
    """Say whether the colour of a face is a function of its luma alone under the mask: grey, sepia or another tint.

    Args:
        face: (S, S, 3) float32 RGB in [0, 1].
        mask: (S, S) float32 in [0, 1].
        most_rms: deviation from the tone that is still taken for noise, root mean square of values in [0, 1].
    """
    return _is_grey(face) or _tone(face, mask, most_rms) is not None


def _in_single_tone(restored: FaceImage, lq: FaceImage, mask: Mask) -> FaceImage:
    """Return ``restored`` in the tone of ``lq`` when its colour is a function of luma alone; else unchanged.

    The function is a parabola per channel, fitted under the mask and held constant beyond the lumas it saw.
    """
    if _is_grey(lq):
        return grey_face(restored)
    found = _tone(lq, mask)
    if found is None:
        return restored
    luma = (restored @ LUMA)[..., None]
    known = np.clip(luma, found.darkest, found.lightest)
    tone = found.parabola
    toned: FaceImage = (luma + (known * tone[0] + tone[1]) * known + tone[2]).astype(np.float32)
    return toned


def _is_grey(face: FaceImage) -> bool:
    return np.array_equal(face[..., 0], face[..., 1]) and np.array_equal(face[..., 0], face[..., 2])


class _Tone(NamedTuple):
    """RGB less luma as parabolas of luma, (3, 3) coefficients, and the lumas they were fitted to."""

    parabola: NDArray[np.floating]
    darkest: np.floating
    lightest: np.floating


def _tone(face: FaceImage, mask: Mask, most_rms: float = SINGLE_TONE_RMS) -> _Tone | None:
    """Return the single tone of a face under the mask; None where it has several, or too few pixels to tell."""
    import cv2

    grid = (min(len(face), COLOUR_GRID_PX),) * 2
    inside = cv2.resize(mask, grid, interpolation=cv2.INTER_AREA) > TONE_MASK
    colours = cv2.resize(face, grid, interpolation=cv2.INTER_AREA)[inside]
    if len(colours) < LEAST_TONE_PIXELS:
        return None
    seen = colours @ LUMA
    powers = np.vander(seen, 3)
    tone = np.linalg.lstsq(powers, colours - seen[:, None], rcond=None)[0]
    if np.sqrt(np.mean((colours - seen[:, None] - powers @ tone) ** 2)) > most_rms:
        return None
    return _Tone(tone, seen.min(), seen.max())


def _low_pass(difference: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """Return the mask-weighted low frequencies of (S, S, 3) ``difference``; 0 far outside the mask."""
    import cv2

    size = mask.shape[0]
    side = min(size, COLOUR_GRID_PX)
    weighted = cv2.resize(difference * mask[..., None], (side, side), interpolation=cv2.INTER_AREA)
    weight = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    sigma = COLOUR_SIGMA * side
    blurred = cv2.GaussianBlur(weighted, (0, 0), sigma)
    total = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), COLOUR_FLOOR)
    low = cv2.resize(blurred / total[..., None], (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(low, dtype=np.float32)

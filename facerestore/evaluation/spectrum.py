"""Metrics of the spectrum within the face: how much fine structure there is, and whether it stands on a grid.

A restorer may draw too little detail, too much, or a lattice in place of it; sums of squared errors see none of that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.evaluation.cases import Face
from facerestore.evaluation.metrics import FaceMetric, Setting, Spec

BOX = (70 / 256, 48 / 256, 160 / 256)
"""Top, left and side of the face's box, brows to chin, in shares of the aligned face."""

FINE = 0.25
"""Frequencies above this share of Nyquist's are fine structure."""

PERIODS_PX = (4, 8)
"""Of grids: what a network leaves that draws at a quarter of the size, and what JPEG leaves."""

BESIDE = 3 / 160
"""How far on both sides of a grid's line its neighbours are measured, in cycles per pixel."""

ALONG = 0.05
"""How far along both axes a grid's line is summed, in cycles per pixel."""

LEAST_LINES = 6
"""Bins along an axis below which a grid cannot be told from chance."""

LUMA = np.array([0.299, 0.587, 0.114])

Power = NDArray[np.float64]


def fine_energy(spec: Spec, setting: Setting) -> FaceMetric:
    """Open the energy of fine structure, as a share of the original's; no value where the original has none."""

    def measure(face: Face, hq: Face | None) -> float | None:
        real = _fine(power(_needed(hq)))
        return _fine(power(face)) / real if real else None

    return FaceMetric(spec, _protocol(setting, fine=f"above {FINE:g} of Nyquist's frequency"), measure)


def grid_energy(spec: Spec, setting: Setting) -> FaceMetric:
    """Open how far a face's lines at periods of 4 and 8 px stand out, over the original's, in decibel.

    Of both periods the one that stands out more counts.

    Raises:
        ConfigError: the faces are too small for lines to be told from their neighbours.
    """
    if setting.face_size * BOX[2] * ALONG < LEAST_LINES - 1:
        raise ConfigError(
            f"{spec.title} needs faces of {math.ceil((LEAST_LINES - 1) / (BOX[2] * ALONG))} px or more, and these are"
            f" {setting.face_size} px; choose a larger --face-size, or leave it out of --metrics"
        )

    def measure(face: Face, hq: Face | None) -> float | None:
        found, real = power(face), power(_needed(hq))
        ratios = [(line_excess(found, period), line_excess(real, period)) for period in PERIODS_PX]
        return max(10 * math.log10(ours / theirs) for ours, theirs in ratios)

    return FaceMetric(spec, _protocol(setting, periods=f"{PERIODS_PX[0]} and {PERIODS_PX[1]} px"), measure)


def power(face: Face) -> Power:
    """Return the power spectrum of the luma in the face's box, under a Hann window."""
    top, left, side = (round(share * face.shape[0]) for share in BOX)
    luma = face[top : top + side, left : left + side].astype(np.float64) @ LUMA
    window = np.outer(np.hanning(side), np.hanning(side))
    spectrum = np.fft.fft2((luma - luma.mean()) * window)
    return np.asarray(np.abs(spectrum) ** 2)


def line_excess(found: Power, period_px: int) -> float:
    """Return the power on the lines of a grid of this period over that of the lines beside them; 1 without a grid."""
    side = len(found)
    line, beside = round(side / period_px), max(2, round(side * BESIDE))
    least = 1e-12 * float(found.sum()) + np.finfo(np.float64).tiny  # a flat face has no lines
    neighbours = (_line(found, line - beside) + _line(found, line + beside)) / 2
    return (_line(found, line) + least) / (neighbours + least)


def _line(found: Power, at: int) -> float:
    """Return the power near both axes at a frequency along the other, bins."""
    reach = round(len(found) * ALONG)
    near = np.r_[0:reach, -reach:0]
    return float(found[at, near].sum() + found[near, at].sum())


def _fine(found: Power) -> float:
    frequency = np.fft.fftfreq(len(found))
    return float(found[np.hypot(frequency[:, None], frequency[None]) > FINE / 2].sum())


def _protocol(setting: Setting, **own: str) -> dict[str, str]:
    side = round(BOX[2] * setting.face_size)
    return {
        "implementation": "power spectrum of luma under a Hann window",
        "colour": "luma of RGB, 8 bit",
        "crop": f"the face's box, {side} px of {setting.face_size}",
        "mean": "of each face's own value",
        **own,
    }


def _needed(face: Face | None) -> Face:
    if face is None:
        raise ConfigError(
            "this metric compares a face with its original, and there is none; give it with --hq"
        )
    return face

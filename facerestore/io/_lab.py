"""CIELAB to sRGB. Source: CIE 15, ICC.1 for its white point, IEC 61966-2-1, and Lindbloom's Bradford matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_D50 = np.array((0.9642, 1.0, 0.8249))
# XYZ of D50 to linear sRGB, whose white is D65: adapted as Bradford has it.
_TO_LINEAR = np.array(
    (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
)
_KNEE = 6 / 29


def lab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (..., 3) sRGB in [0, 1], encoded, of CIELAB with L in [0, 100], as seen under D50; clipped where it must.

    Args:
        lab: (..., 3) L, a, b.
    """
    middle = (lab[..., 0] + 16) / 116
    bent = np.stack((middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200), axis=-1)
    xyz = np.where(bent > _KNEE, bent**3, 3 * _KNEE**2 * (bent - 4 / 29)) * _D50
    linear = np.clip(xyz @ _TO_LINEAR.T, 0.0, 1.0)
    encoded: NDArray[np.float64] = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return encoded

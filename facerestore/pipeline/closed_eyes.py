"""Closed eyes stay closed: where eyes look closed in the input, nothing finer is drawn than the input shows.

A network that draws detail knows open eyes, and draws hints of an iris on blurred lids. There the restored face is
blurred towards what the input resolves, which leaves light and shade as they are, without the input's noise and blocks.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import template
from facerestore.types import FaceImage

if TYPE_CHECKING:
    from facerestore.quality.judge import FaceQuality

SIZE_PX = 256
"""Side of the crop that the figures below are of, pixels."""

LOOKED_AT_PX = 2.0
"""Sigma of the input's edges beyond which eyes are looked at: lids of sharper inputs are restored as lids, in all nine
faces that were looked at."""

CLOSED = 0.68
"""Least likelihood of closed eyes: of validation faces with open ones at most 2% have it, degraded by web, by phone
or by gfpgan (`benchmarks/closed_eyes.py`)."""

SHARE = 0.5
"""Sigma of the blur, of that of the input's edges: looked at, lids lose all that was invented, and show no seam."""

ZONE_PX = (27.0, 15.0)
"""Half width and half height of what gives way around each eye."""

FEATHER_PX = 4.0
"""Sigma by which its border is softened."""


def is_looked_at(quality: FaceQuality, face_size: int) -> bool:
    """Say whether an input is so blurred that its eyes may be drawn otherwise than they are.

    Args:
        quality: of the input.
        face_size: side of its crop, pixels.
    """
    return quality.blur_px * SIZE_PX / face_size > LOOKED_AT_PX


def with_soft_eyes(restored: FaceImage, *, blur_px: float) -> FaceImage:
    """Return a restored face without what is finer around its eyes than the input shows.

    Args:
        restored: (S, S, 3) float32 RGB in [0, 1], in the FFHQ frame.
        blur_px: sigma of the input's edges, pixels of S.
    """
    import cv2

    zones = eye_zones(restored.shape[0])
    rows, columns = (np.flatnonzero(zones.any(axis=axis)) for axis in (1, 0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    sharp = restored[window]
    soft = np.asarray(cv2.GaussianBlur(sharp, (0, 0), SHARE * blur_px), dtype=np.float32)
    face = restored.copy()
    face[window] = sharp + zones[window][..., None] * (soft - sharp)
    return face


@cache
def eye_zones(face_size: int) -> NDArray[np.float32]:
    """Return what gives way where eyes are closed, (S, S) float32 in [0, 1], read-only: a soft oval around each."""
    import cv2

    unit = face_size / SIZE_PX
    y, x = np.mgrid[:face_size, :face_size].astype(np.float32)
    zones = np.zeros((face_size, face_size), np.float32)
    for eye_x, eye_y in template(face_size)[:2]:
        within = ((x - eye_x) / (ZONE_PX[0] * unit)) ** 2 + ((y - eye_y) / (ZONE_PX[1] * unit)) ** 2 <= 1
        zones[within] = 1
    soft = np.asarray(cv2.GaussianBlur(zones, (0, 0), FEATHER_PX * unit), dtype=np.float32)
    soft.setflags(write=False)
    return soft

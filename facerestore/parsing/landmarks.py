"""A parsing map without a network: the parts of a mean face, laid through the five points of a real one.

It knows where eyes, brows, nose and lips are, roughly. It cannot know hair, hats, glasses, ears, an open mouth, or
a hand before the face: of those it draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import transform_points
from facerestore.parsing.oval import WIDTH_OVER_HEIGHT, face_oval, radius_from
from facerestore.types import AlignedFace, ParsingMap

LANDMARK_CLASSES: frozenset[str] = frozenset(
    {
        "background",
        "skin",
        "nose",
        "left_eye",
        "right_eye",
        "left_brow",
        "right_brow",
        "upper_lip",
        "lower_lip",
    }
)
"""The classes that can be drawn from five points."""

# Parts in units of the face's own landmarks, set by eye on aligned portraits: across in distances between the eyes,
# down in heights from eyes to mouth. Half sizes; eyes and lips are drawn generously, since what they are for,
# strengths by region, must not miss a lid or a lip.
EYE_HALF = (0.25, 0.11)
BROW_HALF = (0.37, 0.09)
BROW_SHIFT = (0.05, -0.31)
"""Of a brow's middle from its eye: outwards, and up."""
BROW_BEND = 0.10
"""How much lower the ends of a brow are than its middle."""
NOSE_HALF_WIDTHS = (0.13, 0.30)
"""At the level of the eyes, and at the wings."""
NOSE_BELOW_TIP = 0.14
"""From the tip of the nose down to its base."""
MOUTH_HALF_WIDTH = 0.55
"""Of the distance between the mouth corners."""
LIP_HEIGHTS = (0.13, 0.20)
"""Of the upper and the lower lip, from the line between the corners."""


class _FaceAxes(NamedTuple):
    """Five aligned points, and the axes and units in which parts are drawn."""

    points: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    width: float
    height: float


class LandmarkParser:
    """Draws the parts of faces from their five points; needs no weights.

    Attributes:
        name: ``landmarks``.
    """

    name = "landmarks"

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one (S, S) uint8 map of CelebAMask-HQ ids per face, S the size of its ``lq``.

        Raises:
            ConfigError: the landmarks of a face are not finite.
        """
        return [_drawn_map(face) for face in faces]


def _drawn_map(aligned: AlignedFace) -> ParsingMap:
    size = aligned.lq.shape[0]
    points = transform_points(aligned.affine, aligned.detected.landmarks)
    oval = face_oval(points)
    face = _face_axes(points, oval.across)
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).astype(np.float64)
    parsing_map: ParsingMap = np.zeros((size, size), dtype=np.uint8)
    inside = radius_from(oval, size) <= 1
    parsing_map[inside] = CLASS_NAMES.index("skin")
    for name, region in _part_regions(face, pixels).items():
        parsing_map[region & inside] = CLASS_NAMES.index(name)
    return parsing_map


def _face_axes(points: NDArray[np.float64], across: NDArray[np.float64]) -> _FaceAxes:
    down = np.array([-across[1], across[0]])
    height = max(abs(float((points[3:].mean(axis=0) - points[:2].mean(axis=0)) @ down)), 1.0)
    width = max(abs(float((points[1] - points[0]) @ across)), WIDTH_OVER_HEIGHT * height)
    return _FaceAxes(points, across, down, width, height)


def _part_regions(face: _FaceAxes, pixels: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Return the pixels of each part, later ones above earlier ones."""
    lips = _lip_regions(face, pixels)
    return {
        "nose": _nose_region(face, pixels),
        "left_brow": _brow_region(face, pixels, face.points[0], outwards=-1),
        "right_brow": _brow_region(face, pixels, face.points[1], outwards=1),
        "left_eye": _eye_region(face, pixels, face.points[0]),
        "right_eye": _eye_region(face, pixels, face.points[1]),
        "upper_lip": lips[0],
        "lower_lip": lips[1],
    }


def _offsets_from(
    face: _FaceAxes, pixels: NDArray[np.float64], origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far each pixel lies from a point: across in face widths, down in face heights."""
    offset = pixels - origin
    return offset @ face.across / face.width, offset @ face.down / face.height


def _eye_region(face: _FaceAxes, pixels: NDArray[np.float64], eye: NDArray[np.float64]) -> NDArray[np.bool_]:
    x, y = _offsets_from(face, pixels, eye)
    inside: NDArray[np.bool_] = np.hypot(x / EYE_HALF[0], y / EYE_HALF[1]) <= 1
    return inside


def _brow_region(
    face: _FaceAxes, pixels: NDArray[np.float64], eye: NDArray[np.float64], *, outwards: int
) -> NDArray[np.bool_]:
    """Return a bent bar above an eye."""
    x, y = _offsets_from(face, pixels, eye)
    x = (x - outwards * BROW_SHIFT[0]) / BROW_HALF[0]
    y = (y - BROW_SHIFT[1] - BROW_BEND * x**2) / BROW_HALF[1]
    inside: NDArray[np.bool_] = np.hypot(x, y) <= 1
    return inside


def _nose_region(face: _FaceAxes, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a wedge from between the eyes to the tip, rounded at its base."""
    top, tip = face.points[:2].mean(axis=0), face.points[2]
    length = max(float((tip - top) @ face.down) / face.height, NOSE_BELOW_TIP)
    x, y = _offsets_from(face, pixels, top)
    lean = float((tip - top) @ face.across) / face.width
    share = y / length  # 0 between the eyes, 1 at the tip
    half = NOSE_HALF_WIDTHS[0] + (NOSE_HALF_WIDTHS[1] - NOSE_HALF_WIDTHS[0]) * np.clip(share, 0, 1) ** 2
    wedge = (np.abs(x - lean * share) <= half) & (share >= 0) & (share <= 1)
    base = np.hypot((x - lean) / NOSE_HALF_WIDTHS[1], (y - length) / NOSE_BELOW_TIP) <= 1
    inside: NDArray[np.bool_] = wedge | (base & (share > 1))
    return inside


def _lip_regions(face: _FaceAxes, pixels: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the halves of an ellipse on either side of the line between the mouth corners."""
    left, right = face.points[3], face.points[4]
    distance = max(float(np.hypot(*(right - left))), face.width / 3)  # corners may fall together in a profile
    along = (right - left) / max(float(np.hypot(*(right - left))), np.finfo(np.float64).tiny)
    offset = pixels - (left + right) / 2
    x = offset @ along / (MOUTH_HALF_WIDTH * distance)
    y = offset @ np.array([-along[1], along[0]]) / face.height
    upper = (np.hypot(x, y / LIP_HEIGHTS[0]) <= 1) & (y <= 0)
    lower = (np.hypot(x, y / LIP_HEIGHTS[1]) <= 1) & (y > 0)
    return upper, lower

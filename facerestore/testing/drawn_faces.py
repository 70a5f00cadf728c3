"""Drawn faces to try a restorer on: they need no file, and their parsing maps come with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.blending import whole_crop
from facerestore.types import AlignedFace, ParsingMap

Colour = tuple[float, float, float]

FRAME_PX = 512
"""Parts are given in pixels of the 512 px FFHQ frame, the one in which its template is published."""

# (class, centre x, centre y, radius x, radius y, lightness) in the order in which they are painted. The centres
# of eyes, nose and mouth are the template's; the rest is where an average head has it.
PARTS: tuple[tuple[str, float, float, float, float, float], ...] = (
    ("hair", 256, 215, 195, 215, 0.25),
    ("neck", 256, 470, 95, 130, 0.85),
    ("cloth", 256, 560, 250, 90, 0.50),
    ("left_ear", 100, 290, 24, 46, 0.85),
    ("right_ear", 412, 290, 24, 46, 0.85),
    ("skin", 256, 290, 155, 205, 1.00),
    ("hair", 256, 100, 150, 62, 0.25),
    ("left_brow", 193, 205, 42, 8, 0.35),
    ("right_brow", 319, 205, 42, 8, 0.35),
    ("left_eye", 193, 240, 30, 14, 1.25),
    ("right_eye", 319, 240, 30, 14, 1.25),
    ("left_eye", 193, 240, 12, 12, 0.15),
    ("right_eye", 319, 240, 12, 12, 0.15),
    ("nose", 256, 296, 26, 52, 0.93),
    ("upper_lip", 256, 366, 58, 13, 0.62),
    ("lower_lip", 256, 384, 52, 15, 0.70),
    ("mouth", 256, 373, 50, 5, 0.30),
)

# (skin, background): what the three faces are made of. The first looks like a photo; the others have strong colours,
# no two channels alike and each channel highest once, so that an exchange of channels cannot go unseen.
COLOURINGS: tuple[tuple[Colour, Colour], ...] = (
    ((0.80, 0.60, 0.49), (0.28, 0.40, 0.52)),
    ((0.42, 0.66, 0.24), (0.62, 0.20, 0.38)),
    ((0.30, 0.38, 0.72), (0.66, 0.52, 0.20)),
)

EDGE = 3.0
"""Width of a part's soft edge, pixels of the 512 px frame: that of a photo slightly out of focus."""

SIDE_LIGHT = 0.6
"""How much brighter the left border is than the right one, of the middle: a mirrored face must not look the same."""

NOISE = 0.02
"""Half the width of the uniform noise: what a camera gives in a dim room, and enough that no area is flat."""


def trial_faces(size: int) -> list[AlignedFace]:
    """Return three faces of ``size`` px, alike in form and unlike in colour; the same at every call."""
    noise = np.random.default_rng(0).uniform(-NOISE, NOISE, (len(COLOURINGS), size, size, 3))
    drawn = [draw_face(size, *colours) for colours in COLOURINGS]
    return [whole_crop(np.clip(f + n, 0, 1).astype(np.float32)) for f, n in zip(drawn, noise, strict=True)]


def draw_face(size: int, skin: Colour, background: Colour) -> NDArray[np.float64]:
    """Return an (S, S, 3) RGB picture in [0, 1] of a face made of shaded ellipses."""
    x, y = _frame_coordinates(size)
    light = 1.0 + SIDE_LIGHT * (FRAME_PX / 2 - x) / FRAME_PX
    picture = np.array(background) * light[..., None]
    for _, *ellipse, lightness in PARTS:
        alpha = np.clip((1.0 - _ellipse_distance(x, y, ellipse)) * min(ellipse[2:]) / EDGE + 0.5, 0.0, 1.0)
        picture += alpha[..., None] * (lightness * light[..., None] * np.array(skin) - picture)
    return np.clip(picture, 0.0, 1.0)


def trial_map(size: int) -> ParsingMap:
    """Return the (S, S) uint8 map of class ids that belongs to every trial face."""
    x, y = _frame_coordinates(size)
    parsing_map = np.zeros((size, size), np.uint8)
    for name, *ellipse, _ in PARTS:
        parsing_map[_ellipse_distance(x, y, ellipse) <= 1.0] = CLASS_NAMES.index(name)
    return parsing_map


def _frame_coordinates(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of each pixel's centre in the 512 px frame."""
    centres = (np.arange(size) + 0.5) * FRAME_PX / size - 0.5
    x, y = np.meshgrid(centres, centres)
    return x, y


def _ellipse_distance(
    x: NDArray[np.float64], y: NDArray[np.float64], ellipse: Sequence[float]
) -> NDArray[np.float64]:
    """Return how far each pixel lies from an ellipse's centre, 1 on its line."""
    cx, cy, rx, ry = ellipse
    distance: NDArray[np.float64] = np.hypot((x - cx) / rx, (y - cy) / ry)
    return distance

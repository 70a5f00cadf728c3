"""Photos to measure with: drawn at any size with any number of faces, the same at every call."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.imaging.alignment import template
from facerestore.imaging.pixels import whole_levels
from facerestore.io import encode_image
from facerestore.testing.drawn_faces import Colour, draw_face
from facerestore.types import DecodedImage, DetectedFace, Image

ASPECT = 4 / 3
"""Width over height, as cameras and phones have it."""

TILE_PX = 512
"""Side of the textured piece that the background repeats, mirrored."""
COARSE_PX = 128
"""Pixels between the values that make its soft shapes: as grounds out of focus have them; detectors see less in it."""
GROUND_LEVELS = (70, 150)
"""Range of those values, of 255 levels."""
TEXTURE_LEVELS = 5.0
"""Standard deviation of its fine noise, of 255 levels: a JPEG of quality 92 is then about as large as a camera's."""

LARGEST_FACE_PX = 640
"""Side of the crop that a drawn face fills, as in portraits of 12 megapixels; smaller where many are drawn."""
FILL = 0.9
"""Share of its cell of the grid that a face's crop fills at most."""
LEAST_FACE_PX = 32
"""Side below which a crop holds no face that could be cut out."""
BLUR_SHARE = 0.012
"""Blur of a drawn face, as sigma over the side of its crop: soft enough to be restored."""
QUALITY = 92
"""Of the encoded photo, as cameras write it."""

COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((0.80, 0.60, 0.49), (0.28, 0.40, 0.52)),
    ((0.55, 0.38, 0.29), (0.46, 0.44, 0.38)),
    ((0.70, 0.50, 0.40), (0.33, 0.42, 0.33)),
)
"""Skin and ground of the drawn faces, in turns."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A picture file and, where they are known, its faces.

    Attributes:
        name: for people.
        data: the file.
        faces: where they are; None where they have to be found.
    """

    name: str
    data: bytes
    faces: tuple[DetectedFace, ...] | None


def drawn_photo(megapixels: float, faces: int) -> Photo:
    """Return the encoded photo of `draw_photo`; raises as it does."""
    pixels, found = draw_photo(megapixels, faces)
    data = encode_image(DecodedImage(pixels), format="JPEG", quality=QUALITY)
    height, width = pixels.shape[:2]
    noun = "face" if faces == 1 else "faces"
    return Photo(f"drawn photo, {width} x {height} px, {faces} {noun}, JPEG", data, tuple(found))


def draw_photo(megapixels: float, faces: int) -> tuple[Image, list[DetectedFace]]:
    """Return a photo with faces made of soft ellipses on a textured ground, in a grid, and where they are.

    Args:
        megapixels: size, in 10^6 pixels.
        faces: how many are drawn.

    Returns:
        (H, W, 3) uint8 RGB, W over H being `ASPECT`, and the faces left to right, line by line.

    Raises:
        ConfigError: the size is not positive, the number negative, or so many faces do not fit.
    """
    if not (math.isfinite(megapixels) and megapixels > 0):
        raise ConfigError(f"megapixels is {megapixels}; give a positive number")
    if faces < 0:
        raise ConfigError(f"faces is {faces}; give 0 or more")
    height = max(1, round(math.sqrt(megapixels * 1e6 / ASPECT)))
    width = max(1, round(height * ASPECT))
    pixels = _textured_ground(height, width)
    found = []
    side, corners = _face_grid(height, width, faces)
    for index, (left, top) in enumerate(corners):
        pixels[top : top + side, left : left + side] = _drawn_crop(side, index)
        found.append(_drawn_place(left, top, side))
    return pixels, found


def _face_grid(height: int, width: int, faces: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the side of the faces' crops, and the left upper corner of each."""
    if not faces:
        return 0, []
    columns = max(1, round(math.sqrt(faces * width / height)))
    rows = math.ceil(faces / columns)
    side = min(LARGEST_FACE_PX, int(FILL * min(width / columns, height / rows)))
    if side < LEAST_FACE_PX:
        raise ConfigError(
            f"{faces} faces do not fit a photo of {width} x {height} px; give fewer, or more megapixels"
        )
    cells = [divmod(index, columns) for index in range(faces)]
    corners = [
        (round((column + 0.5) * width / columns - side / 2), round((row + 0.5) * height / rows - side / 2))
        for row, column in cells
    ]
    return side, corners


def _textured_ground(height: int, width: int) -> NDArray[np.uint8]:
    """Return a textured ground, (H, W, 3): one drawn piece, mirrored again and again."""
    import cv2

    source = np.random.default_rng(0)
    shapes = source.uniform(*GROUND_LEVELS, (TILE_PX // COARSE_PX, TILE_PX // COARSE_PX, 3)).astype(
        np.float32
    )
    soft = cv2.resize(shapes, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
    noisy = soft + source.normal(0, TEXTURE_LEVELS, (TILE_PX, TILE_PX, 1)).astype(np.float32)
    tile = whole_levels(noisy)
    mirrored = np.concatenate([tile, tile[:, ::-1]], axis=1)
    block = np.concatenate([mirrored, mirrored[::-1]], axis=0)
    repeats = (math.ceil(height / block.shape[0]), math.ceil(width / block.shape[1]), 1)
    return np.ascontiguousarray(np.tile(block, repeats)[:height, :width])


def _drawn_crop(side: int, index: int) -> NDArray[np.uint8]:
    """Return one of the drawn faces, blurred and noisy, (S, S, 3)."""
    import cv2

    drawn = draw_face(side, *COLOURS[index % len(COLOURS)]).astype(np.float32)
    soft = cv2.GaussianBlur(drawn, (0, 0), BLUR_SHARE * side)
    noise = np.random.default_rng(index).normal(0, TEXTURE_LEVELS, (side, side, 1)).astype(np.float32)
    return whole_levels(soft * 255 + noise)


def _drawn_place(left: int, top: int, side: int) -> DetectedFace:
    """Return where a drawn face is; its box has the size that detectors give: 0.6 of the crop."""
    landmarks = template(side).astype(np.float32) + np.array([left, top], dtype=np.float32)
    box = (left + 0.2 * side, top + 0.2 * side, left + 0.8 * side, top + 0.85 * side)
    return DetectedFace(box=box, landmarks=landmarks, score=1.0)

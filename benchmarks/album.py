"""An album as people have them, generated: faces before grounds, in many formats and scripts, some files damaged.

Photo N of a seed is the same at every call, so that albums of different sizes share their photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.bench.photos import COLOURS, draw_photo
from facerestore.imaging.pixels import whole_levels
from facerestore.io import FORMATS, encode_image, find_images, read_image
from facerestore.testing.drawn_faces import draw_face
from facerestore.types import DecodedImage

LONGEST_PX = 320
"""Of a photo; small, so that thousands are through within half an hour."""

NAMES = ("photo", "фото бабушки", "祖母の写真", "가족사진", "été à Orléans", "scan [1] %20")
"""What photos are called, in turns: Latin, Cyrillic, Japanese, Korean, accents and marks that shells know."""

FACES = (1, 1, 0, 2, 1, 1, 3, 1, 0, 1)
"""Faces of a photo, in turns."""

KINDS = ("JPEG", "JPEG", "PNG", "JPEG", "WEBP", "JPEG", "PNG 16", "JPEG", "TIFF 16", "HEIF", "JPEG")
"""What a photo is written as, in turns; HEIF becomes JPEG where it cannot be written."""

TRUNCATED, BROKEN = 25, 40
"""Each so many photos, a JPEG or PNG lacks its last third, and another is cut off after its head."""


def write_album(folder: Path, count: int, *, faces: Path | None) -> list[Path]:
    """Write the first photos of an album, and return their paths.

    Args:
        folder: where to; in it, a folder for each hundred.
        count: how many.
        faces: a folder of aligned faces that are pasted; None for drawn ones.
    """
    crops = _crops(faces)
    ground = draw_photo(0.5, 0)[0]
    heif = FORMATS.get("HEIF")
    return [_write_photo(folder, number, crops, ground, heif is not None) for number in range(count)]


def _crops(folder: Path | None) -> list[NDArray[np.uint8]]:
    """Return faces, (S, S, 3) RGB."""
    if folder is None:
        return [whole_levels(draw_face(256, *colours) * 255) for colours in COLOURS]
    paths = find_images(folder, recursive=True)
    return [np.asarray(read_image(path).pixels, dtype=np.uint8) for path in paths]


def _write_photo(
    folder: Path,
    number: int,
    crops: Sequence[NDArray[np.uint8]],
    ground: NDArray[np.uint8],
    heif: bool,
) -> Path:
    kind, _, depth = KINDS[number % len(KINDS)].partition(" ")
    if kind == "HEIF" and not heif:
        kind = "JPEG"
    source = np.random.default_rng((0, number))
    pixels = _picture(source, FACES[number % len(FACES)], crops, ground)
    image = DecodedImage(pixels.astype(np.uint16) * 257 if depth else pixels)
    quality = {"quality": int(source.integers(40, 90))} if kind in ("JPEG", "WEBP", "HEIF") else {}
    data = bytes(encode_image(replace(image, format=kind), format=kind, **quality))
    if number % TRUNCATED == 7:
        data = data[: 2 * len(data) // 3]
    if number % BROKEN == 11:
        data = data[:60]
    name = f"{NAMES[number % len(NAMES)]} {number:05d}{FORMATS[kind].suffix}"
    path = folder / f"{number // 100:03d}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _picture(
    source: np.random.Generator, faces: int, crops: Sequence[NDArray[np.uint8]], ground: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return a photo, (H, W, 3) RGB: faces side by side, made small, soft and noisy, before a ground of its own."""
    height, width = (LONGEST_PX, 240) if source.random() < 0.4 else (240, LONGEST_PX)
    top, left = (
        int(source.integers(0, size)) for size in (ground.shape[0] - height, ground.shape[1] - width)
    )
    picture = ground[top : top + height, left : left + width].astype(np.float32)
    picture *= source.uniform(0.6, 1.4, (1, 1, 3)).astype(np.float32)
    for index in range(faces):
        room = width // faces
        side = min(room, height, int(source.integers(110, 190)))
        crop = cv2.resize(crops[int(source.integers(len(crops)))], (side, side), interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(crop.astype(np.float32), (0, 0), float(source.uniform(0.4, 1.6)))
        x = index * room + int(source.integers(0, room - side + 1))
        y = int(source.integers(0, height - side + 1))
        picture[y : y + side, x : x + side] = soft
    picture += source.normal(0, source.uniform(1, 6), picture.shape).astype(np.float32)
    return whole_levels(picture)

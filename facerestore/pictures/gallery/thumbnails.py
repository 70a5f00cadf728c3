"""The small pictures of a gallery: a photo before and after, and its faces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import compose_affine, resize_affine, upscale_affine, warp_to_crop
from facerestore.imaging.pixels import resize_face, to_8_bit
from facerestore.io import colours_of, marked, write_image
from facerestore.pictures.result import RestoreResult
from facerestore.types import DecodedImage, Image, RestoredFace

SIDE_PX = 400
"""Longest side of a photo on a card, which is some 200 points high: enough for screens of two pixels a point."""

TILE_PX = 112
"""Side of a face in the strip of faces; ``gallery.css`` and ``gallery.js`` have the same number."""

MOST_FACES = 100
"""Faces in the strip of a photo; the others have words only."""

QUALITY = 82
"""Of the JPEGs: about 20 kB for a photo and 5 kB for a face."""


def picture_key(source: str | Path, page: int | None = None) -> str:
    """Return what the small pictures of a photo are called: 16 hexadecimal digits, whatever the photo's name.

    Args:
        source: path of the photo.
        page: which of its pages; None for a photo of one.
    """
    name = os.fsencode(os.path.abspath(source)) + (b"" if page is None else f"\0{page}".encode())  # noqa: PTH100
    return hashlib.blake2b(name, digest_size=8).hexdigest()


def picture_path(folder: Path, key: str, what: str) -> Path:
    """Return where the picture ``before``, ``after`` or ``faces`` of a key lies."""
    return folder / "pictures" / key[:2] / f"{key}_{what}.jpg"


def is_changed(report: Mapping[str, Any]) -> bool:
    """Say whether the result of a photo shows other pixels than the photo."""
    enlarged = report["size"] != report["result_size"]
    return bool(report["restored"] or enlarged or report.get("background"))


def thumbnail(pixels: Image) -> NDArray[np.uint8]:
    """Return an (H, W, 3) RGB photo as it is drawn on a card."""
    from facerestore.pictures.compare import picture_at

    factor = min(SIDE_PX / max(pixels.shape[:2]), 1.0)
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(picture_at(pixels, size))


def write_thumbnails(
    folder: Path, key: str, before: NDArray[np.uint8], result: RestoreResult
) -> tuple[Path, ...]:
    """Write the small pictures of a photo, each whole or not at all, and return their paths.

    Args:
        folder: of the gallery.
        key: from ``picture_key``.
        before: ``thumbnail`` of the photo, taken before it was restored, since the result may lie in its memory.
        result: what came of it.

    Raises:
        ImageError: one cannot be written.
    """
    drawn = {"before": before if result.before is None else thumbnail(result.before.pixels)}
    if is_changed(result.report):
        drawn["after"] = thumbnail(result.image.pixels)
    if result.faces:
        drawn["faces"] = face_strip(result)
    metadata = marked(colours_of(result.image), "thumbnail")
    return tuple(
        write_image(
            picture_path(folder, key, what),
            DecodedImage(pixels, metadata=metadata, format=result.image.format),
            format="JPEG",
            quality=QUALITY,
            overwrite=True,
        )
        for what, pixels in drawn.items()
    )


def face_strip(result: RestoreResult) -> NDArray[np.uint8]:
    """Return the faces of a photo side by side, as they were above and as they are below; of kept ones one is drawn."""
    faces = result.faces[:MOST_FACES]
    strip = np.full((2 * TILE_PX, len(faces) * TILE_PX, 3), 128, dtype=np.uint8)
    width, height = result.report["size"]
    pixels = result.image.pixels
    ratio = (pixels.shape[1] / width, pixels.shape[0] / height)
    for column, face in enumerate(faces):
        for row, tile in enumerate(_tiles(face, pixels, ratio)):
            strip[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX] = tile
    return strip


def _tiles(face: RestoredFace, pixels: Image, ratio: tuple[float, float]) -> list[NDArray[np.uint8]]:
    """Return a face before and after, or as it stands in the photo where it was kept."""
    aligned = face.aligned
    if aligned is None or face.restored is None:
        from facerestore.pictures.compare import close_up, face_square

        left, top, right, bottom = face_square(face.detected.box)
        square = (left * ratio[0], top * ratio[1], right * ratio[0], bottom * ratio[1])
        return [np.asarray(close_up(pixels, square, TILE_PX))]
    small = resize_affine(TILE_PX / aligned.lq.shape[0])
    after = warp_to_crop(pixels, compose_affine(small, upscale_affine(aligned.affine, ratio)), TILE_PX)
    before = resize_face(aligned.lq, TILE_PX)
    return [to_8_bit(before), to_8_bit(after)]

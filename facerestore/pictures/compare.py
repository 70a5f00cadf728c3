"""Pictures for people to look at: before and after, side by side and close up, and the faces that were found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from facerestore.imaging.pixels import in_8_bits
from facerestore.pictures.layout import GAP_PX, PAPER, captioned, framed, side_by_side, square_tile, stacked
from facerestore.types import Box, DetectedFace, Image, Outcome, RestoredFace

_Picture: TypeAlias = PillowImage.Image
_Colour: TypeAlias = tuple[int, int, int]

# The look: chosen by eye on portraits, group photos and single crops; nothing else depends on it.
BOX_COLOUR: _Colour = (38, 166, 91)
LANDMARK_COLOUR: _Colour = (255, 77, 109)
PAIR_GAP_PX = 3
PANEL_SIDE_PX = 900
"""Longest side of one photo in a comparison: two of them fit a screen."""
TILE_PX = 280
"""Least side of one face close-up: three pairs are then as wide as two panels."""
MOST_TILE_PX = 680
LEAST_WIDTH_PX = 2 * TILE_PX + GAP_PX
MAX_PAIRS = 12
FACE_MARGIN = 0.35
"""Share of the box added on each side of a close-up, so that hair and chin are in it."""


def compare_picture(before: Image, after: Image, faces: Sequence[RestoredFace]) -> NDArray[np.uint8]:
    """Return one picture with the photo before and after, and below it the faces close up, in pairs.

    The largest restored faces are shown, left to right; without any, no close-ups are drawn.

    Args:
        before: (H, W, 3) RGB, uint8 or uint16.
        after: the same photo restored, perhaps enlarged.
        faces: the faces in pixels of ``before``, left to right.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    size = _fitting_size((before.shape[1], before.shape[0]), PANEL_SIDE_PX)
    panels = [
        captioned(picture_at(pixels, size), word) for pixels, word in ((before, "before"), (after, "after"))
    ]
    strip = side_by_side(panels)
    chosen = _largest_restored(faces)
    width = max(strip.width, LEAST_WIDTH_PX)
    columns = min(max(1, len(chosen)), max(1, width // (2 * TILE_PX)))
    side = min((width - (columns - 1) * 2 * GAP_PX - columns * PAIR_GAP_PX) // (2 * columns), MOST_TILE_PX)
    pairs = [_close_up_pair(before, after, face, index, side) for index, face in chosen]
    rows = [
        side_by_side(pairs[start : start + columns], gap_px=2 * GAP_PX)
        for start in range(0, len(pairs), columns)
    ]
    return np.asarray(framed(stacked([strip, *rows])))


def faces_picture(image: Image, faces: Sequence[DetectedFace]) -> NDArray[np.uint8]:
    """Return the photo with a box, its index and five points drawn on each face, in the photo's own size.

    Args:
        image: (H, W, 3) RGB, uint8 or uint16.
        faces: in pixels of ``image``; their position is the index that is drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = picture_at(image, (image.shape[1], image.shape[0]))
    draw = ImageDraw.Draw(picture)
    stroke = max(2, round(min(picture.size) / 400))
    for face in faces:
        draw.rectangle(face.box, outline=BOX_COLOUR, width=stroke)
        radius = max(1.5, face.eye_distance_px / 20)
        for x, y in face.landmarks.tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=LANDMARK_COLOUR)
    for index, face in enumerate(faces):
        _draw_tag(draw, face.box, str(index), picture.size)
    return np.asarray(picture)


def labelled_picture(
    rows: Sequence[Sequence[tuple[str, NDArray[np.uint8]]]], *, side_px: int
) -> NDArray[np.uint8]:
    """Return one picture with rows of square pictures, each with its label above it.

    Args:
        rows: labels and (S, S, 3) uint8 RGB pictures of any side S. Small ones keep their pixels visible.
        side_px: side at which each is drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    drawn = [[captioned(square_tile(pixels, side_px), label) for label, pixels in row] for row in rows]
    return np.asarray(framed(stacked([side_by_side(row) for row in drawn])))


def _draw_tag(draw: ImageDraw.ImageDraw, box: Box, text: str, size: tuple[int, int]) -> None:
    """Draw the index of a face on a small plate at the box's upper left corner."""
    height = max(14, min(64, round((box[2] - box[0]) * 0.22)))
    font = ImageFont.load_default(height)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width = right - left + height // 2
    plate_height = bottom - top + height // 2
    x = min(max(box[0], 0), size[0] - width)
    y = min(max(box[1] - plate_height, 0), size[1] - plate_height)
    draw.rectangle((x, y, x + width, y + plate_height), fill=BOX_COLOUR)
    draw.text((x + height // 4 - left, y + height // 4 - top), text, fill=PAPER, font=font)


def _largest_restored(faces: Sequence[RestoredFace]) -> list[tuple[int, RestoredFace]]:
    """Return index and face of the largest restored faces, as many as are shown, left to right."""
    restored = [(i, face) for i, face in enumerate(faces) if face.decision.outcome is Outcome.RESTORED]
    largest = sorted(restored, key=lambda item: -item[1].detected.eye_distance_px)[:MAX_PAIRS]
    return sorted(largest, key=lambda item: item[0])


def _close_up_pair(before: Image, after: Image, face: RestoredFace, index: int, side: int) -> _Picture:
    """Return one face before and after, close up."""
    square = face_square(face.detected.box)
    scale = after.shape[1] / before.shape[1]
    tiles = [
        close_up(before, square, side),
        close_up(after, tuple(scale * value for value in square), side),
    ]
    return side_by_side(
        [captioned(tiles[0], f"face {index} before"), captioned(tiles[1], "after")], gap_px=PAIR_GAP_PX
    )


def face_square(box: Box) -> Box:
    """Return the square around a box, with a margin."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max(box[2] - box[0], box[3] - box[1]) * (0.5 + FACE_MARGIN / 2)
    return x - half, y - half, x + half, y + half


def close_up(pixels: Image, square: tuple[float, ...], side_px: int) -> PillowImage.Image:
    """Return the square of a photo as a tile of ``side_px``; paper where it reaches beyond the photo."""
    left, top, right, bottom = (round(value) for value in square)
    height, width = pixels.shape[:2]
    x, y = max(left, 0), max(top, 0)
    piece = pixels[y : max(min(bottom, height), y), x : max(min(right, width), x)]
    side = max(right - left, bottom - top, 1)
    tile = PillowImage.new("RGB", (side, side), PAPER)
    if piece.size:
        tile.paste(PillowImage.fromarray(in_8_bits(piece)), (x - left, y - top))
    return tile.resize((side_px, side_px), PillowImage.Resampling.BICUBIC)


def _fitting_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size that fits a square of ``side`` px with the same shape; small pictures grow to it at most 2x."""
    factor = min(side / max(size), 2.0)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def picture_at(pixels: Image, size: tuple[int, int]) -> _Picture:
    """Return pixels as an 8-bit RGB Pillow image of ``size`` (width, height)."""
    factor = max(1, math.floor(min(pixels.shape[1] / size[0], pixels.shape[0] / size[1]) / 2))
    picture = PillowImage.fromarray(in_8_bits(pixels))
    if factor > 1:
        picture = picture.reduce(factor)
    return picture if picture.size == size else picture.resize(size, PillowImage.Resampling.LANCZOS)

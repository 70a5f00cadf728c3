"""Pictures of parsing maps: for people, faces with their parts in colour and a legend; for programs, palette PNGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES
from facerestore.imaging.pixels import to_8_bit
from facerestore.io import png_mark
from facerestore.parsing.classes import PALETTE, check_map, class_shares, colour_map
from facerestore.pictures.layout import (
    CAPTION_PX,
    GAP_PX,
    INK,
    PAPER,
    captioned,
    framed,
    side_by_side,
    stacked,
)
from facerestore.types import AlignedFace, FaceImage, ParsingMap

_Picture: TypeAlias = PillowImage.Image

# The look: chosen by eye, as in facerestore.pictures.layout; nothing else depends on it.
TILE_PX = 300
SMALL_TILE_PX = 180
FEW_FACES = 6
"""Up to here faces are shown large, one below the other; more are shown small, in two columns."""
OVERLAY_SHARE = 0.5
"""Of the colour over the face: the part is told and the face still seen."""
SWATCH_PX = 22
LEGEND_CELL_PX = 150


def parsing_picture(
    faces: Sequence[AlignedFace], maps: Sequence[ParsingMap], *, captions: Sequence[str]
) -> NDArray[np.uint8]:
    """Return one picture of the faces of a photo: each plain, under its coloured parts, and as its map; with a legend.

    Args:
        faces: aligned faces.
        maps: one (S, S) uint8 map of ids per face, S the size of its ``lq``.
        captions: one line per face, drawn above it.

    Returns:
        (H, W, 3) uint8 RGB; without a face it says so.

    Raises:
        ConfigError: a map does not fit its face.
    """
    side, columns = (TILE_PX, 1) if len(faces) <= FEW_FACES else (SMALL_TILE_PX, 2)
    panels = [
        captioned(_face_panel(face.lq, parsing_map, side), caption)
        for face, parsing_map, caption in zip(faces, maps, captions, strict=True)
    ]
    width = 3 * side + 2 * GAP_PX
    rows = [
        side_by_side(panels[start : start + columns], gap_px=2 * GAP_PX)
        for start in range(0, len(panels), columns)
    ]
    if not rows:
        rows = [captioned(PillowImage.new("RGB", (width, 1), PAPER), "no face to show")]
    present = {name for parsing_map in maps for name in class_shares(parsing_map)}
    ids = [index for index, name in enumerate(CLASS_NAMES) if name in present]
    legend = _class_legend(ids, max(line.width for line in rows))
    return np.asarray(framed(stacked([*rows, *([legend] if maps else [])])))


def overlay(face: FaceImage, parsing_map: ParsingMap) -> FaceImage:
    """Return an (S, S, 3) float32 RGB [0, 1] face with its parts tinted; the background stays as it is.

    Raises:
        ConfigError: the map does not fit the face.
    """
    check_map(parsing_map, face.shape[0])
    colour = PALETTE[parsing_map].astype(np.float32) / np.float32(255)
    share = np.where(parsing_map > 0, np.float32(OVERLAY_SHARE), np.float32(0))[..., None]
    tinted: FaceImage = face + share * (colour - face)
    return tinted


def palette_png(parsing_map: ParsingMap) -> bytes:
    """Return a parsing map as an 8-bit PNG whose pixels are the ids and whose palette has the colours of the classes.

    Viewers show it in colour; ``numpy.asarray(PIL.Image.open(file))`` gives the ids back.

    Raises:
        ConfigError: it is not square uint8, or holds an id that no class has.
    """
    check_map(parsing_map, parsing_map.shape[0])
    picture = PillowImage.fromarray(parsing_map).convert("L")
    picture.putpalette([value for colour in CLASS_COLOURS for value in colour])
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True, pnginfo=png_mark("map"))
    return stream.getvalue()


def _face_panel(face: FaceImage, parsing_map: ParsingMap, side: int) -> _Picture:
    """Return a face, the face under its parts, and the parts, side by side."""
    soft, hard = PillowImage.Resampling.LANCZOS, PillowImage.Resampling.NEAREST
    tiles = [
        _picture(face).resize((side, side), soft),
        _picture(overlay(face, parsing_map)).resize((side, side), soft),
        PillowImage.fromarray(colour_map(parsing_map)).resize((side, side), hard),
    ]
    return side_by_side(tiles)


def _class_legend(ids: Sequence[int], width: int) -> _Picture:
    """Return a swatch and a name for each class, in as many columns as fit."""
    columns = max(1, width // LEGEND_CELL_PX)
    rows = -(-len(ids) // columns)
    line = SWATCH_PX + GAP_PX // 2
    legend = PillowImage.new("RGB", (width, max(1, rows * line)), PAPER)
    draw = ImageDraw.Draw(legend)
    font = ImageFont.load_default(CAPTION_PX - 3)
    for position, index in enumerate(ids):
        x, y = (position % columns) * LEGEND_CELL_PX, (position // columns) * line
        draw.rectangle((x, y, x + SWATCH_PX, y + SWATCH_PX), fill=CLASS_COLOURS[index], outline=INK)
        name = f"{index} {CLASS_NAMES[index].replace('_', ' ')}"
        draw.text((x + SWATCH_PX + 6, y + SWATCH_PX // 2), name, fill=INK, font=font, anchor="lm")
    return legend


def _picture(face: FaceImage) -> _Picture:
    return PillowImage.fromarray(to_8_bit(face))

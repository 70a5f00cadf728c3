"""Contact sheets of faces: rows of tiles under titles, each tile with a few lines of small print below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from facerestore.pictures.layout import GAP_PX, INK, PAPER, drawable, font_of, square_tile, wrapped

# The look: chosen by eye on sheets of four faces under nine degradations; nothing else depends on it.
TITLE_PX, TEXT_PX, LINE_PX = 18, 13, 17
_HEADING = (38, 41, 48)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One face.

    Attributes:
        pixels: (S, S, 3) uint8 RGB of any side.
        text: lines below it; the first is set in a darker ink.
    """

    pixels: NDArray[np.uint8]
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Tiles under one title."""

    title: str
    tiles: Sequence[Tile]


def contact_sheet(groups: Sequence[Group], *, columns: int, tile_px: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB with all groups, one below the other.

    Args:
        groups: from above.
        columns: tiles in a row.
        tile_px: side at which each is drawn; smaller pictures keep their pixels visible.
    """
    width = columns * (tile_px + GAP_PX) + GAP_PX
    bands = [band for group in groups for band in _group_bands(group, columns, tile_px, width)]
    page = PillowImage.new("RGB", (width, sum(band.height for band in bands) + 2 * GAP_PX), PAPER)
    top = GAP_PX
    for band in bands:
        page.paste(band, (0, top))
        top += band.height
    return np.asarray(page)


def _group_bands(group: Group, columns: int, tile_px: int, width: int) -> list[PillowImage.Image]:
    """Return the title and the rows of a group as pictures of the page's width."""
    title = PillowImage.new("RGB", (width, TITLE_PX + GAP_PX), PAPER)
    ImageDraw.Draw(title).text((GAP_PX, 0), drawable(group.title), fill=_HEADING, font=font_of(TITLE_PX))
    rows = [group.tiles[start : start + columns] for start in range(0, len(group.tiles), columns)]
    return [title, *(_tile_row(row, tile_px, width) for row in rows)]


def _tile_row(tiles: Sequence[Tile], tile_px: int, width: int) -> PillowImage.Image:
    texts = [
        [line for part in tile.text.split("\n") for line in wrapped(part, TEXT_PX, tile_px) or [""]]
        for tile in tiles
    ]
    height = tile_px + GAP_PX // 2 + LINE_PX * max(len(lines) for lines in texts) + GAP_PX
    row = PillowImage.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(row)
    for number, (tile, lines) in enumerate(zip(tiles, texts, strict=True)):
        left = GAP_PX + number * (tile_px + GAP_PX)
        row.paste(square_tile(tile.pixels, tile_px), (left, 0))
        for line, text in enumerate(lines):
            place = (left, tile_px + GAP_PX // 2 + line * LINE_PX)
            draw.text(place, text, fill=INK if line else _HEADING, font=font_of(TEXT_PX))
    return row

"""The paper that pictures for people are laid out on: rows and columns of pictures, with captions and a margin."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

_Picture: TypeAlias = PillowImage.Image
_Colour: TypeAlias = tuple[int, int, int]

# The look: chosen by eye on portraits, group photos and single crops; nothing else depends on it.
PAPER: _Colour = (250, 249, 247)
INK: _Colour = (122, 126, 134)
GAP_PX = 12
CAPTION_PX = 18
_PLAIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d"}
    | {"Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
)
"""European letters that are no plain letter with an accent."""
_UNKNOWN = "?"


def square_tile(pixels: NDArray[np.uint8], side_px: int) -> _Picture:
    """Return a square picture, (S, S, 3) RGB, at a side; a smaller one keeps its pixels visible."""
    method = PillowImage.Resampling.NEAREST if pixels.shape[0] < side_px else PillowImage.Resampling.LANCZOS
    return PillowImage.fromarray(pixels).resize((side_px, side_px), method)


def captioned(picture: _Picture, text: str) -> _Picture:
    """Return a picture with a line of text above it."""
    font = font_of(CAPTION_PX)
    band = CAPTION_PX + GAP_PX
    result = PillowImage.new("RGB", (picture.width, picture.height + band), PAPER)
    ImageDraw.Draw(result).text((0, 0), text, fill=INK, font=font)
    result.paste(picture, (0, band))
    return result


def side_by_side(pictures: Sequence[_Picture], *, gap_px: int = GAP_PX) -> _Picture:
    """Return pictures side by side."""
    width = sum(picture.width for picture in pictures) + gap_px * (len(pictures) - 1)
    result = PillowImage.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    x = 0
    for picture in pictures:
        result.paste(picture, (x, 0))
        x += picture.width + gap_px
    return result


def stacked(pictures: Sequence[_Picture]) -> _Picture:
    """Return pictures one below the other."""
    gap_px = 2 * GAP_PX
    height = sum(picture.height for picture in pictures) + gap_px * (len(pictures) - 1)
    result = PillowImage.new("RGB", (max(picture.width for picture in pictures), height), PAPER)
    y = 0
    for picture in pictures:
        result.paste(picture, (0, y))
        y += picture.height + gap_px
    return result


def framed(picture: _Picture) -> _Picture:
    """Return a picture with a margin of paper around it."""
    margin = 2 * GAP_PX
    result = PillowImage.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin), PAPER)
    result.paste(picture, (margin, margin))
    return result


def drawable(text: str) -> str:
    """Return ``text`` in the letters that the embedded font has: without accents, others as question marks."""
    letters = unicodedata.normalize("NFKD", text).translate(_PLAIN)
    plain = [c for c in letters if not unicodedata.combining(c)]
    return "".join(c if c == "·" or (c.isascii() and c.isprintable()) else _UNKNOWN for c in plain)


@lru_cache(maxsize=16)
def font_of(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow: the same on every machine."""
    return ImageFont.load_default(size_px)


def wrapped(text: str, size_px: int, width: int) -> list[str]:
    """Return lines that fit; a word that is longer than a line is broken, after a mark where it has one."""
    font = font_of(size_px)
    lines: list[str] = []
    for word in drawable(text).split():
        for position, piece in enumerate(_word_pieces(word, font, width)):
            joined = f"{lines[-1]} {piece}" if lines else piece
            if position == 0 and lines and font.getlength(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(piece)
    return lines


def _word_pieces(word: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Return a word in pieces that fit ``width``: the word itself, if it can be."""
    pieces = []
    while font.getlength(word) > width and len(word) > 1:
        fitting = max((n for n in range(1, len(word)) if font.getlength(word[:n]) <= width), default=1)
        marks = [n for n in range(fitting, 0, -1) if word[n - 1] in "._-/"]
        end = marks[0] if marks else fitting
        pieces.append(word[:end])
        word = word[end:]
    return [*pieces, word]

"""Parsing maps from pictures: by the colours of CelebAMask-HQ, or by ids.

How they are told apart:

1. A picture with any colour in it (R, G and B differ somewhere) is read by its colours, those of
   ``facerestore.face_parts.CLASS_COLOURS``.
2. A picture without colour is read by its grey values, which are the ids 0 to 18. The palette has no grey but black,
   so that the two cannot be mistaken for each other.
3. A palette-indexed file whose colours are not all of the palette is read by its indices.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from facerestore.errors import ImageError
from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES
from facerestore.io import DEFAULT_MAX_PIXELS, decode_image, readable
from facerestore.types import DecodedImage, Image, ParsingMap

Codes: TypeAlias = NDArray[np.int64]
"""Colours as one number, R * 2^32 + G * 2^16 + B."""

_LEGEND = "'facerestore synthesize --legend' shows the classes"


def decode_map(data: bytes, *, name: str = "map", max_pixels: int = DEFAULT_MAX_PIXELS) -> DecodedImage:
    """Return the picture of a parsing map; of an indexed file with foreign colours its indices, as greys.

    Raises:
        ImageError: the file cannot be decoded.
    """
    image = decode_image(data, name=name, max_pixels=max_pixels)
    with readable(name), PillowImage.open(BytesIO(data)) as picture:
        if picture.mode != "P" or _unknown(_codes(image.pixels)).size == 0:
            return image
        indices = np.asarray(picture)
    return replace(image, pixels=np.repeat(indices[..., None], 3, axis=2), grey=True)


def is_coloured(pixels: Image) -> bool:
    """Say whether R, G and B differ in any pixel of an (H, W, 3) picture: it is read by colours, not by ids."""
    return bool((pixels != pixels[..., :1]).any())


def read_ids(pixels: Image) -> ParsingMap:
    """Return the (H, W) uint8 class ids of a picture, by colours or by grey values; see the module for the rule.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16.

    Raises:
        ImageError: it has a colour or an id that no class has, or nothing but background.
    """
    ids = _by_colour(pixels) if is_coloured(pixels) else _by_value(pixels[..., 0])
    if not ids.any():
        raise ImageError("map holds nothing but background; there is no face to synthesize")
    return ids


def _by_value(values: NDArray[np.uint8] | NDArray[np.uint16]) -> ParsingMap:
    """Return grey values as ids."""
    highest = int(values.max())
    if highest >= len(CLASS_NAMES):
        count = int((values >= len(CLASS_NAMES)).sum())
        raise ImageError(
            f"map has no colour, so that its greys are ids, but {count} pixels hold values up to {highest}; ids run"
            f" from 0 to {len(CLASS_NAMES) - 1}, and {_LEGEND}"
        )
    return values.astype(np.uint8)


def _by_colour(pixels: Image) -> ParsingMap:
    """Return the classes of colours."""
    codes = _codes(pixels)
    unknown = _unknown(codes)
    if unknown.size:
        raise ImageError(_describe(unknown))
    known = _codes(np.array(CLASS_COLOURS, dtype=np.uint8))
    order = np.argsort(known)
    ids: ParsingMap = order[np.searchsorted(known, codes, sorter=order)].astype(np.uint8)
    return ids


def _describe(unknown: Codes) -> str:
    """Return what is wrong with unknown colours: the commonest, its pixels, and the class that is nearest to it."""
    codes, counts = np.unique(unknown, return_counts=True)
    code = int(codes[np.argmax(counts)])
    colour = (code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF)
    nearest = int(np.argmin(((np.array(CLASS_COLOURS) - colour) ** 2).sum(axis=1)))
    others = f" ({len(codes)} such colours in all)" if len(codes) > 1 else ""
    return (
        f"map has the colour {colour}, which is no class, at {counts.max()} pixels{others}; nearest to it is"
        f" {CLASS_NAMES[nearest]} {CLASS_COLOURS[nearest]}. Draw without smoothing, save as PNG (JPEG changes colours);"
        f" {_LEGEND}"
    )


def _codes(pixels: Image) -> Codes:
    """Return one number per (..., 3) colour; 16-bit colours as their 8-bit ones where they are exact multiples."""
    wide = pixels.astype(np.int64)
    if pixels.dtype == np.uint16 and not (wide % 257).any():
        wide //= 257
    codes: Codes = (wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]
    return codes


def _unknown(codes: Codes) -> Codes:
    """Return the codes that are no class."""
    return codes[~np.isin(codes, _codes(np.array(CLASS_COLOURS, dtype=np.uint8)))]

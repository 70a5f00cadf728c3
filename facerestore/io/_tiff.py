"""TIFF: pages of any depth and colour, and a writer. Source: TIFF 6.0."""

from __future__ import annotations

import sys
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np

from facerestore.errors import ImageError
from facerestore.io import _exif, _pillow, _tiff_metadata
from facerestore.io._exif import LONG, SHORT, Directory, Field, Layout, field_of
from facerestore.io._opencv import extracted, without_last
from facerestore.io._overheard import overheard
from facerestore.io._rows import Rows
from facerestore.io._source import Samples, Source, finish, tripled
from facerestore.io._tiff_numbers import as_integers
from facerestore.io._tiff_page import (
    BITS,
    BLACK_IS_ZERO,
    BYTEWISE,
    CIE_LAB,
    CMYK,
    COMPRESSION,
    DEFLATE,
    EXTRA_SAMPLES,
    HEIGHT,
    ICC_LAB,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    RGB,
    ROWS_PER_STRIP,
    SAMPLES,
    SINGLE,
    STRIP_BYTES,
    STRIP_OFFSETS,
    UNSIGNED,
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    Page,
    has_copy,
    read_page,
    unhandled_compression,
)
from facerestore.io._tiff_samples import Unlimited, read_samples, with_directory
from facerestore.types import DecodedImage, Metadata

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
# Colours, and alpha where it is read; more would be lost.
_MOST_SAMPLES = {
    WHITE_IS_ZERO: 2,
    BLACK_IS_ZERO: 2,
    RGB: 4,
    PALETTE: 2,
    CMYK: 4,
    YCBCR: 3,
    CIE_LAB: 4,
    ICC_LAB: 4,
}
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_MAX_CLASSIC_BYTES = 2**32
# Fast, as for PNG; the predictor does most of the work.
_COMPRESSION_LEVEL = 1
# TIFF 6.0 advises strips of about 8 kB; larger ones compress better and a reader today holds them easily.
_STRIP_BYTES = 2**20


def decode(source: Source) -> DecodedImage:
    """Return the decoded page of a TIFF; all samples but those of 8 bits and fewer become 16-bit.

    Raises:
        ImageError: damaged, several pages and none chosen, of a kind that is not read, or over the limit on pixels.
    """
    page = read_page(source)
    metadata = _tiff_metadata.read(page.directory, page.layout, has_copy=has_copy(source, page))
    try:
        decoded = _decode_samples(source, page) if _is_plain(page) else _decode_whole(source, page)
    except (ImageError, OSError) as error:
        if any("not configured" in line for line in getattr(error, "__notes__", ())):
            raise unhandled_compression(source, page) from error
        raise
    return finish(
        decoded.pixels,
        decoded.alpha,
        grey=decoded.grey,
        metadata=metadata,
        format="TIFF",
        orientation=_exif.orientation_of(page.directory, page.layout),
        converted=page.colour in (CMYK, CIE_LAB, ICC_LAB),
        stored_as=decoded.stored_as,
        damage=decoded.damage,
        notes=decoded.notes,
    )


class _Decoded(NamedTuple):
    """The pixels of a page, and the words of a DecodedImage."""

    pixels: Samples
    alpha: Samples | None
    grey: bool
    stored_as: str | None
    damage: str | None = None
    notes: tuple[str, ...] = ()


def _is_plain(page: Page) -> bool:
    """Return whether a page has grey, RGB or LAB in a compression that does not look at the samples."""
    colours = {WHITE_IS_ZERO: (1, 2), BLACK_IS_ZERO: (1, 2), **dict.fromkeys((RGB, CIE_LAB, ICC_LAB), (3, 4))}
    return (
        page.channels in colours.get(page.colour, ()) and page.compression in BYTEWISE and max(page.bits) > 1
    )


def _decode_samples(source: Source, page: Page) -> _Decoded:
    """Return the pixels of a plain page."""
    (stored, bad), _ = overheard(lambda: read_samples(source, page))
    samples, stored_as, notes = as_integers(source, page, stored)
    damage = None if bad is None else f"from row {bad} on"
    return _Decoded(*_split(page, samples), stored_as=stored_as, damage=damage, notes=notes)


def _decode_whole(source: Source, page: Page) -> _Decoded:
    """Return the pixels of a page of 8 bits or fewer that Pillow decodes as a whole."""
    colours = _MOST_SAMPLES[page.colour]
    if max(page.bits) > 8 or page.sample_formats != {UNSIGNED} or page.channels > colours:
        raise source.unhandled(page.words, "RGB or grey TIFF with LZW or ZIP")

    def decoded() -> tuple[Samples, Samples | None, bool]:
        try:
            picture = Unlimited(BytesIO(_cleaned(source, page)))
        except SyntaxError as error:  # of arrangements of samples that it does not know
            raise source.unhandled(page.words, "RGB or grey TIFF with LZW or ZIP") from error
        return _pillow.channels(picture, source.name)

    (pixels, alpha, grey), lines = overheard(decoded)
    amiss = next((line for line in lines if ": Warning, " not in line), None)
    bits = max(page.bits)
    words = {PALETTE: f"a palette of {2**bits} colours", CMYK: "CMYK"}
    if bits < 8:
        words |= dict.fromkeys((WHITE_IS_ZERO, BLACK_IS_ZERO), _pillow.grey_words(bits))
    damage = f"in a place that cannot be told: {amiss}" if amiss else None
    return _Decoded(pixels, alpha, grey, stored_as=words.get(page.colour), damage=damage)


def _cleaned(source: Source, page: Page) -> bytes:
    """Return the file with the tags of its pixels alone: Pillow then neither turns it nor stumbles over the rest."""
    if len(source.data) >= _MAX_CLASSIC_BYTES:
        raise source.unhandled("a TIFF of over 4 GB", "PNG")
    ignored = {*_exif.DESCRIPTIVE_TAGS, _exif.ORIENTATION, _tiff_metadata.XMP}
    fields = {
        tag: _classic(entry, page.layout)
        for tag, entry in page.directory.fields.items()
        if tag not in ignored
    }
    order = page.layout.order
    fields |= {tag: field_of(LONG, (page.integer(tag, 0),), order) for tag in SINGLE if page.integers(tag, 1)}
    return with_directory(source.data[8:], fields, order)


def _classic(entry: Field, layout: Layout) -> Field:
    """Return an entry with BigTIFF's 64-bit integers, which are small here, as 32-bit ones."""
    return field_of(LONG, _exif.integers(entry, layout), layout.order) if entry.kind == _exif.LONG8 else entry


def _split(page: Page, samples: Samples) -> tuple[Samples, Samples | None, bool]:
    """Return (pixels, alpha, grey) of the samples of a page."""
    count = samples.shape[2]
    samples = np.ascontiguousarray(samples)
    colour = (
        (extracted(samples, 0) if count == 2 else samples[..., 0]) if count <= 2 else without_last(samples)
    )
    if page.colour == WHITE_IS_ZERO:
        colour = ~colour
    alpha = extracted(samples, count - 1) if count in (2, 4) else None
    if alpha is not None and page.integer(EXTRA_SAMPLES, 0) == _ASSOCIATED_ALPHA:
        colour = _divided(colour, alpha)
    return (tripled(colour), alpha, True) if count <= 2 else (colour, alpha, False)


def _divided(colour: Samples, alpha: Samples) -> Samples:
    """Return colours that were stored multiplied by alpha as they are without it; zero where alpha is zero."""
    top = np.iinfo(alpha.dtype).max
    divisor = np.maximum(alpha, 1).astype(np.float64)
    divisor = divisor if colour.ndim == 2 else divisor[..., None]
    return np.minimum(np.rint(colour * (top / divisor)), top).astype(colour.dtype)


def encode(samples: Rows, metadata: Metadata) -> list[bytes]:
    """Return a TIFF of the given samples, in pieces: strips, horizontal differences, deflate.

    Args:
        samples: uint8 or uint16.
        metadata: as `_across` made them fit.

    Raises:
        ImageError: a file over 4 GB.
    """
    described, order, block = _tiff_metadata.described(metadata)
    height, width, count = samples.shape
    row_bytes = width * count * samples.dtype.itemsize
    rows = min(height, max(1, _STRIP_BYTES // row_bytes))
    strips = [_strip(samples[top : top + rows], order) for top in range(0, height, rows)]
    front = block[8:] + bytes(len(block) % 2)
    offsets = [8 + len(front)]
    for strip in strips:
        offsets.append(offsets[-1] + len(strip))
    start = offsets.pop()
    padding = bytes(start % 2)
    start += len(padding)
    fields = described.fields | _structure(samples, rows, offsets, [len(strip) for strip in strips], order)
    if start >= _MAX_CLASSIC_BYTES:
        raise ImageError(f"TIFF cannot hold {start} bytes (at most 4 GB); write PNG")
    directory = _exif.write_directory(Directory(fields), start, order)
    return [_exif.header(order, start), front, *strips, padding, directory]


def _strip(rows: Samples, order: str) -> bytes:
    """Return compressed rows, each sample less its left neighbour."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    stored = differences if order == _NATIVE_ORDER else differences.byteswap()
    return zlib.compress(stored.tobytes(), _COMPRESSION_LEVEL)


def _structure(
    samples: Rows, rows: int, offsets: list[int], sizes: list[int], order: str
) -> dict[int, Field]:
    """Return the entries that say how the pixels are stored."""
    height, width, count = samples.shape
    entries: dict[int, tuple[int, tuple[int, ...]]] = {
        WIDTH: (LONG, (width,)),
        HEIGHT: (LONG, (height,)),
        BITS: (SHORT, (samples.dtype.itemsize * 8,) * count),
        COMPRESSION: (SHORT, (DEFLATE,)),
        PHOTOMETRIC: (SHORT, (RGB if count > 2 else BLACK_IS_ZERO,)),
        STRIP_OFFSETS: (LONG, tuple(offsets)),
        _exif.ORIENTATION: (SHORT, (1,)),
        SAMPLES: (SHORT, (count,)),
        ROWS_PER_STRIP: (LONG, (rows,)),
        STRIP_BYTES: (LONG, tuple(sizes)),
        PLANAR: (SHORT, (1,)),
        PREDICTOR: (SHORT, (2,)),
    }
    if count in (2, 4):
        entries[EXTRA_SAMPLES] = (SHORT, (_UNASSOCIATED_ALPHA,))
    return {tag: field_of(kind, values, order) for tag, (kind, values) in entries.items()}

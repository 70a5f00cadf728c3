"""TIFF: pages of any depth and colour, a writer, and files of several pages. Source: TIFF 6.0."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable

import numpy as np

from facerestore.errors import ImageError
from facerestore.io import _exif, _makernote, _pillow, _tiff_metadata
from facerestore.io import _tiff_page as tags
from facerestore.io._exif import LONG, SHORT, Directory, Field, Layout, field_of
from facerestore.io._opencv import extracted, without_last
from facerestore.io._overheard import overheard
from facerestore.io._source import (
    Decoded,
    Rows,
    Samples,
    Source,
    divided_by_alpha,
    finish,
    tripled,
)
from facerestore.io._tiff_numbers import as_integers
from facerestore.io._tiff_page import Page, has_copy, read_page, unhandled_compression
from facerestore.io._tiff_samples import read_samples, unlimited, with_directory
from facerestore.types import DecodedImage, Metadata

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
# Colours, and alpha where it is read; more would be lost.
_MOST_SAMPLES = {
    **dict.fromkeys((tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO, tags.PALETTE), 2),
    **dict.fromkeys((tags.RGB, tags.CMYK, tags.CIE_LAB, tags.ICC_LAB), 4),
    tags.YCBCR: 3,
}
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_MAX_CLASSIC_BYTES = 2**32
_ENTRY_BYTES, _INLINE_BYTES = 12, 4
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
    metadata = _tiff_metadata.read(page.directory, has_copy=has_copy(source, page))
    try:
        decoded = _decode_samples(source, page) if _is_plain(page) else _decode_whole(source, page)
    except (ImageError, OSError) as error:
        if any("not configured" in line for line in getattr(error, "__notes__", ())):
            raise unhandled_compression(source, page) from error
        raise
    converted = page.colour in (tags.CMYK, tags.CIE_LAB, tags.ICC_LAB)
    return finish(decoded, metadata, "TIFF", orientation=page.directory.orientation, converted=converted)


def _is_plain(page: Page) -> bool:
    """Return whether a page has grey, RGB or LAB in a compression that does not look at the samples."""
    grey = page.colour in (tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO)
    colours = page.colour in (tags.RGB, tags.CIE_LAB, tags.ICC_LAB)
    counts = (1, 2) if grey else (3, 4) if colours else ()
    return page.channels in counts and page.compression in tags.BYTEWISE and max(page.bits) > 1


def _decode_samples(source: Source, page: Page) -> Decoded:
    """Return the pixels of a plain page."""
    (stored, bad), _ = overheard(lambda: read_samples(source, page))
    samples, stored_as, notes = as_integers(source, page, stored)
    damage = None if bad is None else f"from row {bad} on"
    return _split_channels(page, samples)._replace(stored_as=stored_as, damage=damage, notes=notes)


def _decode_whole(source: Source, page: Page) -> Decoded:
    """Return the pixels of a page of 8 bits or fewer that Pillow decodes as a whole."""
    colours = _MOST_SAMPLES[page.colour]
    if max(page.bits) > 8 or page.sample_formats != {tags.UNSIGNED} or page.channels > colours:
        raise source.unhandled(page.words, "RGB or grey TIFF with LZW or ZIP")

    def through_pillow() -> Decoded:
        try:
            picture = unlimited(_cleaned_file(source, page))
        except SyntaxError as error:  # of arrangements of samples that it does not know
            raise source.unhandled(page.words, "RGB or grey TIFF with LZW or ZIP") from error
        return _pillow.channels(picture, source.name)

    decoded, lines = overheard(through_pillow)
    amiss = next((line for line in lines if ": Warning, " not in line), None)
    bits = max(page.bits)
    words = {tags.PALETTE: f"a palette of {2**bits} colours", tags.CMYK: "CMYK"}
    if bits < 8:
        words |= dict.fromkeys((tags.WHITE_IS_ZERO, tags.BLACK_IS_ZERO), _pillow.grey_words(bits))
    damage = f"in a place that cannot be told: {amiss}" if amiss else None
    return decoded._replace(stored_as=words.get(page.colour), damage=damage)


def _cleaned_file(source: Source, page: Page) -> bytes:
    """Return the file with the tags of its pixels alone: Pillow then neither turns it nor stumbles over the rest."""
    if len(source.data) >= _MAX_CLASSIC_BYTES:
        raise source.unhandled("a TIFF of over 4 GB", "PNG")
    ignored = {*_exif.DESCRIPTIVE_TAGS, _exif.ORIENTATION, _tiff_metadata.XMP}
    order, directory = page.order, page.directory
    fields = {tag: entry for tag, entry in directory.fields.items() if tag not in ignored}
    # BigTIFF's 64-bit integers are small here.
    wide = {tag: entry for tag, entry in fields.items() if entry.kind == _exif.LONG8}
    fields |= {tag: field_of(LONG, entry.integers(), order) for tag, entry in wide.items()}
    fields |= {
        tag: field_of(LONG, found, order) for tag in tags.SINGLE if (found := directory.integers(tag, 1))
    }
    return with_directory(source.data[8:], fields, order)


def _split_channels(page: Page, samples: Samples) -> Decoded:
    """Return colours and alpha of the samples of a page."""
    count, samples = samples.shape[2], np.ascontiguousarray(samples)
    colour = samples[..., 0] if count == 1 else extracted(samples, 0) if count == 2 else without_last(samples)
    if page.colour == tags.WHITE_IS_ZERO:
        colour = ~colour
    alpha = extracted(samples, count - 1) if count in (2, 4) else None
    if alpha is not None and page.integer(tags.EXTRA_SAMPLES, 0) == _ASSOCIATED_ALPHA:
        colour = divided_by_alpha(colour, alpha)
    return Decoded(tripled(colour), alpha, grey=True) if count <= 2 else Decoded(colour, alpha)


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
    strips = [_packed_strip(samples[top : top + rows], order) for top in range(0, height, rows)]
    front = block[8:] + bytes(len(block) % 2)
    offsets = [8 + len(front)]
    for strip in strips:
        offsets.append(offsets[-1] + len(strip))
    start = offsets.pop()
    padding = bytes(start % 2)
    start += len(padding)
    fields = described.fields | _structure_fields(
        samples, rows, offsets, [len(strip) for strip in strips], order
    )
    if start >= _MAX_CLASSIC_BYTES:
        raise ImageError(f"TIFF cannot hold {start} bytes (at most 4 GB); write PNG")
    directory = _exif.write_directory(Directory(fields), start, order)
    return [_exif.header(order, start), front, *strips, padding, directory]


def _packed_strip(rows: Samples, order: str) -> bytes:
    """Return compressed rows, each sample less its left neighbour."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    stored = differences if order == _NATIVE_ORDER else differences.byteswap()
    return zlib.compress(stored.tobytes(), _COMPRESSION_LEVEL)


def _structure_fields(
    samples: Rows, rows: int, offsets: list[int], sizes: list[int], order: str
) -> dict[int, Field]:
    """Return the entries that say how the pixels are stored."""
    height, width, count = samples.shape
    entries: dict[int, tuple[int, tuple[int, ...]]] = {
        tags.WIDTH: (LONG, (width,)),
        tags.HEIGHT: (LONG, (height,)),
        tags.BITS: (SHORT, (samples.dtype.itemsize * 8,) * count),
        tags.COMPRESSION: (SHORT, (tags.DEFLATE,)),
        tags.PHOTOMETRIC: (SHORT, (tags.RGB if count > 2 else tags.BLACK_IS_ZERO,)),
        tags.STRIP_OFFSETS: (LONG, tuple(offsets)),
        _exif.ORIENTATION: (SHORT, (1,)),
        tags.SAMPLES: (SHORT, (count,)),
        tags.ROWS_PER_STRIP: (LONG, (rows,)),
        tags.STRIP_BYTES: (LONG, tuple(sizes)),
        tags.PLANAR: (SHORT, (1,)),
        tags.PREDICTOR: (SHORT, (2,)),
    }
    if count in (2, 4):
        entries[tags.EXTRA_SAMPLES] = (SHORT, (_UNASSOCIATED_ALPHA,))
    return {tag: field_of(kind, values, order) for tag, (kind, values) in entries.items()}


def joined(pages: Iterable[bytes]) -> bytearray:
    """Return one TIFF of the pages of several, in their order.

    Each is put behind the ones before it as it is, and its offsets are moved.

    Args:
        pages: classic TIFF files of one page, all of one byte order, as `encode` makes them.

    Raises:
        ImageError: over 4 GB.
    """
    file, link = bytearray(), 0
    for page in pages:
        file += bytes(len(file) % 2)
        base = len(file)
        layout, start = _exif.read_layout(page)
        file += page
        if len(file) >= _MAX_CLASSIC_BYTES:
            raise ImageError(
                f"TIFF cannot hold {len(file)} bytes (at most 4 GB); restore the pages one by one"
            )
        if base:
            _move_offsets(file, base + start, base, layout)
            struct.pack_into(layout.order + "I", file, link, base + start)
        count = struct.unpack_from(layout.order + "H", file, base + start)[0]
        link = base + start + 2 + _ENTRY_BYTES * count
    return file


def _move_offsets(file: bytearray, start: int, base: int, layout: Layout) -> None:
    """Add ``base`` to the offsets of the directory at ``start`` and of those below it, in place."""
    order = layout.order
    for number in range(struct.unpack_from(order + "H", file, start)[0]):
        slot = start + 2 + _ENTRY_BYTES * number
        tag, kind, count = struct.unpack_from(order + "HHI", file, slot)
        place, size = slot + 8, _exif.SIZES.get(kind, 0) * count
        if size > _INLINE_BYTES:
            place = struct.unpack_from(order + "I", file, place)[0] + base
            struct.pack_into(order + "I", file, slot + 8, place)
        if tag == tags.STRIP_OFFSETS and kind == LONG:
            offsets = struct.unpack_from(f"{order}{count}I", file, place)
            struct.pack_into(f"{order}{count}I", file, place, *(offset + base for offset in offsets))
        elif tag in _exif.POINTERS:
            child = struct.unpack_from(order + "I", file, place)[0] + base
            struct.pack_into(order + "I", file, place, child)
            _move_offsets(file, child, base, layout)
        elif tag == _makernote.TAG:
            _makernote.move(file, place, size, order, by=base)

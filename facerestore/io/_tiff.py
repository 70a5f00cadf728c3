"""TIFF: pages, samples of 8 and 16 bits in any arrangement, metadata, and a writer. Source: TIFF 6.0.

Pillow reads 8-bit TIFF and greyscale of 16 bits, and libtiff under it undoes every compression. So each plane of a
16-bit picture is shown to Pillow as one wide greyscale picture, by a directory of ours at the end of the same bytes.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ImageFile, TiffImagePlugin

from facerestore.errors import ImageError
from facerestore.io import _exif, _pillow, _tiff_metadata
from facerestore.io._exif import LONG, SHORT, Directory, Field, Layout, field_of
from facerestore.io._rows import Rows
from facerestore.io._source import Samples, Source, finish, tripled
from facerestore.types import DecodedImage, Metadata

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 266, 273, 277, 278, 279, 284
PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

# Tags of one number, which damaged files may give many of.
_SINGLE = (WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP, PLANAR, PREDICTOR)

_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"
_LZW, _DEFLATE = 5, 8
# Compressions that treat samples as bytes: none, LZW, deflate (new and old number), PackBits, LZMA, Zstandard.
_BYTEWISE = (1, _LZW, _DEFLATE, 32946, 32773, 34925, 50000)
_PREDICTING = (_LZW, _DEFLATE, 32946, 34925, 50000)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
# Colours, and alpha where it is read; more would be lost.
_MOST_SAMPLES = {_WHITE_IS_ZERO: 2, _BLACK_IS_ZERO: 2, _RGB: 4, _PALETTE: 2, _CMYK: 4, _YCBCR: 3}
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_REDUCED = 1
_MAX_CLASSIC_BYTES = 2**32
# Fast, as for PNG; the predictor does most of the work.
_COMPRESSION_LEVEL = 1
# TIFF 6.0 advises strips of about 8 kB; larger ones compress better and a reader today holds them easily.
_STRIP_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class _Page:
    """The first page of a TIFF: its directory and layout, and its integers by tag."""

    directory: Directory
    layout: Layout

    def integers(self, tag: int, *default: int) -> tuple[int, ...]:
        """Return the integers of a tag, or the default."""
        return _exif.value_of(self.directory.fields, tag, self.layout, default=default)


def decode(source: Source) -> DecodedImage:
    """Return the decoded TIFF; 16-bit files stay 16-bit.

    Raises:
        ImageError: damaged, truncated, several pages, float or 32-bit samples, or over the limit on pixels.
    """
    page = _first_page(source)
    width, height = page.integers(WIDTH, 0)[0], page.integers(HEIGHT, 0)[0]
    source.check_size(width, height)
    deep = _check_samples(source, page)
    metadata = _tiff_metadata.read(page.directory, page.layout)
    kind, count = page.integers(PHOTOMETRIC, 1)[0], page.integers(SAMPLES, 1)[0]
    orientation = _exif.orientation_of(page.directory, page.layout)
    if _is_plain(page):
        pixels, alpha, grey = _split(page, _samples(source, page, width, height))
        return finish(pixels, alpha, grey=grey, metadata=metadata, format="TIFF", orientation=orientation)
    if deep or count > _MOST_SAMPLES.get(kind, count):
        depth = (
            f"a {16 if deep else 8}-bit TIFF with {count} channels of photometric kind {kind} and compression"
        )
        raise source.unhandled(
            f"{depth} {page.integers(COMPRESSION, 1)[0]}", "RGB or grey TIFF with LZW or ZIP"
        )
    pixels, alpha, grey = _pillow.channels(_Unlimited(BytesIO(_cleaned(source, page))), source.name)
    return finish(
        pixels,
        alpha,
        grey=grey,
        metadata=metadata,
        format="TIFF",
        orientation=orientation,
        converted=kind == _CMYK,
    )


class _Unlimited(TiffImagePlugin.TiffImageFile):
    """Pillow's TIFF without its process-wide limit on pixels: the source's own limit is checked before."""

    def load_prepare(self) -> None:
        """Make room for the pixels, as Pillow does for every format but this."""
        ImageFile.ImageFile.load_prepare(self)


def _cleaned(source: Source, page: _Page) -> bytes:
    """Return the file with the tags of its pixels alone: Pillow then neither turns it nor stumbles over the rest."""
    ignored = {*_exif.DESCRIPTIVE_TAGS, _exif.ORIENTATION, _tiff_metadata.XMP}
    fields = {
        tag: _classic(entry, page.layout)
        for tag, entry in page.directory.fields.items()
        if tag not in ignored
    }
    order = page.layout.order
    fields |= {tag: field_of(LONG, page.integers(tag)[:1], order) for tag in _SINGLE if page.integers(tag)}
    return _with_directory(source, fields, order)


def _classic(entry: Field, layout: Layout) -> Field:
    """Return an entry with BigTIFF's 64-bit integers, which are small here, as 32-bit ones."""
    return field_of(LONG, _exif.integers(entry, layout), layout.order) if entry.kind == _exif.LONG8 else entry


def _with_directory(source: Source, fields: dict[int, Field], order: str) -> bytes:
    """Return the bytes of a file with another directory, put at their end, in place of its own."""
    if len(source.data) >= _MAX_CLASSIC_BYTES:
        raise source.unhandled("a TIFF of over 4 GB", "PNG")
    start = len(source.data) + len(source.data) % 2
    body = source.data[8:].ljust(start - 8, b"\x00")
    return _exif.header(order, start) + body + _exif.write_directory(Directory(fields), start, order)


def _first_page(source: Source) -> _Page:
    """Return the first page; raise where there are more, beside reduced copies of the first."""
    layout, offset = _exif.read_layout(source.data)
    first = _exif.read_directory(source.data, offset, layout)
    page = _Page(first, layout)
    if page.integers(NEW_SUBFILE_TYPE, 0)[0] & _REDUCED:
        raise ImageError(
            f"{source.name}: the first picture in this TIFF is a thumbnail, as in raw camera files; develop it to a "
            "plain TIFF or JPEG first"
        )
    pages, seen, following = 1, {offset}, first.next_offset
    while following and following not in seen:
        seen.add(following)
        other = _Page(_exif.read_directory(source.data, following, layout), layout)
        pages += not other.integers(NEW_SUBFILE_TYPE, 0)[0] & _REDUCED
        following = other.directory.next_offset
    source.check_single(pages, "pages")
    return page


def _check_samples(source: Source, page: _Page) -> bool:
    """Return whether the samples have 16 bits; raise for those that are no integers of up to 16 bits."""
    bits = set(page.integers(BITS, 1))
    kinds = set(page.integers(SAMPLE_FORMAT, 1))
    if not kinds <= {1, 4} or not (max(bits) <= 8 or bits == {16}):
        kind = {2: "signed", 3: "float"}.get(max(kinds), "integer")
        raise ImageError(
            f"{source.name}: TIFF samples of {max(bits)}-bit {kind} are not handled; save it with 8 or 16 bits"
        )
    return bits == {16}


def _is_plain(page: _Page) -> bool:
    """Return whether a page has 8 or 16 bits of grey or RGB, in a compression that does not look at the samples."""
    count = page.integers(SAMPLES, 1)[0]
    return (
        set(page.integers(BITS, 1)) in ({8}, {16})
        and page.integers(COMPRESSION, 1)[0] in _BYTEWISE
        and (page.integers(PHOTOMETRIC, -1)[0], count)
        in {
            (_WHITE_IS_ZERO, 1),
            (_WHITE_IS_ZERO, 2),
            (_BLACK_IS_ZERO, 1),
            (_BLACK_IS_ZERO, 2),
            (_RGB, 3),
            (_RGB, 4),
        }
        and page.integers(PREDICTOR, 1)[0] in (1, 2)
    )


def _samples(source: Source, page: _Page, width: int, height: int) -> Samples:
    """Return (H, W, C) as stored, whatever the arrangement in strips, tiles and planes."""
    count = page.integers(SAMPLES, 1)[0]
    tiled = TILE_OFFSETS in page.directory.fields
    offsets = page.integers(TILE_OFFSETS if tiled else STRIP_OFFSETS)
    sizes = page.integers(TILE_BYTES if tiled else STRIP_BYTES)
    if not offsets or len(offsets) != len(sizes):
        raise source.damaged("no table of its strips or tiles")
    if page.integers(PLANAR, 1)[0] == 1:
        return _plane(source, page, offsets, sizes, size=(width, height), count=count)
    share = len(offsets) // count
    planes = [
        _plane(source, page, offsets[i : i + share], sizes[i : i + share], size=(width, height), count=1)
        for i in range(0, share * count, share)
    ]
    return np.concatenate(planes, axis=2)


def _plane(
    source: Source,
    page: _Page,
    offsets: tuple[int, ...],
    sizes: tuple[int, ...],
    *,
    size: tuple[int, int],
    count: int,
) -> Samples:
    """Return (H, W, count) of one plane, read as a greyscale picture that is ``count`` times as wide."""
    width, height = size
    stored = _stored(source.data, page, offsets, (height, width * count))
    if stored is not None:
        return stored.reshape(height, width, count)
    order = page.layout.order
    numbers = {WIDTH: width * count, HEIGHT: height, COMPRESSION: page.integers(COMPRESSION, 1)[0]}
    fields = {tag: field_of(LONG, (value,), order) for tag, value in numbers.items()}
    fields |= {
        BITS: field_of(SHORT, (page.integers(BITS, 1)[0],), order),
        SAMPLES: field_of(SHORT, (1,), order),
    }
    fields |= {PHOTOMETRIC: field_of(SHORT, (_BLACK_IS_ZERO,), order)}
    fields |= {FILL_ORDER: field_of(SHORT, (page.integers(FILL_ORDER, 1)[0],), order)}
    tile = page.integers(TILE_WIDTH, width)[0] if TILE_OFFSETS in page.directory.fields else 0
    if tile:
        across, down = (TILE_WIDTH, tile * count), (TILE_HEIGHT, page.integers(TILE_HEIGHT, height)[0])
        fields |= {tag: field_of(LONG, (value,), order) for tag, value in (across, down)}
    else:
        rows = min(page.integers(ROWS_PER_STRIP, height)[0], height)
        fields[ROWS_PER_STRIP] = field_of(LONG, (rows,), order)
    fields[TILE_OFFSETS if tile else STRIP_OFFSETS] = field_of(LONG, offsets, order)
    fields[TILE_BYTES if tile else STRIP_BYTES] = field_of(LONG, sizes, order)
    block = _with_directory(source, fields, order)
    plane = _pillow.to_array(_Unlimited(BytesIO(block))).reshape(height, width, count)
    if page.integers(PREDICTOR, 1)[0] == 2 and page.integers(COMPRESSION, 1)[0] in _PREDICTING:
        _undo_differences(plane, tile or width)
    return plane


def _stored(data: bytes, page: _Page, offsets: tuple[int, ...], shape: tuple[int, int]) -> Samples | None:
    """Return the samples of uncompressed strips, (H, samples of a row); None for any other plane, and for damage.

    Read where they lie: Pillow would hold a copy of the file and one of the picture beside them.
    """
    height = shape[0]
    rows = min(page.integers(ROWS_PER_STRIP, height)[0], height)
    plain = page.integers(COMPRESSION, 1)[0] == 1 and page.integers(FILL_ORDER, 1)[0] == 1
    if TILE_OFFSETS in page.directory.fields or not plain or rows < 1 or len(offsets) != -(-height // rows):
        return None
    dtype = np.dtype(f"{page.layout.order}u{page.integers(BITS, 1)[0] // 8}")
    samples = np.empty(shape, dtype.newbyteorder("="))
    for top, offset in zip(range(0, height, rows), offsets, strict=True):
        part = samples[top : top + rows]
        if offset + part.nbytes > len(data):
            return None
        part[:] = np.frombuffer(data, dtype, part.size, offset).reshape(part.shape)
    return samples


def _undo_differences(plane: Samples, tile_width: int) -> None:
    """Undo horizontal differencing in place (TIFF 6.0 section 14): it starts anew at each tile."""
    for left in range(0, plane.shape[1], tile_width):
        part = plane[:, left : left + tile_width]
        np.cumsum(part, axis=1, dtype=part.dtype, out=part)


def _split(page: _Page, samples: Samples) -> tuple[Samples, Samples | None, bool]:
    """Return (pixels, alpha, grey) of the samples of a page."""
    count = samples.shape[2]
    colour = samples[..., :1] if count <= 2 else samples[..., :3]
    if page.integers(PHOTOMETRIC, -1)[0] == _WHITE_IS_ZERO:
        colour = ~colour
    alpha = np.ascontiguousarray(samples[..., -1]) if count in (2, 4) else None
    if alpha is not None and page.integers(EXTRA_SAMPLES, 0)[0] == _ASSOCIATED_ALPHA:
        colour = _divided(colour, alpha)
    if count <= 2:
        return tripled(np.ascontiguousarray(colour[..., 0])), alpha, True
    return np.ascontiguousarray(colour), alpha, False


def _divided(colour: Samples, alpha: Samples) -> Samples:
    """Return colours that were stored multiplied by alpha as they are without it; zero where alpha is zero."""
    top = np.iinfo(alpha.dtype).max
    divisor = np.maximum(alpha, 1)[..., None].astype(np.float64)
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
        COMPRESSION: (SHORT, (_DEFLATE,)),
        PHOTOMETRIC: (SHORT, (_RGB if count > 2 else _BLACK_IS_ZERO,)),
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

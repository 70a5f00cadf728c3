"""The samples of a TIFF page as stored, whatever the arrangement in strips, tiles and planes. Source: TIFF 6.0.

Where a compression treats samples as bytes, libtiff under Pillow is shown each plane as one wide greyscale picture of
bytes, by a directory of ours; what the bytes mean is done here. So every depth and kind of number is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from facerestore.io import _exif, _pillow
from facerestore.io import _tiff_page as tags
from facerestore.io._exif import LONG, SHORT, Directory, Field, field_of
from facerestore.io._source import Samples, Source, inflated_as_far
from facerestore.io._tiff_page import DEFLATE, OLD_DEFLATE, Page

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

_MAX_CLASSIC_BYTES = 2**32
_NO_PREDICTOR, _DIFFERENCES, _FLOAT_DIFFERENCES = 1, 2, 3
# A tile may be larger than the picture; this one is as large as any viewer makes them.
_MAX_TILE_BYTES = 2**27
# Of parts of a damaged plane: enough for every strip of a large photo.
_MOST_TRIES = 2**12
# All blocks together may be longer than the file where they share what is the same in them, such as white.
_MOST_SHARED_BYTES = 2**28
_UNPACKED_BYTES = 2**24  # of packed bits that are taken apart at a time
_FLOATS = {16: "f2", 32: "f4", 64: "f8"}


def unlimited(data: bytes) -> TiffImageFile:
    """Return Pillow's TIFF without its process-wide limit on pixels: the source's own limit is checked before."""
    from PIL import ImageFile, TiffImagePlugin

    class Unlimited(TiffImagePlugin.TiffImageFile):
        def load_prepare(self) -> None:
            """Make room for the pixels, as Pillow does for every format but this."""
            ImageFile.ImageFile.load_prepare(self)

    return Unlimited(BytesIO(data))


@dataclass(frozen=True, slots=True)
class _Plane:
    """How a plane is cut into blocks, which are strips or tiles, and where they are.

    Attributes:
        source: the file.
        page: whose plane it is.
        offsets: of each block in the file.
        sizes: bytes of each block.
        count: samples of a pixel.
        width: pixels of a block across.
        rows: rows of a block.
        across: blocks beside each other.
        height: rows of the plane.
        bits: of a sample.
    """

    source: Source
    page: Page
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    count: int
    width: int
    rows: int
    across: int
    height: int
    bits: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of one block, which begins with a byte of its own."""
        return -(-self.width * self.count * self.bits // 8)


def read_samples(source: Source, page: Page) -> tuple[Samples, int | None]:
    """Return (H, W, C) samples as stored, and the first row that damage has left without; None for none.

    Packed bits are uint8 or uint16, other samples what they are.

    Raises:
        ImageError: hardly any row is whole, or the blocks are of no sane size.
    """
    count, planar = page.channels, page.integer(tags.PLANAR, 1) != 1
    planes = _stored_planes(source, page, planes=count if planar else 1)
    parts, bad = [], []
    for plane in planes:
        stored, row = _bytes_of(plane)
        parts.append(_as_numbers(plane, stored))
        bad += [] if row is None else [row]
    width = page.size[0]
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return samples[:, :width], min(bad, default=None)


def _stored_planes(source: Source, page: Page, *, planes: int) -> list[_Plane]:
    """Return how each plane is stored."""
    (width, height), count = page.size, page.channels // planes
    tiled = page.tiled
    rows = page.integer(tags.TILE_HEIGHT, 0) if tiled else page.integer(tags.ROWS_PER_STRIP, height)
    block = page.integer(tags.TILE_WIDTH, 0) if tiled else width
    rows = rows if tiled else min(rows, height)
    if rows < 1 or block < 1:
        raise source.damaged(f"its blocks are of {block}x{rows} pixels")
    across, down = -(-width // block), -(-height // rows)
    bits = max(page.bits)
    if tiled and block * rows * count * bits // 8 > _MAX_TILE_BYTES:
        raise source.unhandled(f"a TIFF with tiles of {block}x{rows} pixels", "TIFF in strips")
    wanted = across * down
    offsets = page.directory.integers(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, wanted * planes)
    sizes = page.directory.integers(tags.TILE_BYTES if tiled else tags.STRIP_BYTES, wanted * planes)
    if not sizes and len(offsets) == 1 and page.compression == tags.NONE:  # old writers left it to the reader
        sizes = (len(source.data) - offsets[0],)
    found = min(len(offsets), len(sizes))
    if planes > 1 and found < wanted * planes:
        raise source.damaged(f"of {wanted * planes} strips or tiles, its table has {found}")
    if sum(sizes) > len(source.data) + _MOST_SHARED_BYTES:
        raise source.damaged("its strips or tiles overlap")
    source.check_rows(found // across * rows, height)
    return [
        _Plane(
            *(source, page, offsets[first : first + wanted], sizes[first : first + wanted], count),
            *(block, rows, across, height, bits),
        )
        for first in range(0, wanted * planes, wanted)
    ]


def _bytes_of(plane: _Plane) -> tuple[Samples, int | None]:
    """Return (H, blocks across, bytes of a row) uint8, and the first row that is missing."""
    stored = _plain(plane)
    if stored is None:
        try:
            if len(plane.offsets) * plane.rows < plane.height * plane.across:
                raise OSError("blocks are missing")
            if len(plane.source.data) >= _MAX_CLASSIC_BYTES:
                raise plane.source.unhandled("a TIFF of over 4 GB", "PNG")
            shape = (plane.height, plane.across)
            stored = _decoded_blocks(plane, plane.source.data[8:], plane.offsets, plane.sizes, shape=shape)
        except OSError:
            return _rescued_bytes(plane)
    return stored.reshape(plane.height, plane.across, plane.row_bytes), None


def _plain(plane: _Plane) -> Samples | None:
    """Return the bytes of uncompressed strips, (H, bytes of a row); None for any other plane, and for damage.

    Read where they lie: Pillow would hold a copy of the file and one of the picture beside them.
    """
    page, data = plane.page, plane.source.data
    if page.tiled or page.compression != tags.NONE or page.integer(tags.FILL_ORDER, 1) != 1:
        return None
    if len(plane.offsets) != -(-plane.height // plane.rows):
        return None
    stored = np.empty((plane.height, plane.row_bytes), np.uint8)
    for top, offset in zip(range(0, plane.height, plane.rows), plane.offsets, strict=True):
        part = stored[top : top + plane.rows]
        if offset + part.nbytes > len(data):
            return None
        part[:] = np.frombuffer(data, np.uint8, part.size, offset).reshape(part.shape)
    return stored


def _decoded_blocks(
    plane: _Plane,
    body: bytes,
    offsets: tuple[int, ...],
    sizes: tuple[int, ...],
    *,
    shape: tuple[int, int],
) -> Samples:
    """Return the bytes of blocks, (H, bytes of a row of blocks), which stand in ``body`` from byte 8 on."""
    page, order = plane.page, plane.page.order
    height, across = shape
    numbers = {tags.WIDTH: plane.row_bytes * across, tags.HEIGHT: height, tags.COMPRESSION: page.compression}
    fields = {tag: field_of(LONG, (value,), order) for tag, value in numbers.items()}
    short = {tags.BITS: 8, tags.SAMPLES: 1, tags.PHOTOMETRIC: tags.BLACK_IS_ZERO}
    short[tags.FILL_ORDER] = page.integer(tags.FILL_ORDER, 1)
    fields |= {tag: field_of(SHORT, (value,), order) for tag, value in short.items()}
    if page.tiled:
        fields[tags.TILE_WIDTH] = field_of(LONG, (plane.row_bytes,), order)
        fields[tags.TILE_HEIGHT] = field_of(LONG, (plane.rows,), order)
    else:
        fields[tags.ROWS_PER_STRIP] = field_of(LONG, (min(plane.rows, height),), order)
    fields[tags.TILE_OFFSETS if page.tiled else tags.STRIP_OFFSETS] = field_of(LONG, offsets, order)
    fields[tags.TILE_BYTES if page.tiled else tags.STRIP_BYTES] = field_of(LONG, sizes, order)
    stored = _pillow.to_array(unlimited(with_directory(body, fields, order)))
    return stored.reshape(height, -1)


def with_directory(body: bytes, fields: dict[int, Field], order: str) -> bytes:
    """Return a TIFF of a directory at its end, and of what it points at, which stands from byte 8 on."""
    start = 8 + len(body) + len(body) % 2
    return b"".join(
        (
            *(_exif.header(order, start), body, bytes(len(body) % 2)),
            _exif.write_directory(Directory(fields), start, order),
        )
    )


def _rescued_bytes(plane: _Plane) -> tuple[Samples, int | None]:
    """Return the bytes of a plane as `_bytes_of` does; what cannot be read is zero.

    Halves of what fails are tried, the upper first, so that few blocks of many are tried one by one.
    """
    height, across = plane.height, plane.across
    stored = np.zeros((height, across, plane.row_bytes), np.uint8)
    down, bad, tries = -(-height // plane.rows), height, 0
    waiting = [(0, down, 0, across)]
    while waiting and tries < _MOST_TRIES:
        first, last, left, right = waiting.pop()
        top, bottom, tries = first * plane.rows, min(last * plane.rows, height), tries + 1
        found = _blocks(plane, first, last, left, right)
        stored[top : top + len(found), left:right] = found
        if len(found) == bottom - top:
            continue
        if last - first > 1:
            middle = (first + last) // 2
            waiting += [(middle, last, left, right), (first, middle, left, right)]
        elif right - left > 1:
            middle = (left + right) // 2
            waiting += [(first, last, middle, right), (first, last, left, middle)]
        else:
            bad = min(bad, top + len(found))
    bad = min([bad, *(first * plane.rows for first, _, _, _ in waiting)])
    plane.source.check_rows(bad, height)
    return stored, None if bad == height else bad


def _blocks(plane: _Plane, first: int, last: int, left: int, right: int) -> Samples:
    """Return the rows of blocks that can be read, (N, blocks across, bytes of a row): all of them, or else none.

    Of one block those up to its damage are returned, where that can be told.
    """
    numbers = [row * plane.across + column for row in range(first, last) for column in range(left, right)]
    rows = min(last * plane.rows, plane.height) - first * plane.rows
    nothing: Samples = np.empty((0, right - left, plane.row_bytes), np.uint8)
    if len(numbers) == 1:
        return _read_block(plane, numbers[0], plane.rows if plane.page.tiled else rows)[:rows, None]
    if numbers[-1] >= min(len(plane.offsets), len(plane.sizes)):
        return nothing
    pieces = [plane.source.data[plane.offsets[i] : plane.offsets[i] + plane.sizes[i]] for i in numbers]
    offsets = np.cumsum([8, *(len(piece) for piece in pieces)]).tolist()[:-1]
    sizes = tuple(len(piece) for piece in pieces)
    try:
        found = _decoded_blocks(plane, b"".join(pieces), tuple(offsets), sizes, shape=(rows, right - left))
    except OSError:
        return nothing
    return found.reshape(rows, right - left, plane.row_bytes)


def _read_block(plane: _Plane, number: int, rows: int) -> Samples:
    """Return the rows of one block that can be read, (N, bytes of a row); no more than ``rows``."""
    nothing = np.empty((0, plane.row_bytes), np.uint8)
    if number >= min(len(plane.offsets), len(plane.sizes)):
        return nothing
    offset = plane.offsets[number]
    body = plane.source.data[offset : offset + plane.sizes[number]]
    compression, turned = plane.page.compression, plane.page.integer(tags.FILL_ORDER, 1) != 1
    found: bytes | None = None
    if compression == tags.NONE and not turned:
        found = body
    elif compression in (DEFLATE, OLD_DEFLATE) and not turned:
        found = inflated_as_far([body], rows * plane.row_bytes).data
    if found is not None:
        whole = min(rows, len(found) // plane.row_bytes)
        return np.frombuffer(found, np.uint8, whole * plane.row_bytes).reshape(whole, plane.row_bytes)
    try:
        return _decoded_blocks(plane, body, (8,), (len(body),), shape=(rows, 1))
    except OSError:
        return nothing


def _as_numbers(plane: _Plane, stored: Samples) -> Samples:
    """Return (H, W, C) samples of (H, blocks across, bytes of a row) uint8, W with what stands out of the picture."""
    page, bits, count = plane.page, plane.bits, plane.count
    predictor = page.integer(tags.PREDICTOR, _NO_PREDICTOR)
    if page.compression in (tags.NONE, tags.PACK_BITS):
        predictor = _NO_PREDICTOR
    known = (_NO_PREDICTOR, _DIFFERENCES, _FLOAT_DIFFERENCES)
    if predictor not in known or (predictor != _NO_PREDICTOR and bits not in (8, 16, 32, 64)):
        raise plane.source.unhandled(f"TIFF predictor {predictor} with {bits} bits", "TIFF with LZW or ZIP")
    across = (plane.height, plane.across, plane.width, count)
    if bits not in (8, 16, 32, 64):
        samples = _unpacked_bits(stored, plane.width * count, bits).reshape(across)
    elif predictor == _FLOAT_DIFFERENCES:
        samples = _undone_float(stored, count, bits // 8).reshape(across)
    else:
        kind = _FLOATS[bits] if tags.FLOAT in page.sample_formats else f"u{bits // 8}"
        integers = stored.view(np.dtype(f"{page.order}u{bits // 8}"))
        integers = integers.astype(integers.dtype.newbyteorder("="), copy=False).reshape(across)
        if predictor == _DIFFERENCES:
            # Anew in each block (section 14).
            integers = np.cumsum(integers, axis=2, dtype=integers.dtype)
        samples = integers.view(kind)
    return samples.reshape(plane.height, plane.across * plane.width, count)


def _unpacked_bits(stored: Samples, count: int, bits: int) -> Samples:
    """Return (H, blocks, count) samples of any number of bits up to 16, which follow each other, highest bit first."""
    dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    samples: Samples = np.empty((*stored.shape[:2], count), dtype)
    weights: Samples = (1 << np.arange(bits - 1, -1, -1)).astype(dtype)
    step = max(1, _UNPACKED_BYTES // (8 * stored[0].size))
    for top in range(0, len(stored), step):
        single: Samples = np.unpackbits(stored[top : top + step], axis=2)[..., : count * bits]
        samples[top : top + step] = single.reshape(*single.shape[:2], count, bits) @ weights
    return samples


def _undone_float(stored: Samples, count: int, size: int) -> Samples:
    """Return the floats of rows whose bytes stand by their rank, highest first, each less the one before.

    Adobe's technical note 3 of TIFF, horizontal differencing of floating point.
    """
    height, blocks, width = stored.shape
    bytes_apart = np.cumsum(stored.reshape(height, blocks, -1, count), axis=2, dtype=np.uint8)
    ranks = bytes_apart.reshape(height, blocks, size, width // size)
    floats = np.ascontiguousarray(ranks.transpose(0, 1, 3, 2)).view(f">f{size}")[..., 0]
    return floats.astype(f"f{size}")

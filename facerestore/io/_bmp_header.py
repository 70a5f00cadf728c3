"""What a BMP's header states, and pixels of bit fields of any width.

Source: BITMAPINFOHEADER and its descendants of Windows GDI.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from facerestore.io._exif import METRES_PER_INCH
from facerestore.io._source import Samples, Source

_FILE_HEADER, _CORE_SIZE, _INFO_SIZE, _V2_SIZE, _V3_SIZE = 14, 12, 40, 52, 56
_UNPACKED, _FIELDS, _ALPHA_FIELDS = 0, 3, 6
_INSIDE = {4: "a JPEG", 5: "a PNG"}
_DEFAULT_FIELDS = (0x7C00, 0x3E0, 0x1F, 0)
_ROWS_PER_BAND = 64


class Header(NamedTuple):
    """The header of a BMP.

    Attributes:
        width: pixels.
        height: pixels.
        downwards: the highest row comes first.
        bits: of a pixel.
        packed: the pixels are compressed, so that rows are of no fixed length.
        start: place of the pixels in the file.
        fields: the bits of red, green, blue and alpha, where the file states them; 0 for a channel that it lacks.
        dpi: dots per inch.
    """

    width: int
    height: int
    downwards: bool
    bits: int
    packed: bool
    start: int
    fields: tuple[int, int, int, int] | None
    dpi: tuple[float, float] | None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, which is filled to 4."""
        return -(-self.width * self.bits // 32) * 4

    @property
    def words(self) -> str | None:
        """What the samples are called where they have other than 8 bits; None where they have."""
        if self.bits != 16 and self.fields is None:
            return None
        counts = [field.bit_count() for field in self.fields or _DEFAULT_FIELDS if field]
        return None if set(counts) == {8} else f"{'-'.join(map(str, counts))}-bit samples"


def read_header(source: Source) -> Header:
    """Return what the header states.

    Raises:
        ImageError: too short, or of a kind that is not read.
        struct.error: it ends within its header.
    """
    data = source.data
    start, size = struct.unpack_from("<II", data, 10)
    if size == _CORE_SIZE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Header(width, height, False, bits, False, start, None, None)
    if size < _INFO_SIZE:  # one of OS/2's, cut short, which Pillow may know
        width, height = struct.unpack_from("<ii", data, 18)
        return Header(width, abs(height), height < 0, 0, True, start, None, None)
    width, height, _, bits, compression, _, across, down = struct.unpack_from("<iiHHIIii", data, 18)
    if compression in _INSIDE:
        raise source.unhandled(f"a BMP with {_INSIDE[compression]} inside", "plain BMP or PNG")
    fields = None
    if compression in (_FIELDS, _ALPHA_FIELDS) and bits in (16, 32):
        count = 4 if compression == _ALPHA_FIELDS or size >= _V3_SIZE else 3
        red, green, blue, *alpha = struct.unpack_from(f"<{count}I", data, _FILE_HEADER + _INFO_SIZE)
        fields = (red, green, blue, *alpha, 0)[:4]
        if not all(_is_field(field, bits) for field in fields) or not any(fields[:3]):
            raise source.damaged(f"bit fields {', '.join(f'{field:#x}' for field in fields)}")
    dpi = (across * METRES_PER_INCH, down * METRES_PER_INCH) if across > 0 and down > 0 else None
    packed = compression not in (_UNPACKED, _FIELDS, _ALPHA_FIELDS)
    return Header(width, abs(height), height < 0, bits, packed, start, fields, dpi)


def _is_field(field: int, bits: int) -> bool:
    """Say whether a mask is empty, or bits beside each other within a pixel."""
    lowest = field & -field
    return field < 2**bits and (field + lowest) & field == 0


def padded(source: Source, header: Header) -> tuple[bytes, str | None]:
    """Return a file that has all its rows, black where they are missing, and words for where; None for nowhere.

    Raises:
        ImageError: hardly any row is there.
    """
    data, whole = source.data, header.start + header.row_bytes * header.height
    if header.packed or header.bits == 0 or len(data) >= whole:
        return data, None
    # The last row of some writers is not filled.
    least = whole - header.row_bytes + -(-header.width * header.bits // 8)
    if len(data) >= least:
        return data.ljust(whole, b"\x00"), None
    rows = max(0, len(data) - header.start) // header.row_bytes
    source.check_rows(rows, header.height)
    words = f"from row {rows} on" if header.downwards else f"in rows 0 to {header.height - rows - 1}"
    return data.ljust(whole, b"\x00"), words


def field_pixels(
    data: bytes, header: Header, fields: tuple[int, int, int, int]
) -> tuple[Samples, Samples | None]:
    """Return (H, W, 3) and (H, W) or None, uint8, of a file whose header states the bits of each channel."""
    kind = f"<u{header.bits // 8}"
    stored = np.frombuffer(data, np.uint8, header.row_bytes * header.height, header.start)
    rows = stored.reshape(header.height, -1).view(kind)[:, : header.width]
    rows = rows if header.downwards else rows[::-1]
    pixels = np.empty((*rows.shape, 3), np.uint8)
    for number, field in enumerate(fields[:3]):
        pixels[..., number] = _channel(rows, field)
    return pixels, _channel(rows, fields[3]) if fields[3] else None


def _channel(rows: Samples, field: int) -> Samples:
    """Return (H, W) uint8 of the bits of a mask, the most of which is white."""
    result = np.zeros(rows.shape, np.uint8)
    if not field:
        return result
    shift = (field & -field).bit_length() - 1
    top = field >> shift
    for start in range(0, len(rows), _ROWS_PER_BAND):
        values = (rows[start : start + _ROWS_PER_BAND] & field) >> shift
        result[start : start + _ROWS_PER_BAND] = np.rint(values * (255 / top))
    return result

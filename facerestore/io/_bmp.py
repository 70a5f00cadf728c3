"""BMP: its header, pixels of bit fields of any width, and a writer for transparency and colour.

Source: BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER of Windows GDI.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import NamedTuple

import numpy as np

from facerestore.errors import ImageError
from facerestore.io import _pillow
from facerestore.io._exif import METRES_PER_INCH
from facerestore.io._files import Buffer
from facerestore.io._source import Decoded, Rows, Samples, Source, finish
from facerestore.types import DecodedImage, Metadata, Part

COLOUR = b"colour"
"""Key of the part that holds the colour space, its end points and gammas, and the rendering intent of a header."""

_FILE_HEADER, _CORE_SIZE, _INFO_SIZE, _V3_SIZE, _V4_SIZE, _V5_SIZE = 14, 12, 40, 56, 108, 124
_EMBEDDED, _LINKED, _SRGB = b"DEBM", b"KNIL", b"BGRs"  # LCS_*: four letters, read as one little-endian number
_PICTURES = 4  # LCS_GM_IMAGES
_UNPACKED, _FIELDS, _ALPHA_FIELDS = 0, 3, 6
_INSIDE = {4: "a JPEG", 5: "a PNG"}
_DEFAULT_FIELDS = (0x7C00, 0x3E0, 0x1F, 0)
_MASKS = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_MAX_BYTES = 2**32 - 1
_ROWS_PER_BAND = 64


def decode(source: Source) -> DecodedImage:
    """Return a decoded BMP; one that lacks rows at its end is decoded as far as they go.

    Raises:
        ImageError: damaged in its header, of a kind that is not read, or over the limit on pixels.
    """
    source.choose(1, "page")
    header = _read_header(source)
    source.check_size(header.width, header.height)
    data, damage = _padded(source, header)
    if header.fields is not None:
        decoded, words, dpi = Decoded(*_field_pixels(data, header, header.fields)), None, header.dpi
    else:
        from PIL import BmpImagePlugin

        picture = BmpImagePlugin.BmpImageFile(BytesIO(data))
        decoded = _pillow.channels(picture, source.name)
        words, dpi = _pillow.storage_words(picture), picture.info.get("dpi")
    decoded = decoded._replace(stored_as=words or header.words, damage=damage)
    return finish(decoded, _read_metadata(source.data, dpi), "BMP")


def _read_metadata(data: bytes, dpi: tuple[float, float] | None) -> Metadata:
    """Return what a BMP carries: a resolution; from version 4 on its colours; in version 5 a profile, perhaps.

    Args:
        data: the file.
        dpi: its resolution.
    """
    size = struct.unpack_from("<I", data, _FILE_HEADER)[0]
    if size < _V4_SIZE or len(data) < _FILE_HEADER + size:
        return Metadata(dpi=dpi)
    header = data[_FILE_HEADER : _FILE_HEADER + size]
    space, intent, start, length = header[56:60], _PICTURES, 0, 0
    if size >= _V5_SIZE:
        intent, start, length = struct.unpack_from("<III", header, _V4_SIZE)
    if space == _EMBEDDED:
        icc = data[_FILE_HEADER + start : _FILE_HEADER + start + length]
        return Metadata(icc=icc if 0 < len(icc) == length else None, dpi=dpi)
    if space == _LINKED:
        return Metadata(dpi=dpi, dropped=("colour profile, of which the file has only the name",))
    return Metadata(dpi=dpi, parts=(Part("BMP", COLOUR, header[56:_V4_SIZE] + struct.pack("<I", intent)),))


class _Header(NamedTuple):
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


def _read_header(source: Source) -> _Header:
    """Return what the header states.

    Raises:
        ImageError: too short, or of a kind that is not read.
        struct.error: it ends within its header.
    """
    data = source.data
    start, size = struct.unpack_from("<II", data, 10)
    if size == _CORE_SIZE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return _Header(width, height, False, bits, False, start, None, None)
    if size < _INFO_SIZE:  # one of OS/2's, cut short, which Pillow may know
        width, height = struct.unpack_from("<ii", data, 18)
        return _Header(width, abs(height), height < 0, 0, True, start, None, None)
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
    return _Header(width, abs(height), height < 0, bits, packed, start, fields, dpi)


def _is_field(field: int, bits: int) -> bool:
    """Say whether a mask is empty, or bits beside each other within a pixel."""
    lowest = field & -field
    return field < 2**bits and (field + lowest) & field == 0


def _padded(source: Source, header: _Header) -> tuple[bytes, str | None]:
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


def _field_pixels(
    data: bytes, header: _Header, fields: tuple[int, int, int, int]
) -> tuple[Samples, Samples | None]:
    """Return (H, W, 3) and (H, W) or None, uint8, of a file whose header states the bits of each channel."""
    kind = f"<u{header.bits // 8}"
    stored = np.frombuffer(data, np.uint8, header.row_bytes * header.height, header.start)
    rows = stored.reshape(header.height, -1).view(kind)[:, : header.width]
    rows = rows if header.downwards else rows[::-1]
    pixels = np.empty((*rows.shape, 3), np.uint8)
    for number, field in enumerate(fields[:3]):
        pixels[..., number] = _masked_channel(rows, field)
    return pixels, _masked_channel(rows, fields[3]) if fields[3] else None


def _masked_channel(rows: Samples, field: int) -> Samples:
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


def encode(samples: Rows, metadata: Metadata) -> list[Buffer]:
    """Return a BMP, in pieces: as old as can be, and of version 5 for transparency and colour.

    Args:
        samples: uint8.
        metadata: of which it holds the profile and the resolution.

    Raises:
        ImageError: over 4 GB, or grey with transparency, which no BMP has.
    """
    height, width, count = samples.shape
    colour = metadata.body_of(COLOUR) or b""
    if count in (1, 3) and not metadata.icc and not colour:
        from PIL import Image as PillowImage

        stream = BytesIO()
        pixels = samples[:]
        picture = PillowImage.fromarray(pixels[..., 0] if count == 1 else pixels)
        # Pillow states 96 dots per inch where none are given.
        picture.save(stream, "BMP", dpi=metadata.dpi or (0.0, 0.0))
        return [stream.getbuffer()]
    depth = 24 if count in (1, 3) else 32
    row = -(-width * depth // 32) * 4
    start, icc = _FILE_HEADER + _V5_SIZE, metadata.icc or b""
    total = start + row * height + len(icc)
    if total > _MAX_BYTES:
        raise ImageError(f"BMP cannot hold {total} bytes (at most 4 GB); write PNG or TIFF")
    dots = [round(value / METRES_PER_INCH) for value in metadata.dpi or (0.0, 0.0)]
    head = struct.pack("<2sIHHI", b"BM", total, 0, 0, start)
    head += struct.pack(
        "<IiiHHII", _V5_SIZE, width, height, 1, depth, _FIELDS if depth == 32 else 0, row * height
    )
    head += struct.pack("<iiII", *dots, 0, 0) + (_MASKS if depth == 32 else bytes(16))
    head += _colour_header(colour, icc, row * height)
    return [head, *_packed_rows(samples, row), icc]


def _colour_header(colour: bytes, icc: bytes, pixel_bytes: int) -> bytes:
    """Return the end of a header of version 5: the colour space, and where the profile is."""
    if icc:
        return _EMBEDDED + bytes(48) + struct.pack("<4I", _PICTURES, _V5_SIZE + pixel_bytes, len(icc), 0)
    return (colour or _SRGB + bytes(48) + struct.pack("<I", _PICTURES)) + bytes(12)


def _packed_rows(samples: Rows, row_bytes: int) -> list[Buffer]:
    """Return the rows, the lowest first, blue first, each of a multiple of four bytes."""
    height, width, count = samples.shape
    bands: list[Buffer] = []
    for bottom in range(height, 0, -_ROWS_PER_BAND):
        band = samples[max(0, bottom - _ROWS_PER_BAND) : bottom][::-1]
        colours = np.repeat(band[..., :1], 3, axis=2) if count <= 2 else band[..., 2::-1]
        pixels = colours if count in (1, 3) else np.concatenate((colours, band[..., -1:]), axis=2)
        filled = np.zeros((len(band), row_bytes), np.uint8)
        filled[:, : width * pixels.shape[2]] = pixels.reshape(len(band), -1)
        bands.append(filled.data.cast("B"))
    return bands

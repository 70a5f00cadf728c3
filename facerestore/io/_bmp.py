"""BMP: decoding, and a writer for what its first header has no place for: transparency and colour.

Source: BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER of Windows GDI.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import BmpImagePlugin
from PIL import Image as PillowImage

from facerestore.errors import ImageError
from facerestore.io import _pillow
from facerestore.io._bmp_header import field_pixels, padded, read_header
from facerestore.io._exif import METRES_PER_INCH
from facerestore.io._files import Buffer
from facerestore.io._rows import Rows
from facerestore.io._source import Source, finish
from facerestore.types import DecodedImage, Metadata, Part

COLOUR = b"colour"
"""Key of the part that holds the colour space, its end points and gammas, and the rendering intent of a header."""

_FILE_HEADER, _V4_SIZE, _V5_SIZE = 14, 108, 124
_EMBEDDED, _LINKED, _SRGB = b"DEBM", b"KNIL", b"BGRs"  # LCS_*: four letters, read as one little-endian number
_PICTURES = 4  # LCS_GM_IMAGES
_BITFIELDS = 3
_MASKS = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_MAX_BYTES = 2**32 - 1
_ROWS_PER_BAND = 64


def decode(source: Source) -> DecodedImage:
    """Return a decoded BMP; one that lacks rows at its end is decoded as far as they go.

    Raises:
        ImageError: damaged in its header, of a kind that is not read, or over the limit on pixels.
    """
    source.choose(1, "page")
    header = read_header(source)
    source.check_size(header.width, header.height)
    data, damage = padded(source, header)
    if header.fields is not None:
        pixels, alpha = field_pixels(data, header, header.fields)
        grey, stored_as, dpi = False, header.words, header.dpi
    else:
        picture = BmpImagePlugin.BmpImageFile(BytesIO(data))
        pixels, alpha, grey = _pillow.channels(picture, source.name)
        stored_as, dpi = _pillow.storage_words(picture) or header.words, picture.info.get("dpi")
    metadata = read(source.data, dpi)
    return finish(
        pixels, alpha, grey=grey, metadata=metadata, format="BMP", stored_as=stored_as, damage=damage
    )


def read(data: bytes, dpi: tuple[float, float] | None) -> Metadata:
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
        "<IiiHHII", _V5_SIZE, width, height, 1, depth, _BITFIELDS if depth == 32 else 0, row * height
    )
    head += struct.pack("<iiII", *dots, 0, 0) + (_MASKS if depth == 32 else bytes(16))
    head += _colour(colour, icc, row * height)
    return [head, *_rows(samples, row), icc]


def _colour(colour: bytes, icc: bytes, pixel_bytes: int) -> bytes:
    """Return the end of a header of version 5: the colour space, and where the profile is."""
    if icc:
        return _EMBEDDED + bytes(48) + struct.pack("<4I", _PICTURES, _V5_SIZE + pixel_bytes, len(icc), 0)
    return (colour or _SRGB + bytes(48) + struct.pack("<I", _PICTURES)) + bytes(12)


def _rows(samples: Rows, row_bytes: int) -> list[Buffer]:
    """Return the rows, the lowest first, blue first, each of a multiple of four bytes."""
    height, width, count = samples.shape
    bands: list[Buffer] = []
    for bottom in range(height, 0, -_ROWS_PER_BAND):
        band = samples[max(0, bottom - _ROWS_PER_BAND) : bottom][::-1]
        colours = np.repeat(band[..., :1], 3, axis=2) if count <= 2 else band[..., 2::-1]
        pixels = colours if count in (1, 3) else np.concatenate((colours, band[..., -1:]), axis=2)
        padded = np.zeros((len(band), row_bytes), np.uint8)
        padded[:, : width * pixels.shape[2]] = pixels.reshape(len(band), -1)
        bands.append(padded.data.cast("B"))
    return bands

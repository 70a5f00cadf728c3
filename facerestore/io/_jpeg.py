"""JPEG: its segments and its pixels. Source: ITU-T T.81 annex B."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO

from PIL import JpegImagePlugin

from facerestore.io import _jpeg_metadata, _pillow
from facerestore.io._opencv import opencv_pixels
from facerestore.io._source import Samples, Source, finish
from facerestore.types import DecodedImage

# SOF0 to SOF15 without DHT, JPG and DAC, which share their numbers.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# TEM and RST0 to RST7, SOI: markers without a body.
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# In compressed data, 0xFF is followed by a zero byte or a restart marker (B.1.1.5); 0xFF may also fill (B.1.1.2).
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_APP0, _APP15 = 0xE0, 0xEF
_ADOBE, _QUANTISATION = 0xEE, 0xDB


def decode(source: Source) -> DecodedImage:
    """Return the decoded JPEG; of an MPO file, its first picture.

    Raises:
        ImageError: damaged, truncated, of more than 8 bits, or over the limit on pixels.
    """
    segments = list(_segments(source))
    height, width, components = _frame(source, segments)
    source.check_size(width, height)
    end = _picture_end(source.data, segments[-1][2])
    if end is None:
        raise source.damaged("the JPEG ends before its end-of-image marker")
    metadata = _jpeg_metadata.read(source.data, segments, memoryview(source.data)[end:])
    pixels = _decode_cmyk(source, segments, metadata.icc) if components == 4 else _decode_colour(source)
    if pixels.shape != (height, width, 3):
        raise source.damaged(
            f"the JPEG states {width}x{height} pixels and holds {pixels.shape[1]}x{pixels.shape[0]}"
        )
    return finish(
        pixels, None, grey=components == 1, metadata=metadata, format="JPEG", converted=components == 4
    )


def _segments(source: Source) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the body of each segment up to the first start of scan, which comes last."""
    data, position = source.data, 2
    while True:
        # Any number of 0xFF may stand before a marker (B.1.1.2); other bytes between segments are skipped.
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) and data[position] == 0xFF:
            position += 1
        if position < 0 or position + 3 > len(data):
            raise source.damaged("the JPEG ends within its header")
        marker = data[position]
        position += 1
        if marker in _BARE_MARKERS or marker == 0:
            continue
        if marker == _END_OF_IMAGE:
            raise source.damaged("the JPEG holds no picture")
        end = position + struct.unpack_from(">H", data, position)[0]
        if end > len(data):
            raise source.damaged("the JPEG ends within its header")
        yield marker, position + 2, end
        if marker == _START_OF_SCAN:
            return
        position = max(end, position + 2)


def tables_start(data: bytes | memoryview) -> int:
    """Return where the metadata of a JPEG end: the position of its first quantisation tables, which follow them."""
    position = 2
    while data[position + 1] != _QUANTISATION:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position


def _picture_end(data: bytes, position: int) -> int | None:
    """Return where the picture ends whose compressed data begin at ``position``; None where no marker says so.

    Without one, OpenCV would fill what is missing of the picture with grey.
    """
    while found := _MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:
            return position
        if marker not in _BARE_MARKERS:  # another segment, whose body may hold any bytes
            position += int.from_bytes(data[position : position + 2], "big")
    return None


def _frame(source: Source, segments: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return (height, width, components) of the frame header (B.2.2)."""
    for marker, start, end in segments:
        if marker in _FRAME_MARKERS and end - start >= 6:
            precision, height, width, components = struct.unpack_from(">BHHB", source.data, start)
            if precision != 8 or components not in (1, 3, 4):
                raise source.unhandled(
                    f"a JPEG of {precision} bits and {components} components", "8-bit JPEG or PNG"
                )
            return height, width, components
    raise source.damaged("the JPEG states no size")


def _decode_colour(source: Source) -> Samples:
    """Return (H, W, 3) RGB of a grey or colour JPEG, as stored: OpenCV is twice as fast as Pillow."""
    import cv2

    return opencv_pixels(source, [source.data], cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _decode_cmyk(source: Source, segments: list[tuple[int, int, int]], icc: bytes | None) -> Samples:
    """Return (H, W, 3) sRGB of a CMYK JPEG, whose values are inverted, as all software takes them to be.

    Pillow is given the file without the metadata that it would stumble over, but with Adobe's colour transform.
    """
    kept = [source.data[:2]]
    for marker, start, end in segments:
        if marker == _ADOBE or not _APP0 <= marker <= _APP15:
            kept += [bytes((0xFF, marker)), source.data[start - 2 : end]]
    picture = JpegImagePlugin.JpegImageFile(BytesIO(b"".join((*kept, source.data[segments[-1][2] :]))))
    picture.info["icc_profile"] = icc
    return _pillow.channels(picture, source.name)[0]

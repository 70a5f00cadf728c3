"""JPEG: its segments and its pixels. Source: ITU-T T.81 annex B."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from PIL import JpegImagePlugin

from facerestore.io import _jpeg_metadata, _pillow
from facerestore.io._jpeg_scans import (
    BARE_MARKERS,
    END_OF_IMAGE,
    MAX_SEGMENTS,
    START_OF_SCAN,
    Picture,
    Scans,
    check_cost,
    damage_of,
    find_scans,
    said,
)
from facerestore.io._opencv import opencv_pixels
from facerestore.io._overheard import overheard
from facerestore.io._source import Samples, Source, finish
from facerestore.types import DecodedImage

# SOF0 to SOF15 without DHT, JPG and DAC, which share their numbers.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What no decoder here reads of T.81: lossless frames, hierarchical ones, and arithmetic coding.
_KINDS = {0xC3: "lossless", **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical")}
_KINDS |= dict.fromkeys(range(0xC9, 0xD0), "arithmetic-coded")
# Any number of 0xFF may stand before a marker (B.1.1.2); other bytes between segments are skipped.
_MARKER = re.compile(rb"\xff+([^\xff])")
_APP0, _APP15, _COMMENT = 0xE0, 0xEF, 0xFE
_JFIF, _ADOBE, _QUANTISATION = b"JFIF\x00", 0xEE, 0xDB
# libjpeg warns of other versions and transforms, and of one thing only.
_PLAIN_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def decode(source: Source) -> DecodedImage:
    """Return the decoded JPEG; of an MPO file, its first picture.

    One that lacks the rows at its end, or that is damaged within its compressed data, is decoded as far as it goes.

    Raises:
        ImageError: damaged in its header, without a whole row, of a kind that is not read, or over the limit on pixels.
    """
    source.choose(1, "page")
    segments = list(_segments(source))
    frame = _frame(source, segments)
    scans = find_scans(source, segments[-1][1] - 4)
    height, width, components = frame.height or scans.height or 0, frame.width, frame.components
    source.check_size(width, height)
    check_cost(source, scans, width * height)
    picture = _picture(source, segments, frame, scans)
    trailer = memoryview(source.data)[len(source.data) if scans.end is None else scans.end :]
    metadata = _jpeg_metadata.read(source.data, segments, trailer)
    pixels, lines = _decode_cmyk(picture, metadata.icc) if components == 4 else _decode_colour(picture)
    if pixels.shape != (height, width, 3):
        raise source.damaged(
            f"the JPEG states {width}x{height} pixels and holds {pixels.shape[1]}x{pixels.shape[0]}"
        )
    damage, note = damage_of(picture, lines)
    return finish(
        pixels,
        None,
        grey=components == 1,
        metadata=metadata,
        format="JPEG",
        converted=components == 4,
        stored_as="CMYK" if components == 4 else None,
        damage=damage,
        notes=(note,) if note else (),
    )


def _segments(source: Source) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the body of each segment up to the first start of scan, which comes last."""
    data, position = source.data, 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found.end() + 2 > len(data):
            raise source.damaged("the JPEG ends within its header")
        marker, position = data[found.end() - 1], found.end()
        if marker in BARE_MARKERS or marker == 0:
            continue
        if marker == END_OF_IMAGE:
            raise source.damaged("the JPEG holds no picture")
        end = position + struct.unpack_from(">H", data, position)[0]
        if end > len(data):
            raise source.damaged("the JPEG ends within its header")
        yield marker, position + 2, end
        if marker == START_OF_SCAN:
            return
        position = max(end, position + 2)
    raise source.excessive("segments", MAX_SEGMENTS)


def tables_start(data: bytes | memoryview) -> int:
    """Return where the metadata of a JPEG end: the position of its first quantisation tables, which follow them."""
    position = 2
    while data[position + 1] != _QUANTISATION:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position


class _Frame(NamedTuple):
    """What the frame header states (B.2.2), and its place."""

    height: int
    width: int
    components: int
    unit: int
    start: int


def _frame(source: Source, segments: list[tuple[int, int, int]]) -> _Frame:
    """Return the frame header; raise for a kind of JPEG that is not read."""
    for marker, start, end in segments:
        if marker in _FRAME_MARKERS and end - start >= 6:
            precision, height, width, components = struct.unpack_from(">BHHB", source.data, start)
            kind = _KINDS.get(marker)
            if kind or precision != 8 or components not in (1, 3, 4):
                article = (
                    "an arithmetic-coded" if kind == "arithmetic-coded" else f"a {kind}" if kind else "a"
                )
                raise source.unhandled(
                    f"{article} JPEG of {precision} bits and {components} components", "8-bit JPEG or PNG"
                )
            factors = source.data[start + 7 : end : 3]
            unit = 8 * (max(factors, default=1) & 15) if components > 1 else 8
            return _Frame(height, width, components, max(8, unit), start)
    raise source.damaged("the JPEG states no size")


def _picture(source: Source, segments: list[tuple[int, int, int]], frame: _Frame, scans: Scans) -> Picture:
    """Return what decodes a JPEG: its head without metadata, which decoders stumble over, and its scans."""
    data, head, place = source.data, bytearray(b"\xff\xd8"), 0
    height = frame.height or scans.height or 0
    for marker, start, end in segments[:-1]:
        body = data[start:end]
        if marker == _APP0 and body.startswith(_JFIF):
            head += _PLAIN_JFIF
        elif marker == _ADOBE and len(body) >= 12 and body[11] <= 2:
            head += bytes((0xFF, marker)) + data[start - 2 : end]
        elif marker != _COMMENT and not _APP0 <= marker <= _APP15:
            if start == frame.start:
                place = len(head) + 5
                body = body[:1] + struct.pack(">H", height) + body[3:]
            head += bytes((0xFF, marker)) + data[start - 2 : start] + body
    return Picture(
        source,
        bytes(head),
        scans,
        height_at=place,
        height=height,
        components=frame.components,
        unit=frame.unit,
    )


def _decode_colour(picture: Picture) -> tuple[Samples, tuple[str, ...]]:
    """Return (H, W, 3) RGB of a grey or colour JPEG, as stored, and what libjpeg says of it.

    OpenCV is twice as fast as Pillow.
    """
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return overheard(lambda: opencv_pixels(picture.source, picture.parts(), flags))


def _decode_cmyk(picture: Picture, icc: bytes | None) -> tuple[Samples, tuple[str, ...]]:
    """Return (H, W, 3) sRGB of a CMYK JPEG, whose values are inverted, as all software takes them to be, and as above.

    Pillow says nothing, so that OpenCV is asked what there is to say.
    """
    opened = JpegImagePlugin.JpegImageFile(BytesIO(b"".join(picture.parts())))
    opened.info["icc_profile"] = icc
    return _pillow.channels(opened, picture.source.name)[0], said(picture, b"".join(picture.parts()))

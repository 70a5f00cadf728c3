"""JPEG: its segments, its pixels, whether its scans are whole, and from which row on they are not.

Source: ITU-T T.81 annexes B and G, and libjpeg's jdmarker.c, jdhuff.c and jerror.h for what its warnings mean.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from facerestore.io import _jpeg_metadata, _pillow
from facerestore.io._files import Buffer
from facerestore.io._opencv import opencv_pixels
from facerestore.io._overheard import overheard
from facerestore.io._source import Decoded, Samples, Source, finish
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
_START_OF_SCAN, _END_OF_IMAGE, _HEIGHT = 0xDA, 0xD9, 0xDC
# TEM and RST0 to RST7, SOI: markers without a body.
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
# In compressed data, 0xFF is followed by a zero byte or a restart marker (B.1.1.5); 0xFF may also fill (B.1.1.2).
_SCAN_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END = b"\xff\xd9"
# EXIF, profile and extended XMP of the longest take some hundred segments.
_MAX_SEGMENTS = 10_000
# libjpeg goes over the whole picture for each scan. Encoders make ten or so; one that tries for the smallest file, 20.
_PLAIN_SCANS, _MAX_SCANS, _MAX_SCANNED_PIXELS = 32, 500, 2**28
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_PADDING_BYTES = 16  # some writers end on a multiple of so many
_COEFFICIENTS = 64


def decode(source: Source) -> DecodedImage:
    """Return the decoded JPEG; of an MPO file, its first picture.

    One that lacks the rows at its end, or that is damaged within its compressed data, is decoded as far as it goes.

    Raises:
        ImageError: damaged in its header, without a whole row, of a kind that is not read, or over the limit on pixels.
    """
    source.choose(1, "page")
    segments = list(_segments(source))
    frame = _frame_header(source, segments)
    scans = _find_scans(source, segments[-1][1] - 4)
    frame = frame._replace(height=frame.height or scans.height or 0)
    height, width, components = frame[:3]
    source.check_size(width, height)
    _check_cost(source, scans, width * height)
    picture = _decodable_picture(source, segments, frame, scans)
    trailer = memoryview(source.data)[len(source.data) if scans.end is None else scans.end :]
    metadata = _jpeg_metadata.read(source.data, segments, trailer)
    pixels, lines = _decode_cmyk(picture, metadata.icc) if components == 4 else _decode_colour(picture)
    if pixels.shape != (height, width, 3):
        raise source.damaged(
            f"the JPEG states {width}x{height} pixels and holds {pixels.shape[1]}x{pixels.shape[0]}"
        )
    damage, note = _damage_of(picture, lines)
    cmyk, notes = components == 4, (note,) if note else ()
    decoded = Decoded(pixels, None, components == 1, "CMYK" if cmyk else None, damage, notes)
    return finish(decoded, metadata, "JPEG", converted=cmyk)


def _segments(source: Source) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the body of each segment up to the first start of scan, which comes last."""
    data, position = source.data, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found.end() + 2 > len(data):
            raise source.damaged("the JPEG ends within its header")
        marker, position = data[found.end() - 1], found.end()
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
    raise source.excessive("segments", _MAX_SEGMENTS)


def tables_start(data: bytes | memoryview) -> int:
    """Return where the metadata of a JPEG end: the position of its first quantisation tables, which follow them."""
    position = 2
    while data[position + 1] != _QUANTISATION:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position


class _Frame(NamedTuple):
    """What the frame header states (B.2.2), how many rows of pixels are compressed together, and its place."""

    height: int
    width: int
    components: int
    unit: int
    start: int


def _frame_header(source: Source, segments: list[tuple[int, int, int]]) -> _Frame:
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


def _decodable_picture(
    source: Source, segments: list[tuple[int, int, int]], frame: _Frame, scans: _Scans
) -> _Picture:
    """Return what decodes a JPEG: its head without metadata, which decoders stumble over, and its scans."""
    data, head, place = source.data, bytearray(b"\xff\xd8"), 0
    for marker, start, end in segments[:-1]:
        body = data[start:end]
        if marker == _APP0 and body.startswith(_JFIF):
            head += _PLAIN_JFIF
        elif marker == _ADOBE and len(body) >= 12 and body[11] <= 2:
            head += bytes((0xFF, marker)) + data[start - 2 : end]
        elif marker != _COMMENT and not _APP0 <= marker <= _APP15:
            if start == frame.start:
                place = len(head) + 5
                body = body[:1] + struct.pack(">H", frame.height) + body[3:]
            head += bytes((0xFF, marker)) + data[start - 2 : start] + body
    return _Picture(source, bytes(head), frame, scans, place)


def _decode_colour(picture: _Picture) -> tuple[Samples, tuple[str, ...]]:
    """Return (H, W, 3) RGB of a grey or colour JPEG, as stored, and what libjpeg says of it.

    OpenCV is twice as fast as Pillow.
    """
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return overheard(lambda: opencv_pixels(picture.source, picture.parts(), flags))


def _decode_cmyk(picture: _Picture, icc: bytes | None) -> tuple[Samples, tuple[str, ...]]:
    """Return (H, W, 3) sRGB of a CMYK JPEG, whose values are inverted, as all software takes them to be, and as above.

    Pillow says nothing, so that OpenCV is asked what there is to say.
    """
    from PIL import JpegImagePlugin

    opened = JpegImagePlugin.JpegImageFile(BytesIO(b"".join(picture.parts())))
    opened.info["icc_profile"] = icc
    return _pillow.channels(opened, picture.source.name)[0], _libjpeg_words(
        picture, b"".join(picture.parts())
    )


@dataclass(frozen=True, slots=True)
class _Scans:
    """Where the scans of a picture lie in its file.

    Attributes:
        starts: of each, the position of its marker.
        end: position after the end-of-image marker; None where there is none.
        height: as a segment of its own states it (B.2.5); None where none does.
    """

    starts: tuple[int, ...]
    end: int | None
    height: int | None


@dataclass(frozen=True, slots=True)
class _Picture:
    """A JPEG cut into what decodes it.

    Attributes:
        source: the file.
        head: up to its first scan: tables and frame, and of the rest what tells the colour space.
        frame: what the head states of the picture.
        scans: where the compressed data lie.
        height_at: place of the height within the head.
    """

    source: Source
    head: bytes
    frame: _Frame
    scans: _Scans
    height_at: int

    def parts(self) -> list[Buffer]:
        """Return the file as decoders are given it: without what they would stumble over, and with its last marker."""
        return [self.head, memoryview(self.source.data)[self.scans.starts[0] : self.scans.end], _END]

    def cut(self, scan: int) -> bytes:
        """Return the file with its first ``scan`` scans alone."""
        end = (*self.scans.starts, self.scans.end)[scan]
        return b"".join((self.head, self.source.data[self.scans.starts[0] : end], _END))

    def only(self, scan: int) -> bytes | None:
        """Return the file with one scan alone and the tables before it; None where it cannot be read alone."""
        data, starts = self.source.data, self.scans.starts
        components = data[starts[scan] + 4]
        spectral = starts[scan] + 5 + 2 * components
        first, _, approximation = data[spectral : spectral + 3]
        if first > 0 and approximation >> 4 > 0:  # it refines what earlier ones gave (G.1.2.3)
            return None
        end = (*starts, self.scans.end)[scan + 1]
        return b"".join((self.head, *self._tables_before(scan), data[starts[scan] : end], _END))

    def _tables_before(self, scan: int) -> Iterator[bytes]:
        """Yield the segments between the scans before one."""
        for start in self.scans.starts[:scan]:
            for marker, first, end in _segments_behind(self.source.data, start):
                if marker in (_START_OF_SCAN, _END_OF_IMAGE):
                    break
                yield self.source.data[first:end]


def _find_scans(source: Source, position: int) -> _Scans:
    """Return where the scans lie, the marker of the first of which is at ``position``.

    Raises:
        ImageError: more segments than any picture has.
    """
    data, starts, height = source.data, [position], None
    for count, (marker, start, end) in enumerate(_segments_behind(data, position)):
        if count >= _MAX_SEGMENTS:
            raise source.excessive("segments", _MAX_SEGMENTS)
        if marker == _END_OF_IMAGE:
            return _Scans(tuple(starts), end, height)
        if marker == _START_OF_SCAN:
            starts.append(start)
        if marker == _HEIGHT:
            height = int.from_bytes(data[start + 4 : start + 6], "big")
    return _Scans(tuple(starts), None, height)


def _segments_behind(data: bytes, scan: int) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment behind the header of the scan at a position, whatever they hold."""
    position = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    while found := _SCAN_MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker not in _BARE_MARKERS and marker != _END_OF_IMAGE:
            position += int.from_bytes(data[position : position + 2], "big")
        yield marker, found.start(), position


def _check_cost(source: Source, scans: _Scans, pixels: int) -> None:
    """Raise ImageError where a picture has so many scans that it would take minutes."""
    count = len(scans.starts)
    if count > _MAX_SCANS or (count > _PLAIN_SCANS and count * pixels > _MAX_SCANNED_PIXELS):
        raise source.excessive("scans", min(_MAX_SCANS, max(_PLAIN_SCANS, _MAX_SCANNED_PIXELS // pixels)))


def _damage_of(picture: _Picture, lines: Sequence[str]) -> tuple[str | None, str | None]:
    """Return words for damage of the pixels, and for what is amiss and harms none of them; None for none.

    Args:
        picture: as it was decoded.
        lines: what libjpeg said then; of several troubles it tells the first.

    Raises:
        ImageError: not one row is whole.
    """
    if not lines:
        if picture.scans.end is not None:
            return None, None
        if _lacks_scans(picture):
            return "in all rows, since its last scans are missing", None
        return None, "its last marker is missing, and every row is there"
    scan = _first_bad_scan(picture)
    unit = _first_bad_unit(picture, scan)
    left_over = _LEFT_OVER.search(lines[0])
    if unit is None and left_over:
        told = f"{left_over[1]} bytes are left over after its last row"
        harmless = int(left_over[1]) <= _PADDING_BYTES
        return (None, told) if harmless else (f"in a place that cannot be told: {told}", None)
    count = len(picture.scans.starts)
    of = f" in scan {scan + 1} of {count}" if count > 1 else ""
    if unit is None:
        return f"{of}, which refines the detail of rows".lstrip(), None
    if scan == 0:
        picture.source.check_rows(unit * picture.frame.unit, picture.frame.height)
    # Where the data are all there, what is read of them may go wrong for a while before it makes no sense.
    latest = "" if picture.scans.end is None else ", at the latest"
    return f"from row {unit * picture.frame.unit} on{of}{latest}", None


def _lacks_scans(picture: _Picture) -> bool:
    """Return whether there are coefficients whose last bits no scan gives (G.1.1.1.2)."""
    data, missing = picture.source.data, dict[int, list[int]]()
    for start in picture.scans.starts:
        components = data[start + 4]
        first, last, approximation = data[start + 5 + 2 * components : start + 8 + 2 * components]
        for component in data[start + 5 : start + 5 + 2 * components : 2]:
            bits = missing.setdefault(component, [1] * _COEFFICIENTS)
            bits[first : last + 1] = [approximation & 15] * len(bits[first : last + 1])
    return len(missing) < picture.frame.components or any(any(bits) for bits in missing.values())


def _libjpeg_words(picture: _Picture, data: bytes) -> tuple[str, ...]:
    """Return what libjpeg says of a file, which it decodes as fast as it can."""
    import cv2

    return overheard(lambda: opencv_pixels(picture.source, [data], cv2.IMREAD_REDUCED_GRAYSCALE_8))[1]


def _first_bad_scan(picture: _Picture) -> int:
    """Return the first scan of which libjpeg complains."""
    low, high = 0, len(picture.scans.starts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _libjpeg_words(picture, picture.cut(middle + 1)) else (middle + 1, high)
    return low


def _first_bad_unit(picture: _Picture, scan: int) -> int | None:
    """Return the first row of units of a scan that is damaged; None where that cannot be told, or none is.

    The picture is made to end at one row after another: libjpeg says the same as of the whole as long as the damage is
    in it, and otherwise wonders only about the bytes that are left over.
    """
    data = picture.only(scan)
    whole = _libjpeg_words(picture, data) if data else ()
    if not data or not whole:
        return None
    low, high = 1, -(-picture.frame.height // picture.frame.unit)
    while low < high:
        middle = (low + high) // 2
        ending = bytearray(data)
        struct.pack_into(">H", ending, picture.height_at, middle * picture.frame.unit)
        same = _libjpeg_words(picture, bytes(ending))[:1] == whole[:1]
        low, high = (low, middle) if same else (middle + 1, high)
    if low == -(-picture.frame.height // picture.frame.unit) and _LEFT_OVER.search(whole[0]):
        return None
    return low - 1

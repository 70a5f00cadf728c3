"""The compressed data of a JPEG: its scans, whether they are whole, and from which row on they are not.

Source: ITU-T T.81 annexes B and G, and libjpeg's jdmarker.c, jdhuff.c and jerror.h for what its warnings mean.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from facerestore.io._files import Buffer
from facerestore.io._opencv import opencv_pixels
from facerestore.io._overheard import overheard
from facerestore.io._source import Source

START_OF_SCAN, END_OF_IMAGE, HEIGHT = 0xDA, 0xD9, 0xDC
# TEM and RST0 to RST7, SOI: markers without a body.
BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
# In compressed data, 0xFF is followed by a zero byte or a restart marker (B.1.1.5); 0xFF may also fill (B.1.1.2).
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END = b"\xff\xd9"
# EXIF, profile and extended XMP of the longest take some hundred segments.
MAX_SEGMENTS = 10_000
# libjpeg goes over the whole picture for each scan. Encoders make ten or so; one that tries for the smallest file, 20.
_PLAIN_SCANS, _MAX_SCANS, _MAX_SCANNED_PIXELS = 32, 500, 2**28
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_PADDING_BYTES = 16  # some writers end on a multiple of so many
_COEFFICIENTS = 64


@dataclass(frozen=True, slots=True)
class Scans:
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
class Picture:
    """A JPEG cut into what decodes it.

    Attributes:
        source: the file.
        head: up to its first scan: tables and frame, and of the rest what tells the colour space.
        scans: where the compressed data lie.
        height_at: place of the height within the head.
        height: in pixels.
        components: number of its colours.
        unit: rows of pixels that are compressed together.
    """

    source: Source
    head: bytes
    scans: Scans
    height_at: int
    height: int
    components: int
    unit: int

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
        tables = b"".join(_tables_behind(data, start) for start in starts[:scan])
        end = (*starts, self.scans.end)[scan + 1]
        return b"".join((self.head, tables, data[starts[scan] : end], _END))


def find_scans(source: Source, position: int) -> Scans:
    """Return where the scans lie, the marker of the first of which is at ``position``.

    Raises:
        ImageError: more segments than any picture has.
    """
    data, starts, height = source.data, [position], None
    position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            return Scans(tuple(starts), None, height)
        marker, position = data[found.end() - 1], found.end()
        if marker == END_OF_IMAGE:
            return Scans(tuple(starts), position, height)
        if marker == START_OF_SCAN:
            starts.append(position - 2)
        if marker == HEIGHT:
            height = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker not in BARE_MARKERS:  # another segment, whose body may hold any bytes
            position += int.from_bytes(data[position : position + 2], "big")
    raise source.excessive("segments", MAX_SEGMENTS)


def check_cost(source: Source, scans: Scans, pixels: int) -> None:
    """Raise ImageError where a picture has so many scans that it would take minutes."""
    count = len(scans.starts)
    if count > _MAX_SCANS or (count > _PLAIN_SCANS and count * pixels > _MAX_SCANNED_PIXELS):
        raise source.excessive("scans", min(_MAX_SCANS, max(_PLAIN_SCANS, _MAX_SCANNED_PIXELS // pixels)))


def damage_of(picture: Picture, lines: Sequence[str]) -> tuple[str | None, str | None]:
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
        picture.source.check_rows(unit * picture.unit, picture.height)
    # Where the data are all there, what is read of them may go wrong for a while before it makes no sense.
    latest = "" if picture.scans.end is None else ", at the latest"
    return f"from row {unit * picture.unit} on{of}{latest}", None


def _lacks_scans(picture: Picture) -> bool:
    """Return whether there are coefficients whose last bits no scan gives (G.1.1.1.2)."""
    data, missing = picture.source.data, dict[int, list[int]]()
    for start in picture.scans.starts:
        components = data[start + 4]
        first, last, approximation = data[start + 5 + 2 * components : start + 8 + 2 * components]
        for component in data[start + 5 : start + 5 + 2 * components : 2]:
            bits = missing.setdefault(component, [1] * _COEFFICIENTS)
            bits[first : last + 1] = [approximation & 15] * len(bits[first : last + 1])
    return len(missing) < picture.components or any(any(bits) for bits in missing.values())


def said(picture: Picture, data: bytes) -> tuple[str, ...]:
    """Return what libjpeg says of a file, which it decodes as fast as it can."""
    import cv2

    return overheard(lambda: opencv_pixels(picture.source, [data], cv2.IMREAD_REDUCED_GRAYSCALE_8))[1]


def _first_bad_scan(picture: Picture) -> int:
    """Return the first scan of which libjpeg complains."""
    low, high = 0, len(picture.scans.starts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if said(picture, picture.cut(middle + 1)) else (middle + 1, high)
    return low


def _first_bad_unit(picture: Picture, scan: int) -> int | None:
    """Return the first row of units of a scan that is damaged; None where that cannot be told, or none is.

    The picture is made to end at one row after another: libjpeg says the same as of the whole as long as the damage is
    in it, and otherwise wonders only about the bytes that are left over.
    """
    data = picture.only(scan)
    whole = said(picture, data) if data else ()
    if not data or not whole:
        return None
    low, high = 1, -(-picture.height // picture.unit)
    while low < high:
        middle = (low + high) // 2
        ending = bytearray(data)
        struct.pack_into(">H", ending, picture.height_at, middle * picture.unit)
        same = said(picture, bytes(ending))[:1] == whole[:1]
        low, high = (low, middle) if same else (middle + 1, high)
    if low == -(-picture.height // picture.unit) and _LEFT_OVER.search(whole[0]):
        return None
    return low - 1


def _tables_behind(data: bytes, start: int) -> bytes:
    """Return the segments that follow the compressed data of the scan at a position, up to the next scan."""
    position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    pieces = []
    while (found := _MARKER.search(data, position)) and data[found.end() - 1] not in (
        START_OF_SCAN,
        END_OF_IMAGE,
    ):
        position = found.end()
        if data[position - 1] not in BARE_MARKERS:
            position += int.from_bytes(data[position : position + 2], "big")
        pieces.append(data[found.start() : position])
    return b"".join(pieces)

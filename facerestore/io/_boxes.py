"""What HEIF and AVIF state of their picture in boxes, before a pixel is decoded, and their samples of 10 and 12 bits.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (HEIF), the AV1 codec's ISO binding 2.3, H.273, C2PA 2.1 (A.5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from facerestore.io import _claims
from facerestore.io._source import Samples, Source
from facerestore.types import Metadata, Part

FAMILY = "HEIF"
"""The format of the parts that both formats have: what one holds, the other does."""
DEPTH, CHROMA, NCLX = b"depth", b"chroma", b"nclx"
"""Keys of parts: bits of a sample where they are more than 8, 1 byte; chroma where it is ``444``; H.273 numbers of the
primaries and of the transfer, 16 bits each."""

_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MOST_BOXES = 2**12
# Primaries and transfer that sRGB has, or that nobody stated (H.273 tables 2 and 3).
_AS_SRGB = {(1, 13), (1, 2), (2, 2), (2, 13)}


class _Box(NamedTuple):
    """The kind of a box, and the span of its content."""

    kind: bytes
    start: int
    end: int


@dataclass(slots=True)
class Stated:
    """What the boxes of a file state.

    Attributes:
        bits: of a sample of the primary picture.
        turned: a property turns or mirrors it.
        colours: its primaries and its transfer; None where none are stated.
        dropped: words for what lies beside it and does not come along.
    """

    bits: int = 8
    turned: bool = False
    colours: tuple[int, int] | None = None
    dropped: list[str] = field(default_factory=list)

    def parts(self, icc: bytes | None) -> tuple[Part, ...]:
        """Return what the picture's own family has beside pixels, EXIF, XMP and a profile.

        Args:
            icc: its profile, which counts before stated primaries.
        """
        found = [Part(FAMILY, DEPTH, bytes([self.bits]))] if self.bits > 8 else []
        if self.colours is not None and self.colours not in _AS_SRGB and icc is None:
            found.append(Part(FAMILY, NCLX, struct.pack(">HH", *self.colours)))
        return tuple(found)


def read_boxes(source: Source) -> Stated:
    """Return what the boxes of a file state.

    Raises:
        ImageError: there are more of them than a picture needs.
        ValueError: they contradict themselves.
    """
    data, stated, described = source.data, Stated(), False
    outer = _boxes(source, 0, len(data))
    while (box := _next_box(outer, whole=described, stated=stated)) is not None:
        if box.kind == b"meta":
            _read_meta(source, box, stated)
            described = True
        elif box.kind == b"uuid" and data[box.start : box.start + 16] == _C2PA:
            stated.dropped.append(_claims.CREDENTIALS)
    return stated


def _next_box(boxes: Iterator[_Box], *, whole: bool, stated: Stated) -> _Box | None:
    """Return the next box; None at the end, which, where the picture is ``whole``, is where something else follows."""
    try:
        return next(boxes, None)
    except ValueError:
        if not whole:
            raise
        stated.dropped.append(_claims.TRAILER)
        return None


def _boxes(source: Source, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two places of a file."""
    data = source.data
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind, head = struct.unpack_from(">I", data, start)[0], data[start + 4 : start + 8], 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        size = size or end - start
        if size < head or start + size > end:
            raise ValueError(f"box '{kind.decode('latin-1')}' states {size} bytes of {end - start}")
        yield _Box(kind, start + head, start + size)
        start += size
    raise source.excessive("boxes", _MOST_BOXES)


def _read_meta(source: Source, meta: _Box, stated: Stated) -> None:
    """Take up what the description of the pictures states (ISO/IEC 14496-12, 8.11)."""
    data, primary, words = source.data, 0, stated.dropped
    inner = {box.kind: box for box in _boxes(source, meta.start + 4, meta.end)}
    if (box := inner.get(b"pitm")) is not None:
        primary = struct.unpack_from(">I" if data[box.start] else ">H", data, box.start + 4)[0]
    if (box := inner.get(b"iref")) is not None and any(
        one.kind == b"thmb" for one in _boxes(source, box.start + 4, box.end)
    ):
        words.append(_claims.PREVIEWS)
    if (box := inner.get(b"iinf")) is not None and b"tmap" in data[box.start : box.end]:
        words.append(_claims.GAIN_MAP)
    if (box := inner.get(b"iprp")) is None:
        return
    properties: list[_Box] = []
    chosen: set[int] = set()
    for part in _boxes(source, box.start, box.end):
        if part.kind == b"ipco":
            properties = list(_boxes(source, part.start, part.end))
        elif part.kind == b"ipma":
            chosen |= _associated(data, part, primary)
    for number, found in enumerate(properties, 1):
        if found.kind == b"auxC":
            words += _auxiliary_words(data[found.start + 4 : found.end])
        elif number in chosen:
            _read_property(data[found.start : found.end], found.kind, stated)


def _associated(data: bytes, box: _Box, item: int) -> set[int]:
    """Return the numbers of the properties that a picture has (ISO/IEC 23008-12, 9.3)."""
    version, flags = data[box.start], data[box.start + 3]
    count, place = struct.unpack_from(">I", data, box.start + 4)[0], box.start + 8
    found: set[int] = set()
    for _ in range(count):
        number = struct.unpack_from(">I" if version else ">H", data, place)[0]
        place += 4 if version else 2
        code, mask = (">H", 0x7FFF) if flags & 1 else (">B", 0x7F)
        size = struct.calcsize(code)
        entries = data[place]
        if number == item:
            found |= {
                struct.unpack_from(code, data, place + 1 + size * index)[0] & mask for index in range(entries)
            }
        place += 1 + size * entries
    return found


def _read_property(body: bytes, kind: bytes, stated: Stated) -> None:
    """Take up one property of the primary picture."""
    if kind in (b"irot", b"imir"):
        stated.turned = True
    elif kind == b"av1C":
        stated.bits = max(stated.bits, 8 + 2 * (body[2] >> 6 & 1) + 2 * (body[2] >> 6 & body[2] >> 5 & 1))
    elif kind == b"hvcC":
        stated.bits = max(stated.bits, 8 + (body[17] & 7))
    elif kind == b"pixi":
        stated.bits = max(stated.bits, *body[5:], 8)
    elif kind == b"colr" and body[:4] == NCLX:
        stated.colours = struct.unpack_from(">HH", body, 4)


def _auxiliary_words(name: bytes) -> list[str]:
    """Return words for a picture that goes with another, by the name of what it is; none for transparency."""
    name = name.partition(b"\x00")[0].lower()
    if b"alpha" in name or name.endswith(b"auxid:1"):
        return []
    if b"gainmap" in name:
        return [_claims.GAIN_MAP]
    return [_claims.DEPTH if b"depth" in name or name.endswith(b"auxid:2") else _claims.AUXILIARY]


def depth_of(metadata: Metadata, usual: int) -> int:
    """Return the bits of a sample that a picture of more than 8 is written with: those that it had, or the usual."""
    stated = metadata.body_of(DEPTH)
    return stated[0] if stated else usual


def widened(samples: Samples, bits: int) -> Samples:
    """Return uint16 samples of 10 to 16 bits over the whole range of 16; `narrowed` gives them back as they were."""
    if bits >= 16:
        return samples
    wide: Samples = samples << (16 - bits) | samples >> (2 * bits - 16)
    return wide


def narrowed(samples: Samples, bits: int) -> Samples:
    """Return uint16 samples with so many bits, the first ones."""
    narrow: Samples = samples >> np.uint16(16 - bits)
    return narrow

"""Photoshop's image resources and the IPTC records among them.

Source: Adobe Photoshop File Formats Specification (image resources), IPTC-NAA Information Interchange Model 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import md5
from typing import NamedTuple

from facerestore.io._claims import PACKING, PREVIEWS, settled_xmp

_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
IPTC_RESOURCE = 0x0404
_IPTC_DIGEST, _RESOLUTION = 0x0425, 0x03ED
_EXIF_RESOURCES, _XMP_RESOURCE, _ICC_RESOURCE = (0x0422, 0x0423), 0x0424, 0x040F
_THUMBNAILS = (0x0409, 0x040C)
# How Photoshop compressed the old file, and the palette of an indexed picture.
_QUALITY, _INDEXED = 0x0406, (0x03FE, 0x0416, 0x0417)
# Paths and the name of the clipping path: fractions of the picture as it was stored, before it was turned.
_PATHS = (*range(0x07D0, 0x0BB7), 0x0BB7)
# Slices, guides and selections, in pixels.
_IN_PIXELS = (0x0408, 0x041A)
PATHS_WORDS = "Photoshop's paths and guides, which lie on the picture as it was"
DAMAGED_WORDS = "damaged part of Photoshop's image resources"
# Preview formats and data of record 2; records 7 to 9 hold the object itself.
_IPTC_PREVIEW = {(2, 200), (2, 201), (2, 202)}
_IPTC_OBJECT = (7, 8, 9)


# Numbers have 16 bits, and Photoshop writes some dozens of them.
_MOST_RESOURCES = 2**13


class Resource(NamedTuple):
    """One resource: its signature, number, Pascal name as stored, and data."""

    signature: bytes
    number: int
    name: bytes
    data: bytes


def resources(block: bytes) -> Iterator[Resource]:
    """Yield the resources of a block, up to the first thing that is none, and no more than anybody has."""
    position = 0
    for _ in range(_MOST_RESOURCES):
        if block[position : position + 4] not in _SIGNATURES or position + 12 > len(block):
            return
        number = struct.unpack_from(">H", block, position + 4)[0]
        name_end = position + 7 + block[position + 6]
        name_end += (name_end - position) % 2
        if name_end + 4 > len(block):
            return
        start = name_end + 4
        end = start + struct.unpack_from(">I", block, name_end)[0]
        if end > len(block):
            return
        yield Resource(
            block[position : position + 4], number, block[position + 6 : name_end], block[start:end]
        )
        position = end + (end - start) % 2


def packed(items: Iterable[Resource]) -> bytes:
    """Return the block of resources."""
    return b"".join(
        item.signature + struct.pack(">H", item.number) + item.name + struct.pack(">I", len(item.data))
        + item.data + bytes(len(item.data) % 2)
        for item in items
    )  # fmt: skip


def settled(block: bytes, turn: int, words: list[str]) -> bytes | None:
    """Return a block as it is true of the picture turned upright.

    Args:
        block: resources as found.
        turn: the orientation that was applied.
        words: to which is added what was taken out.
    """
    kept = []
    iptc_before = iptc_after = b""
    for item in resources(block):
        word = _word_for(item.number, turn)
        if item.number in (*_EXIF_RESOURCES, _ICC_RESOURCE, *_INDEXED) or word:
            words += [word] if word else []
            continue
        data = item.data
        if item.number == IPTC_RESOURCE:
            iptc_before, iptc_after = data, settled_iptc(data, words)
            data = iptc_after
        elif item.number == _XMP_RESOURCE:
            data = settled_xmp(data, turn, words) or b""
        elif item.number == _RESOLUTION and turn >= 5 and len(data) >= 16:
            data = data[8:16] + data[:8] + data[16:]
        kept.append(item._replace(data=data))
    consumed = sum(len(packed([item])) for item in resources(block))
    words += [DAMAGED_WORDS] if any(block[consumed:]) else []
    if iptc_before != iptc_after:
        kept = [_redigested(item, iptc_before, iptc_after) for item in kept]
    return packed(kept) or None


def _word_for(number: int, turn: int) -> str | None:
    """Return the word for a resource that does not come along; None for one that does, or needs no word."""
    if number in _THUMBNAILS:
        return PREVIEWS
    if number == _QUALITY:
        return PACKING
    return PATHS_WORDS if turn != 1 and number in (*_PATHS, *_IN_PIXELS) else None


def without_pixel_places(block: bytes, words: list[str]) -> bytes | None:
    """Return a block without what is given in pixels of another size, and add words for it."""
    items = list(resources(block))
    kept = [item for item in items if item.number not in _IN_PIXELS]
    words += [PATHS_WORDS] if len(kept) < len(items) else []
    return packed(kept) or None


def _redigested(item: Resource, before: bytes, after: bytes) -> Resource:
    """Return a resource; the digest of the IPTC records, where it was right before, is right again."""
    if item.number != _IPTC_DIGEST or item.data != _digest(before):
        return item
    return item._replace(data=_digest(after))


def _digest(records: bytes) -> bytes:
    return md5(records, usedforsecurity=False).digest()


def settled_iptc(records: bytes, words: list[str]) -> bytes:
    """Return IPTC records without the preview and the object they may hold, and add words for these.

    Bytes that are no records stay as they are.
    """
    kept, begun, position = [], 0, 0
    while position + 5 <= len(records) and records[position] == 0x1C:
        record, number, size = struct.unpack_from(">BBH", records, position + 1)
        start = position + 5
        if size & 0x8000:  # the length of the length of a long one
            start += size & 0x7FFF
            size = int.from_bytes(records[position + 5 : min(start, position + 9)], "big")
        end = start + size
        if (record, number) in _IPTC_PREVIEW or record in _IPTC_OBJECT:
            kept.append(records[begun:position])
            begun = end
        position = end
    words += [PREVIEWS] if kept else []
    return b"".join((*kept, records[begun:]))


def iptc_of(block: bytes | None) -> bytes | None:
    """Return the IPTC records of a block; None where it has none."""
    return next((item.data for item in resources(block or b"") if item.number == IPTC_RESOURCE), None)


def with_iptc(block: bytes | None, records: bytes | None) -> bytes | None:
    """Return a block with IPTC records in it, where it has none yet."""
    if not records or iptc_of(block) is not None:
        return block
    return packed([Resource(b"8BIM", IPTC_RESOURCE, b"\x00\x00", records)]) + (block or b"")


def without_iptc(block: bytes | None) -> bytes | None:
    """Return a block without its IPTC records, for a file that has another place for them."""
    return packed(item for item in resources(block or b"") if item.number != IPTC_RESOURCE) or None

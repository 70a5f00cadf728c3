"""Pages, each written as a TIFF of its own, put together as one. Source: TIFF 6.0 section 2."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from facerestore.errors import ImageError
from facerestore.io import _exif, _makernote
from facerestore.io._exif import LONG, Layout
from facerestore.io._tiff_page import STRIP_OFFSETS

_MAX_BYTES = 2**32
_ENTRY_BYTES, _INLINE_BYTES = 12, 4


def joined(pages: Iterable[bytes]) -> bytearray:
    """Return one TIFF of the pages of several, in their order.

    Each is put behind the ones before it as it is, and its offsets are moved.

    Args:
        pages: classic TIFF files of one page, all of one byte order, as `_tiff.encode` makes them.

    Raises:
        ImageError: over 4 GB.
    """
    file, link = bytearray(), 0
    for page in pages:
        file += bytes(len(file) % 2)
        base = len(file)
        layout, start = _exif.read_layout(page)
        file += page
        if len(file) >= _MAX_BYTES:
            raise ImageError(
                f"TIFF cannot hold {len(file)} bytes (at most 4 GB); restore the pages one by one"
            )
        if base:
            _move(file, base + start, base, layout)
            struct.pack_into(layout.order + "I", file, link, base + start)
        count = struct.unpack_from(layout.order + "H", file, base + start)[0]
        link = base + start + 2 + _ENTRY_BYTES * count
    return file


def _move(file: bytearray, start: int, base: int, layout: Layout) -> None:
    """Add ``base`` to the offsets of the directory at ``start`` and of those below it, in place."""
    order = layout.order
    for number in range(struct.unpack_from(order + "H", file, start)[0]):
        slot = start + 2 + _ENTRY_BYTES * number
        tag, kind, count = struct.unpack_from(order + "HHI", file, slot)
        place, size = slot + 8, _exif.size_of(kind) * count
        if size > _INLINE_BYTES:
            place = struct.unpack_from(order + "I", file, place)[0] + base
            struct.pack_into(order + "I", file, slot + 8, place)
        if tag == STRIP_OFFSETS and kind == LONG:
            offsets = struct.unpack_from(f"{order}{count}I", file, place)
            struct.pack_into(f"{order}{count}I", file, place, *(offset + base for offset in offsets))
        elif tag in _exif.POINTERS:
            child = struct.unpack_from(order + "I", file, place)[0] + base
            struct.pack_into(order + "I", file, place, child)
            _move(file, child, base, layout)
        elif tag == _makernote.TAG:
            _makernote.move(file, place, size, order, by=base)

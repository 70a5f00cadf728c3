"""Maker notes: previews in them, which show the photo as it was, are blotted out with the entries that lead to them.

Makers publish nothing. Where their directories start and what offsets count from is as ExifTool describes it
(https://exiftool.org/makernote_types.html); what fits none of it is left alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from facerestore.io import _exif
from facerestore.io._exif import LONG, Directory, Layout

TAG = 0x927C
"""The entry of the EXIF directory that holds the note."""

JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_UNDEFINED = 7
_MOST_ENTRIES = 2**9
_MOST_DIRECTORIES = 2**6


class _Form(NamedTuple):
    """How a maker's notes start: where the directory is, what offsets count from, where the byte order stands.

    Offsets are from the start of the note; ``base`` is None where they count from the start of the EXIF block.
    ``preview`` are the entries of a preview, the last two of which are its place and length: what they point at may
    lie behind the block, where nothing comes along.
    """

    prefix: bytes
    directory: int
    base: int | None = None
    order: int | str | None = None
    preview: tuple[int, ...] = ()


_THUMBNAIL = (0x0201, 0x0202)
_MINOLTA = (0x0088, 0x0089)
_PENTAX = (0x0002, 0x0003, 0x0004)
_OLYMPUS_SETTINGS = (0x0100, 0x0101, 0x0102)
_FORMS = (
    _Form(b"Nikon\x00\x02", 18, 10, 10),
    _Form(b"Nikon\x00\x01", 8),
    _Form(b"OLYMPUS\x00", 12, 0, 8, _OLYMPUS_SETTINGS),
    _Form(b"OM SYSTEM\x00", 16, 0, 12, _OLYMPUS_SETTINGS),
    _Form(b"OLYMP\x00", 8, None, None, _MINOLTA),
    _Form(b"EPSON\x00", 8),
    _Form(b"SANYO\x00", 8),
    _Form(b"SONY ", 12),
    _Form(b"VHAB ", 12),
    _Form(b"AOC\x00", 6, None, 4, _PENTAX),
    _Form(b"PENTAX \x00", 10, 0, 8, _PENTAX),
    _Form(b"Panasonic\x00", 12),
    _Form(b"LEICA\x00", 8),
    _Form(b"FUJIFILM", 12, 0, "<"),
    _Form(b"Apple iOS\x00", 14, 0, 12),
    _Form(b"QVC\x00", 6, None, ">", _PENTAX),
    _Form(b"SIGMA\x00", 10),
    _Form(b"FOVEON\x00", 10),
    _Form(b"Ricoh", 8),
    _Form(b"RICOH", 8),
    _Form(b"", 0, None, None, _MINOLTA),
)


def blot_previews(block: bytearray, start: int, order: str) -> bool:
    """Fill the previews that a maker note holds or points at with zeros, and take out their entries, in place.

    Args:
        block: the EXIF block.
        start: of the note in it.
        order: byte order of the block.

    Returns:
        Whether there were any.
    """
    form = next(form for form in _FORMS if block.startswith(form.prefix, start))
    base = 0 if form.base is None else start + form.base
    view, found = bytes(block[base:]), False
    own = _own_order(block, start, form) or _order_at(view, start + form.directory - base, order)
    for directory in _directories(view, start + form.directory - base, own):
        doomed: set[int] = set()
        for tag in directory.fields:
            doomed |= _blot_preview(block, base, tag, directory)
        for tags in (_THUMBNAIL, form.preview):
            if _leads_to_preview(directory, tags, len(block) - base):
                doomed |= set(tags)
        found |= _exif.without_entries(block, base + directory.start, doomed, own) > 0
    return found


def move(block: bytearray, start: int, size: int, order: str, *, by: int) -> None:
    """Let the offsets of a note that count from the start of the block lead to the same bytes again, in place.

    Args:
        block: the EXIF block, into which the note was moved.
        start: where the note is now.
        size: of the note.
        order: byte order of the block.
        by: how far it was moved.
    """
    form = next(form for form in _FORMS if block.startswith(form.prefix, start))
    if form.base is not None or not by:
        return
    old = start - by
    # Read as it lay before: with as many bytes in front of it.
    view = bytes(old) + bytes(block[start : start + size]) if old >= 0 else b""
    own = _own_order(block, start, form) or _order_at(view, old + form.directory, order)
    for directory in _directories(view, old + form.directory, own):
        for entry in directory.fields.values():
            slot = entry.slot + by
            number = (
                struct.unpack_from(own + "I", block, slot + 8)[0] if start <= slot <= start + size - 12 else 0
            )
            is_pointer = entry.number is not None and entry.slot + 8 == entry.position
            if (entry.position != entry.slot + 8 or (is_pointer and _is_directory(view, number, own))) and (
                old <= number < old + size
            ):
                struct.pack_into(own + "I", block, slot + 8, number + by)


def _order_at(view: bytes, place: int, order: str) -> str:
    """Return the byte order of the directory at a place: that of the block, or the other, of which programs make it."""
    other = "<>".replace(order, "")
    return other if _is_directory(view, place, other) and not _is_directory(view, place, order) else order


def _is_directory(view: bytes, place: int, order: str) -> bool:
    """Say whether a whole directory stands at a place."""
    if not 0 < place <= len(view) - 2:
        return False
    count = int(struct.unpack_from(order + "H", view, place)[0])
    try:
        directory = _exif.read_directory(view, place, Layout(order), depth=2)
    except ValueError:
        return False
    return 0 < count <= _MOST_ENTRIES and len(directory.fields) == count


def _own_order(block: bytearray, start: int, form: _Form) -> str | None:
    """Return the byte order that a note has of its own."""
    if isinstance(form.order, int):
        mark = bytes(block[start + form.order : start + form.order + 2])
        return {b"II": "<", b"MM": ">"}.get(mark)
    return form.order


def _directories(view: bytes, offset: int, order: str) -> Iterator[Directory]:
    """Yield the directory at an offset and those that it leads to, as far as they can be read."""
    waiting, seen = [offset], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if place != offset and not _is_directory(view, place, order):
            continue
        try:
            directory = _exif.read_directory(view, place, Layout(order), depth=2)
        except ValueError:
            continue
        yield directory
        for entry in directory.fields.values():
            if entry.number is not None:
                waiting.append(entry.number)
            elif entry.kind == _UNDEFINED and entry.count >= 18:
                waiting.append(entry.position)


def _blot_preview(block: bytearray, base: int, tag: int, directory: Directory) -> set[int]:
    """Blot out the preview that an entry holds, or that stands where its number says; return the tags that told it."""
    entry = directory.fields[tag]
    if JPEG_START in entry.value:
        block[base + entry.position : base + entry.position + len(entry.value)] = bytes(len(entry.value))
        return {tag}
    if entry.number is None or not block.startswith(JPEG_START, base + entry.number):
        return set()
    start = base + entry.number
    for other, length in directory.fields.items():
        if length.kind == LONG and length.number is not None:
            end = start + length.number
            if end <= len(block) and block[end - 2 : end] == _JPEG_END:
                block[start:end] = bytes(end - start)
                return {tag, other}
    return {tag}


def _leads_to_preview(directory: Directory, tags: tuple[int, ...], size: int) -> bool:
    """Say whether entries are the place and the length of a thumbnail, or of another preview behind the block."""
    entries = [directory.fields.get(tag) for tag in tags[-2:]]
    values = [e.number for e in entries if e and e.kind == LONG and e.number is not None]
    return len(values) == 2 and (tags == _THUMBNAIL or sum(values) > size)

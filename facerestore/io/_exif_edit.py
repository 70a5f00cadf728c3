"""EXIF, changed where it stands: maker notes hold offsets into the whole block, so that it is never written anew.

Source: EXIF 2.32 section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Set

from facerestore.io import _exif, _makernote
from facerestore.io._claims import PREVIEWS
from facerestore.io._exif import LONG, SHORT, TEXT, Directory, Field, field_of

_COLOUR_SPACE = 0xA001
BITS, SAMPLES = 0x0102, 0x0115
# Bits, compression, kind of colours, samples, planes; and how YCbCr is stored.
_STRUCTURE = frozenset((BITS, 0x0103, 0x0106, SAMPLES, 0x011C, 0x0211, 0x0212, 0x0213, 0x0214))
_SUBJECT = frozenset((0x9214, 0xA214))
_SUBJECT_WORDS = "subject area, given in pixels of the picture as it was"
_SIZES = (
    ((), 0x0100, 0x0101),
    ((_exif.EXIF_POINTER,), 0xA002, 0xA003),
    ((_exif.EXIF_POINTER, _exif.INTEROP_POINTER), 0x1001, 0x1002),
)
_JPEG_OFFSET, _JPEG_LENGTH, _STRIP_OFFSETS, _STRIP_BYTES = 0x0201, 0x0202, 0x0111, 0x0117
# Entries of the first directory that point at pixels, which a block of its own has none of: strips, tiles, reduced
# copies (TIFF 6.0), a JPEG thumbnail, and the thumbnail of Windows' GDI+.
_PIXEL_POINTERS = frozenset(
    (_STRIP_OFFSETS, _STRIP_BYTES, 0x0144, 0x0145, 0x014A, _JPEG_OFFSET, _JPEG_LENGTH, 0x501B)
)


def opened(exif: bytes | None) -> Directory:
    """Return the first directory of an EXIF block; one at 0 that holds nothing where it cannot be read or patched."""
    try:
        directory = _exif.first_directory(exif or b"")
    except (ValueError, struct.error):
        return Directory()
    return Directory() if directory.layout.big else directory


def _edited(exif: bytes, change: Callable[[bytearray, Directory], object]) -> bytes:
    """Return an EXIF block that was changed where it stands; one that cannot be read as it is."""
    directory, block = opened(exif), bytearray(exif)
    if directory.start:
        change(block, directory)
    return bytes(block)


def settled(exif: bytes, turn: int, words: list[str]) -> bytes:
    """Return an EXIF block as it is true of the picture turned upright.

    The orientation becomes 1, resolutions go with their axes, thumbnails and previews are blotted out with their
    entries. A block that cannot be read is carried as it is.

    Args:
        exif: without its ``Exif`` prefix.
        turn: the orientation that was applied.
        words: to which is added what was taken out.
    """
    directory, block = opened(exif), bytearray(exif)
    if not directory.start:
        return exif
    order = directory.layout.order
    # In every entry of the tag, of whatever type: readers differ in which they take.
    for slot in range(directory.start + 2, directory.next_position, 12):
        if struct.unpack_from(order + "H", block, slot)[0] == _exif.ORIENTATION:
            struct.pack_into(order + "HIHH", block, slot + 2, SHORT, 1, 1, 0)
    if turn >= 5:
        _swap_resolution(block, directory)
    if turn != 1:
        _drop_subject(block, directory, words)
    pointers = _drop_tags(block, directory, _PIXEL_POINTERS)
    directory.next_position -= 12 * pointers
    end = _blot_thumbnail(block, directory)
    if directory.next_offset:
        block[directory.next_position : directory.next_position + 4] = bytes(4)
    if _drop_previews(block, directory) or pointers or directory.next_offset:
        words.append(PREVIEWS)
    return bytes(block[:end])


def _drop_tags(block: bytearray, directory: Directory, tags: Set[int]) -> int:
    """Take entries out of a directory; return how many there were."""
    return _exif.without_entries(
        block, directory.start, tags & directory.fields.keys(), directory.layout.order
    )


def _swap_resolution(block: bytearray, directory: Directory) -> None:
    """Let the resolutions across and down change places."""
    fields = [directory.fields.get(tag) for tag in (_exif.X_RESOLUTION, _exif.Y_RESOLUTION)]
    for entry, other in zip(fields, reversed(fields), strict=True):
        if entry and other and entry.kind == other.kind and entry.count == other.count:
            block[entry.position : entry.position + len(entry.value)] = other.value


def _drop_subject(block: bytearray, directory: Directory, words: list[str]) -> None:
    """Take out where the subject is, in pixels of a picture that has another size or way up, and add words for it."""
    if _drop_tags(block, directory.child(_exif.EXIF_POINTER), _SUBJECT):
        words.append(_SUBJECT_WORDS)


def _drop_previews(block: bytearray, directory: Directory) -> bool:
    """Take previews out of the maker note, or all of it where they cannot be found; return whether there were any."""
    child, order = directory.child(_exif.EXIF_POINTER), directory.layout.order
    note = child.fields.get(_makernote.TAG)
    if note is None:
        return False
    dropped = _makernote.blot_previews(block, note.position, order)
    end = note.position + len(note.value)
    if _makernote.JPEG_START in block[note.position : end]:
        block[note.position : end] = bytes(len(note.value))
        dropped |= _drop_tags(block, child, {_makernote.TAG}) > 0
    return dropped


def _blot_thumbnail(block: bytearray, directory: Directory) -> int:
    """Fill the thumbnail of the second directory with zeros; return where the block ends without it."""
    if not directory.next_offset:
        return len(block)
    try:
        second = _exif.read_directory(bytes(block), directory.next_offset, directory.layout)
    except ValueError:
        return len(block)
    used = [(0, 8), *directory.spans]
    for offsets, lengths in ((_JPEG_OFFSET, _JPEG_LENGTH), (_STRIP_OFFSETS, _STRIP_BYTES)):
        for start, size in zip(second.integers(offsets), second.integers(lengths), strict=False):
            end = min(start + size, len(block))
            if start < end and not any(start < upper and lower < end for lower, upper in used):
                block[start:end] = bytes(end - start)
                if end >= len(block) - 1:  # it may be padded to an even length
                    return start
    return len(block)


def with_size(exif: bytes, width: int, height: int) -> bytes:
    """Return an EXIF block whose entries of width and height, where it has any, state the given pixels."""

    def change(block: bytearray, directory: Directory) -> None:
        for path, across, down in _SIZES:
            parent = directory
            for tag in path:
                parent = parent.child(tag)
            for tag, value in ((across, width), (down, height)):
                entry = parent.fields.get(tag)
                if entry is not None and entry.count == 1 and entry.integers() != (value,):
                    _set_integer(block, entry, value)

    return _edited(exif, change)


def without_subject(exif: bytes, words: list[str]) -> bytes:
    """Return an EXIF block without what is given in pixels of another size, and add words for that."""
    return _edited(exif, lambda block, directory: _drop_subject(block, directory, words))


def _set_integer(block: bytearray, entry: Field, value: int) -> None:
    """Let an entry of one number state another, as a long one where a short one cannot."""
    made = field_of(SHORT if entry.kind == SHORT and value < 2**16 else LONG, (value,), entry.order)
    struct.pack_into(entry.order + "HI4s", block, entry.slot + 2, made.kind, 1, made.value)


def in_srgb(exif: bytes) -> bytes:
    """Return an EXIF block that, where it states a colour space, states sRGB."""

    def change(block: bytearray, directory: Directory) -> None:
        if entry := directory.child(_exif.EXIF_POINTER).fields.get(_COLOUR_SPACE):
            _set_integer(block, entry, 1)
        _drop_tags(block, directory, _STRUCTURE)

    return _edited(exif, change)


def without_structure(exif: bytes) -> bytes:
    """Return an EXIF block without the entries of its first directory on how the pixels of its file are stored."""
    return _edited(exif, lambda block, directory: _drop_tags(block, directory, _STRUCTURE))


def with_texts(exif: bytes | None, texts: Mapping[int, str]) -> tuple[bytes | None, set[int]]:
    """Return an EXIF block with further texts in its first directory, which moves to its end, and their tags.

    A tag that is there already keeps its value. A block that cannot be read stays as it is.
    """
    if exif is None:
        exif = _exif.header("<", 8) + bytes(6)
    directory = opened(exif)
    if not directory.start:
        return exif, set()
    added = {tag: text.encode() + b"\x00" for tag, text in texts.items() if tag not in directory.fields}
    if not added:
        return (exif if directory.fields or directory.children else None), set()
    return _with_values(exif, directory, added), set(added)


def _with_values(exif: bytes, directory: Directory, values: Mapping[int, bytes]) -> bytes:
    """Return an EXIF block with entries of text added to its first directory."""
    order, table = directory.layout.order, exif[directory.start + 2 : directory.next_position]
    slots = {
        struct.unpack_from(order + "H", table, at)[0]: table[at : at + 12] for at in range(0, len(table), 12)
    }
    start = len(exif) + len(exif) % 2
    place = start + 2 + 12 * (len(slots) + len(values)) + 4
    block = bytearray(exif.ljust(start, b"\x00"))
    block[directory.start : directory.next_position] = bytes(directory.next_position - directory.start)
    block[:8] = _exif.header(order, start)
    tail = b""
    for tag, value in values.items():
        inline = len(value) <= 4
        stored = value.ljust(4, b"\x00") if inline else struct.pack(order + "I", place + len(tail))
        slots[tag] = struct.pack(order + "HHI", tag, TEXT, len(value)) + stored
        tail += b"" if inline else value + bytes(len(value) % 2)
    rows = b"".join(slots[tag] for tag in sorted(slots))
    return bytes(block) + struct.pack(order + "H", len(slots)) + rows + bytes(4) + tail

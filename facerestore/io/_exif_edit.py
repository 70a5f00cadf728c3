"""EXIF, changed where it stands: maker notes hold offsets into the whole block, so that it is never written anew.

Source: EXIF 2.32 section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from facerestore.io import _exif, _makernote
from facerestore.io._claims import PREVIEWS
from facerestore.io._exif import LONG, SHORT, Directory, Field, Layout

_COLOUR_SPACE = 0xA001
_BITS, _SAMPLES = 0x0102, 0x0115
# Bits, compression, kind of colours, samples, planes; and how YCbCr is stored.
_STRUCTURE = frozenset((_BITS, 0x0103, 0x0106, _SAMPLES, 0x011C, 0x0211, 0x0212, 0x0213, 0x0214))
_SUBJECT = (0x9214, 0xA214)
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


def _opened(exif: bytes) -> tuple[Directory, Layout] | None:
    """Return the first directory of an EXIF block and its layout; None for one that cannot be read or patched."""
    try:
        layout, offset = _exif.read_layout(exif)
        return None if layout.big else (_exif.read_directory(exif, offset, layout), layout)
    except (ValueError, struct.error):
        return None


def _edited(exif: bytes, change: Callable[[bytearray, Directory, Layout], None]) -> bytes:
    """Return an EXIF block that was changed where it stands; one that cannot be read as it is."""
    opened = _opened(exif)
    if opened is None:
        return exif
    block = bytearray(exif)
    change(block, *opened)
    return bytes(block)


def is_sound(exif: bytes) -> bool:
    """Say whether an EXIF block can be read, and so go where its tags are those of the file."""
    return _opened(exif) is not None


def resolution_of(exif: bytes) -> tuple[float, float] | None:
    """Return the resolution that an EXIF block states, in dots per inch; None for none."""
    opened = _opened(exif)
    return _exif.resolution(*opened) if opened else None


def orientation_of(exif: bytes) -> int | None:
    """Return the orientation 1 to 8 that an EXIF block states; None for none."""
    opened = _opened(exif)
    return _exif.orientation_of(*opened) if opened else None


def settled(exif: bytes, turn: int) -> tuple[bytes, list[str]]:
    """Return an EXIF block as it is true of the picture turned upright, and words for what was taken out.

    The orientation becomes 1, resolutions go with their axes, thumbnails and previews are blotted out with their
    entries. A block that cannot be read is carried as it is.

    Args:
        exif: without its ``Exif`` prefix.
        turn: the orientation that was applied.
    """
    opened = _opened(exif)
    if opened is None:
        return exif, []
    (directory, layout), block = opened, bytearray(exif)
    # In every entry of the tag, of whatever type: readers differ in which they take.
    for slot in range(directory.start + 2, directory.next_position, 12):
        if struct.unpack_from(layout.order + "H", block, slot)[0] == _exif.ORIENTATION:
            struct.pack_into(layout.order + "HIHH", block, slot + 2, SHORT, 1, 1, 0)
    if turn >= 5:
        _swap_resolution(block, directory)
    words = _drop_subject(block, directory, layout) if turn != 1 else []
    dropped = _drop_pixels(block, directory, layout)
    end = _blot_thumbnail(block, directory, layout)
    if directory.next_offset:
        block[directory.next_position : directory.next_position + 4] = bytes(4)
    dropped |= _drop_previews(block, directory, layout)
    words += [PREVIEWS] if dropped or directory.next_offset else []
    return bytes(block[:end]), words


def _swap_resolution(block: bytearray, directory: Directory) -> None:
    """Let the resolutions across and down change places."""
    fields = [directory.fields.get(tag) for tag in (_exif.X_RESOLUTION, _exif.Y_RESOLUTION)]
    for entry, other in zip(fields, reversed(fields), strict=True):
        if entry and other and entry.kind == other.kind and entry.count == other.count:
            block[entry.position : entry.position + len(entry.value)] = other.value


def _drop_subject(block: bytearray, directory: Directory, layout: Layout) -> list[str]:
    """Take out where the subject is, in pixels of a picture that has another size or way up; return words for it."""
    child = directory.children.get(_exif.EXIF_POINTER, Directory())
    dropped = _makernote.without_entries(block, child.start, set(_SUBJECT) & set(child.fields), layout.order)
    return [_SUBJECT_WORDS] if dropped else []


def _drop_pixels(block: bytearray, directory: Directory, layout: Layout) -> bool:
    """Take out the entries that point at pixels; return whether there were any."""
    found = _PIXEL_POINTERS & set(directory.fields)
    dropped = _makernote.without_entries(block, directory.start, found, layout.order)
    directory.next_position -= 12 * dropped
    return dropped > 0


def _drop_previews(block: bytearray, directory: Directory, layout: Layout) -> bool:
    """Take previews out of the maker note, or all of it where they cannot be found; return whether there were any."""
    child = directory.children.get(_exif.EXIF_POINTER, Directory())
    note = child.fields.get(_makernote.TAG)
    if note is None:
        return False
    dropped = _makernote.blot_previews(block, note.position, len(note.value), layout.order)
    if _makernote.JPEG_START in block[note.position : note.position + len(note.value)]:
        block[note.position : note.position + len(note.value)] = bytes(len(note.value))
        _makernote.without_entries(block, child.start, {_makernote.TAG}, layout.order)
        return True
    return dropped


def _blot_thumbnail(block: bytearray, directory: Directory, layout: Layout) -> int:
    """Fill the thumbnail of the second directory with zeros; return where the block ends without it."""
    if not directory.next_offset:
        return len(block)
    try:
        second = _exif.read_directory(bytes(block), directory.next_offset, layout)
    except ValueError:
        return len(block)
    used = list(_spans(directory))
    for offsets, lengths in ((_JPEG_OFFSET, _JPEG_LENGTH), (_STRIP_OFFSETS, _STRIP_BYTES)):
        places = _exif.value_of(second.fields, offsets, layout, default=())
        sizes = _exif.value_of(second.fields, lengths, layout, default=())
        for start, size in zip(places, sizes, strict=False):
            end = min(start + size, len(block))
            if start < end and not any(start < upper and lower < end for lower, upper in used):
                block[start:end] = bytes(end - start)
                if end >= len(block) - 1:  # it may be padded to an even length
                    return start
    return len(block)


def _spans(directory: Directory) -> Iterator[tuple[int, int]]:
    """Yield the spans of a block that a directory and its children take."""
    yield 0, 8
    yield directory.start, directory.next_position + 4
    for entry in directory.fields.values():
        yield entry.position, entry.position + len(entry.value)
    for child in directory.children.values():
        yield from _spans(child)


def with_size(exif: bytes, width: int, height: int) -> bytes:
    """Return an EXIF block whose entries of width and height, where it has any, state the given pixels."""

    def change(block: bytearray, directory: Directory, layout: Layout) -> None:
        for path, across, down in _SIZES:
            parent: Directory | None = directory
            for tag in path:
                parent = parent.children.get(tag) if parent else None
            for tag, value in ((across, width), (down, height)):
                entry = parent.fields.get(tag) if parent else None
                if entry is not None and entry.count == 1 and _exif.integers(entry, layout) != (value,):
                    _set_integer(block, entry, value, layout.order)

    return _edited(exif, change)


def without_subject(exif: bytes) -> tuple[bytes, list[str]]:
    """Return an EXIF block without what is given in pixels of another size, and words for that."""
    words: list[str] = []
    edited = _edited(exif, lambda *opened: words.extend(_drop_subject(*opened)))
    return edited, words


def _set_integer(block: bytearray, entry: Field, value: int, order: str) -> None:
    """Let an entry of one number state another, as a long one where a short one cannot."""
    kind = SHORT if entry.kind == SHORT and value < 2**16 else LONG
    struct.pack_into(order + "HI", block, entry.slot + 2, kind, 1)
    block[entry.slot + 8 : entry.slot + 12] = struct.pack(order + _exif.INTEGERS[kind], value).ljust(
        4, b"\x00"
    )


def in_srgb(exif: bytes) -> bytes:
    """Return an EXIF block that, where it states a colour space, states sRGB."""

    def change(block: bytearray, directory: Directory, layout: Layout) -> None:
        child = directory.children.get(_exif.EXIF_POINTER, Directory())
        if entry := child.fields.get(_COLOUR_SPACE):
            _set_integer(block, entry, 1, layout.order)
        _drop_structure(block, directory, layout)

    return _edited(exif, change)


def samples_of(exif: bytes) -> tuple[int, tuple[int, ...]]:
    """Return how many samples a pixel has, and their bits, as an EXIF block states them; 0 and none for nothing."""
    opened = _opened(exif)
    if opened is None:
        return 0, ()
    fields, layout = opened[0].fields, opened[1]
    count = _exif.value_of(fields, _SAMPLES, layout, default=(0,))[0]
    return count, _exif.value_of(fields, _BITS, layout, default=())


def without_structure(exif: bytes) -> bytes:
    """Return an EXIF block without the entries of its first directory on how the pixels of its file are stored."""
    return _edited(exif, _drop_structure)


def _drop_structure(block: bytearray, directory: Directory, layout: Layout) -> None:
    _makernote.without_entries(block, directory.start, _STRUCTURE & set(directory.fields), layout.order)


def with_texts(exif: bytes | None, texts: Mapping[int, str]) -> tuple[bytes | None, set[int]]:
    """Return an EXIF block with further texts in its first directory, which moves to its end, and their tags.

    A tag that is there already keeps its value. A block that cannot be read stays as it is.
    """
    if exif is None:
        exif = _exif.header("<", 8) + bytes(6)
    opened = _opened(exif)
    if opened is None:
        return exif, set()
    directory, layout = opened
    added = {tag: text.encode() + b"\x00" for tag, text in texts.items() if tag not in directory.fields}
    if not added:
        return (exif if directory.fields or directory.children else None), set()
    return _with_values(exif, directory, layout.order, added), set(added)


def _with_values(exif: bytes, directory: Directory, order: str, values: Mapping[int, bytes]) -> bytes:
    """Return an EXIF block with entries of text added to its first directory."""
    table = exif[directory.start + 2 : directory.next_position]
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
        slots[tag] = struct.pack(order + "HHI", tag, 2, len(value)) + stored
        tail += b"" if inline else value + bytes(len(value) % 2)
    rows = b"".join(slots[tag] for tag in sorted(slots))
    return bytes(block) + struct.pack(order + "H", len(slots)) + rows + bytes(4) + tail

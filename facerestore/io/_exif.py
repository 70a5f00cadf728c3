"""TIFF directories, which are also the container of EXIF: read, patched in place, and written.

Source: TIFF 6.0 section 2, EXIF 2.32 section 4.6, and Adobe's BigTIFF layout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

ORIENTATION = 0x0112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
EXIF_POINTER, _GPS_POINTER, INTEROP_POINTER = 0x8769, 0x8825, 0xA005
PARTS = (EXIF_POINTER, _GPS_POINTER)
POINTERS = (EXIF_POINTER, _GPS_POINTER, INTEROP_POINTER)
PREFIX = b"Exif\x00\x00"

# Descriptive tags of a picture's first directory, as against those that say how its pixels are stored:
# document name, description, make, model, page name, software, date, artist, host, rating (2), copyright, IPTC, XP*.
DESCRIPTIVE_TAGS = frozenset(
    (0x010D, 0x010E, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x83BB)
) | frozenset(range(0x9C9B, 0x9CA0))

BYTE, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 3, 4, 5, 7, 16
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_SIGNED = {6: "b", 8: "h", 9: "i"}
_RATIONALS = (5, 10)
_MAX_CLASSIC_KIND = 13
_MOST_ENTRIES = 2**12  # standards and makers together know about as many tags
CM_PER_INCH = 2.54
METRES_PER_INCH = 0.0254


class Layout(NamedTuple):
    """Byte order (``<`` or ``>``) of a TIFF block, and whether it is a BigTIFF."""

    order: str
    big: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One directory entry: its type, count, raw value in the block's byte order, and where value and entry stand."""

    kind: int
    count: int
    value: bytes
    position: int = 0
    slot: int = 0


@dataclass(slots=True)
class Directory:
    """One image file directory with its EXIF, GPS and interoperability children, and where it stands."""

    fields: dict[int, Field] = field(default_factory=dict)
    children: dict[int, Directory] = field(default_factory=dict)
    next_offset: int = 0
    next_position: int = 0
    start: int = 0


def read_layout(data: bytes) -> tuple[Layout, int]:
    """Return the layout of a TIFF block and the offset of its first directory.

    Raises:
        ValueError: not a TIFF block.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise ValueError("no TIFF header")
    if struct.unpack_from(order + "H", data, 2)[0] == 43:
        return Layout(order, big=True), struct.unpack_from(order + "Q", data, 8)[0]
    return Layout(order), struct.unpack_from(order + "I", data, 4)[0]


def read_directory(data: bytes, offset: int, layout: Layout, *, depth: int = 0) -> Directory:
    """Return the directory at an offset; entries of unknown type, or with values outside of the data, are left out.

    Args:
        data: the whole TIFF block.
        offset: where the directory starts.
        layout: of the block.
        depth: how many parents the directory has; children deeper than EXIF's own two levels are not followed.

    Raises:
        ValueError: the directory itself lies outside of the data.
    """
    count_code, entry_size, word = ("Q", 20, "Q") if layout.big else ("H", 12, "I")
    start = offset + struct.calcsize(count_code)
    if offset < 8 or start > len(data):
        raise ValueError(f"a directory at byte {offset} of {len(data)}")
    count = struct.unpack_from(layout.order + count_code, data, offset)[0]
    end = start + count * entry_size
    if end > len(data) or count > _MOST_ENTRIES:
        raise ValueError(f"a directory of {count} entries at byte {offset} of {len(data)}")
    directory = Directory(next_position=end, start=offset)
    if end + struct.calcsize(word) <= len(data):
        directory.next_offset = struct.unpack_from(layout.order + word, data, end)[0]
    total = 0
    for position in range(start, end, entry_size):
        tag, entry = _read_field(data, position, layout)
        if entry is not None:
            directory.fields.setdefault(tag, entry)  # of two of a tag, readers take the first
            total += len(entry.value)
        if total > len(data):
            raise ValueError("the values of a directory overlap")
    if depth < 2:
        _read_children(data, directory, layout, depth=depth)
    return directory


def _read_field(data: bytes, position: int, layout: Layout) -> tuple[int, Field | None]:
    """Return the tag and the entry at a position, None for an entry that cannot be read."""
    word, inline = ("Q", 8) if layout.big else ("I", 4)
    tag, kind, count = struct.unpack_from(f"{layout.order}HH{word}", data, position)
    size = _SIZES.get(kind, 0) * count
    place = position + 4 + inline
    if size > inline:
        place = struct.unpack_from(layout.order + word, data, place)[0]
    if size == 0 or place + size > len(data):
        return tag, None
    return tag, Field(kind, count, bytes(data[place : place + size]), place, position)


def _read_children(data: bytes, directory: Directory, layout: Layout, *, depth: int) -> None:
    """Move the pointers of a directory from its fields to its children; a pointer to nowhere is dropped."""
    for tag in POINTERS:
        pointer = directory.fields.pop(tag, None)
        if pointer is None:
            continue
        try:
            directory.children[tag] = read_directory(
                data, integers(pointer, layout)[0], layout, depth=depth + 1
            )
        except (ValueError, IndexError):
            continue


def size_of(kind: int) -> int:
    """Return the bytes of one value of a type; 0 for a type that there is not."""
    return _SIZES.get(kind, 0)


def integers(entry: Field, layout: Layout) -> tuple[int, ...]:
    """Return the values of an unsigned integer entry; an entry of another type gives none."""
    code = INTEGERS.get(entry.kind)
    return () if code is None else struct.unpack(f"{layout.order}{entry.count}{code}", entry.value)


def resolution(directory: Directory, layout: Layout) -> tuple[float, float] | None:
    """Return (x, y) in dots per inch, None where a directory states none or no unit."""
    values = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        entry = directory.fields.get(tag)
        if entry is None or entry.kind != RATIONAL:
            return None
        numerator, denominator = struct.unpack_from(layout.order + "II", entry.value)
        values.append(numerator / denominator if denominator else 0.0)
    unit = directory.fields.get(RESOLUTION_UNIT)
    scale = {2: 1.0, 3: CM_PER_INCH}.get((integers(unit, layout) or (2,))[0] if unit else 2)
    return None if scale is None else (values[0] * scale, values[1] * scale)


def orientation_of(directory: Directory, layout: Layout) -> int | None:
    """Return the orientation 1 to 8 of a directory; None where it is absent or no such number."""
    entry = directory.fields.get(ORIENTATION)
    code = (INTEGERS | _SIGNED).get(entry.kind) if entry else None
    value = struct.unpack_from(layout.order + code, entry.value)[0] if entry and code else 0
    return value if 1 <= value <= 8 else None


def descriptive(directory: Directory) -> Directory:
    """Return the part of a directory that describes the photo, without what says how pixels are stored."""
    fields = {tag: entry for tag, entry in directory.fields.items() if tag in DESCRIPTIVE_TAGS}
    return Directory(fields, dict(directory.children))


def resolution_fields(dpi: tuple[float, float], order: str) -> dict[int, Field]:
    """Return the three entries of a resolution in dots per inch."""
    fields = {RESOLUTION_UNIT: field_of(SHORT, (2,), order)}
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        # Four decimals keep what PNG's whole dots per metre can tell.
        ratio = Fraction(value).limit_denominator(10_000)
        fields[tag] = Field(RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator))
    return fields


def field_of(kind: int, values: tuple[int, ...], order: str) -> Field:
    """Return an entry of unsigned integers."""
    return Field(kind, len(values), struct.pack(f"{order}{len(values)}{INTEGERS[kind]}", *values))


def swapped(entry: Field) -> Field:
    """Return an entry in the other byte order."""
    size = _SIZES[entry.kind] // (2 if entry.kind in _RATIONALS else 1)
    pieces = (entry.value[start : start + size][::-1] for start in range(0, len(entry.value), size))
    return Field(entry.kind, entry.count, b"".join(pieces))


def header(order: str, first_directory: int) -> bytes:
    """Return the eight bytes that start a classic TIFF block."""
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, first_directory)


def pack(directory: Directory, order: str) -> bytes:
    """Return an EXIF block of one directory and its children; empty for an empty directory."""
    if not directory.fields and not directory.children:
        return b""
    return header(order, 8) + write_directory(directory, 8, order)


def write_directory(directory: Directory, start: int, order: str) -> bytes:
    """Return a classic directory with its values and children, to stand at byte ``start`` of its block.

    Args:
        directory: values are in byte order ``order``; types of BigTIFF alone are left out.
        start: even offset of the directory in its block.
        order: ``<`` or ``>``.
    """
    fields = {tag: entry for tag, entry in directory.fields.items() if entry.kind <= _MAX_CLASSIC_KIND}
    tags = sorted(set(fields) | set(directory.children))
    table = bytearray(struct.pack(order + "H", len(tags)))
    values = bytearray()
    first_value = start + 2 + 12 * len(tags) + 4
    for tag in tags:
        place = first_value + len(values)
        if tag in directory.children:
            values += write_directory(directory.children[tag], place, order)
            table += struct.pack(order + "HHII", tag, LONG, 1, place)
        else:
            entry = fields[tag]
            table += struct.pack(order + "HHI", tag, entry.kind, entry.count)
            inline = len(entry.value) <= 4
            table += entry.value.ljust(4, b"\x00") if inline else struct.pack(order + "I", place)
            values += b"" if inline else entry.value
        values += bytes(len(values) % 2)
    return bytes(table + bytes(4) + values)


def first_directory(exif: bytes) -> tuple[Directory, str]:
    """Return the first directory of an EXIF block and the block's byte order.

    Raises:
        ValueError: not an EXIF block.
    """
    layout, offset = read_layout(exif)
    return read_directory(exif, offset, layout), layout.order


def value_of(
    fields: Mapping[int, Field], tag: int, layout: Layout, *, default: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the integers of a tag, or the default where a directory lacks it."""
    entry = fields.get(tag)
    return (integers(entry, layout) or default) if entry else default

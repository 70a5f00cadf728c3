"""TIFF directories, which are also the container of EXIF: read, patched in place, and written.

Source: TIFF 6.0 section 2, EXIF 2.32 section 4.6, and Adobe's BigTIFF layout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
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

BYTE, TEXT, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
# How one value of each type is packed.
_CODES = {
    1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
SIZES = {kind: struct.calcsize(f"<{code}") for kind, code in _CODES.items()}
_UNSIGNED, _SIGNED = (1, 3, 4, 13, 16), (6, 8, 9)
_MAX_CLASSIC_KIND = 13
_MOST_ENTRIES = 2**12  # standards and makers together know about as many tags
CM_PER_INCH = 2.54
METRES_PER_INCH = 0.0254


class Layout(NamedTuple):
    """Byte order (``<`` or ``>``) of a TIFF block, and whether it is a BigTIFF."""

    order: str
    big: bool = False

    @property
    def codes(self) -> tuple[str, int, str]:
        """How a count of entries is packed, the bytes of an entry, and how an offset is packed."""
        return (
            (self.order + "Q", 20, self.order + "Q") if self.big else (self.order + "H", 12, self.order + "I")
        )


_PLAIN = Layout("<")


@dataclass(frozen=True, slots=True)
class Field:
    """One directory entry: its type, count, raw value and its byte order, and where value and entry stand."""

    kind: int
    count: int
    value: bytes
    order: str = "<"
    position: int = 0
    slot: int = 0

    def integers(self, most: int | None = None) -> tuple[int, ...]:
        """Return the unsigned integers, the first ``most`` of them; an entry of another type gives none."""
        if self.kind not in _UNSIGNED:
            return ()
        count = self.count if most is None else min(self.count, most)
        return struct.unpack_from(f"{self.order}{count}{_CODES[self.kind]}", self.value)

    @property
    def number(self) -> int | None:
        """The number of an entry that is one of 32 bits, such as an offset; None for any other."""
        return self.integers()[0] if self.kind in (LONG, 13) and self.count == 1 else None

    def swapped(self) -> Field:
        """Return the entry in the other byte order."""
        size = struct.calcsize(f"<{_CODES[self.kind][:1]}")
        pieces = (self.value[start : start + size][::-1] for start in range(0, len(self.value), size))
        return Field(self.kind, self.count, b"".join(pieces), "<>".replace(self.order, ""))


@dataclass(slots=True)
class Directory:
    """One image file directory with its EXIF, GPS and interoperability children, and where it stands."""

    fields: dict[int, Field] = field(default_factory=dict)
    children: dict[int, Directory] = field(default_factory=dict)
    layout: Layout = _PLAIN
    next_offset: int = 0
    next_position: int = 0
    start: int = 0

    def integers(self, tag: int, most: int | None = None) -> tuple[int, ...]:
        """Return the unsigned integers of a tag, the first ``most`` of them; none where it is absent or has no such."""
        entry = self.fields.get(tag)
        return entry.integers(most) if entry else ()

    def integer(self, tag: int, default: int) -> int:
        """Return the first unsigned integer of a tag, or the default."""
        return next(iter(self.integers(tag, 1)), default)

    def child(self, tag: int) -> Directory:
        """Return the child that a pointer leads to; an empty one where there is none."""
        return self.children.get(tag) or Directory()

    @property
    def orientation(self) -> int | None:
        """The orientation 1 to 8; None where it is absent or no such number."""
        entry = self.fields.get(ORIENTATION)
        if entry is None or entry.kind not in (*_UNSIGNED, *_SIGNED):
            return None
        value: int = struct.unpack_from(entry.order + _CODES[entry.kind], entry.value)[0]
        return value if 1 <= value <= 8 else None

    @property
    def resolution(self) -> tuple[float, float] | None:
        """Dots per inch across and down; None where the directory states none or no unit."""
        values = []
        for tag in (X_RESOLUTION, Y_RESOLUTION):
            entry = self.fields.get(tag)
            if entry is None or entry.kind != RATIONAL:
                return None
            numerator, denominator = struct.unpack_from(entry.order + "II", entry.value)
            values.append(numerator / denominator if denominator else 0.0)
        scale = {2: 1.0, 3: CM_PER_INCH}.get(self.integer(RESOLUTION_UNIT, 2))
        return None if scale is None else (values[0] * scale, values[1] * scale)

    @property
    def spans(self) -> Iterator[tuple[int, int]]:
        """The spans of the block that the directory and its children take."""
        yield self.start, self.next_position + 4
        for entry in self.fields.values():
            yield entry.position, entry.position + len(entry.value)
        for child in self.children.values():
            yield from child.spans


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
    count_code, entry_size, word = layout.codes
    start = offset + struct.calcsize(count_code)
    if offset < 8 or start > len(data):
        raise ValueError(f"a directory at byte {offset} of {len(data)}")
    count = struct.unpack_from(count_code, data, offset)[0]
    end = start + count * entry_size
    if end > len(data) or count > _MOST_ENTRIES:
        raise ValueError(f"a directory of {count} entries at byte {offset} of {len(data)}")
    directory = Directory(layout=layout, next_position=end, start=offset)
    if end + struct.calcsize(word) <= len(data):
        directory.next_offset = struct.unpack_from(word, data, end)[0]
    total = 0
    for position in range(start, end, entry_size):
        tag, entry = _read_field(data, position, layout)
        if entry is not None:
            directory.fields.setdefault(tag, entry)  # of two of a tag, readers take the first
            total += len(entry.value)
        if total > len(data):
            raise ValueError("the values of a directory overlap")
    if depth < 2:
        _read_children(data, directory, depth=depth)
    return directory


def _read_field(data: bytes, position: int, layout: Layout) -> tuple[int, Field | None]:
    """Return the tag and the entry at a position, None for an entry that cannot be read."""
    word = layout.codes[2]
    inline = struct.calcsize(word)
    tag, kind = struct.unpack_from(layout.order + "HH", data, position)
    count = struct.unpack_from(word, data, position + 4)[0]
    size = SIZES.get(kind, 0) * count
    place = position + 4 + inline
    if size > inline:
        place = struct.unpack_from(word, data, place)[0]
    if size == 0 or place + size > len(data):
        return tag, None
    return tag, Field(kind, count, bytes(data[place : place + size]), layout.order, place, position)


def _read_children(data: bytes, directory: Directory, *, depth: int) -> None:
    """Move the pointers of a directory from its fields to its children; a pointer to nowhere is dropped."""
    for tag in POINTERS:
        pointer = directory.fields.pop(tag, None)
        if pointer is None:
            continue
        try:
            directory.children[tag] = read_directory(
                data, pointer.integers(1)[0], directory.layout, depth=depth + 1
            )
        except (ValueError, IndexError):
            continue


def resolution_fields(dpi: tuple[float, float], order: str) -> dict[int, Field]:
    """Return the three entries of a resolution in dots per inch."""
    from fractions import Fraction

    fields = {RESOLUTION_UNIT: field_of(SHORT, (2,), order)}
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        # Four decimals keep what PNG's whole dots per metre can tell.
        ratio = Fraction(value).limit_denominator(10_000)
        fields[tag] = Field(RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator), order)
    return fields


def field_of(kind: int, values: tuple[int, ...], order: str) -> Field:
    """Return an entry of unsigned integers."""
    return Field(kind, len(values), struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values), order)


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


def first_directory(exif: bytes) -> Directory:
    """Return the first directory of an EXIF block.

    Raises:
        ValueError: not an EXIF block.
    """
    layout, offset = read_layout(exif)
    return read_directory(exif, offset, layout)


def without_entries(block: bytearray, start: int, tags: Set[int], order: str) -> int:
    """Take entries out of the classic directory at ``start``, in place, the later ones moving up; return how many."""
    if not tags:
        return 0
    count = int(struct.unpack_from(order + "H", block, start)[0])
    end = start + 2 + 12 * count
    slots = [bytes(block[at : at + 12]) for at in range(start + 2, end, 12)]
    kept = [slot for slot in slots if struct.unpack_from(order + "H", slot)[0] not in tags]
    following = bytes(block[end : end + 4])
    patched = struct.pack(order + "H", len(kept)) + b"".join(kept) + following
    block[start : end + len(following)] = patched.ljust(2 + 12 * count + len(following), b"\x00")
    return count - len(kept)

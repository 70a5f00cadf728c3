"""What a TIFF carries beside its pixels. Source: TIFF 6.0, its technical notes, XMP part 3, ICC.1 B.4, GeoTIFF 1.1."""

from __future__ import annotations

from facerestore.io import _claims, _exif, _makernote, _photoshop
from facerestore.io._exif import BYTE, LONG, LONG8, UNDEFINED, Directory, Field, field_of
from facerestore.types import Metadata, Part

XMP = 700
TAGS = b"tags"
"""Key of the part that holds the entries which no other format has."""

_IPTC, _PHOTOSHOP, _ICC, _SUB_DIRECTORIES, _LAYERS = 33723, 34377, 34675, 330, 37724
_BITS, _PHOTOMETRIC = 258, 262
_BLACK_IS_ZERO, _RGB = 1, 2
# What says how pixels are stored (TIFF 6.0 and its notes, CFA, SGI's), or points into the file.
_STRUCTURE = frozenset(
    (
        *range(254, 267), 273, 274, 277, 278, 279, 280, 281, 284, *range(288, 294), 317, *range(320, 326), 330, 332,
        333, 334, 336, *range(338, 352), 400, *range(512, 522), *range(529, 533), 559, *range(32995, 32999),
        33421, 33422, *_exif.PARTS, _exif.INTEROP_POINTER, XMP, _IPTC, _PHOTOSHOP, _ICC, _LAYERS,
    )
)  # fmt: skip
# Colours of red, green and blue as they are stored: the transfer function, the white point and the primaries.
_COLOURS = frozenset((301, 318, 319))
# What Adobe's DNG says of the sensor's own pixels; between its tags lie ImageJ's and GDAL's.
_DNG_VERSION = 50706
_CAMERA_RAW = frozenset(range(_DNG_VERSION, 51180)) - {50838, 50839, 50844, 50908, 50909}
_RAW_WORDS = "what DNG says of the camera's raw pixels"
# Where pixels lie on the earth.
_GEOGRAPHY = frozenset((33550, 33922, 34264, 34735, 34736, 34737))
_RESOLUTION = (_exif.X_RESOLUTION, _exif.Y_RESOLUTION, _exif.RESOLUTION_UNIT)
GEOGRAPHY_WORDS = "place of the pixels on the earth, which holds for the picture as it was"
_LAYER_WORDS = "Photoshop's layers, which show the photo as it was"


def read(directory: Directory, *, has_copy: bool) -> Metadata:
    """Return what a page carries beside its pixels; the descriptive tags become an EXIF block.

    Args:
        directory: of the page.
        has_copy: a reduced copy of the page follows it.
    """
    fields, order = directory.fields, directory.layout.order
    foreign = _STRUCTURE | _exif.DESCRIPTIVE_TAGS
    if directory.integer(_PHOTOMETRIC, -1) not in (_BLACK_IS_ZERO, _RGB) or directory.integer(
        _BITS, 1
    ) not in (8, 16):
        foreign |= _COLOURS
    raw = _CAMERA_RAW & fields.keys() - foreign if _DNG_VERSION in fields else frozenset()
    native = {tag: _narrowed_entry(entry) for tag, entry in fields.items() if tag not in foreign | raw}
    dropped = [_RAW_WORDS] if raw else []
    dropped += [_claims.PREVIEWS] if has_copy or _SUB_DIRECTORIES in fields else []
    dropped += [_LAYER_WORDS] if _LAYERS in fields else []
    return Metadata(
        exif=_packed_exif(directory),
        xmp=_raw_value(directory, XMP),
        icc=_raw_value(directory, _ICC),
        dpi=directory.resolution,
        iptc=_raw_value(directory, _IPTC),
        photoshop=_raw_value(directory, _PHOTOSHOP),
        parts=(Part("TIFF", TAGS, _exif.pack(Directory(native), order)),) if native else (),
        dropped=tuple(dropped),
    )


def _raw_value(directory: Directory, tag: int) -> bytes | None:
    """Return the bytes of a tag, None where it is absent."""
    entry = directory.fields.get(tag)
    return entry.value if entry else None


def _narrowed_entry(entry: Field) -> Field:
    """Return an entry of BigTIFF's 64-bit integers as one of 32 bits, where they fit."""
    if entry.kind != LONG8 or max(values := entry.integers()) >= 2**32:
        return entry
    return field_of(LONG, values, entry.order)


def _packed_exif(directory: Directory) -> bytes | None:
    """Return the descriptive tags and the EXIF directories as a block; a maker note's offsets move with it."""
    described = {
        tag: directory.fields[tag] for tag in directory.fields if tag in _exif.DESCRIPTIVE_TAGS - {_IPTC}
    }
    order = directory.layout.order
    block = bytearray(_exif.pack(Directory(described, directory.children), order))
    read = _exif.first_directory(bytes(block)) if block else Directory()
    old, new = (one.child(_exif.EXIF_POINTER).fields.get(_makernote.TAG) for one in (directory, read))
    if old and new:
        _makernote.move(block, new.position, len(new.value), order, by=new.position - old.position)
    return bytes(block) or None


def settled(part: Part, turn: int, words: list[str]) -> Part:
    """Return the tags of a page as they are true of the picture turned upright, and add words for what is taken out."""
    directory = _exif.first_directory(part.body)
    fields = directory.fields
    across, down = (fields.get(tag) for tag in _RESOLUTION[:2])
    if turn >= 5 and across and down:
        fields[_RESOLUTION[0]], fields[_RESOLUTION[1]] = down, across
    part = part._replace(body=_exif.pack(Directory(fields), directory.layout.order))
    return without_geography(part, words) if turn != 1 else part


def without_geography(part: Part, words: list[str]) -> Part:
    """Return the tags of a page without those of where on the earth its pixels lie, and add words for these."""
    directory = _exif.first_directory(part.body)
    kept = {tag: entry for tag, entry in directory.fields.items() if tag not in _GEOGRAPHY}
    words += [GEOGRAPHY_WORDS] if len(kept) < len(directory.fields) else []
    return part._replace(body=_exif.pack(Directory(kept), directory.layout.order))


def tags_of(part: Part) -> list[int]:
    """Return the tags that a part holds, but for those of the resolution."""
    fields = _exif.first_directory(part.body).fields if part.body else {}
    return [tag for tag in fields if tag not in _RESOLUTION]


def described(metadata: Metadata) -> tuple[Directory, str, bytes]:
    """Return the entries that metadata become, the byte order, and the EXIF block to stand at the start of the file.

    The children of the entries' directory stand in that block, where maker notes keep the offsets they have.

    Raises:
        ValueError: EXIF that cannot be read.
    """
    exif, native = metadata.exif or b"", metadata.body_of(TAGS) or b""
    directory = _exif.first_directory(exif) if exif else Directory()
    stated = _exif.first_directory(native) if native else Directory(layout=directory.layout)
    order = directory.layout.order if exif else stated.layout.order
    if stated.layout.order != order:
        stated.fields = {tag: entry.swapped() for tag, entry in stated.fields.items()}
    if stated.resolution != metadata.dpi:
        stated.fields = {tag: entry for tag, entry in stated.fields.items() if tag not in _RESOLUTION}
        stated.fields |= _exif.resolution_fields(metadata.dpi, order) if metadata.dpi else {}
    fields = {
        tag: entry for tag, entry in directory.fields.items() if tag not in _STRUCTURE | set(_RESOLUTION)
    }
    fields |= {tag: field_of(LONG, (child.start,), order) for tag, child in directory.children.items()}
    fields |= stated.fields
    block, iptc = metadata.photoshop, metadata.iptc
    if block and not iptc:  # TIFF has a place of its own for IPTC
        block, iptc = _photoshop.without_iptc(block), _photoshop.iptc_of(block)
    blocks = {XMP: metadata.xmp, _IPTC: iptc, _PHOTOSHOP: block, _ICC: metadata.icc}
    for tag, value in blocks.items():
        if value:
            fields[tag] = Field(BYTE if tag in (XMP, _PHOTOSHOP) else UNDEFINED, len(value), value, order)
    return Directory(fields), order, exif

"""What a TIFF carries beside its pixels. Source: TIFF 6.0, its technical notes, XMP part 3, ICC.1 B.4, GeoTIFF 1.1."""

from __future__ import annotations

from facerestore.io import _claims, _exif, _makernote, _photoshop
from facerestore.io._exif import BYTE, LONG, LONG8, UNDEFINED, Directory, Field, Layout, field_of
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


def read(directory: Directory, layout: Layout, *, has_copy: bool) -> Metadata:
    """Return what a page carries beside its pixels; the descriptive tags become an EXIF block.

    Args:
        directory: of the page.
        layout: of its file.
        has_copy: a reduced copy of the page follows it.
    """
    native = {
        tag: _narrow(entry, layout)
        for tag, entry in directory.fields.items()
        if tag not in _STRUCTURE | _exif.DESCRIPTIVE_TAGS
    }
    photometric = _exif.value_of(directory.fields, _PHOTOMETRIC, layout, default=(-1,))[0]
    bits = _exif.value_of(directory.fields, _BITS, layout, default=(1,))[0]
    if photometric not in (_BLACK_IS_ZERO, _RGB) or bits not in (8, 16):
        native = {tag: entry for tag, entry in native.items() if tag not in _COLOURS}
    raw = _CAMERA_RAW & set(native) if _DNG_VERSION in native else set()
    native = {tag: entry for tag, entry in native.items() if tag not in raw}
    dropped = [_RAW_WORDS] if raw else []
    dropped += [_claims.PREVIEWS] if has_copy or _SUB_DIRECTORIES in directory.fields else []
    dropped += [_LAYER_WORDS] if _LAYERS in directory.fields else []
    return Metadata(
        exif=_packed_exif(directory, layout.order),
        xmp=_raw(directory, XMP),
        icc=_raw(directory, _ICC),
        dpi=_exif.resolution(directory, layout),
        iptc=_raw(directory, _IPTC),
        photoshop=_raw(directory, _PHOTOSHOP),
        parts=(Part("TIFF", TAGS, _exif.pack(Directory(native), layout.order)),) if native else (),
        dropped=tuple(dropped),
    )


def _raw(directory: Directory, tag: int) -> bytes | None:
    """Return the bytes of a tag, None where it is absent."""
    entry = directory.fields.get(tag)
    return entry.value if entry else None


def _narrow(entry: Field, layout: Layout) -> Field:
    """Return an entry of BigTIFF's 64-bit integers as one of 32 bits, where they fit."""
    if entry.kind != LONG8 or max(values := _exif.integers(entry, layout)) >= 2**32:
        return entry
    return field_of(LONG, values, layout.order)


def _packed_exif(directory: Directory, order: str) -> bytes | None:
    """Return the descriptive tags and the EXIF directories as a block; a maker note's offsets move with it."""
    described = _exif.descriptive(directory)
    described.fields.pop(_IPTC, None)
    block = bytearray(_exif.pack(described, order))
    notes = [_maker_note(directory), _maker_note(_exif.first_directory(bytes(block))[0]) if block else None]
    if notes[0] and notes[1]:
        _makernote.move(
            block, notes[1].position, len(notes[1].value), order, by=notes[1].position - notes[0].position
        )
    return bytes(block) or None


def _maker_note(directory: Directory) -> Field | None:
    child = directory.children.get(_exif.EXIF_POINTER)
    return child.fields.get(_makernote.TAG) if child else None


def settled(part: Part, turn: int) -> tuple[Part, list[str]]:
    """Return the tags of a page as they are true of the picture turned upright, and words for what was taken out."""
    directory, order = _exif.first_directory(part.body)
    fields = directory.fields
    across, down = (fields.get(tag) for tag in _RESOLUTION[:2])
    if turn >= 5 and across and down:
        fields[_RESOLUTION[0]], fields[_RESOLUTION[1]] = down, across
    part = part._replace(body=_exif.pack(Directory(fields), order))
    return without_geography(part) if turn != 1 else (part, [])


def without_geography(part: Part) -> tuple[Part, list[str]]:
    """Return the tags of a page without those of where on the earth its pixels lie, and words for these."""
    directory, order = _exif.first_directory(part.body)
    kept = {tag: entry for tag, entry in directory.fields.items() if tag not in _GEOGRAPHY}
    words = [GEOGRAPHY_WORDS] if len(kept) < len(directory.fields) else []
    return part._replace(body=_exif.pack(Directory(kept), order)), words


def tags_of(part: Part) -> dict[int, Field]:
    """Return the entries that a part holds, but for those of the resolution."""
    if not part.body:
        return {}
    fields = _exif.first_directory(part.body)[0].fields
    return {tag: entry for tag, entry in fields.items() if tag not in _RESOLUTION}


def described(metadata: Metadata) -> tuple[Directory, str, bytes]:
    """Return the entries that metadata become, the byte order, and the EXIF block to stand at the start of the file.

    The children of the entries' directory stand in that block, where maker notes keep the offsets they have.

    Raises:
        ValueError: EXIF that cannot be read.
    """
    exif = metadata.exif or b""
    native = metadata.body_of(TAGS) or b""
    directory, order = _exif.first_directory(exif) if exif else (Directory(), _order_of(native))
    fields = {
        tag: entry for tag, entry in directory.fields.items() if tag not in _STRUCTURE | set(_RESOLUTION)
    }
    fields |= {tag: field_of(LONG, (child.start,), order) for tag, child in directory.children.items()}
    stated = _native_tags(native, order)
    if _exif.resolution(Directory(stated), Layout(order)) != metadata.dpi:
        stated = {tag: entry for tag, entry in stated.items() if tag not in _RESOLUTION}
        stated |= _exif.resolution_fields(metadata.dpi, order) if metadata.dpi else {}
    fields |= stated
    block, iptc = metadata.photoshop, metadata.iptc
    if block and not iptc:  # TIFF has a place of its own for IPTC
        block, iptc = _photoshop.without_iptc(block), _photoshop.iptc_of(block)
    blocks = {XMP: metadata.xmp, _IPTC: iptc, _PHOTOSHOP: block, _ICC: metadata.icc}
    for tag, value in blocks.items():
        if value:
            fields[tag] = Field(BYTE if tag in (XMP, _PHOTOSHOP) else UNDEFINED, len(value), value)
    return Directory(fields), order, exif


def _order_of(body: bytes) -> str:
    """Return the byte order of a block; that of most machines for an empty one."""
    return _exif.read_layout(body)[0].order if body else "<"


def _native_tags(body: bytes, order: str) -> dict[int, Field]:
    """Return the entries that came from a TIFF, in a byte order."""
    if not body:
        return {}
    directory, own = _exif.first_directory(body)
    if own == order:
        return directory.fields
    return {tag: _exif.swapped(entry) for tag, entry in directory.fields.items()}

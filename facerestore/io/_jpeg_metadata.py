"""What a JPEG carries beside its pixels: the segments before them, and what stands behind them.

Source: JFIF 1.02, EXIF 2.32, XMP part 3, ICC.1 B.4, CIPA DC-007 (MPF), ISO 21496-1 and Ultra HDR (gain maps),
and the list of segments of https://exiftool.org/TagNames/JPEG.html.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from facerestore.imaging.pixels import JPEG_LUMA_TABLE
from facerestore.io import _claims, _xmp
from facerestore.io._exif import CM_PER_INCH, PREFIX
from facerestore.io._settle import sane_dpi
from facerestore.types import Metadata, Part

_APP0, _APP1, _APP2, _APP4, _APP8, _APP11 = 0xE0, 0xE1, 0xE2, 0xE4, 0xE8, 0xEB
_APP12, _APP13, _APP14, _APP15 = 0xEC, 0xED, 0xEE, 0xEF
_COMMENT, _PROGRESSIVE, _TABLES = 0xFE, 0xC2, 0xDB
JFIF, COMMENT, PROGRESSIVE, TABLES = b"JFIF", bytes((_COMMENT,)), bytes((_PROGRESSIVE,)), bytes((_TABLES,))
"""Keys of parts: the density, a comment, that the scans were progressive, and how finely they were quantised."""

_JFIF_PREFIX = b"JFIF\x00"
_EXTENSION_PREFIX = b"http://ns.adobe.com/xmp/extension/\x00"
_ICC_PREFIX = b"ICC_PROFILE\x00"
_EXIF_START = PREFIX[:5]  # some writers fill its last byte with other than zero
_DUCKY, _DUCKY_QUALITY = b"Ducky", 1
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\x00"
_JPEG_START = b"\xff\xd8\xff"
_TIFF_STARTS = (b"II*\x00", b"MM\x00*")
# What says how the old file was packed, which goes without a word.
_PACKING = ((_APP0, b"AVI1"), (_APP4, b"SCALADO"), (_APP8, b"SPIFF"), (_APP14, b"Adobe"), (_APP15, b"Q "))
_DOOMED = (
    (_APP0, b"JFXX", _claims.PREVIEWS),
    (_APP2, b"MPF\x00", _claims.OTHER_PICTURES),
    (_APP2, b"urn:iso:std:iso:ts:21496:", _claims.GAIN_MAP),
    (_APP11, b"HDR_RI", _claims.GAIN_MAP),
    (_APP11, b"JP", _claims.CREDENTIALS),
)
_MAX_BODY = 65533
_MAX_ICC_PART = _MAX_BODY - len(_ICC_PREFIX) - 2
_MAX_EXTENSION_PART = _MAX_BODY - len(_EXTENSION_PREFIX) - 40
MAX_XMP = _MAX_BODY - len(_xmp.PREFIX)
MAX_ICC = 255 * _MAX_ICC_PART


@dataclass(slots=True)
class _Found:
    """What the segments of a JPEG give, as they come."""

    exif: list[bytes] = field(default_factory=list)
    xmp: bytes | None = None
    extension: dict[bytes, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    icc: dict[int, bytes] = field(default_factory=dict)
    icc_count: int = 0
    photoshop: list[bytes] = field(default_factory=list)
    dpi: tuple[float, float] | None = None
    parts: list[Part] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def read(
    data: bytes, segments: Iterable[tuple[int, int, int]], trailer: bytes | memoryview = b""
) -> Metadata:
    """Return what a JPEG carries.

    Args:
        data: the file.
        segments: (marker, start, end) of the body of each segment before the pixels.
        trailer: what stands behind the picture.
    """
    found = _Found()
    for marker, start, end in segments:
        if _APP0 <= marker <= _APP15 or marker == _COMMENT:
            _take_segment(found, marker, data[start:end])
        elif marker == _PROGRESSIVE:
            found.parts.append(Part("JPEG", PROGRESSIVE, b""))
        elif marker == _TABLES and data[start] == 0 and end - start > 64:
            found.parts.append(Part("JPEG", TABLES, data[start + 1 : start + 65]))
    if all(part.key != JFIF for part in found.parts):
        found.parts.append(Part("JPEG", JFIF, b""))  # none, and none is to be added
    # A preview may go on in further segments of its marker, so that they go together.
    previews = {part.key for part in found.parts if part.key != COMMENT and _JPEG_START in part.body}
    found.dropped += [_claims.PREVIEWS] if previews else []
    xmp, icc = _whole_xmp(found), _whole_icc(found)
    return Metadata(
        exif=b"".join(found.exif) or None,
        xmp=xmp,
        icc=icc,
        dpi=found.dpi,
        photoshop=b"".join(found.photoshop) or None,
        parts=tuple(part for part in found.parts if part.key not in previews),
        dropped=(*found.dropped, *_trailer_words(trailer)),
    )


def _take_segment(found: _Found, marker: int, body: bytes) -> None:
    """Note what one segment gives."""
    doomed = next((w for m, prefix, w in _DOOMED if marker == m and body.startswith(prefix)), None)
    if doomed or any(marker == m and body.startswith(prefix) for m, prefix in _PACKING):
        found.dropped += [doomed] if doomed else []
    elif marker == _APP0 and body.startswith(_JFIF_PREFIX):
        _take_jfif(found, body)
    elif marker == _APP1 and body.startswith(_EXIF_START):
        _take_exif(found, body[len(PREFIX) :])
    elif marker == _APP1 and body.startswith(_xmp.PREFIX):
        found.dropped += [] if found.xmp is None else [_claims.SECOND_XMP]
        found.xmp = body.removeprefix(_xmp.PREFIX) if found.xmp is None else found.xmp
    elif marker == _APP1 and body.startswith(_EXTENSION_PREFIX) and len(body) >= len(_EXTENSION_PREFIX) + 40:
        name, rest = body[len(_EXTENSION_PREFIX) :][:32], body[len(_EXTENSION_PREFIX) + 32 :]
        found.extension.setdefault(name, []).append((*struct.unpack_from(">II", rest), rest[8:]))
    elif marker == _APP2 and body.startswith(_ICC_PREFIX) and len(body) > 14:
        # Of two profiles the first counts, whose segments come first.
        found.dropped += [_claims.SECOND_ICC] if body[12] in found.icc else []
        found.icc.setdefault(body[12], body[14:])
        found.icc_count = found.icc_count or body[13]
    elif marker == _APP13 and body.startswith(_PHOTOSHOP_PREFIX):
        found.photoshop.append(body.removeprefix(_PHOTOSHOP_PREFIX))
    elif marker == _APP12 and body.startswith(_DUCKY):
        _take_ducky(found, body)
    else:
        found.parts.append(Part("JPEG", bytes((marker,)), body))


def _take_ducky(found: _Found, body: bytes) -> None:
    """Note what Photoshop's export for the web wrote, but for the quality of the old file, the first of its records."""
    start = len(_DUCKY)
    number, size = struct.unpack_from(">HH", body.ljust(start + 4, b"\x00"), start)
    if number == _DUCKY_QUALITY:
        body = _DUCKY + body[start + 4 + size :]
        found.dropped.append(_claims.PACKING)
    if any(body[start:]):
        found.parts.append(Part("JPEG", bytes((_APP12,)), body))


def _take_jfif(found: _Found, body: bytes) -> None:
    """Note the density of a JFIF segment; a thumbnail in it does not come along."""
    if len(body) < 12 or any(part.key == JFIF for part in found.parts):
        return
    found.dpi = _stated_dpi(body)
    found.dropped += [_claims.PREVIEWS] if len(body) > 14 else []
    found.parts.append(Part("JPEG", JFIF, body[:12] + b"\x00\x00"))


def _take_exif(found: _Found, body: bytes) -> None:
    """Note a segment of EXIF: the first, one that goes on with it, or one of a further block."""
    if found.exif and body.startswith(_TIFF_STARTS):
        found.dropped.append(_claims.SECOND_EXIF)
    elif _claims.SECOND_EXIF not in found.dropped:
        found.exif.append(body)


def _whole_xmp(found: _Found) -> bytes | None:
    """Return the packet with its extension in it; an extension that is not whole is told and left."""
    if found.xmp is None or not found.extension:
        return found.xmp
    try:
        main = _xmp.as_utf8(found.xmp)
        name = _xmp.properties(main).get(_xmp.EXTENDED, b"")
        pieces = sorted(found.extension.get(name, []))
        extension = b"".join(piece for _, _, piece in pieces)
        if pieces and pieces[0][0] == len(extension) and _xmp.digest(extension).encode() == name.upper():
            bare = _xmp.edited(main, lambda key, _: b"" if key == _xmp.EXTENDED else None)
            return _xmp.joined(bare, extension)
    except ValueError:
        pass  # told below
    found.dropped.append(_claims.EXTENSION)
    return found.xmp


def _whole_icc(found: _Found) -> bytes | None:
    """Return the colour profile; one with segments missing is told and left."""
    if not found.icc:
        return None
    first = min(1, *found.icc)  # some writers count from zero
    if sorted(found.icc) != list(range(first, first + len(found.icc))) or len(found.icc) < found.icc_count:
        found.dropped.append(_claims.DAMAGED_ICC)
        return None
    return b"".join(found.icc[number] for number in sorted(found.icc))


def _trailer_words(trailer: bytes | memoryview) -> list[str]:
    """Return words for what stands behind a picture, but for zeros."""
    start = re.search(rb"[^\x00]", trailer)
    if start is None:
        return []
    if re.search(rb"MotionPhoto_Data|ftyp(?:mp4|isom|qt  )", trailer):
        return [_claims.MOTION]
    return [_claims.OTHER_PICTURES if trailer[start.start() :][:3] == _JPEG_START else _claims.TRAILER]


def quality_of(metadata: Metadata, least: int) -> int:
    """Return the quality from ``least`` to 100 at which libjpeg quantises brightness as finely as the source does."""
    tables = metadata.body_of(TABLES)
    if not tables:
        return least
    return next((q for q in range(least, 100) if sum(_scaled_table(q)) <= sum(tables)), 100)


def _scaled_table(quality: int) -> list[int]:
    """Return the table of a quality from 50 to 100, in no order (libjpeg's jpeg_quality_scaling)."""
    return [max(1, (value * (200 - 2 * quality) + 50) // 100) for value in JPEG_LUMA_TABLE]


def head(metadata: Metadata) -> list[bytes]:
    """Return the start of a JPEG up to its tables, in pieces.

    Args:
        metadata: EXIF without its prefix; every part of it has found its place already.

    Raises:
        ValueError: the profile is longer than 255 segments.
    """
    if len(metadata.icc or b"") > MAX_ICC:
        raise ValueError(
            f"a colour profile of {len(metadata.icc or b'')} bytes, of which JPEG holds {MAX_ICC}"
        )
    density = _density_body(metadata)
    pieces = [b"\xff\xd8", *([_packed_segment(_APP0, density)] if density else [])]
    pieces += [_packed_segment(_APP1, PREFIX + piece) for piece in _exif_pieces(metadata.exif or b"")]
    pieces += _xmp_segments(metadata.xmp)
    icc = _cut_pieces(metadata.icc or b"", _MAX_ICC_PART)
    for number, piece in enumerate(icc, 1):
        pieces.append(_packed_segment(_APP2, _ICC_PREFIX + bytes((number, len(icc))) + piece))
    block = _cut_pieces(metadata.photoshop or b"", _MAX_BODY - len(_PHOTOSHOP_PREFIX))
    pieces += [_packed_segment(_APP13, _PHOTOSHOP_PREFIX + piece) for piece in block]
    others = [part for part in metadata.parts if part.key not in (JFIF, PROGRESSIVE, TABLES)]
    return [*pieces, *(_packed_segment(part.key[0], part.body) for part in others)]


def _packed_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _cut_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _density_body(metadata: Metadata) -> bytes:
    """Return the body of a JFIF segment: as the source had it, where that is the resolution still; empty for none."""
    own = metadata.body_of(JFIF)
    if own is not None and density_of(metadata) == metadata.dpi and (own or metadata.exif):
        return own
    dpi = [round(value) for value in metadata.dpi or ()]
    return _JFIF_PREFIX + struct.pack(">BBBHHBB", 1, 1, *((1, *dpi) if dpi and all(dpi) else (0, 1, 1)), 0, 0)


def density_of(metadata: Metadata) -> tuple[float, float] | None:
    """Return the resolution that the JFIF segment of the source states, in dots per inch; None for none."""
    body = metadata.body_of(JFIF)
    return sane_dpi(_stated_dpi(body)) if body else None


def _stated_dpi(body: bytes) -> tuple[float, float] | None:
    """Return the resolution in the body of a JFIF segment; None where it has no unit."""
    unit, across, down = struct.unpack_from(">BHH", body, 7)
    scale = {1: 1.0, 2: CM_PER_INCH}.get(unit)
    return (across * scale, down * scale) if scale else None


def comments(text: str) -> list[Part]:
    """Return text for people as comments, one unless it is long."""
    return [Part("JPEG", COMMENT, piece) for piece in _cut_pieces(text.encode(), _MAX_BODY)]


def _exif_pieces(exif: bytes) -> list[bytes]:
    """Return EXIF in pieces of a segment each, of which none but the first looks like the start of a block."""
    pieces, position = [], 0
    while position < len(exif):
        end = position + _MAX_BODY - len(PREFIX)
        if exif.startswith(_TIFF_STARTS, end):
            end -= 1
        pieces.append(exif[position:end])
        position = end
    return pieces


def _xmp_segments(xmp: bytes | None) -> list[bytes]:
    """Return the segments of a packet, and of an extension where it is too long for one."""
    if not xmp:
        return []
    main, extension = _xmp.divided(xmp, MAX_XMP)
    start = _EXTENSION_PREFIX + _xmp.digest(extension).encode() + struct.pack(">I", len(extension))
    segments = [_packed_segment(_APP1, _xmp.PREFIX + main)]
    for offset, piece in zip(
        range(0, len(extension), _MAX_EXTENSION_PART),
        _cut_pieces(extension, _MAX_EXTENSION_PART),
        strict=True,
    ):
        segments.append(_packed_segment(_APP1, start + struct.pack(">I", offset) + piece))
    return segments

"""What a JPEG carries beside its pixels. Source: JFIF 1.02, EXIF 2.32, XMP part 3, ICC.1 B.4."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from facerestore.io._exif import CM_PER_INCH, PREFIX
from facerestore.types import Metadata

_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
_JFIF_PREFIX = b"JFIF\x00"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\x00"
_ICC_PREFIX = b"ICC_PROFILE\x00"


def read(data: bytes, segments: Iterable[tuple[int, int, int]]) -> Metadata:
    """Return the EXIF, XMP, ICC profile and resolution that a JPEG carries."""
    exif = b""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    parts: dict[int, bytes] = {}
    for marker, start, end in segments:
        if not _APP0 <= marker <= _APP2:
            continue
        body = data[start:end]
        if marker == _APP0 and body.startswith(_JFIF_PREFIX) and len(body) >= 12:
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            scale = {1: 1.0, 2: CM_PER_INCH}.get(unit)
            dpi = (across * scale, down * scale) if scale else None
        elif marker == _APP1 and body.startswith(PREFIX):
            # Some writers split long EXIF over several segments.
            exif += body.removeprefix(PREFIX)
        elif marker == _APP1 and body.startswith(_XMP_PREFIX):
            xmp = body.removeprefix(_XMP_PREFIX)
        elif marker == _APP2 and body.startswith(_ICC_PREFIX) and len(body) > 14:
            parts[body[12]] = body[14:]
    icc = b"".join(parts[number] for number in sorted(parts))
    return Metadata(exif=exif or None, xmp=xmp, icc=icc or None, dpi=dpi)

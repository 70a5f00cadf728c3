"""What a file carries, made true of the picture as it is read: upright, and in sRGB where its colours are converted."""

from __future__ import annotations

import math
import struct
from hashlib import md5

from facerestore.io import _claims, _exif, _exif_edit, _photoshop, _tiff_metadata, _xmp
from facerestore.io._xmp import Name
from facerestore.types import Metadata, Part

_MAX_DPI = 65535
_PHOTOSHOP_XMP = "http://ns.adobe.com/photoshop/1.0/"
LEGACY_DIGEST: Name = (_PHOTOSHOP_XMP, "LegacyIPTCDigest")
# What XMP repeats of how pixels are stored: not true of another format or another colour space.
STRUCTURE = {
    (_xmp.TIFF, name): b""
    for name in (
        "BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration",
        "YCbCrSubSampling", "YCbCrPositioning", "NativeDigest",
    )
}  # fmt: skip
_IN_SRGB = STRUCTURE | {
    (_PHOTOSHOP_XMP, "ICCProfile"): b"",
    (_PHOTOSHOP_XMP, "ColorMode"): b"3",
    (_xmp.EXIF, "ColorSpace"): b"1",
}
# Texts of ImageMagick, which tell people what EXIF said.
_TEXTS, _ORIENTATION_TEXTS = (b"tEXt", b"zTXt", b"iTXt"), (b"exif:Orientation\x00", b"tiff:Orientation\x00")
# Where x and y densities stand in the parts that hold them, and how each is packed.
_DENSITIES = {("JPEG", b"JFIF"): (8, ">H"), ("PNG", b"pHYs"): (0, ">I")}


def settled(metadata: Metadata, orientation: int | None, *, converted: bool) -> tuple[Metadata, int]:
    """Return what a file carries as it is true of the picture turned upright, and the orientation to apply to it.

    Args:
        metadata: as found in the file.
        orientation: as the container states it outside of EXIF; None where it does not.
        converted: the pixels were of another colour space and are sRGB now.
    """
    exif = metadata.exif.removeprefix(_exif.PREFIX) if metadata.exif else None
    turn = orientation or _exif_edit.opened(exif).orientation or _claims.xmp_orientation(metadata.xmp) or 1
    words = list(metadata.dropped)
    exif = _exif_edit.settled(exif, turn, words) if exif else None
    xmp = _claims.settled_xmp(metadata.xmp, turn, words) if metadata.xmp else None
    photoshop = _photoshop.settled(metadata.photoshop, turn, words) if metadata.photoshop else None
    iptc = _photoshop.settled_iptc(metadata.iptc, words) if metadata.iptc else None
    parts = tuple(_settled_part(part, turn, words) for part in metadata.parts)
    xmp = with_values(xmp, _iptc_digest(metadata, iptc or _photoshop.iptc_of(photoshop)))
    dpi = sane_dpi(metadata.dpi)
    if dpi and turn >= 5:
        dpi = (dpi[1], dpi[0])
    dpi = dpi or sane_dpi(_exif_edit.opened(exif).resolution)
    if converted:
        exif, xmp = _exif_edit.in_srgb(exif) if exif else None, with_values(xmp, _IN_SRGB)
        parts = tuple(part for part in parts if part.format != "PNG")
    icc = None if converted else metadata.icc
    kept = Metadata(
        exif=exif or None, xmp=xmp or None, icc=icc or None, dpi=dpi, iptc=iptc or None, photoshop=photoshop,
        parts=parts, dropped=tuple(dict.fromkeys(words)),
    )  # fmt: skip
    return kept, turn


def _iptc_digest(before: Metadata, records: bytes | None) -> dict[Name, bytes]:
    """Return the digest of IPTC records that XMP keeps of them, where they changed."""
    old = before.iptc or _photoshop.iptc_of(before.photoshop)
    if old is None or old == records:
        return {}
    return {
        LEGACY_DIGEST: md5(records, usedforsecurity=False).hexdigest().upper().encode() if records else b""
    }


def _settled_part(part: Part, turn: int, words: list[str]) -> Part:
    """Return a part as it is true of the picture turned upright, and add words for what is taken out."""
    place, code = _DENSITIES.get((part.format, part.key), (0, ""))
    if code and turn >= 5:
        middle, end = place + struct.calcsize(code), place + 2 * struct.calcsize(code)
        body = part.body
        return part._replace(body=body[:place] + body[middle:end] + body[place:middle] + body[end:])
    if turn != 1 and part.key in _TEXTS and part.body.startswith(_ORIENTATION_TEXTS):
        return Part("PNG", b"tEXt", part.body.partition(b"\x00")[0] + b"\x001")
    return _tiff_metadata.settled(part, turn, words) if part.key == _tiff_metadata.TAGS else part


def with_values(xmp: bytes | None, values: dict[Name, bytes]) -> bytes | None:
    """Return a packet in which properties, where it has them, have these values; with an empty one it has them not.

    One that cannot be read stays as it is.
    """
    if not xmp:
        return None
    try:
        return _xmp.edited(xmp, lambda name, _: values.get(name))
    except ValueError:
        return xmp


def sane_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a resolution, or None where it is zero, negative, no number, or beyond the 16 bits that JFIF has."""
    if dpi is None or not all(math.isfinite(value) and 0 < value <= _MAX_DPI for value in dpi):
        return None
    return (float(dpi[0]), float(dpi[1]))

"""What a file says of things that do not come along: it goes with them, and the words for it are for people.

Everything here is about the picture as it was: other renditions of it, signatures over its bytes, thumbnails that
show the face before the restoration.
"""

from __future__ import annotations

import re

from facerestore.io import _regions, _xmp
from facerestore.io._xmp import Name

GAIN_MAP = "HDR gain map"
MOTION = "motion photo video"
PREVIEWS = "thumbnails and previews, which show the photo as it was"
CREDENTIALS = "content credentials, which sign the file as it was"
DEPTH = "depth map"
REGIONS = "regions of the picture as it was stored"
EXTENSION = "incomplete extension of the XMP"
UNREADABLE_XMP = "XMP, which is damaged and states what would not hold"
OTHER_PICTURES = "further pictures after the first"
PACKING = "how the old file was compressed"
TRAILER = "what a program had put behind the picture"
PANORAMA = "panorama geometry, given in pixels of the old size"
SECOND_EXIF, SECOND_XMP, SECOND_ICC = "second EXIF block", "second XMP packet", "second colour profile"
DAMAGED_ICC = "incomplete colour profile"

ORIENTATION: Name = (_xmp.TIFF, "Orientation")
_REGIONS: tuple[Name, ...] = ((_regions.AREAS, "Regions"), (_regions.RECTANGLES, "RegionInfo"))
_IPTC_REGIONS: Name = ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "ImageRegion")
_GOOGLE = "http://ns.google.com/photos/"
# Namespaces whose every property is about one thing.
_NAMESPACES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/1.0/": GAIN_MAP,
    "http://ns.apple.com/pixeldatainfo/1.0/": GAIN_MAP,
    f"{_GOOGLE}1.0/container/": OTHER_PICTURES,
    f"{_GOOGLE}1.0/image/": PREVIEWS,
    f"{_GOOGLE}1.0/audio/": OTHER_PICTURES,
}
_DEPTH_NAMESPACES = (f"{_GOOGLE}1.0/depthmap/", f"{_GOOGLE}dd/1.0/")
_PROPERTIES = {
    _xmp.EXTENDED: EXTENSION,
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"): PREVIEWS,
    ("http://purl.org/dc/terms/", "provenance"): CREDENTIALS,
}
# MicroVideo, MicroVideoOffset, MotionPhoto, MotionPhotoVersion and their like, in the namespace of any maker.
_MOTION = re.compile(r"MicroVideo|MotionPhoto|VideoLength$")
# What a packet that cannot be read must not say, for it cannot be taken out of it.
_STATEMENTS = re.compile(
    rb"Orientation|hdr-gain-map|HDRGainMap|MicroVideo|MotionPhoto|photos/1\.0/|HasExtendedXMP|Thumbnails"
)


def claim_of(name: Name, *, turned: bool) -> str | None:
    """Return what a property of XMP is about, where that does not come along; None for all that does.

    Args:
        name: of the property.
        turned: the picture was turned upright, and what lies beside it was not.
    """
    namespace, local = name
    if namespace.startswith(_DEPTH_NAMESPACES):
        return DEPTH if turned or namespace.startswith(_DEPTH_NAMESPACES[1]) else None
    if name == _IPTC_REGIONS:
        return REGIONS if turned else None
    if _MOTION.match(local):
        return MOTION
    return _PROPERTIES.get(name) or _NAMESPACES.get(namespace)


def xmp_orientation(packet: bytes | None) -> int | None:
    """Return the orientation 1 to 8 that an XMP packet states; None for none."""
    try:
        value = _xmp.properties(_xmp.as_utf8(packet)).get(ORIENTATION, b"") if packet else b""
    except ValueError:
        return None
    return int(value) if value in {b"%d" % number for number in range(1, 9)} else None


def settled_xmp(packet: bytes, turn: int, words: list[str]) -> bytes | None:
    """Return a packet with orientation 1 and without what does not come along; None where nothing is left of it.

    Args:
        packet: as found.
        turn: the orientation that was applied; the regions of people turn with the picture.
        words: to which is added what was taken out.
    """
    found: list[str] = []

    def change(name: Name, value: bytes) -> bytes | None:
        if name == ORIENTATION:
            return b"1"
        if turn != 1 and name in _REGIONS:
            return _regions.turned(value, text, turn)
        claim = claim_of(name, turned=turn != 1)
        found.extend([claim] if claim else [])
        return b"" if claim else None

    try:
        text = _xmp.as_utf8(packet)
        kept = _xmp.edited(text, change)
    except ValueError:
        if not _STATEMENTS.search(packet.replace(b"\x00", b"")):
            return packet
        kept, found = b"", [UNREADABLE_XMP]
    words += found
    return kept or None

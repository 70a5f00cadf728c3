"""What a file says of things that do not come along: it goes with them, and the words for it are for people.

Everything here is about the picture as it was: other renditions of it, signatures over its bytes, thumbnails that
show the face before the restoration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from facerestore.io import _xmp
from facerestore.io._xmp import Edit, Name, applied

GAIN_MAP = "HDR gain map"
MOTION = "motion photo video"
PREVIEWS = "thumbnails and previews, which show the photo as it was"
CREDENTIALS = "content credentials, which sign the file as it was"
DEPTH = "depth map"
AUXILIARY = "auxiliary pictures, such as mattes, which belong to the photo as it was"
REGIONS = "regions of the picture as it was stored"
EXTENSION = "incomplete extension of the XMP"
UNREADABLE_XMP = "XMP, which is damaged and states what would not hold"
OTHER_PICTURES = "further pictures after the first"
PACKING = "how the old file was compressed"
TRAILER = "what a program had put behind the picture"
PANORAMA = "panorama geometry, given in pixels of the old size"
SECOND_EXIF, SECOND_XMP, SECOND_ICC = "second EXIF block", "second XMP packet", "second colour profile"
DAMAGED_ICC = "incomplete colour profile"

AREAS = "http://www.metadataworkinggroup.com/schemas/regions/"
RECTANGLES = "http://ns.microsoft.com/photo/1.2/"

_AREA, _SIDES = b"http://ns.adobe.com/xmp/sType/Area#", b"http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_VALUE = rb":(%b)(\s*=\s*[\"']|\s*>\s*)([^\"'<]*)"
_RECTANGLE = re.compile(rb"(:Rectangle(?:\s*=\s*[\"']|\s*>\s*))([^\"'<]*)")

Match = re.Match[bytes]

ORIENTATION: Name = (_xmp.TIFF, "Orientation")
_REGIONS: tuple[Name, ...] = ((AREAS, "Regions"), (RECTANGLES, "RegionInfo"))
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
            return turned_regions(value, text, turn)
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


def turned_regions(regions: bytes, packet: bytes, turn: int) -> bytes:
    """Return regions of people, as XML, on a picture that was turned as EXIF orientation 1 to 8 says.

    Source: MWG Guidelines for Handling Image Metadata 2.0, section 5.9; Microsoft Photo 1.2 (RegionInfo).

    Args:
        regions: the value of the property: of normalised numbers, centres in those of MWG, corners in Microsoft's.
        packet: that they stand in, which declares the prefixes.
        turn: the orientation that was applied.
    """
    edits: list[Edit] = []
    for found in _value_groups(regions, _prefix_of(packet, _AREA), b"[xywh]"):
        edits += _area_edits(found, turn)
    if turn >= 5:
        for found in _value_groups(regions, _prefix_of(packet, _SIDES), b"[wh]"):
            values = [found[key][3] for key in (b"h", b"w") if key in found]
            edits += [
                (*m.span(3), value)
                for m, value in zip(map(found.get, (b"w", b"h")), values, strict=False)
                if m
            ]
    for match in _RECTANGLE.finditer(regions):
        edits += _rectangle_edits(match, turn)
    return applied(regions, edits)


def _prefix_of(packet: bytes, namespace: bytes) -> bytes:
    """Return the prefix of a namespace in a packet; one that nothing has where it is not declared."""
    found = re.search(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']", packet)
    return found[1] if found else b"\x00"


def _value_groups(regions: bytes, prefix: bytes, names: bytes) -> Iterator[dict[bytes, Match]]:
    """Yield the values of each structure, by name: where a name comes again, the next structure starts."""
    group: dict[bytes, Match] = {}
    for match in re.finditer(rb"[\s<]" + re.escape(prefix) + _VALUE % names, regions):
        if match[1] in group:
            yield group
            group = {}
        group[match[1]] = match
    if group:
        yield group


def _turned_point(x: float, y: float, turn: int) -> tuple[float, float]:
    """Return where a point of the unit square is after a turn."""
    turned_points = {
        2: (1 - x, y), 3: (1 - x, 1 - y), 4: (x, 1 - y),
        5: (y, x), 6: (1 - y, x), 7: (1 - y, 1 - x), 8: (y, 1 - x),
    }  # fmt: skip
    return turned_points.get(turn, (x, y))


def _packed_number(value: float) -> bytes:
    return f"{value:.6f}".rstrip("0").rstrip(".").encode() or b"0"


def _area_edits(found: dict[bytes, Match], turn: int) -> list[Edit]:
    """Return the new centre and sides of an area."""
    try:
        values = {key: float(match[3]) for key, match in found.items()}
    except ValueError:
        return []
    new = dict(values)
    if {b"x", b"y"} <= set(values):
        new[b"x"], new[b"y"] = _turned_point(values[b"x"], values[b"y"], turn)
    if turn >= 5 and {b"w", b"h"} <= set(values):
        new[b"w"], new[b"h"] = values[b"h"], values[b"w"]
    return [(*match.span(3), _packed_number(new[key])) for key, match in found.items()]


def _rectangle_edits(match: Match, turn: int) -> list[Edit]:
    """Return the new corner and sides of a rectangle."""
    try:
        left, top, width, height = (float(value) for value in match[2].split(b","))
    except ValueError:
        return []
    x, y = _turned_point(left + width / 2, top + height / 2, turn)
    width, height = (height, width) if turn >= 5 else (width, height)
    new = b", ".join(map(_packed_number, (x - width / 2, y - height / 2, width, height)))
    return [(*match.span(2), new)]

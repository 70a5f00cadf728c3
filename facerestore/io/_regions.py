"""Regions of people in XMP, which count on the picture as it is stored, turned with it.

Source: MWG Guidelines for Handling Image Metadata 2.0, section 5.9; Microsoft Photo 1.2 (RegionInfo).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from facerestore.io._xmp import Edit, applied

AREAS = "http://www.metadataworkinggroup.com/schemas/regions/"
RECTANGLES = "http://ns.microsoft.com/photo/1.2/"

_AREA, _SIDES = b"http://ns.adobe.com/xmp/sType/Area#", b"http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_VALUE = rb":(%b)(\s*=\s*[\"']|\s*>\s*)([^\"'<]*)"
_RECTANGLE = re.compile(rb"(:Rectangle(?:\s*=\s*[\"']|\s*>\s*))([^\"'<]*)")

Match = re.Match[bytes]


def turned(regions: bytes, packet: bytes, turn: int) -> bytes:
    """Return regions, as XML, on a picture that was turned as EXIF orientation 1 to 8 says.

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

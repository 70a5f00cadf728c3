"""ICC profiles: what they are of, and small ones made for what a format says in another way.

Source: ICC.1:2001-04 (version 2), which every reader knows; primaries and curves from ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_D50 = (0.9642, 1.0, 0.8249)
# Bradford's cone responses, which ICC.1 annex E adapts white points with.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D65 = (0.3127, 0.329)
BT709: tuple[float, ...] = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""White, red, green and blue, x and y each."""
# H.273 table 2, those with a red, a green and a blue: BT.709, BT.470 M and BG, SMPTE 170M and 240M, BT.2020, P3.
PRIMARIES: Mapping[int, tuple[float, ...]] = {
    1: BT709,
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
# H.273 table 3 by their exponents (BT.470 M and BG, linear); sRGB and BT.709 have curves of their own.
GAMMAS: Mapping[int, float] = {4: 2.2, 5: 2.8, 8: 1.0}
SRGB_CURVE, BT709_CURVES = 13, (1, 6, 14, 15)
_CURVE_POINTS = 1024


def space_of(icc: bytes) -> bytes:
    """Return the four letters of the colour space that a profile is for (ICC.1, 7.2.6): ``RGB ``, ``GRAY``."""
    return icc[16:20]


def _adapted_primaries(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Return (3, 3) XYZ of red, green and blue, a column each, adapted to D50."""
    xy = np.array(primaries).reshape(4, 2)
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    white, colours = xyz[:, 0], xyz[:, 1:]
    colours = colours * np.linalg.solve(colours, white)
    gains = (_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.solve(_BRADFORD, gains[:, None] * (_BRADFORD @ colours))
    return adapted


def of_gamma(gamma: float) -> bytes:
    """Return the tone curve of an exponent, from what is stored to light, as an ICC element."""
    if gamma == 1:
        return b"curv" + bytes(8)
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)


def of_curve(transfer: int) -> bytes:
    """Return the tone curve of sRGB, or that of BT.709, as an ICC element."""
    stored = np.linspace(0, 1, _CURVE_POINTS)
    cut, slope, offset, power = (
        (0.04045, 12.92, 0.055, 2.4) if transfer == SRGB_CURVE else (0.081, 4.5, 0.099, 1 / 0.45)
    )
    light = np.where(stored < cut, stored / slope, ((stored + offset) / (1 + offset)) ** power)
    points = np.rint(light * 65535).astype(">u2").tobytes()
    return b"".join((b"curv", struct.pack(">II", 0, _CURVE_POINTS), points))


def rgb_profile(name: str, primaries: tuple[float, ...], curve: bytes) -> bytes | None:
    """Return a profile of primaries and one tone curve; None for primaries that span no colours.

    Args:
        name: what people are shown.
        primaries: of white, red, green and blue, x and y each.
        curve: an ICC element.
    """
    if not all(primaries[1::2]):
        return None
    try:
        colours = _adapted_primaries(primaries)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(colours).all() or np.abs(colours).max() > 2:
        return None
    tags = {f"{letter}XYZ".encode(): _xyz_element(colours[:, i]) for i, letter in enumerate("rgb")}
    tags |= {f"{letter}TRC".encode(): curve for letter in "rgb"}
    return _packed_profile(b"RGB ", name, tags)


def grey_profile(name: str, curve: bytes) -> bytes:
    """Return a profile of grey with a tone curve, an ICC element."""
    return _packed_profile(b"GRAY", name, {b"kTRC": curve})


def grey_as_rgb(icc: bytes) -> bytes | None:
    """Return a profile for the same greys in three equal channels; None where a grey profile has no tone curve."""
    count = struct.unpack_from(">I", icc, 128)[0] if len(icc) >= 132 else 0
    for at in range(132, min(132 + 12 * count, len(icc) - 11), 12):
        tag, start, size = struct.unpack_from(">4sII", icc, at)
        if tag == b"kTRC" and start + size <= len(icc):
            return rgb_profile("Grey in three channels", BT709, icc[start : start + size])
    return None


def _xyz_element(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _packed_profile(space: bytes, name: str, tags: Mapping[bytes, bytes]) -> bytes:
    """Return a display profile of version 2."""
    text = name.encode("ascii") + b"\x00"
    description = b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    elements = {
        b"desc": description,
        b"cprt": b"text" + bytes(4) + b"Public domain\x00",
        b"wtpt": _xyz_element(np.array(_D50)),
        **tags,
    }
    table, body, places = b"", b"", dict[bytes, int]()
    start = 128 + 4 + 12 * len(elements)
    for tag, element in elements.items():
        if element not in places:
            places[element] = start + len(body)
            body += element.ljust(-(-len(element) // 4) * 4, b"\x00")
        table += struct.pack(">4sII", tag, places[element], len(element))
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp").ljust(68 - len(head), b"\x00")
    head = head.ljust(68, b"\x00") + _xyz_element(np.array(_D50))[8:]
    return head.ljust(128, b"\x00") + struct.pack(">I", len(elements)) + table + body

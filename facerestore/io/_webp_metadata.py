"""What a WebP carries beside its pixels, and the container that holds it. Source: RFC 9649 section 2."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from facerestore.io import _claims
from facerestore.types import Metadata, Part

LOSSLESS = b"VP8L"
"""Key of the part that says that the pixels were stored without loss."""

_HEADER, _ICC, _EXIF, _XMP = b"VP8X", b"ICCP", b"EXIF", b"XMP "
_PIXELS = (b"VP8 ", LOSSLESS, b"ALPH", b"ANIM", b"ANMF")
_HAS_ICC, _HAS_ALPHA, _HAS_EXIF, _HAS_XMP = 0x20, 0x10, 0x08, 0x04
_CREDENTIALS = b"C2PA"


def read(chunks: Iterable[tuple[bytes, memoryview]]) -> Metadata:
    """Return what a WebP carries; chunks that the specification does not know are kept, as it asks for."""
    found: dict[bytes, bytes] = {}
    parts, dropped = [], []
    for kind, body in chunks:
        if kind == LOSSLESS:
            parts.append(Part("WEBP", LOSSLESS, b""))
        elif kind == _CREDENTIALS:
            dropped.append(_claims.CREDENTIALS)
        elif kind in (_ICC, _EXIF, _XMP):
            found.setdefault(kind, bytes(body))
        elif kind not in (*_PIXELS, _HEADER):
            parts.append(Part("WEBP", kind, bytes(body)))
    return Metadata(
        exif=found.get(_EXIF),
        xmp=found.get(_XMP),
        icc=found.get(_ICC),
        parts=tuple(parts),
        dropped=tuple(dropped),
    )


def container(
    pixels: Sequence[tuple[bytes, memoryview]], metadata: Metadata, *, size: tuple[int, int], alpha: bool
) -> bytes:
    """Return a WebP of the chunks of an encoded picture and of what it carries.

    Args:
        pixels: chunks of a WebP; those that are no pixels are left out.
        metadata: every part of it has found its place already.
        size: width and height.
        alpha: the picture has transparency.
    """
    others = [(part.key, part.body) for part in metadata.parts if part.key != LOSSLESS]
    held = {_ICC: metadata.icc, _EXIF: metadata.exif, _XMP: metadata.xmp}
    chunks: list[tuple[bytes, bytes | memoryview]] = [chunk for chunk in pixels if chunk[0] in _PIXELS]
    if others or any(held.values()) or any(kind == b"ALPH" for kind, _ in chunks):
        bits = {_ICC: _HAS_ICC, _EXIF: _HAS_EXIF, _XMP: _HAS_XMP}
        flags = sum(bits[kind] for kind, body in held.items() if body) | (_HAS_ALPHA if alpha else 0)
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        first = [
            (_HEADER, struct.pack("<I", flags) + sides),
            *((_ICC, body) for body in [metadata.icc] if body),
        ]
        after = [(kind, body) for kind, body in held.items() if body and kind != _ICC]
        chunks = [*first, *chunks, *after, *others]
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

"""WebP: its RIFF chunks, its pixels, what it carries, and a writer. Source: WebP Container Specification, RFC 9649."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO

from facerestore.io import _claims, _pillow
from facerestore.io._opencv import opencv_pixels, swap_red_and_blue, without_alpha
from facerestore.io._overheard import overheard
from facerestore.io._source import Decoded, Samples, Source, finish
from facerestore.types import DecodedImage, Metadata, Part

LOSSLESS = b"VP8L"
"""Key of the part that says that the pixels were stored without loss."""

_HEADER, _ICC, _EXIF, _XMP = b"VP8X", b"ICCP", b"EXIF", b"XMP "
_PIXELS = (b"VP8 ", LOSSLESS, b"ALPH", b"ANIM", b"ANMF")
_HAS_ICC, _HAS_ALPHA, _HAS_EXIF, _HAS_XMP = 0x20, 0x10, 0x08, 0x04
_CREDENTIALS = b"C2PA"
_FRAME_HEADER = 16
_MAX_CHUNKS = 2**16  # hours of an animation


def decode(source: Source) -> DecodedImage:
    """Return the decoded WebP.

    Raises:
        ImageError: damaged, truncated, animated and no frame chosen, or over the limit on pixels.
    """
    chunks = _chunks_of(source)
    frames = [body for kind, body in chunks if kind == b"ANMF"]
    frame = source.choose(max(1, len(frames)), "animation frame")
    source.check_size(*_stated_size(source, chunks))
    metadata = _read_metadata(chunks)
    if len(frames) > 1:
        decoded = overheard(lambda: _animation_frame(source, frame))[0]
        if frames[frame][_FRAME_HEADER:][:4] == LOSSLESS:
            metadata = replace(metadata, parts=(*metadata.parts, Part("WEBP", LOSSLESS, b"")))
    else:
        decoded = overheard(lambda: _still_pixels(source))[0]
    return finish(decoded, metadata, "WEBP")


def _still_pixels(source: Source) -> Decoded:
    """Return the pixels of a picture that does not move."""
    import cv2

    decoded = opencv_pixels(source, [source.data], cv2.IMREAD_UNCHANGED)
    return Decoded(*without_alpha(decoded)) if decoded.shape[2] == 4 else Decoded(swap_red_and_blue(decoded))


def _animation_frame(source: Source, frame: int) -> Decoded:
    """Return one frame of an animation, as it is shown."""
    from PIL import WebPImagePlugin

    picture = WebPImagePlugin.WebPImageFile(BytesIO(source.data))
    picture.seek(frame)
    return _pillow.channels(picture, source.name)._replace(grey=False)


def _chunks_of(source: Source) -> list[tuple[bytes, memoryview]]:
    """Return (type, body) of every chunk; each body starts at an even offset."""
    data = memoryview(source.data)
    end = 8 + struct.unpack_from("<I", data, 4)[0] if len(data) >= 12 else len(data) + 1
    if end > len(data):
        raise source.damaged(f"the WebP states {end} bytes and has {len(data)}")
    chunks = list[tuple[bytes, memoryview]]()
    position = 12
    while position + 8 <= end:
        if len(chunks) >= _MAX_CHUNKS:
            raise source.excessive("chunks", _MAX_CHUNKS)
        length = struct.unpack_from("<I", data, position + 4)[0]
        chunks.append((bytes(data[position : position + 4]), data[position + 8 : position + 8 + length]))
        position += 8 + length + length % 2
    return chunks


def _stated_size(source: Source, chunks: list[tuple[bytes, memoryview]]) -> tuple[int, int]:
    """Return (width, height) as the first chunk states it: a canvas, lossless, or a key frame (RFC 6386 9.1)."""
    kind, body = chunks[0] if chunks else (b"", memoryview(b""))
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise source.damaged("no picture in the WebP")


def encode(samples: Samples, metadata: Metadata, quality: int | None, *, default_quality: int) -> bytes:
    """Return a WebP.

    Args:
        samples: (H, W, C) uint8 of 1 to 4 channels.
        metadata: as `_across` made them fit.
        quality: 1 to 100; None to store without loss what was stored so, and the rest with the default.
        default_quality: of what was not.

    Raises:
        OSError: from Pillow, for what it cannot encode.
    """
    from PIL import Image as PillowImage

    height, width, count = samples.shape
    lossless = quality is None and metadata.body_of(LOSSLESS) is not None
    stream = BytesIO()
    picture = PillowImage.fromarray(samples[..., 0] if count == 1 else samples)
    # exact: the colours under full transparency are the picture's too.
    if lossless:
        picture.save(stream, "WEBP", lossless=True, exact=True)
    else:
        picture.save(stream, "WEBP", quality=quality or default_quality, exact=True)
    chunks = _chunks_of(Source(stream.getvalue(), "the WebP as encoded"))
    return _packed_container(chunks, metadata, size=(width, height), alpha=count in (2, 4))


def _read_metadata(chunks: Iterable[tuple[bytes, memoryview]]) -> Metadata:
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


def _packed_container(
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

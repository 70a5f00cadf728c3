"""WebP: its RIFF chunks, its pixels, and a writer. Source: WebP Container Specification, RFC 9649."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO

from PIL import Image as PillowImage
from PIL import WebPImagePlugin

from facerestore.io import _pillow, _webp_metadata
from facerestore.io._opencv import opencv_pixels, swap_red_and_blue, without_alpha
from facerestore.io._overheard import overheard
from facerestore.io._source import Samples, Source, finish
from facerestore.types import DecodedImage, Metadata, Part

_FRAME_HEADER = 16
_MAX_CHUNKS = 2**16  # hours of an animation


def decode(source: Source) -> DecodedImage:
    """Return the decoded WebP.

    Raises:
        ImageError: damaged, truncated, animated and no frame chosen, or over the limit on pixels.
    """
    chunks = chunks_of(source)
    frames = [body for kind, body in chunks if kind == b"ANMF"]
    frame = source.choose(max(1, len(frames)), "animation frame")
    source.check_size(*_size(source, chunks))
    metadata = _webp_metadata.read(chunks)
    if len(frames) > 1:
        pixels, alpha = overheard(lambda: _frame(source, frame))[0]
        if frames[frame][_FRAME_HEADER:][:4] == _webp_metadata.LOSSLESS:
            metadata = replace(metadata, parts=(*metadata.parts, Part("WEBP", _webp_metadata.LOSSLESS, b"")))
    else:
        pixels, alpha = overheard(lambda: _pixels(source))[0]
    return finish(pixels, alpha, grey=False, metadata=metadata, format="WEBP")


def _pixels(source: Source) -> tuple[Samples, Samples | None]:
    """Return (H, W, 3) RGB and (H, W) alpha or None, as stored."""
    import cv2

    decoded = opencv_pixels(source, [source.data], cv2.IMREAD_UNCHANGED)
    return without_alpha(decoded) if decoded.shape[2] == 4 else (swap_red_and_blue(decoded), None)


def _frame(source: Source, frame: int) -> tuple[Samples, Samples | None]:
    """Return one frame of an animation, as it is shown."""
    picture = WebPImagePlugin.WebPImageFile(BytesIO(source.data))
    picture.seek(frame)
    return _pillow.channels(picture, source.name)[:2]


def chunks_of(source: Source) -> list[tuple[bytes, memoryview]]:
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


def _size(source: Source, chunks: list[tuple[bytes, memoryview]]) -> tuple[int, int]:
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
    height, width, count = samples.shape
    lossless = quality is None and metadata.body_of(_webp_metadata.LOSSLESS) is not None
    stream = BytesIO()
    picture = PillowImage.fromarray(samples[..., 0] if count == 1 else samples)
    # exact: the colours under full transparency are the picture's too.
    if lossless:
        picture.save(stream, "WEBP", lossless=True, exact=True)
    else:
        picture.save(stream, "WEBP", quality=quality or default_quality, exact=True)
    chunks = chunks_of(Source(stream.getvalue(), "the WebP as encoded"))
    return _webp_metadata.container(chunks, metadata, size=(width, height), alpha=count in (2, 4))

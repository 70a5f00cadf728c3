"""PNG: its chunks, its pixels, and a writer for every depth. Source: PNG specification, third edition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from facerestore.io import _pillow, _png_metadata
from facerestore.io._files import Buffer
from facerestore.io._opencv import opencv_pixels, without_alpha
from facerestore.io._png_metadata import chunk
from facerestore.io._rows import Rows
from facerestore.io._source import Source, finish
from facerestore.types import DecodedImage, Metadata

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_GREY, _GREY_ALPHA, _RGB_ALPHA = 0, 4, 6
# Measured on five photos: level 1 with this one filter gives the size of Pillow's level 1 in half its time, and is
# 3% over its level 3, at a third of the time.
_COMPRESSION_LEVEL = 1
_FILTER_AVERAGE = 3
_ROWS_PER_BLOCK = 64


def decode(source: Source) -> DecodedImage:
    """Return the decoded PNG; 16-bit files stay 16-bit.

    Raises:
        ImageError: damaged, truncated, animated, or over the limit on pixels.
    """
    chunks = list(_chunks(source))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise source.damaged("no IHDR chunk")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", chunks[0][1])
    for kind, body in chunks:
        if kind == b"acTL" and len(body) >= 4:
            source.check_single(struct.unpack_from(">I", body)[0], "animation frames")
    source.check_size(width, height)
    metadata = _png_metadata.read(chunks)
    keyed = any(kind == b"tRNS" for kind, _ in chunks)
    if depth == 16 or (depth == 8 and colour_type in _COLOUR_TYPES.values() and not keyed):
        return _decode_samples(source, chunks, metadata, colour_type)
    picture = PngImagePlugin.PngImageFile(BytesIO(b"".join(_bare(chunks, _PIXEL_CHUNKS))))
    pixels, alpha, grey = _pillow.channels(picture, source.name)
    return finish(pixels, alpha, grey=grey, metadata=metadata, format="PNG")


def _chunks(source: Source) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, body) of every chunk up to IEND; check that the file is whole and the pixel chunks are intact."""
    data = memoryview(source.data)
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        length = struct.unpack_from(">I", data, position)[0]
        end = position + 12 + length
        if end > len(data):
            break
        kind = bytes(data[position + 4 : position + 8])
        stated = struct.unpack_from(">I", data, end - 4)[0]
        if kind in _PIXEL_CHUNKS and zlib.crc32(data[position + 4 : end - 4]) != stated:
            raise source.damaged(f"wrong checksum in chunk {kind.decode('ascii')}")
        yield kind, data[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
    raise source.damaged("the PNG ends before its IEND chunk")


def _bare(chunks: list[tuple[bytes, memoryview]], kinds: tuple[bytes, ...]) -> Iterator[Buffer]:
    """Yield the pieces of a PNG of the given kinds of chunks alone, so that no decoder trips over the others."""
    yield _SIGNATURE
    for kind, body in chunks:
        if kind in kinds:
            yield struct.pack(">I", len(body)) + kind
            yield body
            yield struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _decode_samples(
    source: Source, chunks: list[tuple[bytes, memoryview]], metadata: Metadata, colour_type: int
) -> DecodedImage:
    """Return a decoded PNG of 8 or 16 bits a sample, through OpenCV: Pillow takes 4 bytes for 3 and has none of 16."""
    import cv2

    transparent = colour_type in (_GREY_ALPHA, _RGB_ALPHA)
    flags = cv2.IMREAD_UNCHANGED if transparent else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
    decoded = opencv_pixels(source, _bare(chunks, (b"IHDR", b"IDAT", b"IEND")), flags)
    pixels, alpha = without_alpha(decoded) if transparent else (decoded, None)
    key = next((body for kind, body in chunks if kind == b"tRNS"), None)
    if key is not None and alpha is None:
        colour = np.array(np.frombuffer(key, ">u2"), np.uint16)
        alpha = np.where((pixels == colour).all(axis=2), 0, 0xFFFF).astype(np.uint16)
    grey = colour_type in (_GREY, _GREY_ALPHA)
    return finish(pixels, alpha, grey=grey, metadata=metadata, format="PNG")


def encode(samples: Rows, metadata: Metadata) -> list[bytes]:
    """Return a PNG of the given samples, in pieces.

    Args:
        samples: uint8 or uint16.
        metadata: as `_across` made them fit.
    """
    height, width, count = samples.shape
    head = struct.pack(">IIBBBBB", width, height, samples.dtype.itemsize * 8, _COLOUR_TYPES[count], 0, 0, 0)
    kept = _png_metadata.chunks(metadata, channels=count, depth=samples.dtype.itemsize * 8)
    parts = [_SIGNATURE, chunk(b"IHDR", head), *kept]
    parts += [chunk(b"IDAT", block) for block in _compressed(samples)]
    return [*parts, chunk(b"IEND", b"")]


def _compressed(samples: Rows) -> Iterator[bytes]:
    """Yield the zlib stream of the filtered rows, block by block, so that no second copy of the picture is held."""
    height, width, count = samples.shape
    step = count * samples.dtype.itemsize
    stream = zlib.compressobj(_COMPRESSION_LEVEL)
    above = np.zeros((1, width * step), np.uint8)
    for top in range(0, height, _ROWS_PER_BLOCK):
        block = np.ascontiguousarray(samples[top : top + _ROWS_PER_BLOCK])
        rows = block.astype(block.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(len(block), -1)
        part = stream.compress(_average_filtered(rows, above, step))
        above = rows[-1:]
        if part:
            yield part
    yield stream.flush()


def _average_filtered(
    rows: NDArray[np.uint8],
    above: NDArray[np.uint8],
    step: int,
) -> bytes:
    """Return rows as PNG filter type 3: each byte less the floored mean of its left and upper neighbours (9.2).

    Args:
        rows: (N, bytes per row) uint8.
        above: (1, bytes per row), the row before.
        step: bytes per pixel.
    """
    up = np.concatenate((above, rows[:-1]))
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _FILTER_AVERAGE
    # floor((a + b) / 2) without leaving 8 bits.
    np.subtract(rows, (left & up) + ((left ^ up) >> 1), out=filtered[:, 1:])
    return filtered.tobytes()

"""Reads the fields of a protocol buffer, such as an ONNX file, from a stream and without a schema.

A message is a list of fields, each a varint key (number * 8 + wire type) and a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from facerestore.errors import MalformedError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types."""

VARINT_BYTES = 10
"""Of the longest varint, which holds 64 bits."""


def fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield number and length of each field; whoever asks reads or skips that many bytes before the next.

    The value of a varint is passed over, and its length given as 0.

    Args:
        stream: at the beginning of a message.
        end: where the message ends.

    Raises:
        MalformedError: it is no message, or is cut short.
    """
    while stream.tell() < end:
        key = _varint(stream)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _varint(stream)
            length = 0
        else:
            length = _varint(stream) if kind == LENGTH else {FIXED64: 8, FIXED32: 4}.get(kind, -1)
        if number == 0 or length < 0:
            raise MalformedError(f"no field begins at byte {stream.tell()}")
        if stream.tell() + length > end:
            raise MalformedError(f"{stream.tell() + length} bytes are announced, {end} are there")
        yield number, length


def _varint(stream: BinaryIO) -> int:
    value = 0
    for index in range(VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << 7 * index
        if byte[0] < 0x80:
            return value
    raise MalformedError("a number has no end")

"""Fixes the input shape of an ONNX file in memory, without the onnx package.

OpenCV 4 cannot import a graph whose input has symbolic dimensions and which reads them with Shape nodes; YuNet's
dynamic export is such a graph. Only its batch size is read, so any fixed shape gives the same network, and
``cv2.FaceDetectorYN`` still accepts every picture size.

An ONNX file is a protocol buffer: a message is a list of fields, each a varint key (number * 8 + wire type) and a
value. The path to a dimension is ModelProto.graph(7).input(11).type(2).tensor_type(1).shape(2).dim(1), and a
dimension is dim_value(1), a varint, or dim_param(2), a string (onnx.proto3, ONNX 1.x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from facerestore.errors import CheckpointError

GRAPH, INPUT, SHAPE_PATH, DIM, DIM_VALUE = 7, 11, (2, 1, 2), 1, 1
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # protocol-buffer wire types


def with_input_shape(model: bytes, shape: Sequence[int]) -> bytes:
    """Return the ONNX ``model`` with the dimensions of its first input replaced by ``shape``.

    Raises:
        CheckpointError: the bytes are no ONNX model, or its input has another number of dimensions.
    """
    found: list[int] = []

    def set_dims(message: bytes) -> bytes:
        found.append(sum(number == DIM for number, _, _ in _fields(message)))
        dims = [_field(DIM, _field(DIM_VALUE, size)) for size in shape]
        return b"".join(dims + [raw for number, _, raw in _fields(message) if number != DIM])

    def set_input(message: bytes) -> bytes:
        return message if found else _edit(message, SHAPE_PATH, set_dims)

    edited = _edit(model, (GRAPH, INPUT), set_input)
    if found != [len(shape)]:
        raise CheckpointError(
            f"the ONNX input has {found or 'no'} dimensions, expected {len(shape)}; not a YuNet file?"
        )
    return edited


def _edit(message: bytes, path: Sequence[int], change: Callable[[bytes], bytes]) -> bytes:
    """Return ``message`` with ``change`` applied to the embedded messages at ``path``."""
    if not path:
        return change(message)
    parts: list[bytes] = []
    for number, value, raw in _fields(message):
        matches = number == path[0] and isinstance(value, bytes)
        parts.append(_field(number, _edit(value, path[1:], change)) if matches else raw)  # type: ignore[arg-type]
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int, bytes]]:
    """Yield (number, value, raw bytes with key) of each field of a message."""
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        value: bytes | int
        if kind == VARINT:
            value, position = _varint(message, position)
        else:
            length = {FIXED64: 8, FIXED32: 4}.get(kind)
            if kind == LENGTH:
                length, position = _varint(message, position)
            if length is None or position + length > len(message):
                raise CheckpointError("the file is no ONNX model, or is cut short; download it again")
            value, position = message[position : position + length], position + length
        yield number, value, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the varint at ``position`` and the position after it."""
    value = 0
    for shift in range(0, 70, 7):  # at most ten bytes
        if position >= len(message):
            break
        byte = message[position]
        value, position = value | (byte & 0x7F) << shift, position + 1
        if byte < 0x80:
            return value, position
    raise CheckpointError("the file is no ONNX model, or is cut short; download it again")


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _encode(number << 3 | VARINT) + _encode(value)
    return _encode(number << 3 | LENGTH) + _encode(len(value)) + value


def _encode(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])

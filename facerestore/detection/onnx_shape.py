"""Fixes the input shape of an ONNX file in memory, without the onnx package.

OpenCV 4 cannot import a graph whose input has symbolic dimensions and which reads them with Shape nodes; YuNet's
dynamic export is such a graph. Only its batch size is read, so any fixed shape gives the same network, and
``cv2.FaceDetectorYN`` still accepts every picture size.

The path to a dimension is ModelProto.graph(7).input(11).type(2).tensor_type(1).shape(2).dim(1), and a
dimension is dim_value(1), a varint, or dim_param(2), a string (onnx.proto3, ONNX 1.x).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

from facerestore.errors import CheckpointError, refusing
from facerestore.weights.protobuf import LENGTH, VARINT, fields

GRAPH, INPUT, SHAPE_PATH, DIM, DIM_VALUE = 7, 11, (2, 1, 2), 1, 1


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

    with refusing(lambda _: CheckpointError("the file is no ONNX model, or is cut short; download it again")):
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
    return b"".join(
        _field(number, _edit(value, path[1:], change)) if number == path[0] else raw
        for number, value, raw in _fields(message)
    )


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, value and raw bytes with key of each field; a varint's value is left empty."""
    stream, start = io.BytesIO(message), 0
    for number, length in fields(stream, len(message)):
        value, end = stream.read(length), stream.tell()
        yield number, value, message[start:end]
        start = end


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

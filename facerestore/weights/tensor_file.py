"""The header of a safetensors file: eight bytes of length, then JSON that places each tensor behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerestore.errors import MOST_INTEGER, MalformedError, parse_json_object

MOST_HEADER_BYTES = 10_000_000
"""Enough for 100,000 tensors; the format itself allows ten times as much, whose JSON alone would take gigabytes."""

_LENGTH_BYTES = 8
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a header says.

    Attributes:
        metadata: its text entries.
        end: size of the whole file that it speaks of, bytes.
    """

    metadata: dict[str, str]
    end: int


def read_header(path: Path) -> TensorHeader:
    """Return the header of a safetensors file; its tensors are not read.

    Raises:
        OSError: the file cannot be read.
        MalformedError: it is no safetensors file.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= MOST_HEADER_BYTES:
            raise MalformedError(
                f"it does not begin like a safetensors file, but with a header of {length} bytes"
            )
        header = parse_json_object(stream.read(length))
    metadata = header.pop(_METADATA, None)
    ends = [_end(name, tensor) for name, tensor in header.items()]
    return TensorHeader(
        _texts({} if metadata is None else metadata), _LENGTH_BYTES + length + max(ends, default=0)
    )


def _end(name: str, tensor: Any) -> int:
    """Return where a tensor ends, bytes behind the header."""
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(_is_offset(offset) for offset in offsets)
    ):
        raise MalformedError(f"its safetensors header places the tensor '{name[:80]}' nowhere")
    return int(offsets[1])


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_INTEGER


def _texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedError(f"{_METADATA} of its safetensors header does not hold texts alone")
    return dict(metadata)

"""A file of weights, opened once: how it begins, what the header of a safetensors file says, and its hash if wanted.

Such a header is eight bytes of length, then JSON that places each tensor behind it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from facerestore.errors import MOST_INTEGER, MalformedError, parse_json_object

SUFFIXES = frozenset({".pth", ".pt", ".safetensors"})
"""Endings of files that hold networks."""

START_BYTES = 512
"""What is kept of the beginning: enough to tell every format by, the first block of a tar archive included."""

MOST_HEADER_BYTES = 10_000_000
"""Enough for 100,000 tensors; the format itself allows ten times as much, whose JSON alone would take gigabytes."""

GRAPH_TENSORS = "onnx."
"""What the names of tensors begin with that only the graph in the header takes, such as those that were folded."""

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
PICKLE_MAGIC = b"\x80\x02"  # protocol 2, the only one of torch.save before its zip format
LFS_POINTER = b"version https://git-lfs"
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


class StoredTensor(NamedTuple):
    """A tensor of a safetensors file.

    Attributes:
        kind: of its numbers, as the format names them, such as ``F32``.
        shape: its sides; what the header says, which nobody has checked.
        start: where it begins, bytes from the beginning of the file.
        end: where it ends, likewise.
    """

    kind: Any
    shape: Any
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class WeightsFile:
    """What one look into a file found; whoever is handed it need not open the file to know.

    Attributes:
        path: where it lies.
        size_bytes: of the whole file.
        start: its first bytes, `START_BYTES` at most.
        metadata: text entries of a safetensors header; none in other files.
        tensors: of such a file, by name.
        end: size that such a header speaks of, bytes.
        fault: why it has no such header; None where it has one.
        sha256: lower-case hex; None where it was not asked for.
    """

    path: Path
    size_bytes: int
    start: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, StoredTensor] = field(default_factory=dict)
    end: int = 0
    fault: MalformedError | None = None
    sha256: str | None = None

    @property
    def torn(self) -> str | None:
        """Why it is no whole safetensors file; None where it is one."""
        if self.fault is not None:
            return f"its safetensors header cannot be read: {self.fault}"
        return (
            None
            if self.size_bytes == self.end
            else f"its header speaks of {self.end} bytes, but it has {self.size_bytes}"
        )


WeightsSource: TypeAlias = Path | WeightsFile
"""A file of weights, looked into already or not."""


def look_at(source: WeightsSource, *, hashed: bool = False) -> WeightsFile:
    """Return what a file is; one that was looked into already is not opened again.

    Args:
        source: the file; its tensors are not read.
        hashed: read it to its end for the hash, in the same look.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, WeightsFile):
        return source
    with source.open("rb") as stream:
        size_bytes, start = os.fstat(stream.fileno()).st_size, stream.read(START_BYTES)
        metadata, tensors, end, fault = _read_header(stream)
        stream.seek(0)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest() if hashed else None
    return WeightsFile(source, size_bytes, start, metadata, tensors, end, fault, sha256)


def looks_like_path(weights: str) -> bool:
    """Say whether ``weights`` is the path of a file rather than a catalog name."""
    path = Path(weights)
    return len(path.parts) > 1 or path.suffix in SUFFIXES or path.is_file()


def _read_header(
    stream: BinaryIO,
) -> tuple[Mapping[str, str], Mapping[str, StoredTensor], int, MalformedError | None]:
    """Return what a safetensors header says: text entries, tensors, end of the file, and why it is none."""
    stream.seek(0)
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    try:
        if not 2 <= length <= MOST_HEADER_BYTES:
            raise MalformedError(
                f"it does not begin like a safetensors file, but with a header of {length} bytes"
            )
        header, start = parse_json_object(stream.read(length)), _LENGTH_BYTES + length
        texts = header.pop(_METADATA, None)
        tensors = {name: _stored_tensor(name, entry, start) for name, entry in header.items()}
        end = max((tensor.end for tensor in tensors.values()), default=start)
        return _checked_texts({} if texts is None else texts), tensors, end, None
    except MalformedError as error:
        return {}, {}, 0, error


def _stored_tensor(name: str, entry: Any, start: int) -> StoredTensor:
    """Return a tensor as a header places it; ``start`` is where the tensors begin, bytes."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(_is_offset(offset) for offset in offsets)
    ):
        raise MalformedError(f"its safetensors header places the tensor '{name[:80]}' nowhere")
    return StoredTensor(entry.get("dtype"), entry.get("shape"), start + offsets[0], start + offsets[1])


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_INTEGER


def _checked_texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedError(f"{_METADATA} of its safetensors header does not hold texts alone")
    return dict(metadata)

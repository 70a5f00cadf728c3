"""Single files of weights: hash them, recognise them, and write small records whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facerestore.errors import WeightsError

CHUNK_BYTES = 1 << 20

_PICKLE_2 = b"\x80\x02"  # torch.save before 1.6 begins with a protocol-2 pickle
_ZIP = b"PK\x03\x04"  # torch.save since 1.6 writes a zip archive
_ONNX_IR_VERSION = 0x08  # protobuf tag of ModelProto.ir_version: field 1, varint
_LFS_POINTER = b"version https://git-lfs"
_SAFETENSORS_HEADER_MAX = 100_000_000  # the limit that the safetensors library itself sets


def sha256_of(path: Path) -> str:
    """Return the lower-case hex sha256 of a file.

    Raises:
        WeightsError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        feed(digest, path)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error}") from error
    return digest.hexdigest()


def feed(digest: hashlib._Hash, path: Path) -> None:
    """Add the whole content of a file to a running hash."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file to the disk, not just to its cache, and return its lower-case hex sha256.

    Raises:
        WeightsError: the disk has no room.
        OSError: reading or writing failed.
    """
    check_room(target.parent, source.stat().st_size, what=str(source))
    digest = hashlib.sha256()
    with source.open("rb") as stream, target.open("wb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            out.write(chunk)
            digest.update(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def check_room(folder: Path, size_bytes: int, *, what: str) -> None:
    """Check that so many bytes fit on the disk of a folder.

    Raises:
        WeightsError: they do not; the message gives both figures.
    """
    free = shutil.disk_usage(folder).free
    if size_bytes > free:
        raise WeightsError(
            f"no room for {what}: {size_bytes} bytes are needed in {folder}, {free} are free; free some space, or "
            f"set FACERESTORE_HOME to a folder on another disk"
        )


def unlike_weights(path: Path, file_name: str) -> str | None:
    """Return why a file cannot be weights of the kind that its catalog name says, or None if it may well be.

    Looks at the first bytes, and at the end where the format has one: a saved web page, a git-lfs pointer and a
    file that was cut off are recognised; damage inside is not.

    Args:
        path: the file to look at, under any name.
        file_name: the name in the catalog, whose suffix says the format.
    """
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        return "it is a web page (a login page or an error page of a proxy?)"
    if head.startswith(_LFS_POINTER):
        return "it is a git-lfs pointer, not the file itself"
    suffix = Path(file_name).suffix
    if suffix == ".safetensors":
        return _unlike_safetensors(path)
    if suffix == ".onnx":
        return None if head[:1] == bytes([_ONNX_IR_VERSION]) else "it does not begin like an ONNX model"
    return _unlike_torch(path, head)


def _unlike_torch(path: Path, head: bytes) -> str | None:
    if head.startswith(_ZIP):
        # The directory of a zip archive stands at its end.
        return None if zipfile.is_zipfile(path) else "it is a torch archive whose end is missing"
    return None if head.startswith(_PICKLE_2) else "it does not begin like a torch file"


def _unlike_safetensors(path: Path) -> str | None:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= _SAFETENSORS_HEADER_MAX:
            return "it does not begin like a safetensors file"
        header = stream.read(length)
    try:
        tensors = json.loads(header)
        end = max((t["data_offsets"][1] for k, t in tensors.items() if k != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "its safetensors header cannot be read"
    size = path.stat().st_size
    return (
        None
        if size == 8 + length + end
        else f"its header speaks of {8 + length + end} bytes, but it has {size}"
    )


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the text entries in the header of a safetensors file; nothing for a file of another kind."""
    if _unlike_safetensors(path) is not None:
        return {}
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a small record so that a reader sees the old one or the new one, never a piece.

    Raises:
        WeightsError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files can be read by their owner alone, and a home may be shared.
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error}); free the folder, or set FACERESTORE_HOME to another"
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a record that `write_json` wrote, or None where there is none.

    Raises:
        WeightsError: the file is there but holds no JSON object.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WeightsError(f"the record {path} cannot be read ({error}); delete it and try again") from error
    if not isinstance(record, dict):
        raise WeightsError(f"the record {path} holds no JSON object; delete it and try again")
    return record

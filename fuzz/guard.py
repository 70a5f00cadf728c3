"""Gives a reader one input after another, and finds what it must not do.

Found are: an exception outside the tree of FaceRestoreError, more than `LIMIT_S` of processor time, more than
`LIMIT_BYTES` of memory, a file written, moved or removed outside the folder for temporary files, a connection, another
process, and words on standard output or error.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facerestore.errors import FaceRestoreError
from fuzz.board import Board
from fuzz.kinds import Kind

LIMIT_S = 10.0
"""Of processor time for one input; who takes longer is ended by a signal, in whatever library it is."""

LIMIT_BYTES = 3 << 30
"""Of memory, beside what is held before the first input."""

READ, REFUSED = "read", "refused"

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {
    "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),),
    "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),), "os.utime": ((0, 3),), "sqlite3.connect": ((0, None),),
}  # fmt: skip
"""Which arguments of an audit event are a path, and the descriptor of the folder that it is relative to."""

_FORBIDDEN = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
)
_NO_FILES = ("/dev/null", ":memory:", "")
_NO_MEMORY = ("not enough memory", "more memory than", "can't allocate memory", "bad_alloc", "bad allocation")
_PLACES = 2  # frames that tell one finding from another


class Watch:
    """Hears what the interpreter does to files, the network and processes, from now on and for good.

    Args:
        folder: the only one in which files may be written.
    """

    def __init__(self, folder: Path) -> None:
        self._inside = f"{os.path.realpath(folder)}{os.sep}"
        self.heard: list[str] = []
        self.armed = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._look(event, path, -1)
        elif event in _PATHS:
            for path, start in _PATHS[event]:
                self._look(event, arguments[path], -1 if start is None else arguments[start])
        elif event in _FORBIDDEN:
            self.heard.append(event)

    def _look(self, event: str, path: Any, start: int) -> None:
        if isinstance(path, int) or path is None:
            return
        text = os.fsdecode(path)
        if text.startswith("file:"):  # read only, or a path all the same
            parts = urllib.parse.urlsplit(text)
            text = ":memory:" if "mode=ro" in parts.query else urllib.parse.unquote(parts.path)
        if text not in _NO_FILES and not f"{_whole(text, start)}{os.sep}".startswith(self._inside):
            self.heard.append(f"{event} outside the folder: {text[:200]}")


def _whole(path: str, start: int) -> str:
    """Return the whole path of a file that may be relative to an open folder; folders on the way may be links."""
    folder = "." if start < 0 else os.readlink(f"/proc/self/fd/{start}")  # noqa: PTH115
    return os.path.join(os.path.realpath(os.path.join(folder, os.path.dirname(path))), os.path.basename(path))  # noqa: PTH118, PTH119, PTH120


def lacked_memory(error: BaseException | None) -> bool:
    """Say whether an error, or one that it comes from, is of memory that there was not."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    """Return what became of one input: `READ`, `REFUSED`, or what was wrong and where."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(data)
    except FaceRestoreError as error:
        return f"more than the memory at {_place(error)}" if lacked_memory(error) else REFUSED
    except (Exception, SystemExit) as error:  # what is looked for
        return f"{type(error).__name__} at {_place(error)}: {' '.join(str(error).split())[:120]}"
    return READ


def _place(error: BaseException) -> str:
    """Return where an error arose, the innermost frame first."""
    while isinstance(error, FaceRestoreError) and error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    return " < ".join(f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno}" for f in reversed(frames))


class Guard:
    """Runs inputs one by one, and writes on the board what is under way and what was found.

    Args:
        board: shared with the process that waits for this one.
        watch: of files.
        keep: is told of a finding: its words, the kind and the input. Each is told once.
    """

    def __init__(self, board: Board, watch: Watch, keep: Callable[[str, Kind, bytes], None]) -> None:
        self._board, self._watch, self._keep = board, watch, keep
        self._told: set[str] = set()
        self.said: Callable[[], str] = lambda: ""

    def run(self, number: int, kind: Kind, data: bytes) -> None:
        """Read one input of a kind, the ``number``-th of the run."""
        self._board.begin(number, kind.name, data)
        start = time.process_time()
        self._watch.heard.clear()
        with self._armed():
            result = outcome(kind.read, data)
        seconds = time.process_time() - start
        self._board.end(seconds, read=result == READ, refused=result == REFUSED)
        found = [] if result in (READ, REFUSED) else [result]
        for words in [*found, *self._watch.heard, *filter(None, [self.said()])]:
            if (key := words.partition(": ")[0]) not in self._told:
                self._told.add(key)
                self._keep(words, kind, data)

    @contextmanager
    def _armed(self) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        self._watch.armed = True
        try:
            yield
        finally:
            self._watch.armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)


def limit_memory() -> None:
    """Let this process have `LIMIT_BYTES` more than it has; Linux."""
    with Path("/proc/self/statm").open(encoding="ascii") as stream:
        mapped = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + LIMIT_BYTES, mapped + LIMIT_BYTES))

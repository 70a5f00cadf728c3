"""What C libraries write on standard error while they decode: caught, so that it can be told as what it is.

libjpeg, libpng and OpenCV say there what they find wrong with a file, and say it nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Condition
from typing import BinaryIO, NamedTuple, TypeVar, cast

_T = TypeVar("_T")
_STANDARD_ERROR = 2
# How the lines of libjpeg's warnings (jerror.h) begin, those of libpng, those of libtiff (the name of a function, or of
# the file that Pillow makes up), and those of OpenCV's log. Errors of Python have names like functions.
_LIBRARIES = re.compile(
    rb"Corrupt JPEG data|Premature end of JPEG|Invalid SOS parameters|Inconsistent progression|Unknown Adobe color"
    rb"|Warning: unknown JFIF|libpng (?:warning|error): |(?!\w*(?:Error|Exception|Warning|Interrupt): )\w*[a-z\d]"
    rb"[A-Z]\w*: |_?TIFF\w+: |\w*(?:Decode|Encode|JPEG)\w*: |tempfile\.tif: |\w+: Warning, "
    rb"|.*compression support is not configured|\[ *(?:WARN|ERROR|INFO|DEBUG|FATAL) *: *\d|OpenCV\("
)
_READ_BYTES = 2**20


class Overheard(NamedTuple):
    """What was said while something was decoded, and whether nobody else can have said it."""

    lines: tuple[str, ...]
    alone: bool


class _Ear:
    """Listens to standard error while anything is decoded, in any thread, and passes on what is of no library."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._listening = 0
        self._exclusive = False
        self._began = 0
        self._heard: list[str] = []
        self._file: BinaryIO | None = None
        self._taken = 0
        self._of_library = False
        self._own: int | None = None

    @contextmanager
    def listening(self, *, alone: bool) -> Iterator[list[Overheard]]:
        """Yield a list that holds, at the end, what was said meanwhile.

        Args:
            alone: wait until nobody else decodes, and keep others waiting.
        """
        said: list[Overheard] = []
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive and not (alone and self._listening))
            if self._listening == 0:
                self._open()
            self._exclusive = alone
            self._listening += 1
            self._began += 1
            company, start, number = self._listening > 1, len(self._heard), self._began
        try:
            yield said
        except Exception as error:
            with self._changed:
                self._take()
                for line in self._heard[start:]:
                    error.add_note(line)
            raise
        finally:
            with self._changed:
                self._take()
                said.append(Overheard(tuple(self._heard[start:]), not company and self._began == number))
                self._listening -= 1
                self._exclusive = False
                if self._listening == 0:
                    self._close()
                self._changed.notify_all()

    def _open(self) -> None:
        """Put a file in the place of standard error."""
        self._heard, self._taken, self._of_library = [], 0, False
        self._file = _file_in_memory()
        with suppress(OSError):  # it is closed: there is nothing to give back
            self._own = os.dup(_STANDARD_ERROR)
        os.dup2(self._file.fileno(), _STANDARD_ERROR)

    def _close(self) -> None:
        """Give standard error back."""
        if self._own is None:
            os.close(_STANDARD_ERROR)
        else:
            os.dup2(self._own, _STANDARD_ERROR)
        self._take()  # what other threads said in between
        if self._own is not None:
            os.close(self._own)
        self._own = None
        if self._file is not None:
            self._file.close()

    def _take(self) -> None:
        """Note the lines that libraries wrote since the last time, and write the others where they were to go."""
        if self._file is None:
            return
        while text := _read_at(self._file.fileno(), self._taken):
            self._taken += len(text)
            for line in text.splitlines(keepends=True):
                self._of_library = bool(_LIBRARIES.match(line)) or (self._of_library and not line.strip())
                if self._of_library:
                    self._heard += [line.decode(errors="replace").strip()] if line.strip() else []
                elif self._own is not None:
                    os.write(self._own, line)


def _file_in_memory() -> BinaryIO:
    """Return an open file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("standard-error"), "w+b", buffering=0)
    import tempfile

    return cast("BinaryIO", tempfile.TemporaryFile(buffering=0))


def _read_at(descriptor: int, place: int) -> bytes:
    """Return bytes of a file from a place on; who writes it goes on where they were."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, _READ_BYTES, place)
    end = os.lseek(descriptor, 0, os.SEEK_END)  # Windows
    os.lseek(descriptor, place, os.SEEK_SET)
    text = os.read(descriptor, _READ_BYTES)
    os.lseek(descriptor, end, os.SEEK_SET)
    return text


_ear = _Ear()


def overheard(decode: Callable[[], _T]) -> tuple[_T, tuple[str, ...]]:
    """Return what a function returns, and the lines that C libraries wrote on standard error meanwhile.

    Files may be decoded in several threads, which have one standard error: where something was said in company, the
    function is called once more, alone. It has to be one that can be called twice, and that does not listen itself. To
    an error that it raises the lines are added as notes.
    """
    with _ear.listening(alone=False) as said:
        result = decode()
    lines, alone = said[0]
    if not lines or alone:
        return result, lines
    with _ear.listening(alone=True) as said:
        result = decode()
    return result, said[0].lines

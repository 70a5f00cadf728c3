"""How photos stand before a run, by what earlier runs have done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from facerestore.errors import BackendError
from facerestore.io import RemotePath

if TYPE_CHECKING:
    from facerestore.batch.outcome import PhotoOutcome
    from facerestore.batch.plan import PhotoJob


class Standing(StrEnum):
    """How a photo stands before a run."""

    TO_DO = "to do"
    BUSY = "under way in another run"
    DONE = "done"
    OTHERWISE = "done with other settings"
    CHANGED = "changed since it was done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Look:
    """The photos of a run by how they stand, each list in their order.

    Attributes:
        to_do: not done as they are asked for.
        busy: under way in another run.
        done: with the same settings, and their results are there.
        failed: by their own fault, with the same settings.
        changed: done, and the photo is another one now.
        otherwise: done with other settings, by these, as JSON.
        asked: the settings of this run, as JSON.
    """

    asked: str
    to_do: list[PhotoJob] = field(default_factory=list)
    busy: list[PhotoJob] = field(default_factory=list)
    done: list[PhotoJob] = field(default_factory=list)
    failed: list[PhotoJob] = field(default_factory=list)
    changed: list[PhotoJob] = field(default_factory=list)
    otherwise: dict[str, list[PhotoJob]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """What the journal has of a photo that is done or has failed.

    Attributes:
        seconds: that it took.
        report: the pipeline's; None where it failed.
        written: the files written, the result first.
        error: why it failed; None otherwise.
    """

    seconds: float
    report: dict[str, Any] | None
    written: tuple[Path, ...]
    error: str | None


@dataclass(frozen=True, slots=True)
class Intent:
    """What a result is to be, known just before its file is written.

    Attributes:
        report: the pipeline's.
        input_sha256: of the photo's file.
        output_size: of the result's file, in bytes.
        output_sha256: of that file.
        extras: what was written beside it.
    """

    report: dict[str, Any]
    input_sha256: str
    output_size: int
    output_sha256: str
    extras: tuple[Path, ...] = ()

    def is_at(self, target: Path) -> bool:
        """Say whether the result is there, whole."""
        return size_of(target) == self.output_size and sha256_of(target) == self.output_sha256


def intent_of(
    data: bytes | mmap,
    parts: Iterable[bytes | bytearray | memoryview],
    *,
    report: dict[str, Any],
    extras: Sequence[Path],
) -> Intent:
    """Return what a result is to be.

    Args:
        data: the photo's file.
        parts: the result's file, in pieces.
        report: the pipeline's.
        extras: what was written beside it.
    """
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += memoryview(part).nbytes
    return Intent(report, hashlib.sha256(data).hexdigest(), size, digest.hexdigest(), tuple(extras))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run is asked for.

    Attributes:
        settings: all that decides what a result looks like; see ``facerestore.batch.settings``.
        overwrite: results are made anew. Of a run with this that was broken off, those that it made stay.
        retry_failed: photos that failed are tried again.
    """

    settings: Mapping[str, Any]
    overwrite: bool = False
    retry_failed: bool = False


class Claim(StrEnum):
    """What came of taking a photo for a run."""

    FIRST = "nobody has begun it"
    AGAIN = "a run has begun it, and what it left is ours"
    REFUSED = "another run has it under way, or has done it"


class Notes(Protocol):
    """What is told of each photo of a run: a ``Journal``, or what stands for it where that is in another process."""

    def claim(self, job: PhotoJob) -> Claim:
        """Take a photo."""
        ...

    def writing(
        self,
        job: PhotoJob,
        data: bytes | mmap,
        *,
        report: dict[str, Any],
        parts: Iterable[bytes | bytearray | memoryview],
        extras: Sequence[Path] = (),
    ) -> None:
        """Note what a result is to be; its file takes its name after that."""
        ...

    def settle(self, outcome: PhotoOutcome) -> None:
        """Note what became of a photo."""
        ...


def own_fault(error: BaseException | None) -> bool:
    """Say whether a photo itself is at fault, and not a network, the disk or memory: they may serve it another time."""
    while error is not None:
        if isinstance(error, BackendError | OSError | MemoryError):
            return False
        error = error.__cause__ or error.__context__
    return True


Stamp: TypeAlias = tuple[int | None, int | None]
"""A file's size in bytes and when it was changed, in nanoseconds since 1970; None where it cannot be looked at."""


def stamp(path: Path) -> Stamp:
    """Return a file's size in bytes and when it was changed; None where it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None, None
    return found.st_size, found.st_mtime_ns


class Stamps:
    """Sizes and times of files, as they were when first asked for: on disks one by one, in stores a folder at a time.

    A request for each photo of a million would take hours.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, tuple[int, int]]] = {}

    def __call__(self, path: Path) -> Stamp:
        """Return what `stamp` does."""
        if not (isinstance(path, RemotePath) and path.is_listed):
            return stamp(path)
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = folder.stamps()
        return self._folders[folder].get(path.name, (None, None))


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None where it cannot be looked at."""
    return stamp(path)[0]


def sha256_of(path: Path) -> str | None:
    """Return the hash of a file; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def runs_here(pid: int) -> bool:
    """Say whether a process of this machine may be running; where that cannot be asked, it may."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def plain(text: str) -> str:
    """Return a text that UTF-8 can hold."""
    return text.encode("utf-8", errors="backslashreplace").decode()

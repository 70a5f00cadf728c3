"""How photos stand before a run, by what earlier runs have done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.errors import BackendError

if TYPE_CHECKING:
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


def own_fault(error: BaseException | None) -> bool:
    """Say whether a photo itself is at fault, and not a network, the disk or memory: they may serve it another time."""
    while error is not None:
        if isinstance(error, BackendError | OSError | MemoryError):
            return False
        error = error.__cause__ or error.__context__
    return True


def stamp(path: Path) -> tuple[int | None, int | None]:
    """Return a file's size in bytes and when it was changed; None where it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None, None
    return found.st_size, found.st_mtime_ns


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

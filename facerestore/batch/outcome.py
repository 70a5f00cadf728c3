"""What becomes of one photo of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from facerestore.batch.plan import PhotoJob


class Status(StrEnum):
    """What became of a photo."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"


class Counts(NamedTuple):
    """What is counted of a photo that is done; see ``facerestore.batch.report.Summary``."""

    found: int
    restored: int
    kept: tuple[tuple[str, int], ...]
    effects: tuple[tuple[str, int], ...]
    damaged: bool


def counts_of(report: Mapping[str, Any]) -> Counts:
    """Return what is counted of a photo, by its report."""
    kept, effects = (tuple(sorted(report[key].items())) for key in ("kept", "effects"))
    return _shared(
        Counts(report["found"], report["restored"], kept, effects, report.get("damage") is not None)
    )


@lru_cache(maxsize=1024)
def _shared(counts: Counts) -> Counts:
    """Return the one that equals it: most photos of a run count alike."""
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class PhotoOutcome:
    """One photo at the end of its job.

    Attributes:
        job: what was to be done.
        status: done, skipped because its result exists, failed, or left to another run that has it under way.
        seconds: wall time, reading and writing included.
        report: the pipeline's report; None unless done, and where the journal alone has it (see ``light``).
        written: the files written, the result first.
        error: why it failed; None otherwise.
        earlier: it was another run that did it.
        counts: what is counted of it; None unless done.
    """

    job: PhotoJob
    status: Status
    seconds: float
    report: dict[str, Any] | None = None
    written: tuple[Path, ...] = ()
    error: Exception | None = None
    earlier: bool = False
    counts: Counts | None = None

    @property
    def light(self) -> PhotoOutcome:
        """The same without its report and files, which a run of many photos does not hold for each."""
        counts = self.counts if self.report is None else counts_of(self.report)
        return replace(self, report=None, written=(), counts=counts)

    @property
    def left(self) -> bool:
        """Whether another run has it under way."""
        return self.status is Status.LEFT

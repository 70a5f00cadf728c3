"""What becomes of one photo of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from facerestore.batch.plan import PhotoJob


class Status(StrEnum):
    """What became of a photo."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True, eq=False)
class PhotoOutcome:
    """One photo at the end of its job.

    Attributes:
        job: what was to be done.
        status: done, skipped because its result exists, failed, or left to another run that has it under way.
        seconds: wall time, reading and writing included.
        report: the pipeline's report; None unless done.
        written: the files written, the result first.
        error: why it failed; None otherwise.
        earlier: it was another run that did it.
    """

    job: PhotoJob
    status: Status
    seconds: float
    report: dict[str, Any] | None = None
    written: tuple[Path, ...] = ()
    error: Exception | None = None
    earlier: bool = False

    @property
    def left(self) -> bool:
        """Whether another run has it under way."""
        return self.status is Status.LEFT

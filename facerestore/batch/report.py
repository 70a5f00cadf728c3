"""What a run did: counts for people, and everything for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facerestore import __version__
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.plan import BatchPlan
from facerestore.errors import BackendError, FaceRestoreError, count, named
from facerestore.io import write_encoded
from facerestore.pictures.result import done_words
from facerestore.pipeline.restore import RestorePipeline

REPORT_SCHEMA = 1
"""Raised when a key of the report changes its meaning or goes away."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts of a run.

    Attributes:
        photos: all of them, failed and skipped ones included.
        faces: found in the photos that were done.
        restored: of these.
        kept: the others, by the code of the decision.
        failed: photos that could not be done.
        skipped: photos whose result existed.
        damaged: photos that were done though their files are damaged.
        broken_backends: failed photos where a network was at fault, not the photo.
        effects: the restored faces by how much they were changed, where that was measured.
    """

    photos: int
    faces: int
    restored: int
    kept: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    skipped: int = 0
    damaged: int = 0
    broken_backends: int = 0
    effects: Mapping[str, int] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """One line: ``12 photos: 31 faces, 27 restored, 4 kept (2 sharp, 2 too small), 0 failed``."""
        return self.told("restored")

    def told(self, done: str) -> str:
        """Return the line with another word for what was done with the faces."""
        kept = f"{sum(self.kept.values())} kept{_reasons(self.kept)}"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        damaged = f", {self.damaged} from damaged files" if self.damaged else ""
        return (
            f"{count(self.photos, 'photo')}: {count(self.faces, 'face')},"
            f" {done_words(self.restored, self.effects, done)}, {kept}"
            f"{skipped}{damaged}, {self.failed} failed"
        )


def summarise(outcomes: Sequence[PhotoOutcome]) -> Summary:
    """Count what became of photos and faces."""
    reports = [outcome.report for outcome in outcomes if outcome.report is not None]
    kept, effects = Counter[str](), Counter[str]()
    for report in reports:
        kept.update(report["kept"])
        effects.update(report["effects"])
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    return Summary(
        photos=len(outcomes),
        faces=sum(report["found"] for report in reports),
        restored=sum(report["restored"] for report in reports),
        kept=dict(kept.most_common()),
        failed=len(failed),
        skipped=sum(outcome.status is Status.SKIPPED for outcome in outcomes),
        damaged=sum(report.get("damage") is not None for report in reports),
        broken_backends=sum(isinstance(outcome.error, BackendError) for outcome in failed),
        effects=dict(effects),
    )


def photo_report(outcome: PhotoOutcome) -> dict[str, Any]:
    """Return what became of one photo, ready for JSON."""
    return {
        "input": str(outcome.job.source),
        "output": str(outcome.job.target) if outcome.status is not Status.FAILED else None,
        "written": [str(path) for path in outcome.written],
        "status": outcome.status.value,
        "name_shortened": outcome.job.shortened,
        "error": None if outcome.error is None else describe_error(outcome.error),
        "seconds": round(outcome.seconds, 3),
        "earlier": outcome.earlier,
        **(outcome.report or {}),
    }


def run_report(
    outcomes: Sequence[PhotoOutcome],
    pipeline: RestorePipeline | None,
    *,
    plan: BatchPlan | None = None,
    interrupted: bool = False,
) -> dict[str, Any]:
    """Return what a whole run did, ready for JSON.

    Args:
        outcomes: of the photos, in their order.
        pipeline: that restored them; None where none was needed, since no photo was there.
        plan: of the run, for what was in its directories beside photos.
        interrupted: it was broken off.
    """
    plan = plan or BatchPlan(())
    return {
        "schema": REPORT_SCHEMA,
        "facerestore": __version__,
        "restorer": None if pipeline is None else pipeline.description,
        "weights": None if pipeline is None else asdict(pipeline.facts),
        "config": None if pipeline is None else asdict(pipeline.config),
        "left_out": [str(path) for path in plan.left_out],
        "not_read": [str(path) for path in plan.not_read],
        "not_selected": [str(path) for path in plan.not_selected],
        "not_searched": [str(path) for path in plan.not_searched],
        "faults": [str(fault) for fault in plan.faults],
        "summary": asdict(summarise(outcomes)),
        "interrupted": interrupted,
        "photos": [photo_report(outcome) for outcome in outcomes],
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all; an older one is replaced.

    Raises:
        ImageError: it cannot be written.
    """
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    # File names that are no Unicode come with lone surrogates: JSON can hold those only as \u escapes.
    write_encoded(path, text.encode("utf-8", errors="backslashreplace"), overwrite=True)


def describe_error(error: Exception) -> str:
    """Return an error as one line: our own in their words, the system's in its own, others with their kind."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) if isinstance(error, FaceRestoreError) else named(error)


def _reasons(kept: Mapping[str, int]) -> str:
    """Return `` (2 sharp, 1 too small)``, or nothing."""
    words = [f"{number} {code.replace('-', ' ')}" for code, number in kept.items()]
    return f" ({', '.join(words)})" if words else ""

"""What a run did: counts for people, and everything for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, Protocol

from facerestore import __version__
from facerestore.batch.outcome import PhotoOutcome, Status, counts_of
from facerestore.batch.plan import BatchPlan
from facerestore.errors import BackendError, FaceRestoreError, count, named
from facerestore.io import write_parts
from facerestore.pictures.result import done_words

if TYPE_CHECKING:
    from facerestore.config import RestoreConfig
    from facerestore.pipeline.parts import PipelineFacts

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


def summarise(outcomes: Iterable[PhotoOutcome]) -> Summary:
    """Count what became of photos and faces."""
    kept, effects, statuses, sums = Counter[str](), Counter[str](), Counter[Status](), Counter[str]()
    for outcome in outcomes:
        counts = outcome.counts if outcome.report is None else counts_of(outcome.report)
        statuses[outcome.status] += 1
        sums["broken_backends"] += isinstance(outcome.error, BackendError)
        if counts is not None:
            kept.update(dict(counts.kept))
            effects.update(dict(counts.effects))
            sums.update(faces=counts.found, restored=counts.restored, damaged=counts.damaged)
    return Summary(
        photos=statuses.total(),
        faces=sums["faces"],
        restored=sums["restored"],
        kept=dict(kept.most_common()),
        failed=statuses[Status.FAILED],
        skipped=statuses[Status.SKIPPED],
        damaged=sums["damaged"],
        broken_backends=sums["broken_backends"],
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


class Described(Protocol):
    """What restores: a pipeline, or what is known of one in another process.

    Attributes:
        description: one line for people.
        facts: where its networks come from.
        config: what was chosen.
    """

    @property
    def description(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> PipelineFacts: ...  # noqa: D102
    @property
    def config(self) -> RestoreConfig: ...  # noqa: D102


def run_report(
    outcomes: Sequence[PhotoOutcome],
    pipeline: Described | None,
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


def report_texts(
    report: Mapping[str, Any], photos: Iterable[Mapping[str, Any]], *, ascii_only: bool = False
) -> Iterator[str]:
    """Yield a report as JSON in pieces, so that its photos need not be held together.

    Args:
        report: as ``run_report`` gives it.
        photos: what takes the place of its ``photos``, the last key.
        ascii_only: whatever else is escaped.
    """

    def written(value: Mapping[str, Any]) -> str:
        return json.dumps(value, indent=2, ensure_ascii=ascii_only)

    yield written({**report, "photos": []}).removesuffix("]\n}")
    between, end = "", ""
    for photo in photos:
        yield f"{between}\n{indent(written(photo), '    ')}"
        between, end = ",", "\n  "
    yield f"{end}]\n}}\n"


def write_report(
    path: Path, report: Mapping[str, Any], photos: Iterable[Mapping[str, Any]] | None = None
) -> None:
    """Write a report as JSON, whole or not at all; an older one is replaced.

    Args:
        path: where to.
        report: as ``run_report`` gives it.
        photos: see ``report_texts``; None for those of the report.

    Raises:
        ImageError: it cannot be written.
    """
    texts = report_texts(report, report["photos"] if photos is None else photos)
    # File names that are no Unicode come with lone surrogates: JSON can hold those only as \u escapes.
    parts = (text.encode("utf-8", errors="backslashreplace") for text in texts)
    write_parts(path, parts, overwrite=True)


def describe_error(error: Exception) -> str:
    """Return an error as one line: our own in their words, the system's in its own, others with their kind."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) if isinstance(error, FaceRestoreError) else named(error)


def _reasons(kept: Mapping[str, int]) -> str:
    """Return `` (2 sharp, 1 too small)``, or nothing."""
    words = [f"{number} {code.replace('-', ' ')}" for code, number in kept.items()]
    return f" ({', '.join(words)})" if words else ""

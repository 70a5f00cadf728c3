"""What other runs have done of a run's photos, by the journal beside the results: told, left out, and taken over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from facerestore import __version__
from facerestore.batch import (
    Asked,
    BatchPlan,
    Journal,
    Look,
    PhotoJob,
    PhotoOutcome,
    Status,
    settings_of,
)
from facerestore.batch.settings import difference, facts_of
from facerestore.batch.standing import Record
from facerestore.cli.request import PhotosRequest
from facerestore.cli.telling import some_names
from facerestore.cli.terminal import Terminal
from facerestore.errors import ImageError
from facerestore.weights import WeightsStore


@contextmanager
def journal_of(request: PhotosRequest, plan: BatchPlan) -> Iterator[Journal | None]:
    """Yield the journal of the directory of results, open; None where none is kept.

    Raises:
        FaceRestoreError: the journal cannot be used, or the weights or an option is at fault.
    """
    folder = request.journal_folder(plan)
    if folder is None:
        yield None
        return

    asked = Asked(
        settings=settings_of(request.restore, request.files, WeightsStore(offline=request.restore.offline)),
        overwrite=request.files.overwrite,
        retry_failed=request.retry_failed,
    )
    journal = Journal(folder, asked, home=request.journal_home(folder), version=__version__)
    try:
        yield journal
    finally:
        journal.close()


def tell_look(look: Look, request: PhotosRequest, terminal: Terminal) -> None:
    """Say what earlier runs have done, and what they have done otherwise than it is asked for now."""
    to_do = len(look.to_do) + len(look.busy)
    otherwise = sum(len(jobs) for jobs in look.otherwise.values())
    total = to_do + len(look.done) + len(look.failed) + len(look.changed) + otherwise
    if look.done:
        terminal.say(f"{len(look.done)} of {total} done before, {to_do or 'nothing'} to do")
    tell_otherwise(look, request, terminal)
    if look.failed:
        names = some_names([job.source for job in look.failed])
        terminal.warn(f"failed before: {names}; --retry-failed tries {_them(look.failed)} again")


def tell_otherwise(look: Look, request: PhotosRequest, terminal: Terminal) -> None:
    """Say what was done otherwise than it is asked for now, or of other photos."""
    say = terminal.say if request.files.skip_existing else terminal.warn
    for facts, jobs in look.otherwise.items():
        words = difference(facts_of(facts), facts_of(look.asked))
        say(f"{len(jobs)} done before with {words}: --overwrite does {_them(jobs)} again")
    if look.changed:
        say(f"{len(look.changed)} changed since done before: --overwrite does {_them(look.changed)} again")


def _them(jobs: Sequence[PhotoJob]) -> str:
    return "it" if len(jobs) == 1 else "them"


def earlier(look: Look, journal: Journal, *, reported: bool) -> list[PhotoOutcome]:
    """Return the outcomes of what is left out; with what was counted of it then, where that is wanted."""
    left = [*look.changed, *(job for jobs in look.otherwise.values() for job in jobs)]
    skipped = [PhotoOutcome(job, Status.SKIPPED, 0.0, earlier=True) for job in left]
    if reported:
        return [*noted([*look.done, *look.failed], journal), *skipped]
    done = [PhotoOutcome(job, Status.DONE, 0.0, earlier=True) for job in look.done]
    return [*done, *noted(look.failed, journal), *skipped]


def noted(jobs: Sequence[PhotoJob], journal: Journal) -> Iterator[PhotoOutcome]:
    """Yield the outcomes that the journal knows, those of other runs, without their reports."""
    for job, record in _records(jobs, journal):
        fault = None if record.error is None else ImageError(record.error)
        status = Status.DONE if fault is None else Status.FAILED
        yield PhotoOutcome(job, status, record.seconds, report=record.report, error=fault, earlier=True).light


def whole(outcomes: Sequence[PhotoOutcome], journal: Journal | None) -> Iterator[PhotoOutcome]:
    """Yield outcomes with their reports, which the journal has of those that lack them."""
    for start in range(0, len(outcomes), _AT_A_TIME):
        some = outcomes[start : start + _AT_A_TIME]
        lacking = [each.job for each in some if each.status is Status.DONE and each.report is None]
        known = {} if journal is None else journal.records(lacking)
        for each in some:
            record = known.get(each.job)
            yield each if record is None else replace(each, report=record.report, written=record.written)


_AT_A_TIME = 100
"""Reports that are held together."""


def _records(jobs: Sequence[PhotoJob], journal: Journal) -> Iterator[tuple[PhotoJob, Record]]:
    for start in range(0, len(jobs), _AT_A_TIME):
        yield from journal.records(jobs[start : start + _AT_A_TIME]).items()

"""The course of a run over photos: what is to do, what came of it, and the reports at its end."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import typer

from facerestore.batch import (
    BatchPlan,
    Journal,
    PhotoJob,
    PhotoOutcome,
    Watch,
    photo_report,
    report_texts,
    run_report,
    summarise,
    write_report,
)
from facerestore.batch.report import Described
from facerestore.batch.run import OnStop
from facerestore.cli.inputs import planned_photos
from facerestore.cli.request import PhotosRequest
from facerestore.cli.resuming import earlier, tell_look, tell_otherwise, whole
from facerestore.cli.terminal import Terminal
from facerestore.errors import count
from facerestore.pipeline.progress import OnProgress


class Engine(Protocol):
    """What restores photos: this process, or a cluster.

    Attributes:
        line: what the networks are.
        passed_over: networks that the automatic choice cannot take, each with what it lacks.
    """

    @property
    def line(self) -> Described: ...  # noqa: D102
    @property
    def passed_over(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102

    def run(
        self, jobs: Sequence[PhotoJob], *, journal: Journal | None, on_stop: OnStop, on_progress: OnProgress
    ) -> Generator[PhotoOutcome, None, None]:
        """Yield what becomes of each photo as it comes; see ``facerestore.batch.run_jobs``."""
        ...


@dataclass(slots=True)
class BatchRun:
    """What a run is made of, and what came of it so far.

    Attributes:
        request: what was asked for.
        plan: all photos.
        jobs: those that are to do.
        terminal: where it is told.
        outcomes: of all photos so far; their reports are the journal's, where one is kept.
        journal: of the directory of results; None where none is kept.
        does: restores photos; None before its networks are loaded.
        watch: looks for photos that come.
        advice: what to try where no photo shows a face, as it was said of the first.
    """

    request: PhotosRequest
    plan: BatchPlan
    jobs: list[PhotoJob]
    terminal: Terminal
    outcomes: list[PhotoOutcome]
    journal: Journal | None = None
    does: Engine | None = None
    watch: Watch | None = None
    advice: str | None = None

    @property
    def own(self) -> list[PhotoOutcome]:
        """What came of the photos that this run took."""
        return [each for each in self.outcomes if not each.earlier and not each.left]

    @property
    def reported(self) -> bool:
        """Whether all facts are asked for."""
        request = self.request
        return request.as_json or request.report is not None or request.files.html is not None

    def take(self, outcome: PhotoOutcome) -> None:
        """Note what became of a photo; its report is held only where it is wanted and no journal has it."""
        held = self.journal is None and self.reported
        self.outcomes.append(outcome if held else outcome.light)
        if self.advice is None and outcome.report is not None:
            self.advice = outcome.report.get("advice")

    def leave_out(self, jobs: list[PhotoJob]) -> list[PhotoJob]:
        """Tell what earlier runs have done, and return what is left to do."""
        if self.journal is None or not jobs:
            return jobs
        look = self.journal.look(jobs)
        tell_look(look, self.request, self.terminal)
        self.outcomes += earlier(look, self.journal, reported=self.reported)
        return [*look.to_do, *look.busy]

    def grown(self) -> list[PhotoJob]:
        """Return photos that have come into the directories, waiting for some; none where these are not watched."""
        while self.watch is not None:
            self.watch.pause()
            plan = planned_photos(self.request)
            if jobs := self.watch.fresh(plan.jobs):
                known = dict.fromkeys((*self.plan.jobs, *jobs))
                self.plan = replace(plan, jobs=tuple(known))
                again = {job.source for job in jobs}
                self.outcomes[:] = [each for each in self.outcomes if each.job.source not in again]
                if left := self.leave_out(jobs):
                    return left
        return []

    def freed(self) -> list[PhotoJob]:
        """Return what was left to other runs that have died since."""
        if self.journal is None:
            return []
        found = self.journal.look([each.job for each in self.outcomes if each.left]).to_do
        again = set(found)
        self.outcomes[:] = [each for each in self.outcomes if each.job not in again]
        return found

    def end(self, *, interrupted: bool) -> None:
        """Take up what other runs have made of what was left to them, and note where nothing is left."""
        if self.journal is None:
            return
        left = [each for each in self.outcomes if each.left]
        look = self.journal.look([each.job for each in left])
        others = earlier(look, self.journal, reported=True)
        known = {each.job for each in others}
        self.outcomes[:] = [each for each in self.outcomes if each.job not in known or not each.left]
        self.outcomes += others
        if others:
            self.terminal.say(f"{count(len(others), 'photo')} done meanwhile by another run")
            tell_otherwise(look, self.request, self.terminal)
        if len(left) > len(others):
            self.terminal.say(
                f"{count(len(left) - len(others), 'photo')} left to another run, which has begun"
            )
        elif not interrupted:
            self.journal.complete()


def write_reports(run: BatchRun, *, interrupted: bool) -> None:
    """Write the gallery, the report to standard output with --json, and then to its file, which may fail."""
    request = run.request
    if request.files.html is not None:
        _write_gallery(run, Path(request.files.html))
    if not request.as_json and request.report is None:
        return
    report = run_report(
        [], None if run.does is None else run.does.line, plan=run.plan, interrupted=interrupted
    )
    report["summary"] = asdict(summarise(run.outcomes))
    if request.as_json:
        for text in report_texts(report, _photo_reports(run), ascii_only=True):
            typer.echo(text, nl=False)
    if request.report is not None:
        write_report(request.report, report, _photo_reports(run))


def _photo_reports(run: BatchRun) -> Iterator[dict[str, Any]]:
    """Yield what became of each photo; a few are read from the journal at a time."""
    return (photo_report(outcome) for outcome in whole(run.outcomes, run.journal))


def _write_gallery(run: BatchRun, folder: Path) -> None:
    """Write the pages of the gallery, whose pictures are there."""
    from facerestore.pictures.gallery.page import write_gallery

    done = run.request.task.done
    summary = summarise(run.outcomes).told(done)
    run.terminal.say(
        f"gallery: open {write_gallery(folder, _photo_reports(run), summary=summary, done=done)}"
    )

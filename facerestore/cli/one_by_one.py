"""Photo after photo for commands that look at photos: each told as it comes, a bad one stops none of the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from facerestore.cli import stopping
from facerestore.cli.telling import exit_code, missing_hints, stream_name, tell_inputs, with_name
from facerestore.errors import WeightsError

if TYPE_CHECKING:
    from facerestore.batch import BatchPlan, PhotoJob
    from facerestore.cli.terminal import Terminal

Row: TypeAlias = dict[str, Any]
Look: TypeAlias = "Callable[[PhotoJob], Row]"
"""Returns what is found in a photo; what it raises is the photo's fault."""


def one_by_one(
    plan: BatchPlan,
    assemble: Callable[[], Look],
    *,
    blank: Row,
    tell: Callable[[Row], None],
    terminal: Terminal,
) -> tuple[list[Row], int]:
    """Return what was found in each photo, in their order, and the exit code.

    Args:
        plan: of the photos, which is told first.
        assemble: loads what looks at them; not called where no photo is there.
        blank: a photo's row where nothing is found, ``input`` and ``error`` apart.
        tell: says what is in the row of a photo that was read.
        terminal: where faults are told.

    Raises:
        WeightsError: the networks cannot be used, which no other photo would change.
    """
    from facerestore.batch import missing_photos

    tell_inputs(plan, terminal)
    jobs = plan.jobs
    faults = {outcome.job: outcome.error for outcome in missing_photos(jobs)}
    for job, error in faults.items():
        terminal.warn(f"error: {_fault_words(job, error)}")
    for hint in missing_hints([job.source for job in faults]):
        terminal.warn(hint)
    there = [job for job in jobs if job not in faults]
    rows = {
        job: blank | {"input": str(job.source), "error": _fault_words(job, error)}
        for job, error in faults.items()
    }
    code = 0
    if there:
        look = assemble()
        try:
            with stopping.finishing(), terminal.steps(len(there)) as begin:
                for job, row, fault in stopping.breakable(_look_at_each(there, look, begin)):
                    rows[job] = blank | {"input": str(job.source), **row, "error": None}
                    if fault is None:
                        tell(rows[job])
                    else:
                        rows[job]["error"] = _fault_words(job, fault)
                        terminal.warn(f"error: {rows[job]['error']}")
        except KeyboardInterrupt as stopped:
            code = stopping.code_of(stopped)
            terminal.warn(f"interrupted after {len(rows)} of {len(jobs)} photos; no file is half written")
    found = [rows[job] for job in jobs if job in rows]
    failed = sum(row["error"] is not None for row in found)
    return found, code or exit_code(failed, len(found), faults=len(plan.faults))


def _look_at_each(
    jobs: Sequence[PhotoJob], look: Look, begin: Callable[[str], None]
) -> Generator[tuple[PhotoJob, Row, Exception | None], None, None]:
    for job in jobs:
        begin(job.source.name)
        try:
            found: tuple[PhotoJob, Row, Exception | None] = job, look(job), None
        except WeightsError:
            raise
        except Exception as error:  # any fault of one photo is that photo's row
            found = job, {}, error
        yield found


def _fault_words(job: PhotoJob, error: Exception | None) -> str:
    from facerestore.batch.report import describe_error

    assert error is not None, "there is something to tell"
    return with_name(stream_name(job.source, "standard input"), describe_error(error))

"""The work behind ``facerestore enhance`` and the other tasks: plan, do one after the other, tell, and sum up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.cli import stopping
from facerestore.cli.hints import BETTER_WEIGHTS, first_run
from facerestore.cli.inputs import exit_code as code_for
from facerestore.cli.inputs import missing_hints, tell_inputs
from facerestore.cli.request import PhotosRequest
from facerestore.cli.terminal import Terminal, print_json
from facerestore.config import RESTORE, SYNTHESIZE
from facerestore.errors import ConfigError, WeightsError, count, no_face

if TYPE_CHECKING:
    from facerestore.batch import BatchPlan, PhotoJob, PhotoOutcome, Summary
    from facerestore.batch.ahead import Ahead
    from facerestore.pipeline.restore import RestorePipeline

SHOWN_REASONS = 6
"""How many kept faces of a photo are explained one by one before the rest is only counted."""


TELLING = {
    "no-prior": "heavily blurred or very small: clearer than before, yet not sharp (-v tells why)",
    "too-large": "larger than any network here: detail finer than it gives is lost (-v tells why)",
}
"""Choices that a user should know of even where there was nothing to choose from, and what is said of such faces."""


def execute(request: PhotosRequest) -> int:
    """Do what was asked, and return the exit code.

    Raises:
        FaceRestoreError: nothing could be begun: an option, the weights or the device is at fault.
    """
    from facerestore.batch import STREAM, plan_jobs

    plan = plan_jobs(
        request.inputs,
        output=request.output,
        options=request.files,
        recursive=request.recursive,
        ending=request.task.ending,
        aside=_aside(request),
        takes=_takes(request),
    )
    to_stdout = any(job.target == STREAM for job in plan.jobs)
    _check_streams(request, to_stdout)
    terminal = Terminal(request.verbosity, to_stdout or request.as_json, not request.no_progress)
    tell_inputs(plan, terminal)
    if not request.dry_run:
        return _restore(request, plan, terminal)
    from facerestore.cli.dry_run import show_plan

    return show_plan(request, plan, terminal)


def _aside(request: PhotosRequest) -> list[Path]:
    """Return what may lie among the photos and holds none: what is saved beside results, and masks."""
    files = request.files
    saved = (files.save_faces, files.save_stages, files.save_damaged)
    return [*(Path(folder) for folder in saved if folder is not None), *request.aside]


def _takes(request: PhotosRequest) -> list[str]:
    """Return the kinds of drawn pictures that are inputs for what is asked."""
    return [*(["map"] if request.task is SYNTHESIZE else []), *(["face"] if request.restore.aligned else [])]


def _check_streams(request: PhotosRequest, to_stdout: bool) -> None:
    """Raise ConfigError unless the wanted outputs go together."""
    if to_stdout and request.as_json:
        raise ConfigError("standard output cannot carry the picture and --json; use --report FILE.json")
    files = request.files
    if to_stdout and (files.compare or files.save_faces or files.save_stages or files.save_damaged):
        raise ConfigError(
            "--compare, --save-faces, --save-stages and --save-damaged need a named result; give -o FILE"
        )
    if to_stdout and not request.dry_run and sys.stdout.isatty():
        raise ConfigError("the picture would go to the terminal; redirect it ('> out.jpg'), or give -o FILE")
    if request.report is not None and request.report.suffix.lower() != ".json":
        raise ConfigError(f"the report '{request.report}' needs a name that ends in .json")


def _restore(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> int:
    """Restore the photos, and return the exit code."""
    from facerestore.batch import check_options, missing_photos
    from facerestore.pipeline.build import build_pipeline

    outcomes = missing_photos(plan.jobs)
    for outcome in outcomes:
        tell(outcome, terminal)
    for hint in missing_hints(request.inputs):
        terminal.warn(hint)
    missing = {outcome.job for outcome in outcomes}
    jobs = [job for job in plan.jobs if job not in missing]
    if not jobs:
        return _finish(_BatchRun(request, plan, jobs, terminal, outcomes))
    ahead = _ahead(request, jobs)
    pipeline = (request.build or build_pipeline)(request.restore)
    check_options(pipeline, request.files)
    terminal.say(f"{request.task.doing} with {pipeline.description}")
    warn_passed_over(pipeline, terminal)
    with stopping.finishing():
        return _finish(_BatchRun(request, plan, jobs, terminal, outcomes, pipeline, ahead))


@dataclass(slots=True)
class _BatchRun:
    """What a run is made of, and what came of it so far."""

    request: PhotosRequest
    plan: BatchPlan
    jobs: list[PhotoJob]
    terminal: Terminal
    outcomes: list[PhotoOutcome]
    pipeline: RestorePipeline | None = None
    ahead: Ahead | None = None


def _finish(run: _BatchRun) -> int:
    """Restore the photos that are there, report, and return the exit code.

    Raises:
        WeightsError: the networks cannot be used, which is reported too.
    """
    from facerestore.batch import summarise

    code, fault = 0, None
    try:
        _do_all(run)
    except KeyboardInterrupt as error:
        code = stopping.code_of(error)
    except WeightsError as error:
        fault = error
    outcomes, request = run.outcomes, run.request
    order = {job: number for number, job in enumerate(run.plan.jobs)}
    outcomes.sort(key=lambda outcome: order[outcome.job])
    summary, interrupted = summarise(outcomes), code != 0
    if outcomes:
        run.terminal.say(summary.told(request.task.done))
    _write_reports(run, interrupted=interrupted or fault is not None)
    if fault is not None:
        raise fault
    if interrupted:
        run.terminal.warn(
            f"interrupted after {len(outcomes)} of {len(run.plan.jobs)} photos; no file is half written"
        )
        return code
    if run.pipeline is not None and run.pipeline.facts.bundled and summary.restored:
        _tell_better_weights(run.terminal)
    return exit_code(summary, run.plan)


def _ahead(request: PhotosRequest, jobs: Sequence[PhotoJob]) -> Ahead | None:
    """Begin to read the first photo, while the networks are loaded; None where it may not be wanted.

    Other tasks read what they are given in ways of their own.
    """
    from facerestore.batch.ahead import Ahead, may_read

    if request.task != RESTORE or not may_read(jobs[0], overwrite=request.files.overwrite):
        return None
    return Ahead(jobs[0], max_pixels=request.restore.max_pixels, page=request.restore.page)


def _do_all(run: _BatchRun) -> None:
    """Append the outcome of each photo as it comes, and tell it."""
    from facerestore.batch import run_jobs

    if run.pipeline is None:
        return
    terminal, left = run.terminal, iter(run.jobs)

    def stop(under_way: int) -> None:
        if under_way:
            terminal.warn(f"finishing {count(under_way, 'photo')} under way; stop once more to end at once")

    def begin_next() -> None:
        if (job := next(left, None)) is not None:
            begin(job.source.name)

    work = run_jobs(
        run.jobs,
        run.pipeline,
        options=run.request.files,
        ahead=run.ahead,
        on_stop=stop,
        on_tile=lambda done, of: terminal.detail(f"background {done}/{of}"),
    )
    with terminal.steps(len(run.jobs)) as begin:
        begin_next()
        for outcome in stopping.breakable(work):
            run.outcomes.append(outcome)
            tell(outcome, terminal, done=run.request.task.done)
            begin_next()


def tell(outcome: PhotoOutcome, terminal: Terminal, *, done: str = RESTORE.done) -> None:
    """Say what became of one photo: what was found, restored and kept and why, how long it took, where it is.

    Args:
        outcome: what became of it.
        terminal: where to say it.
        done: the word for what was done with faces.
    """
    from facerestore.batch.report import describe_error

    name = "standard input" if str(outcome.job.source) == "-" else str(outcome.job.source)
    if outcome.error is not None:
        terminal.warn(f"error: {with_name(name, describe_error(outcome.error))}")
        if terminal.verbosity >= 2:
            import traceback

            terminal.warn("".join(traceback.format_exception(outcome.error)).rstrip())
        return
    if outcome.report is None:
        terminal.say(f"{name}: skipped, {outcome.job.target} exists")
        return
    report = outcome.report
    kept = report["found"] - report["restored"]
    faces = (
        f"{count(report['found'], 'face')}, {report['restored']} {done}, {kept} kept"
        if report["found"]
        else no_face(report.get("search"))
    )
    target = "standard output" if str(outcome.job.target) == "-" else str(outcome.job.target)
    terminal.say(f"{name}: {faces}, {outcome.seconds:.1f} s -> {target}")
    if outcome.job.shortened:
        terminal.say("  its name is too long for a result's, which is shortened and ends in a hash")
    for line in _details(report, terminal.verbosity, done):
        terminal.say(f"  {line}")
    for path in outcome.written[1:]:
        terminal.say(f"  also wrote {path}", level=0 if path.name.endswith("_compare.jpg") else 1)


def _details(report: dict[str, Any], verbosity: int, done: str) -> list[str]:
    """Return the lines below a photo: why faces were kept; with -v every face and the seconds of the stages."""
    faces = (
        report["faces"]
        if verbosity >= 1
        else [face for face in report["faces"] if face["decision"] == "kept"]
    )
    shown = faces if verbosity >= 1 else faces[:SHOWN_REASONS]
    lines = [f"{face_words(face)} {_word(face, done)}: {face['reason']}" for face in shown]
    if len(faces) > len(shown):
        lines.append(f"and {len(faces) - len(shown)} more kept; -v or --report tells all")
    lines += choice_lines(report, verbosity)
    lines += [absent_words(index) for index in report["absent_indices"]]
    lines += report["notes"]
    if verbosity >= 1:
        lines.append("seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in report["stage_seconds"].items()))
    return lines


def choice_lines(report: dict[str, Any], verbosity: int) -> list[str]:
    """Return which network each face got, and why.

    Where there is one network to choose from, only how many it does not serve well, unless -v asks for all.

    Args:
        report: of a photo, with ``faces`` and, where the choice was automatic, ``auto``.
        verbosity: from 1 on each face is told.
    """
    auto = report.get("auto", {"candidates": []})
    terms = {candidate["name"]: candidate["commercial_use"] for candidate in auto["candidates"]}
    told = [face for face in report["faces"] if face["choice"] is not None]
    if verbosity < 1 and len(terms) <= 1:
        codes = [face["choice"] for face in told]
        return [
            f"{count(codes.count(code), 'face')} {words}" for code, words in TELLING.items() if code in codes
        ]
    shown = told if verbosity >= 1 else told[:SHOWN_REASONS]
    lines = [
        f"{face_words(face)} by {face['weights']}{_terms(terms.get(face['weights']))}: {face['why']}"
        for face in shown
    ]
    if len(told) > len(shown):
        lines.append(f"and {len(told) - len(shown)} more by their networks; -v or --report tells all")
    return lines


def warn_passed_over(pipeline: RestorePipeline, terminal: Terminal) -> None:
    """Say on standard error which installed networks the automatic choice cannot take, and why."""
    from facerestore.pipeline.per_face import FirstRestorer

    restorer = pipeline.restorer
    networks = restorer.lines.available.passed_over if isinstance(restorer, FirstRestorer) else ()
    for name, lack in (*networks, *pipeline.facts.passed_over):
        terminal.warn(f"warning: auto passes over {name}: {lack}")


def _terms(commercial_use: str | None) -> str:
    """Return what is said of weights that are not free for every use."""
    return {"no": " (non-commercial)", "unclear": " (commercial use unclear)"}.get(commercial_use or "", "")


def face_words(face: dict[str, Any]) -> str:
    """Return which face it is: its index, and its page where a photo has several."""
    return f"face {face['index']}" + (f" on page {face['page']}" if "page" in face else "")


def _word(face: dict[str, Any], done: str) -> str:
    """Return the word for what became of a face."""
    return done if face["decision"] == RESTORE.done else str(face["decision"])


def absent_words(index: int) -> str:
    """Return what is said of a face that was asked for and is not there."""
    return f"there is no face {index}; 'facerestore detect' shows the indices"


def with_name(name: str, message: str) -> str:
    """Return an error with its photo's name, unless it says the name itself."""
    return message if name in message else f"{name}: {message}"


def exit_code(summary: Summary, plan: BatchPlan) -> int:
    """Return 0, or 1 when all failed or a network did, or 3 when some photos failed or a directory was at fault."""
    if summary.broken_backends:
        return 1
    return code_for(summary.failed, summary.photos, faults=len(plan.faults))


def _tell_better_weights(terminal: Terminal) -> None:
    """Say once and for all that there are better weights than the bundled ones."""
    if first_run():
        terminal.say(f"{BETTER_WEIGHTS} This is said once; 'facerestore enhance --help' says it again.")


def _write_reports(run: _BatchRun, *, interrupted: bool) -> None:
    """Write the report to standard output with --json, and then to its file, which may fail."""
    from facerestore.batch import run_report, write_report

    request = run.request
    if not request.as_json and request.report is None:
        return
    report = run_report(run.outcomes, run.pipeline, plan=run.plan, interrupted=interrupted)
    if request.as_json:
        print_json(report)
    if request.report is not None:
        write_report(request.report, report)

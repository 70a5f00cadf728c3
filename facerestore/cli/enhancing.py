"""The work behind ``facerestore enhance`` and the other tasks: plan, do one after the other, tell, and sum up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.cli.terminal import Terminal, print_json
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError
from facerestore.purposes import RESTORE, Task
from facerestore.wording import count

if TYPE_CHECKING:
    from facerestore.batch import PhotoOutcome, Plan, Summary
    from facerestore.batch.ahead import Ahead
    from facerestore.pipeline import RestorePipeline

SHOWN_REASONS = 6
"""How many kept faces of a photo are explained one by one before the rest is only counted."""


TELLING = {
    "no-prior": "heavily blurred or very small: clearer than before, yet not sharp (-v tells why)",
    "too-large": "larger than any network here: detail finer than it gives is lost (-v tells why)",
}
"""Choices that a user should know of even where there was nothing to choose from, and what is said of such faces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a command was asked for.

    Attributes:
        inputs: photos, directories, or ``-``.
        output: a file, a directory, ``-``, or None.
        recursive: look into subdirectories.
        restore: how faces are found and restored.
        files: how results are written.
        report: where the report goes.
        as_json: print the report.
        dry_run: do nothing.
        verbosity: -1 quiet, 0 normal, 1 verbose, 2 with traces.
        progress: show a bar.
        task: what is done with the faces.
        build: makes the pipeline; None for the one that restores.
        check: raises ImageError where a photo lacks something, for a dry run.
        aside: files and directories that hold no photos, though they may lie within the inputs.
    """

    inputs: tuple[Path, ...]
    output: Path | None
    recursive: bool
    restore: RestoreConfig
    files: OutputConfig
    report: Path | None
    as_json: bool
    dry_run: bool
    verbosity: int
    progress: bool
    task: Task = RESTORE
    build: Callable[[RestoreConfig], RestorePipeline] | None = None
    check: Callable[[Path], object] | None = None
    aside: tuple[Path, ...] = ()


def execute(request: Request) -> int:
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
    )
    to_stdout = any(job.target == STREAM for job in plan.jobs)
    _check_streams(request, to_stdout)
    terminal = Terminal(request.verbosity, to_stdout or request.as_json, request.progress)
    if plan.left_out:
        names = ", ".join(path.name for path in plan.left_out[:3]) + (
            ", ..." if len(plan.left_out) > 3 else ""
        )
        terminal.say(f"left out as results of an earlier run: {len(plan.left_out)} ({names})")
    if not request.dry_run:
        return _restore(request, plan, terminal)
    from facerestore.cli.planning import show_plan

    return show_plan(request, plan, terminal)


def _aside(request: Request) -> list[Path]:
    """Return what may lie among the photos and holds none: what is saved beside results, and masks."""
    files = request.files
    saved = (files.save_faces, files.save_stages, files.save_damaged)
    return [*(Path(folder) for folder in saved if folder is not None), *request.aside]


def _check_streams(request: Request, to_stdout: bool) -> None:
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


def _restore(request: Request, plan: Plan, terminal: Terminal) -> int:
    """Restore the photos, and return the exit code."""
    from facerestore.assembly import build_pipeline
    from facerestore.batch import check_options, summarise

    ahead = _ahead(request, plan)
    pipeline = (request.build or build_pipeline)(request.restore)
    check_options(pipeline, request.files)
    terminal.say(f"{request.task.doing} with {pipeline.description}")
    warn_passed_over(pipeline, terminal)
    outcomes: list[PhotoOutcome] = []
    try:
        _run(request, plan, pipeline, terminal, outcomes, ahead)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    summary = summarise(outcomes)
    if outcomes:
        terminal.say(summary.told(request.task.done))
    _write_reports(request, outcomes, pipeline, interrupted=interrupted)
    if pipeline.facts.bundled and summary.restored and not interrupted:
        terminal.say(_better_weights_hint())
    if interrupted:
        terminal.warn(
            f"interrupted after {len(outcomes)} of {len(plan.jobs)} photos; no file is half written"
        )
        return 130
    return exit_code(summary)


def _ahead(request: Request, plan: Plan) -> Ahead | None:
    """Begin to read the first photo, while the networks are loaded; None where it may not be wanted.

    Other tasks read what they are given in ways of their own.
    """
    from facerestore.batch.ahead import Ahead, may_read

    if (
        request.task != RESTORE
        or not plan.jobs
        or not may_read(plan.jobs[0], overwrite=request.files.overwrite)
    ):
        return None
    return Ahead(plan.jobs[0], max_pixels=request.restore.max_pixels)


def _run(
    request: Request,
    plan: Plan,
    pipeline: RestorePipeline,
    terminal: Terminal,
    outcomes: list[PhotoOutcome],
    ahead: Ahead | None,
) -> None:
    """Append the outcome of each photo as it comes, and tell it."""
    from facerestore.batch import run_jobs

    pipeline.on_tile = lambda done, of: terminal.detail(f"background {done}/{of}")
    with terminal.steps(len(plan.jobs)) as begin:
        begin(plan.jobs[0].source.name if plan.jobs else "")
        for outcome in run_jobs(plan.jobs, pipeline, options=request.files, ahead=ahead):
            outcomes.append(outcome)
            tell(outcome, terminal, done=request.task.done)
            if len(outcomes) < len(plan.jobs):
                begin(plan.jobs[len(outcomes)].source.name)


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
        else "no face"
    )
    target = "standard output" if str(outcome.job.target) == "-" else str(outcome.job.target)
    terminal.say(f"{name}: {faces}, {outcome.seconds:.1f} s -> {target}")
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
    lines = [f"face {face['index']} {_word(face, done)}: {face['reason']}" for face in shown]
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
        f"face {face['index']} by {face['weights']}{_terms(terms.get(face['weights']))}: {face['why']}"
        for face in shown
    ]
    if len(told) > len(shown):
        lines.append(f"and {len(told) - len(shown)} more by their networks; -v or --report tells all")
    return lines


def warn_passed_over(pipeline: RestorePipeline, terminal: Terminal) -> None:
    """Say on standard error which installed networks the automatic choice cannot take, and why."""
    from facerestore.auto import AutoPipeline

    networks = pipeline.lines.available.passed_over if isinstance(pipeline, AutoPipeline) else ()
    for name, lack in (*networks, *pipeline.facts.passed_over):
        terminal.warn(f"warning: auto passes over {name}: {lack}")


def _terms(commercial_use: str | None) -> str:
    """Return what is said of weights that are not free for every use."""
    return {"no": " (non-commercial)", "unclear": " (commercial use unclear)"}.get(commercial_use or "", "")


def _word(face: dict[str, Any], done: str) -> str:
    """Return the word for what became of a face."""
    return done if face["decision"] == RESTORE.done else str(face["decision"])


def absent_words(index: int) -> str:
    """Return what is said of a face that was asked for and is not there."""
    return f"there is no face {index}; 'facerestore detect' shows the indices"


def with_name(name: str, message: str) -> str:
    """Return an error with its photo's name, unless it says the name itself."""
    return message if name in message else f"{name}: {message}"


def exit_code(summary: Summary) -> int:
    """Return 0, or 1 when all failed or a network did, or 3 when some photos failed."""
    if summary.failed == 0:
        return 0
    return 1 if summary.broken_backends or summary.failed == summary.photos else 3


def _better_weights_hint() -> str:
    return (
        "restored with the small bundled weights. For better ones: 'facerestore weights list', then for example"
        " 'facerestore weights download gpen.bfr-512' (for non-commercial use)"
    )


def _write_reports(
    request: Request, outcomes: Sequence[PhotoOutcome], pipeline: RestorePipeline, *, interrupted: bool
) -> None:
    """Write the report to standard output with --json, and then to its file, which may fail."""
    from facerestore.batch import run_report, write_report

    if not request.as_json and request.report is None:
        return
    report = run_report(outcomes, pipeline, interrupted=interrupted)
    if request.as_json:
        print_json(report)
    if request.report is not None:
        write_report(request.report, report)

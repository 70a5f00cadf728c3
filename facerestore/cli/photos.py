"""The work behind ``facerestore enhance`` and the other tasks: plan, do one after the other, tell, and sum up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facerestore.batch import (
    STREAM,
    BatchPlan,
    PhotoJob,
    PhotoOutcome,
    check_options,
    missing_photos,
    plan_jobs,
    run_jobs,
    run_report,
    summarise,
    write_report,
)
from facerestore.batch.ahead import Ahead, may_read
from facerestore.cli import stopping
from facerestore.cli.request import PhotosRequest
from facerestore.cli.telling import (
    BETTER_WEIGHTS,
    exit_code,
    first_run,
    missing_hints,
    networks_passed_over,
    tell,
    tell_inputs,
    warn_passed_over,
)
from facerestore.cli.terminal import Terminal, print_json
from facerestore.config import RESTORE, SYNTHESIZE
from facerestore.errors import ConfigError, WeightsError, count
from facerestore.pipeline.restore import RestorePipeline


def execute(request: PhotosRequest) -> int:
    """Do what was asked, and return the exit code.

    Raises:
        FaceRestoreError: nothing could be begun: an option, the weights or the device is at fault.
    """
    plan = plan_jobs(
        request.inputs,
        output=request.output,
        options=request.files,
        recursive=request.recursive,
        ending=request.task.ending,
        aside=_folders_aside(request),
        takes=_drawn_inputs(request),
    )
    to_stdout = any(job.target == STREAM for job in plan.jobs)
    _check_streams(request, to_stdout)
    terminal = request.terminal(stdout_taken=to_stdout or request.as_json)
    tell_inputs(plan, terminal)
    if not request.dry_run:
        return _restore_photos(request, plan, terminal)
    from facerestore.cli.dry_run import show_plan

    return show_plan(request, plan, terminal)


def _folders_aside(request: PhotosRequest) -> list[Path]:
    """Return what may lie among the photos and holds none: what is saved beside results, and masks."""
    files = request.files
    saved = (files.save_faces, files.save_stages, files.save_damaged, files.html)
    return [*(Path(folder) for folder in saved if folder is not None), *request.aside]


def _drawn_inputs(request: PhotosRequest) -> list[str]:
    """Return the kinds of drawn pictures that are inputs for what is asked."""
    return [*(["map"] if request.task is SYNTHESIZE else []), *(["face"] if request.restore.aligned else [])]


def _check_streams(request: PhotosRequest, to_stdout: bool) -> None:
    """Raise ConfigError unless the wanted outputs go together."""
    files = request.files
    beside = (files.compare, files.save_faces, files.save_stages, files.save_damaged, files.html)
    if to_stdout and any(beside):
        raise ConfigError(
            "--compare, --save-faces, --save-stages, --save-damaged and --html need a named result; give -o FILE"
        )
    if to_stdout:
        request.check_stdout("picture", example="out.jpg", json="use --report FILE.json")
    request.check_report()
    if files.html is not None:
        from facerestore.pictures.gallery.page import check_gallery

        check_gallery(Path(files.html))


def _restore_photos(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> int:
    """Restore the photos, and return the exit code."""
    from facerestore.pipeline.build import build_pipeline

    outcomes = missing_photos(plan.jobs)
    for outcome in outcomes:
        tell(outcome, terminal)
    for hint in missing_hints(request.inputs):
        terminal.warn(hint)
    missing = {outcome.job for outcome in outcomes}
    jobs = [job for job in plan.jobs if job not in missing]
    if not jobs:
        return _finish_run(_BatchRun(request, plan, jobs, terminal, outcomes))
    ahead = _read_ahead(request, jobs)
    pipeline = (request.build or build_pipeline)(request.restore)
    check_options(pipeline, request.files)
    terminal.say(f"{request.task.doing} with {pipeline.description}")
    warn_passed_over(networks_passed_over(pipeline), terminal)
    with stopping.finishing():
        return _finish_run(_BatchRun(request, plan, jobs, terminal, outcomes, pipeline, ahead))


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


def _finish_run(run: _BatchRun) -> int:
    """Restore the photos that are there, report, and return the exit code.

    Raises:
        WeightsError: the networks cannot be used, which is reported too.
    """
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
        if not summary.faces and run.terminal.verbosity == 0 and (advice := _advice(outcomes)) is not None:
            run.terminal.say(advice)
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
    return (
        1
        if summary.broken_backends
        else exit_code(summary.failed, summary.photos, faults=len(run.plan.faults))
    )


def _advice(outcomes: Sequence[PhotoOutcome]) -> str | None:
    """Return what to try where no photo of a run shows a face: what is said of the first; None where nothing is."""
    told = (outcome.report.get("advice") for outcome in outcomes if outcome.report is not None)
    return next((advice for advice in told if advice), None)


def _read_ahead(request: PhotosRequest, jobs: Sequence[PhotoJob]) -> Ahead | None:
    """Begin to read the first photo, while the networks are loaded; None where it may not be wanted.

    Other tasks read what they are given in ways of their own.
    """
    if request.task != RESTORE or not may_read(jobs[0], overwrite=request.files.overwrite):
        return None
    return Ahead(jobs[0], max_pixels=request.restore.max_pixels, page=request.restore.page)


def _do_all(run: _BatchRun) -> None:
    """Append the outcome of each photo as it comes, and tell it."""
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


def _tell_better_weights(terminal: Terminal) -> None:
    """Say once and for all that there are better weights than the bundled ones."""
    if first_run():
        terminal.say(f"{BETTER_WEIGHTS} This is said once; 'facerestore enhance --help' says it again.")


def _write_reports(run: _BatchRun, *, interrupted: bool) -> None:
    """Write the report to standard output with --json, and then to its file, which may fail."""
    request = run.request
    if request.files.html is not None:
        _write_gallery(run, Path(request.files.html))
    if not request.as_json and request.report is None:
        return
    report = run_report(run.outcomes, run.pipeline, plan=run.plan, interrupted=interrupted)
    if request.as_json:
        print_json(report)
    if request.report is not None:
        write_report(request.report, report)


def _write_gallery(run: _BatchRun, folder: Path) -> None:
    """Write the pages of the gallery, whose pictures are there."""
    from facerestore.batch import photo_report, summarise
    from facerestore.pictures.gallery.page import write_gallery

    done = run.request.task.done
    records = [photo_report(outcome) for outcome in run.outcomes]
    page = write_gallery(folder, records, summary=summarise(run.outcomes).told(done), done=done)
    run.terminal.say(f"gallery: open {page}")


def refuse_lists(request: PhotosRequest) -> None:
    """Raise ConfigError where a list was given, which only a sheet can take."""
    lists = [
        ("--backend", request.restore.backend if _is_list(request.restore.backend) else None),
        ("--weights", request.restore.weights if _is_list(request.restore.weights) else None),
        ("--strength", ",".join(f"{s:g}" for s in request.strengths) if len(request.strengths) > 1 else None),
    ]
    for option, value in lists:
        if value is not None:
            raise ConfigError(f"{option} is '{value}'; name one, or give --sheet FILE to compare several")


def _is_list(text: str | None) -> bool:
    if text is None or not ("," in text or text == "all"):
        return False
    from facerestore.evaluation.sheet import ALL, split_list

    return text == ALL or len(split_list(text)) > 1

"""The work behind ``facerestore enhance`` and the other tasks: plan, do one after the other, tell, and sum up."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from facerestore.batch import (
    STREAM,
    BatchPlan,
    Journal,
    PhotoJob,
    PhotoOutcome,
    Watch,
    check_options,
    missing_photos,
    photo_report,
    run_jobs,
    summarise,
    sweep_folders,
)
from facerestore.batch.ahead import Ahead, may_read
from facerestore.batch.run import OnStop
from facerestore.batch.workers import at_a_time, worker_count
from facerestore.cli import stopping
from facerestore.cli.course import BatchRun, Engine, write_reports
from facerestore.cli.inputs import planned_photos
from facerestore.cli.live import Pace, TilesLeft
from facerestore.cli.request import RAY, PhotosRequest
from facerestore.cli.resuming import journal_of
from facerestore.cli.telling import (
    BETTER_WEIGHTS,
    exit_code,
    first_run,
    missing_hints,
    tell,
    tell_inputs,
    warn_passed_over,
)
from facerestore.cli.terminal import Terminal
from facerestore.cli.turns import Turns
from facerestore.config import RESTORE
from facerestore.engines.cores import cores_shared
from facerestore.engines.device import one_heap
from facerestore.errors import ConfigError, JournalError, WeightsError, count
from facerestore.io import RemotePath, located
from facerestore.pipeline.progress import OnProgress, Progress
from facerestore.video import INSTALL, can_restore, has_video_name


def execute(request: PhotosRequest) -> int:
    """Do what was asked, and return the exit code.

    Raises:
        FaceRestoreError: nothing could be begun: an option, the weights or the device is at fault.
    """
    request.check_engine()
    plan = planned_photos(request)
    to_stdout = any(job.target == STREAM for job in plan.jobs)
    _check_streams(request, to_stdout)
    terminal = request.terminal(stdout_taken=to_stdout or request.as_json or request.log_json)
    tell_inputs(plan, terminal)
    if request.task is RESTORE and any(
        has_video_name(path) and not can_restore(path) for path in plan.not_read
    ):
        terminal.say(f"videos are restored with one more package: {INSTALL}")
    if request.watch:
        request.journal_folder(plan)
        terminal = replace(terminal, progress=False)  # nobody knows of how many
    if not request.dry_run:
        return _restore_photos(request, plan, terminal)
    from facerestore.cli.dry_run import show_plan

    return show_plan(request, plan, terminal)


def _check_streams(request: PhotosRequest, to_stdout: bool) -> None:
    """Raise ConfigError unless the wanted outputs go together."""
    files = request.files
    beside = (files.compare, files.save_faces, files.save_stages, files.save_damaged, files.html)
    if to_stdout and any((*beside, files.keep_originals)):
        raise ConfigError(
            "--compare, --keep-originals, --save-faces, --save-stages, --save-damaged and --html need a named result;"
            " give -o FILE"
        )
    if to_stdout:
        request.check_stdout("picture", example="out.jpg", json="use --report FILE.json")
    if files.save_damaged is not None and request.task is RESTORE and not request.restore.repair:
        raise ConfigError("--save-damaged shows what --repair finds; give both, or none")
    request.check_report()
    if files.html is not None:
        from facerestore.pictures.gallery.page import check_gallery

        if isinstance(page := located(files.html), RemotePath):
            raise ConfigError(
                f"--html is '{page}'; give a directory of the disk, and copy the gallery to the store"
            )
        check_gallery(Path(files.html))


def _restore_photos(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> int:
    """Restore the photos, and return the exit code."""
    outcomes = missing_photos(plan.jobs)
    for outcome in outcomes:
        _tell_outcome(outcome, request, terminal)
    for hint in missing_hints(request.inputs):
        terminal.warn(hint)
    missing = {outcome.job for outcome in outcomes}
    jobs = [job for job in plan.jobs if job not in missing]
    with journal_of(request, plan) as journal:
        run = BatchRun(request, plan, jobs, terminal, outcomes, journal)
        if request.watch:
            run.watch = (request.watcher or Watch)()
            run.jobs = run.watch.fresh(jobs)
        run.jobs = run.leave_out(run.jobs)
        if not run.jobs and run.watch is None:
            sweep_folders(jobs)  # a killed run may have ended behind its last photo
            return _finish_run(run)
        one_heap()  # before there are threads
        with cores_shared(_at_a_time(run)), _engine(run) as run.does:
            _begin(run, run.does)
            with stopping.finishing():
                return _finish_run(run)


def _at_a_time(run: BatchRun) -> int:
    """Return how many photos are worked on at a time where they are restored on the CPU."""
    asked, files = run.request.restore, run.request.files
    if asked.background is not None:
        return 1
    workers = worker_count(files.workers, photos=len(run.jobs), device="cpu", threads=asked.threads)
    return at_a_time(workers, run.jobs)


def _engine(run: BatchRun) -> AbstractContextManager[Engine]:
    """Return what restores the photos of a run, its networks loaded on entry."""
    if run.request.engine == RAY:
        from facerestore.cli.clustering import on_cluster

        return on_cluster(run.request, run.plan, run.jobs, run.terminal)
    if len(run.request.devices) > 1:
        from facerestore.cli.clustering import on_devices

        return on_devices(run.request, run.plan, run.terminal)
    return nullcontext(_Here(run.request, _read_ahead(run.request, run.jobs)))


class _Here:
    """This process, which loads the networks now.

    Args:
        request: what was asked for.
        ahead: reads the first photo meanwhile.
    """

    def __init__(self, request: PhotosRequest, ahead: Ahead | None) -> None:
        from facerestore.pipeline.build import build_pipeline

        try:
            self.line = (request.build or build_pipeline)(request.restore)
            check_options(self.line, request.files)
        except Exception:
            if ahead is not None:
                ahead.wait()  # until it is through, it listens to standard error, where the fault is to be told
            raise
        self._options, self._ahead = request.files, ahead

    @property
    def passed_over(self) -> Sequence[tuple[str, str]]:
        """See ``Engine``."""
        from facerestore.pipeline.per_face import networks_passed_over

        return networks_passed_over(self.line)

    def run(
        self, jobs: Sequence[PhotoJob], *, journal: Journal | None, on_stop: OnStop, on_progress: OnProgress
    ) -> Generator[PhotoOutcome, None, None]:
        """See ``Engine``."""
        return run_jobs(
            jobs,
            self.line,
            options=self._options,
            ahead=self._ahead,
            journal=journal,
            on_stop=on_stop,
            on_progress=on_progress,
        )


def _begin(run: BatchRun, does: Engine) -> None:
    """Tell which networks are loaded, and note that the run begins."""
    request, terminal = run.request, run.terminal
    terminal.say(f"{request.task.doing} with {does.line.description}")
    warn_passed_over(does.passed_over, terminal)
    if run.journal is not None:
        run.journal.begin()
    if run.watch is not None:
        terminal.say("waiting for photos to come; Ctrl-C ends it")


def _finish_run(run: BatchRun) -> int:
    """Restore the photos that are there, report, and return the exit code.

    Raises:
        WeightsError: the networks cannot be used, which is reported too.
        JournalError: the journal cannot be written, which is reported too.
    """
    code, fault = 0, None
    try:
        _do_all(run)
    except KeyboardInterrupt as error:
        code = stopping.code_of(error)
    except (WeightsError, JournalError) as error:
        fault = error
    if not isinstance(fault, JournalError):
        run.end(interrupted=code != 0 or fault is not None)
    order = {job: number for number, job in enumerate(run.plan.jobs)}
    run.outcomes.sort(key=lambda outcome: order[outcome.job])
    summary, interrupted = summarise(run.own), code != 0
    if run.own:
        run.terminal.say(summary.told(run.request.task.done))
        if not summary.faces and run.terminal.verbosity == 0 and run.advice is not None:
            run.terminal.say(run.advice)
    if isinstance(fault, JournalError):
        run.journal = None  # nothing more can be asked of it
    write_reports(run, interrupted=interrupted or fault is not None)
    if fault is not None:
        raise fault
    if interrupted:
        run.terminal.warn(
            f"interrupted after {len(run.own)} of {_taken(run)} photos; no file is half written"
        )
        return code
    if run.does is not None and run.does.line.facts.bundled and summary.restored:
        _tell_better_weights(run.terminal)
    return 1 if summary.broken_backends else _exit_code(run)


def _taken(run: BatchRun) -> int:
    """Return how many photos the run was to do."""
    return len(run.plan.jobs) - sum(each.earlier for each in run.outcomes)


def _exit_code(run: BatchRun) -> int:
    """Return the exit code of a run that came to its end; what is done otherwise than asked counts as failed."""
    skipping = run.request.files.skip_existing
    lacking = ("failed",) if skipping else ("failed", "skipped")
    failed = sum(each.status in lacking for each in run.outcomes)
    return exit_code(failed, len(run.outcomes), faults=len(run.plan.faults))


def _read_ahead(request: PhotosRequest, jobs: Sequence[PhotoJob]) -> Ahead | None:
    """Begin to read the first photo, while the networks are loaded; None where it may not be wanted.

    Other tasks read what they are given in ways of their own.
    """
    if not jobs or request.task != RESTORE or not may_read(jobs[0], overwrite=request.files.overwrite):
        return None
    return Ahead(jobs[0], request.restore)


def _do_all(run: BatchRun) -> None:
    """Take the outcome of each photo as it comes, and tell it."""
    if run.does is None:
        return
    request, terminal = run.request, run.terminal
    pace = Pace(len(run.jobs))
    turns = Turns(run.jobs, lambda outcome: _tell_outcome(outcome, request, terminal))
    with _shown(run.jobs, pace, terminal):
        try:
            for outcome in stopping.breakable(_work_through(run, run.does)):
                run.take(outcome)
                pace.take(outcome)
                if request.log_json:  # as it happens
                    _tell_outcome(outcome, request, terminal)
                else:
                    turns.take(outcome)
        finally:
            turns.end()


def _shown(jobs: Sequence[PhotoJob], pace: Pace, terminal: Terminal) -> AbstractContextManager[object]:
    """Return what shows how far a run is: of one photo its name, of more how fast they are done."""
    if len(jobs) != 1:
        return terminal.paced(pace)
    shown = ExitStack()
    shown.enter_context(terminal.steps(1))(jobs[0].source.name)
    return shown


def _tell_outcome(outcome: PhotoOutcome, request: PhotosRequest, terminal: Terminal) -> None:
    """Say what became of a photo: in words, or as a line of JSON where programs read it."""
    if outcome.left:
        return
    if request.log_json:
        terminal.log(photo_report(outcome))
    else:
        tell(outcome, terminal, done=request.task.done)


def _work_through(run: BatchRun, does: Engine) -> Generator[PhotoOutcome, None, None]:
    """Yield what becomes of each photo; those that a run had which died are taken over at the end."""
    terminal, jobs = run.terminal, run.jobs

    def stop(under_way: int) -> None:
        if under_way:
            terminal.warn(f"finishing {count(under_way, 'photo')} under way; stop once more to end at once")

    tiles = TilesLeft()

    def show_share(progress: Progress) -> None:
        if progress.frame:
            of = f"/{progress.frames}" if progress.frames else ""
            terminal.detail(f"frame {progress.frame}{of}")
        elif progress.stage == "background":
            tiles.tell(progress, terminal)

    while jobs or run.watch is not None:
        yield from does.run(jobs, journal=run.journal, on_stop=stop, on_progress=show_share)
        jobs = run.freed() or run.grown()


def _tell_better_weights(terminal: Terminal) -> None:
    """Say once and for all that there are better weights than the bundled ones."""
    if first_run():
        terminal.say(f"{BETTER_WEIGHTS} This is said once; 'facerestore enhance --help' says it again.")


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

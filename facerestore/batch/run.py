"""Many photos at a time, in one bounded flow: as many are under way as there are hands, and as many again in line."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.photo import Work, credentials_of, do_job
from facerestore.batch.plan import STREAM, PhotoJob
from facerestore.batch.workers import PixelBudget, on_cpu, pixels_at_a_time, worker_count
from facerestore.config import OutputConfig
from facerestore.errors import ImageError
from facerestore.files import sweep
from facerestore.io import RemotePath
from facerestore.pictures.stages import check_staged

if TYPE_CHECKING:
    from facerestore.batch.ahead import Ahead
    from facerestore.batch.journal import Journal
    from facerestore.pipeline.progress import OnProgress
    from facerestore.pipeline.restore import RestorePipeline

DoJob = Callable[[PhotoJob, Work], PhotoOutcome]
"""Takes one photo from its file to its result."""

AWAKE_S = 1.0
"""The longest that the main thread sleeps at a stretch: a signal that comes just before it falls asleep, or in another
thread, does not wake it."""

OnStop = Callable[[int], None]
"""Told how many photos are finished first, where a run of several at a time is broken off."""


def run_jobs(
    jobs: Sequence[PhotoJob],
    pipeline: RestorePipeline,
    *,
    options: OutputConfig,
    ahead: Ahead | None = None,
    journal: Journal | None = None,
    on_stop: OnStop = lambda under_way: None,
    on_progress: OnProgress | None = None,
    do: DoJob = do_job,
) -> Generator[PhotoOutcome, None, None]:
    """Restore photos and yield what became of each as it comes; a failed one does not stop the rest.

    Several are worked on at a time (``options.workers``), with the results of one after the other: while one is
    decoded, the networks run for others, and others are written. Every file is written whole or not at all, so that the
    run may be broken off at any time: of several photos at a time those that are under way are then finished and told,
    unless it is broken off once more. What is held does not grow with the number of photos.

    Args:
        jobs: from ``plan_jobs``.
        pipeline: restores each photo.
        options: how results are written, and how many photos are worked on at a time.
        ahead: reads one of the photos already; None where nothing was begun.
        journal: notes what becomes of each, and says which are another run's; None where none is kept.
        on_stop: told how many photos are finished first, where a run of several at a time is broken off.
        on_progress: told how far each photo is, in the thread that works on it.
        do: does one photo.

    Raises:
        WeightsError: the networks themselves cannot be used, which no other photo would change.
        JournalError: the journal cannot be written, which no other photo would change either.
        ConfigError: stages are to be saved, and the restorer has none.
    """
    check_options(pipeline, options)
    sweep_folders(jobs)
    workers = workers_of(pipeline, options, photos=len(jobs))
    work = Work(pipeline, options, PixelBudget(), ahead, on_progress, journal)
    if workers == 1:
        yield from (do(job, work) for job in jobs)
        return
    hands = Threads(work, workers, do)
    try:
        yield from flow(jobs, [hands], on_stop)
    finally:
        hands.close()


def workers_of(pipeline: RestorePipeline, options: OutputConfig, *, photos: int) -> int:
    """Return how many photos a pipeline works on at a time."""
    if pipeline.background is not None:  # it takes all of the machine, and gigabytes, for each photo
        return 1
    facts = pipeline.facts
    return worker_count(options.workers, photos=photos, device=facts.device, threads=pipeline.config.threads)


def sweep_folders(jobs: Sequence[PhotoJob]) -> None:
    """Remove what killed processes have left where results go."""
    for folder in dict.fromkeys(job.target.parent for job in jobs if job.target != STREAM):
        if not isinstance(folder, RemotePath):
            sweep(folder)


class Hands(Protocol):
    """Whoever does photos, several at a time.

    Attributes:
        at_a_time: how many.
        alive: they can be given more.
    """

    at_a_time: int
    alive: bool

    def submit(self, job: PhotoJob) -> Future[PhotoOutcome]:
        """Return what is to become of a photo, which waits in line; until it is begun it may be cancelled."""
        ...

    def hurry(self) -> None:
        """Give up what is under way."""
        ...


class Threads:
    """Threads of this process, which share the networks.

    Args:
        work: what they share; on an accelerator the faces of all their photos go into one call.
        at_a_time: how many.
        do: does one photo.
    """

    alive = True

    def __init__(self, work: Work, at_a_time: int, do: DoJob = do_job) -> None:
        device = work.pipeline.facts.device
        if not on_cpu(device):
            from facerestore.batch.gathering import gathered  # not needed to begin with, and it imports much

            work = replace(work, pipeline=gathered(work.pipeline))
        self.at_a_time, self._do = at_a_time, do
        self._work = replace(work, budget=PixelBudget(pixels_at_a_time(device)))
        self._pool, self._patient = ThreadPoolExecutor(at_a_time), True

    def submit(self, job: PhotoJob) -> Future[PhotoOutcome]:
        """See ``Hands.submit``."""
        return self._pool.submit(self._do, job, self._work)

    def hurry(self) -> None:
        """Do not wait for what is under way."""
        self._patient = False

    def close(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._pool.shutdown(wait=self._patient, cancel_futures=True)


def flow(jobs: Iterable[PhotoJob], hands: Sequence[Hands], on_stop: OnStop) -> Iterator[PhotoOutcome]:
    """Yield the outcomes of photos as they come; each of the hands takes the next photo when it is through with one.

    Args:
        jobs: of the photos; looked at no further than there are hands.
        hands: do them.
        on_stop: see ``run_jobs``.
    """
    waiting, done = iter(jobs), SimpleQueue[Future[PhotoOutcome]]()
    under_way: dict[Future[PhotoOutcome], Hands] = {}

    def begin(each: Hands) -> None:
        for job in islice(waiting, 1 if each.alive else 0):
            future = each.submit(job)
            under_way[future] = each
            future.add_done_callback(done.put)

    try:
        for each in hands:
            for _ in range(
                2 * each.at_a_time
            ):  # as many again wait in line, so that none idles while one is told
                begin(each)
        while under_way:
            future = _first(done)
            begin(under_way[future])
            outcome = future.result()
            del under_way[future]  # as late as can be: broken off before, it is told below
            yield outcome
    except KeyboardInterrupt:
        # What is under way is finished and told, what waits is not begun; unless one cannot wait for that.
        begun = [future for future in under_way if not future.cancel()]
        try:
            on_stop(sum(not future.done() for future in begun))
            for future in begun:
                while not wait([future], AWAKE_S).done:
                    pass
                if future.exception() is None:
                    yield future.result()
        except KeyboardInterrupt:
            for each in hands:
                each.hurry()
            raise
        raise


def _first(done: SimpleQueue[Future[PhotoOutcome]]) -> Future[PhotoOutcome]:
    """Return what is through next, however long that takes."""
    while True:
        with suppress(Empty):
            return done.get(timeout=AWAKE_S)


def missing_photos(jobs: Sequence[PhotoJob]) -> list[PhotoOutcome]:
    """Return the outcomes of the photos that are not there, which can be told before any network is loaded.

    Those of stores are told when they are fetched.
    """
    return [
        PhotoOutcome(job, Status.FAILED, 0.0, error=ImageError(f"{job.source}: no such file; check the path"))
        for job in jobs
        if not (job.source == STREAM or isinstance(job.source, RemotePath) or os.path.lexists(job.source))
    ]


def check_options(pipeline: RestorePipeline, options: OutputConfig) -> None:
    """Make sure that a pipeline can write what is asked for.

    Raises:
        ConfigError: stages are to be saved, and the restorer has none; or results cannot be signed as is asked for.
    """
    if options.save_stages is not None:
        check_staged(pipeline.restorer)
    if (credentials := credentials_of(options)) is not None:
        credentials.check()

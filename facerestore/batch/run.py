"""Runs jobs; here, and only here, a failure becomes a recorded outcome and the next photo has its turn."""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.batch.clips import run_clip
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.pages import Restored, check_pages, page_job, restore_pages
from facerestore.batch.plan import STREAM, PhotoJob, compare_path
from facerestore.batch.products import (
    beside,
    check_target,
    picture_of,
    write_extra,
    write_faces,
    write_stages,
)
from facerestore.batch.standing import Claim
from facerestore.batch.workers import PixelBudget, on_cpu, pixels_at_a_time, worker_count
from facerestore.config import OutputConfig
from facerestore.errors import ImageError, JournalError, WeightsError
from facerestore.files import sweep
from facerestore.io import (
    FORMATS,
    OF_RAW,
    RAW,
    WRITTEN_SUFFIXES,
    RemotePath,
    check_holds,
    fitted,
    is_file,
    left_out,
    page_count,
    picture_size,
    read_encoded,
    resolve_format,
    write_encoded,
    write_image,
)
from facerestore.pictures.gallery.thumbnails import picture_key, thumbnail, write_thumbnails
from facerestore.pictures.stages import check_staged
from facerestore.pipeline.report import reading_notes, storage_note
from facerestore.types import DecodedImage
from facerestore.video import is_clip

if TYPE_CHECKING:
    from facerestore.batch.ahead import Ahead
    from facerestore.batch.journal import Journal
    from facerestore.io import OnEncoded
    from facerestore.pipeline.progress import OnProgress
    from facerestore.pipeline.restore import RestorePipeline


def run_jobs(
    jobs: Sequence[PhotoJob],
    pipeline: RestorePipeline,
    *,
    options: OutputConfig,
    ahead: Ahead | None = None,
    journal: Journal | None = None,
    on_stop: Callable[[int], None] = lambda under_way: None,
    on_progress: OnProgress | None = None,
) -> Generator[PhotoOutcome, None, None]:
    """Restore photos and yield what became of each, in their order; a failed one does not stop the rest.

    Several are worked on at a time (``options.workers``), with the results of one after the other. Every file is
    written whole or not at all, so that the run may be broken off at any time: of several photos at a time those that
    are under way are then finished and told, unless it is broken off once more.

    Args:
        jobs: from ``plan_jobs``.
        pipeline: restores each photo.
        options: how results are written, and how many photos are worked on at a time.
        ahead: reads one of the photos already; None where nothing was begun.
        journal: notes what becomes of each, and says which are another run's; None where none is kept.
        on_stop: told how many photos are finished first, where a run of several at a time is broken off.
        on_progress: told how far each photo is, in the thread that works on it.

    Raises:
        WeightsError: the networks themselves cannot be used, which no other photo would change.
        JournalError: the journal cannot be written, which no other photo would change either.
        ConfigError: stages are to be saved, and the restorer has none.
    """
    check_options(pipeline, options)
    for folder in dict.fromkeys(job.target.parent for job in jobs if job.target != STREAM):
        if not isinstance(folder, RemotePath):
            sweep(folder)
    threads = pipeline.config.threads
    # A background network takes all of the machine, and gigabytes, for each photo.
    photos = len(jobs) if pipeline.background is None else 1
    workers = worker_count(options.workers, photos=photos, device=pipeline.facts.device, threads=threads)
    if workers == 1:
        work = _Work(pipeline, options, PixelBudget(), ahead, on_progress, journal)
        yield from (_outcome(job, work) for job in jobs)
        return
    if not on_cpu(pipeline.facts.device):
        from facerestore.batch.gathering import gathered  # not needed to begin with, and it imports much

        pipeline = gathered(pipeline)
    budget = PixelBudget(pixels_at_a_time(pipeline.facts.device))
    work = _Work(pipeline, options, budget, ahead, on_progress, journal)
    yield from _at_a_time(workers, jobs, work, on_stop)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all jobs of a run share; see ``run_jobs``."""

    pipeline: RestorePipeline
    options: OutputConfig
    budget: PixelBudget
    ahead: Ahead | None = None
    on_progress: OnProgress | None = None
    journal: Journal | None = None
    begun: bool = False
    """A run has begun this photo before, and what it has left beside the result is ours to replace."""

    @property
    def extras(self) -> OutputConfig:
        """How what goes beside the result is written."""
        return replace(self.options, overwrite=True, skip_existing=False) if self.begun else self.options

    def telling(
        self, job: PhotoJob, data: bytes, report: dict[str, Any], extras: tuple[Path, ...]
    ) -> OnEncoded | None:
        """Return what tells the journal of a result when it is encoded; None where none is kept."""
        journal = self.journal
        if journal is None:
            return None
        return lambda parts: journal.writing(job, data, report=report, parts=parts, extras=extras)

    def pixels_of(self, data: bytes, *, name: str, page: int | None = None) -> int:
        """Return how many pixels the result of an encoded photo has."""
        line = self.pipeline
        size = picture_size(data, name=name, max_pixels=line.max_pixels, page=page or line.config.page)
        return self.result_pixels(*size)

    def result_pixels(self, width: int, height: int) -> int:
        """Return how many pixels the result of a photo has."""
        return round(width * height * self.pipeline.config.upscale**2)


def _at_a_time(
    workers: int, jobs: Sequence[PhotoJob], work: _Work, on_stop: Callable[[int], None]
) -> Iterator[PhotoOutcome]:
    """Yield the outcomes in the order of the jobs, ``workers`` of which run at a time."""
    waiting = iter(jobs)
    pool, patient = ThreadPoolExecutor(workers), True
    running: deque[Future[PhotoOutcome]] = deque()
    try:
        # As many again wait in line, so that no worker idles while the first is told.
        for job in islice(waiting, 2 * workers):
            running.append(pool.submit(_outcome, job, work))
        while running:
            outcome = running[0].result()
            for job in islice(waiting, 1):
                running.append(pool.submit(_outcome, job, work))
            running.popleft()  # as late as can be: broken off before, it is told below
            yield outcome
    except KeyboardInterrupt:
        # What is under way is finished and told, what waits is not begun; unless one cannot wait for that.
        begun = [future for future in running if not future.cancel()]
        try:
            on_stop(len(begun))
            yield from (future.result() for future in begun if future.exception() is None)
        except KeyboardInterrupt:
            patient = False
            raise
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)


def _outcome(job: PhotoJob, work: _Work) -> PhotoOutcome:
    """Run a job unless it is another run's, and return what became of it, which the journal knows then."""
    if work.options.skip_existing and job.target != STREAM and is_file(job.target):
        return PhotoOutcome(job, Status.SKIPPED, 0.0)
    if work.journal is None:
        return _attempt(job, work)
    claim = work.journal.claim(job)
    if claim is Claim.REFUSED:
        return PhotoOutcome(job, Status.LEFT, 0.0)
    outcome = _attempt(job, replace(work, begun=claim is Claim.AGAIN))
    work.journal.settle(outcome)
    return outcome


def _attempt(job: PhotoJob, work: _Work) -> PhotoOutcome:
    """Run a job, and return what became of it."""
    start = time.perf_counter()
    try:
        report, written = _run(job, work)
    except (WeightsError, JournalError):
        raise
    except Exception as error:  # any fault of one photo is that photo's outcome, told and counted
        _release(error)
        return PhotoOutcome(job, Status.FAILED, time.perf_counter() - start, error=error)
    return PhotoOutcome(job, Status.DONE, time.perf_counter() - start, report=report, written=written)


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
        ConfigError: stages are to be saved, and the restorer has none.
    """
    if options.save_stages is not None:
        check_staged(pipeline.restorer)


def run_job(
    job: PhotoJob,
    pipeline: RestorePipeline,
    *,
    options: OutputConfig,
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore one photo and write its result; return the report and the files written, the result first.

    A photo in which nothing was changed is not encoded anew: its file is copied, byte for byte. The result takes its
    name after all that goes with it, so that where it exists (``skip_existing``), nothing is missing.

    Args:
        job: the photo.
        pipeline: restores it.
        options: how results are written.

    Raises:
        FaceRestoreError: it cannot be read, restored or written.
    """
    return _run(job, _Work(pipeline, options, PixelBudget()))


def _run(job: PhotoJob, work: _Work) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Do what ``run_job`` says."""
    pipeline, options, ahead = work.pipeline, work.options, work.ahead
    if job.target != STREAM:
        check_target(job.target, overwrite=options.overwrite)
        if options.compare:
            check_target(compare_path(job.target), overwrite=work.extras.overwrite)
    if job.source != STREAM and is_clip(job.source) and pipeline.config.page is None:
        return run_clip(
            job, pipeline, options=work.extras, journal=work.journal, on_progress=work.on_progress
        )
    read = None if ahead is None else ahead.take(job)
    if read is not None:
        height, width = read.image.pixels.shape[:2]
        with work.budget.hold(work.result_pixels(width, height)):
            return _run_decoded(job, work, read.data, read.image)
    data = read_encoded(job.source)
    name = "standard input" if job.source == STREAM else str(job.source)
    count = 1 if pipeline.config.page else page_count(data, name=name)
    if count > 1:
        return _run_pages(job, work, data, count)
    with work.budget.hold(work.pixels_of(data, name=name)):
        return _run_decoded(job, work, data, pipeline.decode(data, name=name))


def _run_pages(
    job: PhotoJob, work: _Work, data: bytes, count: int
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore the pages of a TIFF, and write them as one; return the report and the files written."""
    name = "standard input" if job.source == STREAM else str(job.source)
    check_pages(name, count, _named_format(job.target, work.options.format) or "TIFF")

    def restore(number: int) -> Restored:
        called = f"{name}, page {number}"
        with work.budget.hold(work.pixels_of(data, name=called, page=number)):
            image = work.pipeline.decode(data, name=called, page=number)
            return _restored(page_job(job, number), work, image, "TIFF")

    report, encoded, extras = restore_pages(data, count, restore=restore)
    told = work.telling(job, data, report, extras)
    written = write_encoded(job.target, encoded, overwrite=work.options.overwrite, on_encoded=told)
    return report, (written, *extras)


def _run_decoded(
    job: PhotoJob, work: _Work, data: bytes, image: DecodedImage
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore a decoded photo and write its result; return the report and the files written."""
    options = work.options
    format_name = result_format(job.target, image, options.format)
    image = fitted(image, format=format_name)
    found = _restored(job, work, image, format_name)
    told = work.telling(job, data, found.report, found.extras)
    if found.unchanged:
        written = write_encoded(job.target, data, overwrite=options.overwrite, on_encoded=told)
    else:
        written = write_image(
            job.target,
            found.image,
            format=format_name,
            quality=options.quality,
            overwrite=options.overwrite,
            spent=True,  # its pixels are not looked at again
            on_encoded=told,
        )
    return found.report, (written, *found.extras)


def _restored(job: PhotoJob, work: _Work, image: DecodedImage, format_name: str) -> Restored:
    """Restore a decoded photo and write what goes beside its result."""
    check_holds(image, format=format_name)
    pipeline, options = work.pipeline, work.extras
    sketch = None if options.html is None else thumbnail(image.pixels)
    result = pipeline.run(image, source=job.source, spent=not options.compare, on_progress=work.on_progress)
    done = pipeline.task.done if result.report["restored"] else None
    result.report["notes"] = [*reading_notes(image, done=done), *result.report["notes"]]
    unchanged = result.image is image and format_name == image.format and options.quality is None
    if not unchanged and (line_left_out := left_out(result.image, format=format_name)):
        result.report["notes"].append(line_left_out)
    if not unchanged and (line_stored := storage_note(result.image)):
        result.report["notes"].append(line_stored)
    if options.html is not None and sketch is not None:
        write_thumbnails(Path(options.html), picture_key(job.source, job.page), sketch, result)
    extras = []
    if options.compare:
        before = result.before or image
        from facerestore.pictures.compare import compare_picture

        picture = compare_picture(before.pixels, result.image.pixels, result.faces)
        extras.append(
            write_extra(compare_path(job.target), picture_of(picture, result, "comparison"), options)
        )
    if options.save_faces is not None:
        extras += write_faces(Path(options.save_faces) / job.name, result, options)
    if options.save_stages is not None:
        extras += write_stages(Path(options.save_stages) / job.name, result, pipeline, options)
    if options.save_damaged is not None and result.before is not None:
        target = beside(Path(options.save_damaged) / job.name, "_damaged.png")
        extras.append(write_extra(target, picture_of(result.before.pixels, result, "damage"), options))
    return Restored(result.image, result.report, unchanged, tuple(extras))


def _release(error: BaseException | None) -> None:
    """Let go of the pictures that the frames of an error's traceback hold; the lines it names stay."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def result_format(target: Path, source: DecodedImage, asked: str | None = None) -> str:
    """Return the format of a result: the one asked for, else by its name, else that of the source.

    Raises:
        ConfigError: no format has the name that is asked for.
    """
    usual = OF_RAW if source.format == RAW else "PNG"
    return _named_format(target, asked) or (source.format if source.format in FORMATS else None) or usual


def _named_format(target: Path, asked: str | None) -> str | None:
    """Return the format that is asked for, else that of a result's name; None where there is neither."""
    return WRITTEN_SUFFIXES.get(target.suffix.lower()) if asked is None else resolve_format(asked)

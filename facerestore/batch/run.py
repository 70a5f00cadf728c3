"""Runs jobs; here, and only here, a failure becomes a recorded outcome and the next photo has its turn."""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.batch.pages import Restored, check_pages, page_job, restore_pages
from facerestore.batch.plan import STREAM, PhotoJob, compare_path
from facerestore.batch.workers import PixelBudget, on_cpu, pixels_at_a_time, worker_count
from facerestore.config import OutputConfig
from facerestore.errors import ImageError, WeightsError
from facerestore.files import sweep
from facerestore.io import (
    FORMATS,
    SUFFIXES,
    check_free,
    check_holds,
    colours_of,
    fitting,
    is_file,
    is_folder,
    left_out,
    marked,
    page_count,
    picture_size,
    read_encoded,
    resolve_format,
    write_encoded,
    write_image,
)
from facerestore.pictures.compare import compare_picture
from facerestore.pictures.gallery.thumbnails import picture_key, thumbnail, write_thumbnails
from facerestore.pictures.stages import check_staged, stage_pictures
from facerestore.pipeline.report import reading_notes, storage_note
from facerestore.pixels import to_8_bit
from facerestore.types import DecodedImage, Image, RestoreResult

if TYPE_CHECKING:
    from facerestore.background import OnTile
    from facerestore.batch.ahead import Ahead
    from facerestore.pipeline.restore import RestorePipeline


class Status(StrEnum):
    """What became of a photo."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class PhotoOutcome:
    """One photo at the end of its job.

    Attributes:
        job: what was to be done.
        status: done, skipped because its result exists, or failed.
        seconds: wall time, reading and writing included.
        report: the pipeline's report; None unless done.
        written: the files written, the result first.
        error: why it failed; None otherwise.
    """

    job: PhotoJob
    status: Status
    seconds: float
    report: dict[str, Any] | None = None
    written: tuple[Path, ...] = ()
    error: Exception | None = None


def run_jobs(
    jobs: Sequence[PhotoJob],
    pipeline: RestorePipeline,
    *,
    options: OutputConfig,
    ahead: Ahead | None = None,
    on_stop: Callable[[int], None] = lambda under_way: None,
    on_tile: OnTile | None = None,
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
        on_stop: told how many photos are finished first, where a run of several at a time is broken off.
        on_tile: told of the background's progress with each photo, tile by tile.

    Raises:
        WeightsError: the networks themselves cannot be used, which no other photo would change.
        ConfigError: stages are to be saved, and the restorer has none.
    """
    check_options(pipeline, options)
    for folder in dict.fromkeys(job.target.parent for job in jobs if job.target != STREAM):
        sweep(folder)
    threads = pipeline.config.threads
    # A background network takes all of the machine, and gigabytes, for each photo.
    photos = len(jobs) if pipeline.background is None else 1
    workers = worker_count(options.workers, photos=photos, device=pipeline.facts.device, threads=threads)
    if workers == 1:
        work = _Work(pipeline, options, PixelBudget(), ahead, on_tile)
        yield from (_outcome(job, work) for job in jobs)
        return
    if not on_cpu(pipeline.facts.device):
        from facerestore.batch.gathering import gathered  # not needed to begin with, and it imports much

        pipeline = gathered(pipeline)
    budget = PixelBudget(pixels_at_a_time(pipeline.facts.device))
    yield from _at_a_time(workers, jobs, _Work(pipeline, options, budget, ahead, on_tile), on_stop)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all jobs of a run share; see ``run_jobs``."""

    pipeline: RestorePipeline
    options: OutputConfig
    budget: PixelBudget
    ahead: Ahead | None = None
    on_tile: OnTile | None = None

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
    """Run a job, and return what became of it."""
    start = time.perf_counter()
    if work.options.skip_existing and job.target != STREAM and is_file(job.target):
        return PhotoOutcome(job, Status.SKIPPED, 0.0)
    try:
        report, written = run_job(
            job,
            work.pipeline,
            options=work.options,
            budget=work.budget,
            ahead=work.ahead,
            on_tile=work.on_tile,
        )
    except WeightsError:
        raise
    except Exception as error:  # any fault of one photo is that photo's outcome, told and counted
        _release(error)
        return PhotoOutcome(job, Status.FAILED, time.perf_counter() - start, error=error)
    return PhotoOutcome(job, Status.DONE, time.perf_counter() - start, report=report, written=written)


def missing_photos(jobs: Sequence[PhotoJob]) -> list[PhotoOutcome]:
    """Return the outcomes of the photos that are not there, which can be told before any network is loaded."""
    return [
        PhotoOutcome(job, Status.FAILED, 0.0, error=ImageError(f"{job.source}: no such file; check the path"))
        for job in jobs
        if job.source != STREAM and not os.path.lexists(job.source)
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
    budget: PixelBudget | None = None,
    ahead: Ahead | None = None,
    on_tile: OnTile | None = None,
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore one photo and write its result; return the report and the files written, the result first.

    A photo in which nothing was changed is not encoded anew: its file is copied, byte for byte. The result takes its
    name after all that goes with it, so that where it exists (``skip_existing``), nothing is missing.

    Args:
        job: the photo.
        pipeline: restores it.
        options: how results are written.
        budget: waits until the photo's pixels have room beside those of others; None for a photo alone.
        ahead: reads a photo already, which may be this one.
        on_tile: told of the background's progress, tile by tile.

    Raises:
        FaceRestoreError: it cannot be read, restored or written.
    """
    if job.target != STREAM:
        targets = [job.target, *([compare_path(job.target)] if options.compare else [])]
        _check_free(targets, overwrite=options.overwrite)
    work = _Work(pipeline, options, budget or PixelBudget(), ahead, on_tile)
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
    written = write_encoded(job.target, encoded, overwrite=work.options.overwrite)
    return report, (written, *extras)


def _run_decoded(
    job: PhotoJob, work: _Work, data: bytes, image: DecodedImage
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore a decoded photo and write its result; return the report and the files written."""
    options = work.options
    format_name = result_format(job.target, image, options.format)
    found = _restored(job, work, image, format_name)
    encoded = data if found.unchanged else None
    written = _write_result(job.target, found.image, encoded, format_name, options)
    return found.report, (written, *found.extras)


def _restored(job: PhotoJob, work: _Work, image: DecodedImage, format_name: str) -> Restored:
    """Restore a decoded photo and write what goes beside its result."""
    check_holds(image, format=format_name)
    pipeline, options = work.pipeline, work.options
    sketch = None if options.html is None else thumbnail(image.pixels)
    result = pipeline.run(image, source=job.source, spent=not options.compare, on_tile=work.on_tile)
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
        picture = compare_picture(before.pixels, result.image.pixels, result.faces)
        extras.append(
            _write_extra(compare_path(job.target), _picture(picture, result, "comparison"), options)
        )
    if options.save_faces is not None:
        extras += _write_faces(Path(options.save_faces) / job.name, result, options)
    if options.save_stages is not None:
        extras += _write_stages(Path(options.save_stages) / job.name, result, pipeline, options)
    if options.save_damaged is not None and result.before is not None:
        target = _beside(Path(options.save_damaged) / job.name, "_damaged.png")
        extras.append(_write_extra(target, _picture(result.before.pixels, result, "damage"), options))
    return Restored(result.image, result.report, unchanged, tuple(extras))


def _release(error: BaseException | None) -> None:
    """Let go of the pictures that the frames of an error's traceback hold; the lines it names stay."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _write_result(
    target: Path, image: DecodedImage, encoded: bytes | None, format_name: str, options: OutputConfig
) -> Path:
    """Write a result, from its bytes where it has kept them; its pixels are not looked at again."""
    if encoded is not None:
        return write_encoded(target, encoded, overwrite=options.overwrite)
    return write_image(
        target, image, format=format_name, quality=options.quality, overwrite=options.overwrite, spent=True
    )


def _check_free(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Raise ImageError when a result cannot be written where it is to be, before any work is spent on it."""
    for target in targets:
        if is_folder(target):
            raise ImageError(f"'{target}' is a directory; give another --suffix or -o")
        if overwrite:
            check_free(target, overwrite=True)
        elif os.path.lexists(target):
            raise ImageError(
                f"'{target}' exists; give --overwrite to replace it, --skip-existing to leave such photos out,"
                " or another --suffix or -o"
            )


def result_format(target: Path, source: DecodedImage, asked: str | None = None) -> str:
    """Return the format of a result: the one asked for, else by its name, else that of the source.

    Raises:
        ConfigError: no format has the name that is asked for.
    """
    return _named_format(target, asked) or (source.format if source.format in FORMATS else None) or "PNG"


def _named_format(target: Path, asked: str | None) -> str | None:
    """Return the format that is asked for, else that of a result's name; None where there is neither."""
    return SUFFIXES.get(target.suffix.lower()) if asked is None else resolve_format(asked)


def _picture(pixels: Image, result: RestoreResult, kind: str) -> DecodedImage:
    """Return a picture made of a photo's pixels, whose colours look as the photo's do, marked as drawn."""
    return DecodedImage(pixels, metadata=marked(colours_of(result.image), kind), format=result.image.format)


def _beside(stem: Path, ending: str) -> Path:
    """Return the path of a side product: what names a job's, and what it is."""
    return stem.with_name(fitting(stem.parent, stem.name, ending))


def _write_extra(target: Path, image: DecodedImage, options: OutputConfig) -> Path:
    return write_image(target, image, overwrite=options.overwrite)


def _write_faces(stem: Path, result: RestoreResult, options: OutputConfig) -> list[Path]:
    """Write the aligned faces, as they were and as they became."""
    written = []
    for index, face in enumerate(result.faces):
        for word, pixels in (("before", face.aligned.lq if face.aligned else None), ("after", face.restored)):
            if pixels is not None:
                target = _beside(stem, f"_face{index}_{word}.png")
                written.append(_write_extra(target, _picture(to_8_bit(pixels), result, "face"), options))
    return written


def _write_stages(
    stem: Path, result: RestoreResult, pipeline: RestorePipeline, options: OutputConfig
) -> list[Path]:
    """Write what each scale added to each restored face."""
    written = []
    for index, face in enumerate(result.faces):
        if face.aligned is None or face.restored is None or face.parsing_map is None:
            continue
        stages = pipeline.restorer.stages(face.aligned, face.parsing_map)
        for ending, pixels in stage_pictures(stages, face.aligned.lq, face.parsing_map).items():
            target = _beside(stem, f"_face{index}_{ending}.png")
            written.append(_write_extra(target, _picture(pixels, result, "stage"), options))
    return written

"""One planned photo, from its file to its result: the same way whoever goes it, a thread, a process or a cluster.

Here, and only here, a failure becomes a recorded outcome.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.batch.clips import run_clip
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.pages import Restored, RestoredPages, check_pages, page_job, restore_pages
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
from facerestore.batch.workers import PixelBudget
from facerestore.config import OutputConfig
from facerestore.errors import ConfigError, JournalError, WeightsError
from facerestore.imaging.filling import paint_white
from facerestore.io import (
    FORMATS,
    OF_RAW,
    RAW,
    WRITTEN_SUFFIXES,
    Credentials,
    check_holds,
    encode_image,
    fitted,
    is_file,
    page_count,
    picture_size,
    read_encoded,
    resolve_format,
    write_encoded,
    write_image,
)
from facerestore.pictures.gallery.thumbnails import picture_key, thumbnail, write_thumbnails
from facerestore.pipeline.report import mark_of, reading_notes, writing_notes
from facerestore.types import DecodedImage
from facerestore.video import is_clip

if TYPE_CHECKING:
    from facerestore.batch.ahead import Ahead
    from facerestore.batch.standing import Notes
    from facerestore.io import Buffer, OnEncoded
    from facerestore.pipeline.progress import OnProgress
    from facerestore.pipeline.restore import RestorePipeline


@dataclass(frozen=True, slots=True)
class Work:
    """What all photos of a run share.

    Attributes:
        pipeline: restores each.
        options: how results are written.
        budget: lets photos in as long as their pixels fit.
        ahead: reads one of the photos already; None where nothing was begun.
        on_progress: told how far each photo is, in the thread that works on it.
        journal: notes what becomes of each, and says which are another run's; None where none is kept.
    """

    pipeline: RestorePipeline
    options: OutputConfig
    budget: PixelBudget = field(default_factory=PixelBudget)
    ahead: Ahead | None = None
    on_progress: OnProgress | None = None
    journal: Notes | None = None
    begun: bool = False
    """A run has begun this photo before, and what it has left beside the result is ours to replace."""

    @property
    def extras(self) -> OutputConfig:
        """How what goes beside the result is written."""
        return replace(self.options, overwrite=True, skip_existing=False) if self.begun else self.options

    @property
    def credentials(self) -> Credentials | None:
        """What results are signed with; None where they are not."""
        return credentials_of(self.options)

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


def credentials_of(options: OutputConfig) -> Credentials | None:
    """Return what results are signed with; None where they are not."""
    if options.c2pa_key is None or options.c2pa_cert is None:
        return None
    return Credentials(Path(options.c2pa_key), Path(options.c2pa_cert))


def do_job(job: PhotoJob, work: Work) -> PhotoOutcome:
    """Restore a photo, unless it is another run's, and write its result; return what became of it.

    Whatever is wrong with the photo, its result or a network's call is in the outcome, which the journal knows by then.
    Threads may share ``work``.

    Raises:
        WeightsError: the networks themselves cannot be used, which no other photo would change.
        JournalError: the journal cannot be written, which no other photo would change either.
    """
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


def _attempt(job: PhotoJob, work: Work) -> PhotoOutcome:
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


def _run(job: PhotoJob, work: Work) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore one photo and write its result; return the report and the files written, the result first.

    A photo in which nothing was changed is not encoded anew: its file is copied, byte for byte. The result takes its
    name after all that goes with it, so that where it exists (``skip_existing``), nothing is missing.
    """
    pipeline, options, ahead = work.pipeline, work.options, work.ahead
    if job.target != STREAM:
        check_target(job.target, overwrite=options.overwrite)
        if options.compare:
            check_target(compare_path(job.target), overwrite=work.extras.overwrite)
    if job.source != STREAM and is_clip(job.source) and pipeline.config.page is None:
        return run_clip(
            job, pipeline, options=work.extras, journal=work.journal, on_progress=work.on_progress
        )
    if options.preview:
        raise ConfigError("--preview is for videos and animations; --compare shows a photo before and after")
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


def _run_pages(job: PhotoJob, work: Work, data: bytes, count: int) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore the pages of a TIFF, and write them as one; return the report and the files written."""
    name = "standard input" if job.source == STREAM else str(job.source)
    check_pages(name, count, _named_format(job.target, work.options.format) or "TIFF")

    def restore(number: int) -> Restored:
        called = f"{name}, page {number}"
        with work.budget.hold(work.pixels_of(data, name=called, page=number)):
            image = work.pipeline.decode(data, name=called, page=number)
            return _restored(page_job(job, number), work, image, "TIFF")

    found = restore_pages(data, count, restore=restore)
    told, extras = _keeping(job, work, data, found)
    encoded = found.encoded if found.unchanged else _signed(found.encoded, work, found, data, "TIFF", "TIFF")
    written = write_encoded(job.target, encoded, overwrite=work.options.overwrite, on_encoded=told)
    return found.report, (written, *extras)


def _run_decoded(
    job: PhotoJob, work: Work, data: bytes, image: DecodedImage
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore a decoded photo and write its result; return the report and the files written."""
    options = work.options
    format_name = result_format(job.target, image, options.format)
    image = fitted(image, format=format_name)
    found = _restored(job, work, image, format_name)
    told, extras = _keeping(job, work, data, found)
    if found.unchanged:
        written = write_encoded(job.target, data, overwrite=options.overwrite, on_encoded=told)
    elif work.credentials is not None:
        plain = encode_image(found.image, format=format_name, quality=options.quality)
        encoded = _signed(plain, work, found, data, format_name, image.format)
        written = write_encoded(job.target, encoded, overwrite=options.overwrite, on_encoded=told)
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
    return found.report, (written, *extras)


def _signed(
    encoded: bytes | bytearray,
    work: Work,
    found: Restored | RestoredPages,
    photo: bytes,
    format_name: str,
    photo_format: str | None,
) -> bytes | bytearray:
    """Return a result with content credentials, where there is a key for them."""
    credentials = work.credentials
    if credentials is None:
        return encoded
    mark = mark_of(found.report, done=work.pipeline.task.done)
    return credentials.signed(
        bytes(encoded), mark, format=format_name, photo=photo, photo_format=photo_format
    )


def _keeping(
    job: PhotoJob, work: Work, data: bytes, found: Restored | RestoredPages
) -> tuple[OnEncoded | None, tuple[Path, ...]]:
    """Return what is told of a result when it is encoded, and all files beside it: the photo too, where it is kept."""
    if not work.options.keep_originals or found.unchanged:
        return work.telling(job, data, found.report, found.extras), found.extras
    from facerestore.batch.undo import packed, undo_path

    aside, name = undo_path(job.target), "photo" if job.source == STREAM else job.source.name
    extras = (*found.extras, aside)
    told = work.telling(job, data, found.report, extras)

    def keep(parts: Sequence[Buffer]) -> None:
        body = packed(name, data, parts, found.crops)
        write_encoded(aside, body, overwrite=work.extras.overwrite)
        if told is not None:
            told(parts)

    return keep, extras


def _restored(job: PhotoJob, work: Work, image: DecodedImage, format_name: str) -> Restored:
    """Restore a decoded photo and write what goes beside its result."""
    check_holds(image, format=format_name)
    pipeline, options = work.pipeline, work.extras
    sketch = None if options.html is None else thumbnail(image.pixels)
    result = pipeline.run(
        image,
        source=job.source,
        spent=not (options.compare or options.keep_originals or options.save_damaged),
        on_progress=work.on_progress,
    )
    done = pipeline.task.done if result.report["restored"] else None
    unchanged = result.image is image and format_name == image.format and options.quality is None
    result.report["notes"] = [
        *reading_notes(image, done=done),
        *result.report["notes"],
        *([] if unchanged else writing_notes(result.image, format=format_name)),
    ]
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
    if options.save_damaged is not None and result.holes is not None and result.holes.any():
        target = beside(Path(options.save_damaged) / job.name, "_damaged.png")
        white = paint_white(image.pixels, result.holes)
        extras.append(write_extra(target, picture_of(white, result, "damage"), options))
    crops = []
    if options.keep_originals:
        from facerestore.batch.undo import crops_of

        crops = crops_of(image, result.image, result.faces, page=job.page)
    return Restored(result.image, result.report, unchanged, tuple(extras), tuple(crops))


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

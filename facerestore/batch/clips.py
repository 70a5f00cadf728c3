"""Moving pictures among photos: one is a job like a photo, with a result, a report, and its place in the journal."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.batch.plan import PhotoJob
from facerestore.config import OutputConfig
from facerestore.errors import ConfigError
from facerestore.pipeline.progress import Progress

if TYPE_CHECKING:
    from facerestore.batch.standing import Notes
    from facerestore.pipeline.progress import OnProgress
    from facerestore.pipeline.restore import RestorePipeline


def run_clip(
    job: PhotoJob,
    pipeline: RestorePipeline,
    *,
    options: OutputConfig,
    journal: Notes | None,
    on_progress: OnProgress | None,
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Restore a moving picture and write its result; return the report and the files written.

    Args:
        job: the clip.
        pipeline: restores its frames.
        options: how results are written.
        journal: told what the result is before it is written; None where none is kept.
        on_progress: told as each frame is done.

    Raises:
        FaceRestoreError: it cannot be read, restored or written.
    """
    from facerestore.video.clip import pieces, restore_video

    if pipeline.repair is not None:
        raise ConfigError(
            "repair is for photos: what it finds in one frame of a clip it may not find in the next; leave it out"
        )

    def told(whole: Path, report: dict[str, Any]) -> None:
        if journal is not None:
            with job.source.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
                journal.writing(job, data, report=report, parts=pieces(whole))

    def tell_frame(done: int, of: int) -> None:
        if on_progress is not None:
            on_progress(Progress("restore", 0, 1, frame=done, frames=of))

    report = restore_video(
        job.source, job.target, output=options, pipeline=pipeline, on_frame=tell_frame, on_whole=told
    )
    return report, (job.target,)

"""A clip from file to file: frames restored one after the other, in whole segments that a later run goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facerestore import __version__
from facerestore.config import RESTORE, OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.imaging.pixels import check_size, resize_image
from facerestore.io import Mark, RemotePath, check_free, located, write_parts
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.parts import Passage
from facerestore.pipeline.report import mark_of, weights_used
from facerestore.video import has_video_name
from facerestore.video.animation import Animation
from facerestore.video.joining import Edges, Span, check_container, join
from facerestore.video.line import WARM_FRAMES, restored_frames
from facerestore.video.parts import PartsFolder, parts_beside
from facerestore.video.reading import (
    Frame,
    VideoReader,
    has_even_sides,
    open_video,
    parse_frames,
    raw_as,
    raw_like,
)
from facerestore.video.writing import SegmentWriter, encoder_for, pix_fmt_for

if TYPE_CHECKING:
    from facerestore.pictures.result import RestoreResult
    from facerestore.pipeline.restore import RestorePipeline

SEGMENT_FRAMES = 120
"""Frames of a segment: what a killed run loses at most."""

PIECE_BYTES = 1 << 20
"""Bytes of a finished result that are moved at a time."""

OnFrame: TypeAlias = Callable[[int, int], None]
"""Is told how many frames are done, and of how many; 0 where that is not known."""

Made: TypeAlias = "tuple[Frame, RestoreResult]"
"""A frame and what came of it."""

PREVIEW_S = 3.0
"""How long a preview is."""

OnWhole: TypeAlias = Callable[[Path, dict[str, Any]], None]
"""Is told where a whole result lies, and its report."""


def restore_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: RestoreConfig | None = None,
    output: OutputConfig | None = None,
    pipeline: RestorePipeline | None = None,
    on_frame: OnFrame | None = None,
    on_whole: OnWhole | None = None,
) -> dict[str, Any]:
    """Restore the faces of a video or an animation, write it, and return what was done.

    Frame goes after frame, so that memory does not grow with the length. Sound, subtitles, chapters, tags, times, the
    turn of the picture and the tags of its colours are kept. A run that was broken off goes on after its last whole
    segment when it is called again with the same settings.

    Args:
        source: the clip.
        target: the result, whose suffix says the container.
        config: how faces are restored; that of ``pipeline`` where one is given.
        output: which frames (``frames``), a preview (``preview``), with which ``encoder``, and whether an existing
            result is replaced (``overwrite``).
        pipeline: restores each frame; None makes one of ``config``.
        on_frame: told as each frame is done.
        on_whole: told where the result lies when it is whole, before it takes its name, and its report.

    Returns:
        The report of the frame with the most faces, as ``RestorePipeline.run`` makes it, and under ``clip`` what holds
        for all frames.

    Raises:
        ConfigError: PyAV is not installed, or an option is for photos alone.
        ImageError: the clip cannot be read, or the result not written.
        BackendError: a network failed.
    """
    source, target, output = _place(source), _place(target), output or OutputConfig()
    line = pipeline or build_pipeline(config)
    notes = _check_asked(line, output)
    check_free(target, overwrite=output.overwrite)
    job = _Job(source, target, line, output, on_frame or (lambda done, of: None))
    with parts_beside(target, _settings(job)) as parts:
        whole = parts.path / f"whole{target.suffix}"
        video = has_video_name(source)
        report = _made_video(job, parts, whole) if video else _made_animation(job, whole)
        report["notes"] = [*notes, *report["notes"]]
        if on_whole is not None:
            on_whole(whole, report)
        write_parts(target, pieces(whole), overwrite=output.overwrite)
    return report


@dataclass(frozen=True, slots=True)
class _Job:
    """What a clip is restored with."""

    source: Path
    target: Path
    pipeline: RestorePipeline
    output: OutputConfig
    on_frame: OnFrame

    def check_size(self, clip: Animation | VideoReader) -> None:
        """Raise ImageError where a frame has more pixels than are allowed."""
        if all(clip.size):  # the head of a video may leave that to its frames
            check_size(*clip.size, name=str(self.source), max_pixels=self.pipeline.max_pixels)

    def part(self, frames: Iterator[Frame]) -> tuple[int, int | None]:
        """Return the first frame that is wanted, and the one after the last; None for all to the end.

        Args:
            frames: of the clip; those of a preview begin where a face is found, unless it is said where.
        """
        if self.output.frames:
            return parse_frames(self.output.frames)
        return (self._first_face(frames), None) if self.output.preview else (0, None)

    def mark(self, segments: Sequence[dict[str, Any]]) -> Mark | None:
        """Return what the result says of how it was made; None where nothing is restored, or it is to say nothing.

        Args:
            segments: their facts. The areas of faces are left out, for they change from frame to frame.
        """
        if not self.pipeline.config.mark or not any(each["restored"] for each in segments):
            return None
        weights = {name: digest for each in segments for name, digest in each["weights"].items()}
        mark = mark_of(_richest(segments), done=self.pipeline.task.done)
        return replace(mark, weights=weights, faces=())

    def _first_face(self, frames: Iterator[Frame]) -> int:
        line = self.pipeline
        for frame in frames:
            if line.procedure.detect(line, Passage(frame.image)).found:
                return frame.index
        raise ImageError(f"{self.source}: no face is found in any frame, so there is nothing to preview")

    def total(self, first: int, end: int | None, frames: int) -> int:
        """Return how many frames the part has; 0 where that is not known.

        Args:
            first: as `part` returns it.
            end: likewise.
            frames: of the whole clip; 0 where the file does not tell.
        """
        if self.output.preview:  # it ends by the time
            return 0
        last = min(end or frames, frames) if frames else end or 0
        return max(0, last - first)

    def wanted(
        self, frames: Iterator[Frame], first: int, end: int | None, begin_s: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames of the clip up to the end of the part that is wanted; a preview ends soon.

        Args:
            frames: of the clip.
            first: as `part` returns it.
            end: likewise.
            begin_s: when the first one is shown; None where it is among ``frames``.
        """
        for frame in frames:
            begin_s = frame.time_s if frame.index == first else begin_s
            over = self.output.preview and begin_s is not None and frame.time_s >= begin_s + PREVIEW_S
            if frame.index == end or over:
                return
            yield frame

    def restored(self, frames: Iterator[Frame], *, begin: int, every: int) -> Iterator[Made]:
        """Yield each frame from ``begin`` on with what came of it; of a preview, beside what it was."""
        done = restored_frames(self.pipeline, frames, begin=begin, every=every)
        return map(_beside, done) if self.output.preview else done


def _beside(made: Made) -> Made:
    """Return a frame whose result has what it was at its left."""
    frame, result = made
    after = result.image
    before = resize_image(frame.image.pixels, after.pixels.shape[1] / frame.image.pixels.shape[1])
    pixels: NDArray[Any] = np.hstack([before[: after.pixels.shape[0]], after.pixels])
    alpha: NDArray[Any] | None = None if after.alpha is None else np.hstack([after.alpha, after.alpha])
    return frame, replace(result, image=replace(after, pixels=pixels, alpha=alpha))


def _place(path: str | os.PathLike[str]) -> Path:
    """Return a path on a disk; raises ConfigError for one in a store."""
    place = located(path)
    if isinstance(place, RemotePath):
        raise ConfigError(
            f"{place}: a clip is read and written on a disk; copy it there, and its result back"
        )
    return place


def _check_asked(pipeline: RestorePipeline, output: OutputConfig) -> list[str]:
    """Return a line on what is asked for and drawn of photos alone.

    Raises:
        ConfigError: a task or an option is for photos alone.
    """
    config, task = pipeline.config, pipeline.task
    if task != RESTORE:
        raise ConfigError(
            f"'facerestore {task.command}' is for photos; give --page for one frame, or take 'facerestore enhance'"
        )
    if config.faces not in ("all", "largest", "center"):
        raise ConfigError(
            f"faces is '{config.faces}', but indices change from frame to frame; give all, largest or center for a clip"
        )
    if config.dial:
        raise ConfigError(
            f"dial is '{config.dial}', but indices change from frame to frame; leave it out for a clip"
        )
    needed = [*_flags(output, ("keep_originals", "c2pa_key")), *(["--official"] if config.official else [])]
    if needed:
        raise ConfigError(f"{', '.join(needed)} is for photos; leave it out for a clip")
    drawn = _flags(output, ("compare", "save_faces", "save_stages", "save_damaged"))
    words = f"{', '.join(drawn)}: for photos alone; --preview shows a clip before and after"
    return [words] if drawn else []


def _flags(output: OutputConfig, names: Sequence[str]) -> list[str]:
    """Return those options of a few that are given, as they are written."""
    return [f"--{name.replace('_', '-')}" for name in names if getattr(output, name)]


def _settings(job: _Job) -> dict[str, Any]:
    """Return all that decides what the segments of a clip look like."""
    state = job.source.stat() if job.source.exists() else None
    return {
        "facerestore": __version__,
        "source": [str(job.source.absolute()), *([state.st_size, state.st_mtime_ns] if state else [])],
        "config": asdict(job.pipeline.config),
        "networks": [job.pipeline.description, asdict(job.pipeline.facts)],
        "frames": job.output.frames,
        "preview": job.output.preview,
        "encoder": job.output.encoder,
        "segment": [SEGMENT_FRAMES, *_Tally().facts],
    }


def _made_animation(job: _Job, whole: Path) -> dict[str, Any]:
    """Restore an animation, which is held as a whole, and return the report."""
    animation, tally = Animation(job.source), _Tally()
    try:
        job.check_size(animation)
        first, end = job.part(animation.frames())
        total = job.total(first, end, animation.frame_count)
        frames = job.wanted(animation.frames(), first, end)
        done = job.restored(frames, begin=first, every=animation.frame_count)
        made = []
        for frame, result in _counted(done, job.on_frame, 0, total):
            tally.add(frame, result)
            made.append((result.image, frame.lasts_s or 0.0))
        if not made:
            raise _beyond(job, first, animation.frame_count)
        mark = job.mark([tally.facts])
        left = animation.write(whole, made, first=first, quality=job.output.quality, mark=mark)
    finally:
        animation.close()
    return _report([tally.facts], encoder="Pillow", resumed=0, notes=left)


def _beyond(job: _Job, first: int, frames: int) -> ImageError:
    return ImageError(f"{job.source}: has no frame {first}; it has {frames}, the first is 0")


def _made_video(job: _Job, parts: PartsFolder, whole: Path) -> dict[str, Any]:
    """Make what is missing of the segments of a video, join all, and return the report."""
    with open_video(job.source) as looked:
        job.check_size(looked)
        first, end = job.part(looked.frames())
    with open_video(job.source) as looked:
        head = next(looked.frames(first), None)
        if head is None:
            raise _beyond(job, first, looked.passed)
    edges = Edges(head.raw)
    with open_video(job.source) as reader:
        codec = reader.stream.codec_context.codec.canonical_name
        encoder = encoder_for(codec, job.target.suffix, asked=job.output.encoder)
        earlier = len(parts.segments())
        total = job.total(first, end, reader.frame_count)
        begin = first + earlier * SEGMENT_FRAMES
        frames = job.wanted(reader.frames(max(0, begin - WARM_FRAMES)), first, end, edges.begin_s)
        done = job.restored(edges.passing(frames), begin=begin, every=SEGMENT_FRAMES)
        made = _counted(done, job.on_frame, earlier * SEGMENT_FRAMES, total)
        number = earlier
        while (one := next(made, None)) is not None:
            _write_segment(parts, number, chain([one], islice(made, SEGMENT_FRAMES - 1)), encoder, reader)
            if number == 0:
                check_container(job.source, parts.segments()[0], parts.path / f"trial{job.target.suffix}")
            number += 1
        faults = reader.faults
    left = join(
        job.source,
        parts.segments(),
        whole,
        span=edges.span if job.output.frames or job.output.preview else Span(),
        last_s=edges.last_s,
        matrix=edges.matrix,
        mark=job.mark(parts.facts()),
    )
    return _report(parts.facts(), encoder=encoder, resumed=earlier * SEGMENT_FRAMES, notes=[*faults, *left])


def _counted(done: Iterator[Made], on_frame: OnFrame, before: int, total: int) -> Iterator[Made]:
    """Yield what is done, and tell of each."""
    for number, item in enumerate(done, before + 1):
        yield item
        on_frame(number, total)


def _write_segment(
    parts: PartsFolder,
    number: int,
    done: Iterator[Made],
    encoder: str,
    reader: VideoReader,
) -> None:
    """Encode restored frames as a segment, and note what was found in them."""
    with parts.segment(number) as (path, facts):
        tally, writer = _Tally(), SegmentWriter(path, encoder, reader)
        for frame, result in done:
            raw, kind = frame.raw, pix_fmt_for(encoder, frame.raw.format.name)
            kept = result.image is frame.image and has_even_sides(raw)
            writer.add(raw_as(raw, kind) if kept else raw_like(raw, result.image.pixels, kind), raw)
            tally.add(frame, result)
        writer.close()
        facts.update(tally.facts)


class _Tally:
    """Counts the frames of a segment."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {
            "frames": 0,
            "with_faces": 0,
            "restored": 0,
            "weights": {},
            "most": None,
        }

    def add(self, frame: Frame, result: RestoreResult) -> None:
        """Count one frame."""
        facts, report = self.facts, result.report
        facts["frames"] += 1
        facts["with_faces"] += report["found"] > 0
        facts["restored"] += report["restored"] > 0
        facts["weights"] |= weights_used(report) if report["restored"] else {}
        if facts["most"] is None or _richness(report) > _richness(facts["most"]):
            facts["most"] = json.loads(json.dumps(report)) | {"frame": frame.index}


def _richness(report: dict[str, Any]) -> tuple[int, int]:
    return report["restored"], report["found"]


def _richest(segments: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of the frame with the most faces, from the facts of segments."""
    report: dict[str, Any] = max((each["most"] for each in segments), key=_richness)
    return report


def _report(
    segments: list[dict[str, Any]], *, encoder: str, resumed: int, notes: list[str]
) -> dict[str, Any]:
    """Return the report of a clip from the facts of its segments."""
    most = dict(_richest(segments))
    counts = {name: sum(each[name] for each in segments) for name in ("frames", "with_faces", "restored")}
    clip = counts | {"shown_frame": most.pop("frame"), "encoder": encoder, "resumed_at": resumed}
    return {**most, "clip": clip, "notes": [*notes, *most["notes"]]}


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, some at a time."""
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece

"""The result put together: encoded segments, and all else that the source holds, packet by packet as it is."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from facerestore.errors import ImageError, why
from facerestore.io import Mark
from facerestore.video.marking import add_xmp, tag_of, with_marks, xmp_of
from facerestore.video.reading import Frame, display_matrix, is_cover, load_av, open_video


@dataclass(frozen=True, slots=True)
class Span:
    """The part of the source that the result shows.

    Attributes:
        begin_s: where it begins; what is timed there comes at 0 in the result. None for the whole from its beginning.
        end_s: where it ends; None for the source's end.
    """

    begin_s: Fraction | None = None
    end_s: Fraction | None = None

    def holds(self, time_s: Fraction) -> bool:
        """Say whether what is shown at a time is in the part."""
        after = self.begin_s is None or time_s >= self.begin_s
        return after and (self.end_s is None or time_s < self.end_s)

    @property
    def shift_s(self) -> Fraction:
        """What is taken off all times."""
        return self.begin_s or Fraction(0)


class Edges:
    """What is known of the first and the last frame of a part of a clip, once all have passed.

    Args:
        head: the first frame as it was decoded.
    """

    def __init__(self, head: Any) -> None:
        self.matrix = display_matrix(head)
        self.last_s: Fraction | None = None
        self._begin = self._end = head.pts * head.time_base

    @property
    def begin_s(self) -> float:
        """When the first one is shown."""
        return float(self._begin)

    def passing(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames."""
        for frame in frames:
            raw = frame.raw
            self.last_s = raw.duration * raw.time_base if raw.duration else None
            self._end = raw.pts * raw.time_base + (self.last_s or 0)
            yield frame

    @property
    def span(self) -> Span:
        """The time from the first to the last."""
        return Span(self._begin, self._end)


@dataclass(slots=True)
class _Joint:
    """The open result of a join, and where each stream of the source goes in it."""

    out: Any
    span: Span
    places: dict[int, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def join(
    source: Path,
    segments: Sequence[Path],
    target: Path,
    *,
    span: Span,
    last_s: Fraction | None,
    matrix: Sequence[int] | None,
    mark: Mark | None,
) -> list[str]:
    """Write a video of encoded segments and of what the source holds beside its pictures.

    Sound, subtitles, data and further pictures are copied packet by packet, with their times, languages and roles; tags
    and chapters of the file too.

    Args:
        source: the video that the segments were made of.
        segments: at least one, in their order.
        target: the result; its suffix says the container.
        span: the part of the source that they show.
        last_s: how long the last frame is shown; None for as long as the one before.
        matrix: how the pictures are turned to be shown, the nine numbers of the display matrix; None for not at all.
        mark: how the result was made; None for no word of it.

    Returns:
        What could not be kept, a line each.

    Raises:
        ImageError: the container does not take the pictures, or the file cannot be written.
    """
    av = load_av()
    with _taken_by(target), open_video(source) as reader, av.open(str(segments[0])) as first:
        tag = tag_of(target.suffix)
        xmp, left = with_marks(xmp_of(reader.container), mark)
        options = {"movflags": "+faststart"} if target.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
        with av.open(str(target), "w", options=options) as out:
            joint = _Joint(out, span, left=[f"not carried over: {what}" for what in left])
            main = _add_streams(joint, reader, first.streams.video[0], matrix)
            _copy_tags(joint, reader.container)
            if xmp is not None and tag is not None:
                out.metadata[tag] = xmp.decode(errors="replace")
            others = _other_packets(joint, reader)
            pictures = _picture_packets(segments, main, span, last_s)
            for _, packet in heapq.merge(others, pictures, key=lambda timed: timed[0]):
                out.mux(packet)
        if xmp is not None and tag is None and not add_xmp(target, xmp):
            joint.left.append(
                f"not carried over: XMP and the mark in it, which {target.suffix} does not hold"
            )
        return joint.left


def check_container(source: Path, segment: Path, trial: Path) -> None:
    """Begin a result with the first of its segments, so that what cannot be joined is known before all are made.

    Args:
        source: the video that the segment was made of.
        segment: its first one.
        trial: is written and removed; its suffix says the container.

    Raises:
        ImageError: the container does not take what comes into it.
    """
    av = load_av()
    with _taken_by(trial), open_video(source) as reader, av.open(str(segment)) as first:
        with av.open(str(trial), "w") as out:
            _add_streams(_Joint(out, Span()), reader, first.streams.video[0], None)
            out.start_encoding()
        trial.unlink()


@contextmanager
def _taken_by(target: Path) -> Iterator[None]:
    """Raise what goes wrong in the block as an ImageError that tells the container."""
    try:
        yield
    except (load_av().error.FFmpegError, ValueError, OSError) as error:
        remedy = "mend the file" if target.suffix == ".mkv" else "give -o a name ending in .mkv"
        raise ImageError(
            f"the result cannot be written as {target.suffix[1:]} ({why(error)}); {remedy}"
        ) from error


def _add_streams(joint: _Joint, reader: Any, pictures: Any, matrix: Sequence[int] | None) -> Any:
    """Add the streams in the order of the source, and return the one of the restored pictures."""
    main, chaptered = None, bool(reader.container.chapters())
    for stream in reader.container.streams:
        restored = stream.index == reader.stream.index
        if stream.type == "data" and chaptered and stream.metadata.get("handler_name") == "SubtitleHandler":
            continue  # the titles of chapters, which are written anew
        if is_cover(stream) and joint.out.format.name == "matroska":  # else it would be a film of one picture
            joint.out.add_attachment(*_cover(reader.path, stream))
            continue
        try:
            made = joint.out.add_stream_from_template(pictures if restored else stream, opaque=True)
        except Exception as error:
            if restored:
                raise
            joint.left.append(f"a stream of {stream.type} could not be kept: {why(error)}")
            continue
        made.metadata.update(stream.metadata)
        made.disposition = stream.disposition
        if restored:
            main = made
            made.time_base = stream.time_base
            if matrix is not None:
                made.set_display_matrix(matrix)
        elif stream.type != "attachment":
            joint.places[stream.index] = made
    return main


def _cover(path: Path, stream: Any) -> tuple[str, str, bytes]:
    """Return name, kind and bytes of a picture on the cover."""
    kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
    with open_video(path) as reader:
        packets = reader.container.demux(reader.container.streams[stream.index])
        data = next((bytes(packet) for packet in packets if packet.size), b"")
    return stream.metadata.get("filename", f"cover.{kind}"), f"image/{kind}", data


def _copy_tags(joint: _Joint, container: Any) -> None:
    """Copy what the file says of itself, and its chapters."""
    joint.out.metadata.update({k: v for k, v in container.metadata.items() if k not in _OF_THE_CONTAINER})
    chapters = [kept for each in container.chapters() if (kept := _chapter_within(each, joint.span))]
    joint.out.set_chapters(chapters)


_OF_THE_CONTAINER = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "xmp", "XMP"})
"""Tags that say how the source was written, which is not how the result is, and XMP, which is written for itself."""


def _chapter_within(chapter: dict[str, Any], span: Span) -> dict[str, Any] | None:
    """Return what of a chapter lies in the part that is shown; None where nothing does."""
    base = chapter["time_base"]
    shift = _ticks(span.shift_s, base)
    end = chapter["end"] if span.end_s is None else min(chapter["end"], _ticks(span.end_s, base))
    begin = max(chapter["start"], shift)
    return chapter | {"start": begin - shift, "end": end - shift} if begin < end else None


def _other_packets(joint: _Joint, reader: Any) -> Iterator[tuple[Fraction, Any]]:
    """Yield the packets of all streams but the restored one, each with its time."""
    streams = [each for each in reader.container.streams if each.index in joint.places]
    if not streams:
        return
    for packet in _timed(reader.container.demux(streams)):
        when, base = packet.dts, packet.time_base
        shown = when if packet.pts is None else packet.pts
        if not joint.span.holds(shown * base):
            continue
        made = joint.places[packet.stream_index]
        packet.stream = made
        shift = _ticks(joint.span.shift_s, base)
        packet.dts, packet.pts = when - shift, shown - shift
        yield (when - shift) * base, packet


def _timed(packets: Iterable[Any]) -> Iterator[Any]:
    """Yield packets with the time at which each is decoded, which some containers leave out for the first of a film."""
    waiting: dict[int, list[Any]] = {}
    for packet in packets:
        first = waiting.setdefault(packet.stream_index, [])
        if packet.dts is None and packet.pts is not None and packet.stream.type == "video":
            first.append(packet)
            continue
        for before, held in enumerate(reversed(first), 1):
            held.dts = held.pts if packet.dts is None else packet.dts - before
        yield from first
        first.clear()
        packet.dts = packet.pts if packet.dts is None else packet.dts
        if packet.dts is not None:  # as that of the last one is, which is empty
            yield packet


def _picture_packets(
    segments: Sequence[Path], stream: Any, span: Span, last_s: Fraction | None
) -> Iterator[tuple[Fraction, Any]]:
    """Yield the packets of all segments, each with its time, and lasting until the next one comes."""
    held, lasts = None, 0
    for packet in _encoded(segments):
        if held is not None:
            held.duration = lasts = packet.pts - _ticks(span.shift_s, packet.time_base) - held.pts
            yield held.dts * held.time_base, held
        packet.pts -= _ticks(span.shift_s, packet.time_base)
        packet.dts = packet.pts
        packet.stream = stream
        held = packet
    if held is not None:
        held.duration = lasts if last_s is None else _ticks(last_s, held.time_base)
        yield held.dts * held.time_base, held


def _ticks(seconds: Fraction, base: Fraction) -> int:
    """Return a time in units of ``base``."""
    return round(seconds / base)


def _encoded(segments: Sequence[Path]) -> Iterator[Any]:
    """Yield the packets of all segments."""
    av = load_av()
    for path in segments:
        with av.open(str(path)) as container:
            yield from (packet for packet in container.demux(video=0) if packet.pts is not None)

"""Videos in: one upright frame after the other, with what its writer needs to put it back. PyAV reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError, ImageError, count, required_package, why
from facerestore.types import DecodedImage, Image
from facerestore.video import INSTALL
from facerestore.video.seeking import entry_for, frames_from, packets_from

if TYPE_CHECKING:
    from types import ModuleType

HD_LINES = 720
"""From this height on a video that names no colour matrix has BT.709's, below BT.601's, as players take it."""

_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""Colour matrices: the numbers of ITU-T H.273 that a frame tells, and those of FFmpeg's scaler for them."""

_VIDEO_RANGE, _FULL_RANGE = 1, 2
"""FFmpeg's numbers of the two ranges of samples."""


def load_av() -> ModuleType:
    """Return PyAV; raises ConfigError where it is not installed."""
    os.environ.setdefault(
        "SVT_LOG", "1"
    )  # SVT-AV1 tells its settings on standard error unless told to tell errors
    return required_package("av", what="a video", install=INSTALL)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a clip.

    Attributes:
        index: its number, from 0.
        image: its pixels, upright, and what else its format has.
        time_s: when it is shown.
        raw: as it was decoded, for its writer; None for the frames of animations, which have all in ``image``.
        lasts_s: how long it is shown, seconds; None where only the next frame tells.
    """

    index: int
    image: DecodedImage
    time_s: float
    raw: Any = None
    lasts_s: float | None = None


@dataclass(slots=True)
class VideoReader:
    """An open video; its first picture stream is the one that is restored.

    Attributes:
        path: of the file.
        container: PyAV's.
        stream: that is restored.
        damaged: how many packets could not be decoded so far.
        patched: how many frames of those that were wanted came with something invented by the decoder.
        passed: how many frames have gone by so far.
    """

    path: Path
    container: Any
    stream: Any
    damaged: int = 0
    patched: int = 0
    passed: int = 0
    _last_pts: int | None = field(default=None, init=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame as it is stored, px."""
        return self.stream.width, self.stream.height

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick of the stream's timestamps."""
        base: Fraction = self.stream.time_base
        return base

    @property
    def rate(self) -> Fraction:
        """Frames per second, as near as the file tells; 25 where it does not."""
        found = self.stream.guessed_rate or self.stream.average_rate
        return Fraction(found) if found else Fraction(25)

    @property
    def frame_count(self) -> int:
        """How many frames there are by the file's own word or its duration; 0 where neither tells."""
        told, duration = int(self.stream.frames or 0), self.container.duration
        if told or not duration:
            return told
        return round(float(duration / 1_000_000 * self.rate))

    @property
    def faults(self) -> list[str]:
        """What is wrong with the file as far as it was read, a line each."""
        found = [
            f"{count(self.damaged, 'packet')} could not be decoded, and are left out" if self.damaged else "",
            f"{count(self.patched, 'frame')} were damaged, and are as the decoder patched them"
            if self.patched
            else "",
            "the file is cut off: it says that it is longer" if self._is_cut_off() else "",
        ]
        return [each for each in found if each]

    def _is_cut_off(self) -> bool:
        """Say whether packets that the file lists lie beyond its end, or a Matroska's segment does."""
        size = self.path.stat().st_size
        listed = max((entry.pos + entry.size for entry in self.stream.index_entries), default=0)
        return size < max(listed, _end_of_matroska(self.path))

    def frames(self, begin: int = 0) -> Iterator[Frame]:
        """Yield the frames in the order in which they are shown, from one on; to be called once.

        Where the file tells from where that one can be decoded, those before are not. Each is as it is when all are.

        Args:
            begin: number of the first.

        Raises:
            ImageError: nothing of it can be decoded.
        """
        for raw in self._decoded(begin):
            index, self.passed = self.passed, self.passed + 1
            self._time(raw)
            if index >= begin:
                self.patched += raw.is_corrupt
                lasts = float(raw.duration * self.time_base) if raw.duration else None
                image = DecodedImage(pixels_of(raw))
                yield Frame(index, image, float(raw.pts * self.time_base), raw, lasts)
        if not self.passed:
            raise ImageError(f"{self.path}: holds no picture that can be decoded; check the file")

    def _decoded(self, begin: int) -> Iterator[Any]:
        """Yield what is decoded, from the first frame on or from ``begin`` on, which ``passed`` is set to."""
        with ExitStack() as opened:
            if begin:
                other = opened.enter_context(open_video(self.path))
                entry = entry_for(other.container, other.stream, begin)
                packets = () if entry is None else packets_from(other.container, other.stream, entry)
                found = None if entry is None else frames_from(self._through(packets), entry)
                if found is not None:
                    self.passed = begin
                    yield from found
                    return
                self.damaged = 0
            yield from self._through(self.container.demux(self.stream))

    def _through(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Yield what is decoded of packets, and count those that cannot be."""
        av = load_av()
        for packet in packets:
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1

    def _time(self, raw: Any) -> None:
        """Set the time of a decoded frame: of one without, or with one that runs back, it is right after the last."""
        step = max(1, round(1 / (self.rate * self.time_base)))
        last = self._last_pts
        if raw.pts is None:
            raw.pts = 0 if last is None else last + step
        elif last is not None and raw.pts <= last:
            raw.pts = last + 1
        raw.time_base = self.time_base
        self._last_pts = raw.pts


@contextmanager
def open_video(path: Path) -> Iterator[VideoReader]:
    """Yield an open video.

    Raises:
        ConfigError: PyAV is not installed.
        ImageError: the file is missing, no video, or has no picture stream.
    """
    av = load_av()
    try:
        container = av.open(str(path), metadata_errors="replace", options={"export_xmp": "1"})
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file; check the path") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or why(error)
        raise ImageError(f"{path}: cannot be read as a video ({reason}); check the file") from error
    with container:
        stream = next((each for each in container.streams.video if not is_cover(each)), None)
        if stream is None:
            raise ImageError(f"{path}: holds no moving picture; give a video")
        stream.thread_type = "AUTO"
        yield VideoReader(path, container, stream)


def _end_of_matroska(path: Path) -> int:
    """Return where the segment of a Matroska file ends by its own word; 0 where it does not say (RFC 8794, 4)."""
    with path.open("rb") as stream:
        head = stream.read(64).ljust(64, b"\0")
    place = 0
    for name in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        width = 9 - head[place + 4].bit_length() if place < 48 else 9
        size = int.from_bytes(head[place + 4 : place + 4 + width], "big") & ~(1 << 7 * width)
        if head[place : place + 4] != name or width > 8 or size == (1 << 7 * width) - 1:
            return 0
        place += 4 + width + size
    return place


def is_cover(stream: Any) -> bool:
    """Say whether a stream is a picture on the cover rather than the film."""
    flag = load_av().stream.Disposition.attached_pic
    return bool(stream.disposition & flag)


def is_deep(raw: Any) -> bool:
    """Say whether a decoded frame has more than 8 bits a sample."""
    return bool(max(part.bits for part in raw.format.components) > 8)


def has_even_sides(raw: Any) -> bool:
    """Say whether :func:`raw_like` takes no row and no column off a decoded frame."""
    return not (raw.width % 2 or raw.height % 2)


def pixels_of(raw: Any) -> NDArray[Any]:
    """Return the (H, W, 3) RGB pixels of a decoded frame as it is shown, in 16 bits where it has more than 8."""
    kind = "rgb48le" if is_deep(raw) else "rgb24"
    rgb = raw.reformat(format=kind, src_colorspace=matrix_of(raw), src_color_range=range_of(raw))
    upright: NDArray[Any] = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns_of(raw)))
    return upright


def raw_like(raw: Any, pixels: Image, pix_fmt: str) -> Any:
    """Return pixels as a frame to be encoded, timed and coloured as the frame that they were made of.

    Args:
        raw: the frame as it was decoded.
        pixels: (H, W, 3) RGB, upright, of any size.
        pix_fmt: FFmpeg's name of the samples that the encoder takes.
    """
    av = load_av()
    turned: NDArray[Any] = np.rot90(pixels, -turns_of(raw))
    height, width = (
        side - side % 2 for side in turned.shape[:2]
    )  # samples of colour are shared by two pixels
    turned = np.ascontiguousarray(turned[:height, :width])
    made = av.VideoFrame.from_ndarray(turned, format="rgb48le" if turned.dtype.itemsize > 1 else "rgb24")
    made = made.reformat(format=pix_fmt, dst_colorspace=matrix_of(raw), dst_color_range=range_of(raw))
    return _timed_like(raw, made)


def raw_as(raw: Any, pix_fmt: str) -> Any:
    """Return a decoded frame in the samples that an encoder takes; the very same where it has them."""
    if raw.format.name == pix_fmt:
        return raw
    matrix, reach = matrix_of(raw), range_of(raw)
    made = raw.reformat(
        format=pix_fmt,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=reach,
        dst_color_range=reach,
    )
    return _timed_like(raw, made)


def _timed_like(raw: Any, made: Any) -> Any:
    made.pts, made.time_base = raw.pts, raw.time_base
    made.colorspace, made.color_range = raw.colorspace, raw.color_range
    made.color_primaries, made.color_trc = raw.color_primaries, raw.color_trc
    return made


def turns_of(raw: Any) -> int:
    """Return by how many quarter turns to the left a decoded frame is turned to be shown."""
    return int(round(raw.rotation / 90) % 4)


def display_matrix(raw: Any) -> list[int] | None:
    """Return how a frame is turned and mirrored to be shown, the nine numbers of its matrix; None where it is not."""
    held = next((each for each in raw.side_data if each.type.name == "DISPLAYMATRIX"), None)
    return None if held is None else [int(each) for each in np.frombuffer(bytes(held), np.int32)]


def matrix_of(raw: Any) -> int:
    """Return the colour matrix of a frame in the numbers of FFmpeg's scaler; by height where it is not told."""
    told = int(raw.colorspace)
    return _MATRICES.get(told, 1 if raw.height >= HD_LINES else 5)


def range_of(raw: Any) -> int:
    """Return whether the samples of a frame take the full range, in FFmpeg's numbers."""
    full = int(raw.color_range) == _FULL_RANGE or raw.format.name.startswith("yuvj")
    return _FULL_RANGE if full else _VIDEO_RANGE


def parse_frames(text: str) -> tuple[int, int | None]:
    """Return the first frame and the one after the last that ``100:200`` names; either end may be left out.

    Raises:
        ConfigError: it names no frames.
    """
    first, colon, last = text.partition(":")
    digits = all(not part or (part.isascii() and part.isdecimal()) for part in (first, last))
    begin, end = (int(first or 0), int(last) if last else None) if digits else (0, 0)
    if not colon or not digits or (end is not None and end <= begin):
        raise ConfigError(
            f"--frames is '{text}'; give FIRST:END such as 100:200, which are frames 100 to 199"
        )
    return begin, end

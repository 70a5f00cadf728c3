"""Videos out: frames are encoded in whole segments, which are joined with all else that the source holds, as it is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from facerestore.errors import ConfigError
from facerestore.video.reading import load_av

if TYPE_CHECKING:
    from facerestore.video.reading import VideoReader

SEGMENT_FORMAT = "nut"
"""What a segment is kept in: of FFmpeg's containers the one that takes every codec and any unit of time."""

# What each encoder is told so that a second encoding is hard to see: a step or two finer than its own default. B-frames
# are left out, so that packets come in the order of display and segments can be joined as they are.
ENCODERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "h264_nvenc": {"rc": "vbr", "cq": "19", "bf": "0"},
        "h264_qsv": {"global_quality": "19", "bf": "0"},
        "h264_amf": {"rc": "cqp", "qp_i": "19", "qp_p": "19"},
        "h264_videotoolbox": {"q:v": "70", "bf": "0"},
        "libx264": {"crf": "17", "preset": "medium", "bf": "0"},
        "hevc_nvenc": {"rc": "vbr", "cq": "20", "bf": "0"},
        "hevc_qsv": {"global_quality": "20", "bf": "0"},
        "hevc_amf": {"rc": "cqp", "qp_i": "20", "qp_p": "20"},
        "hevc_videotoolbox": {"q:v": "70", "bf": "0"},
        "libx265": {"crf": "19", "preset": "medium", "x265-params": "bframes=0:log-level=error"},
        "libvpx-vp9": {"crf": "22", "b:v": "0", "row-mt": "1", "auto-alt-ref": "0"},
        "libvpx": {"crf": "8", "b:v": "8M", "auto-alt-ref": "0"},
        "libsvtav1": {"crf": "22", "preset": "8", "svtav1-params": "pred-struct=1"},
        "prores_ks": {},
        "ffv1": {},
        "mpeg4": {"q:v": "2"},
        "mpeg2video": {"q:v": "2"},
    }
)
"""Encoders of FFmpeg and what they are told."""

_FAMILIES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "h264": ("h264_nvenc", "h264_qsv", "h264_amf", "h264_videotoolbox", "libx264"),
        "hevc": ("hevc_nvenc", "hevc_qsv", "hevc_amf", "hevc_videotoolbox", "libx265"),
        "vp9": ("libvpx-vp9",),
        "vp8": ("libvpx",),
        "av1": ("libsvtav1",),
        "prores": ("prores_ks",),
        "ffv1": ("ffv1",),
    }
)
"""What can encode each codec: first what is hardware's, where it is there, then what is always there."""

_INSTEAD: Mapping[str, str] = MappingProxyType(
    {".webm": "vp9", ".avi": "mpeg4", ".mpg": "mpeg2video", ".mpeg": "mpeg2video"}
)
"""Codec of the result by its suffix where that of the source is none that is written; H.264 elsewhere."""

_HELD: Mapping[str, Sequence[str]] = MappingProxyType(
    {".webm": ("vp8", "vp9", "av1"), ".mpg": (), ".mpeg": ()}
)
"""Codecs of the sources whose own one a result may have, by its suffix; any elsewhere."""

TRIAL_PX = (320, 192)
"""Size of the frame with which an encoder is tried: hardware refuses very small ones."""


@cache
def opens(encoder: str) -> bool:
    """Say whether an encoder works on this machine, by encoding a frame with it."""
    av = load_av()
    if encoder not in av.codecs_available:
        return False
    try:
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height = TRIAL_PX
        context.pix_fmt = pix_fmt_for(encoder, "yuv420p")
        context.time_base, context.options = Fraction(1, 25), dict(ENCODERS.get(encoder, {}))
        frame = av.VideoFrame(*TRIAL_PX, context.pix_fmt)
        frame.pts = 0
        return bool([*context.encode(frame), *context.encode(None)])
    except (av.error.FFmpegError, ValueError, OSError):
        return False


def encoder_for(
    codec: str, suffix: str, *, asked: str | None = None, works: Callable[[str], bool] = opens
) -> str:
    """Return the encoder of a result: the one that is asked for, else the first that works for the source's codec.

    Args:
        codec: of the source, in FFmpeg's name, such as ``h264``.
        suffix: of the result, such as ``.mp4``.
        asked: an encoder of FFmpeg's.
        works: says of an encoder whether it works here.

    Raises:
        ConfigError: the one that is asked for does not work here, or none does.
    """
    if asked is not None:
        if not works(asked):
            raise ConfigError(
                f"encoder '{asked}' does not work here; give another of FFmpeg's such as libx264, or leave it out"
            )
        return asked
    instead = _INSTEAD.get(suffix.lower(), "h264")
    held = codec in _HELD.get(suffix.lower(), _FAMILIES)
    candidates = (_FAMILIES.get(codec) if held else None) or _FAMILIES.get(instead, (instead,))
    found = next((name for name in candidates if works(name)), None)
    if found is None:
        raise ConfigError(
            f"none of {', '.join(candidates)} works here to encode {codec}; name one with --encoder"
        )
    return found


def pix_fmt_for(encoder: str, source: str) -> str:
    """Return the samples that an encoder is given: the source's where it takes them, else of its depth, else 4:2:0."""
    av = load_av()
    taken: list[str] = [each.name for each in av.Codec(encoder, "w").video_formats or ()]
    plain = source.replace("yuvj", "yuv")
    deep: tuple[str, ...] = (
        ("yuv420p10le", "p010le", "yuv422p10le") if "10" in source or "12" in source else ()
    )
    for name in (plain, *deep, "yuv420p", "nv12"):
        if not taken or name in taken:
            return name
    return taken[0]


class SegmentWriter:
    """Encodes frames into one segment.

    Args:
        path: of the segment.
        encoder: of FFmpeg.
        reader: the source, for rate and unit of time.
    """

    def __init__(self, path: Path, encoder: str, reader: VideoReader) -> None:
        self._av = load_av()
        self._container = self._av.open(str(path), "w", format=SEGMENT_FORMAT)
        self._encoder, self._reader = encoder, reader
        self._stream: Any = None

    def add(self, frame: Any, source: Any) -> None:
        """Encode one of PyAV's frames; the first one says what all are.

        Args:
            frame: to be encoded.
            source: the one that it was made of, which knows how bright the master was.
        """
        if self._stream is None:
            self._stream = self._begun(frame, source)
        frame.pict_type = 0  # else the encoder would repeat the key frames of the source
        self._container.mux(self._stream.encode(frame))

    def _begun(self, frame: Any, source: Any) -> Any:
        options = dict(ENCODERS.get(self._encoder, {}))
        if self._encoder == "libx265":
            options["x265-params"] = ":".join([options["x265-params"], *_mastering(source)])
        stream = self._container.add_stream(
            self._encoder,
            rate=self._reader.rate,
            options=options,
            width=frame.width,
            height=frame.height,
            time_base=frame.time_base,
        )
        context = stream.codec_context
        context.pix_fmt, context.time_base = frame.format.name, frame.time_base
        if self._encoder == "mpeg2video":  # which knows a few rates, and times by these alone
            context.time_base = 1 / self._reader.rate
        context.colorspace, context.color_range = frame.colorspace, frame.color_range
        context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
        if self._reader.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = self._reader.stream.sample_aspect_ratio
        return stream

    def close(self) -> None:
        """Write what the encoder still holds, and close the segment."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


def _mastering(raw: Any) -> list[str]:
    """Return what a decoded frame tells of the display and the light that it was made for, in the words of x265."""
    held = {each.type.name: bytes(each) for each in raw.side_data if each.type is not None}
    words = []
    if (display := held.get("MASTERING_DISPLAY_METADATA")) is not None:
        *ratios, known, lit = struct.unpack("=22i", display[:88])
        ratio = [Fraction(a, b) if b else Fraction(0) for a, b in zip(ratios[::2], ratios[1::2], strict=True)]
        red, green, blue, white = (
            f"({round(x * 50000)},{round(y * 50000)})" for x, y in zip(ratio[:8:2], ratio[1:8:2], strict=True)
        )
        if known and lit:
            least, most = round(ratio[8] * 10000), round(ratio[9] * 10000)
            words.append(f"master-display=G{green}B{blue}R{red}WP{white}L({most},{least})")
    if (light := held.get("CONTENT_LIGHT_LEVEL")) is not None:
        words.append("max-cll={},{}".format(*struct.unpack("=2I", light[:8])))
    return words

"""Small videos and animations for the tests of moving pictures."""

from fractions import Fraction

import numpy as np
from fakes import face_at, photo, pipeline
from PIL import Image

from facerestore.config import RestoreConfig

FACE = face_at(40, 20)
TIME_BASE = Fraction(1, 90000)
TIMES = [0, 3600, 9000, 12600, 18000, 21600, 25200, 34200, 37800, 41400]
"""Of ten frames, at no constant rate."""


def line(**config):
    """Return a pipeline that brightens one face, whose colours are not matched, so that it shows."""
    return pipeline(FACE, config=RestoreConfig(colour_match=False, **config))


def pictures(count, height=112, width=160):
    """Return noisy pictures, each its own, so that a frame tells which it is."""
    return [photo(height, width, seed=seed).pixels for seed in range(count)]


def write_video(av, path, frames, *, times=None, codec="libx264", pix_fmt="yuv420p", sound=True, **stream):
    """Write a video with pictures, sound, a subtitle, two chapters and tags; ``stream`` is set on its pictures."""
    time_base = stream.pop("time_base", TIME_BASE)
    times = times or [round(number / (25 * time_base)) for number in range(len(frames))]
    options = {"libx264": {"crf": "12"}, "libx265": {"x265-params": "log-level=error"}}.get(codec, {})
    turn, coloured = stream.pop("turn", None), stream.pop("coloured", {})
    options = options | stream.pop("options", {})
    with av.open(str(path), "w", options=stream.pop("container", {})) as out:
        out.metadata.update({"title": "A walk"} | stream.pop("tags", {}))
        height, width = frames[0].shape[:2]
        video = out.add_stream(codec, rate=25, width=width, height=height, options=options)
        video.codec_context.time_base = time_base
        video.codec_context.pix_fmt = pix_fmt
        for name, value in coloured.items():
            setattr(video.codec_context, name, value)
        if turn is not None:
            video.set_display_rotation(turn)
        audio = out.add_stream("aac", rate=48000) if sound else None
        if audio is not None:
            audio.metadata["language"] = "deu"
        ticks = {"time_base": Fraction(1, 1000)}
        out.set_chapters(
            [
                {"id": 0, "start": 0, "end": 200, "metadata": {"title": "One"}} | ticks,
                {"id": 1, "start": 200, "end": 480, "metadata": {"title": "Two"}} | ticks,
            ]
        )
        for pixels, time in zip(frames, times, strict=True):
            kind = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format=kind).reformat(format=pix_fmt)
            frame.pts, frame.time_base = time, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for number in range(20 if sound else 0):
            samples = np.full((2, 1024), 0.01 * (number % 3), np.float32)
            piece = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            piece.sample_rate, piece.pts = 48000, 1024 * number
            out.mux(audio.encode(piece))
        if sound:
            out.mux(audio.encode(None))
    return path


def shown(av, path):
    """Return the frames of a video as PyAV decodes them."""
    with av.open(str(path)) as container:
        return [*container.decode(video=0)]


def sound_of(av, path):
    """Return the packets of the sound: time and bytes."""
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.pts is not None]


def animated(path, count=3, **options):
    """Write an animation of noisy frames."""
    first, *others = (Image.fromarray(pixels) for pixels in pictures(count))
    first.save(path, save_all=True, append_images=others, **options)
    return path

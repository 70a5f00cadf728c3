"""Parts of videos, for which not all that comes before is decoded: the frames are the same."""

import numpy as np
import pytest
from video_files import pictures, write_video

from facerestore.video.reading import open_video
from facerestore.video.seeking import entry_for

COUNT = 44
TIMES = np.cumsum(np.random.default_rng(0).integers(1000, 9000, COUNT)).tolist()
"""At no constant rate."""


def entry(path, number):
    with open_video(path) as reader:
        return entry_for(reader.container, reader.stream, number)


def frames(path, begin=0):
    with open_video(path) as reader:
        return [*reader.frames(begin)]


def told(frame):
    return frame.index, frame.time_s, frame.lasts_s


B_FRAMES = ("libx264", "bframes=3:b-pyramid=normal:keyint=10")
"""Encoder, and what it is told."""


@pytest.mark.parametrize(
    ("suffix", "coding", "begins_at"),
    [
        (".mp4", B_FRAMES, 20),
        (".mkv", B_FRAMES, 20),
        (".mov", ("libx265", "bframes=3:open-gop=1:keyint=10:min-keyint=10:log-level=error"), 30),
        (".mp4", ("libx264", "bframes=3:open-gop=1:keyint=10"), None),
        (".mkv", ("libx264", "intra-refresh=1:keyint=10"), None),
        (".ts", B_FRAMES, None),
    ],
)
def test_frames_of_a_part_are_those_that_decoding_from_the_start_gives(
    av, tmp_path, suffix, coding, begins_at
):
    encoder, words = coding
    path = write_video(
        av,
        tmp_path / f"in{suffix}",
        pictures(COUNT),
        times=TIMES,
        codec=encoder,
        sound=False,
        options={f"{encoder[3:]}-params": words},
    )
    found = entry(path, 33)
    assert (found is None) == (begins_at is None)
    assert found is None or begins_at <= found.number <= 33
    whole = frames(path)
    for begin in (1, 10, 33, COUNT - 1):
        part = frames(path, begin)
        assert [*map(told, part)] == [*map(told, whole[begin:])]
        for one, other in zip(part, whole[begin:], strict=True):
            assert np.array_equal(one.image.pixels, other.image.pixels)


def test_where_packets_and_frames_are_not_one_for_one_all_is_decoded(av, tmp_path, monkeypatch):
    path = write_video(
        av, tmp_path / "in.mp4", pictures(COUNT), sound=False, options={"x264-params": B_FRAMES[1]}
    )
    whole, found = frames(path), entry(path, 33)
    monkeypatch.setattr(
        "facerestore.video.reading.entry_for",
        lambda *_: found._replace(times=[time + 1 for time in found.times]),
    )
    part = frames(path, 33)
    assert [*map(told, part)] == [*map(told, whole[33:])]


def test_frames_beyond_the_end_are_none(av, tmp_path):
    path = write_video(av, tmp_path / "in.mp4", pictures(3), sound=False)
    with open_video(path) as reader:
        assert ([*reader.frames(9)], reader.passed) == ([], 3)

"""Moving pictures. Videos are made with PyAV here, and their tests skip where it is absent."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from fakes import pipeline
from PIL import Image
from video_files import FACE, TIME_BASE, TIMES, animated, line, pictures, shown, sound_of, write_video

from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.video import clip, is_clip
from facerestore.video.clip import restore_video
from facerestore.video.reading import parse_frames


def test_all_that_a_video_carries_comes_through_and_its_faces_are_restored(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(10), times=TIMES)
    report = restore_video(source, tmp_path / "out.mp4", pipeline=line())
    assert report["clip"]["frames"] == report["clip"]["restored"] == 10
    before, after = shown(av, source), shown(av, tmp_path / "out.mp4")
    assert [frame.pts * frame.time_base for frame in after] == [time * TIME_BASE for time in TIMES]
    assert sound_of(av, tmp_path / "out.mp4") == sound_of(av, source)
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert made.metadata["title"] == "A walk"
        assert [each["metadata"]["title"] for each in made.chapters()] == ["One", "Two"]
        assert made.streams.audio[0].metadata["language"] == "deu"
        assert float(made.streams.video[0].duration * made.streams.video[0].time_base) == pytest.approx(0.5)
    face, beside = np.s_[40:60, 60:84], np.s_[:, 120:]
    for old, new in zip(before, after, strict=True):
        old, new = (frame.to_ndarray(format="rgb24").astype(float) for frame in (old, new))
        assert new[face].mean() - old[face].mean() > 30
        assert abs(new[beside].mean() - old[beside].mean()) < 2


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_keep_sound_times_and_chapters(av, tmp_path, suffix):
    source = write_video(av, tmp_path / f"in{suffix}", pictures(10), times=TIMES)
    restore_video(source, tmp_path / f"out{suffix}", pipeline=line())
    before, after = shown(av, source), shown(av, tmp_path / f"out{suffix}")
    assert [f.pts * f.time_base for f in after] == [f.pts * f.time_base for f in before]
    assert [data for _, data in sound_of(av, tmp_path / f"out{suffix}")] == [
        d for _, d in sound_of(av, source)
    ]
    with av.open(str(tmp_path / f"out{suffix}")) as made:
        assert [each["metadata"]["title"] for each in made.chapters()] == ["One", "Two"]


def test_subtitles_come_through(av, tmp_path):
    lines = tmp_path / "lines.srt"
    lines.write_text("1\n00:00:00,080 --> 00:00:00,200\nGood morning\n")
    plain = write_video(av, tmp_path / "plain.mkv", pictures(10), sound=False)
    source = tmp_path / "in.mkv"
    with av.open(str(plain)) as film, av.open(str(lines)) as text, av.open(str(source), "w") as out:
        places = {
            each.type: out.add_stream_from_template(each, opaque=True)
            for each in (*film.streams, *text.streams)
        }
        for packet in [*film.demux(), *text.demux()]:
            if packet.pts is not None:
                packet.stream = places[packet.stream.type]
                out.mux(packet)
    restore_video(source, tmp_path / "out.mkv", pipeline=line())
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert [bytes(p) for p in made.demux(subtitles=0) if p.pts is not None] == [b"Good morning"]


def test_covers_and_further_pictures_come_through(av, tmp_path):
    cover = io.BytesIO()
    Image.fromarray(pictures(1)[0]).save(cover, "JPEG")
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        films = [out.add_stream("libx264", rate=25, width=160, height=112) for _ in range(2)]
        out.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        for pixels in [*pictures(5), None]:
            frame = None if pixels is None else av.VideoFrame.from_ndarray(pixels)
            for film in films:  # with B-frames, whose first times Matroska does not tell
                out.mux(film.encode(frame))
    report = restore_video(source, tmp_path / "out.mkv", pipeline=line())
    assert not report["notes"]
    with av.open(str(source)) as was, av.open(str(tmp_path / "out.mkv")) as made:
        assert [s.disposition for s in made.streams] == [s.disposition for s in was.streams]
        copies = [[(p.pts, bytes(p)) for p in each.demux(video=1) if p.size] for each in (was, made)]
    assert copies[0] == copies[1]
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert [bytes(p) for p in made.demux(video=2) if p.size] == [cover.getvalue()]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_is_cut_off_is_restored_as_far_as_it_goes_and_that_is_told(av, tmp_path, suffix):
    whole = write_video(
        av, tmp_path / f"whole{suffix}", pictures(20), sound=False, container={"movflags": "+faststart"}
    )
    source = tmp_path / f"in{suffix}"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    report = restore_video(source, tmp_path / f"out{suffix}", pipeline=line())
    assert 0 < report["clip"]["frames"] < 20
    assert report["notes"] == ["the file is cut off: it says that it is longer"]
    assert not restore_video(whole, tmp_path / f"well{suffix}", pipeline=line())["notes"]


def test_damaged_frames_are_told(av, tmp_path):
    source = write_video(
        av, tmp_path / "in.mp4", pictures(20), sound=False, container={"movflags": "+faststart"}
    )
    data = np.frombuffer(source.read_bytes(), np.uint8).copy()
    data[np.random.default_rng(1).integers(len(data) // 3, len(data), 60)] ^= 0xFF
    source.write_bytes(data.tobytes())
    report = restore_video(source, tmp_path / "out.mp4", pipeline=line())
    assert any("damaged, and are as the decoder patched them" in note for note in report["notes"])


def test_a_container_gets_a_codec_that_it_holds(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(2), sound=False)
    assert restore_video(source, tmp_path / "out.webm", pipeline=line())["clip"]["encoder"] == "libvpx-vp9"


def test_what_a_container_does_not_take_is_told_before_all_is_restored(av, tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "SEGMENT_FRAMES", 4)
    source, told = write_video(av, tmp_path / "in.mp4", pictures(10)), []
    with pytest.raises(ImageError, match=r"cannot be written as mpg \(.*\); give -o a name ending in .mkv"):
        restore_video(
            source, tmp_path / "out.mpg", pipeline=line(), on_frame=lambda done, of: told.append(done)
        )
    assert max(told) <= 4


def test_a_turned_video_is_restored_upright_and_stays_turned(av, tmp_path):
    upright = pictures(3, height=160, width=112)
    source = write_video(av, tmp_path / "in.mp4", [np.rot90(each, -1).copy() for each in upright], turn=90)
    report = restore_video(source, tmp_path / "out.mp4", pipeline=line())
    assert report["size"] == [112, 160]
    frame = shown(av, tmp_path / "out.mp4")[0]
    assert (frame.rotation, frame.width, frame.height) == (90, 160, 112)
    lit = np.rot90(frame.to_ndarray(format="rgb24").astype(float))
    assert lit[40:60, 60:84].mean() > upright[0][40:60, 60:84].mean() + 30


def test_depth_and_the_tags_of_colours_and_light_are_kept(av, tmp_path):
    master = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    deep = [each.astype(np.uint16) * 257 for each in pictures(4)]
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}
    source = write_video(
        av,
        tmp_path / "in.mp4",
        deep,
        codec="libx265",
        pix_fmt="yuv420p10le",
        coloured=tags,
        options={"x265-params": f"log-level=error:{master}:max-cll=1000,400"},
    )
    restore_video(source, tmp_path / "out.mp4", pipeline=line())
    before, after = shown(av, source)[0], shown(av, tmp_path / "out.mp4")[0]
    assert after.format.name == "yuv420p10le"
    assert {name: int(getattr(after, name)) for name in tags} == tags
    light = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
    kept = [
        {s.type.name: bytes(s) for s in f.side_data if s.type and s.type.name in light}
        for f in (before, after)
    ]
    assert sorted(kept[0]) == sorted(light)
    assert kept[0] == kept[1]


def test_frames_cut_pictures_sound_and_chapters_alike(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(10), times=TIMES)
    report = restore_video(source, tmp_path / "out.mp4", pipeline=line(), output=OutputConfig(frames="4:8"))
    assert report["clip"]["frames"] == 4
    after = shown(av, tmp_path / "out.mp4")
    assert [f.pts * f.time_base for f in after] == [(time - TIMES[4]) * TIME_BASE for time in TIMES[4:8]]
    sound = sound_of(av, tmp_path / "out.mp4")
    begin, end = float(TIMES[4] * TIME_BASE), float(TIMES[8] * TIME_BASE)
    whole = [data for time, data in sound_of(av, source) if begin <= time < end]
    assert [data for _, data in sound] == whole
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert [each["metadata"]["title"] for each in made.chapters()] == ["Two"]


@pytest.mark.parametrize(
    ("output", "last"),
    [({"frames": "1:9"}, (2, 2)), ({"frames": "1:2"}, (1, 1)), ({"preview": True}, (3, 0))],
)
def test_of_how_many_frames_is_told_where_it_is_known(av, tmp_path, output, last):
    source, told = write_video(av, tmp_path / "in.mp4", pictures(3)), []
    restore_video(
        source,
        tmp_path / "out.mp4",
        pipeline=line(),
        output=OutputConfig(**output),
        on_frame=lambda *counts: told.append(counts),
    )
    assert told[-1] == last


def test_frames_beyond_the_end_are_told(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(3))
    with pytest.raises(ImageError, match="no frame 7; it has 3"):
        restore_video(source, tmp_path / "out.mp4", pipeline=line(), output=OutputConfig(frames="7:"))
    assert [each.name for each in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("text", ["5", "9:5", "a:b", "5:5", "-1:3", "²:"])
def test_frames_that_name_none_are_refused(text):
    with pytest.raises(ConfigError, match=r"--frames is .*give FIRST:END such as 100:200"):
        parse_frames(text)


class KilledError(Exception):
    """The process was ended."""


def test_a_killed_run_goes_on_after_its_last_whole_segment_and_ends_the_same(av, tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "SEGMENT_FRAMES", 4)
    source = write_video(av, tmp_path / "in.mp4", pictures(10), times=TIMES)
    restore_video(source, tmp_path / "whole.mp4", pipeline=line())

    def kill(done, of):
        if done == 6:
            raise KilledError

    with pytest.raises(KilledError):
        restore_video(source, tmp_path / "out.mp4", pipeline=line(), on_frame=kill)
    assert not (tmp_path / "out.mp4").exists()
    told = []
    report = restore_video(
        source, tmp_path / "out.mp4", pipeline=line(), on_frame=lambda done, of: told.append(done)
    )
    assert report["clip"]["resumed_at"] == 4
    assert told == [5, 6, 7, 8, 9, 10]
    one, other = (
        [f.to_ndarray(format="rgb24") for f in shown(av, tmp_path / name)]
        for name in ("out.mp4", "whole.mp4")
    )
    assert np.array_equal(one, other)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]


def test_other_settings_begin_anew(av, tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "SEGMENT_FRAMES", 4)
    source = write_video(av, tmp_path / "in.mp4", pictures(10))

    def kill(done, of):
        if done == 6:
            raise KilledError

    with pytest.raises(KilledError):
        restore_video(source, tmp_path / "out.mp4", pipeline=line(), on_frame=kill)
    weaker = line(strength=0.5)
    assert restore_video(source, tmp_path / "out.mp4", pipeline=weaker)["clip"]["resumed_at"] == 0


def too_large(source, limit):
    config = replace(line().config, max_pixels=limit)
    with pytest.raises(ImageError, match=rf"{source.name}: .* over the limit of {limit}; .*--max-pixels"):
        restore_video(source, source.with_stem("out"), pipeline=replace(line(), config=config))


def test_frames_with_more_pixels_than_are_allowed_are_refused(av, tmp_path):
    too_large(write_video(av, tmp_path / "in.mp4", pictures(2)), 100)


def test_frames_of_animations_with_more_pixels_than_are_allowed_are_refused(tmp_path):
    too_large(animated(tmp_path / "in.gif"), 100)


def test_a_result_is_not_overwritten(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(2))
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(ImageError, match=r"already exists.*--overwrite"):
        restore_video(source, tmp_path / "out.mp4", pipeline=line())
    assert (tmp_path / "out.mp4").read_text() == "mine"


def test_without_a_face_the_frames_are_as_they_were(av, tmp_path):
    source = write_video(av, tmp_path / "in.mp4", pictures(3))
    report = restore_video(source, tmp_path / "out.mp4", pipeline=pipeline())
    assert (report["found"], report["clip"]["with_faces"]) == (0, 0)
    before, after = (shown(av, tmp_path / name) for name in ("in.mp4", "out.mp4"))
    for old, new in zip(before, after, strict=True):
        difference = old.to_ndarray().astype(int) - new.to_ndarray()
        assert np.abs(difference).mean() < 2.5


def test_frames_of_odd_size_lose_a_row_alike_and_none_is_scaled(av, tmp_path):
    class Late:
        name, calls = "late", 0

        def detect(self, image):
            self.calls += 1
            return [FACE] if self.calls > 2 else []

    source = write_video(av, tmp_path / "in.mkv", pictures(4, 113, 161), codec="ffv1", sound=False)
    restore_video(source, tmp_path / "out.mkv", pipeline=replace(line(), detector=Late()))
    beside = np.s_[:112, 120:160]
    for old, new in zip(shown(av, source), shown(av, tmp_path / "out.mkv"), strict=True):
        assert (new.width, new.height) == (160, 112)
        apart = old.to_ndarray(format="rgb24")[beside].astype(int) - new.to_ndarray(format="rgb24")[beside]
        assert np.abs(apart).mean() < 4


def test_a_cut_off_file_is_restored_as_far_as_it_goes(av, tmp_path):
    source = write_video(av, tmp_path / "in.mkv", pictures(10), sound=False)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    report = restore_video(source, tmp_path / "out.mkv", pipeline=line())
    assert 3 <= report["clip"]["frames"] < 10


@pytest.mark.parametrize("data", [b"", b"no video at all" * 99])
def test_what_is_no_video_is_told(av, tmp_path, data):
    (tmp_path / "in.mp4").write_bytes(data)
    with pytest.raises(ImageError, match=r"in.mp4: cannot be read as a video .*check the file"):
        restore_video(tmp_path / "in.mp4", tmp_path / "out.mp4", pipeline=line())


def test_without_the_extra_a_video_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "in.mp4").write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=r"a video needs the package av.*pip install 'facerestore\[video\]'"
    ):
        restore_video(tmp_path / "in.mp4", tmp_path / "out.mp4", pipeline=line())


@pytest.mark.parametrize(
    ("output", "config", "words"),
    [
        (OutputConfig(keep_originals=True), RestoreConfig(), "--keep-originals is for photos"),
        (OutputConfig(), RestoreConfig(faces="0,2"), "faces is '0,2'.*all, largest or center"),
        (
            OutputConfig(),
            RestoreConfig(dial="0:strength=0.5"),
            "dial is '0:strength=0.5'.*leave it out for a clip",
        ),
    ],
)
def test_what_is_for_photos_is_refused(tmp_path, output, config, words):
    with pytest.raises(ConfigError, match=words):
        restore_video(
            tmp_path / "in.mp4", tmp_path / "out.mp4", pipeline=pipeline(FACE, config=config), output=output
        )


def test_what_is_drawn_of_photos_alone_is_told(tmp_path):
    animated(tmp_path / "in.gif")
    output = OutputConfig(compare=True, save_faces="x")
    report = restore_video(tmp_path / "in.gif", tmp_path / "out.gif", pipeline=line(), output=output)
    assert report["notes"][0].startswith("--compare, --save-faces: for photos alone; --preview")


def test_hardware_encodes_where_it_works():
    from facerestore.video.writing import encoder_for

    assert encoder_for("h264", ".mp4", works=lambda name: name in ("h264_nvenc", "libx264")) == "h264_nvenc"
    assert encoder_for("hevc", ".mp4", works=lambda name: name.startswith("lib")) == "libx265"
    assert encoder_for("theora", ".webm", works=lambda name: True) == "libvpx-vp9"
    with pytest.raises(ConfigError, match=r"encoder 'h264_xyz' does not work here.*libx264"):
        encoder_for("h264", ".mp4", asked="h264_xyz", works=lambda name: False)


@pytest.mark.parametrize("name", ["in.gif", "in.webp", "in.png", "in.apng"])
def test_animations_keep_delays_and_loops(tmp_path, name):
    kind = {"format": "PNG"} if name.endswith("apng") else {}
    source = animated(tmp_path / name, duration=[50, 120, 80], loop=3, **kind)
    target = tmp_path / f"out{source.suffix}"
    assert is_clip(source)
    report = restore_video(source, target, pipeline=line())
    assert report["clip"] == report["clip"] | {"frames": 3, "restored": 3}
    with Image.open(target) as made, Image.open(source) as was:
        assert (made.n_frames, made.info["loop"]) == (3, was.info["loop"])
        for index, lasts in enumerate([50, 120, 80]):
            made.seek(index), was.seek(index)
            after, before = (np.asarray(each.convert("RGB"), float) for each in (made, was))
            assert made.info["duration"] == lasts
            assert after[40:60, 60:84].mean() > before[40:60, 60:84].mean() + 30


def test_a_clip_that_cannot_be_written_where_it_is_to_be_is_told(tmp_path):
    source = animated(tmp_path / "in.gif")
    with pytest.raises(
        ImageError, match=r"out.gif: cannot be written \(Not a directory\); choose another place"
    ):
        restore_video(source, source / "out.gif", pipeline=line())


def test_frames_of_an_animation(tmp_path):
    source = animated(tmp_path / "in.gif", 5, duration=60)
    restore_video(source, tmp_path / "out.gif", pipeline=line(), output=OutputConfig(frames="1:3"))
    with Image.open(tmp_path / "out.gif") as made:
        assert made.n_frames == 2


@pytest.mark.parametrize(("asked", "delays"), [(None, [None, 50, 120, 80]), ("2:4", [120, 80])])
def test_a_first_picture_that_is_not_shown_stays_so_and_no_other_becomes_one(tmp_path, asked, delays):
    source = animated(tmp_path / "in.png", 4, duration=[50, 120, 80], default_image=True)
    restore_video(source, tmp_path / "out.png", pipeline=line(), output=OutputConfig(frames=asked))
    with Image.open(tmp_path / "out.png") as made:
        told = []
        for index in range(made.n_frames):
            made.seek(index)
            told.append(made.info.get("duration"))
    assert told == delays


def test_what_was_stored_without_loss_stays_so_beside_the_faces(tmp_path):
    source = animated(tmp_path / "in.webp", lossless=True)
    restore_video(source, tmp_path / "out.webp", pipeline=line())
    with Image.open(source) as was, Image.open(tmp_path / "out.webp") as made:
        for index in range(3):
            was.seek(index), made.seek(index)
            assert np.array_equal(*(np.asarray(each)[:, 120:] for each in (was, made)))


def test_an_animation_becomes_one_of_another_format(tmp_path):
    source = animated(tmp_path / "in.gif", duration=60, loop=2)
    for name in ("out.webp", "out.png"):
        restore_video(source, tmp_path / name, pipeline=line())
        with Image.open(tmp_path / name) as made:
            made.load()
            assert (made.n_frames, made.info["duration"]) == (3, 60)


def test_transparency_of_an_animation_is_kept(tmp_path):
    clear = np.dstack([pictures(1)[0], np.full((112, 160), 255, np.uint8)])
    clear[:, :30, 3] = 0
    pair = [Image.fromarray(clear), Image.fromarray(clear[::-1].copy())]
    pair[0].save(tmp_path / "in.webp", save_all=True, append_images=pair[1:], lossless=True)
    restore_video(tmp_path / "in.webp", tmp_path / "out.webp", pipeline=line())
    with Image.open(tmp_path / "out.webp") as made:
        assert (np.asarray(made)[..., 3] == clear[..., 3]).all()


def test_still_pictures_are_no_clips(tmp_path):
    for name in ("a.png", "a.webp"):
        Image.fromarray(pictures(1)[0]).save(tmp_path / name)
        assert not is_clip(tmp_path / name)
    assert not is_clip(tmp_path / "none.png")


def test_a_folder_has_its_clips_done_among_its_photos(tmp_path, use_pipeline, capsys):
    use_pipeline(lambda config, **_: replace(line(), config=replace(config, colour_match=False)))
    album = tmp_path / "album"
    album.mkdir()
    animated(album / "b.gif")
    Image.fromarray(pictures(1)[0]).save(album / "a.png")
    assert main(["enhance", str(album), "-o", str(tmp_path / "out")]) == 0
    assert {"a.png", "b.gif"} < {each.name for each in (tmp_path / "out").iterdir()}
    out = capsys.readouterr().out
    assert "3 frames: 3 with faces, 3 restored" in out
    assert main(["enhance", str(album), "-o", str(tmp_path / "out")]) == 0
    assert "2 of 2 done before, nothing to do" in capsys.readouterr().out


def test_a_video_on_the_command_line(av, tmp_path, use_pipeline, capsys):
    use_pipeline(lambda config, **_: replace(line(), config=replace(config, colour_match=False)))
    source = write_video(av, tmp_path / "in.mp4", pictures(4))
    assert main(["enhance", str(source), "--frames", "1:3"]) == 0
    assert len(shown(av, tmp_path / "in_restored.mp4")) == 2
    assert "2 frames: 2 with faces" in capsys.readouterr().out


def test_a_dry_run_tells_of_clips_and_other_commands_leave_them_out(
    tmp_path, use_pipeline, use_detector, capsys
):
    from fakes import FakeDetector

    use_pipeline(lambda config, **_: line())
    use_detector(FakeDetector(FACE))
    animated(tmp_path / "b.gif")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    assert main(["enhance", str(tmp_path), "--dry-run", "-v"]) == 0
    assert "b_restored.gif" in capsys.readouterr().out
    assert main(["detect", str(tmp_path)]) == 0
    assert "left out: 1 GIF" in capsys.readouterr().out


def test_a_folder_of_videos_says_what_restores_them(tmp_path, use_pipeline, monkeypatch, capsys):
    import facerestore.video

    monkeypatch.setattr(facerestore.video, "find_spec", lambda name: None)
    use_pipeline(lambda config, **_: line())
    (tmp_path / "b.mp4").write_bytes(b"x")
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    assert main(["enhance", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "left out: 1 video\n" in out
    assert "one more package: pip install 'facerestore[video]'" in out


# --- preview --------------------------------------------------------------------------------------------------------


def test_a_preview_shows_three_seconds_side_by_side(av, tmp_path, use_pipeline, capsys):
    use_pipeline(lambda config, **_: replace(line(), config=replace(config, colour_match=False)))
    source = write_video(av, tmp_path / "in.mp4", pictures(10), times=[36000 * n for n in range(10)])
    assert main(["enhance", str(source), "--preview"]) == 0
    made = shown(av, tmp_path / "in_preview.mp4")
    assert [(frame.width, frame.height) for frame in made] == [(320, 112)] * 8  # of 0.4 s each
    before, after = np.split(made[0].to_ndarray(format="rgb24").astype(float), 2, axis=1)
    assert after[40:60, 60:84].mean() > before[40:60, 60:84].mean() + 30
    assert "8 frames: 8 with faces" in capsys.readouterr().out


def test_a_preview_begins_where_a_face_is_found(tmp_path):
    frames = [Image.fromarray(each) for each in pictures(6)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=1000)

    class Late:
        name, calls = "late", 0

        def detect(self, image):
            self.calls += 1
            return [FACE] if self.calls > 2 else []

    late = replace(line(), detector=Late())
    report = restore_video(
        tmp_path / "in.gif", tmp_path / "out.gif", pipeline=late, output=OutputConfig(preview=True)
    )
    assert report["clip"]["frames"] == 3
    with Image.open(tmp_path / "out.gif") as made:
        assert made.size == (320, 112)


def test_without_a_face_there_is_no_preview(tmp_path):
    animated(tmp_path / "in.gif")
    with pytest.raises(ImageError, match="no face is found in any frame"):
        restore_video(
            tmp_path / "in.gif", tmp_path / "out.gif", pipeline=pipeline(), output=OutputConfig(preview=True)
        )
    assert [each.name for each in tmp_path.iterdir()] == ["in.gif"]


def test_a_photo_has_no_preview(tmp_path, use_pipeline, capsys):
    use_pipeline(lambda config, **_: line())
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    assert main(["enhance", str(tmp_path / "a.png"), "--preview"]) == 1
    assert "--preview is for videos and animations; --compare" in capsys.readouterr().err

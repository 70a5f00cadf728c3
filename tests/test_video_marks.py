"""Marks of results that move: in every container that holds one, beside the XMP of the source, read back, and off."""

from fractions import Fraction

import pytest
from fakes import pipeline
from PIL import Image
from video_files import animated, line, pictures, shown, write_video

from facerestore.cli.app import main
from facerestore.io import kinds_made, png_xmp, read_mark
from facerestore.io._marks import COMPOSITE
from facerestore.video.clip import restore_video
from facerestore.video.marking import add_xmp, tag_of

PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="\xc3\xa9"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
ENCODERS = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".wmv": "msmpeg4", ".mpg": "mpeg2video"}
FRAME = Fraction(1, 25)


def video(av, path, count=2):
    """Write a silent video as its suffix wants it."""
    codec = ENCODERS.get(path.suffix, "libx264")
    return write_video(av, path, pictures(count), codec=codec, sound=False, time_base=FRAME)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".3gp", ".mov", ".mkv", ".webm", ".avi", ".wmv"])
def test_a_video_says_that_it_is_a_result(av, tmp_path, suffix):
    source, made = video(av, tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    report = restore_video(source, made, pipeline=line())
    mark = read_mark(made)
    assert (mark.done, mark.faces, [*mark.size]) == (("restored",), [], [160, 112])
    assert dict(mark.weights) == {"brightener.test": report["weights"]["sha256"]}
    assert COMPOSITE.encode() in made.read_bytes()
    assert (kinds_made(made), kinds_made(source)) == ({"restored"}, set())
    assert len(shown(av, made)) == 2
    assert not report["notes"]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_says_that_it_is_a_result(tmp_path, suffix):
    source, made = animated(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    restore_video(source, made, pipeline=line())
    assert (read_mark(made).done, kinds_made(made)) == (("restored",), {"restored"})
    with Image.open(made) as picture:
        picture.seek(2)
        assert picture.n_frames == 3


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".gif", ".webp", ".png"])
@pytest.mark.parametrize("mark", [True, False])
def test_xmp_of_the_source_is_kept_with_a_mark_and_without(request, tmp_path, suffix, mark):
    source, made = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    if suffix in (".gif", ".webp", ".png"):
        animated(source, xmp=PACKET, pnginfo=png_xmp(PACKET))
    else:
        av = request.getfixturevalue("av")
        tags = {} if tag_of(suffix) is None else {tag_of(suffix): PACKET.decode()}
        write_video(av, source, pictures(2), sound=False, tags=tags)
    if suffix in (".gif", ".mp4"):
        add_xmp(source, PACKET)
    restore_video(source, made, pipeline=line(mark=mark))
    assert 'dc:source="\u00e9"'.encode() in made.read_bytes()
    assert (read_mark(made) is not None) == mark


def test_a_container_without_a_place_for_it_is_told_and_can_be_read(av, tmp_path):
    source, made = video(av, tmp_path / "in.mpg", 30), tmp_path / "out.mpg"
    report = restore_video(source, made, pipeline=line())
    assert report["notes"] == ["not carried over: XMP and the mark in it, which .mpg does not hold"]
    assert len(shown(av, made)) == 30


def test_where_nothing_is_restored_nothing_is_said(av, tmp_path):
    restore_video(video(av, tmp_path / "in.mp4"), tmp_path / "out.mp4", pipeline=pipeline())
    assert read_mark(tmp_path / "out.mp4") is None


def test_a_mark_is_found_behind_large_attachments(av, tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=160, height=112)
        out.add_attachment("font.ttf", "font/ttf", bytes(200_000))
        for pixels in pictures(60):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        out.mux(stream.encode(None))
    restore_video(source, tmp_path / "out.mkv", pipeline=line())
    assert read_mark(tmp_path / "out.mkv") is not None
    assert (tmp_path / "out.mkv").stat().st_size > 400_000


def test_a_result_in_a_folder_is_not_restored_again_whatever_its_name(av, tmp_path, use_pipeline, capsys):
    use_pipeline(lambda config, **_: line())
    restore_video(video(av, tmp_path / "a.mp4"), tmp_path / "holiday.mp4", pipeline=line())
    assert main(["enhance", str(tmp_path)]) == 0
    assert {each.name for each in tmp_path.glob("*.mp4")} == {"a.mp4", "holiday.mp4", "a_restored.mp4"}
    assert "1 result of earlier runs" in capsys.readouterr().out

"""Marks of results: in every format that can hold one, beside what the photo's XMP says, read back, and off."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from picture_files import HERE, exif_block, noisy, smooth

import facerestore
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import ImageError
from facerestore.io import (
    FORMATS,
    Mark,
    decode_image,
    encode_image,
    kinds_made,
    left_out,
    with_mark,
    write_image,
)
from facerestore.io._marks import COMPOSITE
from facerestore.types import DecodedImage, Metadata

FACE = face_at(10, 20)
HOLDING = [name for name in HERE if name != "BMP"]
MARK = Mark(
    done=("restored",),
    version="1.2",
    weights={'own "<&> weights.pth': "0a" * 32},
    strength=0.5,
    size=(37, 23),
    faces=[{"touched": [1, 2, 30, 20], "weights": "x", "strength": 0.5, "change": 4.2, "effect": "restored"}],
)
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="uuid:7" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" dc:source="\xc3\xa9" '
    b'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("format", HOLDING)
def test_a_mark_is_read_back_from_every_format(format, tmp_path):
    image = DecodedImage(smooth(64, 96), metadata=with_mark(Metadata(exif=exif_block()), MARK))
    path = write_image(tmp_path / f"a{FORMATS[format].suffix}", image)
    found = facerestore.read_mark(path)
    assert found == facerestore.read_mark(path.read_bytes())
    assert (found.done, found.version, dict(found.weights)) == (("restored",), "1.2", MARK.weights)
    assert found.areas == [(1, 2, 30, 20)]
    assert kinds_made(path) == {"restored"}
    again = encode_image(decode_image(path.read_bytes()), format=format)  # by whoever writes it anew
    assert facerestore.read_mark(again) == found


def test_bmp_holds_no_mark_which_is_said():
    image = DecodedImage(smooth(), metadata=with_mark(Metadata(), MARK))
    assert left_out(image, format="BMP") == "not carried over: XMP, which BMP has no place for"


@pytest.mark.parametrize("format", HOLDING)
def test_a_mark_is_found_behind_much_else(format, tmp_path):
    """What comes before it fills more than the window that is looked through of a plain file."""
    metadata = Metadata(exif=exif_block() + noisy((60_000,)).tobytes(), icc=noisy((250_000,)).tobytes())
    picture = DecodedImage(noisy((400, 600, 3)), metadata=with_mark(metadata, MARK))
    path = write_image(tmp_path / f"a{FORMATS[format].suffix}", picture)
    assert kinds_made(path) == {"restored"}


@pytest.mark.parametrize("length", range(130_800, 132_300, 300))
def test_a_mark_is_read_wherever_the_parts_that_are_looked_at_meet(length, tmp_path):
    head, body = b"\0\0\0\x18ftypheic" + bytes(12), with_mark(Metadata(), MARK).xmp
    box = length.to_bytes(4, "big") + b"mdat"
    path = tmp_path / "a.heic"
    path.write_bytes(head + box + bytes(length - 8 - len(body)) + body)
    assert facerestore.read_mark(path).version == "1.2"


def test_what_the_xmp_says_stays_and_is_added_to():
    once = with_mark(Metadata(xmp=PACKET), MARK).xmp
    assert b'dc:source="\xc3\xa9"' in once
    assert b"digitalCapture" not in once
    assert once.count(b'rdf:about="uuid:7"') == 2
    twice = with_mark(Metadata(xmp=once), Mark(done=("coloured",), version="1.3")).xmp
    assert len(re.findall(b"DigitalSourceType=", twice)) == 1
    assert facerestore.read_mark(twice).done == ("restored", "coloured")
    assert facerestore.read_mark(twice).version == "1.3"


def test_a_picture_that_was_wholly_made_keeps_saying_so():
    made = PACKET.replace(b"digitalCapture", b"trainedAlgorithmicMedia")
    marked = with_mark(Metadata(xmp=made), MARK).xmp
    assert b"digitalsourcetype/trainedAlgorithmicMedia" in marked
    assert COMPOSITE.encode() not in marked


def test_a_damaged_packet_stays_and_the_mark_is_told_as_left_out():
    metadata = with_mark(Metadata(xmp=b"<x:xmpmeta><broken"), MARK)
    assert metadata.xmp == b"<x:xmpmeta><broken"
    assert metadata.dropped == ("mark of what was restored, for the XMP is damaged",)


def test_others_have_no_mark(tmp_path):
    assert facerestore.read_mark(b'facerestore:result="restored" facerestore:made="["') is None
    foreign = ["[" * 9999, "5", '{"version":1}', '{"version":"1","faces":5}', '{"version":"1","faces":[[1]]}']
    foreign += ['{"version":"1","faces":[{"touched":[1,2,3,"4"]}]}', '{"version":"1","weights":"x"}']
    for made in [*foreign, '{"version":"1","size":[1]}']:
        text = b'facerestore:result="restored" facerestore:made="%b"' % made.replace('"', "&quot;").encode()
        assert facerestore.read_mark(text) is None
    assert facerestore.read_mark(write_image(tmp_path / "a.png", photo())) is None
    assert kinds_made(tmp_path / "missing.png") == set()
    with pytest.raises(ImageError, match=r"missing.png: cannot be read \(No such file.*\); check the path"):
        facerestore.read_mark(tmp_path / "missing.png")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="ExifTool is not installed")
@pytest.mark.parametrize("format", HOLDING)
def test_exiftool_reads_the_term_beside_what_was_there(format, tmp_path):
    image = DecodedImage(smooth(64, 96), metadata=with_mark(Metadata(xmp=PACKET), MARK))
    path = write_image(tmp_path / f"a{FORMATS[format].suffix}", image)
    ran = subprocess.run(
        ["exiftool", "-j", "-n", "-XMP:all", "-warning", str(path)],
        capture_output=True,
        check=True,
        text=True,
    )
    (tags,) = json.loads(ran.stdout)
    assert tags["DigitalSourceType"] == COMPOSITE
    assert tags["Source"] == "é"
    assert tags["Result"] == "restored"
    assert "Warning" not in tags


def test_a_restored_photo_is_marked_and_one_without_a_face_is_not():
    result = pipeline(FACE).run(photo())
    mark = facerestore.read_mark(encode_image(result.image, format="PNG"))
    assert mark.done == ("restored",)
    assert mark.version == facerestore.__version__
    assert mark.areas == [tuple(result.report["faces"][0]["touched"])]
    left, top, right, bottom = mark.areas[0]
    outside = np.ones(photo().pixels.shape[:2], bool)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(result.image.pixels[outside], photo().pixels[outside])
    assert pipeline().run(photo()).image.metadata.xmp is None
    assert pipeline(FACE, config=RestoreConfig(mark=False)).run(photo()).image.metadata.xmp is None


def test_results_are_left_out_whatever_they_are_called_unless_asked_for(
    tmp_path, monkeypatch, capsys, use_pipeline
):
    use_pipeline(lambda config, **_: pipeline(FACE, config=config))
    monkeypatch.chdir(tmp_path)
    write_image("in/a.png", photo())
    assert main(["enhance", "in/a.png", "-o", "in/b.png"]) == 0
    assert main(["enhance", "in/a.png", "-o", "in/c.png", "--no-mark"]) == 0
    capsys.readouterr()

    def taken(*arguments):
        assert main([*arguments, "in", "-o", "out", "--dry-run", "--json"]) == 0
        told = capsys.readouterr()
        return [job["input"][-5:] for job in json.loads(told.out)["jobs"]], told.err

    names, told = taken("enhance")
    assert names == ["a.png", "c.png"]
    assert "left out: 1 result of earlier runs (b.png); --include-results takes them\n" in told
    assert taken("enhance", "--include-results")[0] == ["a.png", "b.png", "c.png"]

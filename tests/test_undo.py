"""The photo kept beside its result, and given back byte for byte."""

import io
import zipfile

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from picture_files import HERE, dng, exif_block, saved, smooth
from PIL import Image

from facerestore.batch.undo import packed, read_original, undo, undo_path
from facerestore.batch.verify import changed_area
from facerestore.cli.app import main
from facerestore.errors import ImageError
from facerestore.io import FORMATS, decode_image, joined, lacking, read_mark, write_image

FACE = face_at(40, 30)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    use_pipeline(lambda config, **_: pipeline(FACE, config=config))
    return tmp_path


@pytest.mark.parametrize("format", HERE)
def test_a_photo_of_every_format_comes_back_byte_for_byte(format, place):
    exif = {} if format == "BMP" else {"exif": exif_block(6)}
    data = saved(Image.fromarray(smooth(200, 240)), format, **exif) + b"what a program put behind it"
    source = place / f"a{FORMATS[format].suffix}"
    source.write_bytes(data)
    assert main(["enhance", str(source), "-o", f"out/b{source.suffix}", "--keep-originals"]) == 0
    assert decode_image((place / "out" / f"b{source.suffix}").read_bytes()).pixels.shape[2] == 3
    assert main(["undo", f"out/b{source.suffix}"]) == 0
    assert (place / "out" / source.name).read_bytes() == data


@pytest.mark.skipif(lacking("RAW") is not None, reason="rawpy is not installed")
def test_raw_comes_back_too(place):
    data = dng(np.full((200, 240, 3), 9000, np.uint16))
    (place / "a.dng").write_bytes(data)
    assert main(["enhance", "a.dng", "-o", "b.tif", "--keep-originals"]) == 0
    assert main(["undo", "b.tif", "-o", "c.dng"]) == 0
    assert (place / "c.dng").read_bytes() == data


def test_pages_and_faces_are_kept_as_they_were(place):
    page = write_image("a.tif", photo()).read_bytes()
    (place / "book.tif").write_bytes(joined([page, page]))
    assert main(["enhance", "book.tif", "-o", "out.tif", "--keep-originals"]) == 0
    with zipfile.ZipFile("out.tif.undo") as archive:
        names = archive.namelist()
        crop = decode_image(archive.read("faces/page2_face0.png"))
    assert names == ["undo.json", "photo/book.tif", "faces/page1_face0.png", "faces/page2_face0.png"]
    after = decode_image((place / "out.tif").read_bytes(), page=2).pixels
    left, top, right, bottom = changed_area(photo().pixels, after, read_mark(place / "out.tif").areas[0])
    np.testing.assert_array_equal(crop.pixels, photo().pixels[top:bottom, left:right])
    assert main(["undo", "out.tif.undo", "-o", "again.tif"]) == 0
    assert (place / "again.tif").read_bytes() == (place / "book.tif").read_bytes()


def test_a_photo_that_was_replaced_is_put_back_in_its_place(place, capsys):
    before = write_image("a.png", photo()).read_bytes()
    assert main(["enhance", "a.png", "-o", "a.png", "--overwrite", "--keep-originals"]) == 0
    assert (place / "a.png").read_bytes() != before
    assert main(["undo", "a.png"]) == 1
    assert (
        "already exists; choose another name, or allow it to be replaced with --overwrite"
        in capsys.readouterr().err
    )
    assert main(["undo", "a.png", "--overwrite"]) == 0
    assert (place / "a.png").read_bytes() == before


def test_all_of_a_directory_come_back(place, capsys):
    for name in ("a.png", "b.png"):
        write_image(name, photo())
    assert main(["enhance", "a.png", "b.png", "-o", "out", "--keep-originals"]) == 0
    assert main(["undo", "out", "-o", "again"]) == 0
    for name in ("a.png", "b.png"):
        assert (place / "again" / name).read_bytes() == (place / name).read_bytes()
    assert main(["undo", "again"]) == 1
    assert "again: no file in this directory ends in '.undo'" in capsys.readouterr().err
    assert main(["undo", "out", "-o", "a.png/within"]) == 1
    assert "'a.png/within' cannot be made: Not a directory; give another directory" in capsys.readouterr().err


def test_those_of_subdirectories_come_back_to_the_same_ones(place, capsys):
    names = ("a.png", "deep/a.png", "deep/down/b.png")
    for name in names:
        write_image(place / "in" / name, photo(seed=len(name)))
    assert main(["enhance", "in", "-r", "-o", "out", "--keep-originals"]) == 0
    assert main(["undo", "out", "out/a.png", "-r", "-o", "again"]) == 3  # the last is there already
    for name in names:
        assert (place / "again" / name).read_bytes() == (place / "in" / name).read_bytes()
    capsys.readouterr()
    assert main(["undo", "out/deep/down", "out/deep/down/..", "-o", "level"]) == 0
    assert sorted(path.name for path in (place / "level").iterdir()) == ["a.png", "b.png"]
    assert main(["undo", "out/deep/down", "-o", "level"]) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_result_that_was_changed_is_told_and_stays(place, capsys):
    write_image("a.png", photo())
    assert main(["enhance", "a.png", "-o", "b.png", "--keep-originals"]) == 0
    changed = (place / "b.png").read_bytes() + b"x"
    (place / "b.png").write_bytes(changed)
    capsys.readouterr()
    assert main(["undo", "b.png", "-o", "c.png"]) == 0
    assert "b.png: is not the result that was made of it" in capsys.readouterr().err
    assert (place / "b.png").read_bytes() == changed


def test_nothing_is_kept_of_a_photo_that_stays_as_it_is(place, use_pipeline, capsys):
    use_pipeline(lambda config, **_: pipeline(config=config))
    write_image("a.png", photo())
    assert main(["enhance", "a.png", "-o", "b.png", "--keep-originals"]) == 0
    assert not undo_path(place / "b.png").exists()
    assert main(["undo", "b.png"]) == 1
    assert (
        "b.png: there is no 'b.png.undo' beside it; it is written with --keep-originals"
        in capsys.readouterr().err
    )


def test_a_file_of_undo_is_the_same_each_time_and_no_photo(place, capsys):
    write_image("in/a.png", photo())
    assert packed("a", b"x" * 99, [b"y"], []) == packed("a", b"x" * 99, [b"y"], [])
    assert main(["enhance", "in", "-o", "out", "--keep-originals"]) == 0
    capsys.readouterr()
    assert main(["enhance", "out", "-o", "again", "--include-results"]) == 0
    assert "left out: 1 undo file" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no facts", "foreign facts", "no photo"])
def test_damaged_files_are_told(damage, place):
    data = packed("a.png", b"photo" * 50, [b"result"], [])
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flipped":
        middle = len(data) // 2
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    elif damage == "empty":
        data = b""
    else:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            facts = {
                "foreign facts": b"[1]",
                "no photo": b'{"photo": "a", "photo_sha256": "", "result_sha256": ""}',
            }
            archive.writestr("undo.json" if damage != "no facts" else "other", facts.get(damage, b""))
        data = stream.getvalue()
    (place / "a.png.undo").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png\.undo: (cannot be read|the photo in it is damaged)"):
        read_original(place / "a.png.undo")


def test_a_name_in_a_file_leads_nowhere_else(place):
    (place / "sub").mkdir()
    (place / "sub" / "a.png.undo").write_bytes(packed("../../evil.png", b"photo", [b"result"], []))
    written, same = undo(place / "sub" / "a.png")
    assert (written, same) == (place / "sub" / "evil.png", False)


def test_standard_output_cannot_have_something_beside_it(capsys):
    write_image("a.png", photo())
    assert main(["enhance", "a.png", "-o", "-", "--keep-originals"]) == 2
    assert "--keep-originals" in capsys.readouterr().err

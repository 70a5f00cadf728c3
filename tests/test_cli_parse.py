"""``facerestore parse``: its pictures, its maps, its words and its exit codes."""

import io
import json

import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, photo
from PIL import Image
from test_parsing import aligned
from test_parsing_choice import TINY_PARSENET
from written import names

from facerestore.archs.parsenet import ParseNet
from facerestore.cli.app import main
from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES
from facerestore.imaging.alignment import template
from facerestore.io import decode_image, read_image, write_image
from facerestore.parsing import LandmarkParser
from facerestore.pictures.parts import overlay, palette_png, parsing_picture

LEFT, RIGHT = face_at(10, 20), face_at(120, 30)


@pytest.fixture
def folder(tmp_path, monkeypatch, use_detector):
    use_detector(FakeDetector(RIGHT, LEFT))
    monkeypatch.chdir(tmp_path)
    write_image("a.jpg", photo(seed=1))
    write_image("b.png", photo(seed=2))
    return tmp_path


def test_a_picture_goes_beside_each_photo_and_landmarks_are_told(folder, capsys):
    assert main(["parse", "a.jpg", "--parser", "landmarks"]) == 0
    out, err = capsys.readouterr()
    assert names(folder) == ["a.jpg", "a_parsing.png", "b.png"]
    assert "drawn from the five landmarks: no hair, glasses, ears or hands" in out
    assert "a.jpg: 2 faces -> a_parsing.png" in out
    assert err == ""
    picture = read_image("a_parsing.png")
    assert picture.format == "PNG"
    colours = {tuple(colour) for colour in picture.pixels.reshape(-1, 3)[::7].tolist()}
    assert {CLASS_COLOURS[CLASS_NAMES.index(name)] for name in ("background", "skin", "nose")} <= colours


def test_a_network_is_named_and_the_largest_parts_are_told(folder, capsys):
    torch.manual_seed(0)
    torch.save(ParseNet(TINY_PARSENET).state_dict(), "mine.pth")
    assert main(["parse", "a.jpg", "--parser", "mine.pth", "--faces", "1", "-o", "parts.png"]) == 0
    out = capsys.readouterr().out
    assert "parsing with mine.pth, on cpu" in out
    assert "a.jpg: 2 faces, 1 shown -> parts.png" in out
    assert "face 1: " in out
    assert "landmarks" not in out


def test_the_bundled_parser_needs_no_asking(folder, capsys):
    assert main(["parse", "a.jpg"]) == 0
    assert "parsing with parse.clean-256, on cpu" in capsys.readouterr().out


def test_maps_hold_ids_and_colours(folder, capsys):
    assert main(["parse", "a.jpg", "b.png", "-o", "out", "--maps", "maps", "--parser", "landmarks"]) == 0
    assert [name for name in names(folder) if name.startswith("maps")] == [
        f"maps/{photo}_parsing_face{index}.png" for photo in "ab" for index in (0, 1)
    ]
    with Image.open("maps/a_parsing_face0.png") as picture:
        assert picture.mode == "P"
        ids = np.asarray(picture)
    assert ids.shape == (512, 512)
    assert set(np.unique(ids)) == {0, 1, 2, 4, 5, 6, 7, 11, 12}
    coloured = read_image("maps/a_parsing_face0.png").pixels
    assert (coloured == np.array(CLASS_COLOURS)[ids]).all()
    assert "also wrote 2 maps into maps" in capsys.readouterr().out


def test_json_tells_shares_and_files(folder, capsys):
    assert main(["parse", ".", "-o", "out", "--maps", "maps", "--json", "--parser", "landmarks"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["parser"], facts["weights"]) == ("landmarks", None)
    assert [row["output"] for row in facts["photos"]] == ["out/a_parsing.png", "out/b_parsing.png"]
    face = facts["photos"][0]["faces"][1]
    assert face["index"] == 1
    assert face["shares"]["skin"] > 0.2
    assert sum(face["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["photos"][0]["maps"] == ["maps/a_parsing_face0.png", "maps/a_parsing_face1.png"]


def test_an_aligned_crop_is_one_face(folder, capsys):
    write_image("crop.png", photo(64, 64))
    assert main(["parse", "crop.png", "--aligned"]) == 0
    assert "crop.png: 1 face" in capsys.readouterr().out
    assert main(["parse", "b.png", "--aligned"]) == 1
    assert "an aligned face is square" in capsys.readouterr().err


def test_no_face_is_a_normal_result(folder, capsys, use_detector):
    use_detector(FakeDetector())
    assert main(["parse", "b.png", "--maps", "maps"]) == 0
    assert "b.png: no face -> b_parsing.png" in capsys.readouterr().out
    assert not (folder / "maps").exists()


def test_maps_among_the_photos_are_no_photos(folder, capsys):
    for _ in range(2):
        assert main(["parse", ".", "-r", "--maps", "maps", "-o", "parts", "--overwrite"]) == 0
    assert sorted(path.name for path in (folder / "parts").iterdir()) == ["a_parsing.png", "b_parsing.png"]


def test_faces_that_are_not_there_are_told(folder, capsys):
    assert main(["parse", "a.jpg", "--faces", "1,7", "-o", "one.png"]) == 0
    out = capsys.readouterr().out
    assert "a.jpg: 2 faces, 1 shown -> one.png" in out
    assert "there is no face 7; 'facerestore detect' shows the indices" in out
    assert main(["parse", "a.jpg", "--faces", "7", "-o", "none.png", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["photos"][0]
    assert (row["found"], row["faces"], row["absent_indices"]) == (2, [], [7])


def test_a_crop_that_is_not_square_is_told_with_its_name(folder, capsys):
    write_image("wide.png", photo(100, 160))
    assert main(["parse", "wide.png", "a.jpg", "--aligned"]) == 1
    assert "wide.png: an aligned face is square" in capsys.readouterr().err


def test_a_name_without_a_format_is_refused_with_a_remedy_of_this_command(folder, capsys):
    assert main(["parse", "a.jpg", "-o", "parts.xyz"]) == 2
    err = capsys.readouterr().err
    assert "ends in no picture format" in err
    assert "--format" not in err


def test_existing_files_are_kept_and_bad_ones_do_not_stop_the_rest(folder, capsys):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    assert main(["parse", "bad.jpg", "a.jpg", "gone.jpg"]) == 3
    assert "bad.jpg" in capsys.readouterr().err
    assert main(["parse", "a.jpg"]) == 1
    assert "a_parsing.png' exists; give --overwrite" in capsys.readouterr().err
    assert main(["parse", "a.jpg", "--overwrite", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_earlier_pictures_are_not_taken_for_photos(folder, capsys):
    assert main(["parse", "."]) == 0
    assert main(["parse", ".", "--overwrite"]) == 0
    assert names(folder) == ["a.jpg", "a_parsing.png", "b.png", "b_parsing.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--parser", "none"], 2, "leave out --parser none"),
        (["--parser", "parsenet.gpen"], 4, "weights download parsenet.gpen"),
        (["--parser", "lite.clean-256"], 2, "for the purpose 'restore'"),
        (["--faces", "left"], 2, "faces is 'left'"),
        (["-o", "-", "--json"], 2, "cannot carry the picture and --json"),
    ],
)
def test_usage_faults_have_their_codes(folder, capsys, arguments, code, said):
    assert main(["parse", "a.jpg", *arguments]) == code
    assert said in capsys.readouterr().err
    assert names(folder) == ["a.jpg", "b.png"]


def test_the_picture_can_go_to_standard_output(folder, capsysbinary):
    assert main(["parse", "a.jpg", "-o", "-", "--parser", "landmarks"]) == 0
    out, err = capsysbinary.readouterr()
    assert decode_image(out, name="out").format == "PNG"
    assert b"2 faces -> standard output" in err


def test_many_faces_are_shown_small_and_captions_fit():
    face = aligned(template(64), 64)
    labels = LandmarkParser().parse([face])[0]
    few = parsing_picture([face] * 2, [labels] * 2, captions=["a", "b"])
    many = parsing_picture([face] * 9, [labels] * 9, captions=[""] * 9)
    assert few.dtype == many.dtype == np.uint8
    assert many.shape[1] > few.shape[1]
    assert many.shape[0] < 9 * 300
    assert parsing_picture([], [], captions=[]).shape[2] == 3


def test_the_overlay_leaves_the_background_alone():
    face = aligned(template(64), 64)
    labels = LandmarkParser().parse([face])[0]
    shown = overlay(face.lq, labels)
    assert (shown[labels == 0] == face.lq[labels == 0]).all()
    assert (shown[labels == 1] == np.float32(0.5) * np.array([0.8, 0, 0], np.float32)).all()


def test_maps_that_are_none_are_refused():
    for wrong in (np.full((8, 8), 19, np.uint8), np.zeros((8, 9), np.uint8), np.zeros((8, 8), np.int64)):
        with pytest.raises(ConfigError, match="parsing map"):
            palette_png(wrong)
    ids = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert (np.asarray(Image.open(io.BytesIO(palette_png(ids)))) == ids).all()

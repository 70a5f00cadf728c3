"""The commands of data: what they write, what they say, and how they end."""

import json

import numpy as np
import pytest
from fakes import trial_photo
from PIL import Image

from facerestore.cli.app import main
from facerestore.degradation import apply, draw_from_json, preset
from facerestore.training.data.drawn import drawn_face
from facerestore.training.data.face_files import face_files, read_face

pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture
def _narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def faces(tmp_path):
    for set_name in "ab":
        (tmp_path / "faces" / set_name).mkdir(parents=True)
        for number in range(3):
            face, _ = drawn_face(64, np.random.default_rng([ord(set_name), number]))
            Image.fromarray(face).save(tmp_path / "faces" / set_name / f"{number}.png")
    return tmp_path / "faces"


def test_a_sheet_shows_all_presets(faces, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["data", "degrade", str(faces), "-o", str(sheet), "--size", "48", "--rows", "2"]) == 0
    assert "2 faces, 12 degradations" in capsys.readouterr().out
    with Image.open(sheet) as picture:
        assert picture.size[0] == 13 * (48 + 12) + 12
    assert main(["data", "degrade", str(faces), "-o", str(sheet), "--size", "48"]) == 1
    assert "already exists" in capsys.readouterr().err


def test_pairs_can_be_made_again_from_their_parameters(faces, tmp_path):
    pairs = tmp_path / "pairs"
    order = ["data", "degrade", str(faces), "--preset", "psfr", "--size", "48", "--seed", "3"]
    assert main([*order, "--pairs", str(pairs)]) == 0
    assert not (tmp_path / "degradations.png").exists()
    records = [json.loads(line) for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    files = face_files(faces)
    assert [(r["set"], r["name"]) for r in records] == [(f.set_name, f.name) for f in files]
    for record, file in zip(records, files, strict=True):
        rng = np.random.default_rng(record["seed"])
        drawn = preset(record["preset"]).draw(48, rng)
        assert drawn == draw_from_json(record["parameters"])
        lq, hq = apply(read_face(file, 48), drawn, rng)
        for kind, pixels in (("lq", lq), ("hq", hq)):
            path = pairs / kind / record["set"] / f"{record['name']}.png"
            assert np.array_equal(np.asarray(Image.open(path)), pixels)
    assert main([*order, "--pairs", str(pairs)]) == 1
    assert main([*order, "--pairs", str(pairs), "--overwrite", "-q"]) == 0


def test_several_presets_and_mixes(faces, tmp_path):
    several = tmp_path / "several"
    words = ["--preset", "gfpgan", "--preset", "sr-x4", "--pairs", str(several), "--size", "48"]
    assert main(["data", "degrade", str(faces), *words]) == 0
    assert {path.name for path in several.iterdir()} == {"gfpgan", "sr-x4"}
    mixed = tmp_path / "mixed"
    words = ["--mix", "clean=0.5,severe=0.5", "--pairs", str(mixed), "--size", "48"]
    assert main(["data", "degrade", str(faces), *words]) == 0
    presets = {json.loads(line)["preset"] for line in (mixed / "pairs.jsonl").read_text().splitlines()}
    assert presets == {"clean", "severe"}


def test_a_bad_face_is_named_and_the_others_are_shown(faces, tmp_path, capsys):
    (faces / "a" / "1.png").write_bytes(b"nothing")
    words = [
        "data",
        "degrade",
        str(faces),
        "--pairs",
        str(tmp_path / "p"),
        "--preset",
        "sr-x4",
        "--size",
        "48",
    ]
    assert main(words) == 3
    assert "1.png" in capsys.readouterr().err
    assert len(list((tmp_path / "p" / "lq").rglob("*.png"))) == 5


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--preset", "gfp"], 2, "unknown degradation 'gfp'"),
        (["--mix", "gfpgan=much"], 2, "give a number, as in gfpgan=0.8"),
        (["--mix", "gfpgan=0"], 2, "give a number above 0"),
        (["--mix", "gfpgan=1", "--preset", "psfr"], 2, "give one of both"),
        (["--size", "128"], 1, "none of 4 faces can be shown"),
    ],
)
def test_unfit_orders_are_one_line(faces, tmp_path, capsys, words, code, message):
    assert main(["data", "degrade", str(faces), "-o", str(tmp_path / "s.png"), *words]) == code
    assert message in capsys.readouterr().err


def test_an_empty_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["data", "degrade", str(tmp_path / "empty")]) == 2
    assert main(["data", "prepare", str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
    assert main(["data", "prepare", str(tmp_path / "empty"), str(tmp_path / "out"), "--shards", "0"]) == 2
    told = capsys.readouterr().err
    assert "no pictures in" in told
    assert "no photo in" in told
    assert "give megabytes" in told


def test_photos_become_faces(tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "small").mkdir(parents=True)
    faces = {
        "anna": trial_photo(2),
        "ben": trial_photo(1)[:, ::-1],
    }  # the second turned, or they were too alike
    for name, photo in faces.items():
        Image.fromarray(photo).save(photos / "small" / f"{name}.jpg")
    (photos / "bad.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    words = ["data", "prepare", str(photos), str(out), "--min-size", "128", "--detector", "embedded"]
    assert main([*words, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["photos"] == 3
    assert len(told["failed"]) == 1
    assert told["train"] + told["val"] == 2
    assert main([*words, "--shards", "1"]) == 3
    said = capsys.readouterr().out
    assert "3 photos: 2 faces kept" in said
    assert "1 failed" in said
    assert len(list(out.glob("*/*.tar"))) >= 1
    only_bad = tmp_path / "bad"
    only_bad.mkdir()
    (only_bad / "x.jpg").write_bytes(b"nothing")
    assert main(["data", "prepare", str(only_bad), str(tmp_path / "o"), "--detector", "embedded"]) == 1

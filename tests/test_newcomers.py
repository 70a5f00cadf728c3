"""What newcomers do and meet: folders of all sorts, other programs' flags, help, first runs, plain terminals."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from PIL import Image

import facerestore
from facerestore.cli.app import main
from facerestore.cli.commands import COMMANDS
from facerestore.errors import ConfigError, WeightsError
from facerestore.io import kinds_made, write_image
from facerestore.weights import WeightsStore

FACE = face_at(10, 20)


@pytest.fixture
def folder(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    use_pipeline(
        lambda config, **_: pipeline(FACE, config=config, bundled=True),
    )
    write_image("in/a.png", photo(seed=1))
    return tmp_path


def run_process(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "facerestore", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        check=False,
    )


def test_what_is_not_read_in_a_folder_is_counted_and_named(folder, capsys):
    for name in ("b.jxl", "c.JXL", "d.pdf", "README", ".hidden.txt"):
        (folder / "in" / name).write_bytes(b"x")
    (folder / "in" / "sub").mkdir()
    assert main(["enhance", "in", "-o", "out", "--report", "r.json"]) == 0
    out = capsys.readouterr().out
    assert "left out: 2 JPEG XL, 1 without a suffix, 1 PDF\n" in out
    assert "not looked into without -r: 1 (sub)" in out
    report = json.loads((folder / "r.json").read_text())
    assert len(report["not_read"]) == 4
    assert report["not_searched"] == [os.path.join("in", "sub")]  # noqa: PTH118
    (folder / "in" / "a.png").unlink()
    assert main(["enhance", "in"]) == 1
    assert "no picture in directory 'in' (it holds 2 JPEG XL, " in capsys.readouterr().err


def test_what_a_run_draws_is_never_restored_again(folder, capsys, use_detector):
    from fakes import FakeDetector

    use_detector(FakeDetector(FACE))
    assert main(["enhance", "in", "-o", "in/out", "--compare"]) == 0
    assert main(["parse", "in/a.png", "-o", "in/parts.png", "--maps", "in/maps"]) == 0
    assert main(["detect", "in/a.png", "-o", "in/found.jpg"]) == 0
    capsys.readouterr()
    assert main(["enhance", "in", "-r", "-o", "again", "--dry-run", "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    names = [os.path.relpath(job["input"], "in") for job in jobs]
    assert names == ["a.png"]
    kinds = [kinds_made(path) for path in (folder / "in").rglob("*") if path.is_file()]
    assert set().union(*kinds) - {"restored"} == {"comparison", "parts", "map", "found"}
    assert main(["enhance", "in/parts.png", "-o", "named.png"]) == 0  # who names it means it


def test_a_sheet_is_known_as_one(folder):
    from facerestore.io import marked
    from facerestore.types import DecodedImage, Metadata

    for suffix in (".png", ".jpg", ".webp", ".tif"):
        picture = DecodedImage(photo().pixels, metadata=marked(Metadata(), "sheet"))
        assert kinds_made(write_image(f"sheet{suffix}", picture)) == {"sheet"}
        assert kinds_made(write_image(f"plain{suffix}", photo())) == set()


def test_maps_are_inputs_of_what_draws_faces_from_them(folder, monkeypatch):
    from facerestore.batch import plan_jobs
    from facerestore.config import OutputConfig
    from facerestore.pictures.parts import palette_png

    (folder / "maps").mkdir()
    (folder / "maps" / "a.png").write_bytes(palette_png(np.zeros((64, 64), np.uint8)))
    assert len(plan_jobs([folder / "maps"], output=None, options=OutputConfig(), takes=("map",)).jobs) == 1
    assert not plan_jobs([folder / "maps"], output=None, options=OutputConfig()).jobs


@pytest.mark.parametrize("command", ["enhance", "detect", "parse"])
def test_a_missing_photo_is_told_before_torch_is_imported(tmp_path, command):
    code = (
        "import sys\nfrom facerestore.cli.app import main\n"
        f"code = main([{command!r}, 'nowhere.jpg'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.endswith("1 False\n")
    assert "nowhere.jpg: no such file; check the path" in found.stderr


def test_a_missing_photo_among_others_is_told_first_and_reported_in_its_place(folder, capsys):
    assert main(["enhance", "in/a.png", "nowhere.png", "--report", "r.json"]) == 3
    assert capsys.readouterr().err.count("no such file") == 1
    rows = json.loads((folder / "r.json").read_text())["photos"]
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert main(["enhance", "nowhere.png", "--report", "none.json"]) == 1
    assert json.loads((folder / "none.json").read_text())["restorer"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["enhance", "-i", "a.png"], "named without a flag: facerestore enhance PHOTO"),
        (["detect", "--input_path", "a.png"], "named without a flag: facerestore detect PHOTO"),
        (["enhance", "a.png", "-s", "2"], "--upscale 2"),
        (["enhance", "a.png", "-w", "0.5"], "--strength 0..1; CodeFormer's weight is --fidelity"),
        (["enhance", "a.png", "--bg_upsampler", "x"], "--background NAME"),
        (["enhance", "a.png", "--only_center_face"], "--faces center"),
        (["in/a.png"], "write: facerestore enhance in/a.png"),
        (["help"], "facerestore --help"),
        (["restore", "a.png"], "facerestore enhance PHOTO"),
        (["enhance", ""], "an input or output is empty"),
        (["enhance", "in", "-o", ""], "an input or output is empty"),
    ],
)
def test_what_others_call_otherwise_is_answered_in_one_line(folder, capsys, words, said):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_file_whose_name_begins_with_a_dash_is_told_how_to_be_named(folder, capsys):
    write_image("./-photo.png", photo())
    assert main(["enhance", "-photo.png"]) == 2
    assert "write ./-photo.png" in capsys.readouterr().err
    assert main(["enhance", "./-photo.png"]) == 0


def test_inputs_that_are_not_there_are_answered_by_what_may_be_meant(folder, capsys):
    write_image("my album/a.png", photo())
    write_image("b.png", photo())
    for words, said in [
        (["my", "album"], "a name with spaces goes into quotes: 'my album'"),
        (["in/a.png,b.png"], "inputs are separated by spaces"),
        (["ftp://example.org/a.png"], "is an address of a kind that is not known here; give one with s3://"),
        (["--", "b.png", "--overwrite"], "put options before it"),
    ]:
        assert main(["enhance", *words]) in (1, 3)
        assert said in capsys.readouterr().err


def test_a_pattern_in_quotes_is_a_pattern_and_a_file_of_its_name_is_the_file(folder, capsys):
    write_image("in/b.PNG", photo(seed=2))
    write_image("in/[1].png", photo(seed=3))
    assert main(["enhance", "in/*.[pP][nN][gG]", "-o", "out"]) == 0
    assert "3 photos" in capsys.readouterr().out
    assert main(["enhance", "in/[1].png", "-o", "one"]) == 0
    assert [path.name for path in (folder / "one").glob("[!.]*")] == ["[1].png"]


def test_better_weights_are_told_of_once_and_where_one_looks(folder, capsys):
    told = []
    for _ in range(2):
        assert main(["enhance", "in", "-o", "out", "--overwrite"]) == 0
        told.append("weights download" in capsys.readouterr().out)
    assert told == [True, False]
    assert main(["enhance", "--help"]) == 0
    assert "For better ones" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["HOME", "FACERESTORE_HOME", "XDG_DATA_HOME"])
def test_a_home_that_is_a_file_keeps_nobody_from_the_bundled_weights(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_bytes(b"x")
    for variable in ("FACERESTORE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "file"))
    write_image(tmp_path / "a.png", photo())
    assert main(["enhance", str(tmp_path / "a.png"), "--device", "cpu"]) == 0
    with pytest.raises(WeightsError, match="cannot be written"):
        WeightsStore().download("yunet.2023mar")


def test_a_home_of_nobody_is_an_error_with_the_way_on(monkeypatch):
    monkeypatch.setenv("FACERESTORE_HOME", "~nobody-of-that-name/weights")
    with pytest.raises(WeightsError, match="set FACERESTORE_HOME to a folder by its whole path"):
        WeightsStore()


def test_a_path_is_a_picture_for_a_pipeline_and_wrong_orders_are_explained(tmp_path):
    path = write_image(tmp_path / "a.png", photo())
    line = pipeline(FACE)
    by_path, by_picture = line.run(str(path)), line.run(facerestore.read_image(path))
    assert np.array_equal(by_path.image.pixels, by_picture.image.pixels)
    assert line.run(Image.open(path)).report["found"] == 1
    with pytest.raises(ConfigError, match=r"write_image\(path, image\)"):
        facerestore.write_image(by_path.image, tmp_path / "b.png")
    with pytest.raises(ConfigError, match=r"write_image\(path, result.image\)"):
        facerestore.write_image(tmp_path / "b.png", by_path)
    facerestore.write_image(tmp_path / "b.png", np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "b.png").is_file()


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_words_for_people_and_is_plain_where_asked(command, monkeypatch, capsys):
    words = [] if command is None else [command]
    assert main([*words, "--help"]) == 0
    usual = capsys.readouterr().out
    assert not any(jargon in usual for jargon in ("<bool>", "<str>", "<int>", "<float>", "list[", "{INPUT"))
    monkeypatch.setenv("TERM", "dumb")
    assert main([*words, "--help"]) == 0
    plain = capsys.readouterr().out
    assert plain.isascii()
    assert "[bold]" not in plain


def test_a_locale_without_unicode_gets_plain_ascii(tmp_path):
    found = run_process(
        "enhance",
        "--help",
        cwd=tmp_path,
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="ascii",
    )
    assert found.returncode == 0
    assert found.stdout.isascii()
    assert b"\\u" not in found.stdout


def test_what_is_recommended_is_free_first():
    catalog = WeightsStore(offline=True).catalog
    terms = [entry.commercial_use for entry in sorted(catalog.of("background"), key=lambda e: e.advice_order)]
    assert terms == sorted(terms, key=["yes", "unclear", "no"].index)


def test_training_without_maps_says_what_makes_them(tmp_path, capsys):
    pytest.importorskip("accelerate")
    from facerestore.training.data.drawn import write_drawn_faces

    faces, _ = write_drawn_faces(tmp_path, count=2, face_size=32)
    assert main(["train", "psfr", "--data", str(faces), "--run", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert f"facerestore parse {faces} -r --aligned --maps MAPS -o PICTURES" in err
    assert "--set data.parsing=MAPS" in err


def test_maps_as_that_command_names_them_are_found(tmp_path):
    pytest.importorskip("accelerate")
    from facerestore.training.data.drawn import write_drawn_faces
    from facerestore.training.data.face_files import face_files, read_parsing_map

    faces, _ = write_drawn_faces(tmp_path, count=1, face_size=64)
    maps = tmp_path / "maps"
    options = [
        "-r",
        "--aligned",
        "--maps",
        str(maps),
        "-o",
        str(tmp_path / "pictures"),
        "--device",
        "cpu",
        "-q",
    ]
    assert main(["parse", str(faces), *options]) == 0
    (file,) = face_files(faces)
    assert read_parsing_map(file, maps, 64).shape == (64, 64)

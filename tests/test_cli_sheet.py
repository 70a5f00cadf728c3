import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import Brightener, FakeDetector, Stopped, face_at, photo
from written import names

from facerestore.cli.app import main
from facerestore.io import decode_image, read_image, write_image
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.restore import RestorePipeline

LEFT, RIGHT = face_at(10, 20), face_at(120, 30)


@pytest.fixture
def compared(monkeypatch):
    """Put pipelines of fakes in place of the real ones; their restorers may be exchanged."""
    made = SimpleNamespace(restorers=[Brightener(), Brightener(32)], configs=[])

    def build(config, *, store=None):
        made.configs.append(config)
        return [
            RestorePipeline(
                FakeDetector(LEFT, RIGHT),
                restorer,
                config=config,
                facts=PipelineFacts(weights=f"fake.{letter}", commercial_use="no"),
            )
            for letter, restorer in zip("abcdef", made.restorers, strict=False)
        ]

    monkeypatch.setattr("facerestore.evaluation.sheet.sheet_pipelines", build)
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image("a.png", photo(seed=1))
    write_image("b.png", photo(seed=2))
    return tmp_path


def command(line):
    """Run a command line without spaces in its words, and return the exit code."""
    return main(line.split())


def test_a_sheet_is_all_that_is_written_and_it_is_told(compared, folder, capsys):
    line = "enhance a.png b.png --backend x,y --strength 0.5,1 --sheet s.jpg --faces 0 --force"
    assert command(line) == 0
    out, err = capsys.readouterr()
    assert names(folder) == ["a.png", "b.png", "s.jpg"]
    assert "comparing fake.a" in out
    assert "comparing fake.b" in out
    assert "a.png: 2 faces, 1 on the sheet" in out
    assert "2 photos, 0 failed; 2 faces in 4 columns -> s.jpg" in out
    assert err == ""
    assert compared.configs[0].backend == "x,y"
    assert [restorer.calls for restorer in compared.restorers] == [[1, 1], [1, 1]]


@pytest.mark.parametrize("name", ["s.png", "s.webp", "s.jpeg", "s.tif"])
def test_the_suffix_names_the_format(compared, folder, name):
    assert main(["enhance", "a.png", "--sheet", name, "-q"]) == 0
    assert read_image(folder / name).format in ("PNG", "WEBP", "JPEG", "TIFF")


@pytest.mark.parametrize(
    ("flags", "option"),
    [
        ("--backend lite,gpen", "--backend"),
        ("--backend all", "--backend"),
        ("--weights a.b,c.d", "--weights"),
        ("--strength 0.5,1", "--strength"),
    ],
)
def test_a_list_without_a_sheet_is_refused_and_named(folder, capsys, flags, option):
    assert main(["enhance", "a.png", *flags.split()]) == 2
    err = capsys.readouterr().err
    assert option in err
    assert "--sheet FILE" in err
    assert names(folder) == ["a.png", "b.png"]


@pytest.mark.parametrize("value", ["0.5,", "much", "0.5,2", "nan", "-1"])
def test_a_strength_that_is_none_is_refused(folder, capsys, value):
    assert main(["enhance", "a.png", f"--strength={value}", "--sheet", "s.jpg"]) == 2
    assert f"--strength is {value}" in capsys.readouterr().err.replace("'", "")


@pytest.mark.parametrize(
    "flags",
    [
        "-o out",
        "--compare",
        "--save-faces d",
        "--save-stages d",
        "--skip-existing",
        "--report r.txt",
        "--photo",
    ],
)
def test_what_does_not_go_with_a_sheet_is_refused(compared, folder, capsys, flags):
    assert main(["enhance", "a.png", "--sheet", "s.jpg", *flags.split()]) == 2
    assert flags.split()[-1 if "report" in flags else 0] in capsys.readouterr().err


@pytest.mark.parametrize("sheet", ["sheet", "sheet.gif", "s.jpg --format png"])
def test_a_sheet_needs_the_name_of_a_picture(compared, folder, sheet):
    assert main(["enhance", "a.png", "--sheet", *sheet.split()]) == 2
    assert names(folder) == ["a.png", "b.png"]


def test_missing_weights_are_told_before_anything_is_done(folder, capsys):
    assert main(["enhance", "nothing.png", "--backend", "lite,codeformer", "--sheet", "s.jpg"]) == 4
    err = capsys.readouterr().err
    assert "facerestore weights download codeformer" in err
    assert "nothing.png" not in err


def test_a_backend_that_fails_is_told_and_the_others_go_on(compared, folder, capsys):
    compared.restorers[1] = Brightener(fails=True)
    assert command("enhance a.png b.png --strength 0.5,1 --sheet s.jpg --report r.json") == 3
    out, err = capsys.readouterr()
    assert err.count("fake.b failed: ") == 2
    assert "a.png: fake.b failed" in err
    assert "8 cells failed" in out
    report = json.loads((folder / "r.json").read_text())
    assert report["sheet"] == ["s.jpg"]
    assert report["summary"] == {"photos": 2, "failed": 0, "faces": 4, "cells": 16, "failed_cells": 8}
    cells = report["photos"][0]["faces"][0]["cells"]
    assert [cell["decision"] for cell in cells] == ["restored", "restored", "failed", "failed"]
    assert [cell["column"] for cell in cells] == [0, 1, 2, 3]
    assert [column["strength"] for column in report["columns"]] == [0.5, 1.0, 0.5, 1.0]


def test_all_that_fails_is_exit_code_1(compared, folder):
    compared.restorers[:] = [Brightener(fails=True)]
    assert main(["enhance", "a.png", "--sheet", "s.jpg"]) == 1
    assert main(["enhance", "none.png", "--sheet", "t.jpg"]) == 1


def test_a_bad_photo_does_not_stop_the_rest(compared, folder, capsys):
    (folder / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    assert main(["enhance", "bad.jpg", "a.png", "--sheet", "s.jpg", "--report", "r.json"]) == 3
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "bad.jpg" in err
    assert "2 photos, 1 failed; 2 faces" in out
    assert [bool(p["error"]) for p in json.loads((folder / "r.json").read_text())["photos"]] == [True, False]


def test_an_older_sheet_is_replaced_only_when_asked(compared, folder, capsys):
    (folder / "s.jpg").write_bytes(b"old")
    assert main(["enhance", "a.png", "--sheet", "s.jpg"]) == 1
    assert "s.jpg' exists; give --overwrite" in capsys.readouterr().err
    assert (folder / "s.jpg").read_bytes() == b"old"
    assert main(["enhance", "a.png", "--sheet", "s.jpg", "--overwrite"]) == 0
    assert read_image("s.jpg").pixels.shape[1] > 800


def test_a_page_that_might_be_needed_is_looked_for_too(compared, folder, capsys):
    (folder / "s_2.jpg").write_bytes(b"mine")
    assert main(["enhance", "a.png", "--sheet", "s.jpg"]) == 1
    assert "s_2.jpg' exists" in capsys.readouterr().err
    assert main(["enhance", "a.png", "--sheet", "s.jpg", "--overwrite"]) == 0
    assert "from a longer sheet of this name: s_2.jpg" in capsys.readouterr().err
    assert (folder / "s_2.jpg").read_bytes() == b"mine"


def test_a_photo_is_never_replaced_by_a_sheet_or_its_page(compared, folder, capsys):
    write_image("a_2.png", photo(seed=3))
    for words in ("a.png --sheet a.png", "b.png a_2.png --sheet a.png", ". --sheet a.png"):
        assert main(["enhance", *words.split(), "--overwrite"]) == 2
        assert "could replace the photo" in capsys.readouterr().err


def test_an_older_sheet_in_a_directory_is_no_photo(compared, folder, capsys):
    assert main(["enhance", ".", "--sheet", "s.png"]) == 0
    assert main(["enhance", ".", "--sheet", "s.png", "--overwrite"]) == 0
    assert capsys.readouterr().out.count("2 photos, 0 failed") == 2


def test_long_sheets_get_pages(compared, folder, capsys, monkeypatch):
    monkeypatch.setattr("facerestore.evaluation.sheet.picture.PAGE_HEIGHT_PX", 500)
    assert main(["enhance", "a.png", "b.png", "--sheet", "s.jpg", "--json"]) == 0
    assert names(folder) == ["a.png", "b.png", "s.jpg", "s_2.jpg", "s_3.jpg", "s_4.jpg"]
    report = json.loads(capsys.readouterr().out)
    assert report["sheet"] == ["s.jpg", "s_2.jpg", "s_3.jpg", "s_4.jpg"]


def test_no_face_is_a_normal_result_without_a_sheet(compared, folder, capsys):
    write_image("small.png", photo(30, 30))
    assert main(["enhance", "small.png", "--sheet", "s.jpg"]) == 0
    out = capsys.readouterr().out
    assert "small.png: no face" in out
    assert "no sheet is written" in out
    assert not (folder / "s.jpg").exists()


def test_kept_faces_and_absent_ones_are_explained(compared, folder, capsys):
    line = "enhance a.png --strength 0,1 --min-face 500 --faces 0,7 --dial 8:strength=1 --sheet s.jpg"
    assert command(line) == 0
    out = capsys.readouterr().out
    assert "face 0 kept: the face is" in out
    assert "there is no face 7" in out
    assert "there is no face 8" in out
    assert main(["enhance", "a.png", "--sheet", "s.jpg", "--overwrite", "-v"]) == 0
    assert "face 1, fake.b at 1: restored, " in capsys.readouterr().out


def test_streams_carry_photo_and_sheet(compared, folder, monkeypatch):
    data, sent = (folder / "a.png").read_bytes(), io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))
    stdout = io.TextIOWrapper(sent, encoding="utf-8")
    monkeypatch.setattr("sys.stdout", stdout)
    assert main(["enhance", "-", "--sheet", "-", "--format", "png"]) == 0
    assert decode_image(sent.getvalue(), name="sheet").format == "PNG"
    assert main(["enhance", "a.png", "--sheet", "-", "--json"]) == 2


def test_a_dry_run_says_what_would_be_compared(folder, capsys):
    assert command("enhance a.png --backend lite --strength 0.5,1 --sheet s.jpg --dry-run") == 0
    assert "would compare lite.clean-256 at strength 0.5, 1 in s.jpg" in capsys.readouterr().out
    assert command("enhance a.png --sheet s.jpg --dry-run --json") == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == ["a.png"]
    assert names(folder) == ["a.png", "b.png"]


def test_an_interrupted_run_keeps_what_is_done(compared, folder, capsys):
    compared.restorers[:] = [Stopped()]
    assert main(["enhance", "a.png", "b.png", "--sheet", "s.jpg", "--report", "r.json"]) == 130
    assert "the sheet holds what 1 of 2 photos gave" in capsys.readouterr().err
    assert read_image("s.jpg").pixels.dtype == np.uint8
    assert json.loads((folder / "r.json").read_text())["interrupted"] is True

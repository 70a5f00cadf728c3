"""The examples are run as they stand there."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from facerestore.io import read_image

REPOSITORY = Path(__file__).resolve().parent.parent
PORTRAIT = REPOSITORY / "examples" / "astronaut_degraded.jpg"
GALLERY = (REPOSITORY / "docs" / "gallery.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a working folder that holds ``photo.jpg``."""
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_example(name, *arguments, monkeypatch, folder="examples"):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(REPOSITORY / folder / name), run_name="__main__")


def test_the_gallery_shows_pictures_that_are_there_made_by_commands_that_exist():
    commands = [line.split() for line in re.findall("^facerestore .*", GALLERY, re.MULTILINE)]
    assert len(commands) >= 8
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", GALLERY)
    given = re.findall(r" ((?:examples|docs)/\S+\.jpg)", GALLERY)
    made = {Path(word).stem for words in commands for word in words if word.startswith("out/")}
    assert len(shown) >= 8
    for picture in [*(REPOSITORY / "docs" / name for name in shown), *(REPOSITORY / g for g in given)]:
        assert picture.is_file(), picture
        assert picture.stat().st_size < 400_000, picture
    assert {Path(name).stem.removesuffix("_compare") for name in shown} <= made


def test_restore_one_example(folder, capsys, monkeypatch):
    run_example("restore_one.py", "photo.jpg", "out.png", monkeypatch=monkeypatch)
    assert "face 0: restored" in capsys.readouterr().out
    assert read_image(folder / "out.png").pixels.shape == read_image(PORTRAIT).pixels.shape


def test_restore_folder_example_goes_on_after_a_bad_photo(folder, capsys, monkeypatch):
    (folder / "bad.jpg").write_bytes(b"no picture")
    run_example("restore_folder.py", ".", "out", monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert "photo.jpg: 1 of 1 faces restored" in said
    assert "bad.jpg" in said
    assert (folder / "out" / "photo.jpg").is_file()


def test_degrade_example_makes_the_photo_softer(folder, monkeypatch, capsys):
    run_example("degrade_photo.py", "photo.jpg", "worse.jpg", monkeypatch=monkeypatch, folder="docs/pictures")
    before, after = (read_image(folder / name).pixels.astype(float) for name in ("photo.jpg", "worse.jpg"))
    assert "worse.jpg" in capsys.readouterr().out
    assert abs(after[1:] - after[:-1]).mean() < abs(before[1:] - before[:-1]).mean()


@pytest.mark.parametrize("preset", ["low-resolution", "noise", "small", "old-photo"])
def test_degrade_example_has_presets_and_takes_several_photos(preset, folder, monkeypatch):
    for target, seed in (("one.jpg", "0"), ("again.jpg", "0"), ("other.jpg", "1")):
        run_example(
            "degrade_photo.py",
            *("photo.jpg", "photo.jpg", target, "--preset", preset, "--seed", seed),
            monkeypatch=monkeypatch,
            folder="docs/pictures",
        )
    one, again, other = (read_image(folder / f"{name}.jpg").pixels for name in ("one", "again", "other"))
    assert one.shape[1] == 2 * one.shape[0]
    assert (one == again).all()
    assert preset == "low-resolution" or (one != other).any()

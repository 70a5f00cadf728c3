"""What the README and the examples say is run, as it stands there."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import typer

from facerestore.cli.app import app
from facerestore.io import read_image

REPOSITORY = Path(__file__).resolve().parent.parent
PORTRAIT = REPOSITORY / "examples" / "astronaut_degraded.jpg"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GALLERY = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a working folder that holds ``photo.jpg``."""
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_example(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(REPOSITORY / "examples" / name), run_name="__main__")


def test_python_of_the_readme_runs(folder, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(compile(block, "README.md", "exec"), {})
    assert "restored" in capsys.readouterr().out


def test_first_command_of_the_readme_names_the_example():
    assert f"pip install . && facerestore enhance {PORTRAIT.relative_to(REPOSITORY).as_posix()}\n" in README


def _commands_of(readme):
    """Return the words of each command line and of each command in running text, without its comment."""
    blocks = re.findall(r"^```(?:\w*)\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if "facerestore " in line]
    texts = [*lines, *re.findall(r"`(facerestore [^`]+)`", readme)]
    parts = [part for text in texts for part in re.split(r"&&|\|", text.split("  #")[0])]
    return [part.split()[1:] for part in parts if part.strip().startswith("facerestore ")]


def test_commands_and_options_that_the_readme_names_exist():
    commands = _commands_of(README)
    wanted = {"enhance", "detect", "doctor", "weights", "train", "data", "evaluate"}
    assert {words[0] for words in commands} >= wanted
    _check_that_they_exist(commands)


def test_the_gallery_shows_pictures_that_are_there_made_by_commands_that_exist():
    commands = _commands_of(GALLERY)
    assert len(commands) >= 8
    _check_that_they_exist(commands)
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", GALLERY)
    given = re.findall(r" (examples/\S+\.jpg)", GALLERY)
    made = {Path(word).stem for words in commands for word in words if word.startswith("out/")}
    assert len(shown) >= 8
    for picture in [*(REPOSITORY / "examples" / name for name in shown), *(REPOSITORY / g for g in given)]:
        assert picture.is_file(), picture
        assert picture.stat().st_size < 400_000, picture
    assert {Path(name).stem.removesuffix("_compare") for name in shown} <= made


def _check_that_they_exist(commands):
    """Assert that every command and every option of the command lines is one of ours."""
    for words in commands:
        command = typer.main.get_command(app)
        while (
            words and not words[0].startswith("-") and words[0].strip(",") in getattr(command, "commands", {})
        ):
            command = command.commands[words.pop(0).strip(",")]
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known


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
    run_example("degrade_photo.py", "photo.jpg", "worse.jpg", monkeypatch=monkeypatch)
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
        )
    one, again, other = (read_image(folder / f"{name}.jpg").pixels for name in ("one", "again", "other"))
    assert one.shape[1] == 2 * one.shape[0]
    assert (one == again).all()
    assert preset == "low-resolution" or (one != other).any()

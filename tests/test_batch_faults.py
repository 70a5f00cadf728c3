"""Whatever one photo does wrong is its own outcome, from the first look at it to the last rename of its result."""

import json
import os
import sys
from pathlib import Path

import pytest
from fakes import face_at, photo, pipeline

from facerestore.batch import Status, plan_jobs, run_jobs
from facerestore.cli.app import main
from facerestore.config import OutputConfig
from facerestore.io import read_image, write_image
from facerestore.io._files import USUAL_LONGEST, fitting

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and bytes in names as POSIX has them")


@pytest.fixture
def album(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    use_pipeline(
        lambda config, **_: pipeline(face_at(10, 20), config=config),
    )
    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", photo(seed=ord(name)))
    return tmp_path


def outcomes_of(inputs, output, **options):
    files = OutputConfig(workers=1, **options)
    plan = plan_jobs(inputs, output=output, options=files)
    return plan, list(run_jobs(plan.jobs, pipeline(face_at(10, 20)), options=files))


@pytest.mark.parametrize("stem", ["x" * 251, "é" * 125, "写" * 83], ids=["ascii", "accents", "cjk"])
def test_a_name_too_long_for_a_result_is_shortened_and_said(album, capsys, stem):
    write_image(album / "in" / "c.png", photo(seed=3)).rename(album / "in" / f"{stem}.png")
    assert main(["enhance", "in", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("too long for a result's, is shortened") == 1
    assert main(["enhance", "in", "--compare", "--save-faces", "faces", "--report", "r.json"]) == 0
    assert "its name is too long for a result's" in capsys.readouterr().out
    rows = json.loads((album / "r.json").read_text())["photos"]
    assert [row["name_shortened"] for row in rows].count(True) == 1
    names = [Path(path).name for row in rows for path in row["written"]]
    assert all(len(os.fsencode(name)) <= USUAL_LONGEST for name in names)
    assert len({path for row in rows for path in row["written"]}) == 3 * 4
    assert main(["enhance", "in", "--skip-existing"]) == 0
    assert "3 skipped" in capsys.readouterr().out  # the same name again, with --compare or without


def test_shortened_names_are_the_same_each_time_and_never_those_of_others(tmp_path):
    stems = [f"{'x' * 250}{end}" for end in "abcdefgh"]
    names = [fitting(tmp_path, stem, "_restored.jpg") for stem in stems]
    assert names == [fitting(tmp_path, stem, "_restored.jpg") for stem in stems]
    assert len(set(names)) == len(stems)
    assert all(len(name.encode()) <= USUAL_LONGEST and name.endswith("_restored.jpg") for name in names)
    assert fitting(tmp_path, "short", ".jpg") == "short.jpg"
    assert fitting(tmp_path, "x" * (USUAL_LONGEST - 4), ".jpg") == "x" * (USUAL_LONGEST - 4) + ".jpg"


def test_long_names_that_begin_alike_have_results_of_their_own(tmp_path):
    for end in "ab":
        write_image(tmp_path / "in" / "c.png", photo(seed=ord(end))).rename(
            tmp_path / "in" / f"{'x' * 250}{end}.png"
        )
    plan, outcomes = outcomes_of([tmp_path / "in"], None)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 2
    assert len({job.target for job in plan.jobs}) == 2


def test_a_suffix_that_leaves_no_room_for_a_name_is_the_photos_outcome(album, capsys):
    assert main(["enhance", "in", "--suffix", "y" * 300]) == 1
    assert capsys.readouterr().err.count("File name too long") == 2


def test_an_input_name_that_no_disk_has_is_told_and_the_others_go_on(album, capsys):
    assert main(["enhance", "z" * 300 + ".png", "in", "-o", "out"]) == 3
    assert "no such file" in capsys.readouterr().err
    assert len(list((album / "out" / "in").iterdir())) == 2


@posix
def test_links_that_lead_nowhere_or_to_themselves_are_outcomes(album, capsys):
    (album / "in" / "loop.png").symlink_to("loop.png")
    (album / "in" / "gone.png").symlink_to("nowhere.png")
    for arguments in (["--dry-run"], ["-o", "out"]):
        code = main(["enhance", "in", *arguments])
    assert code == 3
    err = capsys.readouterr().err
    assert "loop.png: cannot be read (Too many levels of symbolic links)" in err
    assert "gone.png: no such file" in err
    assert len(list((album / "out").glob("[!.]*"))) == 2


@posix
def test_a_pipe_in_a_folder_is_not_waited_for(album, capsys):
    os.mkfifo(album / "in" / "pipe.png")
    assert main(["enhance", "in", "-o", "out"]) == 0
    assert "left out: 1 .png" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of other systems refuse such names")
def test_a_name_that_is_no_unicode_goes_through_report_and_terminal(album, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    write_image(album / "in" / "c.png", photo(seed=3)).rename(album / "in" / name)
    assert main(["enhance", "in", "-o", "out", "--report", "r.json", "--json"]) == 0
    assert (album / "out" / name).is_file()
    written = [row["input"] for row in json.loads((album / "r.json").read_text())["photos"]]
    assert os.path.join("in", name) in written  # noqa: PTH118
    assert len(json.loads(capsys.readouterr().out)["photos"]) == 3


@posix
def test_a_name_with_commands_for_a_terminal_is_shown_and_not_obeyed(album, capsys):
    write_image(album / "in" / "c.png", photo(seed=3)).rename(album / "in" / "\x1b[2Jc.png")
    assert main(["enhance", "in", "-o", "out"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jc.png" in out


def test_a_directory_in_a_results_place_is_an_outcome_whatever_is_asked(album, capsys):
    (album / "out" / "a.png").mkdir(parents=True)
    for options in ([], ["--overwrite"], ["--skip-existing"]):
        assert main(["enhance", "in", "-o", "out", "--overwrite" if not options else options[0]]) == 3
        assert "is a directory; give another --suffix or -o" in capsys.readouterr().err


def test_a_result_that_is_protected_is_not_replaced(album, capsys):
    assert main(["enhance", "in", "-o", "out"]) == 0
    protected = album / "out" / "a.png"
    before = protected.read_bytes()
    protected.chmod(0o444)
    assert main(["enhance", "in", "-o", "out", "--overwrite", "--strength", "0"]) == 3
    assert "a.png: is protected against writing; allow it (chmod u+w)" in capsys.readouterr().err
    assert protected.read_bytes() == before


def test_a_file_that_vanishes_after_it_was_listed_is_an_outcome(tmp_path):
    write_image(tmp_path / "in" / "a.png", photo())
    write_image(tmp_path / "in" / "b.png", photo(seed=2))
    plan = plan_jobs([tmp_path / "in"], output=tmp_path / "out", options=OutputConfig())
    (tmp_path / "in" / "a.png").unlink()
    outcomes = list(run_jobs(plan.jobs, pipeline(face_at(10, 20)), options=OutputConfig(workers=1)))
    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.DONE]
    assert "no such file" in str(outcomes[0].error)


@pytest.mark.parametrize("call", ["stat", "open", "rename"])
def test_what_the_system_forbids_anywhere_is_an_outcome(tmp_path, monkeypatch, call):
    """Root may do all, so that the refusals are played: at the look, at the reading, and at the last step."""
    for name in "ab":
        write_image(tmp_path / "in" / f"{name}.png", photo(seed=ord(name)))
    plan = plan_jobs([tmp_path / "in"], output=tmp_path / "out", options=OutputConfig())
    name = {"stat": "stat", "open": "open", "rename": "link"}[call]
    home = os if call != "open" else __import__("io")
    real = getattr(home, name)

    def forbidden(path, *arguments, **options):
        asked = arguments[0] if call == "rename" else path
        if str(asked).endswith("a.png"):
            raise PermissionError(13, "Permission denied", str(asked))
        return real(path, *arguments, **options)

    monkeypatch.setattr(home, name, forbidden)
    if call == "rename":  # where links are refused, the name is claimed in another way
        monkeypatch.setattr(Path, "replace", lambda temporary, target: forbidden(temporary, target))
    options = OutputConfig(skip_existing=True, workers=1)
    outcomes = list(run_jobs(plan.jobs, pipeline(face_at(10, 20)), options=options))
    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.DONE]
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["b.png"]
    assert read_image(tmp_path / "out" / "b.png").pixels.shape == (120, 200, 3)


def test_a_folder_that_cannot_be_searched_stops_none_of_the_others(album, monkeypatch, capsys):
    write_image(album / "in" / "sub" / "c.png", photo(seed=3))
    real = os.scandir

    def forbidden(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert main(["enhance", "in", "-r", "-o", "out", "--report", "r.json"]) == 3
    assert "sub: cannot be searched (Permission denied)" in capsys.readouterr().err
    assert len(list((album / "out").glob("[!.]*"))) == 2
    assert len(json.loads((album / "r.json").read_text())["faults"]) == 1


def test_an_empty_folder_beside_others_is_told_and_stops_nothing(album, capsys):
    (album / "empty").mkdir()
    assert main(["enhance", "empty", "in", "-o", "out"]) == 3
    assert "no picture in directory 'empty'" in capsys.readouterr().err
    assert len(list((album / "out").rglob("*.png"))) == 2

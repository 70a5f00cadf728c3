"""What the system refuses, and kills at every point: each command says so, and leaves whole files or none.

``docs/faults.md`` names the tests of every fault, and this file holds it to that.
"""

import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import photo
from fault_commands import COMMANDS, largest_file, refusing
from loopback import server

from facerestore.cli.app import main
from facerestore.io import write_image

__all__ = ["server"]
ROOT = Path(__file__).resolve().parent.parent
MATRIX = ROOT / "docs" / "faults.md"
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="forks, limits of files and of memory, as Linux has them"
)
POINTS = {"enhance": 3, "import": 4, "download": 4, "train": 3, "export": 2, "evaluate": 2}
"""How many of the points are tried here; ``python tests/fault_commands.py COMMAND FOLDER`` tries all."""
LONGEST_S = 1800
LONG = pytest.mark.skipif(
    "FACERESTORE_FAULTS" not in os.environ, reason="takes long; set FACERESTORE_FAULTS=1"
)
SMALL = 2048
"""Bytes: less than any of the results has."""


def left_over(folder):
    """Return the files below a folder that have the name of a result, or of what is not whole."""
    kept = ("log.jsonl", "settings.json", "environment.json", ".lock")
    return [
        p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(kept) and "journal" not in p.name
    ]


@pytest.fixture(params=list(COMMANDS))
def command(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = COMMANDS[request.param]
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "home"))
    made.prepare()
    return made


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=["full", "read-only", "forbidden"]
)
def test_a_folder_that_takes_no_file_is_told(command, number, capsys):
    with refusing(command.out, number):
        assert command.run() != 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "error: " in err or ": cannot " in err
    assert os.strerror(number) in err or "unable to open database file" in err
    assert left_over(Path(command.out)) == []


@LINUX
def test_a_disk_that_is_full_while_a_file_is_written_is_told(command, capsys):
    if command in (COMMANDS["train"], COMMANDS["evaluate"]) and "FACERESTORE_FAULTS" not in os.environ:
        pytest.skip("takes long; set FACERESTORE_FAULTS=1")
    with largest_file(SMALL):
        assert command.run() != 0
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "error: " in err or ": cannot " in err
    assert [p for p in left_over(Path(command.out)) if p.match(command.results)] == []
    assert list(Path(command.out).rglob("*facerestore-tmp")) == []


@LINUX
@pytest.mark.parametrize(
    "name", ["download", *(pytest.param(n, marks=LONG) for n in COMMANDS if n != "download")]
)
def test_a_command_that_is_killed_leaves_whole_files_and_can_be_given_again(tmp_path, name):
    program = [sys.executable, str(ROOT / "tests" / "fault_commands.py")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [*program, name, str(tmp_path / "k"), str(POINTS[name])], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=LONGEST_S, check=True, cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["points"] >= POINTS[name]
    assert found["faults"] == []


@LONG
def test_the_same_file_is_imported_again_and_another_is_not(tmp_path, monkeypatch, capsys):
    command = COMMANDS["import"]
    monkeypatch.chdir(tmp_path)
    command.prepare()
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "home"))
    assert (command.run(), command.run()) == (0, 0)
    Path("mine.safetensors").write_bytes(Path("mine.safetensors").read_bytes() + b"x")
    assert command.run() == 4
    assert "'lite.mine' is taken by weights of your own; give another" in capsys.readouterr().err


# --- the process and its surroundings ------------------------------------------------------------------------------


def process(*words, cwd, code="from facerestore.__main__ import main; main()", prepare=None, **environment):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S, check=False, preexec_fn=prepare,
    )  # fmt: skip


@pytest.fixture
def album(tmp_path):
    write_image(tmp_path / "a.png", photo())
    return tmp_path


@LONG
@pytest.mark.skipif(os.name != "posix", reason="descriptors and HOME as POSIX has them")
@pytest.mark.parametrize(
    ("prepare", "environment"),
    [
        (lambda: os.close(0), {}),
        (lambda: os.close(1), {}),
        (lambda: os.close(2), {}),
        (lambda: [os.close(number) for number in range(3)], {}),
        (None, {"HOME": "/nonexistent/home", "XDG_DATA_HOME": "", "FACERESTORE_HOME": ""}),
        (None, {"TMPDIR": "/nonexistent/tmp"}),
        (None, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "20"}),
    ],
    ids=["no stdin", "no stdout", "no stderr", "none of them", "no home", "no TMPDIR", "LANG=C, 20 columns"],
)
def test_a_photo_is_restored_in_poor_surroundings(album, prepare, environment):
    done = process("enhance", "a.png", "-o", "out.png", cwd=album, prepare=prepare, **environment)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert "LANG" not in environment or (done.stdout + done.stderr).isascii()
    assert (album / "out.png").is_file()


@LINUX
@LONG
def test_thirty_megapixels_within_512_megabytes_are_restored_or_refused(tmp_path):
    write_image(tmp_path / "a.jpg", photo(5000, 6000))
    limit = 512 << 20

    def within():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    done = process("enhance", "a.jpg", "-o", "out.jpg", "--threads", "1", cwd=tmp_path, prepare=within)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert done.returncode == 0 or "memory" in said, (done.returncode, said)
    assert (done.returncode == 0) == (tmp_path / "out.jpg").exists()


@LONG
def test_the_clock_set_back_loses_no_claim_and_makes_nothing_twice(album, monkeypatch, use_pipeline, capsys):
    from fakes import face_at, pipeline

    monkeypatch.chdir(album)
    use_pipeline(lambda config, **_: pipeline(face_at(10, 20), config=config))
    monkeypatch.setattr("time.time", lambda: 4e9)  # the year 2096
    assert main(["enhance", "a.png", "-o", "out"]) == 0
    before = Path("out/a.png").stat().st_mtime_ns
    monkeypatch.undo()
    monkeypatch.chdir(album)
    assert main(["enhance", "a.png", "-o", "out"]) == 0
    assert "1 of 1 done before" in capsys.readouterr().out
    assert Path("out/a.png").stat().st_mtime_ns == before


# --- the matrix ----------------------------------------------------------------------------------------------------


def test_each_row_of_the_matrix_names_tests_that_there_are():
    rows = [line for line in MATRIX.read_text("utf-8").splitlines() if re.match(r"\| (?!---|fault)", line)]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            text = (ROOT / "tests" / f"{file}.py").read_text("utf-8")
            assert re.search(rf"^def {test}\(", text, re.MULTILINE), (file, test)

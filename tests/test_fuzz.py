"""The altered files of fuzz/, some hundred of them in this process, and the program that runs many."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from facerestore.errors import CheckpointError, ConfigError
from fuzz import __main__ as program
from fuzz.board import Board
from fuzz.engines import ENGINES, Turn
from fuzz.guard import READ, REFUSED, lacked_memory, outcome
from fuzz.kinds import Kind
from fuzz.mutation import mutant
from fuzz.targets import TARGETS, kinds_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits memory and processor time as Linux does")
REFUSED_EXAMPLES = {"gpen.safetensors", "gpen.zip", "gpen.legacy", "settled", "settings"}
"""Weights of a wrong size, and runs without checkpoints or with other settings."""
ALTERED = 40


@pytest.fixture(scope="module", params=list(TARGETS))
def kinds(request):
    return kinds_of(request.param)


def test_every_right_example_is_read(kinds):
    found = {(kind.name, n): outcome(kind.read, e) for kind in kinds for n, e in enumerate(kind.examples)}
    wanted = {key: REFUSED if key[0] in REFUSED_EXAMPLES else READ for key in found}
    assert found == wanted


def test_altered_files_are_read_or_refused_in_silence(kinds, capfd):
    for kind in kinds:
        for number in range(ALTERED):
            index, data = mutant(kind.examples, 3, number)
            found = outcome(kind.read, data)
            assert found in (READ, REFUSED), (kind.name, index, number, found)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "request_"),
    [("head", b"GET /nothing?\xff"), ("head", b"GET /v1/restore/?\xff"), ("form", b"--edg\xff")],
)
def test_requests_that_broke_the_service_are_refused_in_silence(name, request_, capfd):
    read = {kind.name: kind.read for kind in kinds_of("service")}[name]
    assert outcome(read, request_) == REFUSED
    assert capfd.readouterr() == ("", "")


def test_a_mutant_is_made_again_from_its_number():
    contents = [kind.examples[0] for kind in kinds_of("decode")]
    made = [mutant(contents, 1, number) for number in range(20)]
    assert made == [mutant(contents, 1, number) for number in range(20)]
    assert made != [mutant(contents, 2, number) for number in range(20)]


def test_what_leaves_the_tree_is_named_with_its_place():
    def fail(_):
        raise AssertionError("not so")

    assert outcome(fail, b"").startswith("AssertionError at tests/test_fuzz.py:")


@pytest.mark.parametrize(
    ("error", "lacked"),
    [
        (MemoryError(), True),
        (CheckpointError("'a' asks for more memory than there is"), True),
        (CheckpointError("'a' is damaged"), False),
    ],
)
def test_a_refusal_for_lack_of_memory_is_found(error, lacked):
    def fail(_):
        try:
            raise error
        except Exception as cause:
            raise ConfigError("cannot be read") from cause

    assert lacked_memory(error) is lacked
    assert (outcome(fail, b"") == REFUSED) is not lacked


# --- the process of its own ----------------------------------------------------------------------------------------

READERS = """
import contextlib, os, socket, sqlite3, sys, tempfile
from pathlib import Path
from fuzz import targets, worker
from fuzz.kinds import Kind
def outside(data): Path({outside!r}).write_text("x")
def removed(data): Path({outside!r}).unlink(missing_ok=True)
def base(data): sqlite3.connect({outside!r}).close()
def inside(data): Path(tempfile.gettempdir(), "a").write_text("x")
def link(data):
    path = Path(tempfile.gettempdir(), "link")
    path.is_symlink() or path.symlink_to({folder!r})
    (path / "b").write_text("x")
def connected(data):
    with socket.socket() as one, contextlib.suppress(OSError): one.connect(("127.0.0.1", 9))
def words(data): os.write(2, b"libfoo: what is this")
def printed(data): print("libfoo: what is this")
def large(data): bytearray(5 << 30)
def broken(data): raise KeyError(3)
def ended(data): os._exit(9)
def read(data): pass
worker.kinds_of = lambda target: (Kind(target, (b"abcd",), globals()[target]),)
worker.main()
"""


@linux
@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("outside", "open outside the folder"),
        ("removed", "os.remove outside the folder"),
        ("base", "sqlite3.connect outside the folder"),
        ("link", "open outside the folder"),
        ("connected", "socket.connect"),
        ("words", "says something: libfoo: what is this"),
        ("printed", "says something: libfoo: what is this"),
        ("large", "MemoryError at "),
        ("broken", "KeyError at "),
        ("inside", None),
        ("read", None),
    ],
)
def test_what_must_not_happen_is_found_in_a_process_of_its_own(tmp_path, reader, said):
    order = {"target": reader, "engine": "mutants", "seed": 1, "first": 0, "runs": 3, "seconds": 60}
    code = READERS.format(outside=str(tmp_path / "a"), folder=str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    Board(work / "board")
    with (tmp_path / "err").open("w+b") as errors:
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(order | {"folder": str(work)})],
            stdout=subprocess.PIPE, stderr=errors, text=True, check=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
    found = [json.loads(line)["words"] for line in done.stdout.splitlines()]
    assert Board(work / "board").counts.executions == 3
    assert [words.startswith(said) for words in found] == [True] if said else found == []


def test_the_input_that_ended_a_process_is_on_the_board(tmp_path):
    board = Board(tmp_path / "board")
    board.begin(7, "zip", b"abc")
    other = Board(tmp_path / "board")
    assert other.counts.number == 7
    assert other.under_way() == ("zip", b"abc")
    board.end(0.5, read=True, refused=False)
    assert other.under_way() is None
    assert other.counts == (7, 1, 1, 0, 0.5)


@pytest.mark.parametrize("engine", ["mutants", "hypothesis"])
@pytest.mark.parametrize("target", ["catalog", "results", "metadata"])
def test_engines_give_inputs_until_they_are_told_to_stop(engine, target):
    if find_spec(engine) is None and engine != "mutants":
        pytest.skip(f"{engine} is not installed")
    seen = []

    class Counting:
        def run(self, number, kind, data):
            seen.append((number, kind.name, data))

    kinds = [Kind(kind.name, kind.examples, kind.read, kind.form) for kind in kinds_of(target)]
    ENGINES[engine](Turn(kinds, Counting(), seed=1, first=0, runs=30, until=float("inf")))
    assert [number for number, _, _ in seen] == list(range(30))
    assert len({data for _, _, data in seen}) > 10


@linux
@pytest.mark.parametrize("engine", list(ENGINES))
def test_the_program_runs(tmp_path, monkeypatch, capsys, engine):
    if find_spec(engine) is None and engine != "mutants":
        pytest.skip(f"{engine} is not installed")
    words = ["fuzz", "catalog", "--runs", "30", "--engine", engine, "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    assert program.main() == 0
    assert f"executions by {engine} from seed 1" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fuzz", "totals", "--folder", str(tmp_path)])
    assert program.main() == 0
    assert "executions in all" in capsys.readouterr().out


@linux
def test_a_process_that_ends_is_followed_by_another_and_its_input_kept(tmp_path, monkeypatch, capsys):
    order = program._work
    calls = []

    def work(given, total, folder):
        calls.append(given["first"])
        if len(calls) > 1:
            return 0, ""
        Board(Path(given["folder"]) / "board").begin(4, "zip", b"abc")
        return -27, "ended"

    monkeypatch.setattr(program, "_work", work)
    monkeypatch.setattr(sys, "argv", ["fuzz", "checkpoint", "--folder", str(tmp_path)])
    assert program.main() == 1
    assert order is not program._work
    assert calls == [0, 5]
    assert "ended the process with -27" in capsys.readouterr().out
    assert [path.read_bytes() for path in (tmp_path / "found").iterdir()] == [b"abc"]

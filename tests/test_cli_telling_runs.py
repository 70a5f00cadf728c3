"""What is told while many photos are done: lines in their order, a table of how fast, JSON as it happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import Brightener, face_at, photo, pipeline
from test_cli_terminal import opened

from facerestore.batch import PhotoJob, PhotoOutcome, Status, report_texts
from facerestore.cli.app import main
from facerestore.cli.live import Pace, duration
from facerestore.cli.terminal import Terminal
from facerestore.cli.turns import Turns
from facerestore.errors import ImageError
from facerestore.io import write_image

HERE = Path(__file__).parent


def job(name):
    return PhotoJob(Path(name), Path("out", name), Path(name))


def done(name, faces=1):
    return PhotoOutcome(job(name), Status.DONE, 1.0, report={"found": faces})


def told(arrivals, *, most=100):
    """Return the names that are told, with those that come in each step."""
    lines = []
    turns = Turns(
        [job(name) for name in "abcdef"], lambda outcome: lines.append(str(outcome.job.source)), most=most
    )
    steps = []
    for name in arrivals:
        turns.take(done(name))
        steps.append("".join(lines))
        lines.clear()
    turns.end()
    return steps, "".join(lines)


def test_photos_are_told_in_their_order():
    assert told("bacfed") == (["", "ab", "c", "", "", "def"], "")


def test_what_waits_when_a_run_is_broken_off_is_told_at_its_end():
    assert told("bd") == (["", ""], "bd")


def test_a_photo_that_takes_long_loses_its_turn():
    assert told("bcdaef", most=2) == (["", "", "bcd", "a", "e", "f"], "")


def test_a_photo_that_comes_again_is_told_at_once():
    assert told("aab") == (["a", "a", "b"], "")


def test_a_pace_counts_photos_faces_and_failures_and_says_how_long_it_will_take():
    now = [0.0]
    pace = Pace(2000, clock=lambda: now[0])
    assert pace.cells["photos"] == "0 of 2,000"
    assert pace.cells["time left"] == ""
    now[0] = 10.0
    for _ in range(7):
        pace.take(done("a", faces=2))
    pace.take(PhotoOutcome(job("b"), Status.FAILED, 1.0, error=ImageError("damaged")))
    pace.take(PhotoOutcome(job("c"), Status.LEFT, 0.0))
    assert pace.cells == {
        "photos": "8 of 1,999",
        "photos/s": "0.80",
        "faces": "14",
        "faces/s": "1.40",
        "failed": "1",
        "time left": "41 min",
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_a_time_is_told_in_two_units_at_most(seconds, words):
    assert duration(seconds) == words


def test_on_a_terminal_a_table_is_shown_below_the_lines_and_goes_at_the_end(monkeypatch):
    screen = opened(monkeypatch, columns=70)
    terminal, pace = Terminal(), Pace(3)
    with terminal.paced(pace):
        pace.take(done("a"))
        terminal.detail("background 2/9")
        terminal.say("a.jpg: 1 face")
    terminal.say("3 photos")
    shown = screen.getvalue()
    assert "photos/s" in shown
    assert "1 of 3" in shown
    assert "background 2/9" in shown
    assert "\x1b[2Ka.jpg: 1 face\n" in shown
    assert shown.endswith("\x1b[2K3 photos\n")


def test_in_a_pipe_there_is_no_table(capsys):
    with Terminal().paced(Pace(3)):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_report_in_pieces_is_the_report():
    photos = [{"input": "a\nb", "faces": [{"index": 0}]}, {"input": "é", "faces": []}]
    for some in ([], photos):
        report = {"schema": 1, "photos": some}
        assert "".join(report_texts(report, some)) == json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        assert "".join(report_texts(report, some, ascii_only=True)) == json.dumps(report, indent=2) + "\n"


@pytest.fixture
def album(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    for seed in range(5):
        write_image(f"in/{seed}.png", photo(seed=seed))
    Path("in/2.png").write_bytes(b"no picture")
    use_pipeline(lambda config, **_: pipeline(face_at(10, 20), config=config, restorer=Brightener()))


def test_reports_out_of_the_journal_are_those_of_a_run_without_one(album):
    assert main(["enhance", "in", "-o", "out", "--report", "with.json"]) == 3
    assert main(["enhance", "in", "-o", "out2", "--report", "without.json", "--no-journal"]) == 3
    reports = [
        json.loads(Path(name).read_text().replace("out2", "out")) for name in ("with.json", "without.json")
    ]
    for report in reports:
        for row in report["photos"]:
            del row["seconds"]
            row.pop("stage_seconds", None)
            for face in row.get("faces", []):
                del face["seconds"]
    assert reports[0] == reports[1]
    assert [row["status"] for row in reports[0]["photos"]] == ["done", "done", "failed", "done", "done"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_lines_of_json_are_written_as_it_happens_so_that_a_killed_run_has_its_report_so_far(album):
    code = f"""
import os, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import facerestore.pipeline.build
from fakes import Brightener, face_at, pipeline
from facerestore.cli.app import main
class Slow(Brightener):
    def restore(self, faces, parsing_maps=None):
        if len(self.calls) == 2:
            sys.stderr.write("under way\\n"); sys.stderr.flush(); os.read(0, 1)
        return super().restore(faces)
restorer = Slow()
facerestore.pipeline.build.build_pipeline = lambda config, **_: pipeline(
    face_at(10, 20), config=config, restorer=restorer)
sys.exit(main())
"""
    words = ["enhance", "in", "-o", "out", "--log-json", "--workers", "1"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert any("under way" in line for line in process.stderr)
    process.kill()
    out, _ = process.communicate(timeout=120)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["input"], row["status"]) for row in rows] == [
        ("in/0.png", "done"),
        ("in/1.png", "done"),
        ("in/2.png", "failed"),
    ]

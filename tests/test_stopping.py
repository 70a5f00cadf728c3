"""Signals and readers that go away, at real processes: each says by a marker that it is where the test wants it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import photo
from processes import HERE, LONGEST_S, RESTORING, ended, started, wait_for

from facerestore import files as temporary
from facerestore.io import write_image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def restoring(folder, *words, free=0, at="pass", before=""):
    """Start ``enhance`` of the album, which does what ``at`` says from the restoring of face ``free`` on."""
    code = before + RESTORING.format(at=f"if len(self.calls) >= {free}: {at}") + "sys.exit(main())"
    return started(code, "enhance", "in", "-o", "out", *words, cwd=folder)


@pytest.fixture
def album(tmp_path):
    for name in "abcdefgh":
        write_image(tmp_path / "in" / f"{name}.png", photo(seed=ord(name)))
    return tmp_path


def left_over(folder):
    return [path.name for path in folder.rglob(f"*{temporary.SUFFIX}")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_is_stopped_reports_and_leaves_whole_files_only(album, number, code, workers):
    at = "here('under way'); told()"
    process = restoring(album, "--report", "r.json", "--workers", workers, free=1, at=at)
    wait_for(process, "under way")
    process.send_signal(number)
    if workers == "2":
        wait_for(process, "finishing")
    rc, _, err = ended(process, "go on")
    assert rc == code
    assert "no file is half written" in err
    assert "Traceback" not in err
    report = json.loads((album / "r.json").read_text())
    done = {Path(row["input"]).name for row in report["photos"]}
    assert report["interrupted"] is True
    assert done == {path.name for path in (album / "out").glob("[!.]*")}
    assert 1 <= len(done) < 8
    assert not left_over(album)


def test_a_second_signal_does_not_wait_for_what_is_under_way(album):
    at = "here('under way'); threading.Event().wait()"
    process = restoring(album, "--workers", "2", free=2, at=at)
    wait_for(process, "under way")
    process.send_signal(signal.SIGTERM)
    wait_for(process, "finishing")
    process.send_signal(signal.SIGTERM)
    rc, _, err = ended(process)
    assert rc == 143
    assert " of 8 photos; no file is half written" in err
    assert not left_over(album)


def test_signals_that_do_not_wake_the_main_thread_are_heard(album):
    """As those are not that come just before it falls asleep: here another thread takes them."""
    at = """
            here('under way'); told()
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            threading.Event().wait()
"""
    process = restoring(album, "--workers", "2", free=2, at=at)
    wait_for(process, "under way")
    process.stdin.write(".")
    process.stdin.flush()
    wait_for(process, "finishing")
    rc, _, err = ended(process, ".")
    assert rc == 143
    assert " of 8 photos; no file is half written" in err


def test_a_signal_while_a_result_is_written_leaves_no_temporary_file(album):
    before = """
import os
real = os.fsync
def fsync(descriptor):
    here('writing'); told()
    return real(descriptor)
os.fsync = fsync
"""
    process = restoring(album, "--workers", "1", before=before)
    wait_for(process, "writing")
    assert left_over(album)
    process.send_signal(signal.SIGTERM)
    rc, _, _ = ended(process)
    assert rc == 143
    assert not left_over(album)
    assert not list((album / "out").glob("[!.]*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_an_import_ends_the_process_at_once_and_removes_what_is_unfinished(tmp_path, number):
    (tmp_path / "half_imported.py").write_text("import sys\nsys.modules['__main__'].within()\n")
    code = """
from pathlib import Path
from facerestore.files import temporary_beside
def within():
    with temporary_beside(Path('x.png')):
        here('importing'); told()
        raise SystemExit('the process went on')
sys.path.insert(0, '.')
import half_imported
"""
    process = started(code, cwd=tmp_path)
    wait_for(process, "importing")
    assert left_over(tmp_path)
    process.send_signal(number)
    rc, _, err = ended(process)
    assert rc == 128 + number
    assert err == "facerestore: interrupted\n"
    assert not left_over(tmp_path)


def test_a_signal_that_comes_between_two_photos_is_raised_in_the_work():
    code = """
import os, signal
from facerestore.cli import stopping
def work():
    try:
        yield 1
        yield 2
    except KeyboardInterrupt:
        yield 'told'
        raise
found = []
try:
    with stopping.finishing():
        for item in stopping.breakable(work()):
            found.append(item)
            if item == 1:
                os.kill(os.getpid(), signal.SIGTERM)  # not within the work: nothing is lost
except KeyboardInterrupt as error:
    print(found, stopping.code_of(error))
"""
    assert ended(started(code))[1] == "[1, 'told'] 143\n"


def test_what_a_killed_run_left_is_removed_and_a_live_ones_stays(tmp_path):
    code = """
from pathlib import Path
from facerestore.files import temporary_beside
with temporary_beside(Path('x.png')):
    here('writing'); told()
"""
    killed, live = started(code, cwd=tmp_path), started(code, cwd=tmp_path)
    wait_for(killed, "writing")
    wait_for(live, "writing")
    assert len(left_over(tmp_path)) == 2
    killed.kill()
    ended(killed)
    assert len(left_over(tmp_path)) == 2
    other = started(
        "from facerestore.files import sweep\nfrom pathlib import Path\nsweep(Path('.'))", cwd=tmp_path
    )
    assert ended(other)[0] == 0
    assert len(left_over(tmp_path)) == 1
    assert ended(live, "\n")[0] == 0
    assert not left_over(tmp_path)


def test_what_a_killed_run_left_goes_with_the_next_run_that_writes_nothing(album):
    (album / "out").mkdir()
    killed = f".0123456789abcdef{temporary.SUFFIX}"
    (album / "out" / killed).write_bytes(b"half")
    for path in (album / "in").iterdir():
        (album / "out" / path.name).write_bytes(path.read_bytes())
    rc, out, _ = ended(restoring(album, "--skip-existing"))
    assert rc == 0
    assert "8 skipped" in out
    assert not left_over(album)


def test_a_reader_that_goes_away_ends_no_batch(album):
    at = "restorer.calls or (here('under way'), told())"
    process = restoring(album, "--report", "r.json", "--workers", "1", at=at)
    wait_for(process, "under way")
    process.stdout.close()
    process.stdout = None
    rc, _, err = ended(process, "\n")
    assert rc == 0
    assert "standard output cannot be written (Broken pipe); the work goes on without it" in err
    assert err.count("cannot be written") == 1
    assert len(list((album / "out").glob("[!.]*"))) == 8
    assert json.loads((album / "r.json").read_text())["summary"]["photos"] == 8


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["weights", "verify", "lite.clean-256"], 141),
        (["weights", "list"], 141),
        (["detect", "in"], 141),
        (["enhance", "in", "-o", "out", "--dry-run"], 141),
        (["--help"], 141),
        (["weights", "info", "nothing"], 4),  # the error has no reader either, and the code still tells
    ],
)
def test_a_listing_that_nobody_reads_ends_without_a_word(album, words, code):
    read, written = os.pipe()
    os.close(read)
    quiet = code == 141
    done = subprocess.run(
        [sys.executable, "-m", "facerestore", *words],
        cwd=album,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        stdout=written,
        stderr=subprocess.PIPE if quiet else written,
        timeout=LONGEST_S,
        check=False,
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (code, b"" if quiet else None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full, of Linux")
@pytest.mark.parametrize(
    "words",
    [
        ["weights", "list"],
        ["detect", "in"],
        ["detect", "in", "--json"],
        ["enhance", "in", "-o", "out", "--dry-run"],
        ["--help"],
        ["--version"],
    ],
)
def test_a_listing_that_cannot_be_written_is_told_and_fails(album, words):
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "facerestore", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            cwd=album,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=LONGEST_S,
            text=True,
        )
    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith(
        "facerestore: error: nothing more can be written (No space left on device); make room"
    )


@pytest.mark.parametrize("command", ["detect", "parse"])
def test_the_other_commands_end_in_the_same_way(album, command):
    code = """
import facerestore.pipeline.load
from fakes import FakeDetector, face_at
from facerestore.cli.app import main
class Slow(FakeDetector):
    seen = 0
    def detect(self, image):
        self.seen += 1
        if self.seen == 2:
            here('under way'); told()
        return super().detect(image)
facerestore.pipeline.load.create_detector = lambda *_, **__: Slow(face_at(10, 20))
sys.exit(main())
"""
    process = started(code, command, "in", "-o", "out", "--json", cwd=album)
    wait_for(process, "under way")
    process.send_signal(signal.SIGTERM)
    rc, out, err = ended(process)
    assert rc == 143
    assert "interrupted after 1 of 8 photos" in err
    assert [Path(row["input"]).name for row in json.loads(out)["photos"]] == ["a.png"]
    assert len(list((album / "out").glob("[!.]*"))) == 1
    assert not left_over(album)


def test_signals_that_are_to_be_ignored_stay_so():
    code = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
listen()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""
    assert ended(started(code))[1] == "True\n"


def test_a_process_that_is_starting_ends_with_one_line(tmp_path):
    (tmp_path / "typer.py").write_text(
        "import sys, time\nsys.stderr.write('starting\\n'); sys.stderr.flush()\nsys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{HERE.parent}"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-m", "facerestore", "--help"],
        env=environment,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )
    wait_for(process, "starting")
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "facerestore: interrupted\n")

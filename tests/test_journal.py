"""The journal beside the results: what is left out, what is done again, and what a killed run leaves."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from fakes import Brightener, face_at, photo, pipeline
from processes import LONGEST_S, RESTORING, ended, started, wait_for
from written import contents, rows

from facerestore.batch import Asked, Journal, PhotoJob, PhotoOutcome, Status
from facerestore.batch.journal import AHEAD_S, LEASE_S
from facerestore.batch.journal_file import FILE, opened
from facerestore.batch.settings import difference, settings_of
from facerestore.batch.standing import Claim
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError, ImageError, JournalError
from facerestore.io import write_image
from facerestore.weights import WeightsStore

NAMES = ["a.png", "Бабушка.png", "祖母.png", "d e.png", "e.png", "f.png"]


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        write_image(f"in/{name}", photo(seed=seed))
    return tmp_path


@pytest.fixture
def restorer(use_pipeline):
    made = Brightener()
    use_pipeline(lambda config, **_: pipeline(face_at(10, 20), config=config, restorer=made))
    return made


def run(*words):
    return main(["enhance", "in", "-o", "out", *words])


def test_what_is_done_with_the_same_settings_is_left_out_in_one_line(album, restorer, capsys):
    assert run() == 0
    before = contents(album / "out")
    (album / "out" / "a.png").unlink()
    capsys.readouterr()
    assert run() == 0
    out = capsys.readouterr().out
    assert "5 of 6 done before, 1 to do\n" in out
    assert "1 photo: 1 face, 1 restored" in out
    assert contents(album / "out") == before
    assert run() == 0
    assert capsys.readouterr() == ("6 of 6 done before, nothing to do\n", "")
    assert len(restorer.calls) == 7


def test_the_journal_holds_names_of_every_script_and_what_was_found(album, restorer):
    Path("in/f.png").rename(os.fsdecode(b"in/\xff.png"))
    assert run() == 0
    assert {os.fsdecode(name) for name, _ in rows(album / "out")} == {*NAMES[:5], os.fsdecode(b"\xff.png")}
    (report,) = rows(album / "out", "report")[0]
    assert json.loads(report)["restored"] == 1
    assert run() == 0
    assert len(restorer.calls) == 6


def test_other_settings_are_told_and_overwrite_does_them_again(album, restorer, capsys):
    assert run() == 0
    before = contents(album / "out")
    capsys.readouterr()
    assert run("--strength", "0.5") == 1
    assert capsys.readouterr().err == (
        "facerestore: 6 done before with strength 1, now 0.5: --overwrite does them again\n"
    )
    assert contents(album / "out") == before
    assert run("--strength", "0.5", "--skip-existing") == 0
    assert "6 done before with strength 1, now 0.5" in capsys.readouterr().out
    assert run("--strength", "0.5", "--overwrite") == 0
    assert all(data != before[name] for name, data in contents(album / "out").items())
    assert run("--strength", "0.5") == 0
    assert len(restorer.calls) == 12


def test_how_the_machine_is_used_is_no_setting(album, restorer):
    assert run() == 0
    assert run("--threads", "1", "--workers", "2", "--device", "cpu") == 0
    assert len(restorer.calls) == 6


def test_differences_are_told_by_name_and_networks_by_their_own():
    before = {"networks": ["lite.clean-256 11112222aaaa"], "upscale": 2.0}
    now = {"networks": ["lite.clean-256 33334444bbbb"], "compare": True}
    assert difference(before, now) == (
        "networks lite.clean-256 11112222, now lite.clean-256 33334444; upscale 2, now 1; compare off, now on"
    )
    one, two = "a b.safetensors 11112222aaaa", "b 33334444bbbb"
    assert difference({"networks": [one]}, {"networks": [two]}) == "networks a b.safetensors, now b"


def test_differences_of_mixed_networks_are_told_by_their_shares():
    drawing, refined = "lite.detail-512 11112222aaaa", "lite.detail-256 5555666677778888"
    mixed = "lite.large-512 33334444bbbb, {} of lite.detail-512"
    before = {"networks": [mixed.format(0.9), drawing, refined]}
    assert difference(before, {"networks": [mixed.format(0.5), drawing, refined]}) == (
        "networks 0.9 of lite.detail-512 in lite.large-512, now 0.5 of lite.detail-512 in lite.large-512"
    )
    assert difference(before, {"networks": [mixed.format(0.9).replace("3", "4"), drawing, refined]}) == (
        "networks 0.9 of lite.detail-512 in lite.large-512 33334444, now"
        " 0.9 of lite.detail-512 in lite.large-512 44444444"
    )


def test_a_photo_that_changed_is_told_and_one_that_was_touched_is_not(album, restorer, capsys):
    assert run() == 0
    os.utime("in/a.png", (1, 1))
    write_image("in/e.png", photo(seed=99), overwrite=True)
    capsys.readouterr()
    assert run() == 3
    out, err = capsys.readouterr()
    assert out == "5 of 6 done before, nothing to do\n"
    assert err == "facerestore: 1 changed since done before: --overwrite does it again\n"
    assert run("--overwrite") == 0


def test_a_failed_photo_is_tried_again_only_when_that_is_asked_for(album, restorer, capsys):
    Path("in/bad.png").write_bytes(b"no picture")
    assert run() == 3
    capsys.readouterr()
    assert run("--report", "r.json") == 3
    out, err = capsys.readouterr()
    assert out == "6 of 7 done before, nothing to do\n"
    assert err == "facerestore: failed before: 1 (bad.png); --retry-failed tries it again\n"
    failed = [row for row in json.loads(Path("r.json").read_text())["photos"] if row["status"] == "failed"]
    assert "bad.png: not an image" in failed[0]["error"]
    assert run("--retry-failed") == 3
    assert "bad.png: not an image" in capsys.readouterr().err
    write_image("in/bad.png", photo(), overwrite=True)
    assert run() == 0  # another photo now


def test_a_dry_run_tells_what_is_done_and_makes_no_journal(album, restorer, capsys):
    assert run("--dry-run") == 0
    assert not Path("out").exists()
    assert run() == 0
    Path("out/a.png").unlink()
    capsys.readouterr()
    assert run("--dry-run") == 0
    out = capsys.readouterr().out
    assert "5 of 6 done before, 1 to do" in out
    assert "in/e.png -> out/e.png (done before)\n" in out
    assert "in/a.png -> out/a.png\n" in out


def test_retrying_needs_a_journal(album, restorer, capsys):
    assert main(["enhance", "in", "--retry-failed"]) == 2
    assert (
        "--retry-failed goes by the journal of a directory; give one with -o DIR" in capsys.readouterr().err
    )
    assert run("--no-journal") == 0
    assert not (album / "out" / FILE).exists()


def test_a_report_tells_what_earlier_runs_have_done_as_they_did(album, restorer):
    assert run("--report", "whole.json") == 0
    Path("out/e.png").unlink()
    assert run("--report", "again.json") == 0
    whole, again = (json.loads(Path(name).read_text()) for name in ("whole.json", "again.json"))
    assert again["summary"] == whole["summary"]
    assert [row["earlier"] for row in again["photos"]].count(False) == 1
    varying = ("seconds", "earlier", "stage_seconds", "faces")
    plain = [
        [{k: v for k, v in row.items() if k not in varying} for row in r["photos"]] for r in (whole, again)
    ]
    assert plain[0] == plain[1]


def test_a_file_of_somebody_elses_is_in_the_way_as_ever(album, restorer, capsys):
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"mine")
    assert run() == 3
    assert "'out/a.png' exists; give --overwrite" in capsys.readouterr().err
    assert run() == 3
    assert Path("out/a.png").read_bytes() == b"mine"
    assert run("--overwrite") == 0
    assert len(restorer.calls) == 11  # that the first five are done again is what was asked for


def test_a_damaged_journal_is_told_with_the_remedy(album, restorer, capsys):
    Path("out").mkdir()
    Path("out", FILE).write_bytes(b"no database, whatever its name says" * 100)
    assert run() == 1
    err = capsys.readouterr().err
    assert (
        f"the journal 'out/{FILE}' is damaged (file is not a database); remove it, and give --skip-existing"
        in err
    )
    Path("out", FILE).unlink()
    assert run() == 0


@pytest.fixture(scope="module")
def results():
    """The files of a folder of results, made by the first test that needs them."""
    return {}


@pytest.fixture
def done(album, restorer, results):
    """A folder of results with its journal, open for changes; whatever a run says of it then is tested."""
    if not results:
        assert run() == 0
        results |= {path.name: path.read_bytes() for path in Path("out").iterdir()}
    Path("out").mkdir(exist_ok=True)
    for name, data in results.items():
        Path("out", name).write_bytes(data)
    with closing(sqlite3.connect(Path("out", FILE))) as base:
        yield base


def damaged(base, change, capsys, *words):
    """Return what a run says of a journal after a change."""
    base.executescript(change)
    capsys.readouterr()
    assert run(*words) == 1
    err = capsys.readouterr().err
    assert f"the journal 'out/{FILE}' is damaged (" in err
    assert "; remove it, and give --skip-existing" in err
    return err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE photos SET report = '{'", ["--report", "r.json"]),
        ("UPDATE photos SET report = '[]'", ["--report", "r.json"]),
        ("UPDATE photos SET report = json_set(report, '$.kept', 5)", ["--report", "r.json"]),
        ("UPDATE photos SET report = json_remove(report, '$.faces')", ["--report", "r.json"]),
        ("UPDATE photos SET written = '[5]'", ["--report", "r.json"]),
        ("UPDATE photos SET written = '5'", ["--report", "r.json"]),
        ("UPDATE photos SET written = CAST(x'ff' AS TEXT)", ["--report", "r.json"]),
        ("UPDATE photos SET seconds = 'long'", ["--report", "r.json"]),
        ("UPDATE photos SET state = 'failed', error = x'00', report = NULL", []),
        ("UPDATE photos SET state = 'claimed'; UPDATE runs SET host = '', seen = 'ever'", []),
        ("UPDATE photos SET state = 'claimed'; UPDATE runs SET pid = 'one'", []),
        ("UPDATE photos SET state = 'claimed'; UPDATE runs SET pid = 1 << 62", []),
        ("UPDATE settings SET facts = '{'", ["--strength", "0.5"]),
        ("UPDATE settings SET facts = '[]'", ["--strength", "0.5"]),
        ("UPDATE settings SET facts = '{\"networks\": [5]}'", ["--strength", "0.5"]),
    ],
)
def test_values_of_other_types_are_told_as_damage(done, capsys, change, words):
    damaged(done, change, capsys, *words)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE TRIGGER endless BEFORE UPDATE ON runs BEGIN DELETE FROM photos; END",
        "ALTER TABLE photos ADD COLUMN more",
        "DROP TABLE photos",
    ],
)
def test_a_journal_of_other_tables_is_told_as_damage(done, capsys, change):
    assert "its tables are not those of a journal" in damaged(done, change, capsys)


def test_a_report_of_a_later_version_may_have_more(done, capsys):
    done.executescript("UPDATE photos SET report = json_set(report, '$.more', 5)")
    assert run("--report", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["photos"][0]["more"] == 5


def test_a_journal_of_a_later_version_is_told(album, restorer, capsys):
    Path("out").mkdir()
    base = sqlite3.connect(Path("out", FILE))
    base.execute("PRAGMA user_version = 99")
    base.close()
    assert run() == 1
    assert "a later facerestore has made it, with tables of version 99" in capsys.readouterr().err


# The journal alone.

ASKED = Asked(settings={"networks": ["a 1"]})


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def open_journal(tmp_path):
    made = []

    def make(asked=ASKED, **who):
        journal = Journal(tmp_path / "out", asked, **who)
        journal.begin()
        made.append(journal)
        return journal

    yield make
    for journal in made:
        journal.close()


@pytest.fixture
def job(tmp_path):
    write_image(tmp_path / "a.png", photo())
    return PhotoJob(tmp_path / "a.png", tmp_path / "out/a.png", Path("a"))


def note_done(journal, job, data=b"result"):
    journal.writing(job, job.source.read_bytes(), report={}, parts=[data])
    job.target.write_bytes(data)


def test_a_claim_holds_as_long_as_its_run_says_that_it_is_alive(open_journal, job):
    clock = Clock()
    first = open_journal(clock=clock, host="one", pid=1)
    second = open_journal(clock=clock, host="two", pid=1)
    assert first.claim(job) is Claim.FIRST
    clock.now += LEASE_S - 1
    assert second.claim(job) is Claim.REFUSED
    first.beat()
    clock.now += LEASE_S - 1
    assert second.claim(job) is Claim.REFUSED
    clock.now += 1
    assert second.claim(job) is Claim.AGAIN
    second.beat()
    assert first.claim(job) is Claim.REFUSED


@pytest.mark.parametrize(("ahead_s", "claim"), [(AHEAD_S - 1, Claim.REFUSED), (AHEAD_S, Claim.AGAIN)])
def test_a_dead_run_whose_clock_was_set_back_keeps_no_photo(open_journal, job, ahead_s, claim):
    clock = Clock()
    first, second = (open_journal(clock=clock, host=host) for host in ("one", "two"))
    first.claim(job)
    clock.now -= ahead_s
    second.beat()
    assert second.claim(job) is claim


def test_a_process_that_is_gone_has_no_claims(open_journal, job):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = open_journal(pid=gone.pid), open_journal(pid=os.getppid())
    dead.claim(job)
    assert alive.look([job]).to_do == [job]
    assert alive.claim(job) is Claim.AGAIN
    assert dead.look([job]).busy == [job]


def test_what_a_run_settles_after_it_was_taken_over_changes_nothing(open_journal, job):
    clock = Clock()
    first, second = (open_journal(clock=clock, host=host) for host in ("one", "two"))
    first.claim(job)
    clock.now += LEASE_S
    second.beat()
    assert second.claim(job) is Claim.AGAIN
    first.settle(PhotoOutcome(job, Status.FAILED, 1.0, error=ImageError("late")))
    assert second.look([job]).busy == [job]


@pytest.mark.parametrize(("beside", "standing"), [(b"result", "done"), (b"resulT", "to_do"), (None, "to_do")])
def test_whether_a_result_took_its_name_is_seen_by_its_hash(open_journal, job, beside, standing):
    dead = open_journal(pid=1 << 22)  # above any process
    dead.claim(job)
    note_done(dead, job)
    job.target.unlink()
    if beside is not None:
        job.target.write_bytes(beside)
    assert getattr(open_journal().look([job]), standing) == [job]


@pytest.mark.parametrize(
    ("error", "standing"),
    [
        (ImageError("damaged"), "failed"),
        (BackendError("out of memory"), "to_do"),
        (ImageError("cannot be written"), "to_do"),
    ],
)
def test_what_is_not_the_photos_fault_is_tried_again(open_journal, job, error, standing):
    if "written" in str(error):
        error.__cause__ = OSError(28, "No space left on device")
    journal = open_journal()
    journal.claim(job)
    journal.settle(PhotoOutcome(job, Status.FAILED, 1.0, error=error))
    journal.close()
    assert getattr(open_journal().look([job]), standing) == [job]


def test_overwriting_that_was_broken_off_goes_on_and_once_through_begins_anew(open_journal, job):
    asked = Asked(settings=ASKED.settings, overwrite=True)
    first = open_journal(asked)
    first.claim(job)
    note_done(first, job)
    first.settle(PhotoOutcome(job, Status.DONE, 1.0))
    first.close()
    second = open_journal(asked)
    assert second.look([job]).done == [job]
    second.complete()
    assert second.look([job]).to_do == [job]


def test_a_full_disk_is_told_with_the_remedy(open_journal, job):
    journal = open_journal()
    journal.claim(job)
    journal._base.execute("PRAGMA max_page_count = 1")
    with pytest.raises(JournalError, match=r"database or disk is full\); make room .* run the same again"):
        journal.writing(job, b"", report={"notes": ["x" * 100_000]}, parts=[b"result"])
    journal._base.execute("PRAGMA max_page_count = 100000")
    note_done(journal, job)
    journal.settle(PhotoOutcome(job, Status.DONE, 0.5, report={}))
    assert open_journal().look([job]).to_do == []


def test_many_open_a_new_journal_at_once(tmp_path):
    together, faults = threading.Barrier(8), []

    def make():
        together.wait()
        try:
            opened(tmp_path / FILE).close()
        except sqlite3.Error as error:
            faults.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


# Processes that are killed.

MAIN = "\ncode = main()\nsys.stderr.write(f'restored {len(restorer.calls)}')\nsys.exit(code)\n"


def restoring(*words, at="pass", code=""):
    words = ("enhance", "in", "-o", "out", "--workers", "1", *words)
    return started(RESTORING.format(at=at) + code + MAIN, *words)


def killed(process):
    process.kill()
    process.communicate(timeout=LONGEST_S)


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(album):
    assert ended(restoring("-o", "whole", "--compare"))[0] == 0
    for _ in range(3):
        process = restoring("--compare", at="here('under way') or len(restorer.calls) and told()")
        wait_for(process, "under way")
        wait_for(process, "under way")
        killed(process)
    code, out, err = ended(restoring("--report", "r.json", "--compare"))
    assert code == 0, err
    assert "3 of 6 done before, 3 to do" in out
    assert err.endswith("restored 3")
    assert contents(album / "out") == contents(album / "whole")
    assert {state for _, state in rows(album / "out")} == {"done"}
    report = json.loads((album / "r.json").read_text())
    assert report["summary"]["restored"] == 6


@posix
def test_a_result_that_took_its_name_as_its_run_was_killed_is_not_done_again(album):
    code = """
real = os.link
def link(*names):
    real(*names); here('named'); told()
os.link = link
"""
    process = restoring(code=code)
    wait_for(process, "named")
    killed(process)
    assert [state for _, state in rows(album / "out")] == ["written"]
    code, out, err = ended(restoring())
    assert code == 0
    assert "1 of 6 done before, 5 to do" in out
    assert err.endswith("restored 5")


@posix
def test_a_terminated_run_is_gone_on_with(album):
    process = restoring("--report", "r.json", at="here('under way') or len(restorer.calls) and told()")
    wait_for(process, "under way")
    wait_for(process, "under way")
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process, "go on")
    assert code == 143
    assert "no file is half written" in err
    done = len(json.loads((album / "r.json").read_text())["photos"])
    code, out, err = ended(restoring())
    assert code == 0
    assert f"{done} of 6 done before, {6 - done} to do" in out


@posix
def test_two_runs_on_one_folder_share_the_work_and_neither_reports_an_error(album):
    first = restoring("--report", "1.json", at="here('under way'); told()")
    wait_for(first, "under way")
    second = restoring("--report", "2.json", at="here('under way'); told()")
    wait_for(second, "under way")
    (code2, out2, err2), (code1, out1, err1) = ended(second, "12345"), ended(first, "123456")
    assert (code1, code2) == (0, 0), (err1, err2)
    assert "error" not in err1 + err2
    calls = [int(err.rpartition("restored ")[2]) for err in (err1, err2)]
    assert sorted(calls) == [1, 5]
    assert set(contents(album / "out")) == set(NAMES)
    assert "1 photo left to another run, which has begun" in out2
    assert "5 photos done meanwhile by another run" in out1
    report = json.loads((album / "2.json").read_text())
    assert sorted({row["status"] for row in report["photos"]}) == ["done", "left"]


@posix
def test_what_another_run_does_meanwhile_with_other_settings_is_told_and_counts_as_not_done(album):
    first = restoring("--strength", "0.5", at="here('under way'); told()")
    wait_for(first, "under way")
    second = restoring(at="here('under way'); told()")
    wait_for(second, "under way")
    (code2, _, err2), (code1, out1, err1) = ended(second, "12345"), ended(first, "123456")
    assert (code1, code2) == (3, 0), (err1, err2)
    assert "5 photos done meanwhile by another run" in out1
    assert "5 done before with strength 1, now 0.5: --overwrite does them again" in err1


@posix
def test_what_a_run_that_died_meanwhile_had_begun_is_taken_over(album):
    first = restoring(at="here('under way'); told()")
    wait_for(first, "under way")
    second = restoring(at="here('under way'); told()")
    wait_for(second, "under way")
    killed(first)
    code, _, err = ended(second, "123456")
    assert code == 0
    assert err.endswith("restored 6")
    assert set(contents(album / "out")) == set(NAMES)


def test_a_run_with_nothing_to_do_imports_no_network_library(album, restorer):
    assert run() == 0
    code = (
        "import sys; from facerestore.cli.app import main;"
        "code = main(['enhance', 'in', '-o', 'out']);"
        "print(code, [name for name in ('torch', 'onnxruntime', 'cv2', 'scipy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST_S)
    assert said.stdout == "6 of 6 done before, nothing to do\n0 []\n"


def test_what_is_mixed_and_how_much_of_it_is_among_the_settings(tmp_path):
    store = WeightsStore(tmp_path / "home", offline=True)
    networks = [
        settings_of(RestoreConfig(**chosen), OutputConfig(), store)["networks"]
        for chosen in ({}, {"detail": 0}, {"detail": 0.5})
    ]
    assert any("0.9 of lite.detail-256" in network for network in networks[0])
    assert not any("detail" in network for network in networks[1])
    assert any(
        network.startswith("lite.clean-256") and "0.5 of lite.detail-256" in network
        for network in networks[2]
    )


def test_what_finds_and_fills_damage_is_among_the_settings(tmp_path):
    store = WeightsStore(tmp_path / "home", offline=True)
    plain, repaired = (
        settings_of(RestoreConfig(repair=repair), OutputConfig(), store)["networks"]
        for repair in (False, True)
    )
    added = [network.split() for network in repaired if network not in plain]
    assert [name for name, _ in added] == ["damage.clean-256", "lite.inpaint-256"]
    assert all(len(digest) == 64 for _, digest in added)


def test_photo_is_the_background_that_it_is_short_for(tmp_path):
    store = WeightsStore(tmp_path / "home", offline=True)
    short, long, plain = (
        settings_of(RestoreConfig(**asked), OutputConfig(), store)
        for asked in ({"photo": True}, {"background": "lite.photo-x1"}, {})
    )
    assert short == long
    assert difference(short, plain).startswith("background lite.photo-x1, now none; ")
    assert "photo on" not in difference(short, plain)

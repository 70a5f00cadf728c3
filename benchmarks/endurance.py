"""Thousands of photos through kill after kill: is the union what one uninterrupted run makes, byte for byte?

python -m benchmarks.endurance RESULTS [--photos N] [--kills K] [--together M] [--faces FOLDER] [--keep FOLDER]

An album is generated (``benchmarks.album``) and restored by ``facerestore enhance`` as people call it: once from start
to end, whose memory is looked at by the way; once through K times SIGKILL, each at a moment of its own; the first M by
two processes side by side; and again when nothing is left to do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

import numpy as np

from benchmarks.album import write_album
from benchmarks.common import Options, Results, command_line, options_of, say, start, write_results
from facerestore.batch.journal_file import FILE
from facerestore.bench.machine import Machine
from facerestore.bench.tables import Table, megabytes, seconds
from facerestore.errors import BackendError, count

KIB = 1024
LOOK_S = 0.05
"""Between two looks at a process's memory."""
LOOKS = 5
"""Runs with nothing to do."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is done.

    Attributes:
        photos: in the album.
        kills: how often the second run is killed.
        together: photos that two processes share.
        faces: a folder of aligned faces; None for drawn ones.
        keep: where the album, results and gallery stay; None for nowhere.
    """

    photos: int = 2000
    kills: int = 20
    together: int = 200
    faces: Path | None = None
    keep: Path | None = None


QUICK = Load(photos=12, kills=2, together=6)


@dataclass(slots=True)
class Run:
    """What one process did.

    Attributes:
        seconds: from its start to its end.
        cpu: processor time, seconds.
        peak: most memory, bytes.
        code: its exit code; negative for a signal.
        lines: what became of each photo, as it was told.
        grown: most memory by the number of photos told, bytes.
        said: its words on standard error.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    code: int = 0
    lines: list[tuple[str, str]] = field(default_factory=list)
    grown: dict[int, int] = field(default_factory=dict)
    said: str = ""


class Enhance:
    """A process of ``facerestore enhance``, whose lines are read as they come."""

    def __init__(self, album: Path, out: Path, *words: str) -> None:
        self._begun = time.perf_counter()
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        arguments = ["enhance", str(album), "-r", "-o", str(out), "--offline", "--log-json", *words]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "facerestore", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.run, self._over = Run(), threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def lines(self) -> Iterator[int]:
        """Yield how many photos were told, each time that one more is."""
        assert self._process.stdout is not None, "it was asked for"
        for line in self._process.stdout:
            row = json.loads(line)
            self.run.lines.append((row["input"], row["status"]))
            yield len(self.run.lines)

    def note_memory(self) -> None:
        """Note the most memory of the process until now."""
        self.run.grown[len(self.run.lines)] = self.run.peak

    def _look(self) -> None:
        """Note the most memory of the process, again and again until it ends."""
        # Not the system's own figure at its end, which has that of the process that it was forked from.
        status = Path(f"/proc/{self._process.pid}/status")
        with suppress(OSError, StopIteration):
            while not self._over.wait(LOOK_S):
                lines = status.read_text(encoding="ascii", errors="replace").splitlines()
                kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
                self.run.peak = int(kib) * KIB

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> Run:
        """Read what is left, wait for the end, and return what it did."""
        for _ in self.lines():
            pass
        _, status, used = os.wait4(self._process.pid, 0)
        self._over.set()
        run = self.run
        run.code = self._process.returncode = os.waitstatus_to_exitcode(status)
        run.seconds, run.cpu = time.perf_counter() - self._begun, used.ru_utime + used.ru_stime
        self._errors.seek(0)
        run.said = self._errors.read()
        self._errors.close()
        return run


def uninterrupted(album: Path, out: Path, *words: str, looks: Sequence[int] = ()) -> Run:
    """Restore an album in one process, and look at its memory at some numbers of photos."""
    process = Enhance(album, out, *words)
    for told in process.lines():
        if told in looks:
            process.note_memory()
    return process.end()


def killed(album: Path, out: Path, *words: str, photos: int, kills: int) -> list[Run]:
    """Restore an album through as many kills, the last process to its end; each dies at a moment drawn for it."""
    draw, runs = np.random.default_rng(kills), []
    for left in range(kills, 0, -1):
        share = max(1, (photos - sum(len(run.lines) for run in runs)) // (left + 1))
        process, moment = Enhance(album, out, *words), int(draw.integers(0, 2 * share))
        delay = float(draw.uniform(0, 0.2))
        for told in process.lines():
            if told >= moment:
                break
        time.sleep(delay)  # so that it dies anywhere within a photo
        process.kill()
        runs.append(process.end())
        say(f"killed after {count(len(runs[-1].lines), 'photo')}")
    return [*runs, uninterrupted(album, out, *words)]


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of each file of a folder of results, by its path; the journal is none of them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(FILE))
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files}


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def done_twice(runs: Sequence[Run]) -> int:
    """Return how many photos were told as done by more than one process."""
    told = Counter(name for run in runs for name, status in run.lines if status == "done")
    return sum(number > 1 for number in told.values())


def run(options: Options, load: Load | None = None) -> Results:
    """Do all of it, and return what was found.

    Raises:
        BackendError: a process ended as it should not have.
    """
    load = load or (QUICK if options.quick else Load())
    machine = start()
    folder = load.keep or Path(tempfile.mkdtemp(prefix="facerestore-endurance-"))
    words = [] if not options.threads else ["--threads", str(options.threads)]
    try:
        return _found(machine, folder, load, words)
    finally:
        if load.keep is None:
            shutil.rmtree(folder)


def _found(machine: Machine, folder: Path, load: Load, words: Sequence[str]) -> Results:
    album = folder / "album"
    say(f"writing {count(load.photos, 'photo')}")
    write_album(album, load.photos, faces=load.faces)
    few = folder / "few"
    write_album(few, load.together, faces=load.faces)

    say("one process, from start to end")
    looks = [number for number in (10, 100, 1000, 10_000) if number < load.photos] + [load.photos]
    gallery = ["--html", str(folder / "gallery")]
    whole = _checked(uninterrupted(album, folder / "whole", *gallery, *words, looks=looks))
    expected = contents(folder / "whole")
    say(
        f"{whole.seconds:.0f} s, {whole.cpu:.0f} s of processors, memory {whole.grown}, {whole.peak} at its end"
    )
    say(f"{count(load.kills, 'kill')}")
    broken = killed(album, folder / "killed", *words, photos=load.photos, kills=load.kills)
    _checked(broken[-1])
    union = contents(folder / "killed")
    say("two processes side by side")
    pair = _side_by_side(few, folder / "pair", words)
    shared = contents(folder / "pair")
    say("nothing to do")
    nothing = [_checked(uninterrupted(album, folder / "whole", *words)) for _ in range(LOOKS)]

    facts = {
        "load": {
            key: str(value) if isinstance(value, Path) else value for key, value in asdict(load).items()
        },
        "files": len(expected),
        "statuses": dict(Counter(status for _, status in whole.lines)),
        "killed_equals_whole": union == expected,
        "done_twice": done_twice(broken),
        "pair_equals_whole": shared == {name: expected[name] for name in shared} and len(shared) > 0,
        "pair_shares": [len(each.lines) for each in pair],
        "pair_done_twice": done_twice(pair),
        "pair_said": [each.said for each in pair],
        "seconds": {"whole": whole.seconds, "killed": [each.seconds for each in broken]},
        "cpu_seconds": {"whole": whole.cpu, "killed": sum(each.cpu for each in broken)},
        "photos_per_second": load.photos / whole.seconds,
        "peak_bytes": whole.grown | {"end": whole.peak},
        "kills_at": [len(each.lines) for each in broken[:-1]],
        "nothing_to_do": {
            "seconds": [each.seconds for each in nothing],
            "cpu": [each.cpu for each in nothing],
        },
    }
    failures = [word for word in ("killed_equals_whole", "pair_equals_whole") if not facts[word]]
    return Results(
        "endurance", "An album through kill after kill", machine, [_table(facts)], facts, failures=failures
    )


def _checked(run: Run) -> Run:
    """Return a run that came to its end: all done, or some photos failed by their own fault.

    Raises:
        BackendError: it did not.
    """
    if run.code not in (0, 3):
        raise BackendError(f"a run ended with {run.code}: {run.said[-2000:]}")
    return run


def _side_by_side(album: Path, out: Path, words: Sequence[str]) -> list[Run]:
    """Return what two processes did that began at once on one folder."""
    pair = [Enhance(album, out, *words) for _ in range(2)]
    with ThreadPoolExecutor(
        2
    ) as pool:  # lines of both are read as they come, else one would wait for its reader
        return [_checked(run) for run in pool.map(Enhance.end, pair)]


def _table(facts: Mapping[str, Any]) -> Table:
    load, nothing, cpu = facts["load"], facts["nothing_to_do"], facts["cpu_seconds"]
    union = "the same files, byte for byte" if facts["killed_equals_whole"] else "OTHER FILES"
    pair = "the same files, byte for byte" if facts["pair_equals_whole"] else "OTHER FILES"
    shares = " and ".join(str(share) for share in facts["pair_shares"])
    memory = ", ".join(f"{megabytes(most)} at {told}" for told, most in facts["peak_bytes"].items())
    rows = (
        ("photos", ", ".join(f"{number} {status}" for status, number in facts["statuses"].items())),
        (
            "one process",
            f"{seconds(facts['seconds']['whole'])}, {facts['photos_per_second']:.2f} photos a second",
        ),
        ("its memory", memory),
        (f"{load['kills']} kills", f"{union} ({facts['files']}); {facts['done_twice']} photos told twice"),
        ("their cost", f"{cpu['killed'] / cpu['whole'] - 1:+.1%} of processor time, all starts included"),
        (
            "two processes",
            f"{pair}; {shares} of {load['together']} photos; {facts['pair_done_twice']} told twice",
        ),
        (
            "nothing to do",
            f"{seconds(median(nothing['seconds']))}, {seconds(median(nothing['cpu']))} of a processor",
        ),
    )
    return Table("An album through kill after kill", ("", ""), rows)


def _options(parser: argparse.ArgumentParser) -> tuple[Options, Load]:
    usual = Load()
    parser.add_argument("--photos", type=int, help="in the album")
    parser.add_argument("--kills", type=int, help="how often the second run is killed")
    parser.add_argument("--together", type=int, help="photos that two processes share")
    parser.add_argument(
        "--faces", type=Path, help="a folder of aligned faces that are pasted; drawn ones otherwise"
    )
    parser.add_argument("--keep", type=Path, help="where album, results and gallery stay")
    given = parser.parse_args()
    options = options_of(given)
    base = QUICK if options.quick else usual
    return options, Load(
        photos=given.photos or base.photos,
        kills=base.kills if given.kills is None else given.kills,
        together=given.together or base.together,
        faces=given.faces,
        keep=given.keep,
    )


def main() -> int:
    """Run as a program; 1 where something differed."""
    options, load = _options(command_line(__doc__ or ""))
    results = run(options, load)
    sys.stdout.write("".join(f"{path}\n" for path in write_results(results, options)))
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())

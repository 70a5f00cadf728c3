"""How long the command takes from the start of its process to its end, and how much memory: help, and one small photo.

python -m benchmarks.start RESULTS [--quick] [--threads N] [--repeats N]

Files are in the system's cache after the first run, which does not count; a disk that has to be read takes longer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import Options, Results, main, say, start
from facerestore.bench.memory import Peak
from facerestore.bench.photos import drawn_photo
from facerestore.bench.report import timing_facts
from facerestore.bench.spawn import as_published, changed
from facerestore.bench.standstill import undisturbed
from facerestore.bench.statistics import Timing
from facerestore.bench.tables import Table, megabytes, seconds, spread
from facerestore.errors import BackendError, count

MEGAPIXELS = 0.3
REPEATS = 7


LAUNCHER = """
import os, sys, time
begun = time.perf_counter()
nothing = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=nothing)
_, status, usage = os.wait4(process, 0)
taken = time.perf_counter() - begun
print(taken, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts a command from a small process: Linux counts what the starting one had in memory as the new one's. Where there
is no ``posix_spawn`` (Windows) nothing is measured."""


class Start(NamedTuple):
    """A command as it was measured.

    Attributes:
        words: what it does, for people.
        timing: from the start of the process to its end.
        peak: most memory of the process.
    """

    words: str
    timing: Timing
    peak: Peak


def run(options: Options) -> Results:
    """Start each command again and again."""
    machine, repeats = start(), options.repeats or (1 if options.quick else REPEATS)
    with tempfile.TemporaryDirectory(prefix="facerestore-start-") as folder:
        photo = Path(folder) / "photo.jpg"
        photo.write_bytes(drawn_photo(MEGAPIXELS, 1).data)
        found = [measured(words, command, repeats) for words, command in commands(photo, options).items()]
    rows = tuple(
        (own.words, seconds(own.timing.median), spread(own.timing), megabytes(own.peak.bytes))
        for own in found
    )
    notes = (
        f"median of {repeats} starts after one that does not count; memory: largest resident size of the process",
        "each with the environment of a fresh shell: what the command sets for itself, it sets itself",
    )
    return Results(
        "start",
        "From the start of the process to its end",
        machine,
        [Table("Start", ("command", "seconds", "spread", "memory"), rows, notes)],
        {
            "commands": [
                {"what": own.words, "seconds": timing_facts(own.timing), "peak": asdict(own.peak)}
                for own in found
            ]
        },
    )


def commands(photo: Path, options: Options) -> dict[str, list[str]]:
    """Return what is started, by its words; the first two are what Python and torch take by themselves."""
    program = [sys.executable, "-m", "facerestore"]
    enhance = [
        *program,
        "enhance",
        str(photo),
        "-o",
        str(photo.with_name("restored.jpg")),
        "--force",
        "--overwrite",
    ]
    enhance += ["--threads", str(options.threads)] if options.threads else []
    return {
        "python, nothing else": [sys.executable, "-c", "pass"],
        "python and torch": [sys.executable, "-c", "import torch"],
        "facerestore --help": [*program, "--help"],
        f"facerestore enhance, {MEGAPIXELS:g} megapixels, one drawn face": enhance,
    }


def measured(words: str, command: Sequence[str], repeats: int) -> Start:
    """Start a command once, and then ``repeats`` times."""
    say(f"{words}: {count(repeats, 'start')}")
    runs = [undisturbed(lambda: once(words, command)) for _ in range(1 + repeats)][1:]
    peaks = [size for _, size in runs if size is not None]
    most = max(peaks, default=None)
    return Start(
        words, Timing(tuple(taken for taken, _ in runs)), Peak(most, "resident memory of the process")
    )


def once(words: str, command: Sequence[str]) -> tuple[float, int | None]:
    """Return the seconds of one process, and its most memory in bytes; None where the system does not tell.

    Raises:
        BackendError: it failed.
    """
    with changed(as_published()):
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
    if launched.returncode:
        said = launched.stderr.strip().splitlines()
        raise BackendError(
            f"'{words}' ended with code {launched.returncode}: {said[-1] if said else 'it said nothing'}"
        )
    taken, size = launched.stdout.split()
    return float(taken), int(size) or None


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))

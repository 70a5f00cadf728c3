"""Read many mutants, and tell what is no FaceRestoreError, what is slow, and what libraries say on standard error.

python -m benchmarks.fuzz [--mutants N] [--seed N] [--workers N] [--only .jpg,.png] [--keep FOLDER] [--show NUMBER]

Linux; each mutant has 5 s of processor time and 1 GB of memory. It ends with 1 where anything was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from benchmarks.fuzz.mutation import mutant
from benchmarks.fuzz.worker import LIMIT_SECONDS, corpus

_EXPECTED = ("read", "refused")
_SLOWEST = 10


@dataclass(slots=True)
class Totals:
    """What a run found."""

    kinds: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, str]] = field(default_factory=dict)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    said: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, number: int, name: str, seconds: float, result: str) -> None:
        """Note what became of a mutant."""
        self.kinds[result] += 1
        self.first.setdefault(result, (number, name))
        self.slowest = sorted([*self.slowest, (seconds, number, name)], reverse=True)[:_SLOWEST]


def watch(options: argparse.Namespace, worker: int, totals: Totals) -> None:
    """Run one worker, and a new one behind each mutant that ends it."""
    first = worker
    while first < options.mutants:
        arguments = (options.seed, first, options.workers, options.mutants, options.only)
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fuzz.worker", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            number, name = _follow(process.stdout, errors, totals)
            code = process.wait()
            errors.seek(0)
            last = errors.read().decode(errors="replace")
        if code == 0:
            return
        if number is None:
            raise RuntimeError(f"the worker ended with {code} before its first mutant: {last[-2000:]}")
        totals.add(number, name, LIMIT_SECONDS, f"ended the process with {code}")
        first = number + options.workers


def _follow(lines: IO[str], errors: IO[bytes], totals: Totals) -> tuple[int | None, str]:
    """Note what a worker tells until it ends; return the mutant that it did not come back from."""
    number, name, heard = None, "", 0
    for line in lines:
        word, *rest = line.rstrip("\n").split(" ", 3)
        if word == "begin":
            number, name = int(rest[0]), rest[1]
        elif word == "end" and number is not None:
            totals.add(number, name, float(rest[1]), rest[2])
            errors.seek(0, 2)
            if errors.tell() > heard:
                errors.seek(heard)
                said = errors.read().decode(errors="replace")
                totals.said.append((number, name, said.strip()[:300]))
                heard = errors.tell()
            number = None
    return number, name


def tell(totals: Totals) -> int:
    """Print what was found, and return the exit code."""
    print(f"{sum(totals.kinds.values())} mutants")
    for kind, count in totals.kinds.most_common():
        number, name = totals.first[kind]
        print(f"{count:8}  {kind}  (first: {number}, of {name})")
    print("slowest, seconds of processor time:")
    for seconds, number, name in totals.slowest:
        print(f"  {seconds:.2f}  {number}, of {name}")
    print(f"lines on standard error: {len(totals.said)}")
    for number, name, said in totals.said[:_SLOWEST]:
        print(f"  {number}, of {name}: {said}")
    return int(bool(totals.said) or any(kind not in _EXPECTED for kind in totals.kinds))


def main() -> int:
    """Run, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", metavar=".SUFFIX,...")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="write the mutants that found something there"
    )
    parser.add_argument("--show", type=int, metavar="NUMBER", help="write this mutant to standard output")
    options = parser.parse_args()
    chosen = corpus([suffix for suffix in options.only.split(",") if suffix])
    contents = [data for _, data in chosen]
    if options.show is not None:
        sys.stdout.buffer.write(mutant(contents, options.seed, options.show)[1])
        return 0
    totals = Totals()
    threads = [
        threading.Thread(target=watch, args=(options, worker, totals)) for worker in range(options.workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        found = [place for kind, place in totals.first.items() if kind not in _EXPECTED]
        for number, name in [*found, *((number, name) for number, name, _ in totals.said)]:
            (options.keep / f"{number}_{name}").write_bytes(mutant(contents, options.seed, number)[1])
    return tell(totals)


if __name__ == "__main__":
    sys.exit(main())

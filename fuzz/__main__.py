"""Give a target altered inputs, and tell what must not happen.

python -m fuzz NAME [--minutes N] [--runs N] [--engine mutants|hypothesis|atheris] [--seed N]
python -m fuzz NAME --show NUMBER   writes the mutant of that number, and of --seed, to standard output
python -m fuzz totals               prints the totals of all runs so far

NAME is a target, or all. Linux. It ends with 1 where anything was found; each finding is kept with its input, and each
run is a line of log.jsonl, in --folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzz.board import Board
from fuzz.engines import ENGINES
from fuzz.mutation import mutant
from fuzz.targets import TARGETS, kinds_of

_ENDED = "ended the process with"
_WITHOUT_END = 1 << 62


@dataclass(slots=True)
class Total:
    """One run of a target by an engine.

    Attributes:
        target: its name.
        engine: that made the inputs.
        seed: of it.
        executions: inputs that were read or refused.
        read: of these, as what they are.
        refused: with a FaceRestoreError.
        slowest_s: the longest processor time of one, seconds.
        seconds: of the run, by the clock.
        found: what must not happen, with the file of the input that shows it.
    """

    target: str
    engine: str
    seed: int
    executions: int = 0
    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    found: dict[str, str] = field(default_factory=dict)


def run(target: str, options: argparse.Namespace) -> Total:
    """Run an engine on a target, with a new process behind each input that ends one."""
    total = Total(target, options.engine, options.seed)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as name:
        board = Board(Path(name) / "board")
        first = 0
        while first < options.runs and (left := options.minutes * 60 - (time.monotonic() - start)) > 0:
            order = {
                "target": target, "engine": options.engine, "seed": options.seed + (first if first and options.engine
                == "atheris" else 0), "first": first, "runs": options.runs, "seconds": left, "folder": name,
            }  # fmt: skip
            code, said = _work(order, total, options.folder)
            if code == 0:
                break
            if (last := board.under_way()) is None:
                raise RuntimeError(f"a worker of {target} ended with {code} between inputs: {said}")
            _keep(total, options.folder, f"{_ENDED} {code}", *last)
            first = board.counts.number + 1
        counts = board.counts
    total.executions, total.read, total.refused = counts.executions, counts.read, counts.refused
    total.slowest_s, total.seconds = round(counts.slowest_s, 3), round(time.monotonic() - start, 1)
    return total


def _memory_folder() -> str | None:
    """Return a folder in memory, which spares the disk; None where there is none."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _work(order: dict[str, Any], total: Total, folder: Path) -> tuple[int, str]:
    """Run one worker to its end; return its exit code, and the end of what it said on standard error."""
    arguments = [sys.executable, "-m", "fuzz.worker", json.dumps(order)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            _keep(total, folder, found["words"], found["kind"], bytes.fromhex(found["input"]))
        code = process.wait()
        errors.seek(0)
        return code, errors.read().decode(errors="replace")[-2000:]


def _keep(total: Total, folder: Path, words: str, kind: str, data: bytes) -> None:
    """Write the input of a finding to a file, and note both."""
    path = folder / "found" / f"{total.target}.{kind}.{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    total.found.setdefault(words, path.name)
    print(f"{total.target} {kind}: {words}  ({path})", flush=True)


def tell(total: Total) -> None:
    """Print one line of a run."""
    print(
        f"{total.target}: {total.executions} executions by {total.engine} from seed {total.seed} in"
        f" {total.seconds:.0f} s, {total.read} read, {total.refused} refused, slowest {total.slowest_s:.2f} s,"
        f" {len(total.found)} found",
        flush=True,
    )


def table(log: Path) -> str:
    """Return the totals of all runs in a log as a table of Markdown."""
    runs = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rows = ["| target | executions | mutants | hypothesis | atheris | seeds | slowest, s | found |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for target in dict.fromkeys(run["target"] for run in runs):
        own = [run for run in runs if run["target"] == target]
        by = Counter[str]()
        for each in own:
            by[each["engine"]] += each["executions"]
        seeds = ", ".join(str(seed) for seed in sorted({each["seed"] for each in own}))
        found = len({words for each in own for words in each["found"]})
        counts = " | ".join(f"{by[engine]:,}" for engine in ENGINES)
        slowest = max(each["slowest_s"] for each in own)
        rows.append(f"| {target} | {by.total():,} | {counts} | {seeds} | {slowest:.2f} | {found} |")
    return "\n".join([*rows, f"\n{sum(run['executions'] for run in runs):,} executions in all"])


def main() -> int:
    """Run, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=[*TARGETS, "all", "totals"], help="target")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--runs", type=int, default=_WITHOUT_END, metavar="N", help="inputs at most")
    parser.add_argument("--engine", choices=list(ENGINES), default="mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="where findings and totals go")
    parser.add_argument("--show", type=int, metavar="NUMBER")
    options = parser.parse_args()
    if options.name == "totals":
        print(table(options.folder / "log.jsonl"))
        return 0
    if options.show is not None:
        contents = [example for kind in kinds_of(options.name) for example in kind.examples]
        sys.stdout.buffer.write(mutant(contents, options.seed, options.show)[1])
        return 0
    any_found = False
    for target in TARGETS if options.name == "all" else [options.name]:
        total = run(target, options)
        tell(total)
        any_found = any_found or bool(total.found)
        options.folder.mkdir(parents=True, exist_ok=True)
        with (options.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(total)) + "\n")
    return int(any_found)


if __name__ == "__main__":
    sys.exit(main())

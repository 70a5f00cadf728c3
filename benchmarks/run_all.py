"""Runs the benchmarks, one after the other, and puts their Markdown together in RESULTS.md.

python -m benchmarks.run_all RESULTS [--only NAME,...] [--again] [--quick] [--threads N] [--repeats N] [--device NAME]

On two cores it takes about half an hour; with --quick two or three minutes, and then the numbers mean nothing. What
has results in the folder, of the same options, is left alone unless --again is given, so that a run can be taken up
again or made in parts. Where one fails, the others are run all the same.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import batch, engines, networks, paste, pipeline, scaling, start
from benchmarks.common import (
    Benchmark,
    Options,
    command_line,
    option_facts,
    options_of,
    say,
    write_results,
)
from facerestore.errors import FaceRestoreError
from facerestore.io import write_encoded

BENCHMARKS: Mapping[str, Benchmark] = {
    "networks": networks.run,
    "pipeline": pipeline.run,
    "paste": paste.run,
    "batch": batch.run,
    "scaling": scaling.run,
    "start": start.run,
    "engines": engines.run,
}
"""In the order in which they are run, and stand in RESULTS.md."""


def run_all(options: Options, *, names: Sequence[str] = (), again: bool = False) -> list[str]:
    """Run benchmarks, put together all results of the folder, and return what failed.

    Args:
        options: of each.
        names: which; none for all.
        again: also those that have results of the same options.
    """
    failures: list[str] = []
    for name in names or BENCHMARKS:
        if not again and has_results(name, options):
            say(f"{name}: has results already; --again measures anew")
        else:
            failures += _run_one(name, options)
    put_together(options.out)
    return failures


def has_results(name: str, options: Options) -> bool:
    """Say whether a benchmark has results of these options, none of them failed."""
    path = options.out / f"{name}.json"
    if not path.is_file():
        return False
    facts = json.loads(path.read_text(encoding="utf-8"))
    return facts["options"] == option_facts(options) and not facts["failures"]


def _run_one(name: str, options: Options) -> list[str]:
    """Run one benchmark, write its results, and return what failed."""
    begun = time.perf_counter()
    say(f"{name}: begun")
    try:
        results = BENCHMARKS[name](options)
        write_results(results, options)
    except Exception as error:  # whatever it is, the other benchmarks do not depend on it
        said = str(error) if isinstance(error, FaceRestoreError) else f"{type(error).__name__}: {error}"
        say(f"{name}: failed: {said}")
        return [f"{name}: {said}"]
    say(f"{name}: done in {time.perf_counter() - begun:.0f} s")
    return [f"{name}: {failure}" for failure in results.failures]


def put_together(folder: Path) -> Path:
    """Write RESULTS.md of all results that are in a folder."""
    found = [path for name in BENCHMARKS if (path := folder / f"{name}.md").is_file()]
    texts = [path.read_text(encoding="utf-8") for path in found]
    whole = "\n".join(["# Benchmarks\n", *texts])
    return write_encoded(folder / "RESULTS.md", whole.encode(), overwrite=True)


def main() -> int:
    """Read the command line, run, and say what failed; 1 if anything did."""
    parser = command_line(__doc__ or "")
    parser.add_argument("--only", metavar="NAME,...", help=f"some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--again", action="store_true", help="also what has results")
    given = parser.parse_args()
    names = [name.strip() for name in given.only.split(",")] if given.only else []
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called '{unknown[0]}'; give some of {', '.join(BENCHMARKS)}")
    options = options_of(given)
    failures = run_all(options, names=names, again=given.again)
    sys.stderr.write("".join(f"error: {failure}\n" for failure in failures))
    sys.stdout.write(f"{options.out / 'RESULTS.md'}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

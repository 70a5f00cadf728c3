"""Runs all benchmarks, one after the other, and puts their Markdown together in RESULTS.md.

python -m benchmarks.run_all RESULTS [--quick] [--threads N] [--repeats N]

On two cores it takes about an hour; with --quick a minute or two, and then the numbers mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import batch, networks, paste, pipeline, scaling
from benchmarks.common import Benchmark, Options, write_results
from facerestore.errors import FaceRestoreError
from facerestore.io import write_encoded

BENCHMARKS: Mapping[str, Benchmark] = {
    "networks": networks.run,
    "paste": paste.run,
    "batch": batch.run,
    "pipeline": pipeline.run,
    "scaling": scaling.run,
}


def run_all(options: Options) -> list[Path]:
    """Run all benchmarks and return what was written.

    Raises:
        FaceRestoreError: one failed; the results of those before it stay.
    """
    written: list[Path] = []
    for benchmark in BENCHMARKS.values():
        written += write_results(benchmark(options), options.out)
    texts = [path.read_text(encoding="utf-8") for path in written if path.suffix == ".md"]
    whole = write_encoded(
        options.out / "RESULTS.md", "\n".join(["# Benchmarks\n", *texts]).encode(), overwrite=True
    )
    return [*written, whole]


def main() -> int:
    """Read the command line, run, and say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the results; made where it is missing")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the programs")
    parser.add_argument("--repeats", type=int, help="pairs of runs")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for automatic")
    given = parser.parse_args()
    try:
        written = run_all(Options(given.out, given.quick, given.repeats, given.threads))
    except FaceRestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())

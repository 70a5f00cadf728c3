"""Runs all benchmarks, one after the other, and puts their Markdown together in RESULTS.md.

python -m benchmarks.run_all RESULTS [--quick] [--threads N] [--repeats N] [--device NAME]

On two cores it takes about an hour; with --quick a minute or two, and then the numbers mean nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import batch, networks, paste, pipeline, scaling
from benchmarks.common import Benchmark, Options, read_options, write_results
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
    options = read_options(__doc__ or "")
    try:
        written = run_all(options)
    except FaceRestoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())

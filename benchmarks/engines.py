"""GPEN as it ships in torch against the same weights exported to ONNX Runtime and OpenVINO, in turns.

python -m benchmarks.engines RESULTS [--quick] [--threads N] [--repeats N]

An engine whose packages are not installed has a row that says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import Options, Results, main, ratio_cell, say, start
from facerestore.backends.exported import RUNTIMES
from facerestore.bench.pairs import PairResult, compare
from facerestore.bench.report import pair_facts
from facerestore.bench.sides import Side
from facerestore.bench.sources import find_source
from facerestore.bench.spawn import spawned
from facerestore.bench.tables import NOTHING, Table, megabytes, process_words, seconds
from facerestore.errors import BackendError, FaceRestoreError, count
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict

SIZE, QUICK_SIZE = 512, 32
ENGINES = ("onnx", "openvino")
REPEATS = 7

HEADINGS = (
    "engine",
    "export",
    "error",
    "torch, a face",
    "engine, a face",
    "times as fast as torch",
    "load torch",
    "engine",
    "memory torch",
    "engine",
)


class Written(NamedTuple):
    """An exported network.

    Attributes:
        name: as ``--backend`` takes it.
        seconds: from parameters to the compared file.
        error: largest difference from torch over the output's standard deviation.
    """

    name: str
    seconds: float
    error: float


def run(options: Options) -> Results:
    """Export the network for each engine, and run it in turns with torch."""
    machine, pairs, rows, notes, failures = start(), [], [], [], []
    with tempfile.TemporaryDirectory(prefix="facerestore-engines-") as folder:
        weights = Path(folder) / "gpen.safetensors"
        spawned(write_weights, weights, QUICK_SIZE if options.quick else SIZE)
        for engine in ENGINES:
            try:
                written, pair = _measured(engine, weights, options)
            except MissingError as error:
                rows.append((engine, "not installed", *[NOTHING] * (len(HEADINGS) - 2)))
                notes.append(f"{engine}: {error}")
            except FaceRestoreError as error:
                rows.append((engine, "failed", *[NOTHING] * (len(HEADINGS) - 2)))
                failures.append(f"{engine}: {error}")
            else:
                pairs.append((written, pair))
                rows.append(_row(engine, written, pair))
    notes += [f"both: {words}" for words in dict.fromkeys(process_words(p.one) for _, p in pairs)]
    notes.append("error: largest difference from torch on four faces, over the output's standard deviation")
    others = [own.others for _, pair in pairs for own in (pair.one, pair.other) if own.others is not None]
    return Results(
        "engines",
        "GPEN in torch and in other engines",
        machine,
        [
            Table(
                f"GPEN {QUICK_SIZE if options.quick else SIZE} px, one face",
                HEADINGS,
                tuple(rows),
                tuple(notes),
            )
        ],
        {
            "pairs": [
                without_folders({"engine": w._asdict(), **pair_facts(pair)}, folder) for w, pair in pairs
            ]
        },
        others=max(others, default=None),
        failures=failures,
    )


def without_folders(facts: Any, folder: str) -> Any:
    """Return facts, ready for JSON, without a folder of this machine before the names of files."""
    if isinstance(facts, dict):
        return {key: without_folders(value, folder) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [without_folders(value, folder) for value in facts]
    return facts.replace(f"{folder}{os.sep}", "") if isinstance(facts, str) else facts


class MissingError(FaceRestoreError):
    """The packages of an engine are not installed."""


def _measured(engine: str, weights: Path, options: Options) -> tuple[Written, PairResult]:
    from facerestore.export.writers import check_packages

    try:
        check_packages(engine)
    except BackendError as error:
        raise MissingError(str(error)) from error
    say(f"exporting to {engine}")
    written = spawned(exported, engine, weights, options.threads)
    one = Side(network=written.name, threads=options.threads, device="cpu")
    other = Side(network=str(weights), threads=options.threads, device="cpu")
    repeats = options.repeats or (1 if options.quick else REPEATS)
    say(f"{engine} against torch: {count(repeats, 'pair')}")
    return written, compare(one, other, repeats=repeats)


def write_weights(path: Path, size: int) -> None:
    """Write drawn parameters of GPEN."""
    source = find_source("gpen", random=True, size=size, store=WeightsStore(offline=True))
    save_state_dict(path, source.state_dict or {})


def exported(engine: str, weights: Path, threads: int) -> Written:
    """Write a network as a file for an engine, and compare it."""
    import time

    from facerestore.engines.device import keep_freed_memory, set_threads
    from facerestore.export import Wanted, export_network, open_export

    keep_freed_memory()
    set_threads(threads)
    begun = time.perf_counter()
    subject = open_export(Wanted(name="gpen", weights=str(weights)))
    target = weights.with_suffix(RUNTIMES[engine].suffixes[0])
    found = export_network(subject, target, format=engine, threads=threads)
    return Written(found.name, time.perf_counter() - begun, found.parity.error)


def _row(engine: str, written: Written, pair: PairResult) -> tuple[str, ...]:
    ours, torch_side = pair.one, pair.other
    return (
        engine,
        seconds(written.seconds),
        f"{written.error:.0e}",
        seconds(torch_side.seconds_per_face),
        seconds(ours.seconds_per_face),
        ratio_cell(pair.ratio),
        seconds(torch_side.opened.load_seconds),
        seconds(ours.opened.load_seconds),
        megabytes(torch_side.peak.bytes),
        megabytes(ours.peak.bytes),
    )


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))

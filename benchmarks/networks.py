"""Each network as it ships against the plain published maths with the same weights, in turns.

python -m benchmarks.networks RESULTS [--quick] [--threads N] [--repeats N] [--device NAME]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common import Options, Results, main, ratio_cell, say, start
from facerestore.bench.pairs import NetworkResult, PairResult, compare
from facerestore.bench.report import pair_facts
from facerestore.bench.sides import Side, parse_against
from facerestore.bench.tables import NOTHING, Table, gflop_cell, megabytes, process_words, seconds
from facerestore.errors import FaceRestoreError, count


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and what it runs against.

    Attributes:
        network: as in ``Side``.
        size: side of the faces, pixels.
        against: in the vocabulary of ``--against``.
        batch: faces in one call.
        precision: what ours computes in.
        repeats: pairs of runs.
    """

    network: str
    size: int
    against: str = "reference"
    batch: int = 1
    precision: str = "float32"
    repeats: int = 7

    def side(self, options: Options) -> Side:
        """Return what ours runs."""
        return Side(
            network=self.network,
            random=True,
            size=self.size,
            batch=self.batch,
            precision=self.precision,
            threads=options.threads,
            device=options.device,
        )


CASES = (
    Case("gpen", 512),
    Case("gpen", 512, "reference,batch=1", batch=4),
    Case("gpen", 512, batch=4, repeats=6),
    Case("gpen", 256, repeats=15),
    Case("psfr", 512),
    Case("psfr+parsenet", 512),
    Case("parsenet", 512),
    Case("bisenet", 512, repeats=15),
    Case("lite", 256, repeats=15),
)
"""Weights are drawn: speed does not depend on them. A batch of four is handed to ours in one call; the published form
has four faces one by one, as its program does, and then four in one call."""

ACCELERATOR_CASES = (
    Case("gpen", 512, "reference,precision=float32", batch=8, precision="fp16"),
    Case("gpen", 512, "eager,precision=float32", batch=8, precision="fp16"),
    Case("gpen", 512, "eager,precision=tf32", batch=8, precision="fp16"),
    Case("gpen", 512, "reference", batch=8),
    Case("psfr+parsenet", 512, "reference,precision=float32", batch=8, precision="fp16"),
)
"""Where another device is asked for: several faces at once, and half precision against float32 and against TF32, which
torch takes for convolutions on CUDA unless it is told otherwise."""

QUICK = (
    Case("gpen", 32, "reference,batch=1", batch=2, repeats=1),
    Case("psfr+parsenet", 32, repeats=1),
    Case("bisenet", 32, repeats=1),
)

HEADINGS = (
    "network",
    "px",
    "faces",
    "GFLOP",
    "plain, a face",
    "ours, a face",
    "times as fast",
    "of peak, plain",
    "ours",
    "error",
    "memory plain",
    "ours",
)


def run(options: Options) -> Results:
    """Run all cases; one that fails stands in the table, and the others are run."""
    machine, pairs, rows, failures = start(), [], [], []
    for case in _cases(options):
        side = case.side(options)
        other = parse_against(case.against, side)
        repeats = options.repeats or case.repeats
        say(f"{side.label} against {', '.join(other.settings)}: {count(repeats, 'pair')}")
        try:
            pairs.append(compare(side, other, repeats=repeats))
        except FaceRestoreError as error:
            failures.append(f"{side.label}: {error}")
            name = (_name(side), str(case.size), f"{side.batch}, {other.batch}")
            rows.append((*name, *[NOTHING] * (len(HEADINGS) - len(name))))
        else:
            rows.append(_row(pairs[-1]))
    table = Table(
        "Networks: as they ship, and the plain published maths", HEADINGS, tuple(rows), _notes(pairs)
    )
    others = [own.others for pair in pairs for own in (pair.one, pair.other) if own.others is not None]
    return Results(
        "networks",
        "Networks against their plain form",
        machine,
        [table],
        {"pairs": [pair_facts(pair) for pair in pairs]},
        others=max(others, default=None),
        failures=failures,
    )


def _cases(options: Options) -> tuple[Case, ...]:
    if options.quick:
        return QUICK
    return CASES if options.device == "cpu" else ACCELERATOR_CASES


def _name(side: Side) -> str:
    return side.network if side.precision == "float32" else f"{side.network}, {side.precision}"


def _row(pair: PairResult) -> tuple[str, ...]:
    ours, plain = pair.one, pair.other
    return (
        _name(ours.side),
        str(ours.opened.size),
        f"{ours.side.batch}, {plain.side.batch}",
        gflop_cell(ours),
        seconds(plain.seconds_per_face),
        seconds(ours.seconds_per_face),
        ratio_cell(pair.ratio),
        _share(plain),
        _share(ours),
        f"{max(pair.errors.values()):.0e}" if pair.errors else NOTHING,
        megabytes(plain.peak.bytes),
        megabytes(ours.peak.bytes),
    )


def _share(result: NetworkResult) -> str:
    return NOTHING if result.share_of_peak is None else f"{result.share_of_peak:.0%}"


def _notes(pairs: Sequence[PairResult]) -> tuple[str, ...]:
    """Return what the numbers mean, and how the processes told that they were set up."""
    rates = sorted(own.product_rate for pair in pairs for own in (pair.one, pair.other))
    notes = [
        "faces: in one call of ours, and of the plain form; times and memory are medians and peaks of processes of"
        " their own",
        "of peak: GFLOP a second of the published maths over those of a matrix product in the same process; above 100%"
        " where a form needs fewer operations",
        "error: largest difference of the outputs over their standard deviation; of one call with the same faces",
    ]
    notes += [f"matrix product: {rates[0]:.0f} to {rates[-1]:.0f} GFLOP a second"] if rates else []
    for name, own in (("plain", [p.other for p in pairs]), ("ours", [p.one for p in pairs])):
        notes += [f"{name}: {words}" for words in dict.fromkeys(process_words(result) for result in own)]
    faults = [
        f"{p.other.faults:,} and {p.one.faults:,}"
        for p in pairs
        if None not in (p.other.faults, p.one.faults)
    ]
    notes += (
        [f"pages of memory from the system in a run, plain and ours, row by row: {'; '.join(faults)}"]
        if faults
        else []
    )
    return tuple(notes)


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))

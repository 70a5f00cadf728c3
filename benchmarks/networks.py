"""Each network as it ships against the plain published maths with the same weights, in turns.

python -m benchmarks.networks RESULTS [--quick] [--threads N] [--repeats N] [--device NAME]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from benchmarks.common import Options, Results, main, ratio_cell, start
from facerestore.bench.pairs import PairResult, compare
from facerestore.bench.report import pair_facts
from facerestore.bench.sides import Side, parse_against
from facerestore.bench.tables import Table, gflop_cell, megabytes, seconds


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and what it runs against.

    Attributes:
        network: as in ``Side``.
        size: side of the faces, pixels.
        against: in the vocabulary of ``--against``.
        batch: faces in one call.
        precision: what ours computes in.
    """

    network: str
    size: int
    against: str = "reference"
    batch: int = 1
    precision: str = "float32"


CASES = (
    Case("gpen", 512),
    Case("gpen", 512, batch=4),
    Case("gpen", 512, "reference,batch=1", batch=4),
    Case("gpen", 256),
    Case("psfr", 512),
    Case("psfr+parsenet", 512),
    Case("parsenet", 512),
    Case("bisenet", 512),
    Case("lite", 256),
)
"""Weights are drawn: speed does not depend on them."""

ACCELERATOR_CASES = (
    Case("gpen", 512, "reference,precision=float32", batch=8, precision="fp16"),
    Case("gpen", 512, "eager,precision=float32", batch=8, precision="fp16"),
    Case("gpen", 512, "reference", batch=8),
    Case("psfr+parsenet", 512, "reference,precision=float32", batch=8, precision="fp16"),
)
"""Where another device is asked for: several faces at once, and half precision against float32."""

QUICK = (Case("gpen", 32, batch=2), Case("psfr+parsenet", 32))

REPEATS = 7


def run(options: Options) -> Results:
    """Run all cases."""
    machine, pairs = start(), []
    for case in _cases(options):
        side = Side(
            network=case.network,
            random=True,
            size=case.size,
            batch=case.batch,
            precision=case.precision,
            threads=options.threads,
            device=options.device,
        )
        pairs.append(compare(side, parse_against(case.against, side), repeats=_repeats(options)))
    others = [own.others for pair in pairs for own in (pair.one, pair.other) if own.others is not None]
    table = Table(
        "Networks: as they ship, and the plain published maths",
        (
            "network",
            "px",
            "faces",
            "GFLOP",
            "plain, a face",
            "ours, a face",
            "times as fast",
            "error",
            "memory plain",
            "ours",
        ),
        tuple(_row(pair) for pair in pairs),
        (
            "error: largest difference of the outputs over their standard deviation",
            "faces: in one call of ours, and of the plain form",
            "the plain form runs as published programs do, without the allocator's settings",
        ),
    )
    facts = {"pairs": [pair_facts(pair) for pair in pairs]}
    return Results(
        "networks",
        "Networks against their plain form",
        machine,
        [table],
        facts,
        others=max(others, default=None),
    )


def _cases(options: Options) -> tuple[Case, ...]:
    if options.quick:
        return QUICK
    return CASES if options.device == "cpu" else ACCELERATOR_CASES


def _repeats(options: Options) -> int:
    return options.repeats or (1 if options.quick else REPEATS)


def _row(pair: PairResult) -> tuple[str, ...]:
    ours, plain = pair.one, pair.other
    return (
        ", ".join([ours.side.network, *([] if ours.side.precision == "float32" else [ours.side.precision])]),
        str(ours.opened.size),
        f"{ours.side.batch}, {plain.side.batch}",
        gflop_cell(ours),
        seconds(plain.seconds_per_face),
        seconds(ours.seconds_per_face),
        ratio_cell(pair.ratio),
        f"{max(pair.errors.values()):.0e}" if pair.errors else "-",
        megabytes(plain.peak.bytes),
        megabytes(ours.peak.bytes),
    )


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))

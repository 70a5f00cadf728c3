"""Each network as it ships against the plain published maths with the same weights, in turns.

python -m benchmarks.networks RESULTS [--quick] [--threads N] [--repeats N]
"""

from __future__ import annotations

import sys
from dataclasses import replace

from benchmarks.common import Options, Results, main, ratio_cell, start
from facerestore.bench.pairs import PairResult, compare
from facerestore.bench.report import pair_facts
from facerestore.bench.sides import Side, parse_against
from facerestore.bench.tables import Table, gflop_cell, megabytes, seconds

CASES: tuple[tuple[str, int, int, str], ...] = (
    ("gpen", 512, 1, "reference"),
    ("gpen", 512, 4, "reference"),
    ("gpen", 512, 4, "reference,batch=1"),
    ("gpen", 256, 1, "reference"),
    ("psfr", 512, 1, "reference"),
    ("psfr+parsenet", 512, 1, "reference"),
    ("parsenet", 512, 1, "reference"),
    ("bisenet", 512, 1, "reference"),
    ("lite", 256, 1, "reference"),
)
"""Network, size, faces in one call, and what it runs against; weights are drawn: speed does not depend on them."""

QUICK: tuple[tuple[str, int, int, str], ...] = (
    ("gpen", 32, 2, "reference"),
    ("psfr+parsenet", 32, 1, "reference"),
)

REPEATS = 7


def run(options: Options) -> Results:
    """Run all cases."""
    machine, pairs = start(), []
    for network, size, batch, against in QUICK if options.quick else CASES:
        side = Side(
            network=network, random=True, size=size, batch=batch, threads=options.threads, device="cpu"
        )
        other = parse_against(against, side)
        pairs.append(compare(side, replace(other, size=size), repeats=_repeats(options)))
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


def _repeats(options: Options) -> int:
    return options.repeats or (1 if options.quick else REPEATS)


def _row(pair: PairResult) -> tuple[str, ...]:
    ours, plain = pair.one, pair.other
    return (
        ours.side.network,
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

"""All that a benchmark measured, as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facerestore import __version__
from facerestore.bench.line import LineResult
from facerestore.bench.machine import Machine, busy_words
from facerestore.bench.pairs import NetworkResult, PairResult
from facerestore.bench.statistics import Ratio, Timing
from facerestore.errors import ConfigError
from facerestore.io import write_encoded

SCHEMA = 2
"""Raised when a key changes its meaning or goes away."""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured in one run.

    Attributes:
        machine: where.
        lines: the stages of the line, network by network; none where they were not asked for.
        networks: one by one.
        pair: two sides in turns; None where none was asked for.
        failures: what could not be measured, and why.
    """

    machine: Machine
    lines: tuple[LineResult, ...] = ()
    networks: tuple[NetworkResult, ...] = ()
    pair: PairResult | None = None
    failures: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What keeps the numbers from being trusted, a sentence each."""
        measured: list[LineResult | NetworkResult] = [*self.networks, *self.lines]
        measured += [] if self.pair is None else [self.pair.one, self.pair.other]
        others = [found.others for found in measured if found.others is not None]
        busy = busy_words(self.machine.load_before, max(others, default=None))
        return [] if busy is None else [busy]

    def facts(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON; times in seconds, sizes in bytes."""
        return {
            "schema": SCHEMA,
            "facerestore": __version__,
            "machine": asdict(self.machine),
            "warnings": self.warnings,
            "lines": [line_facts(result) for result in self.lines],
            "networks": [network_facts(result) for result in self.networks],
            "pair": None if self.pair is None else pair_facts(self.pair),
            "failures": list(self.failures),
        }


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Write facts as JSON, whole or not at all; an existing file is replaced.

    Raises:
        ConfigError: the name does not end in .json.
        ImageError: it cannot be written.
    """
    check_json_name(path)
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_encoded(path, text.encode("utf-8", errors="backslashreplace"), overwrite=True)


def check_json_name(path: Path) -> None:
    """Raise ConfigError unless the name ends in .json."""
    if path.suffix.lower() != ".json":
        raise ConfigError(f"the report '{path}' needs a name that ends in .json")


def timing_facts(timing: Timing) -> dict[str, Any]:
    """Return a timing with its runs."""
    return {
        "median": timing.median,
        "least": timing.least,
        "spread": timing.spread,
        "runs": list(timing.seconds),
    }


def line_facts(result: LineResult) -> dict[str, Any]:
    """Return what was measured of the line."""
    facts = asdict(result)
    facts["stages"] = [
        {"name": stage.name, "seconds": timing_facts(stage.timing), "peak_bytes": stage.peak_bytes}
        for stage in result.stages
    ]
    facts["total"] = timing_facts(result.total)
    return facts


def network_facts(result: NetworkResult) -> dict[str, Any]:
    """Return what was measured of one network."""
    return {
        "label": result.side.label,
        **asdict(result.side),
        "opened": asdict(result.opened),
        "seconds": timing_facts(result.timing),
        "seconds_per_face": result.seconds_per_face,
        "gflop": result.gflop,
        "gflop_per_second": result.rate,
        "product_gflop_per_second": result.product_rate,
        "share_of_peak": result.share_of_peak,
        "peak": asdict(result.peak),
        "others": result.others,
        "page_faults": result.faults,
    }


def pair_facts(pair: PairResult) -> dict[str, Any]:
    """Return what was measured of two sides."""
    return {
        "one": network_facts(pair.one),
        "other": network_facts(pair.other),
        "times_as_fast": ratio_facts(pair.ratio),
        "errors": dict(pair.errors),
    }


def ratio_facts(ratio: Ratio) -> dict[str, Any]:
    """Return a ratio with its interval."""
    return asdict(ratio)

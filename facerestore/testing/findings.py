"""What a check of a restorer found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended; ``UNCLEAR`` is no fault, and no pass either."""

    PASSED = "passed"
    FAILED = "failed"
    UNCLEAR = "could not tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """One clause of the contract.

    Attributes:
        name: the clause, such as ``colour``.
        verdict: whether it is kept.
        measured: what was found, with the numbers that decided.
        remedy: what to mend where it is not kept, or how to find out where the check could not tell; else empty.
    """

    name: str
    verdict: Verdict
    measured: str
    remedy: str = ""


def finding(name: str, kept: bool, measured: str, *, remedy: str) -> Finding:
    """Return the finding of a check that can tell; ``remedy`` is kept only where it is needed."""
    verdict = Verdict.PASSED if kept else Verdict.FAILED
    return Finding(name, verdict, measured, "" if kept else remedy)

"""Networks timed one by one, and two of them in turns, so that what disturbs the machine disturbs both alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from facerestore.bench.memory import Peak
from facerestore.bench.runner import BenchJob, Opened, SideRunner, TimedRun, remote_runner
from facerestore.bench.sides import Side
from facerestore.bench.standstill import undisturbed
from facerestore.bench.statistics import Ratio, Timing, paired_ratio, relative_error
from facerestore.errors import ConfigError

OpenRunner: TypeAlias = Callable[[Side], SideRunner]
"""Makes what runs a side; `remote_runner` gives each a process of its own."""

Tell: TypeAlias = Callable[[str], None]
"""Is told what is being done."""

WARM_UPS = 1
"""Runs that do not count: the first one of a process fetches libraries, plans convolutions and touches memory."""

ACCELERATOR_WARM_UPS = 4
"""On other devices than the CPU: with the third call of a shape a network records itself, which takes four runs of it
(``facerestore.archs.replay``)."""


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """A network as it was measured.

    Attributes:
        side: what ran.
        opened: what is known of its networks.
        timing: of the whole batch.
        gflop: operations of the whole batch; None where they cannot be counted.
        product_rate: of a matrix product in the same process, GFLOP a second.
        peak: most memory.
        others: share of the processors that others took during the runs; None where it cannot be told.
        faults: pages of memory that a run had from the system, the median; None where it cannot be told.
    """

    side: Side
    opened: Opened
    timing: Timing
    gflop: float | None
    product_rate: float
    peak: Peak
    others: float | None
    faults: int | None = None

    @property
    def seconds_per_face(self) -> float:
        """The median run over the faces in it."""
        return self.timing.median / self.side.batch

    @property
    def rate(self) -> float | None:
        """GFLOP a second of the median run."""
        return None if self.gflop is None else self.gflop / self.timing.median

    @property
    def share_of_peak(self) -> float | None:
        """That rate over the matrix product's; above 1 where a convolution needs fewer operations than published."""
        return None if self.rate is None else self.rate / self.product_rate


@dataclass(frozen=True, slots=True)
class PairResult:
    """Two sides, run in turns.

    Attributes:
        one: the side that was asked about.
        other: what it is measured against.
        ratio: seconds for a face of the other over those of the one: how many times as fast the one is.
        errors: by network, the largest difference of its outputs over the standard deviation of the other's; empty
            where the sides do not compute the same.
    """

    one: NetworkResult
    other: NetworkResult
    ratio: Ratio
    errors: dict[str, float]


def measure(
    side: Side, *, repeats: int, open_runner: OpenRunner = remote_runner, tell: Tell | None = None
) -> NetworkResult:
    """Time one side.

    Raises:
        FaceRestoreError: weights, a name or the device is at fault, or ``repeats`` is below 1.
    """
    _check_repeats(repeats)
    with closing(open_runner(side)) as runner:
        opened = runner.open()
        turns = _told_turns(repeats, side.label, tell, warm_ups=_warm_ups(opened))
        runs = [undisturbed(runner.run) for _ in turns][_warm_ups(opened) :]
        return _network_result(side, opened, runs, runner)


def compare(
    one: Side, other: Side, *, repeats: int, open_runner: OpenRunner = remote_runner, tell: Tell | None = None
) -> PairResult:
    """Time two sides in turns: one, other, one, other, ..., each turn a pair.

    Outputs are compared where both sides have the same weights, size and batch.

    Raises:
        FaceRestoreError: weights, a name or the device is at fault, or ``repeats`` is below 1.
    """
    _check_repeats(repeats)
    with closing(open_runner(other)) as second, closing(open_runner(one)) as first:
        opened = first.open(), second.open()
        warm_ups = max(_warm_ups(own) for own in opened)
        runs = in_turns(first, second, repeats=repeats, label=one.label, tell=tell, warm_ups=warm_ups)
        ratio = run_ratio(runs, shares=(one.batch, other.batch))
        errors = {}
        if one.same_maths == other.same_maths:
            found, expected = first.outputs(), second.outputs()
            errors = {name: relative_error(found[name], expected[name]) for name in expected if name in found}
        return PairResult(
            _network_result(one, opened[0], runs[0], first),
            _network_result(other, opened[1], runs[1], second),
            ratio,
            errors,
        )


def in_turns(
    first: BenchJob,
    second: BenchJob,
    *,
    repeats: int,
    label: str,
    tell: Tell | None = None,
    warm_ups: int = WARM_UPS,
) -> tuple[list[TimedRun], list[TimedRun]]:
    """Run two jobs in turns, first, second, first, second, ..., and return the runs of each, warm-ups left out.

    A pair during which the machine stood still is run again (see `undisturbed`).

    Raises:
        ConfigError: ``repeats`` is below 1.
    """
    _check_repeats(repeats)
    turns = _told_turns(repeats, label, tell, warm_ups=warm_ups)
    pairs = [undisturbed(lambda: (first.run(), second.run())) for _ in turns][warm_ups:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def run_ratio(
    runs: tuple[Sequence[TimedRun], Sequence[TimedRun]], *, shares: tuple[int, int] = (1, 1)
) -> Ratio:
    """Return how many times as fast the first job is, by the pairs of runs.

    Args:
        runs: of the first and the second job.
        shares: what each run did so many times: faces in its batch.
    """
    first, second = ([run.seconds / share for run in own] for own, share in zip(runs, shares, strict=True))
    return paired_ratio(second, first)


def _network_result(
    side: Side, opened: Opened, runs: Sequence[TimedRun], runner: SideRunner
) -> NetworkResult:
    """Return what was measured; the memory is asked first, before anything else needs some."""
    peak = runner.peak()
    return NetworkResult(
        side=side,
        opened=opened,
        timing=Timing(tuple(run.seconds for run in runs)),
        gflop=runner.gflop(),
        product_rate=runner.product_rate(),
        peak=peak,
        others=others_share(runs),
        faults=median_faults(runs),
    )


def others_share(runs: Sequence[TimedRun]) -> float | None:
    """Return the share that others took over all runs: single short ones are counted too coarsely."""
    known = [(run.others, run.seconds) for run in runs if run.others is not None]
    total = sum(seconds for _, seconds in known)
    return sum(share * seconds for share, seconds in known) / total if total else None


def median_faults(runs: Sequence[TimedRun]) -> int | None:
    """Return how many pages of memory the middle run had from the system; None where it cannot be told."""
    known = sorted(run.faults for run in runs if run.faults is not None)
    return known[len(known) // 2] if known else None


def _warm_ups(opened: Opened) -> int:
    return WARM_UPS if opened.device == "cpu" else ACCELERATOR_WARM_UPS


def _told_turns(repeats: int, label: str, tell: Tell | None, *, warm_ups: int) -> Iterator[int]:
    """Yield the numbers of the runs, those that do not count first, telling each."""
    for index in range(warm_ups + repeats):
        if tell is not None:
            run = f"run {index - warm_ups + 1} of {repeats}"
            tell(f"{label}: {'warm-up' if index < warm_ups else run}")
        yield index


def _check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; give 1 or more")

"""Medians and spreads of timings; the median of paired ratios with its percentile bootstrap interval (Efron 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.evaluation.bootstrap import interval

RESAMPLES = 4000
LEAST_PAIRS = 6
"""For fewer no interval is given: the smallest and largest of n values then miss the median in over 5% of all cases
(2 * 0.5 ** n), so that no interval made of them can have the level."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something took, run by run.

    Attributes:
        seconds: wall time of each run, in their order.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that there is a run."""
        if not self.seconds:
            raise ConfigError("nothing was timed; give at least one repeat")

    @property
    def median(self) -> float:
        """The middle run, seconds."""
        return float(np.median(self.seconds))

    @property
    def least(self) -> float:
        """The quickest run, seconds."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Half the range of the middle half of the runs over their median: 0.05 reads as ±5%."""
        low, high = np.quantile(self.seconds, [0.25, 0.75])
        return float((high - low) / 2 / self.median) if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long one thing takes as another, paired run by run.

    Attributes:
        median: of the ratios.
        low: lower end of the 95% interval of the median; None for fewer than `LEAST_PAIRS`.
        high: upper end.
        pairs: number of ratios.
    """

    median: float
    low: float | None
    high: float | None
    pairs: int


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Return the median of the ratios of runs that were made side by side.

    Args:
        numerators: seconds of the one, run by run.
        denominators: seconds of the other, as many, each above 0.

    Raises:
        ConfigError: there are none, not equally many, or a time is not positive.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ConfigError(
            f"{len(numerators)} and {len(denominators)} timings are no pairs; give equally many, at least one"
        )
    if min(*numerators, *denominators) <= 0:
        raise ConfigError("a run took no time that the clock can tell; use a larger size or batch")
    ratios = np.asarray(numerators, dtype=np.float64) / np.asarray(denominators, dtype=np.float64)
    enough = len(ratios) >= LEAST_PAIRS
    low, high = interval(ratios, np.median, resamples=RESAMPLES) if enough else (None, None)
    return Ratio(float(np.median(ratios)), low, high, len(ratios))


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays over the standard deviation of the expected one.

    Raises:
        ConfigError: their shapes differ, or the expected one is constant.
    """
    if found.shape != expected.shape:
        raise ConfigError(f"outputs of {found.shape} and {expected.shape} cannot be compared; use one size")
    deviation = float(expected.std(dtype=np.float64))
    if deviation == 0:
        raise ConfigError("the expected output is constant, so that no difference can be related to it")
    return float(np.abs(found.astype(np.float64) - expected).max()) / deviation

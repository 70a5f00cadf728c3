"""Runners, jobs and clocks for benchmarks that take no time."""

import numpy as np

from facerestore.bench.memory import Peak
from facerestore.bench.runner import Opened, TimedRun


class Clock:
    """Goes on by a step at each look."""

    def __init__(self, step=1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


class FakeRunner:
    """Tells prepared times, and writes down who ran when."""

    def __init__(self, name, times, diary, *, output=None, gflop=3.0, fails=False) -> None:
        self.name, self.times, self.diary = name, iter(times), diary
        self.output = np.arange(4, dtype=np.float32) if output is None else output
        self.count, self.fails = gflop, fails

    def open(self):
        self.diary.append(f"open {self.name}")
        return Opened((self.name,), 32, 10**6, "cpu", {"torch": 1}, 0.5)

    def run(self):
        if self.fails:
            raise RuntimeError("no")
        self.diary.append(self.name)
        return TimedRun(next(self.times), 0.25)

    def peak(self):
        return Peak(2 * 10**8, "memory")

    def gflop(self):
        return self.count

    def product_rate(self):
        return 6.0

    def outputs(self):
        return {"net": self.output}

    def close(self):
        self.diary.append(f"close {self.name}")

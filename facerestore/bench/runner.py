"""Runs one side: opens its networks, times them, and tells memory, operations and outputs.

`Runner` works in the process that makes it. `remote_runner` gives the same with a process of its own behind it,
so that two sides can differ in what a process has only once (threads, the allocator's settings), and that the memory of
each is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from facerestore.bench.machine import OthersWatch, product_rate, thread_facts
from facerestore.bench.memory import Peak, page_faults, peak, reset_peak
from facerestore.bench.parts import Part, open_parts
from facerestore.bench.sides import TF32, Side
from facerestore.bench.spawn import Changes, Remote, as_published, as_shipped, waiting_words
from facerestore.engines.device import (
    autocast_dtype,
    keep_freed_memory,
    resolve_device,
    set_threads,
    synchronise,
)
from facerestore.errors import ConfigError
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.weights import WeightsStore

if TYPE_CHECKING:
    from pathlib import Path

    import torch


@dataclass(frozen=True, slots=True)
class Opened:
    """What is known of a side once its networks are loaded.

    Attributes:
        names: of backend and parser, in the order in which they run.
        size: side of the faces that the restorer gives, or of those that the parser takes, pixels.
        parameters: numbers in the weights of all of its networks; 0 where they cannot be counted.
        device: where they run.
        threads: of torch and of OpenCV.
        load_seconds: from the words to networks ready to run, Python modules not counted.
        waiting: how threads were told to wait.
        keeps_memory: the allocator keeps what is freed (see ``device.keep_freed_memory``).
    """

    names: tuple[str, ...]
    size: int
    parameters: int
    device: str
    threads: dict[str, int]
    load_seconds: float
    waiting: str = ""
    keeps_memory: bool = False


@dataclass(frozen=True, slots=True)
class TimedRun:
    """One timed run.

    Attributes:
        seconds: wall time for the whole batch.
        others: share of the processors that others took meanwhile; None where it cannot be told.
        faults: pages of memory that were touched for the first time, or again after they were given back; None where
            the system does not tell.
    """

    seconds: float
    others: float | None
    faults: int | None = None


class BenchJob(Protocol):
    """Anything that can be run again and again."""

    def run(self) -> TimedRun:
        """Do it once, timed."""

    def peak(self) -> Peak:
        """Return the most memory that was in use since it was ready to run."""

    def waiting(self) -> str:
        """Return how threads were told to wait."""

    def close(self) -> None:
        """Let go of everything."""


class SideRunner(BenchJob, Protocol):
    """What pairs and tables of networks are made with."""

    def open(self) -> Opened:
        """Load the networks."""

    def gflop(self) -> float | None:
        """Return the operations of the whole batch, in 10^9, a multiply-add being two; None where nothing can count."""

    def product_rate(self) -> float:
        """Return the rate of a matrix product, GFLOP a second."""

    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """Return what each network gives for the same faces, by its name."""


def remote_job(
    make: Callable[..., BenchJob], *args: object, label: str, environment: Changes | None = None
) -> BenchJob:
    """Return a job in a process of its own; see `Remote` for the arguments."""
    return cast("BenchJob", Remote(make, args, label=label, environment=environment))


class Runner:
    """A side in this process; its threads are set for the process.

    Args:
        side: what is run.
        home: folder of the installed weights; the user's own when None.
        clock: returns wall seconds.

    Raises:
        ConfigError: the device is absent.
    """

    def __init__(
        self, side: Side, *, home: Path | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._side, self._store, self._clock = side, WeightsStore(home, offline=True), clock
        import torch

        self._device = torch.device(resolve_device(side.device))
        self._parts: list[Part] = []
        self._reset = False

    def open(self) -> Opened:
        """Load the networks.

        Raises:
            FaceRestoreError: weights, a name or the device is at fault.
        """
        set_threads(self._side.threads)
        # As every command does; the published programs leave the allocator alone.
        ours = self._device.type == "cpu" and self._side.form != "reference"
        keeps_memory = keep_freed_memory() if ours else False
        self._dtype = _dtype(self._side.precision, self._device)
        import torch  # so that its import does not count

        torch.zeros(1, device=self._device)
        start = self._clock()
        self._parts = open_parts(self._side, device=self._device, store=self._store)
        seconds = self._clock() - start
        faces = trial_faces(self._parts[-1].size)
        self._faces = [faces[index % len(faces)] for index in range(self._side.batch)]
        self._maps = [trial_map(self._parts[-1].size)] * self._side.batch
        self._reset = reset_peak(self._device)
        return Opened(
            names=tuple(part.name for part in self._parts),
            size=self._parts[-1].size,
            parameters=sum(part.parameters for part in self._parts),
            device=str(self._device),
            threads=thread_facts(),
            load_seconds=seconds,
            waiting=waiting_words(),
            keeps_memory=keeps_memory,
        )

    def run(self) -> TimedRun:
        """Run the side once: a parser first, then the restorer with its maps, or with drawn ones without a parser."""
        watch, maps, before = OthersWatch(clock=self._clock), self._maps, page_faults()
        with self._computing():
            synchronise(self._device)
            start = self._clock()
            for part in self._parts:
                found = part.run(self._faces, maps)
                maps = list(found) if part.parses else maps
            synchronise(self._device)
            seconds = self._clock() - start
        return TimedRun(seconds, watch.share(), page_faults() - before)

    def peak(self) -> Peak:
        """Return the most memory that was in use since the networks were loaded."""
        return peak(reset=self._reset, device=self._device)

    def waiting(self) -> str:
        """Return how threads were told to wait."""
        return waiting_words()

    def gflop(self) -> float | None:
        """Return the operations of the published maths for the batch, in 10^9; None where they cannot be counted.

        Counted on the reference form where there is one, without computing anything; else on a run of the network.
        """
        counted = [part.gflop() for part in self._parts]
        known = [own for own in counted if own is not None]
        return sum(known) * self._side.batch if len(known) == len(counted) else None

    def product_rate(self) -> float:
        """Return the rate of a matrix product in this side's precision, GFLOP a second."""
        with self._computing(products_only=True):
            return product_rate(self._device, dtype=self._dtype, clock=self._clock)

    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """Return what each network gives for the same faces and drawn maps."""
        with self._computing():
            return {part.name: part.output(self._faces, self._maps) for part in self._parts}

    def close(self) -> None:
        """Let go of the networks."""
        self._parts = []

    def _computing(self, *, products_only: bool = False) -> AbstractContextManager[Any]:
        """Return the context in which the networks compute in the side's precision."""
        import torch

        if self._device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = self._side.precision == TF32
            torch.backends.cudnn.allow_tf32 = self._side.precision == TF32
        if self._dtype is None or products_only:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)


def remote_runner(side: Side, *, home: Path | None = None) -> SideRunner:
    """Return a side in a process of its own: the reference form as published programs run, all others as ours does.

    Args:
        side: what is run.
        home: folder of the installed weights; the user's own when None.
    """
    environment = as_published() if side.form == "reference" else as_shipped()
    make = partial(Runner, home=home)
    return cast("SideRunner", remote_job(make, side, label=side.label, environment=environment))


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return what torch's autocast is to compute in; None for float32, with or without rounded factors.

    Raises:
        ConfigError: the device does not have the precision.
    """
    if precision != TF32:
        return autocast_dtype(precision, device)
    if device.type != "cuda":
        raise ConfigError(f"precision {TF32} is of CUDA devices, and the device is {device}; give float32")
    return None

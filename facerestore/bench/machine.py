"""The machine that is measured on: what it is, how busy others keep it, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from facerestore.engines.cores import available_cores
from facerestore.engines.device import synchronise
from facerestore.errors import required_package

if TYPE_CHECKING:
    import torch

CPU_INFO = Path("/proc/cpuinfo")
IDLE = frozenset({"idle", "iowait", "guest", "guest_nice"})
"""Of psutil's times: what is no work, and the guests', which the user's hold already."""

CROWDED = 0.1
"""Share of the processors that others take, from which timings are called misleading: on two cores a fifth of one."""

LOADED = 0.25
"""Load for each processor, over the minute before, from which it is said that the machine is busy."""

PRODUCT_SIDES = (256, 16384)
"""Sides of the matrices: the first, doubled until a product takes `PRODUCT_SECONDS`, and the largest."""
PRODUCT_SECONDS = 0.05  # long enough that starting threads does not count
PRODUCT_RUNS = 5


@dataclass(frozen=True, slots=True)
class Machine:
    """What is measured on.

    Attributes:
        processor: its name.
        processors: how many this process may use.
        system: operating system.
        python: version.
        torch: version.
        capability: the widest vector instructions that torch uses on the CPU.
        accelerator: name of the CUDA device; None without one.
        load_before: processes that were running or waiting over the last minute, before anything was measured; None
            where the system does not tell.
    """

    processor: str
    processors: int
    system: str
    python: str
    torch: str
    capability: str
    accelerator: str | None
    load_before: float | None


def describe_machine() -> Machine:
    """Look at the machine; the load is that of now, so call it before measuring.

    Raises:
        ConfigError: a package that measuring needs is not installed.
    """
    psutil()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    import torch

    return Machine(
        processor=_processor(),
        processors=available_cores(),
        system=platform.platform(terse=True),
        python=platform.python_version(),
        torch=torch.__version__,
        capability=torch.backends.cpu.get_cpu_capability(),
        accelerator=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        load_before=load,
    )


def psutil() -> ModuleType:
    """Return the package that knows the machine's figures.

    Raises:
        ConfigError: it is not installed.
    """
    return required_package("psutil", what="measuring", install='pip install "facerestore[bench]"')


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


class OthersWatch:
    """Measures which share of the processors others take while this process works.

    Args:
        busy: returns the seconds that all processors together have been busy since some point.
        own: returns the processor seconds of this process.
        clock: returns wall seconds.
    """

    def __init__(
        self,
        *,
        busy: Callable[[], float] | None = None,
        own: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._busy, self._own, self._clock = busy or busy_seconds, own, clock
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        return self._busy(), self._own(), self._clock()

    def share(self) -> float | None:
        """Return the share, 0 to 1, since this was made; None where no time has passed."""
        (busy, own, clock), (busy_before, own_before, clock_before) = self._now(), self._start
        if clock <= clock_before:
            return None
        others = (busy - busy_before) - (own - own_before)
        return min(max(others / (clock - clock_before) / all_processors(), 0.0), 1.0)


def busy_seconds() -> float:
    """Return how long all processors together have not been idle since the start."""
    times: dict[str, float] = psutil().cpu_times()._asdict()
    return sum(seconds for name, seconds in times.items() if name not in IDLE)


def all_processors() -> int:
    """Return the number of processors of the machine."""
    return os.cpu_count() or 1


def busy_words(load: float | None, others: float | None) -> str | None:
    """Return a warning where others keep the machine busy, so that timings mislead; None where all is quiet.

    What was measured meanwhile counts before what the load was, which our own work may have made.

    Args:
        load: of the minute before.
        others: the largest share of the processors that others took while something was measured.
    """
    if others is not None:
        found = f"others took up to {others:.0%} of the processors while it ran" if others > CROWDED else None
    else:
        loaded = load is not None and load / all_processors() > LOADED
        found = (
            f"the load was {load:.2f} on {all_processors()} processors before it began" if loaded else None
        )
    if found is None:
        return None
    return f"the machine is busy: {found}; trust no timing here, and ratios only of pairs"


def product_rate(
    device: torch.device, *, dtype: torch.dtype | None = None, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the best rate of a square matrix product on a device, GFLOP a second, with the threads as they are set.

    Args:
        device: where.
        dtype: of the matrices; float32 when None.
        clock: returns wall seconds.
    """
    import torch

    side, most = PRODUCT_SIDES
    while True:
        a, b = (torch.rand(side, side, device=device).to(dtype or torch.float32) for _ in range(2))
        seconds = [_product_seconds(a, b, clock) for _ in range(PRODUCT_RUNS)]
        if min(seconds) >= PRODUCT_SECONDS or side == most:
            return 2 * side**3 / min(seconds) / 1e9
        side *= 2


def _product_seconds(a: torch.Tensor, b: torch.Tensor, clock: Callable[[], float]) -> float:
    import torch

    synchronise(a.device)
    start = clock()
    torch.mm(a, b)
    synchronise(a.device)
    return clock() - start


def thread_facts() -> dict[str, Any]:
    """Return how many threads torch and OpenCV use."""
    import cv2
    import torch

    return {"torch": torch.get_num_threads(), "opencv": cv2.getNumThreads()}

"""How busy a GPU is while something runs: what its driver says, asked again and again."""

from __future__ import annotations

import statistics
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    import torch

SECONDS_BETWEEN = 0.25
"""Between two questions: the driver's own answer is of the last sixth of a second to second (NVML documentation of
``nvmlUtilization_t``)."""

QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
SMI_SECONDS = 10.0  # a driver that does not answer by then is broken

Ask = Callable[[], float]
"""Returns the share of the last moments, 0 to 1, in which one kernel or more was running on the GPU."""


class BusyWatch:
    """Asks, in a thread of its own, while its block runs.

    The share is the driver's: the time in which *any* kernel runs. It tells whether the GPU waits for the host, and not
    how well each kernel uses it.

    Args:
        ask: returns the share of the last moments.
        every: seconds between two questions.
    """

    def __init__(self, ask: Ask, *, every: float = SECONDS_BETWEEN) -> None:
        self._ask, self._every = ask, every
        self._answers: list[float] = []
        self._error: Exception | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="busy watch", daemon=True)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask no more."""
        self._end.set()
        self._thread.join()

    @property
    def share(self) -> float:
        """The mean of all answers, 0 to 1.

        Raises:
            ConfigError: the driver did not answer.
        """
        if self._error is not None or not self._answers:
            why = "the block was over before the first answer" if self._error is None else str(self._error)
            raise ConfigError(f"how busy the GPU was cannot be told: {why}")
        return statistics.fmean(self._answers)

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._answers.append(self._ask())
            except Exception as error:  # of NVML, of nvidia-smi; told when the share is asked for
                self._error = error
                return


def driver_of(device: torch.device, *, smi: Callable[[str], float] | None = None) -> Ask:
    """Return what asks the driver of a CUDA device: NVML where its Python package is installed, else ``nvidia-smi``.

    Args:
        device: a CUDA device.
        smi: asks the program of a GPU; `smi_share` when None.

    Raises:
        ConfigError: the device is no CUDA device.
    """
    import torch

    if device.type != "cuda":
        raise ConfigError(f"only CUDA devices tell how busy they are, and the device is {device}")
    try:
        torch.cuda.utilization(device)
    except (
        ModuleNotFoundError,
        RuntimeError,
    ):  # without nvidia-ml-py, or with one that does not know the driver
        uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)  # torch 2.4 has none
        gpu = str(device.index or 0) if uuid is None else f"GPU-{uuid}"
        return lambda: (smi or smi_share)(gpu)
    return lambda: torch.cuda.utilization(device) / 100


def smi_share(gpu: str, *, program: str = "nvidia-smi") -> float:
    """Return what ``nvidia-smi`` says of a GPU, 0 to 1.

    Raises:
        ConfigError: it is not there, or gives no number.
    """
    try:
        found = subprocess.run(
            [program, "-i", gpu, *QUERY], capture_output=True, text=True, check=True, timeout=SMI_SECONDS
        )
        return float(found.stdout.strip()) / 100
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(f"'{program}' does not tell how busy {gpu} is: {error}") from error

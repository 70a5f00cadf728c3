"""How much memory was used at most: of the process, and of an accelerator."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.bench.machine import psutil

if TYPE_CHECKING:
    import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to clear_refs, it sets the peak to what is resident now (proc(5), since Linux 4.0)."""

KIB = 1024


@dataclass(frozen=True, slots=True)
class Peak:
    """The most memory that was in use at a time.

    Attributes:
        bytes: how much; None where it was not measured.
        of: what was counted, for people: the process since its start, since a point in time, or an accelerator.
    """

    bytes: int | None
    of: str


def reset_peak(device: torch.device | None = None) -> bool:
    """Forget the peak until now; say whether that was possible.

    Args:
        device: a CUDA device, whose peak is forgotten too.
    """
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:  # another system, or a sandbox that does not allow it
        return False
    return True


def peak(*, reset: bool, device: torch.device | None = None) -> Peak:
    """Return the most memory that was in use.

    Args:
        reset: what `reset_peak` said: whether the peak is one since then, when all was loaded, or since the process
            began.
        device: a CUDA device, which is asked instead of the process.
    """
    if device is not None and device.type == "cuda":
        import torch

        return Peak(int(torch.cuda.max_memory_allocated(device)), f"torch's tensors on {device}")
    since = "from when all was loaded" if reset else "since the process began"
    return Peak(_high_water(), f"resident memory of the process, {since}")


def page_faults() -> int:
    """Return how many pages this process has had from the system so far."""
    if sys.platform == "win32":
        return int(psutil().Process().memory_info().num_page_faults)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _high_water() -> int:
    """Return the largest resident size of the process, bytes; psutil tells it on Windows alone."""
    if sys.platform == "win32":
        return int(psutil().Process().memory_info().peak_wset)
    try:  # not the system's own answer, which `reset_peak` does not lower
        return (
            int(re.findall(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE)[0]) * KIB
        )
    except (OSError, IndexError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * KIB

"""How much memory was used at most: of the process, and of an accelerator."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
        bytes: how much; None where this system does not tell.
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


def resident() -> int | None:
    """Return the bytes of the process that are in memory now; None where this system does not tell."""
    return _status("VmRSS")


def page_faults() -> int | None:
    """Return how many pages this process has had from the system so far; None where this system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def faults_since(before: int | None) -> int | None:
    """Return how many pages it has had since then."""
    now = page_faults()
    return None if now is None or before is None else now - before


def _high_water() -> int | None:
    """Return the largest resident size of the process, bytes."""
    found = _status("VmHWM")
    if found is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * KIB


def _status(name: str) -> int | None:
    """Return an entry of /proc/self/status in bytes."""
    try:
        text = STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return None if found is None else int(found[1]) * KIB

"""Where and how networks run: the device, CPU threads, and the allocator setting that doubles CPU speed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: the device is unknown or absent on this machine.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    numbered = kind == "cuda" and index.isascii() and index.isdigit()
    if kind not in DEVICES[1:] or (kind != name and not numbered):
        raise ConfigError(f"unknown device '{name}'; choose one of {', '.join(DEVICES)} or cuda:N")
    if kind == "cuda" and not (torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count()):
        raise ConfigError(
            f"device '{name}' is not available here; use --device cpu, or see 'facerestore doctor'"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not available here; use --device cpu, or see 'facerestore doctor'")
    return torch.device(name)


def set_threads(threads: int) -> None:
    """Let torch and OpenCV use ``threads`` CPU threads each; 0 leaves their own choice.

    Raises:
        ConfigError: ``threads`` is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads is {threads}; give 0 for automatic, or a positive number")
    if threads:
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)


@contextmanager
def few_threads(threads: int) -> Iterator[None]:
    """Let torch and OpenCV use ``threads`` CPU threads for each caller within the block, then as many as before."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    set_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks instead of returning them to the system; say whether it was done.

    Convolution outputs of more than 32 MB are otherwise mapped and unmapped at every layer, and zeroing their pages
    costs as much as the arithmetic. Results stay bit-identical. Linux with glibc only; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, 2**31 - 1))

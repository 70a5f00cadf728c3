"""What the environment says to a process that is measured: as our command sets it, or as published programs find it.

OpenMP and the allocator read it when they are loaded, so it must stand before the process begins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from facerestore.device import SHORT_SPIN

Changes: TypeAlias = Mapping[str, str | None]
"""Variables and their values; None takes a variable out."""

WAITING_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""How long GNU OpenMP lets a waiting thread spin, and whether it does at all; ``device.wait_asleep`` looks at both."""

TUNING = (
    *WAITING_VARIABLES,
    "MALLOC_MMAP_MAX_",  # mallopt(3), as the next three
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",  # torch's own, for large pages
)
"""Variables that change how threads wait and what becomes of freed memory. The number of threads is none of them."""


def as_shipped() -> Changes:
    """Return what the ``facerestore`` command sets before it imports torch (see ``device.wait_asleep``)."""
    return {} if any(name in os.environ for name in WAITING_VARIABLES) else {"GOMP_SPINCOUNT": SHORT_SPIN}


def as_published() -> Changes:
    """Return what leaves threads and memory to the libraries, whatever the command or the user has set."""
    return dict.fromkeys(TUNING)


@contextmanager
def changed(changes: Changes) -> Iterator[None]:
    """Let processes that are started within find these variables; then all is as before."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(changes: Changes) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def waiting_words() -> str:
    """Return how threads of this process were told to wait, for people."""
    told = [f"{name}={os.environ[name]}" for name in WAITING_VARIABLES if name in os.environ]
    return ", ".join(told) or "OpenMP's own waiting"

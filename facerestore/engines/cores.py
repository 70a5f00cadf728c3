"""The processors of this machine, and how photos share them that are worked on at a time, and the faces of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_SIDE_BY_SIDE = 4
"""Giving grain to a face whose crop has 1100 px takes 140 MB (measured)."""

_allowed = 0  # threads, as `allow` was told
_photos = 1  # that are worked on at a time, as `cores_shared` was told


def available_cores() -> int:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allow(threads: int) -> None:
    """Let `side_by_side` take so many threads at most; 0 for as many as there are cores."""
    global _allowed
    _allowed = threads


@contextmanager
def cores_shared(photos: int) -> Iterator[None]:
    """Within the block a graph that is loaded has its share of the cores: so many photos are worked on at a time.

    Only graphs, whose results are the same to the bit on any number of threads; those of torch are not.
    """
    global _photos
    before, _photos = _photos, photos
    try:
        yield
    finally:
        _photos = before


def share_of_cores() -> int:
    """Return the CPU threads of a graph; 0 leaves them to what runs it, where one photo has all cores."""
    return 0 if _photos == 1 else max(1, available_cores() // _photos)


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return what comes of each of some things, in their order, as many at a time as one photo has cores, or a few.

    For work on the faces of a photo that is mostly OpenCV's, numpy's and ONNX Runtime's, which let other threads run.

    Raises:
        Exception: whatever ``work`` raised first, by the order of the things.
    """
    count = min(len(items), MOST_SIDE_BY_SIDE, share_of_cores() or _allowed or available_cores())
    if count < 2:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, items))

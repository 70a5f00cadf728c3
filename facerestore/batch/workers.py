"""How many photos are worked on at a time, and what keeps their memory within bounds.

Each keeps all of torch's threads, for a network computes a little differently on another number of them: so a photo's
result is, bit for bit, the same whatever else is worked on. Threads that wait sleep (``device.wait_asleep``). A graph,
which computes the same on any number, has its share of the cores (``cores.cores_shared``).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from facerestore.batch.plan import STREAM, PhotoJob
from facerestore.engines.cores import available_cores
from facerestore.errors import ImageError
from facerestore.io import RemotePath, picture_size, read_encoded

PIXELS_AT_A_TIME = 64_000_000
"""Photos that together have more are taken one after the other: beside the networks, a pixel of a JPEG takes 5.4 bytes
from file to file (measured at 100 megapixels), and up to 10 in other formats. A single photo may be larger."""

LARGE_FILE_BYTES = 16_000_000
"""Of a file that is not read for its size: a JPEG of 50 megapixels, or a film."""

SAMPLED = 8
"""Photos of a run that are looked at before it begins, for how large they are."""

ACCELERATOR_PIXELS_AT_A_TIME = 192_000_000
"""The same where networks run on an accelerator: `ACCELERATOR_WORKERS` photos of 12 megapixels, in about 2 GB."""

ACCELERATOR_WORKERS = 16
"""Most photos at a time where networks run on an accelerator; within it, one for each core. While one photo's faces are
there, others are decoded, searched, blended and encoded; their faces gather (``facerestore.batch.gathering``). Chosen,
not measured."""


def on_cpu(device: str) -> bool:
    """Say whether networks run on the CPU, by the words for where they run."""
    return device.lower().startswith("cpu")


def worker_count(asked: int, *, photos: int, device: str, threads: int = 0) -> int:
    """Return how many photos to work on at a time.

    Args:
        asked: what the user wants; 0 for automatic, which is one for each core.
        photos: how many there are.
        device: where the networks run.
        threads: CPU threads that the user allows; 0 for all cores.
    """
    cores = threads or available_cores()
    automatic = cores if on_cpu(device) else min(ACCELERATOR_WORKERS, cores)
    return max(1, min(asked or automatic, photos))


def at_a_time(workers: int, jobs: Sequence[PhotoJob]) -> int:
    """Return how many of some photos the memory holds at a time, by the largest of a few; at most ``workers``."""
    if workers == 1:
        return 1
    sizes = [_pixels_of(job) for job in jobs[:: math.ceil(len(jobs) / SAMPLED)]]
    return max(1, min(workers, PIXELS_AT_A_TIME // max(sizes)))


def _pixels_of(job: PhotoJob) -> int:
    """Return how many pixels a photo states; 1 where nobody can say so soon, many where the file is large."""
    if job.source == STREAM or isinstance(job.source, RemotePath):
        return 1
    try:
        if job.source.stat().st_size > LARGE_FILE_BYTES:
            return PIXELS_AT_A_TIME
        return math.prod(picture_size(read_encoded(job.source), page=1))
    except (OSError, ImageError):  # told when it is its turn
        return 1


def pixels_at_a_time(device: str) -> int:
    """Return how many pixels the photos that are under way may have together, by where networks run."""
    return PIXELS_AT_A_TIME if on_cpu(device) else ACCELERATOR_PIXELS_AT_A_TIME


class PixelBudget:
    """Lets photos in, in the order in which they come, as long as all inside have at most ``limit`` pixels.

    One is always let in. A large photo waits until what is inside is through, and those behind it wait for it: else
    small ones would pass it for as long as there are any.
    """

    def __init__(self, limit: int = PIXELS_AT_A_TIME) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until a photo of ``pixels`` fits, and hold its place within the block."""
        own = object()
        with self._changed:
            self._waiting.append(own)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is own and self._has_room(pixels))
                self._inside += pixels
            finally:
                self._waiting.remove(own)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= pixels
                self._changed.notify_all()

    def _has_room(self, pixels: int) -> bool:
        return self._inside == 0 or self._inside + pixels <= self._limit

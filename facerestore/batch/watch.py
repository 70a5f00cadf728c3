"""A directory that grows: which of its photos are new and at rest, by looking at them again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from facerestore.batch.plan import PhotoJob
from facerestore.batch.standing import stamp

INTERVAL_S = 2.0
"""Between two looks; chosen, so that a photo waits for little more than its own copying."""

SHARE = 10
"""As many times as long as a look takes is waited after it, so that looking takes a tenth of a core at most."""


class Watch:
    """Looks at photos by their sizes and times, and says of each once that it has come to rest.

    Args:
        clock: seconds since 1970.
        wait: waits for some seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._wait = clock, wait
        self._seen: dict[Path, tuple[int | None, int | None]] = {}
        self._taken: dict[Path, tuple[int | None, int | None]] = {}
        self._begun = clock()

    def pause(self) -> None:
        """Wait until it is time for the next look."""
        self._wait(max(INTERVAL_S, SHARE * (self._clock() - self._begun)))
        self._begun = self._clock()

    def fresh(self, jobs: Iterable[PhotoJob]) -> list[PhotoJob]:
        """Return the photos that were not returned before as they are now, and that nobody is still writing.

        That is, they are as they were at the last look, or have been so for the time between two.
        """
        found = []
        for job in jobs:
            now = stamp(job.source)
            still = self._seen.get(job.source) == now or self._is_old(now[1])
            self._seen[job.source] = now
            if still and self._taken.get(job.source) != now:
                self._taken[job.source] = now
                found.append(job)
        return found

    def _is_old(self, mtime_ns: int | None) -> bool:
        return mtime_ns is not None and self._clock() - mtime_ns / 1e9 >= INTERVAL_S

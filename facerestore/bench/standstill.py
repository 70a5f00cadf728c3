"""Notices when the whole machine stood still, as virtual ones do for seconds and more: what was timed then is void."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Self, TypeVar

Result = TypeVar("Result")

NAP_SECONDS = 0.05
LATE_SECONDS = 1.0
"""How much later than asked a sleeping thread wakes up if the machine stood still; on a crowded one it is late by
hundredths of a second. Standstills of 24 to 69 s were seen on a virtual machine."""

TRIES = 4
"""How often something is timed in all; the last try counts whatever happens, so that measuring ends."""


class StandstillWatch:
    """Within, a thread sleeps again and again, and sees whether it wakes up in time.

    Args:
        clock: returns seconds, going on while the machine stands still.
        nap: sleeps for so many seconds, or until told to end, and says whether it was told.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        nap: Callable[[float], bool] | None = None,
    ) -> None:
        self._over = Event()
        self._clock, self._nap = clock, nap or self._over.wait
        self._thread = Thread(target=self._watch, name="standstill-watch", daemon=True)
        self.longest = 0.0

    @property
    def stood_still(self) -> bool:
        """Whether the machine did not run for a while."""
        return self.longest > LATE_SECONDS

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        before, over = self._clock(), False
        while not over:
            over = self._nap(NAP_SECONDS)
            now = self._clock()
            self.longest, before = max(self.longest, now - before - NAP_SECONDS), now


def undisturbed(
    call: Callable[[], Result], *, tries: int = TRIES, watch: Callable[[], StandstillWatch] = StandstillWatch
) -> Result:
    """Return what a call that times something gives; it is made again where the machine stood still meanwhile."""
    for _ in range(tries - 1):
        with watch() as own:
            result = call()
        if not own.stood_still:
            return result
    return call()

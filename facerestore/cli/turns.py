"""Photos told in the order in which they were given, though they are done as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from facerestore.batch import PhotoJob, PhotoOutcome

MOST_EARLY = 100
"""Photos that wait to be told for one that takes long; then it has lost its turn. Chosen: a few pages of lines."""


class Turns:
    """Tells each photo when those before it are told.

    Args:
        jobs: in their order.
        tell: says what became of a photo.
        most: photos that wait for another.
    """

    def __init__(
        self, jobs: Sequence[PhotoJob], tell: Callable[[PhotoOutcome], None], *, most: int = MOST_EARLY
    ) -> None:
        self._turns, self._to_come, self._tell, self._most = deque(jobs), set(jobs), tell, most
        self._early: dict[PhotoJob, PhotoOutcome] = {}

    def take(self, outcome: PhotoOutcome) -> None:
        """Tell what became of a photo, when its turn comes or, where that is over, now."""
        if outcome.job not in self._to_come:
            self._tell(outcome)
            return
        self._early[outcome.job] = outcome
        while self._turns and (self._turns[0] in self._early or len(self._early) > self._most):
            self._next()

    def end(self) -> None:
        """Tell what still waits."""
        while self._early:
            self._next()

    def _next(self) -> None:
        job = self._turns.popleft()
        self._to_come.discard(job)
        if job in self._early:
            self._tell(self._early.pop(job))

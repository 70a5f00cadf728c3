"""The driver of a cluster: it gives out photos, takes over what dead workers had, and alone keeps the journal.

A worker has a few photos at a time and is given the next when one is through, so a huge photo holds up nobody but those
few, and what is under way is bounded by the number of workers, whatever waits. A photo whose worker dies goes to
another one, and alone the second time, so that it is known whose fault a second death is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from facerestore.batch.cluster.worker import Begun, Ended, Loaded
from facerestore.batch.journal import Journal
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.plan import PhotoJob
from facerestore.batch.standing import Claim, Intent
from facerestore.errors import BackendError, InTheWayError

Answer = TypeVar("Answer")

MOST_TRIES = 3
"""Workers that a photo may cost; chosen: one may die of anything, of the third a photo is the likeliest cause."""

MOST_DEATHS = 5
"""Workers that may die one after the other before one has loaded the networks; chosen."""

LOOK_S = 2.0
"""How often machines that have come are looked for."""


class LostError(Exception):
    """A worker is gone, with all that it had under way."""


class Hand(Protocol):
    """A worker, as the driver knows it; futures of one that is gone raise ``LostError``."""

    def load(self) -> Future[Loaded]:
        """See ``Worker.load``."""
        ...

    def begin(self, job: PhotoJob, *, begun: bool) -> Future[Begun]:
        """See ``Worker.begin``."""
        ...

    def finish(self, job: PhotoJob) -> Future[Ended]:
        """See ``Worker.finish``."""
        ...

    def dismiss(self) -> None:
        """End the worker, whatever it has under way."""
        ...


class Crew(Protocol):
    """Where workers come from.

    Attributes:
        at_a_time: photos that each has at a time.
    """

    at_a_time: int

    def hire(self) -> Hand:
        """Return a new worker, which begins when there is a place for it."""
        ...

    def wanted(self, *, hired: int, working: int) -> int:
        """Return how many workers to have: as many as there are places for, and more where these may grow.

        Args:
            hired: those that there are, or wait for a place.
            working: of these, those that have begun.
        """
        ...


@dataclass(eq=False, slots=True)
class _Place:
    """A worker, and the photos that it has."""

    hand: Hand
    ready: bool = False
    photos: set[_Photo] = field(default_factory=set)

    def has_room(self, at_a_time: int) -> bool:
        """Say whether another photo may go there: none beside one that has cost a worker."""
        return len(self.photos) < at_a_time and not any(each.tries for each in self.photos)


@dataclass(eq=False, slots=True)
class _Photo:
    """A photo on its way.

    Attributes:
        job: what is to be done.
        begun: a run has begun it before.
        tries: workers that died with it.
        intent: what its result is to be, once that is known.
    """

    job: PhotoJob
    begun: bool = False
    tries: int = 0
    intent: Intent | None = None


class Driver:
    """Has a crew do photos; its workers stay from one run to the next.

    Args:
        crew: where workers come from; asking it how many there may be takes a request.
        look_s: how often it is asked.
    """

    def __init__(self, crew: Crew, *, look_s: float = LOOK_S) -> None:
        self._crew, self._look_s = crew, look_s
        self._wanted, self._looked = 0, -math.inf
        self._places: list[_Place] = []
        self._answers = SimpleQueue[Callable[[], PhotoOutcome | None]]()
        self._deaths = 0  # since a worker has last loaded the networks
        self._loaded: Loaded | None = None
        self._journal: Journal | None = None
        self._jobs: Iterator[PhotoJob] = iter(())
        self._left = 0
        self._again = deque[_Photo]()
        self._under_way: set[_Photo] = set()

    def load(self) -> Loaded:
        """Return what the first worker has loaded; it is waited for. Raises as ``run`` does."""
        while self._loaded is None:
            self._hire(1)
            self._take_answer()
        return self._loaded

    def run(
        self,
        jobs: Sequence[PhotoJob],
        *,
        journal: Journal | None = None,
        on_stop: Callable[[int], None] = lambda under_way: None,
    ) -> Generator[PhotoOutcome, None, None]:
        """Yield what becomes of each photo as it comes; see ``facerestore.batch.run_jobs``.

        Raises:
            WeightsError: the networks cannot be used, or differ from machine to machine.
            ConfigError: a machine lacks what the driver has.
            BackendError: workers die before they have loaded the networks.
            JournalError: the journal cannot be written.
        """
        self._journal, self._jobs, self._left = journal, iter(jobs), len(jobs)
        try:
            yield from self._flow()
        except KeyboardInterrupt:
            # What is under way is finished and told, what waits is not begun; unless one cannot wait for that.
            self._jobs, self._left = iter(()), 0
            self._again.clear()
            try:
                on_stop(len(self._under_way))
                yield from self._flow()
            except KeyboardInterrupt:
                self.dismiss()
                raise
            raise

    def dismiss(self) -> None:
        """End all workers, whatever they have under way."""
        for place in self._places:
            place.hand.dismiss()
        self._places.clear()
        self._under_way.clear()

    def _flow(self) -> Iterator[PhotoOutcome]:
        while todo := self._left + len(self._again) + len(self._under_way):
            self._hire(todo)
            yield from self._give_out()
            outcome = self._take_answer() if self._under_way or self._again or self._left else None
            if outcome is not None:
                yield outcome

    def _hire(self, todo: int) -> None:
        """Have as many workers as there are places for them, and no more than photos."""
        if (now := time.monotonic()) - self._looked >= self._look_s:
            working = sum(place.ready for place in self._places)
            self._wanted = self._crew.wanted(hired=len(self._places), working=working)
            self._looked = now
        while len(self._places) < min(todo, self._wanted):
            place = _Place(self._crew.hire())
            self._places.append(place)
            self._await(place.hand.load(), partial(self._begin_work, place), place)
        idle = sorted((p for p in self._places if not p.photos), key=lambda p: p.ready)
        for place in idle[: max(0, len(self._places) - todo)]:  # their machines may go
            self._places.remove(place)
            place.hand.dismiss()

    def _begin_work(self, place: _Place, loaded: Loaded) -> None:
        place.ready, self._deaths, self._loaded = True, 0, self._loaded or loaded

    def _give_out(self) -> Iterator[PhotoOutcome]:
        """Give photos to workers that have room; yield those that are another run's."""
        while True:
            ready = sorted((p for p in self._places if p.ready), key=lambda p: len(p.photos))
            if self._again and ready and not ready[0].photos:
                self._give(ready[0], self._again.popleft())
                continue
            # A worker for each photo that is to go alone is given nothing more until it has nothing left.
            free = [p for p in ready[len(self._again) :] if p.has_room(self._crew.at_a_time)]
            photo = self._next_photo() if free else None
            if photo is None:
                return
            if self._claimed(photo):
                self._give(free[0], photo)
            else:
                yield PhotoOutcome(photo.job, Status.LEFT, 0.0)

    def _give(self, place: _Place, photo: _Photo) -> None:
        place.photos.add(photo)
        self._under_way.add(photo)
        answer = place.hand.begin(photo.job, begun=photo.begun)
        self._await(answer, partial(self._begun, place, photo), place)

    def _next_photo(self) -> _Photo | None:
        job = next(self._jobs, None)
        self._left -= job is not None
        return None if job is None else _Photo(job)

    def _claimed(self, photo: _Photo) -> bool:
        """Say whether a photo is this run's; its file is looked at where it is read."""
        if self._journal is None:
            return True
        claim = self._journal.claim(photo.job, looks=lambda path: (None, None))
        photo.begun = claim is Claim.AGAIN
        return claim is not Claim.REFUSED

    def _begun(self, place: _Place, photo: _Photo, begun: Begun) -> PhotoOutcome | None:
        if self._journal is not None:
            self._journal.looked_at(photo.job, begun.stamp)
        if begun.ended is not None:
            return self._ended(place, photo, begun.ended)
        assert begun.intent is not None, "one of both"
        photo.intent = begun.intent
        if self._journal is not None:
            self._journal.intend(photo.job, begun.intent)
        self._await(place.hand.finish(photo.job), partial(self._ended, place, photo), place)
        return None

    def _ended(self, place: _Place, photo: _Photo, ended: Ended) -> PhotoOutcome:
        place.photos.discard(photo)
        outcome = ended.outcome
        if isinstance(outcome.error, InTheWayError) and self._is_whole(photo):
            return self._settled(photo, self._as_intended(photo))  # a worker taken for dead has written it
        return self._settled(photo, outcome)

    def _settled(self, photo: _Photo, outcome: PhotoOutcome) -> PhotoOutcome:
        self._under_way.discard(photo)
        if self._journal is not None:
            self._journal.settle(outcome)
        return outcome

    def _lose(self, place: _Place, error: LostError) -> PhotoOutcome | None:
        """Have others do what a dead worker had; return the outcome of a photo where that is known by now."""
        if place not in self._places:
            return None
        self._places.remove(place)
        place.hand.dismiss()
        self._looked = -math.inf  # its machine may be gone
        if not place.ready:
            self._deaths += 1
            if self._deaths >= MOST_DEATHS:
                raise BackendError(
                    f"{self._deaths} workers died one after the other while they loaded the networks; see to the memory"
                    f" of the machines, and to the log of Ray on them; the last one says: {error}"
                ) from error
        for photo in place.photos:
            photo.tries += 1
            photo.begun = True
            self._answers.put(partial(self._retry, photo))
        return None

    def _retry(self, photo: _Photo) -> PhotoOutcome | None:
        """Return the outcome of a photo whose worker died, where its result is there, or it has cost too many."""
        if self._is_whole(photo):
            return self._settled(photo, self._as_intended(photo))
        if photo.tries < MOST_TRIES:
            self._under_way.discard(photo)
            self._again.append(photo)
            return None
        fault = BackendError(
            f"{photo.job.source}: {photo.tries} workers died with it, the last with nothing else under way; see to the"
            " memory of the machines, or leave it out with --exclude"
        )
        return self._settled(photo, PhotoOutcome(photo.job, Status.FAILED, 0.0, error=fault))

    def _is_whole(self, photo: _Photo) -> bool:
        return photo.intent is not None and photo.intent.is_at(photo.job.target)

    def _as_intended(self, photo: _Photo) -> PhotoOutcome:
        """Return the outcome of a photo whose result is there, as its worker has said that it was to be."""
        assert photo.intent is not None, "its result is there"
        report = photo.intent.report
        seconds = sum(report.get("stage_seconds", {}).values())
        written = (photo.job.target, *photo.intent.extras)
        return PhotoOutcome(photo.job, Status.DONE, seconds, report=report, written=written)

    def _await(
        self, answer: Future[Answer], take: Callable[[Answer], PhotoOutcome | None], place: _Place
    ) -> None:
        """Have an answer taken in the driver's own thread, when it is there."""

        def taken() -> PhotoOutcome | None:
            if place not in self._places:
                return None  # it was lost, and what it had is another's by now
            try:
                found = answer.result()
            except LostError as error:
                return self._lose(place, error)
            return take(found)

        answer.add_done_callback(lambda _: self._answers.put(taken))

    def _take_answer(self) -> PhotoOutcome | None:
        """Take the next answer; return an outcome where it is one, or None, also where none came for a while."""
        try:
            return self._answers.get(timeout=LOOK_S)()
        except Empty:
            return None

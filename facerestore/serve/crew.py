"""The processes that restore, and the orders that wait for them: a bounded queue, limits of time.

A process that is lost is replaced, and what it was at is done again. All of it lives in the event loop of the front;
only pipes are read and written in threads of their own.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from facerestore.errors import BackendError, FaceRestoreError
from facerestore.serve.messages import Answer, Order, Ready, Recipe, Step, Told
from facerestore.serve.problems import Problem, RefusedError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PATIENCE = 5.0
"""Seconds in which a cancelled order has to end; its process is ended otherwise. A stage of a photo takes less."""

TRIES = 2
"""Of an order whose process was lost: the second time it has a process to itself, so that others do not go with it."""

SMOOTHING = 0.2
"""Weight of the last photo in the mean time of photos."""


@dataclass(eq=False, slots=True)
class Ticket:
    """An order that was accepted.

    Attributes:
        number: of the order.
        order: what is to be done.
        answer: what came of it, once it is there; RefusedError where nothing did.
        progress: how far it is; None while it waits.
        tries: processes that were lost with it.
        begun: loop time at which it went to a process.
    """

    number: int
    order: Order | None
    answer: asyncio.Future[Answer]
    progress: Step | None = None
    tries: int = 0
    begun: float | None = None
    _limit: asyncio.TimerHandle | None = None

    def settle(self, result: Answer | FaceRestoreError) -> None:
        """Let go of the photo, and tell whoever waits."""
        self.order = None
        if self._limit is not None:
            self._limit.cancel()
        if self.answer.done():
            return
        if isinstance(result, FaceRestoreError):
            self.answer.set_exception(result)
            self.answer.exception()  # nobody may be left to look at it
        else:
            self.answer.set_result(result)

    def limit(self, handle: asyncio.TimerHandle) -> None:
        """Take what ends it when its time is over."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = handle


@dataclass(eq=False, slots=True)
class _Member:
    """One process, from this side."""

    process: SpawnProcess
    connection: Connection
    outbox: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    ready: Ready | None = None
    tickets: dict[int, Ticket] = field(default_factory=dict)

    def takes(self, ticket: Ticket) -> bool:
        """Say whether it takes an order now."""
        if self.ready is None or any(own.tries for own in self.tickets.values()):
            return False
        return len(self.tickets) < (1 if ticket.tries else self.ready.at_a_time)


class Crew:
    """Hands orders to processes.

    Args:
        recipe: how each process is set up.
        workers: processes.
        queue: orders that may wait.
        time_limit: seconds for each, waiting not counted.
        on_lost: told when a process is lost, and why it could not start, where it said so.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        workers: int = 1,
        queue: int = 32,
        time_limit: float = 120.0,
        on_lost: Callable[[FaceRestoreError | None], None] = lambda fault: None,
    ) -> None:
        self._recipe, self._workers, self._queue, self._time_limit = recipe, workers, queue, time_limit
        self._on_lost = on_lost
        self._members: list[_Member] = []
        self._waiting: deque[Ticket] = deque()
        self._number, self._mean_seconds, self._failures = 0, 1.0, 0
        self._changed = asyncio.Event()
        self._fault: FaceRestoreError | None = None
        self.stopping, self._over = False, False

    @property
    def waiting(self) -> int:
        """Orders that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Orders that are worked on."""
        return sum(len(member.tickets) for member in self._members)

    @property
    def ready(self) -> bool:
        """Whether all processes have their networks."""
        known = [member for member in self._members if member.ready is not None]
        return not self.stopping and len(known) == self._workers

    @property
    def capacity(self) -> int:
        """Orders that can be worked on at a time."""
        return sum(member.ready.at_a_time for member in self._members if member.ready is not None)

    @property
    def description(self) -> str:
        """What restores, in a line."""
        return next((member.ready.description for member in self._members if member.ready), "")

    @property
    def retry_after(self) -> int:
        """Seconds after which there may be room, by what photos took."""
        return max(1, math.ceil(self._mean_seconds * (self.waiting + 1) / max(self.capacity, 1)))

    async def start(self) -> None:
        """Start all processes, and wait until they have their networks.

        Raises:
            FaceRestoreError: they cannot be loaded, or a process is lost again while it loads them.
        """
        for _ in range(self._workers):
            self._hire()
        while not self.ready:
            self._changed.clear()
            await self._changed.wait()
            if self._fault is None and self._failures >= TRIES:
                self._fault = BackendError(
                    f"a process was lost {self._failures} times while it loaded its networks; see what it said"
                    " above, or give it more memory"
                )
            if self._fault is not None:
                self.stopping = True
                self._dismiss()
                raise self._fault

    def check_room(self) -> None:
        """Raise RefusedError where no order is taken now."""
        if self.stopping:
            raise RefusedError.make(
                503, "the service is stopping", remedy="send it again to the one that follows", retry_after=5
            )
        if self.waiting >= self._queue and self.running >= self.capacity:
            raise RefusedError.make(
                429,
                f"{self.waiting} requests wait already, as many as may",
                value=self.waiting,
                remedy=f"send it again in {self.retry_after} s",
                retry_after=self.retry_after,
            )

    def take(self, order: Order) -> Ticket:
        """Accept an order; raises RefusedError where there is no room."""
        self.check_room()
        self._number += 1
        ticket = Ticket(self._number, order, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._dispatch()
        return ticket

    def drop(self, ticket: Ticket, why: FaceRestoreError) -> None:
        """Give an order up."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        member = next((one for one in self._members if ticket.number in one.tickets), None)
        ticket.settle(why)
        if member is not None:
            member.outbox.put((ticket.number, None))
            loop = asyncio.get_running_loop()
            loop.call_later(PATIENCE, self._lose_patience, member, ticket.number)

    async def stop(self, grace: float) -> None:
        """Take no more orders, finish those that were taken for ``grace`` seconds at most, and end the processes."""
        self.stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self.waiting or self.running:
                    self._changed.clear()
                    await self._changed.wait()
        gone = RefusedError.make(503, "the service was stopped", remedy="send it again", retry_after=5)
        for ticket in [*self._waiting, *(own for one in self._members for own in one.tickets.values())]:
            ticket.settle(gone)
        self._waiting.clear()
        self._dismiss()

    def _dismiss(self) -> None:
        """End all processes."""
        self._over = True
        members, self._members = self._members, []
        for member in members:
            member.outbox.put(None)
            member.process.kill()
        for member in members:
            member.process.join()

    def _hire(self) -> None:
        """Start a process, with threads that read and write its pipe."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._recipe), daemon=True)
        process.start()
        theirs.close()
        member = _Member(process, ours)
        self._members.append(member)
        loop = asyncio.get_running_loop()

        def heard(message: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._hear, member, message)

        threading.Thread(target=_read, args=(ours, heard), daemon=True).start()
        threading.Thread(target=_write, args=(ours, member.outbox), daemon=True).start()

    def _hear(self, member: _Member, message: Any) -> None:
        """Take what a process says; None where it is gone."""
        if member not in self._members:
            return
        match message:
            case Ready():
                member.ready, self._failures, self._fault = message, 0, None
            case Told(number, Step() as progress):
                if number in member.tickets:
                    member.tickets[number].progress = progress
            case Told(number, Answer() | Problem() as content):
                self._finish(member.tickets.pop(number, None), content)
            case FaceRestoreError():
                self._fault = message
            case None:
                self._lose(member)
        self._dispatch()
        self._changed.set()

    def _finish(self, ticket: Ticket | None, content: Answer | Problem) -> None:
        """Tell what came of an order."""
        if ticket is None:
            return
        if ticket.begun is not None:
            seconds = asyncio.get_running_loop().time() - ticket.begun
            self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
        ticket.settle(RefusedError(content) if isinstance(content, Problem) else content)

    def _lose(self, member: _Member) -> None:
        """Replace a process that is gone, and have what it was at done again."""
        self._members.remove(member)
        member.outbox.put(None)
        self._on_lost(self._fault)
        for ticket in reversed(member.tickets.values()):
            ticket.tries += 1
            if ticket.answer.done():
                continue
            if ticket.tries < TRIES:
                self._waiting.appendleft(ticket)
            else:
                ticket.settle(
                    BackendError("the process that restored the photo was lost twice; report the photo")
                )
        self._failures += 1
        delay = 0 if self._failures == 1 else min(30, 2**self._failures)
        asyncio.get_running_loop().call_later(delay, self._hire_again)

    def _hire_again(self) -> None:
        if not self._over:
            self._hire()

    def _dispatch(self) -> None:
        """Hand out what waits, in its order, as far as processes are free."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            ticket = self._waiting[0]
            free = [member for member in self._members if member.takes(ticket)]
            if not free:
                return
            member = min(free, key=lambda one: len(one.tickets))
            self._waiting.popleft()
            member.tickets[ticket.number] = ticket
            ticket.begun = loop.time()
            ticket.limit(loop.call_later(self._time_limit, self._overrun, ticket))
            member.outbox.put((ticket.number, ticket.order))

    def _overrun(self, ticket: Ticket) -> None:
        """Give up an order whose time is over."""
        self.drop(
            ticket,
            RefusedError.make(
                504,
                f"the photo took longer than {self._time_limit:g} s",
                value=self._time_limit,
                remedy="send a smaller one, or ask for less: a smaller upscale, single faces",
            ),
        )

    def _lose_patience(self, member: _Member, number: int) -> None:
        """End a process that does not let go of an order."""
        if member in self._members and number in member.tickets:
            member.process.kill()


def _work(connection: Connection, recipe: Recipe) -> None:
    """Be a process that restores; what computes is imported in it alone."""
    from facerestore.serve.worker import run_worker

    run_worker(connection, recipe)


def _read(connection: Connection, heard: Callable[[Any], None]) -> None:
    """Hand over what a process says; None at last."""
    try:
        while True:
            heard(connection.recv())
    except (EOFError, OSError):
        heard(None)


def _write(connection: Connection, outbox: SimpleQueue[Any]) -> None:
    """Send a process what is to be sent, until that is None."""
    with suppress(OSError):  # it is gone, which is told by reading
        while (message := outbox.get()) is not None:
            connection.send(message)
    connection.close()

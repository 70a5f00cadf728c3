"""Workers on this machine, a process for each device: each GPU has networks, threads and batches of its own.

They are the workers of a cluster (`worker`, `driver`), asked through pipes in the place of Ray.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from facerestore.batch.cluster.driver import LostError
from facerestore.batch.cluster.worker import Begun, Ended, Loaded, Order, Worker, sendable
from facerestore.batch.plan import PhotoJob
from facerestore.engines.device import wait_asleep


class LocalCrew:
    """Hires processes of this machine, one for each device.

    Args:
        order: of the run; its device is that of each worker in turn.
        devices: one or more, such as ``cuda:0``; the same one may be there several times.

    Attributes:
        at_a_time: photos that each has at a time.
    """

    def __init__(self, order: Order, devices: Sequence[str]) -> None:
        self._order, self._devices = order, list(devices)
        self._hands: list[ProcessHand] = []
        self.at_a_time = order.at_a_time

    def hire(self) -> ProcessHand:
        """Return a new worker, on the device that lacks one."""
        self._hands = [hand for hand in self._hands if hand.alive]
        taken = Counter(hand.device for hand in self._hands)
        free = Counter(self._devices) - taken
        device = next((each for each in self._devices if free[each]), self._devices[0])
        self._hands.append(ProcessHand(self._order, device))
        return self._hands[-1]

    def wanted(self, *, hired: int, working: int) -> int:
        """Return how many workers to have."""
        return len(self._devices)


class ProcessHand:
    """A worker in a process of its own; see ``facerestore.batch.cluster.driver.Hand``.

    Args:
        order: of the run.
        device: of the worker.

    Attributes:
        device: the same.
    """

    def __init__(self, order: Order, device: str) -> None:
        self.device = device
        # A process that has threads, as this one does, cannot be copied safely; so another one is started.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        order = replace(order, restore=replace(order.restore, device=device))
        self._process = context.Process(target=_serve, args=(theirs, order), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here
        self._numbers, self._asking = count(), threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self._process.is_alive()

    def load(self) -> Future[Loaded]:
        """See ``Worker.load``."""
        return self._ask("load")

    def begin(self, job: PhotoJob, *, begun: bool) -> Future[Begun]:
        """See ``Worker.begin``."""
        return self._ask("begin", job, begun)

    def finish(self, job: PhotoJob) -> Future[Ended]:
        """See ``Worker.finish``."""
        return self._ask("finish", job)

    def dismiss(self) -> None:
        """End the worker, whatever it has under way."""
        self._process.kill()
        self._process.join()

    def _ask(self, call: str, *words: object) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._asking:
            number = next(self._numbers)
            self._waiting[number] = answer
            try:
                self._pipe.send((number, call, words))
            except OSError:
                del self._waiting[number]
                answer.set_exception(self._lost())
        return answer

    def _read(self) -> None:
        """Give answers to those who wait for them, until there are none any more."""
        try:
            while True:
                number, found, error = self._pipe.recv()
                with self._asking:
                    answer = self._waiting.pop(number)
                if error is None:
                    answer.set_result(found)
                else:
                    answer.set_exception(error)
        except (EOFError, OSError):
            with self._asking:
                left, self._waiting = list(self._waiting.values()), {}
            for answer in left:
                answer.set_exception(self._lost())

    def _lost(self) -> LostError:
        self._process.join()
        return LostError(f"its process on {self.device} ended with {self._process.exitcode}")


def _serve(pipe: Connection, order: Order) -> None:
    """Be a worker: answer what is asked, each in a thread of its own, for as long as somebody may ask."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(
            number, signal.SIG_IGN
        )  # a terminal sends them to all; the driver says what is to be done
    wait_asleep()
    worker, sending = Worker(order), threading.Lock()

    def answer(number: int, call: str, words: tuple[Any, ...]) -> None:
        found, error = None, None
        try:
            found = _called(worker, call, words)
        except Exception as fault:  # raised where it is waited for
            error = sendable(fault)
        with sending:
            pipe.send((number, found, error))

    try:
        while True:
            threading.Thread(target=answer, args=pipe.recv(), daemon=True).start()
    except (EOFError, OSError):  # the driver is gone, and with it the leave to write anything
        os._exit(0)


def _called(worker: Worker, call: str, words: tuple[Any, ...]) -> Loaded | Begun | Ended:
    if call == "load":
        return worker.load()
    if call == "begin":
        job, begun = words
        return worker.begin(job, begun=begun)
    return worker.finish(*words)

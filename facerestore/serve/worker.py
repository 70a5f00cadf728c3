"""A process that restores: takes orders from a pipe, does several at a time, and sends back what comes of each."""

from __future__ import annotations

import os
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from facerestore.batch.workers import worker_count
from facerestore.errors import FaceRestoreError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.progress import Cancel, Progress
from facerestore.serve.messages import Answer, Order, Ready, Recipe, Step, Told
from facerestore.serve.problems import Problem
from facerestore.serve.work import Kitchen


def run_worker(connection: Connection, recipe: Recipe) -> None:
    """Do orders until the other end of the pipe is closed, and end the process.

    Args:
        connection: gives ``(number, Order)``, or ``(number, None)`` to cancel one.
        recipe: how to set up.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started us decides when to end
        signal.signal(number, signal.SIG_IGN)
    try:
        kitchen = Kitchen(recipe.config, recipe.build or build_pipeline)
    except FaceRestoreError as error:
        connection.send(error)
        return
    count = worker_count(
        recipe.at_a_time, photos=1 << 16, device=kitchen.line.facts.device, threads=recipe.config.threads
    )
    desk = _Desk(connection, kitchen)
    connection.send(Ready(kitchen.line.description, count))
    with ThreadPoolExecutor(count) as pool:
        try:
            while True:
                number, order = connection.recv()
                desk.take(pool, number, order)
        except EOFError:
            os._exit(0)  # nobody waits for what is under way


@dataclass(frozen=True, slots=True)
class _Desk:
    """Takes orders in, and tells of them."""

    connection: Connection
    kitchen: Kitchen
    lock: Lock = field(default_factory=Lock)
    under_way: dict[int, Cancel] = field(default_factory=dict)

    def take(self, pool: ThreadPoolExecutor, number: int, order: Order | None) -> None:
        """Begin an order, or cancel it where there is none."""
        if order is not None:
            self.under_way[number] = Cancel()
            pool.submit(self._do, number, order)
        elif number in self.under_way:
            self.under_way[number].cancel()

    def _do(self, number: int, order: Order) -> None:
        cancel = self.under_way[number]
        content: Any
        try:
            cancel.check("read")
            content = self.kitchen.do(
                order, cancel=cancel, on_progress=lambda progress: self._tell(number, _step(progress))
            )
        except FaceRestoreError as error:
            content = Problem.of(error)
        except Exception as error:  # a fault of ours with one photo must not end the others
            traceback.print_exc()
            content = Problem.fault(error)
        del self.under_way[number]
        self._tell(number, content)

    def _tell(self, number: int, content: Step | Answer | Problem) -> None:
        with self.lock:
            self.connection.send(Told(number, content))


def _step(progress: Progress) -> Step:
    return Step(progress.stage, progress.number, progress.stages)

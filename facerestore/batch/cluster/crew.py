"""Workers on Ray: actors that load the networks once, on as many CPUs or GPUs as the cluster has or comes to have.

Actors, and not Ray Data, whose pool of actors is otherwise the same: it runs a block of rows again where a machine with
its output dies, though its files are written; it notes nothing between a result and its file; and it decides by itself
which actor a row waits for, where here a photo waits for whichever is free.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeVar

from facerestore.batch.cluster.driver import LostError
from facerestore.batch.cluster.worker import Begun, Ended, Loaded, Order, Worker
from facerestore.batch.plan import PhotoJob
from facerestore.engines.cores import available_cores
from facerestore.errors import BackendError, ConfigError, FaceRestoreError, named, required_package, why

Answer = TypeVar("Answer")

EXTRA = "pip install 'facerestore[ray]'"

OBJECT_STORE_BYTES = 200 << 20
"""Shared memory of a cluster that is started here: photos do not go through it, and reports are small."""


def joined(address: str | None, *, workers: int = 0) -> ModuleType:
    """Return Ray, joined to a cluster, or to one that is started here and ends with this process.

    Telemetry and dashboard stay off. A cluster that is started here calls nobody, but listens on all addresses of the
    machine, since Ray takes 127.0.0.1 for one of these (seen with 2.60). The handlers of signals stay as they are.

    Args:
        address: of the cluster, such as ``head:6379``, or ``auto``; None starts one.
        workers: photos at a time in one that is started; 0 for one on each core.

    Raises:
        ConfigError: Ray is not installed, cannot be reached, or cannot be started.
    """
    ray = required_package("ray", what="--engine ray", install=EXTRA)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns that it will be so
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        options |= {
            "address": "local",
            "num_cpus": workers or available_cores(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        options["address"] = address
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options)
    except Exception as error:  # it raises many kinds, bare ones too
        where = "cannot be started here" if address is None else f"at '{address}' cannot be joined"
        raise ConfigError(
            f"a cluster {where} ({why(error)}); give the --address of one that runs, or leave out --engine ray"
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return ray


class RayCrew:
    """Hires workers on a cluster.

    Args:
        ray: joined.
        order: of the run; ``auto`` is a GPU for each worker where the cluster has some, and else the CPU.
        limit: most workers; 0 for as many as there are places for.
        grows: the cluster may have more places when they are asked for.

    Attributes:
        at_a_time: photos that each has at a time.
    """

    def __init__(self, ray: ModuleType, order: Order, *, limit: int = 0, grows: bool = False) -> None:
        self._ray, self._limit, self._grows = ray, limit, grows
        restore = order.restore
        if restore.device == "auto":
            device = "cuda" if ray.cluster_resources().get("GPU", 0) >= 1 else "cpu"
            restore = replace(restore, device=device)
        self._gpus = int(restore.device.startswith("cuda"))
        self._cpus = restore.threads or 1
        self._order = replace(order, restore=replace(restore, threads=self._cpus))
        self.at_a_time = order.at_a_time

    def hire(self) -> RayHand:
        """Return a new worker, which begins when there is a place for it."""
        return RayHand(
            self._ray,
            self._order,
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            scheduling_strategy="SPREAD",
            max_concurrency=2 * self.at_a_time + 1,
        )

    def wanted(self, *, hired: int, working: int) -> int:
        """Return how many workers to have; where the cluster may grow, twice as many as work."""
        places = sum(map(self._places_on, self._ray.nodes()))
        if self._grows:
            places = max(places, working + max(1, working))
        return min(places, self._limit or places)

    def _places_on(self, node: Mapping[str, Any]) -> int:
        """Return how many workers a machine has places for."""
        has = node["Resources"] if node["Alive"] else {}
        places = int(has.get("CPU", 0) // self._cpus)
        return min(places, int(has.get("GPU", 0) // self._gpus)) if self._gpus else places


class RayHand:
    """A worker as an actor, which nothing restarts: the driver gives what it had to others.

    Args:
        ray: joined.
        order: of the run.
        options: of the actor.
    """

    def __init__(self, ray: ModuleType, order: Order, **options: Any) -> None:
        self._ray = ray
        self._actor = ray.remote(Worker).options(max_restarts=0, max_task_retries=0, **options).remote(order)

    def load(self) -> Future[Loaded]:
        """See ``Worker.load``."""
        return self._answer(self._actor.load.remote())

    def begin(self, job: PhotoJob, *, begun: bool) -> Future[Begun]:
        """See ``Worker.begin``."""
        return self._answer(self._actor.begin.remote(job, begun=begun))

    def finish(self, job: PhotoJob) -> Future[Ended]:
        """See ``Worker.finish``."""
        return self._answer(self._actor.finish.remote(job))

    def dismiss(self) -> None:
        """End the worker, whatever it has under way."""
        self._ray.kill(self._actor)

    def _answer(self, reference: Any) -> Future[Any]:
        """Return what an actor answers, with errors as this program knows them."""
        answer: Future[Any] = Future()

        def take(found: Future[Any]) -> None:
            error = found.exception()
            if error is None:
                answer.set_result(found.result())
            else:
                answer.set_exception(_known(error, self._ray.exceptions))

        reference.future().add_done_callback(take)
        return answer


def _known(error: BaseException, exceptions: Any) -> Exception:
    """Return an error of Ray as one that the driver knows."""
    if isinstance(error, exceptions.RayTaskError):  # what the worker raised
        cause = error.cause
        return cause if isinstance(cause, FaceRestoreError) else BackendError(named(cause))
    if isinstance(error, exceptions.RayError):
        return LostError(why(error))
    return BackendError(named(error if isinstance(error, Exception) else RuntimeError(str(error))))

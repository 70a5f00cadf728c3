"""What one worker of a cluster does: it loads the networks once, and takes photos the way that all runs take them.

A result is written in two steps, since the journal is the driver's: the worker says what the file is to be, and gives
it its name when the driver has noted that. So whatever dies in between, what lies there is known, or nothing does.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore import __version__
from facerestore.batch.outcome import PhotoOutcome
from facerestore.batch.photo import Work, do_job
from facerestore.batch.plan import PhotoJob
from facerestore.batch.run import check_options
from facerestore.batch.settings import difference, settings_of
from facerestore.batch.standing import Claim, Intent, Stamp, intent_of, own_fault, stamp
from facerestore.batch.workers import PixelBudget, on_cpu, pixels_at_a_time
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError, WeightsError, named
from facerestore.io import is_there
from facerestore.weights import WeightsStore

if TYPE_CHECKING:
    from facerestore.pipeline.parts import PipelineFacts
    from facerestore.pipeline.restore import RestorePipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all workers of a run are told.

    Attributes:
        restore: how faces are restored.
        files: how results are written.
        settings: the driver's options and networks by their hashes, which a worker must have too.
        seen: files that the driver sees, and a worker must see.
        folder: what paths on disks start from.
        at_a_time: photos under way in a worker: while one is restored, another is fetched or written.
        build: makes the pipeline; None for that of ``enhance``.
        version: of facerestore where the driver is.
    """

    restore: RestoreConfig
    files: OutputConfig
    settings: dict[str, Any]
    seen: tuple[Path, ...] = ()
    folder: Path = Path()
    at_a_time: int = 2
    build: Callable[[RestoreConfig], RestorePipeline] | None = None
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker has loaded.

    Attributes:
        host: the machine's name.
        description: of the pipeline.
        facts: where its networks come from.
        config: what was chosen.
        passed_over: networks that the automatic choice cannot take, each with what it lacks.
    """

    host: str
    description: str
    facts: PipelineFacts
    config: RestoreConfig
    passed_over: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a photo, as it is sent: errors lose their causes on the way, which say whose fault it was.

    Attributes:
        sent: the outcome without its error.
        errors: that error, and its causes in their order; none where all went well.
    """

    sent: PhotoOutcome
    errors: tuple[Exception, ...] = ()

    @property
    def outcome(self) -> PhotoOutcome:
        """The outcome with its error, linked to its causes."""
        for error, cause in pairwise(self.errors):
            error.__cause__ = cause
        return replace(self.sent, error=self.errors[0] if self.errors else None)


@dataclass(frozen=True, slots=True)
class Begun:
    """How far a photo is when a worker first answers.

    Attributes:
        stamp: of the photo's file, before it was read.
        intent: what the result is to be, whose file waits for the driver; None where none is to be written.
        ended: what became of the photo; None where a file waits.
    """

    stamp: Stamp
    intent: Intent | None = None
    ended: Ended | None = None


class Worker:
    """Restores photos for a driver, several at a time; each call comes in a thread of its own.

    Args:
        order: of the run.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._under_way: dict[PhotoJob, _Asking] = {}
        self._threads = ThreadPoolExecutor(order.at_a_time)
        self._work: Work | None = None

    def load(self) -> Loaded:
        """Load the networks.

        Raises:
            WeightsError: they are not here, or not those of the driver.
            ConfigError: an option does not suit them, or this machine has not the version or the disks of the driver.
        """
        from facerestore.pipeline.build import build_pipeline
        from facerestore.pipeline.per_face import networks_passed_over

        order, host = self._order, socket.gethostname()
        with suppress(OSError):  # what of it is needed is looked for below
            os.chdir(order.folder)
        _check_same(order, host)
        pipeline = (order.build or build_pipeline)(order.restore)
        check_options(pipeline, order.files)
        facts = pipeline.facts
        passed_over = tuple(networks_passed_over(pipeline))
        loaded = Loaded(host, pipeline.description, facts, pipeline.config, passed_over)
        if not on_cpu(facts.device):
            from facerestore.batch.gathering import gathered

            pipeline = gathered(pipeline)
        self._work = Work(pipeline, order.files, PixelBudget(pixels_at_a_time(facts.device)))
        return loaded

    def begin(self, job: PhotoJob, *, begun: bool) -> Begun:
        """Restore a photo, up to where its file would be written.

        Args:
            job: the photo.
            begun: a run has begun it before.

        Raises:
            WeightsError: the networks themselves cannot be used.
        """
        assert self._work is not None, "networks come first"
        asking = self._under_way[job] = _Asking(begun)
        asking.outcome = self._threads.submit(do_job, job, replace(self._work, journal=asking))
        answers: list[Future[Any]] = [asking.said, asking.outcome]
        wait(answers, return_when=FIRST_COMPLETED)
        if asking.said.done():
            return Begun(asking.stamp, intent=asking.said.result())
        return Begun(asking.stamp, ended=self._ended(job))

    def finish(self, job: PhotoJob) -> Ended:
        """Write the file of a photo, and return what became of it.

        Raises:
            WeightsError: the networks themselves cannot be used.
        """
        self._under_way[job].allowed.set_result(None)
        return self._ended(job)

    def leave(self) -> None:
        """Give up what waits for a driver that is gone, for whom nothing may be written any more.

        Without it a process whose threads wait would never end.
        """
        for asking in list(self._under_way.values()):
            with suppress(InvalidStateError):
                asking.allowed.set_exception(
                    BackendError("the driver is gone, which alone lets results be written")
                )
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ended(self, job: PhotoJob) -> Ended:
        """Return what became of a photo, as it can be sent."""
        outcome = self._under_way[job].outcome.result()
        del self._under_way[job]
        return Ended(replace(outcome, error=None), tuple(_chain(outcome.error)))


class _Asking:
    """Stands for the journal in a worker: what a result is to be is said to the driver, whose leave is waited for.

    Args:
        begun: a run has begun the photo before.
    """

    def __init__(self, begun: bool) -> None:
        self._claim = Claim.AGAIN if begun else Claim.FIRST
        self.stamp: Stamp = (None, None)
        self.said: Future[Intent] = Future()
        self.allowed: Future[None] = Future()
        self.outcome: Future[PhotoOutcome] = Future()

    def claim(self, job: PhotoJob) -> Claim:
        """Look at the photo's file; the driver has claimed it."""
        self.stamp = stamp(job.source)
        return self._claim

    def writing(
        self,
        job: PhotoJob,
        data: bytes | mmap,
        *,
        report: dict[str, Any],
        parts: Iterable[bytes | bytearray | memoryview],
        extras: Sequence[Path] = (),
    ) -> None:
        """Say what the result is to be, and wait."""
        self.said.set_result(intent_of(data, parts, report=report, extras=extras))
        self.allowed.result()

    def settle(self, outcome: PhotoOutcome) -> None:
        """Leave it to the driver."""


def _check_same(order: Order, host: str) -> None:
    """Raise an error where a machine differs from that of the driver in what decides results."""
    if order.version != __version__:
        raise ConfigError(
            f"the machine '{host}' has facerestore {__version__}, and the driver {order.version}; install one version"
            " on all"
        )
    for path in order.seen:
        if not is_there(path):
            raise ConfigError(
                f"the machine '{host}' does not see '{order.folder / path.parent}'; give a disk that all share, or a"
                " store such as s3://"
            )
    own = settings_of(order.restore, order.files, WeightsStore(offline=order.restore.offline))
    if own != order.settings:
        raise WeightsError(
            f"the machine '{host}' would restore otherwise than the driver: {difference(order.settings, own)}; install"
            " the same weights on all"
        )


def sendable(error: Exception) -> Exception:
    """Return an error that another process can take: itself, or its words in an error of the same consequence."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of whatever package it is
        return (ImageError if own_fault(error) else BackendError)(named(error))
    return error


def _chain(error: Exception | None) -> Iterator[Exception]:
    """Yield an error and what caused it, each as it can be sent."""
    while error is not None:
        yield sendable(error)
        cause = error.__cause__ or error.__context__
        error = cause if isinstance(cause, Exception) else None

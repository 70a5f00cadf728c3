"""``--engine ray``: the photos of a run go to the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from facerestore.batch import STREAM, BatchPlan, Journal, PhotoJob, PhotoOutcome, settings_of
from facerestore.batch.cluster.crew import RayCrew, joined
from facerestore.batch.cluster.driver import Driver
from facerestore.batch.cluster.worker import Loaded, Order
from facerestore.batch.run import OnStop, sweep_folders
from facerestore.cli.request import PhotosRequest
from facerestore.cli.terminal import Terminal
from facerestore.errors import ConfigError
from facerestore.files import temporary_beside
from facerestore.io import RemotePath
from facerestore.pipeline.progress import OnProgress
from facerestore.weights import WeightsStore


class _OnCluster:
    """A cluster whose first worker has loaded the networks; see ``facerestore.cli.course.Engine``.

    Args:
        driver: gives out the photos.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.line: Loaded = driver.load()
        self.passed_over = self.line.passed_over

    def run(
        self, jobs: Sequence[PhotoJob], *, journal: Journal | None, on_stop: OnStop, on_progress: OnProgress
    ) -> Generator[PhotoOutcome, None, None]:
        """See ``Engine``; how far each photo is, is not told from machine to machine."""
        sweep_folders(jobs)
        return self._driver.run(jobs, journal=journal, on_stop=on_stop)


@contextmanager
def on_cluster(
    request: PhotosRequest, plan: BatchPlan, jobs: Sequence[PhotoJob], terminal: Terminal
) -> Iterator[_OnCluster]:
    """Yield a cluster that is ready for a run, and leave it afterwards; one that was started here ends.

    Raises:
        FaceRestoreError: it cannot be joined or started, or its machines lack something.
    """
    if any(STREAM in (job.source, job.target) for job in plan.jobs):
        raise ConfigError("--engine ray is for files; leave it out for standard input and output")
    settings = settings_of(request.restore, request.files, WeightsStore(offline=request.restore.offline))
    with ExitStack() as ends:
        seen = tuple(_seen(jobs, ends))
        ray = joined(request.address, workers=request.files.workers)
        ends.callback(ray.shutdown)
        where = (
            "a cluster of this machine" if request.address is None else f"the cluster at {request.address}"
        )
        terminal.detail(f"loading the networks on {where}")
        order = Order(
            restore=request.restore,
            files=request.files,
            settings=settings,
            seen=seen,
            folder=Path.cwd(),
        )
        grows = request.address is not None
        driver = Driver(RayCrew(ray, order, limit=request.files.workers, grows=grows))
        ends.callback(driver.dismiss)
        yield _OnCluster(driver)


def _seen(jobs: Sequence[PhotoJob], ends: ExitStack) -> Iterator[Path]:
    """Yield what the disks of a worker must hold: the first photo, and a file that is made where its result goes."""
    for job in jobs[:1]:
        if not isinstance(job.source, RemotePath):
            yield job.source
        if not isinstance(job.target, RemotePath):
            job.target.parent.mkdir(parents=True, exist_ok=True)
            mark, _ = ends.enter_context(temporary_beside(job.target))
            yield mark

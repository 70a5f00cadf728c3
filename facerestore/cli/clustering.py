"""Photos go to workers: of a cluster (``--engine ray``), or of this machine's devices (``--device cuda:0,cuda:1``)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from facerestore.batch import STREAM, BatchPlan, Journal, PhotoJob, PhotoOutcome, settings_of
from facerestore.batch.cluster.crew import RayCrew, joined
from facerestore.batch.cluster.driver import Driver
from facerestore.batch.cluster.local import LocalCrew
from facerestore.batch.cluster.worker import Loaded, Order
from facerestore.batch.run import OnStop, sweep_folders
from facerestore.batch.workers import ACCELERATOR_WORKERS, on_cpu
from facerestore.cli.request import PhotosRequest
from facerestore.cli.terminal import Terminal
from facerestore.engines.cores import available_cores
from facerestore.engines.device import resolve_device
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
def on_devices(request: PhotosRequest, plan: BatchPlan, terminal: Terminal) -> Iterator[_OnCluster]:
    """Yield a process for each device of this machine that was named, ready for a run, and end them afterwards.

    Raises:
        FaceRestoreError: a device is not there, or the networks cannot be loaded.
    """
    if any(STREAM in (job.source, job.target) for job in plan.jobs):
        raise ConfigError(
            f"--device is '{request.restore.device}', but one photo has one device; name one for standard input and"
            " output"
        )
    devices, files, threads = request.devices, request.files, request.restore.threads
    for device in devices:
        resolve_device(device)
    terminal.detail("loading the networks on each device")
    share = max(1, (threads or available_cores()) // len(devices))
    order = Order(
        restore=replace(request.restore, device=devices[0]),
        files=files,
        settings=_settings(request),
        folder=Path.cwd(),
        at_a_time=files.workers or (share if on_cpu(devices[0]) else min(ACCELERATOR_WORKERS, share)),
        build=request.build,
    )
    driver = Driver(LocalCrew(order, devices))
    try:
        yield _OnCluster(driver)
    finally:
        driver.dismiss()


def _settings(request: PhotosRequest) -> dict[str, Any]:
    return settings_of(request.restore, request.files, WeightsStore(offline=request.restore.offline))


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
    settings = _settings(request)
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

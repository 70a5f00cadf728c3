"""A folder of photos with GPEN on an accelerator: how many a second, and how busy the GPU is meanwhile.

python -m benchmarks.busy RESULTS --device cuda [--quick] [--repeats N] [--threads N]

A thousand drawn photos of 12 megapixels with six faces, through GPEN of 512 px with random weights: decoded, searched,
restored, blended and encoded. First a tenth of them one after the other and in float32, then all of them as
``facerestore enhance`` does it. The GPU is busy in the share of the time in which any kernel runs, says its driver.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.common import Options, Results, main, say, start
from benchmarks.gpu_watch import Ask, BusyWatch, driver_of
from facerestore.batch import Status, plan_jobs, run_jobs
from facerestore.bench.line import GivenFaces
from facerestore.bench.memory import Peak, peak, reset_peak
from facerestore.bench.photos import drawn_photo
from facerestore.bench.sources import find_source
from facerestore.bench.statistics import Timing
from facerestore.bench.tables import NOTHING, Table, megabytes, seconds
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.engines.device import resolve_device
from facerestore.errors import BackendError, ConfigError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict


@dataclass(frozen=True, slots=True)
class Load:
    """What is worked off.

    Attributes:
        photos: how many, the same one under many names.
        megapixels: of each.
        faces: in each.
        size: side of the network's faces, pixels.
    """

    photos: int = 1000
    megapixels: float = 12.0
    faces: int = 6
    size: int = 512


@dataclass(frozen=True, slots=True)
class Way:
    """How it is worked off.

    Attributes:
        words: for people.
        precision: as in ``RestoreConfig``.
        workers: photos at a time; 0 for automatic.
        share: of the photos.
    """

    words: str
    precision: str = "auto"
    workers: int = 0
    share: float = 1.0


WAYS = (Way("one by one, float32", "float32", 1, 0.1), Way("as 'enhance' does it"))
QUICK = Load(photos=4, megapixels=0.05, faces=1, size=32)
REPEATS = 1


@dataclass(frozen=True, slots=True)
class Pass:
    """What one way took.

    Attributes:
        words: which way.
        photos: how many.
        precision: that the network computed in.
        timing: of all photos, run by run.
        busy: share of that time in which the GPU ran something, run by run; empty where nothing tells.
        peak: most memory of the device.
        notes: what the first photo's report remarks.
    """

    words: str
    photos: int
    precision: str | None
    timing: Timing
    busy: tuple[float, ...]
    peak: Peak
    notes: tuple[str, ...]


def run(options: Options) -> Results:
    """Work the load off in each way."""
    machine = start()
    load = QUICK if options.quick else Load()
    device = resolve_device(options.device)
    ask, untold = None, []
    try:
        ask = driver_of(device)
    except ConfigError as error:
        untold.append(f"how busy the GPU is: {error}")
    folder = Path(tempfile.mkdtemp(prefix="facerestore-busy-"))
    try:
        weights = _write(folder, load)
        passes = [_work_off(way, load, weights, options, ask) for way in WAYS]
    finally:
        shutil.rmtree(folder)
    table = Table(
        "A folder of photos on an accelerator",
        (
            "",
            "photos",
            "computed in",
            "a photo",
            "photos a second",
            "faces a second",
            "GPU busy",
            "GPU memory",
        ),
        tuple(_row(own, load) for own in passes),
        (
            f"{load.megapixels:g} megapixels with {load.faces} faces each, GPEN of {load.size} px, random weights",
            "GPU busy: share of the time in which any kernel runs, as its driver says",
            *(note for own in passes for note in own.notes),
        ),
    )
    facts = {"load": asdict(load), "passes": [asdict(own) for own in passes]}
    return Results("busy", "Photos on an accelerator", machine, [table], facts, failures=untold)


def _write(folder: Path, load: Load) -> Path:
    """Write the photos and the weights; return the file of these."""
    (folder / "in").mkdir()
    data = drawn_photo(load.megapixels, load.faces).data
    for index in range(load.photos):
        (folder / "in" / f"photo{index:04d}.jpg").write_bytes(data)
    source = find_source("gpen", random=True, size=load.size, store=WeightsStore(offline=True))
    weights = folder / "gpen.safetensors"
    save_state_dict(weights, dict(source.state_dict or {}))
    return weights


def _line(way: Way, load: Load, weights: Path, options: Options) -> RestorePipeline:
    """Return the pipeline, which restores the drawn faces whether or not they need it."""
    config = RestoreConfig(
        weights=str(weights),
        force=True,
        threads=options.threads,
        device=options.device,
        precision=way.precision,
        offline=True,
    )
    pipeline = build_pipeline(config)
    faces = drawn_photo(load.megapixels, load.faces).faces or ()
    if pipeline.detector is not None:
        pipeline = replace(pipeline, detector=GivenFaces(pipeline.detector, faces))
    return pipeline


def _work_off(way: Way, load: Load, weights: Path, options: Options, ask: Ask | None) -> Pass:
    """Work the photos off, once more than is counted."""
    say(f"{way.words}: begun")
    pipeline, device = _line(way, load, weights, options), resolve_device(options.device)
    photos = sorted((weights.parent / "in").iterdir())[: max(1, round(load.photos * way.share))]
    output = OutputConfig(overwrite=True, workers=way.workers)
    few = photos[: max(1, len(photos) // 10)]
    _run_all(few, pipeline, weights.parent / "out", output)  # libraries, plans and graphs are then there
    reset = reset_peak(device)
    timings: list[float] = []
    busy: list[float] = []
    notes: tuple[str, ...] = ()
    for _ in range(options.repeats or REPEATS):
        begun = time.perf_counter()
        if ask is None:
            notes = _run_all(photos, pipeline, weights.parent / "out", output)
        else:
            with BusyWatch(ask) as watch:
                notes = _run_all(photos, pipeline, weights.parent / "out", output)
            busy.append(watch.share)
        timings.append(time.perf_counter() - begun)
    return Pass(
        words=way.words,
        photos=len(photos),
        precision=pipeline.facts.precision,
        timing=Timing(tuple(timings)),
        busy=tuple(busy),
        peak=peak(reset=reset, device=device),
        notes=notes,
    )


def _run_all(
    photos: list[Path], pipeline: RestorePipeline, out: Path, output: OutputConfig
) -> tuple[str, ...]:
    """Restore photos, and return what the first one's report remarks.

    Raises:
        BackendError: one failed.
    """
    notes: tuple[str, ...] = ()
    jobs = plan_jobs(photos, output=out, options=output).jobs
    for index, outcome in enumerate(run_jobs(jobs, pipeline, options=output)):
        if outcome.status is not Status.DONE or outcome.report is None:
            raise BackendError(f"a photo of the batch failed: {outcome.error}")
        notes = tuple(outcome.report["notes"]) if index == 0 else notes
    return notes


def _row(own: Pass, load: Load) -> tuple[str, ...]:
    rate = own.photos / own.timing.median
    return (
        own.words,
        str(own.photos),
        own.precision or NOTHING,
        seconds(own.timing.median / own.photos),
        f"{rate:.2f}",
        f"{rate * load.faces:.1f}",
        NOTHING if not own.busy else f"{sum(own.busy) / len(own.busy):.0%}",
        megabytes(own.peak.bytes),
    )


if __name__ == "__main__":
    sys.exit(main(run, __doc__ or ""))

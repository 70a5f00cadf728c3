"""The stages of the line on one photo, each timed: decode, detect, align, judge, parse, restore, blend, encode."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.backends import backend_names
from facerestore.backends.calling import with_precision
from facerestore.backends.exported import exported_file
from facerestore.bench.machine import OthersWatch, thread_facts
from facerestore.bench.memory import Peak, peak, reset_peak
from facerestore.bench.parts import ParserPart, ShippedPart, open_parts
from facerestore.bench.photos import Photo, drawn_photo
from facerestore.bench.sides import Side
from facerestore.bench.sources import published_sizes
from facerestore.bench.standstill import undisturbed
from facerestore.bench.statistics import Timing
from facerestore.config import RestoreConfig
from facerestore.engines.device import keep_freed_memory, resolve_device, return_freed_memory, set_threads
from facerestore.errors import ConfigError
from facerestore.io import encode_spent, read_encoded
from facerestore.pipeline.build import assemble
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, DETECT
from facerestore.pipeline.load import build_detector
from facerestore.pipeline.parts import PipelineFacts, StageClock
from facerestore.pipeline.restore import RestorePipeline
from facerestore.weights import WeightsStore

if TYPE_CHECKING:
    from facerestore.types import DetectedFace, FaceDetector, Image

STAGES = ("decode", "detect", "align", "judge", "parse", "restore", "guard", "blend", "encode")
"""In the order in which a photo passes them."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRequest:
    """What is to be measured of the line.

    Attributes:
        photo: a picture file; None draws one.
        megapixels: size of the drawn photo, 10^6 pixels.
        faces: how many are drawn.
        network: a backend, weights or a file; ``auto`` takes what ``enhance`` takes. With random weights, ``+`` joins a
            parser.
        random: its weights are drawn.
        size: side of the faces of drawn weights, pixels; None for the smallest published size.
        detector: name of the detector.
        repeats: timed runs.
        threads: CPU threads; 0 leaves the choice to the libraries.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        home: folder of the installed weights; the user's own when None.
    """

    photo: Path | None = None
    megapixels: float = 12.0
    faces: int = 4
    network: str = "auto"
    random: bool = False
    size: int | None = None
    detector: str = "auto"
    repeats: int = 3
    threads: int = 0
    device: str = "auto"
    home: Path | None = None

    def __post_init__(self) -> None:
        """Check the numbers that nothing else checks.

        Raises:
            ConfigError: a number is out of its range.
        """
        if self.repeats < 1:
            raise ConfigError(f"repeats is {self.repeats}; give 1 or more")

    @property
    def label(self) -> str:
        """What is measured, for people."""
        return f"the line with {self.network}" + ("" if self.size is None else f" {self.size} px")


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage.

    Attributes:
        name: of `STAGES`.
        timing: seconds, run by run.
        peak_bytes: most memory of the process, once photo and networks are there, to the end of this stage, in the
            first run; None where the system does not tell.
    """

    name: str
    timing: Timing
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class LineResult:
    """The line on one photo.

    Attributes:
        photo: its name.
        size: width and height, pixels.
        faces: restored in each run.
        given: the faces were given: they are drawn, and detectors are for photographs. What the detector found is timed
            and let go.
        description: networks and device, in one line.
        detector: its name.
        device: where the restorer runs.
        threads: of torch and of OpenCV.
        stages: those that were passed.
        total: all stages of each run together.
        peak: most memory of the process.
        others: share of the processors that others took during the runs; None where it cannot be told.
    """

    photo: str
    size: tuple[int, int]
    faces: int
    given: bool
    description: str
    detector: str
    device: str
    threads: dict[str, int]
    stages: tuple[StageResult, ...]
    total: Timing
    peak: Peak
    others: float | None


class GivenFaces:
    """Looks for faces as a detector does, and then gives those that are known to be there."""

    def __init__(self, detector: FaceDetector, faces: Sequence[DetectedFace]) -> None:
        self._detector, self._faces = detector, list(faces)
        self.name = detector.name

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the given faces, after the detector has looked."""
        self._detector.detect(image)
        return list(self._faces)


def measure_line(request: LineRequest, *, clock: Clock = time.perf_counter) -> LineResult:
    """Take one photo through the line again and again, and return how long each stage takes.

    Faces are restored whether or not they need it. Threads and the allocator are set for the process.

    Raises:
        FaceRestoreError: the photo, weights, a name or the device is at fault.
    """
    photo = (
        drawn_photo(request.megapixels, request.faces)
        if request.photo is None
        else Photo(request.photo.name, read_encoded(request.photo), None)
    )
    pipeline = open_line(request)
    reset = reset_peak()  # what drawing a photo took does not count
    if photo.faces is not None and pipeline.detector is not None:
        pipeline = replace(pipeline, detector=GivenFaces(pipeline.detector, photo.faces))
    first = StageClock(clock=clock, apart=True, memory=lambda: peak(reset=reset).bytes)
    size, faces = pass_photo(pipeline, photo, first)
    import torch

    device = torch.device(resolve_device(request.device))
    most = peak(reset=reset, device=device)
    watch = OthersWatch(clock=clock)
    clocks = [undisturbed(lambda: _timed_pass(pipeline, photo, clock)) for _ in range(request.repeats)]
    return LineResult(
        photo=photo.name,
        size=size,
        faces=faces,
        given=photo.faces is not None,
        description=pipeline.description,
        detector="none" if pipeline.detector is None else pipeline.detector.name,
        device=pipeline.facts.device,
        threads=thread_facts(),
        stages=tuple(
            StageResult(name, Timing(tuple(run.seconds[name] for run in clocks)), first.peaks[name])
            for name in STAGES
            if name in first.seconds and not (name == "parse" and pipeline.parser is None)
        ),
        total=Timing(tuple(sum(run.seconds.values()) for run in clocks)),
        peak=most,
        others=watch.share(),
    )


def open_line(request: LineRequest) -> RestorePipeline:
    """Return the pipeline that a request asks for; raises as ``assemble`` does, or as drawing weights does."""
    store = WeightsStore(request.home, offline=True)
    config = RestoreConfig(
        detector=request.detector, device=request.device, threads=request.threads, force=True, offline=True
    )
    if request.random:
        pipeline = _drawn_line(request, config, store)
    else:
        named = replace(config, backend=request.network)
        if request.network not in (AUTO, *backend_names()) and exported_file(request.network) is None:
            named = replace(config, weights=request.network)
        pipeline = assemble(named, store=store)
    return_freed_memory()  # as after build_pipeline
    return pipeline


def _drawn_line(request: LineRequest, config: RestoreConfig, store: WeightsStore) -> RestorePipeline:
    """Return a pipeline whose restorer, and parser if one is named, have random weights."""
    import torch

    device = torch.device(resolve_device(request.device))
    if device.type == "cpu":
        keep_freed_memory()
    set_threads(request.threads)
    name = request.network.split("+")[0]
    size = published_sizes(name)[0] if request.size is None else request.size
    side = Side(
        network=request.network, random=True, size=size, device=request.device, threads=request.threads
    )
    parts = open_parts(side, device=device, store=store)
    restorers = [part.restorer for part in parts if isinstance(part, ShippedPart)]
    parsers = [part.parser for part in parts if isinstance(part, ParserPart)]
    if not restorers:
        raise ConfigError(
            f"'{request.network}' restores no faces; name a backend, such as gpen or psfr+parsenet"
        )
    restorer = with_precision(restorers[0], config.precision, device)  # as the command does
    return RestorePipeline(
        build_detector(choose(DETECT, config, store), config, store, device),
        restorer,
        config=config,
        parser=parsers[0] if parsers else None,
        facts=PipelineFacts(
            weights=f"{request.network}, random weights",
            device=str(device),
            precision=restorer.descriptor.precision,
        ),
    )


def _timed_pass(pipeline: RestorePipeline, photo: Photo, clock: Clock) -> StageClock:
    """Take a photo through all stages, and return what each took."""
    stages = StageClock(clock=clock, apart=True)
    pass_photo(pipeline, photo, stages)
    return stages


def pass_photo(pipeline: RestorePipeline, photo: Photo, clock: StageClock) -> tuple[tuple[int, int], int]:
    """Take a photo through all stages as ``enhance`` does, and return its size, and how many faces were restored."""
    with clock.stage("decode"):
        image = pipeline.decode(photo.data, name=photo.name)
    result = pipeline.run(image, spent=True, clock=clock)
    with clock.stage("encode"):
        encode_spent(result.image, format=image.format or "PNG")
    height, width = image.pixels.shape[:2]
    return (width, height), sum(face.restored is not None for face in result.faces)

"""What works on this machine: versions, devices, weights, detectors, parsers, and a trial of the whole line."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore import __version__
from facerestore.backends.foreign import INSTALL
from facerestore.background import load_upsampler
from facerestore.config import LEAST_TILE_PX, RESTORE, RestoreConfig
from facerestore.detection import DETECTORS
from facerestore.detection import EXTENSIONS as FOREIGN_DETECTORS
from facerestore.engines.device import automatic_precision, known_precisions, resolve_device
from facerestore.engines.openvino import INSTALL as INSTALL_OPENVINO
from facerestore.errors import FaceRestoreError, count, named
from facerestore.extensions import Extension, Extensions, all_extensions
from facerestore.imaging.alignment import align_face
from facerestore.parsing import LandmarkParser
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.candidates import usable
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, DETECT, PARSE, ChosenWeights
from facerestore.pipeline.load import build_detector, build_parser
from facerestore.pipeline.restore import RestorePipeline
from facerestore.testing.line import DrawnFaceDetector, trial_photo
from facerestore.types import DecodedImage, DetectedFace, FaceDetector, Image
from facerestore.weights import WeightsStore

PACKAGES = (
    ("numpy",),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ("pillow",),
    ("safetensors",),
    ("typer",),
    ("rich",),
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
)
"""What must be installed, each under one of its names."""

EXTRAS = (
    ("torch", "for weights that do not ship, CUDA and training", "pip install torch"),
    ("facexlib", "for the RetinaFace detectors", "pip install facexlib"),
    ("spandrel", "for gfpgan, restoreformer and more background networks", INSTALL),
    ("openvino", "for networks exported to OpenVINO, --backend openvino:FILE", INSTALL_OPENVINO),
)
"""What may be installed: the package, what it is good for, and how."""

TRIAL_FACE_PX = 214
"""Makes a photo of 320 px."""
TRIAL_MARGIN_PX = 8
"""Rows of that photo above the drawn face, in which nothing may change."""

DEVICE_LEVELS = 1.0
"""Mean difference between devices, of 255: the order of sums stays far below, a wrong operation far above."""
RECORDED_RUNS = 2
"""After two runs of a shape the next one records the network, and the one behind it runs the recording."""
RECORDED_LEVELS = 1
"""Most difference of a pixel, of 255: the recorded kernels may round otherwise, and do nothing else."""

UNMEASURED = "not a device that facerestore was measured on: 'facerestore bench --device cuda' does"


class State(StrEnum):
    """How one thing fares: ``absent`` is no fault, ``broken`` is one."""

    OK = "ok"
    ABSENT = "absent"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: ``program``, ``device``, ``weights``, ``detector``, ``parser``, ``background``, ``line``, or another kind
            of extension.
        name: which one.
        state: how it fares.
        detail: what was found, or what to do.
    """

    topic: str
    name: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class Makers:
    """What makes that which is tried; for trials of the diagnosis itself.

    Attributes:
        choose: as `facerestore.pipeline.choose.choose`, for the weights of the trial.
        detector: as `facerestore.pipeline.load.build_detector`.
        pipeline: as `facerestore.pipeline.build.build_pipeline`.
        extras: packages that may be installed, as `EXTRAS`.
    """

    choose: Callable[..., ChosenWeights] = choose
    detector: Callable[..., FaceDetector] = build_detector
    pipeline: Callable[..., RestorePipeline] = build_pipeline
    extras: tuple[tuple[str, str, str], ...] = EXTRAS


USUAL = Makers()


def diagnose(
    config: RestoreConfig | None = None, *, store: WeightsStore | None = None, makers: Makers = USUAL
) -> list[Check]:
    """Look at everything that a restoration needs, and try the line on a synthetic photo.

    Args:
        config: device, weights and detector to try; defaults when None.
        store: where weights are looked for.
        makers: what makes that which is tried.

    Raises:
        WeightsError: the weights catalog itself cannot be read.
    """
    config = config if config is not None else RestoreConfig()
    store = store if store is not None else WeightsStore(offline=True)
    return [
        *_programs(makers.extras),
        *_devices(),
        *_weights(store),
        _attempted("weights", AUTO, lambda: usable(config, store).words.removeprefix(f"{AUTO} ")),
        *_detectors(store, makers),
        *_parsers(store),
        *_backgrounds(store),
        *_extensions(),
        _attempted("line", "restore", partial(_try_line, config, store, makers)),
    ]


def _programs(extras: tuple[tuple[str, str, str], ...]) -> list[Check]:
    checks = [
        Check("program", "facerestore", State.OK, __version__),
        Check("program", "python", State.OK, f"{platform.python_version()} on {platform.platform()}"),
    ]
    return [
        *checks,
        *(_program(names) for names in PACKAGES),
        *(_optional_package(*extra) for extra in extras),
    ]


def _optional_package(name: str, purpose: str, remedy: str) -> Check:
    """Return the version of a package that need not be there."""
    try:
        return Check("program", name, State.OK, f"{version(name)}, {purpose}")
    except PackageNotFoundError:
        return Check("program", name, State.ABSENT, f"{purpose}: {remedy}")


def _program(names: tuple[str, ...]) -> Check:
    """Return the version of a package that is installed under one of ``names``."""
    for name in names:
        try:
            return Check("program", name, State.OK, version(name))
        except PackageNotFoundError:
            continue
    return Check("program", names[0], State.BROKEN, "not installed; install facerestore again")


def _devices() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of torch does not load
        if _program(("torch",)).state is not State.OK:
            return [Check("device", "cpu", State.OK, f"{platform.machine()}; other devices need torch")]
        return [
            Check("device", "import torch", State.BROKEN, f"cannot be imported: {error}; install torch again")
        ]

    checks = [
        Check("device", "cpu", State.OK, f"{count(torch.get_num_threads(), 'thread')}, {platform.machine()}")
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            memory = f"{found.name}, {found.total_memory / 2**30:.0f} GiB; {UNMEASURED}"
            checks.append(Check("device", f"cuda:{index}", State.OK, memory))
    else:
        checks.append(Check("device", "cuda", State.ABSENT, "no CUDA device that this torch can use"))
    if torch.backends.mps.is_available():
        checks.append(Check("device", "mps", State.OK, "Apple GPU"))
    auto = resolve_device("auto")
    checks.append(Check("device", "auto", State.OK, f"takes {auto}"))
    formats = f"auto takes {automatic_precision(auto)} on {auto}; it has {', '.join(known_precisions(auto))}"
    return [*checks, Check("device", "precision", State.OK, formats)]


def _weights(store: WeightsStore) -> list[Check]:
    checks = [_weights_home(store)]
    for entry in store.installed():
        try:
            verdict = store.verify(entry.name)
        except FaceRestoreError as error:
            checks.append(Check("weights", entry.name, State.BROKEN, str(error)))
            continue
        where = "bundled" if entry.bundled else f"installed, checked against {verdict.basis}"
        pins = f"sha256 {verdict.sha256[:8]} is not {(verdict.expected or '')[:8]}"
        state = State.OK if verdict.ok else State.BROKEN
        told = where if verdict.ok else f"{pins}; fetch or install it again"
        checks.append(Check("weights", entry.name, state, told))
    return checks


def _weights_home(store: WeightsStore) -> Check:
    """Say where weights are put, and whether they can be; without such a place the bundled ones serve all the same."""
    there = next((place for place in (store.folder, *store.folder.parents) if os.path.lexists(place)), None)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK):
        why = f"cannot be written, since {there} is not a folder of yours; set FACERESTORE_HOME"
        return Check("weights", "folder", State.ABSENT, f"{store.folder} {why}")
    return Check("weights", "folder", State.OK, str(store.folder))


def _detectors(store: WeightsStore, makers: Makers) -> list[Check]:
    """Make each detector whose weights are here."""
    checks = []
    for name, weights in DETECTORS.items():
        if (
            weights in store.catalog.entries
            and not store.entry(weights).bundled
            and store.locate(weights) is None
        ):
            checks.append(Check("detector", name, State.ABSENT, f"'facerestore weights download {weights}'"))
        else:
            checks.append(_attempted("detector", name, partial(_try_detector, name, store, makers)))
    checks += [
        _attempted("detector", each.name, partial(_try_foreign_detector, each, store, makers))
        for each in FOREIGN_DETECTORS.outside()
    ]
    return [
        *checks,
        Check("detector", "auto", State.OK, f"takes {choose(DETECT, RestoreConfig(), store).name}"),
    ]


def _try_foreign_detector(extension: Extension, store: WeightsStore, makers: Makers) -> str:
    FOREIGN_DETECTORS.import_one(extension)
    return f"{_try_detector(extension.name, store, makers)}, from {extension.package}"


def _try_detector(name: str, store: WeightsStore, makers: Makers) -> str:
    config = RestoreConfig(detector=name)
    detector = makers.detector(choose(DETECT, config, store), config, store, resolve_device("cpu"))
    pixels = trial_photo(TRIAL_FACE_PX)[0].pixels
    start = time.perf_counter()
    detector.detect(pixels)
    return f"works, {1000 * (time.perf_counter() - start):.0f} ms for {len(pixels)} px"


def _parsers(store: WeightsStore) -> list[Check]:
    """Make each parser whose weights are here; ``landmarks`` needs none."""
    checks = [_attempted("parser", LandmarkParser.name, partial(_try_parser, LandmarkParser.name, store))]
    for entry in store.catalog.entries.values():
        if entry.purpose != "parse":
            continue
        if store.locate(entry.name) is None:
            remedy = f"'facerestore weights download {entry.name}'"
            checks.append(Check("parser", entry.name, State.ABSENT, remedy))
        else:
            attempt = partial(_try_parser, entry.name, store)
            checks.append(_attempted("parser", entry.name, attempt))
    best = choose(PARSE, RestoreConfig(), store)
    auto = f"takes {best.name}" + ("" if best.path is not None else "; faces are pasted with an oval")
    return [*checks, Check("parser", "auto", State.OK, auto)]


def _try_parser(name: str, store: WeightsStore) -> str:
    parser = build_parser(choose(PARSE, RestoreConfig(parser=name), store))
    assert parser is not None, "it is named"
    image, face, _ = trial_photo(TRIAL_FACE_PX)
    aligned = align_face(image.pixels, face, TRIAL_FACE_PX)
    start = time.perf_counter()
    parser.parse([aligned])
    return f"works, {1000 * (time.perf_counter() - start):.0f} ms for a face"


def _backgrounds(store: WeightsStore) -> list[Check]:
    """Make each network for backgrounds whose weights are here."""
    known = [e.name for e in sorted(store.catalog.of("background"), key=lambda e: e.advice_order)]
    here = [name for name in known if store.locate(name) is not None]
    return [_attempted("background", name, partial(_try_background, name, store)) for name in here]


def _try_background(name: str, store: WeightsStore) -> str:
    upsampler = load_upsampler(store.require(name), name=name)
    pixels = np.zeros((LEAST_TILE_PX, LEAST_TILE_PX, 3), dtype=np.uint8)
    upsampler.upsample(pixels, (LEAST_TILE_PX, LEAST_TILE_PX))
    does = "cleans photos at their own size" if upsampler.scale == 1 else f"enlarges {upsampler.scale} times"
    return f"works, {does}"


def _extensions() -> list[Check]:
    """Import what other packages bring, detectors excepted, which are made above; what is ours the line tries."""
    if find_spec("torch") is None:  # the rooms of training and measuring are made of it
        return []
    return [
        _attempted(each.kind, each.name, partial(_try_extension, kind, each))
        for kind in all_extensions()
        if kind is not FOREIGN_DETECTORS
        for each in kind.outside()
    ]


def _try_extension(kind: Extensions[Any], extension: Extension) -> str:
    kind.import_one(extension)
    more = f"; 'facerestore backends check {extension.name}' tells whether it keeps the contract"
    return f"from {extension.package}{more if extension.kind == 'backend' else ''}"


def _try_line(config: RestoreConfig, store: WeightsStore, makers: Makers) -> str:
    """Restore a synthetic face twice, and on another device than the CPU compare with it; say how it went.

    Raises:
        FaceRestoreError: the line cannot run, or its result is not what it must be.
    """
    config = replace(config, force=True, faces="all", strength=1.0, upscale=1.0)
    chosen = makers.choose(RESTORE.purpose, config, store)
    if chosen.path is not None:
        config = replace(
            config, weights=chosen.name
        )  # the automatic choice would take one by the face's looks
    image, face, _ = trial_photo(TRIAL_FACE_PX)
    line = _trial_line(makers.pipeline(config, store=store), face)
    first = line.run(image).image.pixels
    start = time.perf_counter()
    again = line.run(image).image.pixels
    seconds = time.perf_counter() - start
    device = line.facts.device
    if np.array_equal(first, image.pixels):
        raise FaceRestoreError(
            "the trial face was not restored; verify the weights with 'facerestore weights verify'"
        )
    if not np.array_equal(first[:TRIAL_MARGIN_PX], image.pixels[:TRIAL_MARGIN_PX]):
        raise FaceRestoreError("pixels outside of the face have changed; please report this")
    if not np.array_equal(first, again):
        raise FaceRestoreError(f"two runs on {device} differ; try --device cpu")
    if device != "cpu":
        _try_recorded(line, image, first)
        on_cpu = replace(config, device="cpu", precision="float32")
        reference = _trial_line(makers.pipeline(on_cpu, store=store), face).run(image).image.pixels
        if _difference(first, reference).mean() > DEVICE_LEVELS:
            raise FaceRestoreError(f"{device} gives another picture than the CPU; use --device cpu")
    words = "" if line.facts.precision is None else f" in {line.facts.precision}"
    remarks = "".join(f"; {remark}" for remark in line.restorer.remarks)
    return f"{chosen.name} restores a face on {device}{words} in {seconds:.2f} s, the same each time{remarks}"


def _try_recorded(line: RestorePipeline, image: DecodedImage, expected: Image) -> None:
    """Run a line until its network has recorded itself and runs from there, where it does (``archs.replay``).

    Raises:
        FaceRestoreError: the recording gives another picture.
    """
    for _ in range(RECORDED_RUNS):
        if _difference(line.run(image).image.pixels, expected).max() > RECORDED_LEVELS:
            raise FaceRestoreError(
                f"the recorded network gives another picture on {line.facts.device}; use --device cpu, and report this"
            )


def _trial_line(built: RestorePipeline, face: DetectedFace) -> RestorePipeline:
    """Return the real line, with a detector that knows the synthetic face."""
    return RestorePipeline(
        DrawnFaceDetector(face), built.restorer, config=built.config, parser=built.parser, facts=built.facts
    )


def _difference(one: Image, other: Image) -> NDArray[np.int16]:
    return np.abs(one.astype(np.int16) - other.astype(np.int16))


def _attempted(topic: str, name: str, attempt: Callable[[], str]) -> Check:
    """Return how an attempt went; whatever it raises is what was to be found out."""
    try:
        return Check(topic, name, State.OK, attempt())
    except FaceRestoreError as error:
        return Check(topic, name, State.BROKEN, str(error))
    except Exception as error:  # a missing system library, a driver that does not fit, ...
        return Check(topic, name, State.BROKEN, named(error))

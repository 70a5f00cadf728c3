"""Face detectors behind one protocol, made by name; a detector's module is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from facerestore.engines import Place
from facerestore.extensions import Extensions

if TYPE_CHECKING:
    import torch

    from facerestore.types import FaceDetector

DETECTORS = {
    "embedded": "finder.five-point",
    "yunet": "yunet.2023mar",
    "retinaface-resnet50": "retinaface.resnet50",
    "retinaface-mobile0.25": "retinaface.mobile0.25",
}
"""Detector to the catalog name of its weights; those of ``embedded`` come with facerestore."""

LANDMARKS = "landmarks.five-point"
"""Catalog name of the bundled network that looks at each face which ``embedded`` finds."""

DETECTOR_SUFFIX = ".safetensors"
"""What a detector's name ends in that is the file of a face detector."""


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What a detector of yours is made with; it follows as much of it as it can.

    Attributes:
        device: where networks are to run, such as ``cpu`` or ``cuda:0``.
        detect_size: longest side at which photos are to be searched, px; None for their own.
        rotations: look for turned faces too.
    """

    device: str = "cpu"
    detect_size: int | None = None
    rotations: bool = False


MakeDetector: TypeAlias = "Callable[[DetectorOptions], FaceDetector]"
"""A class of detectors, or a function that makes one."""


def _lack(_: str, found: object) -> str | None:
    return None if callable(found) else f"{found!r} cannot be called with DetectorOptions to make a detector"


EXTENSIONS: Extensions[MakeDetector] = Extensions(
    kind="detector", own=DETECTORS, lack=_lack, reserved=("auto",)
)
"""Detectors of other packages."""


def register_detector(name: str, make: MakeDetector) -> None:
    """Let ``detector="NAME"`` mean a detector of yours, in this process.

    Args:
        name: not that of another detector.
        make: called with `DetectorOptions`; gives an object with ``detect(image)``, which returns the faces of an
            (H, W, 3) RGB uint8 or uint16 image as a list of `DetectedFace`, best score first. Threads share it.

    Raises:
        ConfigError: the name is taken.
        ExtensionError: ``make`` cannot be called.
    """
    EXTENSIONS.register(name, make)


def create_detector(
    name: str,
    *,
    weights_for: Callable[[str], Path],
    device: str | torch.device = "cpu",
    threads: int = 0,
    detect_size: int | None = None,
    rotations: bool = False,
) -> FaceDetector:
    """Return the detector ``name``, ready for any number of images and threads.

    Args:
        name: one of `DETECTORS`, of another package, or the file of a face detector, as the recipe ``finder`` trains
            it.
        weights_for: gives the file of a catalog name, or raises WeightsError where it is not installed.
        device: where RetinaFace runs, and ``embedded`` too if it is CUDA, so that a batch of photos does not wait for
            the CPU to find their faces. Elsewhere ``embedded`` stays on the CPU, and so does YuNet, which is OpenCV's.
        threads: CPU threads of ``embedded``; 0 leaves the choice to what runs it.
        detect_size: longest side at which photos are searched, px; None searches them at their own.
        rotations: look for turned faces too, and not only where a photo shows no upright one.

    Raises:
        ConfigError: the name is unknown.
        WeightsError: the weights are not installed.
        CheckpointError: they do not fit the network.
        ExtensionError: the detector of another package is broken.
    """
    from facerestore.detection.searching import Extent

    extent = Extent(detect_size, rotations)
    if name.endswith(DETECTOR_SUFFIX):
        from facerestore.detection.embedded import EmbeddedDetector

        return EmbeddedDetector(
            Path(name).expanduser(), weights_for(LANDMARKS), place=_place(device, threads), extent=extent
        )
    if name not in DETECTORS:
        return _foreign(name, DetectorOptions(str(device), detect_size, rotations))
    entry = DETECTORS[name]
    weights = weights_for(entry)
    if name == "embedded":
        from facerestore.detection.embedded import EmbeddedDetector

        return EmbeddedDetector(weights, weights_for(LANDMARKS), place=_place(device, threads), extent=extent)
    if name == "yunet":
        from facerestore.detection.yunet import YuNetDetector

        return YuNetDetector(weights, extent=extent)
    from facerestore.detection.retinaface import CONFIGS, RetinaFaceDetector

    return RetinaFaceDetector(weights, CONFIGS[entry], device=device, extent=extent)


def _foreign(name: str, options: DetectorOptions) -> FaceDetector:
    """Return the detector of another package."""
    from facerestore.detection.foreign import make_foreign

    make = EXTENSIONS.load(
        name,
        instead=f", or give the {DETECTOR_SUFFIX} file of a face detector, as 'facerestore train finder' makes",
    )
    return make_foreign(name, make, options)


def _place(device: str | torch.device, threads: int) -> Place:
    """Return where the bundled networks run: on CUDA where the rest of the line does, else on the CPU."""
    return Place(str(device) if str(device).startswith("cuda") else "cpu", threads=threads)

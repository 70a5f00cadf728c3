"""Detectors of other packages: what they raise or give becomes faces or an error that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facerestore.detection import DetectorOptions
from facerestore.errors import ExtensionError
from facerestore.extensions import foreign_errors
from facerestore.types import DetectedFace, FaceDetector, Image

AUTHOR = "the detector's author"


@dataclass(slots=True, eq=False)
class ForeignDetector:
    """A detector of another package, which is believed nothing.

    Attributes:
        name: by which it was asked for.
        detector: itself.
    """

    name: str
    detector: FaceDetector

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces of an (H, W, 3) RGB uint8 or uint16 image, as the detector gives them.

        Raises:
            ExtensionError: it failed, whatever it raised, or gave something else than faces.
        """
        with foreign_errors(f"detector '{self.name}' failed", author=AUTHOR):
            found = self.detector.detect(image)
        if not isinstance(found, list):
            raise ExtensionError(
                f"detector '{self.name}' gave {type(found).__name__}, expected a list of facerestore.DetectedFace;"
                f" report this to {AUTHOR}"
            )
        for face in found:
            if (fault := _fault(face)) is not None:
                raise ExtensionError(f"detector '{self.name}' gave {fault}; report this to {AUTHOR}")
        return found


def make_foreign(
    name: str, make: Callable[[DetectorOptions], FaceDetector], options: DetectorOptions
) -> ForeignDetector:
    """Return the detector that a class or function of another package makes.

    Raises:
        ExtensionError: it makes none.
    """
    with foreign_errors(f"detector '{name}' cannot be made", author=AUTHOR):
        made = make(options)
    if not callable(getattr(made, "detect", None)):
        raise ExtensionError(
            f"detector '{name}' is made as {type(made).__name__}, which has no method detect(image); report this to"
            f" {AUTHOR}"
        )
    return ForeignDetector(name, made)


def _fault(face: object) -> str | None:
    """Return what is wrong with a face; None where nothing is."""
    if not isinstance(face, DetectedFace):
        return f"a face as {type(face).__name__}, expected facerestore.DetectedFace"
    points = face.landmarks
    if not (isinstance(points, np.ndarray) and points.shape == (5, 2) and points.dtype == np.float32):
        shown = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
        return f"landmarks as {shown}, expected float32 (5, 2)"
    numbers = np.array([*face.box, face.score, *points.flat], dtype=np.float64)
    if numbers.shape != (15,) or not np.isfinite(numbers).all():
        return f"a box or landmarks that are no finite numbers: {face.box}, {points.tolist()}"
    left, top, right, bottom = face.box
    if not (right > left and bottom > top and 0 <= face.score <= 1):
        return f"the box {face.box} with the score {face.score}, expected left < right, top < bottom, 0 to 1"
    return None

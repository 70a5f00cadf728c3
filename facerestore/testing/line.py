"""The clauses that need the whole line: the restorer inside a pipeline, on a photo that holds a drawn face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerestore.backends.restorer import Restorer
from facerestore.config import RestoreConfig
from facerestore.imaging.pixels import to_8_bit
from facerestore.pipeline.restore import RestorePipeline
from facerestore.testing.drawn_faces import trial_faces
from facerestore.testing.trial import Finding, Trial, finding, maps_of
from facerestore.types import AlignedFace, DecodedImage, DetectedFace, Image, ParsingMap


class DrawnFaceDetector:
    """Finds the one face that is known to be there."""

    name = "drawn face"

    def __init__(self, face: DetectedFace) -> None:
        self._face = face

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the face, whatever the image."""
        return [self._face]


class DrawnFaceParser:
    """Knows the map of every drawn face."""

    name = "drawn map"

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return the map of each face."""
        return maps_of(faces)


def check_strength_zero(trial: Trial) -> Finding:
    """Tell whether strength 0 returns the very pixels of the photo."""
    before, face, _ = trial_photo(trial.restorer.face_size)
    after = _line(trial.restorer, face, strength=0.0).run(before).image
    changed = int((before.pixels != after.pixels).sum())
    return finding(
        "strength 0",
        changed == 0,
        f"{changed} values of the photo change",
        remedy="report this to facerestore",
    )


def check_pipeline(trial: Trial) -> Finding:
    """Tell whether the restorer works in a pipeline, which touches nothing beyond the face's crop."""
    before, face, margin = trial_photo(trial.restorer.face_size)
    result = _line(trial.restorer, face, strength=1.0).run(before)
    outside = np.ones(before.pixels.shape[:2], bool)
    outside[margin:-margin, margin:-margin] = False
    changed = int((before.pixels != result.image.pixels)[outside].sum())
    restored = sum(f.restored is not None for f in result.faces)
    return finding(
        "pipeline",
        changed == 0 and restored == 1,
        f"{restored} of 1 face restored, {changed} values change outside of it",
        remedy="report this to facerestore",
    )


def trial_photo(size: int) -> tuple[DecodedImage, DetectedFace, int]:
    """Return a photo that holds a drawn face of ``size`` px, that face, and the width of the border around it."""
    crop = trial_faces(size)[0]
    margin = max(8, size // 4)
    pixels = np.full((size + 2 * margin, size + 2 * margin, 3), 96, np.uint8)
    pixels[margin:-margin, margin:-margin] = to_8_bit(crop.lq)
    landmarks = crop.detected.landmarks + np.float32(margin)
    box = (float(margin), float(margin), margin + size - 1.0, margin + size - 1.0)
    return DecodedImage(pixels, format="PNG"), DetectedFace(box=box, landmarks=landmarks, score=1.0), margin


def _line(restorer: Restorer, face: DetectedFace, *, strength: float) -> RestorePipeline:
    parser = DrawnFaceParser() if restorer.needs_parsing else None
    config = RestoreConfig(strength=strength, force=True)
    return RestorePipeline(DrawnFaceDetector(face), restorer, config=config, parser=parser)

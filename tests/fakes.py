"""A detector, a restorer and photos that need no weights."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError
from facerestore.imaging.alignment import template
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.testing.drawn_faces import trial_faces
from facerestore.types import AlignedFace, DecodedImage, DetectedFace

FACE_SIZE = 64


def face_at(x, y, *, size=64.0, score=0.9):
    """Return an upright face whose aligned frame covers the square of ``size`` px at (x, y)."""
    points = (template(512) + 0.5) * (size / 512) - 0.5 + (x, y)
    inner = size * 0.2
    box = (x + inner, y + inner, x + size - inner, y + size - inner)
    return DetectedFace(box=box, landmarks=points.astype(np.float32), score=score)


def flat_face(value, size=FACE_SIZE):
    """Return a crop of one grey, in [0, 1]."""
    lq = np.full((size, size, 3), value, dtype=np.float32)
    return AlignedFace(detected=face_at(0, 0), affine=np.eye(2, 3), lq=lq)


def photo(height=120, width=200, *, dtype=np.uint8, seed=0, **facts):
    """Return a noisy photo, so that no face in it is sharp and every pixel tells whether it was touched."""
    limit = np.iinfo(dtype).max
    pixels = np.random.default_rng(seed).integers(limit // 5, limit // 2, (height, width, 3), dtype=dtype)
    return DecodedImage(pixels, **facts)


def trial_photo(which=0, size=512):
    """Return one of the drawn faces as 8-bit pixels; the embedded detector finds each."""
    return np.round(trial_faces(size)[which].lq * 255).astype(np.uint8)


class FakeDetector:
    """Finds the given faces in every photo that is large enough for them."""

    name = "fake"

    def __init__(self, *faces: DetectedFace) -> None:
        self.faces = faces

    def detect(self, image):
        height, width = image.shape[:2]
        inside = [face for face in self.faces if face.box[2] <= width and face.box[3] <= height]
        return sorted(inside, key=lambda face: -face.score)


class Brightener(Restorer):
    """Restores by brightening; remembers how many faces each call had."""

    descriptor = Descriptor(name="brightener")

    def __init__(self, face_size=FACE_SIZE, *, fails=False) -> None:
        self.descriptor = replace(self.descriptor, face_size=face_size)
        self.fails = fails
        self.calls: list[int] = []

    def restore(self, faces: Sequence[AlignedFace], parsing_maps=None):
        self.calls.append(len(faces))
        if self.fails:
            raise BackendError("backend 'brightener' failed on cpu; try other weights")
        return [np.clip(face.lq * 0.5 + 0.5, 0, 1).astype(np.float32) for face in faces]


class Stopped(Brightener):
    """Is broken off at its second call."""

    def restore(self, faces, parsing_maps=None):
        if self.calls:
            raise KeyboardInterrupt
        return super().restore(faces)


def pipeline(*faces, config=None, restorer=None, bundled=False, device="cpu"):
    """Return a pipeline that finds ``faces`` and brightens them."""
    facts = PipelineFacts(weights="brightener.test", sha256="0" * 64, bundled=bundled, device=device)
    config = config or RestoreConfig()
    return RestorePipeline(FakeDetector(*faces), restorer or Brightener(), config=config, facts=facts)


def brightening(config=None):
    """Return a pipeline that brightens one face of every photo; for workers in other processes, by its name."""
    return pipeline(face_at(10, 20), config=config)

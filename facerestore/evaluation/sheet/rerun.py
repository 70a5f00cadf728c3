"""Runs one photo at several strengths with each network run once: detections and outputs are cached."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.restorer import Restorer
from facerestore.config import RestoreConfig
from facerestore.pipeline.restore import RestorePipeline
from facerestore.types import (
    AlignedFace,
    DetectedFace,
    FaceDetector,
    FaceImage,
    FaceParser,
    FoundFaces,
    Image,
    ParsingMap,
    search_of,
)


class Rerun:
    """A pipeline for one photo at several strengths: faces are given, and network outputs are cached.

    Args:
        pipeline: not changed.
        found: the photo's faces.
        parser: caches the maps of ``pipeline.parser``; other pipelines may share it.

    Attributes:
        restorer: caches the faces of the pipeline's, and measures how long they took.
    """

    def __init__(
        self, pipeline: RestorePipeline, found: Sequence[DetectedFace], parser: CachedParser | None
    ) -> None:
        self._pipeline = pipeline
        self._detector = None if pipeline.detector is None else _GivenFaces(pipeline.detector, found)
        self._parser = parser
        self.restorer = _CachedRestorer(pipeline.restorer)

    def pipeline(self, config: RestoreConfig) -> RestorePipeline:
        """Return the pipeline with another configuration."""
        return replace(
            self._pipeline,
            detector=self._detector,
            restorer=self.restorer,
            parser=self._parser,
            config=config,
        )


class _GivenFaces:
    """A detector that returns given faces."""

    def __init__(self, detector: FaceDetector, found: Sequence[DetectedFace]) -> None:
        self.name = detector.name
        self._found = FoundFaces(found, search=search_of(found))

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces that were found."""
        return FoundFaces(self._found, search=self._found.search)


class CachedParser:
    """A parser that labels the same faces once."""

    def __init__(self, parser: FaceParser) -> None:
        self.name = parser.name
        self._parser = parser
        self._known: dict[bytes, list[ParsingMap]] = {}

    def __getattr__(self, name: str) -> Any:
        """Return what else the parser has."""
        return getattr(self._parser, name)

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        """Return one map per face."""
        key = _digest_of(face.lq for face in faces)
        if key not in self._known:
            self._known[key] = self._parser.parse(faces)
        return self._known[key]


class _CachedRestorer(Restorer):
    """A restorer that restores the same faces once, and caches failures too.

    Attributes:
        seconds_per_face: measured when the network ran; None before.
    """

    def __init__(self, restorer: Restorer) -> None:
        self.descriptor = restorer.descriptor
        self.seconds_per_face: float | None = None
        self._restorer = restorer
        self._known: dict[bytes, list[FaceImage] | Exception] = {}

    @property
    def remarks(self) -> Sequence[str]:
        """What the restorer remarks."""
        return self._restorer.remarks

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one face per face, as the restorer does."""
        key = _digest_of([*(face.lq for face in faces), *(parsing_maps or ())])
        if key not in self._known:
            self._known[key] = self._restore_or_fault(faces, parsing_maps)
        known = self._known[key]
        if isinstance(known, Exception):
            raise known
        return known

    def _restore_or_fault(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None
    ) -> list[FaceImage] | Exception:
        start = time.perf_counter()
        try:
            restored = self._restorer.restore(faces, parsing_maps)
        except Exception as error:  # raised again at each strength, without running the network for it
            return error
        self.seconds_per_face = (time.perf_counter() - start) / max(1, len(faces))
        return restored


def _digest_of(arrays: Iterable[NDArray[Any]]) -> bytes:
    """Return a hash of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()

"""Runs one photo at several strengths with each network run once: detections and outputs are cached."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.pipeline.parts import Parts, Passage
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import to_restore
from facerestore.types import (
    AlignedFace,
    DetectedFace,
    FaceDetector,
    FaceParser,
    FoundFaces,
    Image,
    ParsingMap,
    RestoredFace,
    search_of,
)


class Rerun:
    """A pipeline for one photo at several strengths: faces are given, and its networks run once.

    Args:
        pipeline: not changed.
        found: the photo's faces.
        parser: caches the maps of ``pipeline.parser``; other pipelines may share it.

    Attributes:
        seconds_per_face: of the restorer, measured when it ran; None before.
    """

    def __init__(
        self, pipeline: RestorePipeline, found: Sequence[DetectedFace], parser: CachedParser | None
    ) -> None:
        self.seconds_per_face: float | None = None
        self._restore = pipeline.procedure.restore
        self._known: dict[tuple[int, ...], Sequence[RestoredFace] | Exception] = {}
        self._pipeline = replace(
            pipeline,
            detector=None if pipeline.detector is None else _GivenFaces(pipeline.detector, found),
            parser=parser,
            procedure=replace(pipeline.procedure, restore=self._restored_once),
        )

    def pipeline(self, config: RestoreConfig) -> RestorePipeline:
        """Return the pipeline with another configuration."""
        return replace(self._pipeline, config=config)

    def _restored_once(self, parts: Parts, photo: Passage) -> Passage:
        """Return the photo with its faces as the network gave them first; where it failed, it fails again."""
        wanted = tuple(index for index, _ in to_restore(photo.faces))
        if not wanted:
            return photo
        if wanted not in self._known:
            start = time.perf_counter()
            try:
                self._known[wanted] = self._restore(parts, photo).faces
            except Exception as error:  # raised again at each strength, without running the network for it
                self._known[wanted] = error
            else:
                self.seconds_per_face = (time.perf_counter() - start) / len(wanted)
        known = self._known[wanted]
        if isinstance(known, Exception):
            raise known
        return replace(photo, faces=[known[n] if n in wanted else face for n, face in enumerate(photo.faces)])


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


def _digest_of(arrays: Iterable[NDArray[Any]]) -> bytes:
    """Return a hash of arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()

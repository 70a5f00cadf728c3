"""The methods that are compared: the input, bicubic interpolation, restoration networks, pictures made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from facerestore.backends.calling import restore_faces
from facerestore.errors import ConfigError, ImageError
from facerestore.evaluation.cases import Case, Face, fit_face, pictures_by_name, read_face
from facerestore.imaging.blending import whole_crop
from facerestore.imaging.pixels import to_8_bit
from facerestore.pipeline.restore import RestorePipeline

INPUT, BICUBIC = "input", "bicubic"
"""Names of the two rows that always stand in a table."""

SMALLEST_SIDE_PX = 4  # as in the degradations: no face is reduced further


class Method(Protocol):
    """Makes a face out of a degraded one."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def facts(self) -> dict[str, Any]:
        """What it is, as plain values: weights, hashes, settings."""

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the (face_size, face_size, 3) uint8 RGB face; ``case.hq`` is left alone.

        Raises:
            FaceRestoreError: it cannot be made.
        """


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The degraded face itself; one that came smaller is enlarged by bilinear interpolation, as the presets do."""

    name: str = INPUT
    facts: dict[str, Any] = field(default_factory=lambda: {"kind": INPUT, "enlarged": "bilinear"})

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the face; see `Method.restore`."""
        return fit_face(case.lq, face_size, enlarge=cv2.INTER_LINEAR)


@dataclass(frozen=True, slots=True)
class Bicubic:
    """The degraded face at the resolution that it had been reduced to, enlarged by bicubic interpolation."""

    name: str = BICUBIC
    facts: dict[str, Any] = field(default_factory=lambda: {"kind": BICUBIC})

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the face; see `Method.restore`. Where the resolution is not known, that is the face as it came."""
        small = min(max(case.given_px, SMALLEST_SIDE_PX), case.lq.shape[0])
        return fit_face(fit_face(case.lq, small), face_size)


class Network:
    """A restoration network, with its parser where it needs one.

    Args:
        pipeline: one for aligned faces, as ``pipelines_of`` makes it; its restorer is run on each whole crop, and
            nothing of the pipeline's judging and blending.
    """

    def __init__(self, pipeline: RestorePipeline) -> None:
        self._restorer, self._parser = pipeline.restorer, pipeline.parser
        self._facts = pipeline.facts
        self.face_size = pipeline.restorer.face_size
        weights = pipeline.facts.weights
        self.name = (
            pipeline.restorer.name
            if weights is None
            else Path(weights).name
            if Path(weights).is_file()
            else weights
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What it is: backend, weights, face size, parser and device."""
        needs = self._restorer.needs_parsing
        parser = self._facts.parser if needs else None
        return {
            "kind": "network",
            "backend": self._restorer.name,
            "weights": self._facts.weights,
            "sha256": self._facts.sha256,
            "commercial_use": self._facts.commercial_use,
            "face_size": self.face_size,
            "parser": None if parser is None else {"weights": parser.weights, "sha256": parser.sha256},
            "device": self._facts.device,
            "precision": self._facts.precision,
        }

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the face; see `Method.restore`. The landmarks that networks may look at are the template's."""
        face = whole_crop(case.lq.astype(np.float32) / np.float32(255))
        maps = None
        if self._restorer.needs_parsing and self._parser is not None:
            maps = self._parser.parse([face])
        restored = restore_faces(self._restorer, [face], maps)[0]
        return fit_face(to_8_bit(restored), face_size)


class MadeElsewhere:
    """Pictures in a folder, matched to the faces by relative path without suffix, made by whatever program.

    Args:
        folder: the pictures.
        name: what tables call them; the folder's name when None.

    Raises:
        ImageError: the folder is absent.
        ConfigError: it has no pictures, or two of one name.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self._folder, self._pictures = folder, pictures_by_name(folder)
        self.name = name or folder.resolve().name

    @property
    def facts(self) -> dict[str, Any]:
        """What it is: a folder of that name."""
        return {"kind": "folder", "folder": self._folder.resolve().name}

    def restore(self, case: Case, face_size: int) -> Face:
        """Return the face; see `Method.restore`."""
        path = self._pictures.get(case.files.name)
        if path is None:
            raise ImageError(f"'{self._folder}' has no picture of the name '{case.files.name}'")
        return fit_face(read_face(path), face_size)


def folder_method(text: str) -> MadeElsewhere:
    """Return the method of ``DIR`` or ``NAME=DIR``; raises as `MadeElsewhere`."""
    name, mark, folder = text.partition("=")
    if mark and not Path(text).is_dir():
        return MadeElsewhere(Path(folder), name)
    return MadeElsewhere(Path(text))


def check_names(methods: Sequence[Method]) -> None:
    """Raise ConfigError unless all methods have names of their own."""
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two methods are called '{name}'; name pictures with --restored NAME=DIR")

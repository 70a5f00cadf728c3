"""Faces to train and evaluate on: folders of aligned crops, and fixed degraded pairs made from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import Degradation, DegradationDraw, degrade
from facerestore.errors import ConfigError, ImageError
from facerestore.io import find_images, read_image


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFace:
    """One aligned face.

    Attributes:
        set_name: name of the folder that holds it, by which sets are balanced and reported.
        name: file name without suffix.
        pixels: (S, S, 3) uint8 RGB.
    """

    set_name: str
    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class FacePair:
    """A degraded face and its original.

    Attributes:
        set_name: the set it comes from.
        name: file name without suffix.
        lq: (S, S, 3) uint8 RGB.
        hq: (S, S, 3) uint8 RGB.
        drawn: how it was degraded.
    """

    set_name: str
    name: str
    lq: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    drawn: DegradationDraw


def load_faces(root: Path, face_size: int) -> list[LabelledFace]:
    """Return the faces of ``root/<set>/*`` at ``face_size``, area-averaged, in sorted order.

    Raises:
        ConfigError: no picture is there.
        ImageError: a picture cannot be read, is not square, or would have to be enlarged.
    """
    faces = [_load_face(path, face_size) for path in find_images(root, recursive=True)]
    if not faces:
        raise ConfigError(
            f"no pictures in '{root}'; expected aligned face crops in folders, one folder per set"
        )
    return faces


def _load_face(path: Path, face_size: int) -> LabelledFace:
    pixels = read_image(path).pixels
    height, width = pixels.shape[:2]
    if height != width or height < face_size:
        raise ImageError(
            f"'{path}' is {width} x {height}; an aligned face is square and at least {face_size} px"
        )
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    small = cv2.resize(pixels, (face_size, face_size), interpolation=cv2.INTER_AREA)
    return LabelledFace(path.parent.name, path.stem, np.asarray(small, dtype=np.uint8))


def face_pairs(root: Path, face_size: int, *, degradation: Degradation, seed: int) -> list[FacePair]:
    """Return one fixed pair for each face of ``root/<set>/*``; the n-th depends on (seed, n) alone."""
    return [
        FacePair(
            face.set_name, face.name, *degrade(face.pixels, degradation, np.random.default_rng([seed, index]))
        )
        for index, face in enumerate(load_faces(root, face_size))
    ]

"""The faces of an evaluation: pairs of files, faces degraded by a preset, or faces without a reference."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import Degradation, degrade
from facerestore.errors import ConfigError, ImageError
from facerestore.imaging.pixels import in_8_bits
from facerestore.io import find_images, read_image

Face = NDArray[np.uint8]
"""(S, S, 3) uint8 RGB, in the FFHQ frame."""

NAMES_SHOWN = 3
"""How many pictures a message names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """Where one face lies on disk.

    Attributes:
        name: its path within the folder, without suffix, with forward slashes: what pictures are matched by.
        set_name: the folder that holds it, by which tables are split; the root's own name directly in the root.
        lq: the degraded picture, where there is one on disk.
        hq: the original, where there is one.
        position: its number in the sorted folder, which seeds its degradation.
    """

    name: str
    set_name: str
    lq: Path | None
    hq: Path | None
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One face, read.

    Attributes:
        files: where it comes from.
        lq: (s, s, 3) uint8 RGB, as the methods get it; its side may differ from that of ``hq``.
        hq: (S, S, 3) uint8 RGB at the face size of the evaluation; None without a reference.
        given_px: side to which the face had been reduced, where that is known; else the side of ``lq``.
        drawn: how it was degraded, where that was done here.
    """

    files: CaseFiles
    lq: Face
    hq: Face | None
    given_px: int
    drawn: Mapping[str, Any] | None = None

    @property
    def sha256(self) -> str:
        """Hash of the pixels that are judged: those of ``lq`` and of ``hq``, with their sides."""
        digest = hashlib.sha256()
        for face in (self.lq, self.hq):
            if face is not None:
                digest.update(f"{face.shape[0]}:".encode())
                digest.update(face.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSource:
    """A list of faces, and how each is read: pairs, originals that are degraded here, or faces without a reference.

    Attributes:
        files: the faces, in the order of their positions; all come with their original, or none does.
        unmatched: names of pictures without a partner; they are reported and left out.
        degradation: the preset that degrades originals; the n-th depends on the seed and n alone.
        seed: of all degradations.
    """

    files: tuple[CaseFiles, ...]
    unmatched: tuple[str, ...] = ()
    degradation: Degradation | None = None
    seed: int = 0

    @property
    def has_reference(self) -> bool:
        """Whether each face comes with its original."""
        return all(files.hq is not None for files in self.files)

    @property
    def facts(self) -> dict[str, Any]:
        """What fixes the faces beside their pixels, for the protocol."""
        if self.degradation is not None:
            return {"kind": "degradation", "preset": self.degradation.name, "seed": self.seed}
        return {"kind": "pairs" if self.has_reference else "faces"}

    def load(self, files: CaseFiles, face_size: int) -> Case:
        """Return a face.

        Raises:
            ImageError: a picture cannot be read, is not square, or would have to be enlarged to be a reference.
        """
        given = None if files.lq is None else read_face(files.lq)
        hq = None if files.hq is None else read_reference(files.hq, face_size)
        if given is not None:
            return Case(files, given, hq, given_px=min(given.shape[0], face_size))
        if hq is None or self.degradation is None:
            raise ConfigError("this face has no picture; make its source with a function of this module")
        rng = np.random.default_rng([self.seed, files.position])
        lq, target, drawn = degrade(hq, self.degradation, rng)
        return Case(files, lq, target, given_px=drawn.smallest_side_px, drawn=drawn.to_json())


def pair_source(lq: Path, hq: Path) -> CaseSource:
    """Return the pairs of two folders, matched by relative path without suffix.

    Raises:
        ImageError: a folder is absent.
        ConfigError: a folder has no pictures, two pictures of one name, or nothing matches.
    """
    degraded, originals = pictures_by_name(lq), pictures_by_name(hq)
    both = sorted(set(degraded) & set(originals))
    if not both:
        raise ConfigError(
            f"no picture of '{lq}' has the name of one in '{hq}' (such as {_some_of(degraded)} and"
            f" {_some_of(originals)}); pairs are matched by their path within the folder, without its suffix"
        )
    files = tuple(
        CaseFiles(name, _set_name(name, hq), degraded[name], originals[name], position)
        for position, name in enumerate(both)
    )
    alone = [f"{name} (only in {lq})" for name in sorted(set(degraded) - set(originals))]
    alone += [f"{name} (only in {hq})" for name in sorted(set(originals) - set(degraded))]
    return CaseSource(files=files, unmatched=tuple(alone))


def degraded_source(hq: Path, *, degradation: Degradation, seed: int) -> CaseSource:
    """Return the faces of a folder with fixed degradations.

    Raises:
        ImageError: the folder is absent.
        ConfigError: it has no pictures, or two of one name.
    """
    found = pictures_by_name(hq)
    files = tuple(
        CaseFiles(name, _set_name(name, hq), None, path, position)
        for position, (name, path) in enumerate(sorted(found.items(), key=lambda item: item[1]))
    )
    return CaseSource(files=files, degradation=degradation, seed=seed)


def unpaired_source(faces: Path) -> CaseSource:
    """Return the faces of a folder; raises as `degraded_source`."""
    found = pictures_by_name(faces)
    files = tuple(
        CaseFiles(name, _set_name(name, faces), path, None, position)
        for position, (name, path) in enumerate(sorted(found.items()))
    )
    return CaseSource(files=files)


def pictures_by_name(root: Path) -> dict[str, Path]:
    """Return the pictures below a folder by relative path without suffix.

    Raises:
        ImageError: the folder is absent.
        ConfigError: it has no pictures, or two of one name.
    """
    found: dict[str, Path] = {}
    for path in find_images(root, recursive=True):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in found:
            raise ConfigError(f"'{found[name]}' and '{path}' have one name; leave one of both in '{root}'")
        found[name] = path
    if not found:
        raise ConfigError(
            f"no pictures in '{root}'; expected aligned face crops, in folders of their own if there are several sets"
        )
    return found


def spread_over(files: Sequence[CaseFiles], limit: int | None) -> tuple[CaseFiles, ...]:
    """Return at most ``limit`` faces, evenly over the list; all for None.

    Raises:
        ConfigError: the limit is below 1.
    """
    if limit is None or limit >= len(files):
        return tuple(files)
    if limit < 1:
        raise ConfigError(f"the limit is {limit}; give 1 or more faces")
    chosen = np.linspace(0, len(files) - 1, limit).round().astype(int)
    return tuple(files[index] for index in chosen)


def read_face(path: Path) -> Face:
    """Return a square picture as 8-bit RGB.

    Raises:
        ImageError: it cannot be read, or is not square.
    """
    pixels = read_image(path).pixels
    height, width = pixels.shape[:2]
    if height != width:
        raise ImageError(f"'{path}' is {width} x {height}; an aligned face is square")
    return in_8_bits(pixels)


def read_reference(path: Path, face_size: int) -> Face:
    """Return a square picture reduced by area to (face_size, face_size, 3).

    Raises:
        ImageError: it cannot be read, is not square, or would have to be enlarged.
    """
    face = read_face(path)
    if face.shape[0] < face_size:
        raise ImageError(
            f"'{path}' is {face.shape[0]} px, and a reference of {face_size} px is never made by enlarging;"
            " leave it out, or choose a smaller --face-size"
        )
    return fit_face(face, face_size)


def fit_face(face: Face, face_size: int, *, enlarge: int = cv2.INTER_CUBIC) -> Face:
    """Return a square face at ``face_size``: by area when reducing, as told when enlarging."""
    if face.shape[0] == face_size:
        return face
    interpolation = cv2.INTER_AREA if face.shape[0] > face_size else enlarge
    return np.asarray(cv2.resize(face, (face_size, face_size), interpolation=interpolation), dtype=np.uint8)


def _set_name(name: str, root: Path) -> str:
    return PurePosixPath(name).parent.name or root.resolve().name


def _some_of(found: Mapping[str, Path]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(found)[:NAMES_SHOWN])

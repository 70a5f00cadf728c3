"""Training samples: each is a pure function of the seed, the epoch and its index, whoever asks for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.utils.data import Dataset

from facerestore.degradation import Degradation, degrade, preset
from facerestore.errors import ConfigError, ImageError
from facerestore.face_parts import CLASS_NAMES
from facerestore.io import find_images, read_image
from facerestore.training.settings import STRICT

logger = logging.getLogger(__name__)

MAX_BAD_SHARE = 0.1
"""A folder with more unreadable pictures than this is taken for the wrong folder."""

CLEAN = "clean"
"""Stands in a mix for no degradation at all: the network learns to leave a good face alone."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Augmentation:
    """How a real face is varied before it is degraded; the target varies with it.

    Attributes:
        flip_probability: chance of a left-right flip.
        jitter_probability: chance of a small similarity, so that imprecise landmarks are met in training.
        max_scale: largest relative change of scale.
        max_shift: largest shift along each axis, as a share of the face size.
        max_turn_deg: largest rotation.
        gamma_probability: chance of a change of exposure.
        max_gamma: largest gamma; the smallest is its inverse.
    """

    flip_probability: float = Field(default=0.5, ge=0, le=1)
    jitter_probability: float = Field(default=0.5, ge=0, le=1)
    max_scale: float = Field(default=0.08, ge=0, lt=1)
    max_shift: float = Field(default=0.04, ge=0, lt=1)
    max_turn_deg: float = Field(default=5.0, ge=0, le=180)
    gamma_probability: float = Field(default=0.3, ge=0, le=1)
    max_gamma: float = Field(default=1.3, ge=1)


NO_AUGMENTATION = Augmentation(flip_probability=0, jitter_probability=0, gamma_probability=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DataSettings:
    """Which faces are learnt from, and how they are degraded.

    Attributes:
        face_size: side of the faces, px; larger pictures are reduced by area, smaller ones are an error.
        set_weights: share of each set, a set being a folder of faces; none for all alike.
        mix: share of each degradation preset; ``clean`` stands for none.
        augmentation: how faces are varied.
        parsing: folder of parsing maps (PNG of class ids 0 to 18) laid out as the faces are; empty for none.
        seed: of order, augmentation and degradation.
    """

    face_size: int = Field(default=256, ge=16)
    set_weights: dict[str, float] = Field(default_factory=dict)
    mix: dict[str, float] = Field(default_factory=lambda: {"gfpgan": 1.0})
    augmentation: Augmentation = Field(default_factory=lambda: Augmentation())
    parsing: str = ""
    seed: int = Field(default=20261121, ge=0)


@plain_dataclass(frozen=True, slots=True)
class FaceFile:
    """One aligned face on disk: the set it is of, and its path."""

    set_name: str
    path: Path


def face_files(root: Path) -> list[FaceFile]:
    """Return the pictures of ``root/<set>/*`` in sorted order; those in ``root`` itself are of a set of its name.

    Raises:
        ConfigError: there is no picture.
    """
    found = [FaceFile(path.parent.name, path) for path in find_images(root, recursive=True)]
    if not found:
        raise ConfigError(
            f"no pictures in '{root}'; give a folder of aligned faces, such as 'facerestore data prepare' makes"
        )
    return found


def read_face(path: Path, face_size: int) -> NDArray[np.uint8]:
    """Return a face as (S, S, 3) uint8 RGB, reduced by area.

    Raises:
        ImageError: it cannot be read, is not square, or would have to be enlarged.
    """
    pixels = read_image(path).pixels
    height, width = pixels.shape[:2]
    if height != width or height < face_size:
        raise ImageError(
            f"'{path}' is {width} x {height}; an aligned face is square and at least {face_size} px"
        )
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    return np.asarray(
        cv2.resize(pixels, (face_size, face_size), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def read_parsing_map(path: Path) -> NDArray[np.uint8]:
    """Return the (S, S) uint8 class ids of a palette or grey PNG.

    Raises:
        ImageError: it cannot be read, has colours instead of ids, is not square, or holds unknown classes.
    """
    try:
        with Image.open(path) as picture:
            mode, ids = picture.mode, np.asarray(picture)
    except (OSError, ValueError) as error:
        raise ImageError(f"parsing map '{path}' cannot be read: {error}") from error
    if mode not in {"P", "L"}:
        raise ImageError(f"parsing map '{path}' has mode {mode}; give an 8-bit PNG of class ids 0 to 18")
    if ids.ndim != 2 or ids.shape[0] != ids.shape[1]:
        raise ImageError(f"parsing map '{path}' is {ids.shape[1]} x {ids.shape[0]}; a face's map is square")
    if ids.max(initial=0) >= len(CLASS_NAMES):
        raise ImageError(
            f"parsing map '{path}' has class {ids.max()}; the classes are 0 to {len(CLASS_NAMES) - 1}"
        )
    return np.asarray(ids, dtype=np.uint8)


def augment(
    face: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return a varied copy of an (S, S, 3) uint8 face."""
    flip, matrix, gamma = _drawn(face.shape[0], augmentation, rng)
    face = np.ascontiguousarray(face[:, ::-1]) if flip else face
    if matrix is not None:
        face = _warped(face, matrix, cv2.INTER_CUBIC)
    if gamma is not None:
        face = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)[face]
    return face


def augment_with_map(
    face: NDArray[np.uint8],
    parsing_map: NDArray[np.uint8],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a face and its (S, S) parsing map, varied alike: labels are moved whole, and swap sides when flipped."""
    flip, matrix, gamma = _drawn(face.shape[0], augmentation, rng)
    if flip:
        face, parsing_map = np.ascontiguousarray(face[:, ::-1]), mirrored(parsing_map)
    if matrix is not None:
        face, parsing_map = (
            _warped(face, matrix, cv2.INTER_CUBIC),
            _warped(parsing_map, matrix, cv2.INTER_NEAREST),
        )
    if gamma is not None:
        face = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)[face]
    return face, parsing_map


def mirrored(parsing_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a parsing map as a mirror shows it: left and right eye, brow and ear change names."""
    table = np.arange(256, dtype=np.uint8)
    for left, right in ((4, 5), (6, 7), (8, 9)):  # eyes, brows, ears in the order of CelebAMask-HQ
        table[[left, right]] = right, left
    return table[np.ascontiguousarray(parsing_map[:, ::-1])]


def _drawn(
    size: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[bool, NDArray[np.float64] | None, float | None]:
    """Return whether to flip, the affine or None, and the gamma or None."""
    flip, jitter, expose = rng.random(3)
    matrix: NDArray[np.float64] | None = None
    if jitter < augmentation.jitter_probability:
        turn, scale, dx, dy = rng.uniform(-1, 1, 4)
        centre = (size - 1) / 2
        turned = cv2.getRotationMatrix2D(
            (centre, centre), augmentation.max_turn_deg * turn, 1 + augmentation.max_scale * scale
        )
        matrix = np.asarray(turned, dtype=np.float64)
        matrix[:, 2] += np.array([dx, dy]) * augmentation.max_shift * size
    gamma = augmentation.max_gamma ** rng.uniform(-1, 1) if expose < augmentation.gamma_probability else None
    return bool(flip < augmentation.flip_probability), matrix, gamma


def _warped(picture: NDArray[np.uint8], matrix: NDArray[np.float64], method: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    warped = cv2.warpAffine(picture, matrix, (width, height), flags=method, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, dtype=np.uint8)


class FaceSource:
    """Reads faces by number, and remembers which of them cannot be read.

    Args:
        files: the faces.
        settings: size of the faces and folder of the maps.

    Raises:
        ConfigError: a folder of parsing maps is named but is not there.
    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings) -> None:
        self.files = list(files)
        self._settings = settings
        self._bad: set[int] = set()
        self._maps = Path(settings.parsing) if settings.parsing else None
        if self._maps is not None and not self._maps.is_dir():
            raise ConfigError(
                f"the folder of parsing maps '{self._maps}' is not there; make it with 'facerestore parse --maps'"
            )

    @property
    def has_maps(self) -> bool:
        """Say whether faces come with parsing maps."""
        return self._maps is not None

    def read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | None:
        """Return a face and its map, or None for a picture that cannot be read, which is told once.

        Raises:
            ImageError: so many cannot be read that the folder must be the wrong one.
        """
        file = self.files[number]
        try:
            face = read_face(file.path, self._settings.face_size)
            return face, None if self._maps is None else self._read_map(file)
        except ImageError as error:
            if number not in self._bad:
                self._bad.add(number)
                logger.warning("left out: %s", error)
            if len(self._bad) > max(1, MAX_BAD_SHARE * len(self.files)):
                raise ImageError(
                    f"{len(self._bad)} of {len(self.files)} pictures cannot be used; the last: {error}"
                ) from error
            return None

    def _read_map(self, file: FaceFile) -> NDArray[np.uint8]:
        assert self._maps is not None
        stem = file.path.stem + ".png"
        nested = self._maps / file.set_name / stem
        found = read_parsing_map(nested if nested.exists() else self._maps / stem)
        size = (self._settings.face_size, self._settings.face_size)
        return np.asarray(cv2.resize(found, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


class PairDataset(Dataset[dict[str, Tensor]]):
    """Degraded and real faces, drawn in balance from several sets.

    ``dataset[position]`` is a pure function of (seed, epoch, index), ``epoch, index = divmod(position, len(dataset))``,
    so workers, processes, interruptions and batch sizes never change what the n-th sample of a run is. A picture that
    cannot be read is left out, and the next draw of the same sample takes its place.
    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings) -> None:
        """Prepare the draw.

        Args:
            files: the faces, from :func:`face_files`.
            settings: how they are drawn and degraded.

        Raises:
            ConfigError: a weighted set has no face, or a preset is unknown.
        """
        self.source = FaceSource(files, settings)
        self._settings = settings
        self._sets, self._shares = _balance(files, settings.set_weights)
        self._mix, self._mix_shares = _mix(settings.mix)

    def __len__(self) -> int:
        """Return the length of an epoch: the number of faces."""
        return len(self.source.files)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """Return ``lq`` and ``hq``, (3, S, S) float32 in [0, 1]; with maps also ``parsing``, (S, S) uint8."""
        lq, hq, parsing_map = self.pair(position)
        sample = {"lq": face_to_tensor(lq), "hq": face_to_tensor(hq)}
        return sample if parsing_map is None else {**sample, "parsing": torch.from_numpy(parsing_map)}

    def pair(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return (lq, hq, parsing map or None) of a position, the faces (S, S, 3) uint8 RGB."""
        epoch, index = divmod(position, len(self))
        rng = np.random.default_rng([self._settings.seed, epoch, index])
        face, parsing_map = self._draw(rng)
        if parsing_map is None:
            face = augment(face, self._settings.augmentation, rng)
        else:
            face, parsing_map = augment_with_map(face, parsing_map, self._settings.augmentation, rng)
        degradation = self._mix[rng.choice(len(self._mix), p=self._mix_shares)]
        if degradation is None:
            return face, face, parsing_map
        lq, hq, _ = degrade(face, degradation, rng)
        return lq, hq, parsing_map

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        while True:
            members = self._sets[rng.choice(len(self._sets), p=self._shares)]
            found = self.source.read(int(members[rng.integers(len(members))]))
            if found is not None:
                return found


class PositionsOnly(Dataset[dict[str, Tensor]]):
    """Samples for recipes that draw their own data: empty ones."""

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """Return the position alone."""
        return {"position": torch.tensor(position)}


def validation_batch(
    files: Sequence[FaceFile], settings: DataSettings, *, degradation: str, seed: int
) -> dict[str, Tensor]:
    """Return fixed validation pairs of all faces as one batch; the n-th depends on (seed, n) alone.

    Raises:
        ConfigError: the preset is unknown.
        ImageError: a picture cannot be used.
    """
    source, chosen = FaceSource(files, settings), preset(degradation)
    samples = []
    for index in range(len(files)):
        found = source.read(index)
        if found is None:
            continue
        lq, hq, _ = degrade(found[0], chosen, np.random.default_rng([seed, index]))
        sample = {"lq": face_to_tensor(lq), "hq": face_to_tensor(hq)}
        samples.append(sample if found[1] is None else {**sample, "parsing": torch.from_numpy(found[1])})
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def face_to_tensor(face: NDArray[np.uint8]) -> Tensor:
    """(S, S, 3) uint8 -> (3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(face)).permute(2, 0, 1).float().div_(255).contiguous()


def to_tensor(faces: NDArray[np.uint8]) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)


def _balance(
    files: Sequence[FaceFile], weights: Mapping[str, float]
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    """Return the numbers of the faces of each set, and the share of each set."""
    if not weights:
        return [np.arange(len(files))], np.ones(1)
    names = np.array([file.set_name for file in files])
    sets = [np.flatnonzero(names == name) for name in weights]
    for name, members in zip(weights, sets, strict=True):
        if not len(members):
            raise ConfigError(f"set '{name}' has a weight but no faces; found {sorted(set(names.tolist()))}")
    shares = np.array(list(weights.values()), dtype=np.float64)
    if (shares < 0).any() or shares.sum() <= 0:
        raise ConfigError(f"set_weights are {dict(weights)}; give shares of 0 and more, not all 0")
    return sets, shares / shares.sum()


def _mix(mix: Mapping[str, float]) -> tuple[list[Degradation | None], NDArray[np.float64]]:
    shares = np.array(list(mix.values()), dtype=np.float64)
    if not len(shares) or (shares < 0).any() or shares.sum() <= 0:
        raise ConfigError(f"mix is {dict(mix)}; give presets with shares of 0 and more, not all 0")
    return [None if name == CLEAN else preset(name) for name in mix], shares / shares.sum()

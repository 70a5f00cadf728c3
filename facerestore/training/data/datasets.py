"""Training samples: each is a pure function of the seed, the epoch and its index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerestore.degradation import Degradation, DegradationDraw, apply, degrade, preset
from facerestore.degradation.batched import degrade_batch
from facerestore.degradation.steps import Resize
from facerestore.errors import ConfigError, ImageError
from facerestore.fields import option
from facerestore.training.data import streams
from facerestore.training.data.augmentation import Augmentation, augment
from facerestore.training.data.face_files import (
    IN_SHARDS,
    MAKE_MAPS,
    FaceFile,
    face_files,
    read_face,
    read_parsing_map,
    read_window,
)
from facerestore.training.data.samples import CORNER, Batch, Samples

logger = logging.getLogger(__name__)

MAX_BAD_SHARE = 0.1
"""A folder with more unreadable pictures than this is taken for the wrong folder."""

MAX_DRAWS = 100
"""After this many unusable faces in a row, their whole set is taken to be unusable."""

CLEAN = "clean"
"""Stands in a mix for no degradation at all: the network learns to leave a good face alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Which faces are trained on, and how they are degraded.

    Attributes:
        face_size: side of the faces, px; larger pictures are reduced by area, smaller ones are an error.
        max_reduction: for photographs of any shape in the place of aligned faces: a random square of one is taken for
            a face, reduced by area by a factor from 1 to this; 0 for aligned faces.
        set_weights: share of each set, a set being a folder of faces; none for all faces alike.
        crop_size: side of the square that a sample is cut down to after it was degraded, px, anywhere in the face:
            large faces then cost what small ones do, and look as they do whole; 0 for whole faces.
        reduced_share: of the degraded samples that stay as small as their degradation reduced them, the real face
            reduced alike, where a crop fits in: aligned faces come enlarged, photographs at their own size.
        mix: share of each degradation preset; ``clean`` stands for none.
        degrade_on: ``worker`` degrades each face on the CPU where it is read; ``device`` degrades whole batches where
            the network is, for machines whose GPU waits for the CPU. The parameters are the same either way, the
            fields of noise and grain are not. Much of ``web``, ``print``, ``damage`` and ``phone`` is done on the CPU
            even so, a face at a time.
        augmentation: how faces are varied.
        parsing: folder of parsing maps (PNG of class ids 0 to 18) laid out as the faces are; ``shards`` where they lie
            beside the faces in their shards; empty for none.
        landmarks: JSON file of five points a face, ``{"set/name": [[x, y], ...]}`` in shares of its side, for recipes
            that learn landmarks; empty for none.
        seed: of order, augmentation and degradation.
    """

    face_size: int = option(256, least=16)
    max_reduction: float = option(0.0, least=0)
    crop_size: int = option(0, least=0)
    reduced_share: float = option(0.0, least=0, most=1)
    set_weights: dict[str, float] = field(default_factory=dict)
    mix: dict[str, float] = field(default_factory=lambda: {"gfpgan": 1.0})
    degrade_on: Literal["worker", "device"] = "worker"
    augmentation: Augmentation = field(default_factory=Augmentation)
    parsing: str = ""
    landmarks: str = ""
    seed: int = option(20261121, least=0)


class FaceSource:
    """Reads faces by number, and remembers which of them cannot be read.

    Args:
        files: the faces.
        settings: size of the faces, how they are read, and folder of the maps.

    Raises:
        ConfigError: a folder of parsing maps is named but is not there.
    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings) -> None:
        self.files = list(files)
        self._size, self._max_reduction = settings.face_size, settings.max_reduction
        self._bad: set[int] = set()
        self.has_maps = bool(settings.parsing)
        self._maps = Path(settings.parsing) if settings.parsing not in {"", IN_SHARDS} else None
        if self._maps is not None and not self._maps.is_dir():
            raise ConfigError(
                f"the folder of parsing maps '{self._maps}' is not there; make it with"
                f" '{MAKE_MAPS.format(faces='FACES', maps=self._maps)}'"
            )

    def read(
        self, number: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | None:
        """Return a face and its map, or None for a picture that cannot be used, which is logged once.

        Args:
            number: of the picture.
            rng: of the square of a photograph; an aligned face draws nothing.

        Raises:
            ImageError: so many cannot be used that the folder must be the wrong one.
        """
        file = self.files[number]
        try:
            if self._max_reduction:
                return read_window(file, self._size, max_reduction=self._max_reduction, rng=rng), None
            face = read_face(file, self._size)
            return face, self.read_map(number) if self.has_maps else None
        except ImageError as error:
            if number not in self._bad:
                self._bad.add(number)
                logger.warning("left out: %s", error)
            if len(self._bad) > max(1, MAX_BAD_SHARE * len(self.files)) or len(self._bad) == len(self.files):
                raise ImageError(
                    f"{len(self._bad)} of {len(self.files)} pictures cannot be used; the last: {error}"
                ) from error
            return None

    def read_map(self, number: int) -> NDArray[np.uint8]:
        """Return the parsing map of a face, (S, S) uint8; raises ImageError where it cannot be read."""
        return read_parsing_map(self.files[number], self._maps, self._size)


class PairDataset(Samples):
    """Degraded and real faces, drawn in balance from several sets.

    ``dataset[position]`` is a pure function of (seed, epoch, index), ``epoch, index = divmod(position, len(dataset))``,
    so workers, processes, interruptions and batch sizes never change what the n-th sample of a run is. A picture that
    cannot be read is left out, and the next draw of the same sample takes its place.

    Where batches are degraded on the device, a sample is a ``face`` and its ``position``, and :meth:`prepare` makes of
    a batch of them what recipes see.
    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings) -> None:
        """Prepare the draw.

        Args:
            files: the faces, from :func:`facerestore.training.data.face_files.face_files`.
            settings: how they are drawn and degraded.

        Raises:
            ConfigError: a weighted set has no face, a preset is unknown, or crops are larger than faces.
        """
        _check_cuts(settings)
        self.source = FaceSource(files, settings)
        self._settings = settings
        self._sets, self._shares = _sets_and_shares(files, settings.set_weights)
        self._mix, self._mix_shares = _mix_of(settings.mix)

    def __len__(self) -> int:
        """Return the length of an epoch: the number of faces."""
        return len(self.source.files)

    def __getitem__(self, position: int) -> Batch:
        """Return ``lq`` and ``hq``, (3, S, S) float32 in [0, 1]; with maps also ``parsing``, (S, S) uint8.

        For the device: ``face``, (S, S, 3) uint8, a quarter of the bytes, and ``position`` instead of both.
        """
        if self._settings.degrade_on == "device":
            face, parsing_map = self.face(position)
            sample = {"face": torch.from_numpy(face), "position": torch.tensor(position)}
        else:
            lq, hq, parsing_map = self.pair(position)
            window = self._crop_of(position, len(lq))
            sample = {"lq": face_to_tensor(lq[window]), "hq": face_to_tensor(hq[window])}
            if self._settings.crop_size:
                size = self._settings.face_size
                begins = [round(w.start * size / len(lq)) for w in (window[1], window[0])]
                sample[CORNER] = torch.tensor(begins).clamp(max=size - self._settings.crop_size)
            parsing_map = None if parsing_map is None else np.ascontiguousarray(parsing_map[window])
        return sample if parsing_map is None else {**sample, "parsing": torch.from_numpy(parsing_map)}

    def _crop_of(self, position: int, size: int) -> tuple[slice, slice]:
        """Return the rows and columns of the face of a position, ``size`` px wide, that its sample consists of."""
        crop = self._settings.crop_size or size
        rng = np.random.default_rng([self._settings.seed, *divmod(position, len(self)), streams.CROP])
        top, left = rng.integers(0, size - crop + 1, 2)
        return slice(top, top + crop), slice(left, left + crop)

    def face(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return the varied real face of a position, (S, S, 3) uint8 RGB, and its parsing map or None."""
        rng = np.random.default_rng([self._settings.seed, *divmod(position, len(self))])
        face, parsing_map = self._draw_face(rng)
        return augment(face, parsing_map, self._settings.augmentation, rng)

    def degradation(self, position: int) -> tuple[DegradationDraw | None, np.random.Generator]:
        """Return how the face of a position is degraded, None for not at all, and the source of its noise."""
        epoch, index = divmod(position, len(self))
        rng = np.random.default_rng([self._settings.seed, epoch, index, streams.DEGRADATION])
        chosen = self._mix[rng.choice(len(self._mix), p=self._mix_shares)]
        return None if chosen is None else chosen.draw(self._settings.face_size, rng), rng

    def pair(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Return (lq, hq, parsing map or None) of a position, degraded on the CPU, the faces (S, S, 3) uint8 RGB."""
        face, parsing_map = self.face(position)
        drawn, rng = self.degradation(position)
        if drawn is None:
            return face, face, parsing_map
        reduced = self._reduced(position, drawn)
        if reduced is None:
            return *apply(face, drawn, rng), parsing_map
        lq, hq = apply(face, reduced, rng)
        return (
            lq,
            np.asarray(cv2.resize(hq, lq.shape[:2], interpolation=cv2.INTER_AREA), np.uint8),
            parsing_map,
        )

    def _reduced(self, position: int, drawn: DegradationDraw) -> DegradationDraw | None:
        """Return parameters without their last step, which enlarges; None where a sample is enlarged."""
        *steps, last = drawn.steps
        sides = [step.side_px for step in steps if isinstance(step, Resize)]
        if not isinstance(last, Resize) or not sides or sides[-1] < self._settings.crop_size:
            return None
        rng = np.random.default_rng([self._settings.seed, *divmod(position, len(self)), streams.SIZE])
        return replace(drawn, steps=tuple(steps)) if rng.random() < self._settings.reduced_share else None

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Return a batch of samples on the device, with ``lq`` and ``hq``, (B, 3, S, S) float32 in [0, 1]."""
        positions = batch.get("position")
        moved = super().prepare({k: v for k, v in batch.items() if k != "position"}, device)
        if positions is None:
            return moved
        draws = [self.degradation(int(position)) for position in positions]
        faces = moved.pop("face").permute(0, 3, 1, 2).float() / 255
        seeds = [int(rng.integers(2**63)) for _, rng in draws]
        lq, hq = degrade_batch(faces, [drawn for drawn, _ in draws], seeds)
        return {"lq": lq, "hq": hq, **moved}

    def _draw_face(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        members = self._sets[0]
        for _ in range(MAX_DRAWS):
            members = self._sets[rng.choice(len(self._sets), p=self._shares)]
            found = self.source.read(int(members[rng.integers(len(members))]), rng)
            if found is not None:
                return found
        file = self.source.files[int(members[0])]
        raise ImageError(f"no picture of set '{file.set_name}' can be used; the log names the faults")


class PositionsOnly(Samples):
    """Samples for recipes that draw their own data: empty ones."""

    def __getitem__(self, position: int) -> Batch:
        """Return the position alone."""
        return {"position": torch.tensor(position)}


def validation_batch(
    files: Sequence[FaceFile], settings: DataSettings, *, degradation: str, seed: int
) -> Batch:
    """Return fixed validation pairs of all faces as one batch; the n-th depends on (seed, n) alone.

    Raises:
        ConfigError: the preset is unknown.
        ImageError: too many pictures cannot be used.
    """
    source, chosen = FaceSource(files, settings), preset(degradation)
    samples = []
    for index in range(len(files)):
        rng = np.random.default_rng([seed, index])
        found = source.read(index, rng)
        if found is None:
            continue
        lq, hq, _ = degrade(found[0], chosen, rng)
        sample = {"lq": face_to_tensor(lq), "hq": face_to_tensor(hq)}
        samples.append(sample if found[1] is None else {**sample, "parsing": torch.from_numpy(found[1])})
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def face_to_tensor(face: NDArray[np.uint8]) -> Tensor:
    """(S, S, 3) uint8 -> (3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(face)).permute(2, 0, 1).float().div_(255).contiguous()


def _sets_and_shares(
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


def _check_cuts(settings: DataSettings) -> None:
    if settings.crop_size > settings.face_size:
        raise ConfigError(
            f"data.crop_size is {settings.crop_size} px, larger than the faces of {settings.face_size} px; give less,"
            " or 0 for whole faces"
        )
    if settings.crop_size and settings.degrade_on == "device":
        raise ConfigError(
            "data.crop_size goes with faces that are degraded on the CPU; set data.degrade_on=worker"
        )
    if settings.reduced_share and not settings.crop_size:
        raise ConfigError(
            f"data.reduced_share is {settings.reduced_share:g}, and samples are to be of one size; set data.crop_size"
        )
    if 0 < settings.max_reduction < 1:
        raise ConfigError(
            f"data.max_reduction is {settings.max_reduction:g}, and photographs are never enlarged; give 1 and more,"
            " or 0 for aligned faces"
        )
    if settings.parsing and (settings.max_reduction or settings.reduced_share):
        raise ConfigError(
            "parsing maps are of whole aligned faces; set data.max_reduction=0 and data.reduced_share=0, or"
            " data.parsing=''"
        )


def _mix_of(mix: Mapping[str, float]) -> tuple[list[Degradation | None], NDArray[np.float64]]:
    shares = np.array(list(mix.values()), dtype=np.float64)
    if not len(shares) or (shares < 0).any() or shares.sum() <= 0:
        raise ConfigError(f"mix is {dict(mix)}; give presets with shares of 0 and more, not all 0")
    return [None if name == CLEAN else preset(name) for name in mix], shares / shares.sum()


__all__ = [
    "CLEAN",
    "Augmentation",
    "DataSettings",
    "FaceFile",
    "FaceSource",
    "PairDataset",
    "PositionsOnly",
    "face_files",
    "face_to_tensor",
    "validation_batch",
]

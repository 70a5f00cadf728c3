"""Samples of damage: degraded faces with what is damaged of them, and faces with holes that are to be filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facerestore.degradation import DamagedFace, DegradationDraw, apply, damage_masks, damaged, preset
from facerestore.degradation.steps import DamageStep, Resize
from facerestore.degradation.tearing import WaterStains
from facerestore.errors import ConfigError
from facerestore.imaging.filling import fill
from facerestore.pipeline.tasks.damage import draw_strokes
from facerestore.training.data import streams
from facerestore.training.data.datasets import DataSettings, FaceFile, PairDataset, face_to_tensor
from facerestore.training.data.samples import Batch

LEAST_OPACITY = 0.15
LEAST_STAIN_OPACITY = 0.5
"""A stain lets the picture through: what is under it is restored better than it is drawn anew."""
SPREAD_PX = 2
"""How far blur and JPEG carry damage beyond its mask and still count as damage, px at 256."""
VISIBLE_LEVELS = 14
"""Change of a channel from which damage is seen; noise of a second JPEG is below."""


def damage_of(name: str, face_size: int, rng: np.random.Generator) -> tuple[DamageStep, ...]:
    """Return the damage that a preset draws, without its other steps."""
    return tuple(step for step in preset(name).draw(face_size, rng).steps if isinstance(step, DamageStep))


def worn(drawn: DegradationDraw, damage: tuple[DamageStep, ...], rng: np.random.Generator) -> DegradationDraw:
    """Return parameters with damage among their steps, somewhere before the first reduction: a scan comes last."""
    first = next(
        (n for n, step in enumerate(drawn.steps) if isinstance(step, Resize)),
        len(drawn.steps),
    )
    place = int(rng.integers(first + 1))
    return replace(drawn, steps=(*drawn.steps[:place], *damage, *drawn.steps[place:]))


def opaque_damage(drawn: DegradationDraw) -> NDArray[np.bool_]:
    """Return what damage hides, (S, S): all of it but the inner parts of stains."""
    found = np.zeros((drawn.face_size,) * 2, dtype=bool)
    for word, mask in damage_masks(drawn).items():
        found |= mask >= (LEAST_STAIN_OPACITY if word == WaterStains.word else LEAST_OPACITY)
    return found


def visible_damage(face: DamagedFace, drawn: DegradationDraw) -> NDArray[np.bool_]:
    """Return where damage is opaque and is seen in the degraded face, (S, S)."""
    reach = 2 * max(1, round(SPREAD_PX * drawn.face_size / 256)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    near = cv2.dilate(opaque_damage(drawn).astype(np.uint8), disc)
    change = cv2.absdiff(face.lq, face.undamaged).max(axis=2) >= VISIBLE_LEVELS
    seen = cv2.morphologyEx(near * change.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.asarray(seen, dtype=bool)


class EachFace(PairDataset, ABC):
    """Samples of whole faces that are degraded on the CPU.

    Raises:
        ConfigError: as :class:`PairDataset`, or faces are to be cut or degraded on the device.
    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings) -> None:
        if settings.crop_size or settings.max_reduction or settings.degrade_on == "device":
            raise ConfigError(
                "damage is drawn on whole faces by the CPU; set data.crop_size=0, data.max_reduction=0 and"
                " data.degrade_on=worker"
            )
        super().__init__(files, settings)

    @abstractmethod
    def sample(self, face: NDArray[np.uint8], position: int) -> Batch:
        """Return the sample of a position for a real face, (S, S, 3) uint8 RGB."""

    def __getitem__(self, position: int) -> Batch:
        """Return the sample of a position."""
        return self.sample(self.face(position)[0], position)

    def damage_rng(self, position: int) -> np.random.Generator:
        """Return the source of a position's damage."""
        return np.random.default_rng([self._settings.seed, *divmod(position, len(self)), streams.DAMAGE])

    def of_each(self) -> Batch:
        """Return a sample of each face as it is read, as one batch.

        Raises:
            ImageError: too many pictures cannot be used.
        """
        found = [self.source.read(number, self.damage_rng(number)) for number in range(len(self))]
        samples = [self.sample(each[0], number) for number, each in enumerate(found) if each is not None]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


class DamageDataset(EachFace):
    """Degraded faces, a share of them damaged before their degradation ends, with what is damaged of them.

    Args:
        files: the faces.
        settings: how they are drawn and degraded.
        share: of the samples that are given damage beyond that of their own preset.

    """

    def __init__(self, files: Sequence[FaceFile], settings: DataSettings, *, share: float) -> None:
        super().__init__(files, settings)
        self._share = share

    def degradation(self, position: int) -> tuple[DegradationDraw | None, np.random.Generator]:
        """Return how the face of a position is degraded, damage included, and the source of its noise."""
        drawn, rng = super().degradation(position)
        own = self.damage_rng(position)
        if own.random() >= self._share:
            return drawn, rng
        size = self._settings.face_size
        return worn(drawn or DegradationDraw("clean", size), damage_of("damage", size, own), own), rng

    def sample(self, face: NDArray[np.uint8], position: int) -> Batch:
        """Return ``lq``, (3, S, S) float32 in [0, 1], and ``damage``, (S, S) float32, 1 where it is damaged."""
        drawn, rng = self.degradation(position)
        if drawn is None:
            return {"lq": face_to_tensor(face), "damage": torch.zeros(face.shape[:2])}
        found = damaged(face, drawn, rng)
        visible = torch.from_numpy(visible_damage(found, drawn)).float()
        return {"lq": face_to_tensor(found.lq), "damage": visible}


def drawn_holes(face_size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return holes to be filled, (S, S): brush strokes in half of the cases, else what the preset ``damage`` hides."""
    if rng.random() < 0.5:
        canvas = np.zeros((face_size,) * 2, np.uint8)
        draw_strokes(canvas, np.eye(2, 3), face_size=face_size, rng=rng)
        return canvas > 0
    holes = opaque_damage(DegradationDraw("damage", face_size, (), damage_of("damage", face_size, rng)))
    wider = cv2.dilate(holes.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(wider, dtype=bool)


class HoleDataset(EachFace):
    """Degraded faces with holes that are filled from their rims."""

    def sample(self, face: NDArray[np.uint8], position: int) -> Batch:
        """Return ``lq``, the degraded face with its holes filled, ``hq``, it without holes, and ``holes``.

        ``lq`` and ``hq`` are (3, S, S) float32 in [0, 1], ``holes`` (S, S) float32.
        """
        drawn, rng = self.degradation(position)
        whole = face if drawn is None else apply(face, drawn, rng)[0]
        holes = drawn_holes(len(whole), self.damage_rng(position))
        return {
            "lq": face_to_tensor(np.asarray(fill(whole, holes), dtype=np.uint8)),
            "hq": face_to_tensor(whole),
            "holes": torch.from_numpy(holes).float(),
        }

"""The recipe of the one-stage face detector of the bundled detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerestore.archs.detector import DetectorNet, flatten
from facerestore.detection.candidates import Candidates, candidates
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.datasets import DataSettings
from facerestore.training.data.face_files import FaceFile
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.recipes.base import Scene, Term, Validated
from facerestore.training.recipes.finder.backgrounds import make_bank, read_backgrounds
from facerestore.training.recipes.finder.losses import IGNORED, USABLE, finder_losses
from facerestore.training.recipes.finder.scenes import FACES_MOST, FinderData, finder_data, make_composite
from facerestore.training.recipes.landmarks.data import labelled_faces
from facerestore.training.recipes.landmarks.recipe import (
    TEACHER,
    FivePointRecipe,
    MadeSamples,
    landmark_source,
)
from facerestore.weights.checkpoint import load_state_dict, load_strictly

NO_FACE = -1
"""State of an empty place in a batch's list of faces."""

VALIDATION_BANK = 120
"""Backgrounds of the validation composites."""

FOUND_SCORE, FOUND_OVERLAP = 0.5, 0.5
"""What counts as found in validation: this score, and this intersection over union with a face."""

MINED_SCORE, MINED_EACH = 0.2, 6
"""False positives of at least this score are shown again, at most so many of one background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderSettings:
    """What is trained, and with which losses.

    Attributes:
        teacher: as of the recipe ``landmarks``.
        backgrounds: folder of pictures without a face; without one, backgrounds are made from the portraits alone.
        bank: how many backgrounds are prepared.
        picture_size: side of the composites, px, a multiple of 64.
        first: exported network of an earlier run: training starts from it, and its false positives in backgrounds are
            shown more often.
        learning_rate: peak of AdamW's rate.
        weight_decay: AdamW's.
        box_weight: weight of the box loss against the score's.
        points_weight: weight of the landmark loss.
    """

    teacher: str = TEACHER
    backgrounds: str = ""
    bank: int = option(900, least=1)
    picture_size: int = option(256, least=64, most=320, multiple=64)
    first: str = ""
    learning_rate: float = option(3e-3, above=0)
    weight_decay: float = option(0.02, least=0)
    box_weight: float = option(1.0, least=0)
    points_weight: float = option(0.5, least=0)


class FinderRecipe(FivePointRecipe):
    """Trains :class:`facerestore.archs.detector.DetectorNet` on pictures of portraits over backgrounds."""

    name: ClassVar[str] = "finder"
    settings_class: ClassVar[type[Any]] = FinderSettings
    needs: ClassVar[frozenset[str]] = frozenset({"picture", "boxes", "points", "state"})
    network_class = DetectorNet
    looks = 4

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings of a full run: those of the longest of the runs that made the bundled network."""
        return {
            "engine": {
                "steps": 4600,
                "batch_size": 12,
                "warmup_steps": 50,
                "clip_norm": 10.0,
                "ema_decay": 0.998,
                "seed": 20261124,
            },
            "data": {"face_size": 288, "seed": 20261124},
            "recipe": {"picture_size": 192},
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {
                "steps": 6,
                "batch_size": 2,
                "warmup_steps": 2,
                "ema_decay": 0.9,
            },
            "data": {"face_size": 64},
            "recipe": {"bank": 4, "picture_size": 128},
        }

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples:
        """Return composites of the faces, with the false positives of an earlier network; see :meth:`made_samples`."""
        made = self._prepared_data(files, data, self.settings.bank)
        if self.settings.first:
            hard = mine(self._earlier_network().eval(), made.bank)
            note = f"{len(hard)} false faces in {len(made.bank)} backgrounds are shown again"
            self.notes = (*self.notes, note)
            made = finder_data(made.pyramid[0], made.landmarks, made.bank, hard=hard)
        return self._composites(made, data.seed)

    def made_samples(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> MadeSamples:
        """Return composites over a few backgrounds; see the base for what it raises."""
        bank = min(self.settings.bank, VALIDATION_BANK)
        return self._composites(self._prepared_data(files, data, bank), seed)

    def _composites(self, data: FinderData, seed: int) -> MadeSamples:
        make = partial(composite_sample, data, self.settings.picture_size)
        return MadeSamples(make, count=len(data.landmarks), seed=seed)

    def _prepared_data(self, files: Sequence[FaceFile], data: DataSettings, bank: int) -> FinderData:
        find = landmark_source(data, self.settings.teacher)
        faces, landmarks = labelled_faces(files, data, find, side=data.face_size)
        folder = self.settings.backgrounds
        given = read_backgrounds(Path(folder).expanduser()) if folder else []
        backgrounds = make_bank(faces, given, np.random.default_rng(data.seed), size=bank)
        return finder_data(faces, landmarks, backgrounds)

    def start(self, networks: Mapping[str, nn.Module]) -> None:
        """Start from the network of an earlier run, where one is named; see the base for what it raises."""
        if self.settings.first:
            networks["detector"].load_state_dict(self._earlier_network().state_dict())

    def _earlier_network(self) -> DetectorNet:
        path = Path(self.settings.first).expanduser()
        if not path.is_file():
            raise ConfigError(f"the network '{path}' of an earlier run is not there; see recipe.first")
        network = DetectorNet()
        load_strictly(network, load_state_dict(path), name="the face detector")
        return network

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return quality focal loss on scores, DIoU loss on boxes, and a Huber loss on landmarks over face sides."""
        batch = scene.batch
        outputs = flatten(scene.networks["detector"](as_input(batch["picture"])))
        size = (batch["picture"].shape[1], batch["picture"].shape[2])
        found = finder_losses(outputs, size, batch["boxes"], batch["points"], batch["state"])
        return [
            Term("score", found.score),
            Term("box", found.box, self.settings.box_weight),
            Term("points", found.points, self.settings.points_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return recall, precision and mean landmark error over the face's side at score 0.5; draw what was found."""
        pictures = as_input(batch["picture"])
        outputs = flatten(network(pictures))
        size = (pictures.shape[2], pictures.shape[3])
        found = [candidates(one.cpu().numpy(), size, FOUND_SCORE) for one in outputs]
        tallies = np.array([_tally_of(batch, n, one) for n, one in enumerate(found)]).sum(axis=0)
        hits, faces, right, shown, error = tallies.tolist()
        metrics = {
            "recall": hits / max(faces, 1),
            "precision": right / shown if shown else 1.0,
            "points_error": error / max(hits, 1),
        }
        drawn = torch.stack([_with_found_drawn(pictures[n], one) for n, one in enumerate(found)])
        return Validated(metrics, (drawn,))


def composite_sample(data: FinderData, side: int, key: tuple[int, int, int]) -> Batch:
    """Return ``picture`` (S, S, 3) uint8, ``boxes`` (F, 4) and ``points`` (F, 5, 2) float32 px, ``state`` (F,) int8."""
    made = make_composite(data, side, key)
    count = len(made.boxes)
    boxes, points = np.zeros((FACES_MOST, 4), np.float32), np.zeros((FACES_MOST, 5, 2), np.float32)
    state = np.full(FACES_MOST, NO_FACE, np.int8)
    boxes[:count], points[:count] = made.boxes, made.points
    state[:count] = np.where(made.usable, USABLE, IGNORED)
    arrays = {"picture": made.picture, "boxes": boxes, "points": points, "state": state}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def as_input(pictures: Tensor) -> Tensor:
    """Return (B, H, W, 3) uint8 pictures as the network takes them."""
    return pictures.permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def mine(network: nn.Module, bank: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a network's (M, 4) false positives in pictures without faces: picture, centre x and y, side, px."""
    mined: list[list[float]] = []
    for number, picture in enumerate(bank):
        seen = as_input(torch.from_numpy(picture)[None])
        found = candidates(
            flatten(network(seen))[0].cpu().numpy(), (seen.shape[2], seen.shape[3]), MINED_SCORE
        )
        for left, top, right, bottom in found.boxes[:MINED_EACH].tolist():
            side = max(8.0, ((right - left) * (bottom - top)) ** 0.5)
            mined.append([float(number), (left + right) / 2, (top + bottom) / 2, side])
    return np.array(mined, dtype=np.float64).reshape(-1, 4)


def _tally_of(batch: Batch, number: int, found: Candidates) -> tuple[float, float, float, float, float]:
    """Return faces hit, faces, right finds, finds that count, and the sum of landmark errors of one picture."""
    state = batch["state"][number].cpu().numpy()
    boxes = batch["boxes"][number].cpu().numpy()
    points = batch["points"][number].cpu().numpy()
    overlaps = np.stack([_overlaps_with(box, found.boxes) for box in boxes])
    usable = np.flatnonzero(state == USABLE)
    best = overlaps[usable].max(axis=1, initial=0.0)
    hit = usable[best >= FOUND_OVERLAP]
    right = overlaps[state == USABLE].max(axis=0, initial=0.0) >= FOUND_OVERLAP
    excused = overlaps[state == IGNORED].max(axis=0, initial=0.0) >= FOUND_OVERLAP / 2
    error = 0.0
    for face in hit:
        nearest = found.points[overlaps[face].argmax()]
        side = float(np.sqrt(np.prod(boxes[face][2:] - boxes[face][:2])))
        error += float(np.linalg.norm(nearest - points[face], axis=1).mean()) / side
    return float(len(hit)), float(len(usable)), float(right.sum()), float((right | ~excused).sum()), error


def _overlaps_with(box: NDArray[np.float32], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of one box with (N, 4) others."""
    shared = np.prod(
        np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0), axis=1
    )
    areas = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-6), dtype=np.float64)


def _with_found_drawn(picture: Tensor, found: Candidates) -> Tensor:
    """Return a (3, H, W) picture with boxes and points of what was found."""
    drawn, (height, width) = picture.clone(), picture.shape[1:]
    green = torch.tensor([0.0, 1.0, 0.2], device=picture.device)[:, None]
    for box, points in zip(found.boxes, found.points, strict=True):
        left, right = (int(np.clip(value, 0, width - 1)) for value in box[[0, 2]])
        top, bottom = (int(np.clip(value, 0, height - 1)) for value in box[[1, 3]])
        drawn[:, [top, bottom], left : right + 1] = green[:, :, None]
        drawn[:, top : bottom + 1, [left, right]] = green[:, :, None]
        for x, y in points:
            drawn[:, int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))] = green[:, 0]
    return drawn

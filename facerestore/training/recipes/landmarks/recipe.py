"""The recipe of the five-point landmark and face-score network of the embedded detector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from facerestore.archs.convolution import fold_batch_norms
from facerestore.archs.landmarks import CROP_SIZE, LandmarkNet, normalise
from facerestore.detection import DETECTOR_SUFFIX, DETECTORS
from facerestore.detection.embedded import open_cells, search
from facerestore.detection.yunet import YuNetDetector
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.datasets import DataSettings
from facerestore.training.data.face_files import FaceFile
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated
from facerestore.training.recipes.landmarks.data import (
    POSITIVE_SHARE,
    LandmarkData,
    LandmarkSource,
    Proposer,
    by_labels,
    by_teacher,
    make_sample,
    prepare,
)
from facerestore.weights import WeightsStore

TEACHER = "yunet.2023mar"
"""Catalog name of the detector whose landmarks are learnt."""

PROPOSED_SCORE = 0.15
"""Least score at which a face detector's proposals are mined as negatives: half of what the detector itself uses."""

SHOWN_SCALE = 3
"""Times that crops are enlarged in the sample grid, so that points can be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarksSettings:
    """What is trained, and with which losses.

    Attributes:
        teacher: detector whose landmarks are learnt where ``data.landmarks`` names no file: YuNet by its catalog name,
            or its ONNX file.
        finder: face detector whose false positives become negatives: its catalog name, or its safetensors file.
        learning_rate: peak of AdamW's rate.
        weight_decay: AdamW's.
        points_weight: weight of the landmark loss against the score's cross entropy.
        knee: landmark error, in units of the eye distance, below which the loss is quadratic: the teacher's own noise.
    """

    teacher: str = TEACHER
    finder: str = DETECTORS["embedded"]
    learning_rate: float = option(2e-3, above=0)
    weight_decay: float = option(0.02, least=0)
    points_weight: float = option(8.0, least=0)
    knee: float = option(0.02, above=0)


class MadeSamples(Samples):
    """Samples that are made, not read: ``make`` takes (seed, epoch, index), and an epoch has ``count`` of them."""

    def __init__(self, make: Callable[[tuple[int, int, int]], Batch], *, count: int, seed: int) -> None:
        self._make, self._count, self._seed = make, count, seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Batch:
        return self._make((self._seed, *divmod(position, self._count)))


class FivePointRecipe(Recipe):
    """Trains a network of the embedded detector by AdamW, on ``looks`` samples made of each face in validation."""

    averaged = "detector"
    phases = (Phase("detector", ("detector",), "detector"),)
    network_class: ClassVar[type[nn.Module]]
    looks: ClassVar[int]

    def __init__(self, settings: Any, *, face_size: int) -> None:
        self.settings = settings

    @abstractmethod
    def made_samples(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> MadeSamples:
        """Return the samples made of faces.

        Raises:
            ConfigError: no face has landmarks, or a folder or file that is named cannot be used.
            WeightsError: the teacher's file is not there.
        """

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples:
        return self.made_samples(files, data, seed=data.seed)

    def validation(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> Batch:
        samples = self.made_samples(files, data, seed=seed)
        batch: Batch = default_collate([samples[n] for n in range(self.looks * len(samples))])
        return batch

    def networks(self) -> dict[str, nn.Module]:
        return {"detector": self.network_class()}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        return {"detector": torch.optim.AdamW(networks["detector"].parameters(), lr=rate, weight_decay=decay)}

    def export(self, network: nn.Module) -> Exported:
        return Exported(network.state_dict(), {"arch": self.name, "tag": "five-point"})


class LandmarksRecipe(FivePointRecipe):
    """Trains :class:`facerestore.archs.landmarks.LandmarkNet` on crops with and without a face."""

    name: ClassVar[str] = "landmarks"
    settings_class: ClassVar[type[Any]] = LandmarksSettings
    needs: ClassVar[frozenset[str]] = frozenset({"crop", "points", "is_face"})
    network_class = LandmarkNet
    looks = 8  # about five with the face and three without

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings with which the bundled network was made."""
        return {
            "engine": {
                "steps": 2500,
                "batch_size": 64,
                "warmup_steps": 100,
                "clip_norm": 5.0,
                "ema_decay": 0.998,
                "seed": 20260101,
            },
            "data": {"face_size": 512, "seed": 20260101},
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {
                "steps": 30,
                "batch_size": 16,
                "warmup_steps": 5,
                "ema_decay": 0.9,
            },
            "data": {"face_size": 64},
        }

    def made_samples(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> MadeSamples:
        """Return crops of the faces and of the face detector's false positives; see the base for what it raises."""
        find = landmark_source(data, self.settings.teacher)
        made = prepare(files, data, find, propose=face_proposer(self.settings.finder))
        return MadeSamples(partial(landmark_sample, made), count=len(made.faces), seed=seed)

    def export(self, network: nn.Module) -> Exported:
        """Return the network with its batch norms folded into the convolutions: half of the bytes."""
        return super().export(fold_batch_norms(deepcopy(network).eval()))

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return a Huber loss on distances over the eye distance, of faces only, and the score's cross entropy."""
        points, logits = scene.networks["detector"](normalise(scene.batch["crop"]))
        goals, is_face = scene.batch["points"], scene.batch["is_face"]
        errors = (points - goals) / eye_distance(goals)
        distances = functional.huber_loss(
            errors, torch.zeros_like(errors), delta=self.settings.knee, reduction="none"
        )
        # Over the expected number of faces: the same for every split of a batch, and a number where there is none.
        per_face = (distances.mean(dim=(1, 2)) * is_face).mean() / POSITIVE_SHARE
        return [
            Term("points", per_face / self.settings.knee, self.settings.points_weight),
            Term("score", functional.binary_cross_entropy_with_logits(logits, is_face)),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return the mean error of points over the eye distance, and the share of right scores; draw the points."""
        points, logits = network(normalise(batch["crop"]))
        goals, is_face = batch["points"], batch["is_face"]
        errors = ((points - goals).norm(dim=2) / eye_distance(goals).squeeze(2)).mean(dim=1)
        metrics = {
            "points_error": float((errors * is_face).sum() / is_face.sum().clamp_min(1)),
            "score_accuracy": float(((logits > 0) == (is_face > 0)).double().mean()),
        }
        rows = (
            with_points(batch["crop"], points, logits > 0),
            with_points(batch["crop"], goals, is_face > 0),
        )
        return Validated(metrics, rows)


def landmark_sample(data: LandmarkData, key: tuple[int, int, int]) -> Batch:
    """Return ``crop`` (64, 64) float32 grey in [0, 1], ``points`` (5, 2) in the network's units, ``is_face`` 0 or 1."""
    sample = make_sample(data, *key)
    return {
        "crop": torch.from_numpy(np.ascontiguousarray(sample.crop)),
        "points": torch.from_numpy(np.ascontiguousarray(sample.points)),
        "is_face": torch.tensor(float(sample.is_face)),
    }


def face_proposer(detector: str) -> Proposer:
    """Return a proposer of faces: all that a face detector does not rule out.

    Args:
        detector: its catalog name, or its safetensors file.

    Raises:
        WeightsError: it is not there.
        CheckpointError: it is another network.
    """
    is_file = detector.endswith(DETECTOR_SUFFIX)
    network = open_cells(Path(detector).expanduser() if is_file else WeightsStore().require(detector))
    return lambda picture: search(network, picture, PROPOSED_SCORE).points


def landmark_source(data: DataSettings, teacher: str) -> LandmarkSource:
    """Return the source of landmarks: the file that the settings name, or else a teacher.

    Args:
        data: with the file of landmarks, if any.
        teacher: YuNet by its catalog name, or its ONNX file.

    Raises:
        ConfigError: the teacher is neither, or a file cannot be read.
        WeightsError: the teacher is not installed.
    """
    if data.landmarks:
        return by_labels(Path(data.landmarks).expanduser())
    path = Path(teacher).expanduser()
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ConfigError(f"the teacher '{path}' is not there; give YuNet's ONNX file as recipe.teacher")
        return by_teacher(YuNetDetector(path))
    if teacher != TEACHER:
        raise ConfigError(
            f"the teacher '{teacher}' is neither '{TEACHER}' nor an ONNX file; set recipe.teacher"
        )
    return by_teacher(YuNetDetector(WeightsStore().require(TEACHER)))


def eye_distance(points: Tensor) -> Tensor:
    """Return (B, 1, 1) distances of the first two of (B, 5, 2) points, at least a thousandth of a unit."""
    distance: Tensor = (points[:, 1] - points[:, 0]).norm(dim=1).clamp_min(1e-3)
    return distance[:, None, None]


def with_points(crops: Tensor, points: Tensor, is_face: Tensor) -> Tensor:
    """Return (B, 64, 64) grey crops, enlarged, with (B, 5, 2) points in the network's units drawn where a face is."""
    shown = crops.repeat_interleave(SHOWN_SCALE, 1).repeat_interleave(SHOWN_SCALE, 2)
    pictures = shown.unsqueeze(1).repeat(1, 3, 1, 1)
    side = SHOWN_SCALE * CROP_SIZE
    places = ((points + 1) / 2 * side - 0.5).round().long().clamp(1, side - 2)
    green = torch.tensor([0.0, 1.0, 0.2], device=crops.device)
    for index in is_face.nonzero().flatten().tolist():
        picture = pictures[index]
        for x, y in places[index].tolist():
            picture[:, y - 1 : y + 2, x - 1 : x + 2] = green[:, None, None]
    return pictures

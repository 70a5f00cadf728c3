"""The recipe of the network that tells closed eyes from open ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.eyes import FACE_SIZE, EyesNet
from facerestore.fields import option
from facerestore.training.data.closed_eyes import EyesDataset
from facerestore.training.data.datasets import DataSettings, FaceFile
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated
from facerestore.weights.checkpoint import SIZE_ENTRY


@dataclass(frozen=True, slots=True, kw_only=True)
class EyesSettings:
    """What is trained, and on which samples.

    Attributes:
        learning_rate: peak of AdamW's rate.
        weight_decay: AdamW's.
        dropout: share of what the first layer sees that is left out.
        shut: share of the samples with open eyes that are shut: the skin above them is drawn down over them.
        closed: share of the samples that are faces with closed eyes, of which there are few.
    """

    learning_rate: float = option(4e-3, above=0)
    weight_decay: float = option(0.01, least=0)
    dropout: float = option(0.3, least=0, below=1)
    shut: float = option(0.35, least=0, most=1)
    closed: float = option(0.2, least=0, most=1)


class EyesRecipe(Recipe):
    """Trains :class:`facerestore.archs.eyes.EyesNet`."""

    name: ClassVar[str] = "eyes"
    settings_class: ClassVar[type[Any]] = EyesSettings
    needs: ClassVar[frozenset[str]] = frozenset({"lq", "closed"})
    averaged = "eyes"
    phases = (Phase("eyes", ("eyes",), "eyes"),)

    def __init__(self, settings: EyesSettings, *, face_size: int) -> None:
        self.settings = settings

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a run from nothing."""
        return {
            "engine": {
                "steps": 600,
                "batch_size": 16,
                "precision": "no",
                "warmup_steps": 40,
                "ema_decay": 0.98,
                "schedule": "cosine",
            },
            "data": {
                "face_size": FACE_SIZE,
                "augmentation": {"max_shift": 0.012, "max_scale": 0.06},
                "mix": {"gfpgan": 0.5, "web": 0.17, "phone": 0.17, "old-photo": 0.08, "clean": 0.08},
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {"steps": 12, "batch_size": 4, "ema_decay": 0.9},
            "data": {"face_size": 64},
        }

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples:
        """Return degraded faces with whether their eyes are closed."""
        return EyesDataset(files, data, shut=self.settings.shut, closed=self.settings.closed)

    def validation(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> Batch:
        """Return a fixed sample of each face, half of those with open eyes shut."""
        return EyesDataset(files, replace(data, seed=seed, set_weights={}), shut=0.5, closed=0.0).of_each()

    def networks(self) -> dict[str, nn.Module]:
        return {"eyes": EyesNet(dropout=self.settings.dropout)}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        return {"eyes": torch.optim.AdamW(networks["eyes"].parameters(), lr=rate, weight_decay=decay)}

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the cross-entropy of both eyes."""
        logits, closed = scene.networks["eyes"](_fitted(scene.batch["lq"])), scene.batch["closed"]
        return [Term("entropy", functional.binary_cross_entropy_with_logits(logits, _of_both(closed)))]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return how many faces with closed eyes are told at one of fifty others, and how often all are right."""
        logits, closed = network(_fitted(batch["lq"])).mean(dim=1), batch["closed"] > 0.5
        accuracy = float(((logits > 0) == closed).double().mean())
        if not closed.any() or closed.all():
            return Validated({"accuracy": accuracy}, (batch["lq"],))
        limit = torch.quantile(logits[~closed].double(), 0.98)
        recall = float((logits[closed] > limit).double().mean())
        return Validated({"accuracy": accuracy, "recall": recall}, (batch["lq"],))

    def export(self, network: nn.Module) -> Exported:
        """Return the network in half precision; faces of any size are resized to that of its header."""
        state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        return Exported(state, {"arch": "eyes", SIZE_ENTRY: str(FACE_SIZE)})


def _fitted(faces: Tensor) -> Tensor:
    """B 3 S S -> B 3 256 256."""
    if faces.shape[-1] == FACE_SIZE:
        return faces
    return functional.interpolate(faces, size=FACE_SIZE, mode="bilinear", align_corners=False, antialias=True)


def _of_both(closed: Tensor) -> Tensor:
    """B -> B 2."""
    return closed.unsqueeze(1).expand(-1, 2)

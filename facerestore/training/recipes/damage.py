"""The recipe of the network that finds damage in faces: what of each pixel is scratched, torn, stained or dusty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.fields import option
from facerestore.training.data.damaged_faces import DamageDataset
from facerestore.training.data.datasets import DataSettings, FaceFile
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.muon import Muon
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated, check_levels
from facerestore.weights.checkpoint import SIZE_ENTRY

FOUND = 0.5
"""Probability from which a pixel counts as damaged in validation."""

SHAPE = PartsConfig(widths=(16, 32, 56, 72, 80), blocks=(1, 2, 1, 1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageSettings:
    """What is trained, and with which losses.

    Attributes:
        network: shape of the network; it has one class, whatever is said of classes.
        learning_rate: peak of Muon's and AdamW's rate.
        positive_weight: of a damaged pixel in the cross-entropy; of a sound one it is 1.
        dice_weight: of the Dice loss beside the cross-entropy (Milletari et al., arXiv 1606.04797, eq. 3).
        damaged: share of the samples that are given damage beyond that of their own preset; the others teach that
            wrinkles, hair, frames of glasses and grain are none.
    """

    network: PartsConfig = field(default_factory=lambda: SHAPE)
    learning_rate: float = option(2e-3, above=0)
    positive_weight: float = option(3.0, above=0)
    dice_weight: float = option(0.5, least=0)
    damaged: float = option(0.55, least=0, most=1)


class DamageRecipe(Recipe):
    """Trains :class:`facerestore.archs.parts.PartsNet` with one class."""

    name: ClassVar[str] = "damage"
    settings_class: ClassVar[type[Any]] = DamageSettings
    needs: ClassVar[frozenset[str]] = frozenset({"lq", "damage"})
    averaged = "finder"
    phases = (Phase("finder", ("finder",), "finder"),)

    def __init__(self, settings: DamageSettings, *, face_size: int) -> None:
        shape = settings.network
        check_levels("damage", face_size, unshuffle=shape.unshuffle, levels=len(shape.widths))
        self.settings, self.face_size = settings, face_size

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a run from nothing."""
        return {
            "engine": {
                "steps": 2500,
                "batch_size": 8,
                "precision": "auto",
                "warmup_steps": 100,
                "clip_norm": 1.0,
                "ema_decay": 0.998,
                "schedule": "cosine",
            },
            "data": {
                "face_size": 256,
                "mix": {
                    "clean": 0.30,
                    "damage": 0.12,
                    "old-photo": 0.12,
                    "gfpgan": 0.12,
                    "web": 0.14,
                    "phone": 0.10,
                    "print": 0.10,
                },
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {"steps": 30, "batch_size": 4, "precision": "no", "ema_decay": 0.9},
            "data": {"face_size": 64},
            "recipe": {"network": {"widths": [8, 16], "blocks": [1, 1]}, "learning_rate": 4e-3},
        }

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples:
        """Return degraded faces with what is damaged of them."""
        return DamageDataset(files, data, share=self.settings.damaged)

    def validation(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> Batch:
        """Return a fixed sample of each face, drawn as those of training are."""
        return DamageDataset(
            files, replace(data, seed=seed, set_weights={}), share=self.settings.damaged
        ).of_each()

    def networks(self) -> dict[str, nn.Module]:
        return {"finder": PartsNet(replace(self.settings.network, classes=1))}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Muon for the inner convolutions, and AdamW for biases, norms, and the layers next to pixels."""
        rate = self.settings.learning_rate
        return {"finder": Muon.of_network(networks["finder"], lr=rate, outer=("stem.", "label."))}

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the weighted cross-entropy and the Dice loss."""
        lq = (scene.batch["lq"] * 2 - 1).contiguous(memory_format=torch.channels_last)
        logits, damage = scene.networks["finder"](lq).float().squeeze(1), scene.batch["damage"]
        weight = torch.tensor(self.settings.positive_weight, device=logits.device)
        entropy = functional.binary_cross_entropy_with_logits(logits, damage, pos_weight=weight)
        return [
            Term("entropy", entropy),
            Term("dice", binary_dice(logits.sigmoid(), damage), self.settings.dice_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return how much of the damage is found, how much of that is damage, and what is found in sound faces."""
        probability = network(batch["lq"] * 2 - 1).sigmoid().squeeze(1)
        found, damage = probability >= FOUND, batch["damage"] > 0
        shared = (found & damage).sum()
        sound = ~damage.flatten(1).any(dim=1)
        metrics = {
            "recall": float(shared / damage.sum().clamp_min(1)),
            "precision": float(shared / found.sum().clamp_min(1)),
            "iou": float(shared / (found | damage).sum().clamp_min(1)),
            "false_share": float(found[sound].double().mean()) if bool(sound.any()) else 0.0,
        }
        rows = [batch["lq"], *(as_grey(each) for each in (probability, batch["damage"]))]
        return Validated(metrics, tuple(rows))

    def export(self, network: nn.Module) -> Exported:
        """Return the network in half precision; its header says for which size, to which faces are resized."""
        state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        return Exported(state, {"arch": "damage", SIZE_ENTRY: str(self.face_size)})


def as_grey(mask: Tensor) -> Tensor:
    """(B, S, S) -> (B, 3, S, S)."""
    return mask.unsqueeze(1).expand(-1, 3, -1, -1)


def binary_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Return 1 - the Dice coefficient over the whole batch, of (B, S, S) each; 0 where nothing is there or expected."""
    both = probability.sum() + target.sum()
    return 1 - (2 * (probability * target).sum() + 1) / (both + 1)

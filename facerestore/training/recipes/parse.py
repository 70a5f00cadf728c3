"""The recipe of the small parser of ours, which learns as ParseNet does but for the face that this one draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.face_parts import CLASS_NAMES, UNKNOWN
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.engine.muon import Muon
from facerestore.training.recipes.base import Exported, Scene, Term, Validated, check_levels
from facerestore.training.recipes.parsenet import ParserRecipe, label_loss, map_validation
from facerestore.training.recipes.start import take_up
from facerestore.weights.checkpoint import SIZE_ENTRY

MEASURED: Mapping[str, tuple[str, ...]] = {
    "eyes": ("left_eye", "right_eye"),
    "brows": ("left_brow", "right_brow"),
    "mouth": ("mouth", "upper_lip", "lower_lip"),
    "skin": ("skin",),
    "hair": ("hair",),
}
"""Parts that are validated one by one, each as one region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseSettings:
    """What is trained, and with which losses.

    Attributes:
        network: shape of the network.
        start: weights of this network to begin with: a name of the catalog or a file; empty for random numbers.
        learning_rate: peak of Muon's and AdamW's rate.
        dice_weight: of the Dice loss beside the cross-entropy: it counts a class by its own size, so that brows of a
            hundred pixels weigh as much as a background of ten thousand (Milletari et al., arXiv 1606.04797, eq. 3).
    """

    network: PartsConfig = field(default_factory=PartsConfig)
    start: str = ""
    learning_rate: float = option(1e-3, above=0)
    dice_weight: float = option(1.0, least=0)


class ParseRecipe(ParserRecipe):
    """Trains :class:`facerestore.archs.parts.PartsNet`."""

    name: ClassVar[str] = "parse"
    settings_class: ClassVar[type[Any]] = ParseSettings

    def __init__(self, settings: ParseSettings, *, face_size: int) -> None:
        super().__init__(settings, face_size=face_size)
        shape = settings.network
        check_levels("parse", face_size, unshuffle=shape.unshuffle, levels=len(shape.widths))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a run from nothing."""
        return {
            "engine": {
                "steps": 6000,
                "batch_size": 8,
                "precision": "auto",
                "warmup_steps": 100,
                "clip_norm": 1.0,
                "ema_decay": 0.998,
            },
            "data": {
                "face_size": 256,
                "mix": {"gfpgan": 0.45, "severe": 0.25, "old-photo": 0.10, "clean": 0.20},
                "augmentation": {
                    "jitter_probability": 0.8,
                    "max_scale": 0.2,
                    "max_shift": 0.08,
                    "max_turn_deg": 30,
                    "gamma_probability": 0.5,
                    "max_gamma": 1.6,
                },
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {
                "steps": 30,
                "batch_size": 4,
                "precision": "no",
                "ema_decay": 0.9,
            },
            "data": {"face_size": 64},
            "recipe": {"network": {"widths": [8, 16], "blocks": [1, 1]}, "learning_rate": 4e-3},
        }

    def networks(self) -> dict[str, nn.Module]:
        return {"parser": PartsNet(self.settings.network)}

    def start(self, networks: Mapping[str, nn.Module]) -> None:
        """Take up the weights that are to be begun with; see :func:`facerestore.training.recipes.start.take_up`."""
        take_up(networks["parser"], self.settings.start, purpose="parse")

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Muon for the inner convolutions, and AdamW for biases, norms, and the layers next to pixels."""
        return {
            "parser": Muon.of_network(
                networks["parser"], lr=self.settings.learning_rate, outer=("stem.", "label.")
            )
        }

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the cross-entropy of the known pixels, and the Dice loss of the classes that occur."""
        lq = (scene.batch["lq"] * 2 - 1).contiguous(memory_format=torch.channels_last)
        logits, labels = scene.networks["parser"](lq).float(), scene.batch["parsing"].long()
        return [
            Term("labels", label_loss(logits, labels)),
            Term("dice", dice(logits, labels), self.settings.dice_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return how well the maps of degraded faces fit those of the real ones, part by part."""
        logits = network(batch["lq"] * 2 - 1)
        whole, predicted, labels = (
            map_validation(logits, batch),
            logits.argmax(dim=1),
            batch["parsing"].long(),
        )
        parts = {part: part_iou(predicted, labels, names) for part, names in MEASURED.items()}
        return Validated({**whole.metrics, **parts}, whole.rows)

    def export(self, network: nn.Module) -> Exported:
        """Return the parser in half precision; its header says for which size, to which faces are resized."""
        state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        return Exported(state, {"arch": "parse", SIZE_ENTRY: str(self.face_size)})


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - the mean Dice coefficient of the classes that occur, over the known pixels of the whole batch.

    Args:
        logits: (B, C, S, S) float32.
        labels: (B, S, S) class ids, `UNKNOWN` where nobody knows.
    """
    classes = logits.shape[1]
    known = labels != UNKNOWN
    counts = torch.bincount(labels[known], minlength=classes)
    own = labels.masked_fill(~known, 0).unsqueeze(1)  # B 1 S S
    shares = logits.softmax(dim=1) * known.unsqueeze(1)  # B C S S
    right = shares.gather(1, own).squeeze(1) * known  # B S S
    shared = torch.zeros(classes, device=logits.device).index_add(0, own.flatten(), right.flatten())
    coefficient = 2 * shared / (shares.sum(dim=(0, 2, 3)) + counts).clamp_min(1)
    occurs = counts > 0
    return 1 - coefficient[occurs].sum() / occurs.sum().clamp_min(1)


def part_iou(predicted: Tensor, labels: Tensor, names: tuple[str, ...]) -> float:
    """Return the intersection over union of a part, over the known pixels of (B, S, S) maps; 1 where it is nowhere."""
    ids = torch.tensor([CLASS_NAMES.index(name) for name in names], device=labels.device)
    known = labels != UNKNOWN
    ours, theirs = torch.isin(predicted, ids) & known, torch.isin(labels, ids)
    union = int((ours | theirs).sum())
    return int((ours & theirs).sum()) / union if union else 1.0

"""The recipe of ParseNet: the parts of a degraded face, and the real face beside them.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", arXiv 2009.08709; terms and
weights are those of the published code.

Batch norm sees the faces of one process in one pass; so with this recipe, unlike with others, several processes are not
exactly one with a larger batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_NAMES, UNKNOWN
from facerestore.fields import option
from facerestore.training.data.maps import coloured, mean_iou, pixel_accuracy
from facerestore.training.data.samples import Batch
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated, pair_validation
from facerestore.weights.checkpoint import SIZE_ENTRY


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseNetSettings:
    """What is trained, and with which losses.

    Attributes:
        network: shape of the network.
        learning_rate: of Adam.
        betas: of Adam.
        label_weight: of the cross-entropy of the classes.
        image_weight: of the mean absolute error of the drawn face.
    """

    network: ParseNetConfig = field(default_factory=ParseNetConfig)
    learning_rate: float = option(2e-4, above=0)
    betas: tuple[float, float] = (0.9, 0.999)
    label_weight: float = option(1.0, least=0)
    image_weight: float = option(1.0, least=0)


class ParserRecipe(Recipe):
    """Trains a parser on degraded faces and the real ones' maps, of which parts may be unknown."""

    needs: ClassVar[frozenset[str]] = frozenset({"lq", "hq", "parsing"})
    averaged = "parser"
    phases = (Phase("parser", ("parser",), "parser"),)

    def __init__(self, settings: Any, *, face_size: int) -> None:
        if settings.network.classes != len(CLASS_NAMES):
            raise ConfigError(
                f"recipe '{self.name}': maps have {len(CLASS_NAMES)} classes, and recipe.network.classes is"
                f" {settings.network.classes}"
            )
        self.settings, self.face_size = settings, face_size


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of (B, C, S, S) logits, over the pixels of (B, S, S) labels that are known."""
    return functional.cross_entropy(logits, labels, ignore_index=UNKNOWN)


def map_validation(logits: Tensor, batch: Batch) -> Validated:
    """Return how well the maps of degraded faces fit those of the real ones, and both beside the faces."""
    predicted, labels = logits.argmax(dim=1), batch["parsing"].long()
    metrics = {"miou": mean_iou(predicted, labels), "pixel_accuracy": pixel_accuracy(predicted, labels)}
    return Validated(metrics, (batch["lq"], coloured(predicted), coloured(labels), batch["hq"]))


class ParseNetRecipe(ParserRecipe):
    """Trains :class:`facerestore.archs.parsenet.ParseNet`."""

    name: ClassVar[str] = "parsenet"
    settings_class: ClassVar[type[Any]] = ParseNetSettings

    def __init__(self, settings: ParseNetSettings, *, face_size: int) -> None:
        super().__init__(settings, face_size=face_size)
        shape = settings.network
        if len(shape.decoder) != len(shape.encoder) - 1:
            raise ConfigError(
                f"recipe 'parsenet': {len(shape.encoder)} widths of the encoder need {len(shape.encoder) - 1} of the"
                f" decoder, not {len(shape.decoder)}; set recipe.network.decoder"
            )
        if face_size % shape.reduction or face_size < 2 * shape.reduction:
            raise ConfigError(
                f"recipe 'parsenet': faces of {face_size} px do not suit {len(shape.encoder)} widths; give a multiple"
                f" of {shape.reduction} from {2 * shape.reduction} px on"
            )

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the published settings: 90,000 steps, no augmentation, a constant rate."""
        return {
            "engine": {"steps": 90_000, "batch_size": 8, "schedule": "constant"},
            "data": {
                "face_size": 512,
                "mix": {"psfr": 1.0},
                "augmentation": {"flip_probability": 0, "jitter_probability": 0, "gamma_probability": 0},
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {
                "steps": 30,
                "batch_size": 4,
                "ema_decay": 0.9,
            },
            "data": {"face_size": 64},
            "recipe": {
                "network": {"encoder": [8, 16, 16], "body_blocks": 2, "decoder": [16, 8]},
                "learning_rate": 2e-3,
            },
        }

    def networks(self) -> dict[str, nn.Module]:
        return {"parser": ParseNet(self.settings.network)}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        chosen = self.settings
        adam = torch.optim.Adam(networks["parser"].parameters(), lr=chosen.learning_rate, betas=chosen.betas)
        return {"parser": adam}

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the cross-entropy of the classes and the distance of the drawn face."""
        logits, image = scene.networks["parser"](scene.batch["lq"] * 2 - 1)
        labels = label_loss(logits.float(), scene.batch["parsing"].long())
        distance = functional.l1_loss(image, scene.batch["hq"] * 2 - 1)
        return [
            Term("labels", labels, self.settings.label_weight),
            Term("image", distance, self.settings.image_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return how well the maps of degraded faces fit those of the real ones, and the PSNR of the drawn faces."""
        logits, image = network(batch["lq"] * 2 - 1)
        maps, drawn = map_validation(logits, batch), pair_validation((image + 1) / 2, batch)
        return Validated({**maps.metrics, **drawn.metrics}, (*maps.rows[:3], *drawn.rows[1:]))

    def export(self, network: nn.Module) -> Exported:
        """Return the parser under the published keys; its header says for which size, to which faces are resized."""
        return Exported(network.state_dict(), {"arch": "parsenet", SIZE_ENTRY: str(self.face_size)})

"""The recipe of the bundled restorer: Charbonnier and frequency losses, Muon, no adversary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.errors import ConfigError
from facerestore.training.losses import charbonnier, frequency
from facerestore.training.muon import Muon
from facerestore.training.recipe import (
    Batch,
    Exported,
    Phase,
    Recipe,
    Scene,
    Term,
    Validated,
    pair_validation,
)
from facerestore.training.settings import STRICT


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LiteSettings:
    """What is trained, and with which loss.

    Attributes:
        network: shape of the network.
        learning_rate: peak of Muon's and AdamW's rate.
        frequency_weight: weight of the frequency loss beside the Charbonnier loss.
    """

    network: LiteConfig = Field(default_factory=LiteConfig)
    learning_rate: float = Field(default=1e-3, gt=0)
    frequency_weight: float = Field(default=1.0, ge=0)


class LiteRecipe(Recipe):
    """Trains :class:`facerestore.archs.lite.LiteGenerator`."""

    name: ClassVar[str] = "lite"
    settings_class: ClassVar[type[Any]] = LiteSettings
    averaged = "generator"
    phases = (Phase("generator", ("generator",), "generator"),)

    def __init__(self, settings: LiteSettings, *, face_size: int) -> None:
        shape = settings.network
        if len(shape.widths) != len(shape.blocks) or len(shape.widths) < 2:
            raise ConfigError(
                f"recipe 'lite': {len(shape.widths)} widths and {len(shape.blocks)} blocks; give one of each for each"
                " of 2 or more levels in recipe.network"
            )
        if min(shape.unshuffle, *shape.widths, *shape.blocks) < 1:
            raise ConfigError("recipe 'lite': unshuffle, widths and blocks of recipe.network are 1 and more")
        reduction = shape.unshuffle * 2 ** (len(shape.widths) - 1)
        if face_size % reduction:
            raise ConfigError(
                f"recipe 'lite': faces of {face_size} px do not suit {len(shape.widths)} levels; give a multiple of"
                f" {reduction} px"
            )
        self.settings = settings

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings with which the bundled weights were made."""
        return {
            "engine": {
                "steps": 6000,
                "batch_size": 8,
                "warmup_steps": 50,
                "clip_norm": 1.0,
                "ema_decay": 0.995,
            },
            "data": {"face_size": 256, "mix": {"gfpgan": 0.75, "severe": 0.15, "clean": 0.10}},
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        """Return settings of a whole tiny run."""
        return {
            "engine": {
                "steps": 30,
                "batch_size": 2,
                "warmup_steps": 5,
                "save_every": 15,
                "validate_every": 15,
            },
            "data": {"face_size": 64},
            "recipe": {"network": {"widths": [8, 16], "blocks": [1, 1]}},
        }

    def networks(self) -> dict[str, nn.Module]:
        """Return the generator."""
        return {"generator": LiteGenerator(self.settings.network)}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Muon for the inner convolutions, and AdamW for biases, norms, and the layers next to pixels."""
        named = list(networks["generator"].named_parameters())
        inner = [p for name, p in named if p.ndim == 4 and not name.startswith(("stem.", "head."))]
        chosen = {id(p) for p in inner}
        rest = [p for _, p in named if id(p) not in chosen]
        return {"generator": Muon(inner, rest, lr=self.settings.learning_rate)}

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the distances in pixels and in frequencies."""
        lq, hq = scene.batch["lq"], scene.batch["hq"]
        restored = scene.networks["generator"](lq.contiguous(memory_format=torch.channels_last))
        return [
            Term("pixel", charbonnier(restored, hq)),
            Term("frequency", frequency(restored, hq), self.settings.frequency_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return PSNR before and after."""
        return pair_validation(network(batch["lq"]), batch)

    def export(self, network: nn.Module) -> Exported:
        """Return the network in half precision: it is computed in float32 whatever it is stored in."""
        return Exported({k: v.half().contiguous() for k, v in network.state_dict().items()}, {"arch": "lite"})

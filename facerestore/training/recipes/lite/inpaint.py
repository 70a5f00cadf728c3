"""The recipe that goes on with the bundled restorer for holes in faces, which come to it filled from their rims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facerestore.archs.lite import BUNDLED, LiteConfig
from facerestore.fields import option
from facerestore.training.data.damaged_faces import HoleDataset
from facerestore.training.data.datasets import DataSettings, FaceFile
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.recipes.base import Exported, Scene, Term, Validated
from facerestore.training.recipes.lite.recipe import LiteRecipe, LiteSettings

EPSILON = 1e-3
"""Of the Charbonnier distance (Lai et al., arXiv 1710.01992, eq. 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintSettings:
    """What is trained, and with which loss.

    Attributes:
        network: shape of the network.
        start: weights of a lite network to begin with, of which levels and residual blocks beyond those of the shape
            are left out: a name of the catalog or a file; empty for random numbers.
        learning_rate: peak of Muon's and AdamW's rate.
        outside_weight: of the distance outside the holes, of which nothing is taken.
    """

    network: LiteConfig = field(default_factory=lambda: BUNDLED)
    start: str = ""
    learning_rate: float = option(1e-3, above=0)
    outside_weight: float = option(0.1, least=0)


class InpaintRecipe(LiteRecipe):
    """Trains :class:`facerestore.archs.lite.LiteGenerator` to fill holes with what their surroundings suggest."""

    name: ClassVar[str] = "inpaint"
    settings_class: ClassVar[type[Any]] = InpaintSettings
    needs: ClassVar[frozenset[str]] = frozenset({"lq", "hq", "holes"})

    def __init__(self, settings: InpaintSettings, *, face_size: int) -> None:
        own = LiteSettings(
            network=settings.network, start=settings.start, learning_rate=settings.learning_rate
        )
        super().__init__(own, face_size=face_size)
        self.outside_weight = settings.outside_weight

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a run that goes on with the bundled weights."""
        return {
            "engine": {
                "steps": 2000,
                "batch_size": 4,
                "precision": "auto",
                "warmup_steps": 50,
                "clip_norm": 1.0,
                "ema_decay": 0.995,
                "schedule": "cosine",
            },
            "data": {
                "face_size": 256,
                "mix": {"clean": 0.45, "web": 0.20, "gfpgan": 0.15, "old-photo": 0.10, "phone": 0.10},
            },
        }

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples:
        """Return degraded faces with holes, each beside itself without."""
        return HoleDataset(files, data)

    def validation(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> Batch:
        """Return a fixed sample of each face, drawn as those of training are."""
        return HoleDataset(files, replace(data, seed=seed, set_weights={})).of_each()

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the Charbonnier distance inside the holes, and outside."""
        batch = scene.batch
        filled: Tensor = scene.networks["generator"](
            batch["lq"].contiguous(memory_format=torch.channels_last)
        )
        distance = torch.sqrt((filled - batch["hq"]).square() + EPSILON**2).mean(dim=1)
        inside = batch["holes"]
        return [
            Term("inside", mean_over(distance, inside)),
            Term("outside", mean_over(distance, 1 - inside), self.outside_weight),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return PSNR inside the holes, of what fills them from their rims and of the network, in decibels."""
        filled, inside = network(batch["lq"]).clamp(0, 1), batch["holes"].unsqueeze(1)
        whole = batch["hq"] + inside * (filled - batch["hq"])
        metrics = {
            "psnr_rims": psnr_inside(batch["lq"], batch["hq"], inside),
            "psnr": psnr_inside(whole, batch["hq"], inside),
        }
        return Validated(metrics, (batch["lq"], whole, batch["hq"]))

    def export(self, network: nn.Module) -> Exported:
        """Return the network in half precision, for inpainting."""
        exported = super().export(network)
        return Exported(exported.state_dict, exported.metadata | {"purpose": "inpaint"})


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of (B, S, S) values over a mask of as many; 0 for an empty one."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def psnr_inside(pictures: Tensor, real: Tensor, inside: Tensor) -> float:
    """Return the mean PSNR of B 3 S S pictures over B 1 S S masks, of faces with a mask that is not empty."""
    counts = 3 * inside.flatten(1).sum(dim=1)
    squares = ((pictures - real).square() * inside).double().flatten(1).sum(dim=1)[counts > 0] / counts[
        counts > 0
    ]
    return float((-10 * torch.log10(squares.clamp_min(1e-10))).mean())

"""The interface of recipes to the engine: networks, optimisers, phases of a step, and the loss terms of each phase.

A recipe holds the mathematics of one paper and nothing of devices, processes, precision, files or logs; the engine
(:mod:`facerestore.training.engine.loop`) holds all of those and nothing of any paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from facerestore.errors import ConfigError
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.draw import Draw

if TYPE_CHECKING:
    from facerestore.training.data.datasets import DataSettings
    from facerestore.training.data.face_files import FaceFile


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One term of a loss.

    Attributes:
        name: as it is logged, such as ``pixel``.
        value: a scalar, unweighted; this is what is logged.
        weight: its factor in the sum that is minimised.
    """

    name: str
    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One update within a training step.

    Attributes:
        name: as it is logged, such as ``generator``.
        trains: names of the networks whose parameters get gradients.
        optimiser: name of the optimiser that steps.
        every: taken in every n-th step; a lazy regulariser's own factor is in its term's weight.
    """

    name: str
    trains: tuple[str, ...]
    optimiser: str
    every: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What a recipe computes the terms of a phase from.

    Attributes:
        networks: by name; those that the phase trains are wrapped for gradient exchange: call them, and go through
            ``bare`` for attributes.
        bare: the same networks without any wrapping.
        batch: the samples of this process.
        draw: the only source of randomness; the same for every split of the batch over processes.
        step: 0-based step.
        progress: share of the run that is done, 0 to 1.
    """

    networks: Mapping[str, nn.Module]
    bare: Mapping[str, nn.Module]
    batch: Batch
    draw: Draw
    step: int
    progress: float


@dataclass(frozen=True, slots=True, eq=False)
class Validated:
    """The result of a validation batch.

    Attributes:
        metrics: means over the batch, by name.
        rows: pictures to look at, each (B, 3, H, W) in [0, 1]; one row of the sample grid each.
    """

    metrics: dict[str, float]
    rows: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """A trained network, ready to be a weights file.

    Attributes:
        state_dict: under the key names that the backend loads.
        metadata: what the backend cannot read from shapes, for the file's header.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


class Recipe(ABC):
    """One way to train one set of networks.

    Attributes:
        name: the command's name.
        settings_class: the dataclass of the recipe's own settings, table ``[recipe]``.
        averaged: name of the network whose running average is validated and exported.
        phases: the updates of a step, in order.
        needs: names in a batch that the recipe uses; none for a recipe that draws its own data.
        title: one line for people. This and the next two are for recipes of other packages; of ours,
            `facerestore.training.recipes.RECIPES` knows them before a class is imported.
        backend: the backend that loads its weights; empty for weights that are always given as a file.
        purpose: what such weights are for, in the words of the weights catalog.
        notes: warnings to show before the run: fallbacks, missing weights.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Any]]
    needs: ClassVar[frozenset[str]] = frozenset({"lq", "hq"})
    title: ClassVar[str] = ""
    backend: ClassVar[str] = ""
    purpose: ClassVar[str] = ""
    averaged: str
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __init__(self, settings: Any, *, face_size: int) -> None:
        """Take the recipe's own settings and the side of the faces, px.

        Raises:
            ConfigError: they do not go together.
        """

    @classmethod
    @abstractmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the tables ``engine``, ``data`` and ``recipe`` of a full run, where they differ from the defaults."""

    @classmethod
    @abstractmethod
    def smoke(cls) -> dict[str, Any]:
        """Return the tables of a whole tiny run on tiny faces: every line of the recipe within a minute on a CPU."""

    def samples(self, files: Sequence[FaceFile], data: DataSettings) -> Samples | None:
        """Return samples of the recipe's own making, each a pure function of its position; None for pairs of faces.

        Args:
            files: the faces to learn from.
            data: how they are read and varied.

        Raises:
            ConfigError: they cannot be made from these faces.
        """
        return None

    def validation(self, files: Sequence[FaceFile], data: DataSettings, *, seed: int) -> Batch | None:
        """Return fixed validation samples to go with :meth:`samples`, as one batch; None for pairs of faces.

        Args:
            files: the faces to validate on.
            data: how they are read.
            seed: of the samples.

        Raises:
            ConfigError: they cannot be made from these faces.
        """
        return None

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that are trained, newly initialised from torch's global generator."""

    def start(self, networks: Mapping[str, nn.Module]) -> None:  # noqa: B027  # most recipes start from nothing
        """Load what training starts from, such as a prior, into new networks.

        Called once, before the first step of a run; never when it is resumed or exported, so that those files may be
        gone by then.

        Raises:
            ConfigError: it is not there.
            CheckpointError: it does not fit.
        """

    def frozen(self) -> dict[str, nn.Module]:
        """Return networks that are used but not trained, such as a feature extractor."""
        return {}

    @abstractmethod
    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name; their learning rates are peaks, which the schedule scales."""

    @abstractmethod
    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the terms of a phase for one batch.

        Every parameter of the networks that the phase trains must be part of the sum, if only with weight 0:
        other processes wait for its gradient.
        """

    @abstractmethod
    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return how well the averaged network does on a batch of validation faces, and pictures of it."""

    @abstractmethod
    def export(self, network: nn.Module) -> Exported:
        """Return the averaged network as the backend loads it."""

    def state_dict(self) -> dict[str, Any]:
        """Return the recipe's own state between steps: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # most recipes carry nothing
        """Restore what :meth:`state_dict` returned."""


def check_levels(recipe: str, face_size: int, *, unshuffle: int, levels: int) -> None:
    """Raise ConfigError where faces are no multiple of what a network of so many levels reduces them by."""
    reduction = unshuffle * 2 ** (levels - 1)
    if face_size % reduction:
        raise ConfigError(
            f"recipe '{recipe}': faces of {face_size} px do not suit {levels} levels; give a multiple of {reduction} px"
        )


def psnr_db(restored: Tensor, hq: Tensor) -> float:
    """Return the mean over faces of the PSNR of (B, 3, H, W) pictures in [0, 1], rounded to 8 bits, in decibels."""
    difference = (restored.clamp(0, 1).mul(255).round() - hq.mul(255).round()).double()
    squares = difference.square().flatten(1).mean(dim=1).clamp_min(1e-10)
    return float((10 * torch.log10(255**2 / squares)).mean())


def pair_validation(restored: Tensor, batch: Batch) -> Validated:
    """Return PSNR of input and result, and the rows lq, restored, hq."""
    restored = restored.clamp(0, 1)
    metrics = {"psnr_input": psnr_db(batch["lq"], batch["hq"]), "psnr": psnr_db(restored, batch["hq"])}
    return Validated(metrics, (batch["lq"], restored, batch["hq"]))

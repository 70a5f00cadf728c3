"""The state of a run in memory: networks placed by accelerate, optimisers, the average, and the progress."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import nn

from facerestore.archs.replay import colours_last
from facerestore.training.engine.folder import Listener, RunFolder, Silence
from facerestore.training.engine.precision import mixed_precision
from facerestore.training.engine.settings import EngineSettings
from facerestore.training.engine.state import (
    ExponentialAverage,
    checkpoints,
)
from facerestore.training.recipes.base import Recipe


@dataclass(slots=True)
class Progress:
    """The progress of a run, as it is saved."""

    step: int = 0
    rate_scale: float = 1.0
    rollbacks: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the values."""
        return {"step": self.step, "rate_scale": self.rate_scale, "rollbacks": self.rollbacks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.step = int(state["step"])
        self.rate_scale = float(state["rate_scale"])
        self.rollbacks = int(state["rollbacks"])


@dataclass(slots=True, eq=False)
class TrainingRun:
    """The state of a run in memory.

    ``held`` names the parameters that no phase trains, as (network, parameter): their recipe made them so.
    """

    recipe: Recipe
    settings: EngineSettings
    accelerator: Accelerator
    folder: RunFolder
    listener: Listener
    bare: dict[str, nn.Module]
    wrapped: dict[str, nn.Module]
    frozen: dict[str, nn.Module]
    optimisers: dict[str, Any]
    average: ExponentialAverage
    held: frozenset[tuple[str, str]] = frozenset()
    progress: Progress = field(default_factory=Progress)


def prepare_run(
    recipe: Recipe, settings: EngineSettings, folder: Path, *, device: torch.device | None, listener: Listener
) -> TrainingRun:
    """Return a run at its first step."""
    # accelerate keeps the number format of a process's first run, and refuses another to a later one.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=mixed_precision(settings.precision, device),
        cpu=device is not None and device.type == "cpu",
        step_scheduler_with_optimizer=False,
        # Buffers of batch norms are this process's own; exchanging them breaks two forward passes before a backward.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    set_seed(settings.seed)
    bare = recipe.networks()
    if not checkpoints(folder / "checkpoints"):
        recipe.start(bare)
    if settings.channels_last:
        for network in bare.values():
            colours_last(network)
    held = {
        (name, key) for name, net in bare.items() for key, p in net.named_parameters() if not p.requires_grad
    }
    average = ExponentialAverage(bare[recipe.averaged], settings.ema_decay)
    average.network.to(accelerator.device)
    optimisers = recipe.optimisers(bare)
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["peak_rate"] = group["lr"]
    networks = [torch.compile(n) if settings.compile else n for n in bare.values()]
    with warnings.catch_warnings():
        # torch has renamed an argument that accelerate, which must also go with older versions, passes on.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        prepared = accelerator.prepare(*networks, *optimisers.values())
    prepared = prepared if isinstance(prepared, tuple) else (prepared,)
    wrapped = dict(zip(bare, prepared[: len(bare)], strict=True))
    run = TrainingRun(
        recipe=recipe,
        settings=settings,
        accelerator=accelerator,
        folder=RunFolder(folder, main=accelerator.is_main_process),
        listener=listener if accelerator.is_main_process else Silence(),
        bare={name: accelerator.unwrap_model(network) for name, network in wrapped.items()},
        wrapped=wrapped,
        frozen={
            name: network.eval().requires_grad_(False).to(accelerator.device)
            for name, network in recipe.frozen().items()
        },
        optimisers=dict(zip(optimisers, prepared[len(bare) :], strict=True)),
        average=average,
        held=frozenset(held),
    )
    accelerator.register_for_checkpointing(run.progress, run.average, recipe)
    return run

"""The training engine: devices, processes, precision, rates, averages, checkpoints, logs - for any recipe.

Placing networks, exchanging gradients, mixed precision and sharding are Hugging Face accelerate's, so that
``accelerate launch -m facerestore train ...`` and ``torchrun`` work as they do elsewhere. A run that is interrupted
and resumed gives the same as one that is not: data and draws are functions of the step, a checkpoint holds the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.checkpoints import resume, roll_back, save
from facerestore.training.engine.folder import Listener, Silence
from facerestore.training.engine.run import TrainingRun, prepare_run
from facerestore.training.engine.settings import EngineSettings
from facerestore.training.engine.state import (
    check_room,
    checkpoint_bytes,
    checkpoints,
)
from facerestore.training.engine.step import DivergedError, batches_of, take_step
from facerestore.training.recipes.base import Recipe

SHOWN_FACES = 8
"""Validation faces on a sample grid."""


def train(
    recipe: Recipe,
    settings: EngineSettings,
    *,
    samples: Samples,
    validation: Batch,
    folder: Path,
    described: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    listener: Listener | None = None,
) -> Path:
    """Train, or go on training, and return the last checkpoint.

    Args:
        recipe: what is trained, and how.
        settings: how the run goes.
        samples: position -> one sample; every position of every step is asked for once, over all processes.
        validation: faces that are validated on, as one batch on the CPU; may be empty.
        folder: of this run; a run that is there goes on.
        described: all settings as plain values, kept beside the run and compared when it goes on.
        device: where to train when there is one process; None leaves the choice to accelerate.
        listener: is told of steps and messages.

    Raises:
        ConfigError: the folder holds a run with other settings.
        CheckpointError: its last checkpoint cannot be read.
        FaceRestoreError: the run diverged too often, or its checkpoints have no room.
    """
    run = prepare_run(recipe, settings, folder, device=device, listener=listener or Silence())
    run.folder.settle(described if described is not None else {"recipe": recipe.name})
    run.accelerator.wait_for_everyone()  # the first process has made the folders
    trained = sum(count_parameters(network) for network in run.bare.values())
    size = checkpoint_bytes(trained, count_parameters(run.average.network))
    check_room(run.folder.checkpoints, size, keep=settings.keep)
    resume(run)
    for note in recipe.notes:
        run.listener.message(note)
    _train_to_the_end(run, samples, validation)
    return checkpoints(run.folder.checkpoints)[-1]


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def _train_to_the_end(run: TrainingRun, samples: Samples, validation: Batch) -> None:
    """Take the steps that are left, back at the last checkpoint whenever the run diverges."""
    run.listener.begin(run.progress.step, run.settings.steps)
    while run.progress.step < run.settings.steps:
        writer = open_charts(run)
        try:
            _take_steps(run, samples, validation, writer)
        except DivergedError as fault:
            roll_back(run, str(fault))
        finally:
            if writer is not None:
                writer.close()


def _take_steps(run: TrainingRun, samples: Samples, validation: Batch, writer: Any) -> None:
    """Take steps, log, validate and save until the run is done.

    Raises:
        DivergedError: a loss or a gradient is no number.
    """
    settings, progress = run.settings, run.progress
    started = time.monotonic()
    for batches in batches_of(run, samples):
        terms = take_step(run, batches)
        progress.step += 1
        record = {**terms, "seconds": time.monotonic() - started}
        run.listener.step({"step": progress.step, **record})
        last = progress.step == settings.steps
        if last or progress.step % settings.log_every == 0:
            run.folder.log({"step": progress.step, **{k: float(f"{v:.6g}") for k, v in record.items()}})
            chart(writer, record, progress.step)
        if validation and (last or progress.step % settings.validate_every == 0):
            metrics = judge(run, validation)
            run.folder.log({"step": progress.step, **metrics})
            chart(writer, {f"validation/{k}": v for k, v in metrics.items()}, progress.step)
            values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            run.listener.message(f"step {progress.step}: {values}")
        if last or progress.step % settings.save_every == 0:
            save(run)


@torch.no_grad()
def judge(run: TrainingRun, validation: Batch) -> dict[str, float]:
    """Return the means of the metrics over all validation faces; write a grid of some, spread over them."""
    size, count = run.settings.batch_size, len(next(iter(validation.values())))
    sums: dict[str, float] = {}
    for start in range(0, count, size):
        batch = {k: v[start : start + size].to(run.accelerator.device) for k, v in validation.items()}
        here = len(next(iter(batch.values())))
        for name, value in run.recipe.validate(run.average.network, batch).metrics.items():
            sums[name] = sums.get(name, 0.0) + value * here / count
    spread = torch.linspace(0, count - 1, min(count, SHOWN_FACES)).round().long()
    shown = {k: v[spread].to(run.accelerator.device) for k, v in validation.items()}
    rows = run.recipe.validate(run.average.network, shown).rows
    run.folder.picture(f"step_{run.progress.step:08d}", list(rows))
    return sums


def open_charts(run: TrainingRun) -> Any:
    """Return a writer of charts, or None where tensorboard is not installed."""
    if not run.accelerator.is_main_process:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.folder.path / "tensorboard"), purge_step=run.progress.step)


def chart(writer: Any, record: Mapping[str, float], step: int) -> None:
    """Draw the values of a step, where there is a writer."""
    if writer is not None:
        for name, value in record.items():
            writer.add_scalar(name, value, step)

"""Checkpoints of a run: writing them whole or not at all, resuming, rolling back, and reading the average."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from facerestore.errors import CheckpointError, FaceRestoreError, refusing
from facerestore.training.engine.run import TrainingRun
from facerestore.training.engine.state import (
    checkpoint_folder,
    checkpoint_step,
    checkpoints,
    last_checkpoint,
    prune,
)
from facerestore.training.recipes.base import Recipe


def resume(run: TrainingRun) -> None:
    """Go to the last checkpoint, or write the first."""
    found = checkpoints(run.folder.checkpoints)
    if found:
        load(run, found[-1])
        run.listener.message(f"going on at step {run.progress.step} of {run.settings.steps}")
    else:
        save(run)
    run.folder.forget_after(run.progress.step)


def load(run: TrainingRun, path: Path) -> None:
    """Restore all state from a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or is of another step than its name says.
    """
    with refusing(
        lambda why: CheckpointError(
            f"checkpoint '{path}' cannot be read: {why}; remove that folder to go on from the one before"
        )
    ):
        run.accelerator.load_state(str(path))
    if run.progress.step != checkpoint_step(path):
        raise CheckpointError(
            f"checkpoint '{path}' holds step {run.progress.step}; remove that folder to go on from the one before"
        )


def save(run: TrainingRun) -> None:
    """Write a checkpoint, whole or not at all; a full disk costs the checkpoint, not the run.

    Raises:
        FaceRestoreError: it was the last one of the run.
    """
    target = checkpoint_folder(run.folder.checkpoints, run.progress.step)
    part = target.with_suffix(".part")
    accelerator = run.accelerator
    fault = ""
    try:
        accelerator.save_state(str(part))
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch's writer reports a full disk as a RuntimeError
        fault = str(error)
    failed = bool(accelerator.reduce(torch.tensor(float(bool(fault)), device=accelerator.device)).item())
    if accelerator.is_main_process:
        if failed:
            shutil.rmtree(part, ignore_errors=True)
        else:
            if target.exists():
                shutil.rmtree(target)
            part.replace(target)
            prune(run.folder.checkpoints, run.settings.keep)
    accelerator.wait_for_everyone()
    if failed:
        message = (
            f"the checkpoint of step {run.progress.step} could not be written ({fault or 'another process'})"
        )
        if run.progress.step >= run.settings.steps or run.progress.step == 0:
            raise FaceRestoreError(f"{message}; free space in '{run.folder.path}' and resume")
        run.listener.message(f"{message}; the one before is kept, and the run goes on")


def roll_back(run: TrainingRun, fault: str) -> None:
    """Go back to the last checkpoint at half the rate.

    Raises:
        FaceRestoreError: it has rolled back too often already.
    """
    rollbacks, scale = run.progress.rollbacks + 1, run.progress.rate_scale / 2
    if rollbacks > run.settings.rollbacks:
        raise FaceRestoreError(
            f"{fault}, after {rollbacks - 1} times back at half the rate each; lower the learning rate, or clip_norm"
        )
    load(run, checkpoints(run.folder.checkpoints)[-1])
    run.progress.rollbacks, run.progress.rate_scale = rollbacks, scale
    run.folder.forget_after(run.progress.step)
    run.listener.message(f"{fault}; back to step {run.progress.step} at {scale:g} of the rate")


def restore_average(recipe: Recipe, folder: Path) -> tuple[nn.Module, int]:
    """Return the averaged network of the last checkpoint of a run, and its step.

    Raises:
        CheckpointError: there is none, or it is of another recipe.
    """
    last = last_checkpoint(folder)
    network = recipe.networks()[recipe.averaged].eval()
    with refusing(
        lambda why: CheckpointError(
            f"checkpoint '{last}' does not fit recipe '{recipe.name}': {why}; remove that folder to go on from"
            " the one before"
        )
    ):
        state = torch.load(last / "custom_checkpoint_1.pkl", map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    return network, checkpoint_step(last)

"""The training engine: devices, processes, precision, rates, averages, checkpoints, logs - for any recipe.

Placing networks, exchanging gradients, mixed precision and sharding are Hugging Face accelerate's, so that
``accelerate launch -m facerestore train ...`` and ``torchrun`` work as they do elsewhere. A run that is broken off and
resumed ends as if it had never been: data and draws are functions of the step, and a checkpoint holds the rest.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from facerestore.errors import CheckpointError, FaceRestoreError
from facerestore.training.draw import Draw
from facerestore.training.recipe import Batch, Phase, Recipe, Scene, Term
from facerestore.training.runs import Listener, RunFolder, Silence
from facerestore.training.settings import EngineSettings
from facerestore.training.state import (
    ExponentialAverage,
    check_room,
    checkpoint_bytes,
    checkpoint_folder,
    checkpoint_step,
    checkpoints,
    prune,
)

Samples = Dataset[dict[str, Tensor]]
"""Position, 0-based and without end, to one sample; a pure function."""

Prepare = Callable[[Batch, torch.device], Batch]
"""Collated samples, on the CPU, to the batch that recipes see, on the device."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch on the device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


HALVING_MILESTONES = (0.7, 0.85)
"""Shares of a run after which the schedule ``halving`` halves the rates (the design of MMRB, c.9)."""


SHOWN_FACES = 8
"""Validation faces on a sample grid."""


class DivergedError(Exception):
    """A loss or a gradient is no longer a number."""


def rate_factor(settings: EngineSettings, step: int) -> float:
    """Return the share of the peak learning rates at a 0-based step."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "halving":
        return float(0.5 ** sum(done >= milestone for milestone in HALVING_MILESTONES))
    return 1.0 - done if settings.schedule == "linear" else 1.0


@dataclass(slots=True)
class _Progress:
    """Where a run stands, as it is saved."""

    step: int = 0
    rate_scale: float = 1.0
    rollbacks: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "rate_scale": self.rate_scale, "rollbacks": self.rollbacks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])
        self.rate_scale = float(state["rate_scale"])
        self.rollbacks = int(state["rollbacks"])


@dataclass(slots=True, eq=False)
class _Run:
    """What lives while a run goes on."""

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
    prepare: Prepare = to_device
    progress: _Progress = field(default_factory=_Progress)


def train(
    recipe: Recipe,
    settings: EngineSettings,
    *,
    samples: Samples,
    validation: Batch,
    folder: Path,
    prepare: Prepare = to_device,
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
        prepare: takes collated samples to the device, and may do there what samples left to it.
        described: all settings as plain values, kept beside the run and compared when it goes on.
        device: where to train when there is one process; None leaves the choice to accelerate.
        listener: hears steps and messages.

    Raises:
        ConfigError: the folder holds a run with other settings.
        CheckpointError: its last checkpoint cannot be read.
        FaceRestoreError: the run diverged too often, or its checkpoints have no room.
    """
    run = _prepare(recipe, settings, folder, device=device, listener=listener or Silence())
    run.prepare = prepare
    run.folder.settle(described if described is not None else {"recipe": recipe.name})
    trained = sum(_count(network) for network in run.bare.values())
    size = checkpoint_bytes(trained, _count(run.average.network))
    check_room(run.folder.checkpoints, size, keep=settings.keep)
    _resume(run)
    for note in recipe.notes:
        run.listener.message(note)
    _go(run, samples, validation)
    return checkpoints(run.folder.checkpoints)[-1]


def _prepare(
    recipe: Recipe, settings: EngineSettings, folder: Path, *, device: torch.device | None, listener: Listener
) -> _Run:
    """Return a run at its first step."""
    accelerator = Accelerator(
        mixed_precision=settings.precision,
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
        _lay_channels_last(bare.values())
    average = ExponentialAverage(bare[recipe.averaged], settings.ema_decay)
    average.network.to(accelerator.device)
    optimisers = recipe.optimisers(bare)
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["peak_rate"] = group["lr"]
    networks = [torch.compile(n) if settings.compile else n for n in bare.values()]
    prepared = accelerator.prepare(*networks, *optimisers.values())
    prepared = prepared if isinstance(prepared, tuple) else (prepared,)
    wrapped = dict(zip(bare, prepared[: len(bare)], strict=True))
    run = _Run(
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
    )
    accelerator.register_for_checkpointing(run.progress, run.average, recipe)
    return run


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _lay_channels_last(networks: Iterable[nn.Module]) -> None:
    """Store the weights of 2-D convolutions with channels last; others, such as those with five axes, cannot be."""
    for network in networks:
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _resume(run: _Run) -> None:
    """Go to the last checkpoint, or write the first."""
    found = checkpoints(run.folder.checkpoints)
    if found:
        _load(run, found[-1])
        run.listener.message(f"going on at step {run.progress.step} of {run.settings.steps}")
    else:
        _save(run)
    run.folder.forget_after(run.progress.step)


def _load(run: _Run, path: Path) -> None:
    try:
        run.accelerator.load_state(str(path))
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: {error}; remove that folder to go on from the one before"
        ) from error
    if run.progress.step != checkpoint_step(path):
        raise CheckpointError(
            f"checkpoint '{path}' holds step {run.progress.step}; remove that folder to go on from the one before"
        )


def _save(run: _Run) -> None:
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
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
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


def _go(run: _Run, samples: Samples, validation: Batch) -> None:
    """Take the steps that are left."""
    settings, progress = run.settings, run.progress
    run.listener.begin(progress.step, settings.steps)
    while progress.step < settings.steps:
        try:
            _steps(run, samples, validation)
        except DivergedError as fault:
            _roll_back(run, str(fault))


def _steps(run: _Run, samples: Samples, validation: Batch) -> None:
    """Take steps until the run is done, or diverges."""
    writer = _tensorboard(run)
    try:
        _take(run, samples, validation, writer)
    finally:
        if writer is not None:
            writer.close()


def _take(run: _Run, samples: Samples, validation: Batch, writer: Any) -> None:
    settings, progress = run.settings, run.progress
    started = time.monotonic()
    for batches in _batches(run, samples):
        terms = _step(run, batches)
        progress.step += 1
        record = {**terms, "seconds": time.monotonic() - started}
        run.listener.step({"step": progress.step, **record})
        last = progress.step == settings.steps
        if last or progress.step % settings.log_every == 0:
            run.folder.log({"step": progress.step, **{k: float(f"{v:.6g}") for k, v in record.items()}})
            _chart(writer, record, progress.step)
        if validation and (last or progress.step % settings.validate_every == 0):
            metrics = _validate(run, validation)
            run.folder.log({"step": progress.step, **metrics})
            _chart(writer, {f"validation/{k}": v for k, v in metrics.items()}, progress.step)
            told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            run.listener.message(f"step {progress.step}: {told}")
        if last or progress.step % settings.save_every == 0:
            _save(run)


def _batches(run: _Run, samples: Samples) -> Iterator[list[Batch]]:
    """Yield the batches of each step that is left, one for each pass."""
    settings, world = run.settings, run.accelerator.num_processes
    positions = [
        list(_positions(settings, step, pass_, rank=run.accelerator.process_index, world=world))
        for step in range(run.progress.step, settings.steps)
        for pass_ in range(settings.accumulate)
    ]
    loader = DataLoader(
        samples,
        batch_sampler=positions,
        num_workers=settings.workers,
        pin_memory=run.accelerator.device.type == "cuda",
        # Forked workers of a process with threads can hang.
        multiprocessing_context="spawn" if settings.workers else None,
    )
    held: list[Batch] = []
    for batch in _plainly(loader):
        held.append(run.prepare(batch, run.accelerator.device))
        if len(held) == settings.accumulate:
            yield held
            held = []


def _plainly(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches; an error of ours in a worker comes without the worker's traceback in its message."""
    try:
        yield from loader
    except FaceRestoreError as error:
        _, worker, message = str(error).rpartition(f"{type(error).__name__}: ")
        if not worker:
            raise
        raise type(error)(message.strip()) from error


def _positions(settings: EngineSettings, step: int, pass_: int, *, rank: int, world: int) -> range:
    """Return the positions of one pass of one process; together they cover the step's global batch in order."""
    size = settings.batch_size
    first = ((step * settings.accumulate + pass_) * world + rank) * size
    return range(first, first + size)


def _step(run: _Run, batches: Sequence[Batch]) -> dict[str, float]:
    """Take one training step and return the means of its terms."""
    step, settings = run.progress.step, run.settings
    factor = rate_factor(settings, step) * run.progress.rate_scale
    for optimiser in run.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["peak_rate"] * factor
    logged: dict[str, float] = {"rate": factor}
    for number, phase in enumerate(run.recipe.phases):
        if step % phase.every == 0:
            logged.update(_phase(run, phase, number, batches))
    run.average.update(run.bare[run.recipe.averaged], step)
    return logged


def _phase(run: _Run, phase: Phase, number: int, batches: Sequence[Batch]) -> dict[str, float]:
    """Take one update: gradients of all passes, exchanged, clipped and stepped."""
    accelerator, settings = run.accelerator, run.settings
    for name, network in run.bare.items():
        network.requires_grad_(name in phase.trains)
    optimiser = run.optimisers[phase.optimiser]
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    trained = [run.wrapped[name] for name in phase.trains]
    for index, batch in enumerate(batches):
        quiet = accelerator.no_sync(*trained) if index + 1 < len(batches) else nullcontext()
        with quiet:
            with accelerator.autocast():
                terms = run.recipe.losses(phase.name, _scene(run, phase, number, batch, index))
            total = torch.stack([term.weight * term.value.float() for term in terms]).sum() / len(batches)
            accelerator.backward(total)
        for term in terms:
            share = term.value.detach().float() / len(batches)
            sums[term.name] = sums.get(term.name, torch.zeros_like(share)) + share
    parameters = [p for name in phase.trains for p in run.bare[name].parameters()]
    norm = accelerator.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
    _check(run, phase, sums, norm)
    optimiser.step()
    means = {name: accelerator.reduce(value, reduction="mean").item() for name, value in sums.items()}
    return {**means, f"gradient_norm/{phase.name}": float(norm)}


def _scene(run: _Run, phase: Phase, number: int, batch: Batch, pass_: int) -> Scene:
    accelerator, settings, step = run.accelerator, run.settings, run.progress.step
    size = settings.batch_size
    first = (pass_ * accelerator.num_processes + accelerator.process_index) * size
    seen = {name: run.wrapped[name] if name in phase.trains else bare for name, bare in run.bare.items()}
    return Scene(
        networks={**seen, **run.frozen},
        bare={**run.bare, **run.frozen},
        batch=batch,
        draw=Draw((settings.seed, step, number), first=first, batch_size=size, device=accelerator.device),
        step=step,
        progress=step / settings.steps,
    )


def _check(run: _Run, phase: Phase, sums: Mapping[str, Tensor], norm: Any) -> None:
    """Raise DivergedError in all processes when a term or a gradient of any is no longer a number."""
    scaled = (
        run.settings.precision == "fp16"
    )  # the scaler meets infinite gradients by itself, and skips the step
    bad = {name for name, value in sums.items() if not bool(torch.isfinite(value).all())}
    if not scaled and not bool(torch.isfinite(torch.as_tensor(norm)).all()):
        bad.add("the gradient")
    flag = torch.tensor(float(bool(bad)), device=run.accelerator.device)
    if run.accelerator.reduce(flag).item():
        names = ", ".join(sorted(bad)) or "a term of another process"
        raise DivergedError(f"{names} of phase '{phase.name}' is not finite at step {run.progress.step}")


def _roll_back(run: _Run, fault: str) -> None:
    """Go back to the last checkpoint at half the rate.

    Raises:
        FaceRestoreError: that was done too often already.
    """
    rollbacks, scale = run.progress.rollbacks + 1, run.progress.rate_scale / 2
    if rollbacks > run.settings.rollbacks:
        raise FaceRestoreError(
            f"{fault}, after {rollbacks - 1} times back at half the rate each; lower the learning rate, or clip_norm"
        )
    _load(run, checkpoints(run.folder.checkpoints)[-1])
    run.progress.rollbacks, run.progress.rate_scale = rollbacks, scale
    run.folder.forget_after(run.progress.step)
    run.listener.message(f"{fault}; back to step {run.progress.step} at {scale:g} of the rate")


@torch.no_grad()
def _validate(run: _Run, validation: Batch) -> dict[str, float]:
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


def _tensorboard(run: _Run) -> Any:
    """Return a writer of charts, or None where tensorboard is not installed."""
    if not run.accelerator.is_main_process:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.folder.path / "tensorboard"), purge_step=run.progress.step)


def _chart(writer: Any, record: Mapping[str, float], step: int) -> None:
    if writer is not None:
        for name, value in record.items():
            writer.add_scalar(name, value, step)


def restore_average(recipe: Recipe, folder: Path) -> tuple[nn.Module, int]:
    """Return the averaged network of the last checkpoint of a run, and its step.

    Raises:
        CheckpointError: there is none, or it is of another recipe.
    """
    found = checkpoints(folder / "checkpoints")
    if not found:
        raise CheckpointError(f"'{folder}' has no checkpoint; is it the folder of a run?")
    network = recipe.networks()[recipe.averaged].eval()
    try:
        state = torch.load(found[-1] / "custom_checkpoint_1.pkl", map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint '{found[-1]}' does not fit recipe '{recipe.name}': {error}"
        ) from error
    return network, checkpoint_step(found[-1])


__all__ = ["DivergedError", "Samples", "Term", "rate_factor", "restore_average", "to_device", "train"]

"""One training step: batches by position, rates, and for each phase its gradients, exchanged, clipped and stepped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facerestore.errors import FaceRestoreError
from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.run import TrainingRun
from facerestore.training.engine.settings import EngineSettings
from facerestore.training.recipes.base import Phase, Scene

HALVING_MILESTONES = (0.7, 0.85)
"""Shares of a run after which the schedule ``halving`` halves the rates (the design of MMRB, c.9)."""


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


def batches_of(run: TrainingRun, samples: Samples) -> Iterator[list[Batch]]:
    """Yield the batches of each step that is left, one for each pass."""
    settings, rank = run.settings, run.accelerator.process_index
    loader = DataLoader(
        samples,
        batch_sampler=_pass_positions(
            settings, run.progress.step, rank=rank, world=run.accelerator.num_processes
        ),
        num_workers=settings.workers,
        pin_memory=run.accelerator.device.type == "cuda",
        # Forked workers of a process with threads can hang.
        multiprocessing_context="spawn" if settings.workers else None,
    )
    held: list[Batch] = []
    for batch in plainly(loader):
        held.append(samples.prepare(batch, run.accelerator.device))
        if len(held) == settings.accumulate:
            yield held
            held = []


def plainly(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches; an error of ours in a worker is raised without the worker's traceback in its message."""
    try:
        yield from loader
    except FaceRestoreError as error:
        _, worker, message = str(error).rpartition(f"{type(error).__name__}: ")
        if not worker:
            raise
        raise type(error)(message.strip()) from error


def _pass_positions(settings: EngineSettings, first: int, *, rank: int, world: int) -> Iterator[list[int]]:
    """Yield the positions of each pass of one process from a step on; all processes cover a step's batch in order."""
    size = settings.batch_size
    for number in range(first * settings.accumulate, settings.steps * settings.accumulate):
        start = (number * world + rank) * size
        yield list(range(start, start + size))


def take_step(run: TrainingRun, batches: Sequence[Batch]) -> dict[str, float]:
    """Take one training step and return the means of its terms."""
    step, settings = run.progress.step, run.settings
    factor = rate_factor(settings, step) * run.progress.rate_scale
    for optimiser in run.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = group["peak_rate"] * factor
    logged: dict[str, float] = {"rate": factor}
    for number, phase in enumerate(run.recipe.phases):
        if step % phase.every == 0:
            logged.update(_take_phase(run, phase, number, batches))
    run.average.update(run.bare[run.recipe.averaged], step)
    return logged


def _take_phase(run: TrainingRun, phase: Phase, number: int, batches: Sequence[Batch]) -> dict[str, float]:
    """Take one update: gradients of all passes, exchanged, clipped and stepped."""
    accelerator, settings = run.accelerator, run.settings
    for name, network in run.bare.items():
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(name in phase.trains and (name, key) not in run.held)
    optimiser = run.optimisers[phase.optimiser]
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    trained = [run.wrapped[name] for name in phase.trains]
    for index, batch in enumerate(batches):
        quiet = accelerator.no_sync(*trained) if index + 1 < len(batches) else nullcontext()
        with quiet:
            with accelerator.autocast():
                terms = run.recipe.losses(phase.name, _scene_of(run, phase, number, batch, index))
            total = torch.stack([term.weight * term.value.float() for term in terms]).sum() / len(batches)
            accelerator.backward(total)
        for term in terms:
            share = term.value.detach().float() / len(batches)
            sums[term.name] = sums.get(term.name, torch.zeros_like(share)) + share
    parameters = [p for name in phase.trains for p in run.bare[name].parameters()]
    norm = accelerator.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
    _check_finite(run, phase, sums, norm)
    optimiser.step()
    means = {name: accelerator.reduce(value, reduction="mean").item() for name, value in sums.items()}
    return {**means, f"gradient_norm/{phase.name}": float(norm)}


def _scene_of(run: TrainingRun, phase: Phase, number: int, batch: Batch, pass_: int) -> Scene:
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


def _check_finite(run: TrainingRun, phase: Phase, sums: Mapping[str, Tensor], norm: Any) -> None:
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

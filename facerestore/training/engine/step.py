"""One training step: batches by position, rates, and for each phase its gradients, exchanged, clipped and stepped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

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
    settings, world = run.settings, run.accelerator.num_processes
    loader = DataLoader(
        samples,
        batch_sampler=_Positions(
            settings, run.progress.step, rank=run.accelerator.process_index, world=world
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


class _Positions(Sampler[list[int]]):
    """The positions of each pass of one process from a step to the end of the run, one list a pass."""

    def __init__(self, settings: EngineSettings, first: int, *, rank: int, world: int) -> None:
        self._settings, self._first, self._rank, self._world = settings, first, rank, world

    def __len__(self) -> int:
        return (self._settings.steps - self._first) * self._settings.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._first, self._settings.steps):
            for pass_ in range(self._settings.accumulate):
                yield list(_positions(self._settings, step, pass_, rank=self._rank, world=self._world))


def _positions(settings: EngineSettings, step: int, pass_: int, *, rank: int, world: int) -> range:
    """Return the positions of one pass of one process; together they cover the step's global batch in order."""
    size = settings.batch_size
    first = ((step * settings.accumulate + pass_) * world + rank) * size
    return range(first, first + size)


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
        network.requires_grad_(name in phase.trains)
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

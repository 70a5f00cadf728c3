"""All state of a training run: saved atomically, resumed exactly."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facerestore.errors import CheckpointError


class ExponentialAverage:
    """A running average of a network's parameters, ``decay * average + (1 - decay) * parameter`` each step.

    Early steps use the smaller decay ``(1 + step) / (10 + step)``, so that the random start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the parameters after a 0-based step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(parameter, 1 - decay)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``path`` in one step, so that it is whole or not there."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what :func:`save_checkpoint` wrote.

    Raises:
        CheckpointError: the file is no such checkpoint, or holds more than tensors and plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"'{path}' is not a training checkpoint: {error}; delete it to start anew"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(
            f"'{path}' is not a training checkpoint: it has no 'step'; delete it to start anew"
        )
    return state


def all_finite(value: Tensor) -> bool:
    """Say whether every element is a finite number."""
    return bool(torch.isfinite(value).all())

"""All state of a training run: averaged, saved whole or not at all, the last few kept, resumed exactly."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facerestore.errors import CheckpointError, FaceRestoreError

_NAME = re.compile(r"step_(\d{8})")


class ExponentialAverage:
    """A running average of a network's parameters, ``decay * average + (1 - decay) * parameter`` each step.

    Early steps use the smaller decay ``(1 + step) / (10 + step)``, so that the random start is soon forgotten. Buffers
    are copied as they are.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the parameters after a 0-based step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(_whole_tensor(parameter), 1 - decay)
        for kept, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(_whole_tensor(buffer))

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged network's state."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.network.load_state_dict(state)


def _whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor that may be spread over processes as one."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return folder / f"step_{step:08d}"


def checkpoint_step(path: Path) -> int:
    """Return the step of a checkpoint folder."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise CheckpointError(f"'{path}' is no checkpoint folder; its name is not like step_00001000")
    return int(found[1])


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints of a run, oldest first; half-written ones do not count."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def last_checkpoint(run: Path) -> Path:
    """Return the last whole checkpoint in the folder of a run.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints(run / "checkpoints")
    if not found:
        raise CheckpointError(f"'{run}' has no checkpoint; is it the folder of a run?")
    return found[-1]


def network_file(checkpoint: Path, number: int) -> Path:
    """Return the file of the ``number``-th trained network of a checkpoint; accelerate names them so.

    Raises:
        CheckpointError: it is not there, as in a run whose networks were sharded.
    """
    path = checkpoint / (f"model_{number}.safetensors" if number else "model.safetensors")
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{checkpoint}' has no '{path.name}'; was its run sharded?")
    return path


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints, and what half-written ones have left."""
    for path in [*checkpoints(folder)[:-keep], *folder.glob("*.part")]:
        shutil.rmtree(path)


def checkpoint_bytes(trained: int, averaged: int) -> int:
    """Return about how large a checkpoint is: float32 parameters with the two moments of Adam, and the average.

    Args:
        trained: number of trained parameters.
        averaged: number of parameters of the averaged network.
    """
    return 4 * (3 * trained + averaged)


def check_room(folder: Path, checkpoint_size: int, *, keep: int) -> None:
    """Check that the checkpoints that a run keeps, and the next one beside them, fit on the disk of an existing folder.

    Raises:
        FaceRestoreError: they do not; the message gives both figures.
    """
    missing = max(1, keep + 1 - len(checkpoints(folder)))
    needed, free = missing * checkpoint_size, shutil.disk_usage(folder).free
    if needed > free:
        raise FaceRestoreError(
            f"too little room in '{folder}': {keep} checkpoints of about {_mib(checkpoint_size)} are kept and one is"
            f" written beside them, {_mib(needed)} in all, and {_mib(free)} are free; free some space, give a folder on"
            " another disk, or lower engine.keep"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"

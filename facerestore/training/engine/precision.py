"""The number format of a run, chosen by a trial."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import nn

from facerestore.engines.device import known_precisions, resolve_device, synchronise

WORTH = 1.1
"""bf16 is used where it is at least this many times as fast: its gradients are coarser, so it must gain something."""

TRIALS = 5
CHANNELS, SIDE, FACES = 96, 64, 2
"""A typical layer of the bundled networks."""


def mixed_precision(asked: str, device: torch.device | None = None) -> str:
    """Return what accelerate calls the format of a run: what is asked for, or for ``auto`` what a trial shows.

    Emulated bf16 is hundreds of times slower than float32, so it is tried only where the device says that it has its
    arithmetic.

    Args:
        asked: ``no``, ``bf16``, ``fp16`` or ``auto``.
        device: where the run goes; None for the device that accelerate chooses.
    """
    if asked != "auto":
        return asked
    device = device or torch.device(resolve_device("auto"))
    if "bf16" not in known_precisions(device):
        return "no"
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, device=device).to(memory_format=torch.channels_last)
    seconds = {
        half: [_trial_seconds(layer, device, half=half) for _ in range(TRIALS)] for half in (False, True)
    }
    return "bf16" if median(seconds[False]) > WORTH * median(seconds[True]) else "no"


def _trial_seconds(layer: nn.Module, device: torch.device, *, half: bool) -> float:
    """Return the seconds of one forward and backward pass."""
    x = torch.rand(FACES, CHANNELS, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    synchronise(device)
    started = time.perf_counter()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        total = layer(x).float().sum()
    total.backward()
    synchronise(device)
    return time.perf_counter() - started

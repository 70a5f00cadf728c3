"""What training is fed with: batches by name, and samples by position."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

Batch: TypeAlias = dict[str, Tensor]
"""One batch by name: ``lq`` and ``hq`` (B, 3, S, S) float32 RGB in [0, 1], ``parsing`` (B, S, S) uint8 ids.

Of squares that are cut from faces also `CORNER` (B, 2): the column and row of the face at which each begins, px of a
face of the full size, also where the face stays smaller.
"""

CORNER = "corner"


class Samples(Dataset[Batch]):
    """Training samples: position, 0-based and without end, to one sample; a pure function."""

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Return collated samples, which are on the CPU, on the device, as recipes see them."""
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

"""Random numbers that depend on the sample alone, never on who draws them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Draw:
    """Gives each sample of the global batch its own numbers.

    The n-th call of a phase gives sample ``i`` the same numbers whether one process holds the whole batch, two hold
    half of it each, or it is accumulated in pieces.

    Args:
        key: what fixes the numbers beside the sample: (seed, step, phase).
        first: index of this process's first sample in the global batch of the step.
        batch_size: samples of this process.
        device: where tensors are made. Different kinds of device draw different numbers.
    """

    def __init__(
        self, key: tuple[int, ...], *, first: int, batch_size: int, device: torch.device | str = "cpu"
    ) -> None:
        self._key, self._first, self._batch_size = key, first, batch_size
        self._device = torch.device(device)
        self._calls = 0

    def normal(self, *shape: int) -> Tensor:
        """Return (B, *shape) from a standard normal distribution."""
        return self._each(torch.randn, shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return (B, *shape) from [0, 1)."""
        return self._each(torch.rand, shape)

    def common(self) -> np.random.Generator:
        """Return a generator that is the same for all samples of the step."""
        return np.random.default_rng([*self._key, self._next_call()])

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls

    def _each(self, sample: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        """Return what each sample of this process draws from a generator of its own."""
        call = self._next_call()
        sources = [self._generator_for(call, index) for index in range(self._batch_size)]
        return torch.stack([sample(shape, generator=source, device=self._device) for source in sources])

    def _generator_for(self, call: int, index: int) -> torch.Generator:
        entropy = np.random.SeedSequence([*self._key, call, self._first + index]).generate_state(1, np.uint64)
        # torch takes signed 64-bit seeds.
        return torch.Generator(device=self._device).manual_seed(int(entropy[0] >> np.uint64(1)))

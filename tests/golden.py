"""Reading of ``tests/golden``: what the official networks compute (its README says what each file holds)."""

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "golden"


class Golden:
    """The tensors of one file, by its name without the ending."""

    def __init__(self, name: str) -> None:
        self.tensors = load_file(FOLDER / f"{name}.safetensors")

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names start with ``prefix``, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """Return the tensors of one file as arrays."""
    return {key: tensor.numpy() for key, tensor in Golden(name).tensors.items()}


def listed_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a key listing, by its name without the ending."""
    text = (FOLDER / f"{name}.txt").read_text()
    lines = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return {
        name: tuple(int(side) for side in shape.strip("[]").split(",") if side.strip())
        for name, shape, _ in lines
    }


def assert_near(actual: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    """Check shape, and that no value is further than ``atol`` away."""
    assert actual.shape == expected.shape
    error = float((actual - expected).detach().abs().max())
    assert error <= atol, f"max abs error {error:.3g} above {atol:g}"


def closed_form_weights(state_dict: dict[str, torch.Tensor], *, gain: float) -> dict[str, torch.Tensor]:
    """Return the weights that the README's recipe gives to these keys and shapes."""
    return {
        key: _closed_form(key, tuple(state_dict[key].shape), position, gain)
        for position, key in enumerate(sorted(state_dict))
    }


def _closed_form(key: str, shape: tuple[int, ...], position: int, gain: float) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    field = _hashed_field(position, math.prod(shape))
    if len(shape) >= 2:
        field = field * np.sqrt(3 * gain / math.prod(shape[1:]))
    elif key.endswith("running_var"):
        field = 1 + 0.5 * field
    elif key.endswith(".weight"):
        field = 1 + 0.2 * field
    else:
        field = 0.1 * field
    return torch.from_numpy(field.astype(np.float32).reshape(shape))


def _hashed_field(position: int, count: int) -> np.ndarray:
    """Return numbers in [-1, 1): the murmur3 finaliser of each element's index, offset by the key's position."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(0x9E3779B9 * (position + 1) % 2**32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x.astype(np.float64) / 2**31 - 1

"""Reading of the golden fixtures: tensors that the official networks produced."""

from pathlib import Path

import torch
from safetensors.torch import load_file


class Golden:
    """The tensors of one fixture file."""

    def __init__(self, path: Path) -> None:
        self.tensors = load_file(path)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names start with ``prefix``, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def listed_keys(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a key listing."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {
        name: tuple(int(side) for side in shape.strip("[]").split(",") if side.strip())
        for name, shape, _ in lines
    }


def assert_near(actual: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    """Check shape, and that no value is further than ``atol`` away."""
    assert actual.shape == expected.shape
    error = float((actual - expected).detach().abs().max())
    assert error <= atol, f"max abs error {error:.3g} above {atol:g}"

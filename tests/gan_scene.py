"""Scenes for tests of adversarial recipes: what the engine would show them, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_recipe import Notebook

from facerestore.training.data.samples import Samples
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.loop import train
from facerestore.training.engine.settings import EngineSettings
from facerestore.training.recipes.base import Recipe, Scene, Term


class NoiseFaces(Samples):
    """Smooth noise, and the same with noise on it."""

    def __init__(self, face_size: int) -> None:
        self._size = face_size

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(position)
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        hq = nn.functional.interpolate(coarse, size=self._size, mode="bilinear")[0]
        return {"hq": hq, "lq": (hq + 0.1 * torch.randn(hq.shape, generator=generator)).clamp(0, 1)}


def faces(count: int, face_size: int) -> dict[str, Tensor]:
    """Return ``count`` samples as one batch."""
    source = NoiseFaces(face_size)
    samples = [source[index] for index in range(count)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def awake(networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Give strength to the noise, which starts at zero and would let no gradient through to what is behind it."""
    with torch.no_grad():
        for network in networks.values():
            for key, value in network.named_parameters():
                if key.endswith("noise.weight"):
                    value.fill_(0.3)
    return networks


def scene(networks: dict[str, nn.Module], batch: dict[str, Tensor], *, phase: int = 0) -> Scene:
    """Return the scene of step 0."""
    draw = Draw((1, 0, phase), first=0, batch_size=len(batch["hq"]))
    return Scene(networks=networks, bare=networks, batch=batch, draw=draw, step=0, progress=0.0)


def take(recipe: Recipe, networks: dict[str, nn.Module], batch: dict[str, Tensor], name: str) -> list[Term]:
    """Return the terms of a phase after their gradients; only the trained networks may have got any."""
    number, phase = next((n, p) for n, p in enumerate(recipe.phases) if p.name == name)
    for key, network in networks.items():
        network.requires_grad_(key in phase.trains)
        network.zero_grad()
    terms = recipe.losses(name, scene(networks, batch, phase=number))
    total(terms).backward()
    return terms


def total(terms: Sequence[Term]) -> Tensor:
    """Return what is minimised."""
    return torch.stack([term.weight * term.value for term in terms]).sum()


def without_gradient(network: nn.Module) -> list[str]:
    """Return the parameters that got none."""
    return [name for name, value in network.named_parameters() if value.grad is None]


def run(recipe: Recipe, folder: Path, *, face_size: int, steps: int, **engine: Any) -> Path:
    """Train for a few steps on the CPU, and return the last checkpoint."""
    settings = EngineSettings(
        **{"batch_size": 2, "save_every": 2, "validate_every": 4, "schedule": "constant", **engine},
        steps=steps,
        log_every=1,
    )
    return train(
        recipe,
        settings,
        samples=NoiseFaces(face_size),
        validation=faces(2, face_size),
        folder=folder,
        device=torch.device("cpu"),
        listener=Notebook(),
    )


def assert_same_checkpoints(a: Path, b: Path) -> None:
    """Networks, averages, the recipe's own state and the optimisers are the same, bit for bit."""
    for name in ("model.safetensors", "model_1.safetensors"):
        one, other = load_file(a / name), load_file(b / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for name in ("custom_checkpoint_1.pkl", "custom_checkpoint_2.pkl", "optimizer.bin", "optimizer_1.bin"):
        one, other = (torch.load(path / name, weights_only=True) for path in (a, b))
        assert str(one) == str(other)

"""A tiny adversarial recipe for tests of the engine; run as a program, it trains for a few steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facerestore.training.data.samples import Batch, Samples
from facerestore.training.engine.loop import train
from facerestore.training.engine.settings import EngineSettings, make_settings, resolved
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated, pair_validation


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySettings:
    """Nothing to set."""


class ToyRecipe(Recipe):
    """A generator, a discriminator, and a lazy gradient penalty."""

    name: ClassVar[str] = "toy"
    settings_class: ClassVar[type[Any]] = ToySettings
    averaged = "generator"
    phases = (
        Phase("generator", ("generator",), "generator"),
        Phase("discriminator", ("discriminator",), "discriminator"),
        Phase("r1", ("discriminator",), "discriminator", every=2),
    )

    def __init__(
        self, settings: ToySettings | None = None, *, face_size: int = 16, faults: tuple[int, ...] = ()
    ):
        self.faults = list(faults)
        self.mean = torch.zeros(())

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {}

    def networks(self) -> dict[str, nn.Module]:
        generator = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(8, 3, 3, padding=1)
        )
        discriminator = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(), nn.Conv2d(4, 1, 3))
        return {"generator": generator, "discriminator": discriminator}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.Adam(network.parameters(), lr=1e-3) for name, network in networks.items()}

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        lq, hq = scene.batch["lq"], scene.batch["hq"]
        generator, discriminator = scene.networks["generator"], scene.networks["discriminator"]
        if phase == "generator":
            restored = generator(lq + 0.01 * scene.draw.normal(3, 16, 16))
            self.mean = self.mean + 1
            fault = float("nan") if self._fails(scene.step) else 1.0
            return [
                Term("pixel", (restored - hq).abs().mean() * fault),
                Term("adversarial", -discriminator(restored).mean(), 0.01),
            ]
        if phase == "discriminator":
            with torch.no_grad():
                fake = generator(lq)
            scores = torch.relu(1 + discriminator(fake)).mean() + torch.relu(1 - discriminator(hq)).mean()
            return [Term("discriminator", scores)]
        real = hq.detach().requires_grad_(True)
        scores = discriminator(real)
        (gradient,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        return [Term("r1", gradient.square().flatten(1).sum(dim=1).mean() + 0 * scores.mean(), 10.0)]

    def _fails(self, step: int) -> bool:
        if step in self.faults:
            self.faults.remove(step)
            return True
        return False

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        return pair_validation(network(batch["lq"]), batch)

    def export(self, network: nn.Module) -> Exported:
        return Exported(network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean = state["mean"]


class ToySamples(Samples):
    """Noise, and noise with more noise."""

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(position)
        hq = torch.rand(3, 16, 16, generator=generator)
        lq = (hq + 0.2 * torch.randn(3, 16, 16, generator=generator)).clamp(0, 1)
        return {"hq": hq, "lq": lq}


class Notebook:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.records: list[dict[str, float]] = []

    def begin(self, first: int, steps: int) -> None:
        self.messages.append(f"{first} of {steps}")

    def step(self, record: Mapping[str, float]) -> None:
        self.records.append(dict(record))

    def message(self, text: str) -> None:
        self.messages.append(text)


def train_toy(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    recipe: ToyRecipe | None = None,
    listener: Notebook | None = None,
) -> Path:
    """Train for a few steps on the CPU, and return the last checkpoint."""
    basis = {
        "steps": 8,
        "batch_size": 4,
        "save_every": 4,
        "validate_every": 4,
        "log_every": 1,
        "schedule": "linear",
    }
    engine = make_settings(EngineSettings, {**basis, **(settings or {})})
    samples = ToySamples()
    held = [samples[10_000 + index] for index in range(6)]
    return train(
        recipe or ToyRecipe(),
        engine,
        samples=samples,
        validation={name: torch.stack([sample[name] for sample in held]) for name in held[0]},
        folder=folder,
        described={"recipe": "toy", "engine": resolved(engine)},
        device=torch.device("cpu"),
        listener=listener,
    )


if __name__ == "__main__":
    train_toy(Path(sys.argv[1]), {"batch_size": int(sys.argv[2])})

"""Training of the bundled restorer: ``python -m facerestore.training.lite --faces DIR --run DIR``.

A run folder holds ``config.json``, ``log.jsonl``, ``checkpoint.pt`` and pictures of fixed validation faces. A run that
was stopped goes on where its checkpoint stands, and ends as if it had never been stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.checkpoint import save_state_dict
from facerestore.degradation import preset
from facerestore.device import keep_freed_memory, resolve_device
from facerestore.errors import FaceRestoreError
from facerestore.evaluation.faces import FacePair, face_pairs, load_faces
from facerestore.training.datasets import PairDataset, to_tensor
from facerestore.training.losses import charbonnier, frequency
from facerestore.training.muon import Muon
from facerestore.training.state import ExponentialAverage, all_finite, load_checkpoint, save_checkpoint

VALIDATION_SEED = 7
"""Seed of the fixed validation pairs; change it and no two runs compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteTraining:
    """One run.

    Attributes:
        face_size: side of the faces, px.
        network: shape of the network.
        set_weights: share of each set of faces.
        mix: share of each degradation preset; ``clean`` stands for none.
        steps: optimiser steps of the whole run.
        batch_size: faces a step.
        learning_rate: peak of the schedule of both optimisers: linear warm-up, then half a cosine down to zero.
        warmup_steps: length of the warm-up.
        frequency_weight: weight of the frequency loss beside the Charbonnier loss.
        ema_decay: decay of the parameter average that is exported.
        clip_norm: largest gradient norm.
        seed: seed of data order and initialisation.
        save_every: steps between checkpoints.
        validate_every: steps between validations.
    """

    face_size: int = 256
    network: LiteConfig = field(default_factory=LiteConfig)
    set_weights: dict[str, float] = field(
        default_factory=lambda: {"congress_gpo": 0.45, "pif": 0.10, "sfhq_t2i": 0.45}
    )
    mix: dict[str, float] = field(default_factory=lambda: {"gfpgan": 0.75, "severe": 0.15, "clean": 0.10})
    steps: int = 6000
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    frequency_weight: float = 1.0
    ema_decay: float = 0.995
    clip_norm: float = 1.0
    seed: int = 20261121
    save_every: int = 250
    validate_every: int = 500


def learning_rate(config: LiteTraining, step: int) -> float:
    """Return the rate of a 0-based step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(slots=True)
class _Run:
    """What changes while a run goes on."""

    network: nn.Module
    ema: ExponentialAverage
    optimisers: Sequence[torch.optim.Optimizer]
    step: int = 0

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def train_lite(
    config: LiteTraining, train_faces: Path, *, val_faces: Path, run_folder: Path, device: str = "auto"
) -> Path:
    """Train, or go on training, and return the path of the last checkpoint.

    Raises:
        FaceRestoreError: the data cannot be read, or the loss is no longer a number.
    """
    place = resolve_device(device)
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / "config.json").write_text(json.dumps(asdict(config), indent=2))
    checkpoint = run_folder / "checkpoint.pt"
    run = _new_run(config, place)
    if checkpoint.exists():
        run.restore(load_checkpoint(checkpoint))
    dataset = _dataset(config, train_faces)
    validation = face_pairs(val_faces, config.face_size, degradation=preset("gfpgan"), seed=VALIDATION_SEED)
    started = time.monotonic()
    for lq, hq in _prefetched(dataset, config, run.step):
        terms = _step(run, config, lq.to(place), hq.to(place))
        if run.step % 50 == 0:
            _log(run_folder, {"step": run.step, "seconds": round(time.monotonic() - started, 1), **terms})
        if run.step % config.validate_every == 0 or run.step == config.steps:
            quality = validate(run.ema.network, validation, run_folder=run_folder, step=run.step)
            _log(run_folder, {"step": run.step, **quality})
        if run.step % config.save_every == 0 or run.step == config.steps:
            save_checkpoint(checkpoint, run.state())
    return checkpoint


def _new_run(config: LiteTraining, device: torch.device) -> _Run:
    torch.manual_seed(config.seed)
    network = LiteGenerator(config.network).to(memory_format=torch.channels_last).to(device)
    ema = ExponentialAverage(network, config.ema_decay)
    return _Run(network, ema, _optimisers(network, config.learning_rate))


def _optimisers(network: LiteGenerator, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the inner convolutions, and AdamW for biases, norms, and the layers next to pixels."""
    outer = {id(network.stem.weight), id(network.head.weight)}
    inner = [p for p in network.parameters() if p.ndim == 4 and id(p) not in outer]
    inner_ids = {id(p) for p in inner}
    rest = [p for p in network.parameters() if id(p) not in inner_ids]
    return [Muon(inner, lr=rate), torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.999), weight_decay=1e-4)]


def _dataset(config: LiteTraining, folder: Path) -> PairDataset:
    mix = [(share, None if name == "clean" else preset(name)) for name, share in config.mix.items()]
    faces = load_faces(folder, config.face_size)
    return PairDataset(faces, set_weights=config.set_weights, mix=mix, seed=config.seed)


def _prefetched(dataset: PairDataset, config: LiteTraining, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps ``first`` to the last, each made while the one before is used."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(dataset.batch, first, config.batch_size)
        for step in range(first, config.steps):
            current = upcoming.result()
            if step + 1 < config.steps:
                upcoming = pool.submit(dataset.batch, step + 1, config.batch_size)
            yield current


def _step(run: _Run, config: LiteTraining, lq: Tensor, hq: Tensor) -> dict[str, float]:
    """Take one optimiser step and return the loss terms."""
    rate = learning_rate(config, run.step)
    for group in (group for optimiser in run.optimisers for group in optimiser.param_groups):
        group["lr"] = rate
    restored = run.network(lq.contiguous(memory_format=torch.channels_last))
    pixel, spectrum = charbonnier(restored, hq), frequency(restored, hq)
    loss = pixel + config.frequency_weight * spectrum
    if not all_finite(loss.detach()):
        raise FaceRestoreError(
            f"the loss is {loss.item()} at step {run.step}; resume with a lower learning rate"
        )
    run.network.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.network.parameters(), config.clip_norm)
    for optimiser in run.optimisers:
        optimiser.step()
    run.ema.update(run.network, run.step)
    run.step += 1
    return {"pixel": pixel.item(), "frequency": spectrum.item(), "gradient_norm": norm.item(), "rate": rate}


@torch.no_grad()
def validate(
    network: nn.Module,
    pairs: Sequence[FacePair],
    *,
    run_folder: Path,
    step: int,
) -> dict[str, float]:
    """Return the mean PSNR of input and output over the pairs; write a picture of twelve of them."""
    lq, hq = np.stack([pair.lq for pair in pairs]), np.stack([pair.hq for pair in pairs])
    device = next(network.parameters()).device
    restored = [network(to_tensor(lq[i : i + 8]).to(device)).cpu() for i in range(0, len(lq), 8)]
    faces = torch.cat(restored).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    shown = np.linspace(0, len(lq) - 1, 12).astype(int)
    sheet = np.concatenate([np.concatenate(list(side[shown]), axis=1) for side in (lq, faces, hq)])
    cv2.imwrite(str(run_folder / f"step_{step:06d}.png"), sheet[..., ::-1])
    return {"psnr_input": _mean_psnr(lq, hq), "psnr": _mean_psnr(faces, hq)}


def _mean_psnr(faces: NDArray[np.uint8], hq: NDArray[np.uint8]) -> float:
    squares = ((faces.astype(np.float64) - hq) ** 2).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / squares)).mean())


def _log(run_folder: Path, record: dict[str, Any]) -> None:
    with (run_folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")


def export_lite(checkpoint: Path, out: Path, *, licence: str, data: str) -> Path:
    """Write the averaged network of a run as safetensors in float16, with what made it in the header.

    Raises:
        CheckpointError: the file is no checkpoint of this recipe.
    """
    state = load_checkpoint(checkpoint)
    config = json.loads((checkpoint.parent / "config.json").read_text())
    tensors = {key: value.half().contiguous() for key, value in state["ema"].items()}
    header = {"arch": "lite", "licence": licence, "data": data, "step": str(state["step"])}
    save_state_dict(out, tensors, metadata={**header, "training": json.dumps(config)})
    return out


def main() -> None:
    """Parse the command line and train, or export a finished run."""
    parser = argparse.ArgumentParser(prog="python -m facerestore.training.lite", description=__doc__)
    parser.add_argument("--faces", type=Path, help="folder with train/<set>/* and val/<set>/*")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run; an existing run goes on")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--export", type=Path, help="write the run's averaged weights here instead of training"
    )
    parser.add_argument("--licence", default="unstated", help="licence of the exported weights")
    parser.add_argument("--data", default="unstated", help="what the exported weights were trained on")
    arguments = parser.parse_args()
    if arguments.export:
        checkpoint = arguments.run / "checkpoint.pt"
        export_lite(checkpoint, arguments.export, licence=arguments.licence, data=arguments.data)
        return
    if not arguments.faces:
        parser.error("--faces is needed to train")
    keep_freed_memory()
    train_lite(
        LiteTraining(steps=arguments.steps, batch_size=arguments.batch_size),
        arguments.faces / "train",
        val_faces=arguments.faces / "val",
        run_folder=arguments.run,
        device=arguments.device,
    )


if __name__ == "__main__":
    main()

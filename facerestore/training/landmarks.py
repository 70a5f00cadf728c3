"""The recipe of the bundled five-point landmark and face-score network.

Run it again with ``python -m facerestore.training.landmarks --faces FOLDER --teacher YUNET.onnx --out FILE``.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from facerestore.archs.landmarks import LandmarkNet, normalise
from facerestore.checkpoint import save_state_dict
from facerestore.detection.yunet import YuNetDetector
from facerestore.errors import ConfigError
from facerestore.training.landmark_data import LandmarkData, Sample, make_sample, prepare

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkTraining:
    """What one training run is determined by.

    Attributes:
        steps: optimiser steps.
        batch_size: samples a step.
        learning_rate: peak of AdamW's cosine schedule.
        warmup_steps: steps of linear rise to it.
        weight_decay: AdamW's.
        ema_decay: decay of the averaged weights, which are the result.
        points_weight: weight of the landmark loss against the score's cross entropy.
        knee: landmark error, in units of the eye distance, below which the loss is quadratic: the teacher's own noise.
        seed: of the weights and of every sample.
    """

    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    points_weight: float = 8.0
    knee: float = 0.02
    seed: int = 20260101

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise ConfigError(f"{self.steps} steps of {self.batch_size} samples; give at least 1 and 2")


def train_landmarks(config: LandmarkTraining, data: LandmarkData) -> LandmarkNet:
    """Train the network and return it with its averaged weights, in eval mode, on the CPU.

    Samples are numbered through, so an epoch is one pass over the faces; sample k of the run is a pure function of
    (seed, k // N, k % N).
    """
    torch.manual_seed(config.seed)
    network = LandmarkNet().train()
    averaged = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(config, step))
    for step in range(config.steps):
        samples = _batch(config, data, step)
        optimiser.zero_grad(set_to_none=True)
        loss, points_loss, score_loss = landmark_loss(network, samples, config)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(network)
        if step % 100 == 0 or step + 1 == config.steps:
            logger.info("step %d points %.4f score %.4f", step, points_loss.item(), score_loss.item())
    network.load_state_dict(averaged.module.state_dict())
    return network.eval()


def learning_rate_factor(config: LandmarkTraining, step: int) -> float:
    """Return the share of the peak learning rate at ``step``: linear rise, then a half cosine to 1%."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))


def landmark_loss(
    network: LandmarkNet, samples: list[Sample], config: LandmarkTraining
) -> tuple[Tensor, Tensor, Tensor]:
    """Return total, landmark and score loss of a batch.

    The landmark loss is a Huber loss on distances over the eye distance, on the faces only; the score loss is the
    binary cross entropy.
    """
    crops = torch.from_numpy(np.stack([sample.crop for sample in samples]))
    goals = torch.from_numpy(np.stack([sample.points for sample in samples]))
    is_face = torch.tensor([sample.is_face for sample in samples])
    points, logits = network(normalise(crops))
    score_loss = F.binary_cross_entropy_with_logits(logits, is_face.float())
    eye_distance = (goals[:, 1] - goals[:, 0]).norm(dim=1).clamp(min=1e-3)[:, None, None]
    errors = ((points - goals) / eye_distance)[is_face]
    points_loss = F.huber_loss(errors, torch.zeros_like(errors), delta=config.knee) / config.knee
    return config.points_weight * points_loss + score_loss, points_loss, score_loss


def _batch(config: LandmarkTraining, data: LandmarkData, step: int) -> list[Sample]:
    first = step * config.batch_size
    numbers = [divmod(number, len(data.faces)) for number in range(first, first + config.batch_size)]
    return [make_sample(data, config.seed, epoch, index) for epoch, index in numbers]


def save_landmarks(network: LandmarkNet, path: Path, config: LandmarkTraining) -> None:
    """Write the network as safetensors, with what it is and how it was made in the header."""
    metadata = {
        "arch": "landmarks",
        "tag": "five-point",
        "config": json.dumps(asdict(config)),
        "license": "Apache-2.0",
        "training_data": "public-domain, CC0 and MIT portraits; landmarks by YuNet (see the model card)",
    }
    save_state_dict(path, network.state_dict(), metadata)


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True, help="folder of FFHQ-aligned portraits")
    parser.add_argument("--teacher", type=Path, required=True, help="YuNet's ONNX file")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=LandmarkTraining().steps)
    parser.add_argument("--seed", type=int, default=LandmarkTraining().seed)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = LandmarkTraining(steps=given.steps, seed=given.seed)
    data = prepare(given.faces, YuNetDetector(given.teacher))
    logger.info("%d faces, %d mined negatives", len(data.faces), len(data.negatives))
    save_landmarks(train_landmarks(config, data), given.out, config)


if __name__ == "__main__":
    main()

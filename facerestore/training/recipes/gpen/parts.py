"""What recipe ``gpen`` trains, and what its networks start from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.errors import CheckpointError
from facerestore.training.recipes.start import fill
from facerestore.weights.checkpoint import load_state_dict

PRIOR_PREFIX = "generator."
"""Begins the keys of the prior in a restorer's file, and so in a file of the prior alone."""


class SteeredRestorer(nn.Module):
    """A restorer that gives the styles along with the faces, which the path length needs."""

    def __init__(self, config: GPENConfig) -> None:
        super().__init__()
        self.network = GPENGenerator(config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B 3 S S -> faces B 3 S S, and their styles B latent_count D float32."""
        latents, features = self.network.encode(x)
        # float32 also in mixed precision: a copy made later would not be what the faces are from.
        latents = latents.float()
        noise = self.network.layer_noise(features, [])
        return self.network.generator.synthesise(latents, noise), latents


@torch.no_grad()
def let_features_through(restorer: nn.Module, strength: float) -> None:
    """Set the strength of what takes the place of the noise, in every layer."""
    for name, parameter in restorer.named_parameters():
        if name.endswith("noise.weight"):
            parameter.fill_(strength)


def take_file(path: Path, restorer: GPENGenerator) -> None:
    """Take a prior, or a whole restorer, from a weights file.

    Raises:
        CheckpointError: it cannot be read, or is of another network.
    """
    state = load_state_dict(path)
    if "ecd0.0.0.weight" in state:
        fill(restorer, state, name=f"GPEN, from '{path}'")
        return
    if not all(key.startswith(PRIOR_PREFIX) for key in state):
        raise CheckpointError(
            f"'{path}' is neither a prior of GPEN nor a GPEN; give the folder of a run of stage 'prior', or what"
            " 'facerestore train export' made of it"
        )
    own = {key.removeprefix(PRIOR_PREFIX): value for key, value in state.items()}
    fill(restorer.generator, own, name=f"the prior, from '{path}'")

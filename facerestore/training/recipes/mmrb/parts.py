"""Parts of the MMRB recipe: the network as it is trained, its teacher, its starting weights, labelled faces.

Sections c.3 to c.9 of the design after arXiv 2205.14377. Images are RGB in [-1, 1], shapes are written B C H W, D is
the length of a style and L their count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from facerestore.archs.mmrb import Codes, MMRBConfig, MMRBGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig, resolutions
from facerestore.backends.priors import prior_from_state_dict
from facerestore.degradation import Degradation
from facerestore.degradation.batched import degrade_batch
from facerestore.errors import CheckpointError, ConfigError
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.state import last_checkpoint
from facerestore.weights.checkpoint import load_state_dict, shapes_of

MAPPING_LAYERS = 8
"""Of the mapping network (arXiv 1812.04948, appendix C)."""

UNTRAINED_SEED = 0
"""Any fixed number will do: it makes the untrained prior of a trial the same whenever the trial goes on."""

MIXED_SHARE = 0.5
"""Chance that a labelled face has two styles, the second from a drawn layer on (design c.6, S0)."""

LEAST_TRUNCATION = 0.5
"""Styles are drawn toward the mean style by a factor from here to 1 (design c.6, S0)."""


class Drawn(NamedTuple):
    """What the trained network gives.

    Attributes:
        faces: B 3 S S, in float32.
        offsets: B L D, styles less the mean style.
        features: the decoder's, B C r r, from 8 px.
        heads: by resolution, the RGB views of them, B 3 r r.
    """

    faces: Tensor
    offsets: Tensor
    features: list[Tensor]
    heads: dict[int, Tensor]


class TrainedMMRB(MMRBGenerator):
    """The restorer as one network that is trained, averaged and exported; its keys are the backend's.

    A prior that is not trained stays without gradients whatever the training engine asks for, so that nothing is
    computed, exchanged or clipped for it.

    Args:
        config: shape of the network.
        synthesis_trained: train the prior's synthesis, too.
    """

    def __init__(self, config: MMRBConfig, *, synthesis_trained: bool) -> None:
        super().__init__(config)
        self.synthesis_trained = synthesis_trained
        self.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch the gradients of what is trained on or off."""
        self.codec.requires_grad_(requires_grad)
        self.prior.requires_grad_(requires_grad and self.synthesis_trained)
        return self

    def forward(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Drawn:  # type: ignore[override]
        """Return the faces, and all that losses look at, in one call: gradients are exchanged for one call only.

        The synthesis is computed in float32 under mixed precision, too (design c.9): its modulated weights and squares
        leave the range of half precision.

        Args:
            x: B 3 S S.
            noise: one tensor for each styled convolution; None takes the stored ones.
        """
        codes = self.codec(x)
        heads = self.codec.side_images(codes.features)
        with torch.autocast(x.device.type, enabled=False):
            modulations = {size: m.float() for size, m in codes.modulations.items()}
            faces = self.synthesise(
                Codes(codes.offsets.float(), codes.features, modulations),
                noise=noise or self.prior.stored_noise(),
            )
        return Drawn(faces, codes.offsets, list(codes.features.values()), heads)

    def restore(self, x: Tensor) -> Tensor:
        """Return restored faces, B 3 S S, as the backend does."""
        return self(x).faces  # type: ignore[no-any-return]


def draw_noise(config: GeneratorConfig, draw: Draw) -> list[Tensor]:
    """Return normal noise for each styled convolution, coarse to fine, B 1 r r, each sample's its own."""
    sides = [4, *(side for side in resolutions(config.face_size)[1:] for _ in range(2))]
    areas = [side * side for side in sides]
    together = torch.split(draw.normal(sum(areas)), areas, dim=1)
    return [part.reshape(-1, 1, side, side) for part, side in zip(together, sides, strict=True)]


class Teacher:
    """A running average of the codec, whose features of real faces a codec learns to find in degraded ones.

    Args:
        decay: share of the average that stays in each step (design c.6, S2).
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._parameters: dict[str, Tensor] = {}
        self._step = -1

    @torch.no_grad()
    def follow(self, codec: nn.Module, step: int) -> None:
        """Update the average from the codec at the beginning of a step, once per step."""
        if step == self._step:
            return
        self._step = step
        for name, parameter in codec.named_parameters():
            if name in self._parameters:
                kept = self._parameters[name].to(parameter.device)
                self._parameters[name] = kept.lerp_(parameter, 1 - self._decay)
            else:
                self._parameters[name] = parameter.detach().clone()

    @torch.no_grad()
    def look(self, codec: nn.Module, x: Tensor) -> Codes:
        """Return the average's codes of B 3 S S; ``codec`` lends its structure."""
        found: Codes = functional_call(codec, self._parameters, (x,))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"parameters": self._parameters, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._parameters = {name: value.clone() for name, value in state["parameters"].items()}
        self._step = int(state["step"])


class Faces(NamedTuple):
    """Faces in [-1, 1], the degraded ones and the real, B 3 S S, and where they are drawn their styles, B L D."""

    lq: Tensor
    hq: Tensor
    latents: Tensor | None = None


@torch.no_grad()
def draw_labelled(prior: StyleGAN2Prior, degradation: Degradation, draw: Draw) -> Faces:
    """Return faces with known styles (design c.6, S0); each sample depends on its own draws alone.

    Args:
        prior: with a mapping network, in eval mode.
        degradation: of the input; a grey one leaves the colours, which the styles tell.
        draw: the source of randomness.
    """
    count = prior.config.latent_count
    z = draw.normal(2, prior.config.style_dim)
    chances = draw.uniform(3)
    w = torch.stack([prior.style(z[:, 0]), prior.style(z[:, 1])], dim=1)  # B 2 D
    truncation = LEAST_TRUNCATION + (1 - LEAST_TRUNCATION) * chances[:, :1, None]
    w = prior.w_avg + truncation * (w - prior.w_avg)
    # The second style begins at one of the layers 1 to L - 1, or beyond the last.
    begins = 1 + (chances[:, 2] * (count - 1)).long()
    begins = torch.where(chances[:, 1] < MIXED_SHARE, begins, count)
    is_second = torch.arange(count, device=z.device) >= begins[:, None]  # B L
    latents = torch.where(is_second[..., None], w[:, 1:], w[:, :1])
    hq = prior.synthesise(latents).clamp(-1, 1)
    return Faces(_degraded_faces(hq, degradation, draw), hq, latents)


def _degraded_faces(hq: Tensor, degradation: Degradation, draw: Draw) -> Tensor:
    """Return degraded faces, B 3 S S, in whole levels of 255."""
    # A float32 of [0, 1) has 24 bits.
    seeds = (draw.uniform(2).double() * 2**24).long().tolist()
    draws = [degradation.draw(hq.shape[-1], np.random.default_rng(seed)) for seed in seeds]
    lq, _ = degrade_batch(
        (hq + 1) / 2,
        [replace(drawn, target=()) for drawn in draws],
        [seed[0] << 24 | seed[1] for seed in seeds],
    )
    return lq * 2 - 1


def labelling_prior(config: GeneratorConfig, path: Path | None) -> StyleGAN2Prior:
    """Return the prior that draws labelled faces: that of a file or run, or an untrained one for a trial.

    Args:
        config: its shape; mapping layers do not count.
        path: where it is, see :func:`state_of`.

    Raises:
        ConfigError: it has another shape, or no mapping network.
        CheckpointError: it is no prior.
    """
    if path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            prior = StyleGAN2Prior(replace(config, mapping_layers=MAPPING_LAYERS))
        prior.set_mean_latent()
        return prior
    prior = prior_of(path, config)
    if not prior.config.mapping_layers:
        raise ConfigError(
            f"'{path}' has no mapping network, which stage 0 draws its faces with; give a StyleGAN2 generator"
        )
    return prior


def prior_of(path: Path, config: GeneratorConfig) -> StyleGAN2Prior:
    """Return the prior of a weights file or of a run.

    Raises:
        ConfigError: it has another shape; the message says which settings fit it.
        CheckpointError: it is no prior.
    """
    try:
        prior = prior_from_state_dict(_prior_state(path), upsampling=config.upsampling)
    except CheckpointError as error:
        raise error if str(path) in str(error) else CheckpointError(f"'{path}': {error}") from error
    found = prior.config
    fitting = {
        "data.face_size": (found.face_size, config.face_size),
        "recipe.network.style_dim": (found.style_dim, config.style_dim),
        "recipe.network.channel_multiplier": (found.channel_multiplier, config.channel_multiplier),
        "recipe.network.narrow": (found.narrow, config.narrow),
        "recipe.network.upsampling": (found.upsampling, config.upsampling),
    }
    if found.face_size < 64:  # there the multiplier widens no layer
        del fitting["recipe.network.channel_multiplier"]
    wrong = [f"{name}={value}" for name, (value, ours) in fitting.items() if value != ours]
    if wrong:
        raise ConfigError(
            f"the prior '{path}' has another shape than this run's network; set {', '.join(wrong)}"
        )
    if found.noise_mode != config.noise_mode:
        raise ConfigError(
            f"the prior '{path}' takes its noise in the form '{found.noise_mode}', and recipe.network.inject needs"
            f" '{config.noise_mode}': 'noise_concat' goes with 'concat', all others with 'add'"
        )
    return prior


def _prior_state(path: Path) -> dict[str, Tensor]:
    """Return a prior's tensors; a run of recipe ``stylegan2`` has them a name deeper, and no mean style yet."""
    state = {name.removeprefix("network."): value for name, value in state_of(path).items()}
    if path.is_dir() and "style.1.weight" in state:
        del state["w_avg"]  # made anew where it is missing
    return state


def state_of(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file, or of the averaged network of a run's last checkpoint.

    Raises:
        CheckpointError: there are none.
    """
    if not path.is_dir():
        return load_state_dict(path)
    return dict(load_state_dict(last_checkpoint(path) / "custom_checkpoint_1.pkl"))


def continue_discriminator(network: nn.Module, path: Path) -> bool:
    """Give a discriminator the parameters that one of its shape has in a run, and say whether there is one."""
    shapes = shapes_of(network.state_dict())
    for file in sorted(last_checkpoint(path).glob("model*.safetensors")) if path.is_dir() else []:
        state = load_state_dict(file)
        if shapes_of(state) == shapes:
            network.load_state_dict(state)
            return True
    return False

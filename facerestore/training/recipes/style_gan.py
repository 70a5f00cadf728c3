"""The base of the recipes of the StyleGAN2 family: settings, adversarial game, mixed styles, optimisers, validation.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, appendix B: logistic losses,
R1 and path-length regularisation in every n-th step only ("lazy"), Adam with rates and betas corrected for the
extra updates. The numbers are those of GPEN's training script. Images are RGB in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from facerestore.archs.gpen import GPENDiscriminator, PriorGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.engine.draw import Draw
from facerestore.training.losses.common import (
    PATH_MEAN_DECAY,
    discriminator_score_loss,
    generator_score_loss,
    path_length_penalty,
    r1_penalty,
)
from facerestore.training.recipes.base import Phase, Recipe, Scene, Term, Validated

# Second beta of Adam before its correction (arXiv 1912.04958, appendix B); the first is a setting.
BETA2 = 0.99
# Parameters halve their weight in the average every 10,000 faces, in batches of 32.
EMA_DECAY = 0.5 ** (32 / 10_000)
SMALLEST_FACE, LARGEST_FACE = 32, 1024
# Any fixed number will do: validation always looks at the same codes.
VALIDATION_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSettings:
    """Shape of a generator.

    Attributes:
        style_dim: length of a style.
        mapping_layers: layers of the mapping network.
        channel_multiplier: widens the layers from 64 px on.
        narrow: scales every width; 0.125 makes a network that a CPU can train at 64 px.
    """

    style_dim: int = option(512, least=1)
    mapping_layers: int = option(8, least=1)
    channel_multiplier: float = option(2, above=0)
    narrow: float = option(1, above=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorSettings:
    """Shape of the discriminator.

    Attributes:
        channel_multiplier: widens the layers from 64 px on.
        narrow: scales every width.
        stddev_group: consecutive faces whose spread the discriminator sees; 0 for all faces of a process in one pass,
            as GPEN has it, and 4 in StyleGAN2. With 0, several processes, and accumulated passes, are not the same as
            one large batch; with a group that divides the batch of a process, several processes are.
    """

    channel_multiplier: float = option(2, above=0)
    narrow: float = option(1, above=0)
    stddev_group: int = option(0, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegulariserSettings:
    """The lazy regularisers.

    Attributes:
        r1_weight: of the gradient penalty on real faces; 0 leaves it out. The term's factor is ``r1_weight / 2 *
            r1_every``, 80 by default.
        r1_every: steps from one to the next.
        path_weight: of the path-length penalty; 0 leaves it out. The term's factor is ``path_weight * path_every``, 8
            by default.
        path_every: steps from one to the next.
        path_decay: how far the running mean of path lengths moves each time.
    """

    r1_weight: float = option(10.0, least=0)
    r1_every: int = option(16, least=1)
    path_weight: float = option(2.0, least=0)
    path_every: int = option(4, least=1)
    path_decay: float = option(PATH_MEAN_DECAY, above=0, most=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleGANSettings:
    """What all of this family is trained with.

    Attributes:
        generator: shape of the generator.
        discriminator: shape of the adversary; StyleGAN2 has ``stddev_group`` 4.
        regularisers: R1 and path length.
        learning_rate: Adam's, before the correction for lazy regularisers.
        beta1: Adam's first beta.
        mixing_probability: share of faces drawn with two styles (StyleGAN2's).
    """

    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    regularisers: RegulariserSettings = field(default_factory=RegulariserSettings)
    learning_rate: float = option(0.002, above=0)
    beta1: float = option(0.0, least=0, below=1)
    mixing_probability: float = option(0.9, least=0, most=1)


def full_run(*, steps: int, batch_size: int, validate_every: int, preset: str) -> dict[str, Any]:
    """Return the settings that full runs of this family share."""
    return {
        "engine": {
            "steps": steps,
            "batch_size": batch_size,
            "schedule": "constant",
            "ema_decay": EMA_DECAY,
            "save_every": 10_000,
            "validate_every": validate_every,
            "log_every": 100,
        },
        "data": {
            "face_size": 512,
            "mix": {preset: 1.0},
            "augmentation": {"jitter_probability": 0, "gamma_probability": 0},
        },
    }


class WatchedDiscriminator(nn.Module):
    """A discriminator that returns its features with the scores in one call, as distributed training needs."""

    def __init__(self, settings: DiscriminatorSettings, face_size: int) -> None:
        super().__init__()
        self.network = GPENDiscriminator(face_size, **asdict(settings))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """B 3 S S -> scores B 1, and the features of S to 4 px."""
        features = self.network.features(x)
        return self.network.score(features[-1]), features


class MixedStyles(nn.Module):
    """A generator with style mixing (arXiv 1812.04948, section 3.1) that gives the styles along with the faces."""

    def __init__(self, network: PriorGenerator | StyleGAN2Prior) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, crossover: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return faces, and the styles that made them.

        Args:
            z: B 2 D, two latent codes for each face.
            crossover: B, the first layer that takes its style from the second code; ``latent_count`` for none.
            noise: of each styled convolution.

        Returns:
            B 3 S S, and B latent_count D float32.
        """
        styles = self.network.style(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        first, second = (self.network.expand_latents(styles[:, which]) for which in (0, 1))
        is_second = torch.arange(first.shape[1], device=z.device) >= crossover[:, None]
        # float32 also in mixed precision: a copy made later would not be what the faces were made from.
        latents = torch.where(is_second[..., None], second, first).float()
        return self.network.synthesise(latents, noise=noise), latents


def draw_codes(
    draw: Draw, *, style_dim: int, latent_count: int, mixing_probability: float
) -> tuple[Tensor, Tensor]:
    """Return the ``z`` and ``crossover`` of :class:`MixedStyles`, each face's own."""
    z, chance = draw.normal(2, style_dim), draw.uniform(2)
    layer = 1 + (chance[:, 1] * (latent_count - 1)).long()
    return z, torch.where(chance[:, 0] < mixing_probability, layer, torch.full_like(layer, latent_count))


def style_adam(
    parameters: Iterable[nn.Parameter] | Iterable[Mapping[str, Any]],
    *,
    learning_rate: float,
    beta1: float,
    lazy_every: int | None,
) -> torch.optim.Adam:
    """Return Adam as StyleGAN2 has it, corrected for one more update every ``lazy_every`` steps.

    With c = every / (every + 1) the rate is c times what is asked for, and the betas are raised to the power of c
    (arXiv 1912.04958, appendix B); None corrects nothing. Groups that name their own rate keep it.
    """
    share = 1.0 if lazy_every is None else lazy_every / (lazy_every + 1)
    given: Any = parameters
    return torch.optim.Adam(given, lr=learning_rate * share, betas=(beta1**share, BETA2**share))


class StyleGANRecipe(Recipe):
    """The adversarial game and its regularisers; what draws or restores faces, and its own losses, is a recipe's.

    Networks are ``discriminator`` (:class:`WatchedDiscriminator`) and ``generator``, anything that returns faces and
    the styles that made them. The path length is taken of the full batch; StyleGAN2 takes half of it to save memory,
    which GPEN's training declares and does not do. A discriminator without ``stddev_group`` sees the spread of all
    faces of a process in one pass; so two processes equal one of twice the batch only with a group.
    """

    averaged = "generator"
    settings: StyleGANSettings

    def __init__(self, settings: StyleGANSettings, *, face_size: int, path: bool = True) -> None:
        """Take the settings; without ``path`` there is no path-length regulariser."""
        if not SMALLEST_FACE <= face_size <= LARGEST_FACE or face_size & (face_size - 1):
            raise ConfigError(
                f"data.face_size is {face_size}; this recipe takes a power of two from {SMALLEST_FACE} to"
                f" {LARGEST_FACE}"
            )
        self.settings, self.face_size = settings, face_size
        lazy = settings.regularisers
        self.r1_every = lazy.r1_every if lazy.r1_weight else None
        self.path_every = lazy.path_every if path and lazy.path_weight else None
        self.mean_path_length = torch.zeros(())
        found = [Phase("discriminator", ("discriminator",), "discriminator")]
        if self.r1_every:
            found.append(Phase("r1", ("discriminator",), "discriminator", every=self.r1_every))
        found.append(Phase("generator", ("generator",), "generator"))
        if self.path_every:
            found.append(Phase("path_length", ("generator",), "generator", every=self.path_every))
        self.phases = tuple(found)

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {"steps": 12, "batch_size": 4},
            "data": {"face_size": 64},
            "recipe": {
                "generator": {"style_dim": 32, "mapping_layers": 2, "narrow": 1 / 32},
                "discriminator": {"narrow": 1 / 32},
                "regularisers": {"r1_every": 4, "path_every": 2},
            },
        }

    def faces(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Return fake faces B 3 S S, here drawn by a :class:`MixedStyles`, and the styles that made them, B L D."""
        prior = prior_in(scene.bare["generator"])
        z, crossover = draw_codes(
            scene.draw,
            style_dim=prior.config.style_dim,
            latent_count=prior.latent_count,
            mixing_probability=self.settings.mixing_probability,
        )
        shapes = (
            prior.noise_shapes()
            if isinstance(prior, PriorGenerator)
            else [(1, side, side) for side in prior.noise_sides]
        )
        faces, latents = scene.networks["generator"](z, crossover, [scene.draw.normal(*s) for s in shapes])
        return faces, latents

    def generator_terms(self, scene: Scene, fake: Tensor, real: Tensor) -> list[Term]:
        """Return the terms of the generator's phase for fake and real faces, B 3 S S: the logistic loss."""
        scores, _ = scene.networks["discriminator"](fake)
        return [Term("adversarial", generator_score_loss(scores, "vanilla"))]

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        rate = self.settings.learning_rate
        return {name: self.adam(network, learning_rate=rate) for name, network in networks.items()}

    def adam(self, network: nn.Module, *, learning_rate: float) -> torch.optim.Adam:
        """Return the optimiser of a network, corrected for the regulariser that it has."""
        every = self.r1_every if isinstance(network, WatchedDiscriminator) else self.path_every
        beta1 = self.settings.beta1
        return style_adam(network.parameters(), learning_rate=learning_rate, beta1=beta1, lazy_every=every)

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        real, discriminator = scene.batch["hq"] * 2 - 1, scene.networks["discriminator"]
        if phase == "r1":
            real = real.detach().requires_grad_(True)
            scores, _ = discriminator(real)
            factor = self.settings.regularisers.r1_weight / 2 * self.settings.regularisers.r1_every
            return [Term("r1", r1_penalty(scores, real) + 0 * scores.mean(), factor)]
        if phase == "discriminator":
            with torch.no_grad():
                fake, _ = self.faces(scene)
            # The spread within each batch is part of a score, so real and fake faces never share one.
            (real_scores, _), (fake_scores, _) = discriminator(real), discriminator(fake)
            return [Term("discriminator", discriminator_score_loss(real_scores, fake_scores, "vanilla"))]
        fake, latents = self.faces(scene)
        if phase == "path_length":
            return self._path_terms(scene, fake, latents)
        return self.generator_terms(scene, fake, real)

    def _path_terms(self, scene: Scene, image: Tensor, latents: Tensor) -> list[Term]:
        """Return the path-length penalty, and move its running mean, which is the same in all processes."""
        height, width = image.shape[2:]
        noise = scene.draw.normal(3, height, width) / math.sqrt(height * width)
        lazy = self.settings.regularisers
        penalty, self.mean_path_length, _ = path_length_penalty(
            image,
            latents,
            self.mean_path_length.to(image.device),
            noise=noise,
            decay=lazy.path_decay,
            mean_over=_mean_over_processes,
        )
        return [
            Term("path_length", penalty + 0 * image.mean(), lazy.path_weight * lazy.path_every),
            Term("path_length_mean", self.mean_path_length, 0.0),
        ]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        return validate_prior(prior_in(network), batch)

    def state_dict(self) -> dict[str, Any]:
        return {"mean_path_length": self.mean_path_length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean_path_length = state["mean_path_length"]


def prior_in(network: nn.Module) -> PriorGenerator | StyleGAN2Prior:
    """Return the generator within what gives its styles too."""
    return cast(MixedStyles, network).network


def _mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes of the run; they must all come here."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def validate_prior(network: PriorGenerator | StyleGAN2Prior, batch: Batch) -> Validated:
    """Return faces of fixed codes, and two cheap numbers that show whether training goes well.

    ``spectrum_db`` is how far the power spectra of drawn faces are from those of the real ones, in decibels: 0 is
    alike. ``diversity`` is the root mean square difference of two drawn faces, pixels in [0, 1]: a generator that has
    collapsed to one face has 0. Neither stands for what people see, and both are of one batch only.
    """
    hq = batch["hq"]
    count = max(len(hq), 2)
    source = torch.Generator("cpu").manual_seed(VALIDATION_SEED)
    z = torch.randn(count, network.config.style_dim, generator=source, device="cpu").to(hq.device)
    faces = (network(z) / 2 + 0.5).clamp(0, 1)
    metrics = {"spectrum_db": spectrum_distance_db(faces, hq), "diversity": diversity(faces)}
    return Validated(metrics, (faces[: len(hq)], hq))


def spectrum_distance_db(faces: Tensor, others: Tensor) -> float:
    """Return the mean over frequencies of the difference of two sets' radial power spectra, in decibels.

    Args:
        faces: (B, 3, S, S) in [0, 1].
        others: (B', 3, S, S).
    """
    difference = _radial_spectrum_db(faces) - _radial_spectrum_db(others)
    return float(difference.abs().mean())


def _radial_spectrum_db(faces: Tensor) -> Tensor:
    """Return the power at 1, 2, ..., S/2 cycles per face, averaged over faces, colours and directions, in decibels."""
    size = faces.shape[-1]
    power = torch.fft.fft2(faces.float(), norm="ortho").abs().square().mean(dim=(0, 1)).flatten()
    cycles = torch.fft.fftfreq(size, 1 / size, device=faces.device)
    radius = torch.hypot(cycles[:, None], cycles[None]).round().long().flatten()
    sums = torch.zeros(int(radius.max()) + 1, device=faces.device).index_add(0, radius, power)
    mean = sums / torch.bincount(radius)
    return 10 * torch.log10(mean[1 : size // 2 + 1] + 1e-12)  # far below one level of 8 bits


def diversity(faces: Tensor) -> float:
    """Return the root mean square difference over all pairs of two or more faces (B, 3, S, S)."""
    count = len(faces)
    variance = faces.double().var(dim=0, unbiased=True).mean()  # half the mean square difference of a pair
    return math.sqrt(2 * float(variance)) if count > 1 else 0.0

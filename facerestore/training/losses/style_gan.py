"""Shared by the recipes of the StyleGAN2 family: settings, the adversary's terms, mixed styles, optimisers, validation.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958, appendix B: logistic losses,
R1 and path-length regularisation in every n-th step only ("lazy"), Adam with rates and betas corrected for the
extra updates. The numbers are those of GPEN's training script. Images are RGB in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from facerestore.archs.gpen import GPENDiscriminator, PriorGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.engine.draw import Draw
from facerestore.training.losses.adversarial import (
    PATH_MEAN_DECAY,
    discriminator_logistic_loss,
    generator_nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)
from facerestore.training.recipes.base import Phase, Scene, Term, Validated

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


def tiny_run() -> dict[str, Any]:
    """Return the settings of a whole tiny run, of any recipe of this family."""
    return {
        "engine": {"steps": 12, "batch_size": 4, "save_every": 6, "validate_every": 6, "log_every": 1},
        "data": {"face_size": 64},
        "recipe": {
            "generator": {"style_dim": 32, "mapping_layers": 2, "narrow": 1 / 32},
            "discriminator": {"narrow": 1 / 32},
            "regularisers": {"r1_every": 4, "path_every": 2},
        },
    }


def check_face_size(face_size: int) -> None:
    """Raise ConfigError for a side that these networks are not trained at."""
    if not SMALLEST_FACE <= face_size <= LARGEST_FACE or face_size & (face_size - 1):
        raise ConfigError(
            f"data.face_size is {face_size}; this recipe takes a power of two from {SMALLEST_FACE} to {LARGEST_FACE}"
        )


class WatchedDiscriminator(nn.Module):
    """A discriminator that returns its features with the scores in one call, as distributed training needs."""

    def __init__(self, settings: DiscriminatorSettings, face_size: int) -> None:
        super().__init__()
        self.network = GPENDiscriminator(
            face_size,
            channel_multiplier=settings.channel_multiplier,
            narrow=settings.narrow,
            stddev_group=settings.stddev_group,
        )

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


def draw_faces(
    scene: Scene,
    *,
    style_dim: int,
    latent_count: int,
    noise_shapes: Iterable[Sequence[int]],
    mixing_probability: float,
) -> tuple[Tensor, Tensor]:
    """Return the faces that the network ``generator``, a :class:`MixedStyles`, draws, and the styles that made them."""
    z, crossover = draw_codes(
        scene.draw, style_dim=style_dim, latent_count=latent_count, mixing_probability=mixing_probability
    )
    faces, latents = scene.networks["generator"](
        z, crossover, [scene.draw.normal(*shape) for shape in noise_shapes]
    )
    return faces, latents


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


class Adversary:
    """The terms of the adversarial game and its regularisers, and the running mean of path lengths.

    Networks are ``discriminator`` (:class:`WatchedDiscriminator`) and ``generator``, anything that returns faces and
    the styles that made them. The path length is taken of the full batch; StyleGAN2 takes half of it to save memory,
    which GPEN's training declares and does not do.
    """

    def __init__(self, settings: RegulariserSettings, *, path: bool = True) -> None:
        """Take the settings; without ``path`` there is no path-length regulariser."""
        self.settings = settings
        self.has_r1 = settings.r1_weight > 0
        self.has_path = path and settings.path_weight > 0
        self.mean_path_length = torch.zeros(())

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The updates of a step: discriminator, R1, generator, path length."""
        settings = self.settings
        found = [Phase("discriminator", ("discriminator",), "discriminator")]
        if self.has_r1:
            found.append(Phase("r1", ("discriminator",), "discriminator", every=settings.r1_every))
        found.append(Phase("generator", ("generator",), "generator"))
        if self.has_path:
            found.append(Phase("path_length", ("generator",), "generator", every=settings.path_every))
        return tuple(found)

    def adam(self, network: nn.Module, *, learning_rate: float, beta1: float) -> torch.optim.Adam:
        """Return the optimiser of a network, corrected for the regulariser that it has."""
        if isinstance(network, WatchedDiscriminator):
            every = self.settings.r1_every if self.has_r1 else None
        else:
            every = self.settings.path_every if self.has_path else None
        return style_adam(network.parameters(), learning_rate=learning_rate, beta1=beta1, lazy_every=every)

    def terms(
        self,
        phase: str,
        scene: Scene,
        *,
        faces: Callable[[Scene], tuple[Tensor, Tensor]],
        generator_terms: Callable[[Scene, Tensor, Tensor], list[Term]],
    ) -> list[Term]:
        """Return the terms of a phase.

        Args:
            phase: one of `phases`.
            scene: what there is to see.
            faces: gives fake faces, and the styles that made them.
            generator_terms: scene, fake and real faces to the terms of the generator's phase.
        """
        real = scene.batch["hq"] * 2 - 1
        if phase == "r1":
            return self.r1_terms(scene, real=real)
        if phase == "discriminator":
            with torch.no_grad():
                fake, _ = faces(scene)
            return self.discriminator_terms(scene, real=real, fake=fake)
        fake, latents = faces(scene)
        if phase == "path_length":
            return self.path_terms(scene, image=fake, latents=latents)
        return generator_terms(scene, fake, real)

    def discriminator_terms(self, scene: Scene, *, real: Tensor, fake: Tensor) -> list[Term]:
        """Return the logistic loss on faces (B, 3, S, S), ``fake`` without a graph."""
        discriminator = scene.networks["discriminator"]
        # The spread within each batch is part of a score, so real and fake faces never share one.
        (real_scores, _), (fake_scores, _) = discriminator(real), discriminator(fake)
        return [Term("discriminator", discriminator_logistic_loss(real_scores, fake_scores))]

    def r1_terms(self, scene: Scene, *, real: Tensor) -> list[Term]:
        """Return the gradient penalty on real faces."""
        real = real.detach().requires_grad_(True)
        scores, _ = scene.networks["discriminator"](real)
        penalty = r1_penalty(scores, real) + 0 * scores.mean()
        return [Term("r1", penalty, self.settings.r1_weight / 2 * self.settings.r1_every)]

    def adversarial(self, scores: Tensor) -> Tensor:
        """Return the generator's loss on the scores of its faces."""
        return generator_nonsaturating_loss(scores)

    def path_terms(self, scene: Scene, *, image: Tensor, latents: Tensor) -> list[Term]:
        """Return the path-length penalty, and move its running mean, which is the same in all processes."""
        height, width = image.shape[2:]
        noise = scene.draw.normal(3, height, width) / math.sqrt(height * width)
        before = self.mean_path_length.to(image.device)
        penalty, mean, _ = path_length_penalty(
            image,
            latents,
            before,
            noise=noise,
            decay=self.settings.path_decay,
            mean_over=_mean_over_processes,
        )
        self.mean_path_length = mean
        factor = self.settings.path_weight * self.settings.path_every
        return [
            Term("path_length", penalty + 0 * image.mean(), factor),
            Term("path_length_mean", self.mean_path_length, 0.0),
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the running mean."""
        return {"mean_path_length": self.mean_path_length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the running mean back."""
        self.mean_path_length = state["mean_path_length"]


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

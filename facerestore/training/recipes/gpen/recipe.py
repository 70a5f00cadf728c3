"""The recipe of GPEN: a GAN prior, the prior embedded in a restorer, or the restorer in a single stage.

Yang, Ren, Xie, Zhang, "GAN Prior Embedded Network for Blind Face Restoration in the Wild", arXiv 2105.06070. Numbers
are those of the public training script; what only the paper says is marked. Networks see RGB in
[-1, 1], and the losses are of that range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.gpen import GPENConfig, GPENGenerator, PriorGenerator
from facerestore.errors import CheckpointError, ConfigError
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.engine.muon import muon_for
from facerestore.training.engine.state import last_checkpoint, network_file
from facerestore.training.losses.common import feature_distance, generator_score_loss, identity
from facerestore.training.losses.feature_weights import Wish, check_same, find_features, load_arcface
from facerestore.training.recipes.base import Exported, Scene, Term, Validated, pair_validation
from facerestore.training.recipes.start import fill
from facerestore.training.recipes.style_gan import (
    BETA2,
    MixedStyles,
    StyleGANRecipe,
    StyleGANSettings,
    WatchedDiscriminator,
    full_run,
    prior_in,
    style_adam,
)
from facerestore.weights.checkpoint import load_state_dict

if TYPE_CHECKING:
    from facerestore.archs.arcface import ArcFace

Stage: TypeAlias = Literal["prior", "restore", "single"]
"""``prior`` learns to draw faces; ``restore`` puts an encoder before that prior and learns to restore, as the paper
does; ``single`` learns the whole restorer at once, as the public script does."""

# Below this side the identity loss of the public script has no pixel left.
SMALLEST_IDENTITY_FACE = 256
PRIOR_PREFIX = "generator."
"""Begins the keys of the prior in a restorer's file, and so in a file of the prior alone."""

WRAPPED = "network."
"""Begins the keys of a network in a run's checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPENSettings(StyleGANSettings):
    """What is trained, from what, and with which loss; see :class:`StyleGANSettings` for the rest.

    The shape of the generator is the same in stage ``prior`` and in the stage that takes it up; R1 is in all stages,
    the path length in ``prior`` and ``single``; styles are mixed in ``prior``; and in ``restore`` the learning rate is
    that of the encoder.

    Attributes:
        stage: what is learnt.
        prior: what ``restore`` and ``single`` start from: the folder of a run of stage ``prior``, which gives generator
            and discriminator; or a weights file, of an exported prior or a whole GPEN, whose encoder is then taken too.
            Empty for random numbers.
        discriminator_weights: weights file of a discriminator to start from, under GPEN's key names; empty for none.
        rate_ratio: encoder, decoder, discriminator in ``restore`` (the paper). A user of the published code saw it
            diverge.
        muon_rate: Muon's rate for the inner convolutions of the generator, in ``prior`` and ``single``; the rest of it
            keeps Adam's rate. 0 leaves all to Adam. Ours, for runs of few steps.
        pixel_weight: of the L1 (``restore``) or smooth L1 distance with beta 1 (``single``).
        adversarial_weight: of the generator's logistic loss; with 0 in ``single`` no discriminator is trained.
        feature_weight: of the distance of discriminator features (``restore``, the paper).
        identity_weight: of 1 - cosine of ArcFace's vectors (``single``), for faces of 256 px and more.
        identity: whether ArcFace is used: ``auto`` if its weights are installed, ``yes`` or an error, ``no``.
        feature_strength: with what strength the encoder's features join the generator's at first, where no prior says
            it. StyleGAN2's noise begins with 0, from where few steps do not get far: 1 lets the face through.
    """

    stage: Stage = "single"
    prior: str = ""
    discriminator_weights: str = ""
    rate_ratio: tuple[float, float, float] = (100.0, 10.0, 1.0)
    muon_rate: float = option(0.0, least=0)
    pixel_weight: float = option(1.0, least=0)
    adversarial_weight: float = option(1.0, least=0)
    feature_weight: float = option(0.02, least=0)
    identity_weight: float = option(1.0, least=0)
    identity: Wish = "auto"
    feature_strength: float = option(0.0, least=0)


class GPENRecipe(StyleGANRecipe):
    """Trains :class:`facerestore.archs.gpen.GPENGenerator`, or the prior in it."""

    name: ClassVar[str] = "gpen"
    settings_class: ClassVar[type[Any]] = GPENSettings
    settings: GPENSettings

    def __init__(self, settings: GPENSettings, *, face_size: int) -> None:
        super().__init__(settings, face_size=face_size, path=settings.stage != "restore")
        if min(settings.rate_ratio) <= 0:
            raise ConfigError(f"recipe.rate_ratio is {settings.rate_ratio}; give three numbers above 0")
        if settings.prior and settings.stage == "prior":
            raise ConfigError("recipe.prior is set, and stage 'prior' starts from nothing; leave it out")
        self._config = GPENConfig(face_size, **asdict(settings.generator))
        self._without_discriminator = settings.stage == "single" and not settings.adversarial_weight
        if self._without_discriminator:
            self.phases = tuple(phase for phase in self.phases if "generator" in phase.trains)
        self._identity_weights: str | None = None
        self.notes = tuple(self._start_notes() + self._identity_notes())

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings of the public training script."""
        return full_run(steps=4_000_000, batch_size=4, validate_every=10_000, preset="gpen")

    def networks(self) -> dict[str, nn.Module]:
        is_prior = self.settings.stage == "prior"
        generator = MixedStyles(PriorGenerator(self._config)) if is_prior else SteeredRestorer(self._config)
        if not is_prior:
            let_features_through(generator, self.settings.feature_strength)
        discriminator = WatchedDiscriminator(self.settings.discriminator, self.face_size)
        return {"generator": generator, "discriminator": discriminator}

    def start(self, networks: Mapping[str, nn.Module]) -> None:
        """Take up the prior, and the discriminator that was trained with it."""
        discriminator = cast(WatchedDiscriminator, networks["discriminator"]).network
        if self.settings.prior:
            restorer = cast(SteeredRestorer, networks["generator"]).network
            place = Path(self.settings.prior)
            if place.is_dir():
                self._take_run(place, restorer, discriminator)
            else:
                take_file(place, restorer)
        if self.settings.discriminator_weights:
            place = Path(self.settings.discriminator_weights)
            fill(discriminator, load_state_dict(place), name=f"the discriminator, from '{place}'")

    def frozen(self) -> dict[str, nn.Module]:
        return {"identity": load_arcface(self._identity_weights)} if self._identity_weights else {}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for both; in ``restore`` with the paper's rates for encoder, decoder and discriminator."""
        settings, beta1 = self.settings, self.settings.beta1
        if settings.stage != "restore":
            made = super().optimisers(networks)
            if settings.muon_rate:
                parts = [(networks["generator"], settings.muon_rate, settings.learning_rate)]
                made["generator"] = muon_for(parts, betas=(beta1, BETA2))
            return made
        restorer = cast(SteeredRestorer, networks["generator"]).network
        encoder, decoder, adversary = (
            settings.learning_rate * part / settings.rate_ratio[0] for part in settings.rate_ratio
        )
        encoding = [p for n, p in restorer.named_parameters() if not n.startswith(PRIOR_PREFIX)]
        groups = [
            {"params": encoding, "lr": encoder},
            {"params": list(restorer.generator.parameters()), "lr": decoder},
        ]
        return {
            "generator": style_adam(groups, learning_rate=encoder, beta1=beta1, lazy_every=None),
            "discriminator": self.adam(networks["discriminator"], learning_rate=adversary),
        }

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return PSNR before and after; of a prior, faces of fixed codes and cheap numbers."""
        if isinstance(network, MixedStyles):
            return super().validate(network, batch)
        restored, _ = network(batch["lq"] * 2 - 1)
        return pair_validation(restored / 2 + 0.5, batch)

    def export(self, network: nn.Module) -> Exported:
        """Return the restorer under its official key names, or a prior under those that it has in a restorer."""
        if isinstance(network, MixedStyles):
            state = {PRIOR_PREFIX + key: value for key, value in network.network.state_dict().items()}
            return Exported(state, {"arch": "gpen-prior"})
        return Exported(cast(SteeredRestorer, network).network.state_dict(), {"arch": "gpen"})

    def state_dict(self) -> dict[str, Any]:
        """Return the mean path length, and which weights of ArcFace are used."""
        return {**super().state_dict(), "identity": self._identity_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ConfigError: the run began with other weights of ArcFace, or without.
        """
        check_same(state["identity"], self._identity_weights, what="ArcFace")
        super().load_state_dict(state)

    def faces(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Return drawn or restored faces, and the styles that made them."""
        if self.settings.stage == "prior":
            return super().faces(scene)
        faces, latents = scene.networks["generator"](scene.batch["lq"] * 2 - 1)
        return faces, latents

    def generator_terms(self, scene: Scene, fake: Tensor, real: Tensor) -> list[Term]:
        settings, discriminator = self.settings, scene.networks["discriminator"]
        terms: list[Term] = []
        if not self._without_discriminator:
            scores, features = discriminator(fake)
            adversarial = generator_score_loss(scores, "vanilla")
            terms.append(Term("adversarial", adversarial, settings.adversarial_weight))
        if settings.stage == "prior":
            return terms
        if settings.stage == "restore":
            with torch.no_grad():
                _, real_features = discriminator(real)
            return [
                *terms,
                Term("pixel", functional.l1_loss(fake, real), settings.pixel_weight),
                Term("features", feature_distance(features, real_features), settings.feature_weight),
            ]
        terms.append(Term("pixel", functional.smooth_l1_loss(fake, real), settings.pixel_weight))
        if "identity" in scene.networks:
            arcface = cast("ArcFace", scene.bare["identity"])
            with torch.no_grad():
                person = arcface.of_aligned(real)
            terms.append(
                Term("identity", identity(arcface.of_aligned(fake), person), settings.identity_weight)
            )
        return terms

    def _take_run(self, folder: Path, restorer: nn.Module, discriminator: nn.Module) -> None:
        """Take averaged generator and discriminator of the last checkpoint of a run of stage ``prior``."""
        from facerestore.training.engine.checkpoints import restore_average

        stage = GPENRecipe(replace(self.settings, stage="prior", prior=""), face_size=self.face_size)
        average, _ = restore_average(stage, folder)
        generator = prior_in(average).state_dict()
        fill(cast(GPENGenerator, restorer).generator, generator, name=f"the prior, from '{folder}'")
        number = list(stage.networks()).index("discriminator")
        stored = load_state_dict(network_file(last_checkpoint(folder), number))
        fill(
            discriminator,
            {key.removeprefix(WRAPPED): value for key, value in stored.items()},
            name=f"the discriminator, from '{folder}'",
        )

    def _start_notes(self) -> list[str]:
        settings = self.settings
        if settings.stage == "restore" and not settings.prior:
            return [
                "stage 'restore' without recipe.prior: generator and discriminator start from random numbers, where"
                " the paper starts from a prior; train one with --set recipe.stage=prior and name the folder of its run"
            ]
        if settings.prior and not settings.discriminator_weights and not Path(settings.prior).is_dir():
            return [
                "recipe.prior is a weights file, which has no discriminator: that one starts from random numbers; the"
                " folder of a run brings it along, or recipe.discriminator_weights names its file"
            ]
        return []

    def _identity_notes(self) -> list[str]:
        """Find the weights of ArcFace, and return notes on them for the user."""
        settings = self.settings
        if settings.stage != "single" or not settings.identity_weight:
            return []
        instead = "the identity loss is left out"
        if self.face_size < SMALLEST_IDENTITY_FACE:
            return [f"faces of {self.face_size} px are below {SMALLEST_IDENTITY_FACE} px: {instead}"]
        found = find_features("identity", instead=instead, wish=settings.identity)
        self._identity_weights = found.name
        return [found.note]


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

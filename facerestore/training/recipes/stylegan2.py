"""The recipe of a StyleGAN2 face prior, such as MMRB restores with.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958: logistic losses, lazy R1 and
path length, style mixing; the discriminator is the residual one. Networks see RGB in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from facerestore.archs.prior import PriorConfig, StyleGAN2Prior
from facerestore.archs.stylegan2 import Upsampling
from facerestore.fields import option
from facerestore.training.data.samples import Batch
from facerestore.training.losses.style_gan import (
    EMA_DECAY,
    Adversary,
    DiscriminatorSettings,
    GeneratorSettings,
    MixedStyles,
    RegulariserSettings,
    WatchedDiscriminator,
    check_face_size,
    draw_faces,
    tiny_run,
    validate_prior,
)
from facerestore.training.recipes.base import Exported, Recipe, Scene, Term, Validated


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleGAN2Settings:
    """What is trained, and how.

    Attributes:
        generator: shape of the generator.
        upsampling: how its sizes double: ``fir`` as in StyleGAN2, ``bilinear`` as in GFPGAN's.
        discriminator: shape of the adversary; StyleGAN2 has ``stddev_group`` 4.
        regularisers: R1 and path length.
        learning_rate: Adam's, before the correction for lazy regularisers.
        beta1: Adam's first beta.
        mixing_probability: share of faces drawn with two styles.
    """

    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    upsampling: Upsampling = "fir"
    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    regularisers: RegulariserSettings = field(default_factory=RegulariserSettings)
    learning_rate: float = option(0.002, above=0)
    beta1: float = option(0.0, least=0, below=1)
    mixing_probability: float = option(0.9, least=0, most=1)


class StyleGAN2Recipe(Recipe):
    """Trains :class:`facerestore.archs.prior.StyleGAN2Prior`, from real faces alone.

    With ``discriminator.stddev_group`` 0 a score depends on all faces of a process in one pass; so two processes equal
    one of twice the batch only with a group.
    """

    name: ClassVar[str] = "stylegan2"
    settings_class: ClassVar[type[Any]] = StyleGAN2Settings
    needs: ClassVar[frozenset[str]] = frozenset({"hq"})
    averaged = "generator"

    def __init__(self, settings: StyleGAN2Settings, *, face_size: int) -> None:
        check_face_size(face_size)
        self.settings = settings
        self.face_size = face_size
        self._adversary = Adversary(settings.regularisers)
        self.phases = self._adversary.phases

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a full run.

        Widths, size, steps and batch are those that the name of BasicSR's checkpoint tells, the usual prior of face
        restorers: StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.
        """
        return {
            "engine": {
                "steps": 800_000,
                "batch_size": 12,
                "schedule": "constant",
                "ema_decay": EMA_DECAY,
                "save_every": 10_000,
                "validate_every": 5000,
                "log_every": 100,
            },
            "data": {
                "face_size": 512,
                "mix": {"clean": 1.0},
                "augmentation": {"jitter_probability": 0, "gamma_probability": 0},
            },
            "recipe": {
                "generator": {"channel_multiplier": 1},
                "discriminator": {"channel_multiplier": 1, "stddev_group": 4},
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        """Return settings of a whole tiny run."""
        return tiny_run()

    def networks(self) -> dict[str, nn.Module]:
        """Return the generator and the discriminator."""
        shape = self.settings.generator
        config = PriorConfig(
            self.face_size,
            style_dim=shape.style_dim,
            mapping_layers=shape.mapping_layers,
            channel_multiplier=shape.channel_multiplier,
            narrow=shape.narrow,
            upsampling=self.settings.upsampling,
        )
        discriminator = WatchedDiscriminator(self.settings.discriminator, self.face_size)
        return {"generator": MixedStyles(StyleGAN2Prior(config)), "discriminator": discriminator}

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for both."""
        settings = self.settings
        return {
            name: self._adversary.adam(network, learning_rate=settings.learning_rate, beta1=settings.beta1)
            for name, network in networks.items()
        }

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        """Return the terms of a phase."""
        return self._adversary.terms(
            phase, scene, faces=self._drawn_faces, generator_terms=self._generator_terms
        )

    def _generator_terms(self, scene: Scene, fake: Tensor, real: Tensor) -> list[Term]:
        scores, _ = scene.networks["discriminator"](fake)
        return [Term("adversarial", self._adversary.adversarial(scores))]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return faces of fixed codes beside real ones, and cheap numbers."""
        return validate_prior(_prior_in(network), batch)

    def export(self, network: nn.Module) -> Exported:
        """Return the generator with its noise and its mean style, as ``backends.priors.load_prior`` takes it."""
        prior = _prior_in(network)
        prior.set_mean_latent()
        return Exported(prior.state_dict(), {"arch": "stylegan2-prior"})

    def state_dict(self) -> dict[str, Any]:
        """Return the mean path length."""
        return self._adversary.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._adversary.load_state_dict(state)

    def _drawn_faces(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Return drawn faces, and the styles that made them."""
        prior = _prior_in(scene.bare["generator"])
        return draw_faces(
            scene,
            style_dim=prior.config.style_dim,
            latent_count=prior.latent_count,
            noise_shapes=[(1, side, side) for side in prior.noise_sides],
            mixing_probability=self.settings.mixing_probability,
        )


def _prior_in(network: nn.Module) -> StyleGAN2Prior:
    """Return the generator within what gives its styles too."""
    return cast(StyleGAN2Prior, cast(MixedStyles, network).network)

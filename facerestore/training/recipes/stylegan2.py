"""The recipe of a StyleGAN2 face prior, such as MMRB restores with.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958: logistic losses, lazy R1 and
path length, style mixing; the discriminator is the residual one. Networks see RGB in [-1, 1].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

from torch import nn

from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig, Upsampling
from facerestore.training.recipes.base import Exported
from facerestore.training.recipes.style_gan import (
    MixedStyles,
    StyleGANRecipe,
    StyleGANSettings,
    WatchedDiscriminator,
    full_run,
    prior_in,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleGAN2Settings(StyleGANSettings):
    """What is trained, and how; see :class:`StyleGANSettings` for the rest.

    Attributes:
        upsampling: how the generator's sizes double: ``fir`` as in StyleGAN2, ``bilinear`` as in GFPGAN's.
    """

    upsampling: Upsampling = "fir"


class StyleGAN2Recipe(StyleGANRecipe):
    """Trains :class:`facerestore.archs.prior.StyleGAN2Prior`, from real faces alone."""

    name: ClassVar[str] = "stylegan2"
    settings_class: ClassVar[type[Any]] = StyleGAN2Settings
    needs: ClassVar[frozenset[str]] = frozenset({"hq"})
    settings: StyleGAN2Settings

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return settings of a full run.

        Widths, size, steps and batch are those that the name of BasicSR's checkpoint tells, the usual prior of face
        restorers: StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.
        """
        recipe = {
            "generator": {"channel_multiplier": 1},
            "discriminator": {"channel_multiplier": 1, "stddev_group": 4},
        }
        run = full_run(steps=800_000, batch_size=12, validate_every=5000, preset="clean")
        return {**run, "recipe": recipe}

    def networks(self) -> dict[str, nn.Module]:
        shape = asdict(self.settings.generator)
        config = GeneratorConfig(self.face_size, **shape, upsampling=self.settings.upsampling)
        discriminator = WatchedDiscriminator(self.settings.discriminator, self.face_size)
        return {"generator": MixedStyles(StyleGAN2Prior(config)), "discriminator": discriminator}

    def export(self, network: nn.Module) -> Exported:
        """Return the generator with its noise and its mean style, as ``backends.priors`` takes it."""
        prior = cast(StyleGAN2Prior, prior_in(network))
        prior.set_mean_latent()
        return Exported(prior.state_dict(), {"arch": "stylegan2-prior"})

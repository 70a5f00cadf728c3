"""The settings of recipe ``mmrb``, with the source of each number.

The design's sections c.1 to c.9, after arXiv 2205.14377; all are decisions of the design, and none is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from facerestore.archs.mmrb import BlockConfig, Injection, MMRBConfig
from facerestore.archs.stylegan2 import Upsampling, resolutions
from facerestore.errors import ConfigError
from facerestore.fields import names_of, option
from facerestore.training.losses.feature_weights import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class MMRBNetwork:
    """Shape of the network; a prior that is given has to fit it. See :class:`facerestore.archs.mmrb.MMRBConfig`.

    Attributes:
        style_dim: length of a style.
        channel_multiplier: widens the layers from 64 px on.
        narrow: scales every width.
        block: shape of the encoder's blocks.
        block_counts: blocks at 4, 8, 16, ... px.
        inject: how decoder features reach the prior.
        mod_max_res: finest resolution that they reach, px; 0 for all.
        upsampling: how the prior doubles sizes.
    """

    style_dim: int = option(512, least=1)
    channel_multiplier: float = option(1.0, above=0)
    narrow: float = option(1.0, above=0)
    block: BlockConfig = field(default_factory=BlockConfig)
    block_counts: tuple[int, ...] = (1, 1, 2, 2, 2, 1, 1, 1, 1)
    inject: Injection = "sft_half"
    mod_max_res: int = option(0, least=0)
    upsampling: Upsampling = "fir"


@dataclass(frozen=True, slots=True, kw_only=True)
class MMRBWeights:
    """Weights of the terms (design c.6 and c.7); 0 switches a term off.

    Attributes:
        label: stage 0, squared distance of styles.
        pixel: mean absolute distance; None for 0.1, or 1 in stage 0 and where there is no VGG19.
        pyramid: distances of the decoder's RGB views, in the first part of a run.
        perceptual: distance of VGG19's activations.
        feature_matching: distance of the discriminator's features, in place of ``perceptual`` without VGG19.
        identity: ArcFace's cosine distance of persons.
        adversarial: stage 2, of the scores of restored faces.
        consistency: S2, once its ramp is over.
        latent: squared offsets from the mean style.
        r1: gradient penalty of the discriminator, halved, and multiplied by the steps between two (lazy).
    """

    label: float = option(1.0, least=0)
    pixel: float | None = option(None, least=0)
    pyramid: float = option(1.0, least=0)
    perceptual: float = option(1.0, least=0)
    feature_matching: float = option(10.0, least=0)
    identity: float = option(10.0, least=0)
    adversarial: float = option(0.1, least=0)
    consistency: float = option(0.1, least=0)
    latent: float = option(1e-3, least=0)
    r1: float = option(10.0, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MMRBSettings:
    """What is trained, and with which losses.

    Attributes:
        stage: 0 warm-up on faces that the prior draws, 1 fidelity, 2 realism.
        prior: weights file of a StyleGAN2 generator, or folder of a run that trained one; empty for none: then the
            synthesis is trained from the start, with the codec. Stage 0 needs it whenever it goes on, the others at
            their first step alone.
        start: weights file or folder of a run of this recipe to go on from with another stage; it brings its prior.
        network: shape of the network.
        weights: of the terms.
        self_reconstruction: S1, share of the faces that are shown as they are; 0 switches it off.
        teacher_decay: S2, share of the teacher that stays in each step.
        consistency_ramp_steps: S2, steps in which its weight rises from 0.
        pyramid_share: first share of the run in which the RGB views count.
        finetune: train a prior's synthesis in stage 2.
        degradation: preset of stage 0; the other stages take those of ``data.mix``.
        vgg19: whether VGG19 is used: ``auto`` if its weights are installed, ``yes`` or an error, ``no``.
        arcface: likewise.
        codec_rate: peak learning rate of the codec.
        synthesis_rate: of a prior's synthesis, in stage 2: a tenth of the codec's.
        scratch_rate: of a synthesis without a prior; its layers are equalised, which GFP-GAN trains at 2e-3.
        muon_rate: Muon's peak rates for the inner convolutions of codec and synthesis, the rest of which keep Adam's;
            0 leaves all to Adam. Ours, for runs of few steps.
        discriminator_rate: its layers are equalised, too.
        r1_every: steps between two gradient penalties.
    """

    stage: Literal[0, 1, 2] = 1
    prior: str = ""
    start: str = ""
    network: MMRBNetwork = field(default_factory=MMRBNetwork)
    weights: MMRBWeights = field(default_factory=MMRBWeights)
    self_reconstruction: float = option(0.25, least=0, most=1)
    teacher_decay: float = option(0.999, least=0, below=1)
    consistency_ramp_steps: int = option(10_000, least=0)
    pyramid_share: float = option(0.06, least=0, most=1)
    finetune: bool = True
    degradation: str = "gfpgan"
    vgg19: Wish = "auto"
    arcface: Wish = "auto"
    codec_rate: float = option(2e-4, above=0)
    synthesis_rate: float = option(2e-5, above=0)
    scratch_rate: float = option(2e-3, above=0)
    muon_rate: tuple[float, float] = (0.0, 0.0)
    discriminator_rate: float = option(2e-3, above=0)
    r1_every: int = option(16, least=1)


def network_config(network: MMRBNetwork, face_size: int) -> MMRBConfig:
    """Return the network's configuration.

    Raises:
        ConfigError: sizes and widths do not go together.
    """
    try:
        config = MMRBConfig(face_size, **{name: getattr(network, name) for name in names_of(MMRBNetwork)})
        for size in resolutions(face_size):
            config.block.widths(config.width(size))
    except ValueError as error:
        raise ConfigError(f"recipe 'mmrb' cannot have this network at {face_size} px: {error}") from error
    return config


def check_beginning(settings: MMRBSettings) -> None:
    """Check the starting weights of the stages.

    Raises:
        ConfigError: it does not go together.
    """
    if settings.stage and settings.prior and settings.start:
        raise ConfigError(
            "recipe.start brings its own prior; leave recipe.prior out, or begin anew without recipe.start"
        )
    if settings.stage == 0 and settings.start and not settings.prior:
        raise ConfigError(
            "stage 0 draws its faces with the mapping network of a prior; give one with recipe.prior"
        )

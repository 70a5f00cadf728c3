"""The recipe of PSFR-GAN: pixels, style by face part, and discriminators of several scales that see the parsing map.

Chen et al., "Progressive Semantic-Aware Style Transformation for Blind Face Restoration", arXiv 2009.08709; terms and
weights are those of the published code.

The published program makes one forward pass of everything, then updates the generator, then the discriminators with
what they said before the generator's update. Ours has two phases: the generator's, and the discriminators' on the very
faces that the generator's phase made, so that neither has seen the other's update. Two things differ. The
discriminators are run anew in their phase, since only there do their parameters get gradients; so their spectral norms
take one more power iteration in a step. And the exported generator is a running average; ``engine.ema_decay=0`` gives
the published last one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.parts import PartsNet
from facerestore.archs.psfr import Judgement, PSFRConfig, PSFRDiscriminator, PSFRGenerator, one_hot
from facerestore.archs.spectral import attach_spectral_norm, fuse, to_official
from facerestore.archs.vgg import PSFR_TAPS
from facerestore.errors import ConfigError, FaceRestoreError
from facerestore.fields import option
from facerestore.parsing import ParseNetParser, PartsParser
from facerestore.training.data.maps import coloured, find_parser, landmark_maps, parsed_maps, parser_path
from facerestore.training.data.samples import Batch
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.muon import muon_for
from facerestore.training.losses.common import GANMode, perceptual
from facerestore.training.losses.feature_weights import Wish, check_same, find_features, load_vgg19
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated, pair_validation
from facerestore.training.recipes.psfr.losses import (
    PERCEPTUAL_WEIGHTS,
    STYLE_LEVELS,
    fitting_scales,
    region_style,
    scale_adversarial,
    scale_discrimination,
    scale_feature_matching,
)
from facerestore.weights.weights_file import looks_like_path

STYLE_LAYERS = slice(-3, None)
"""Layers of the finest discriminator that stand in for VGG19's three: theirs are reduced 4, 8 and 16 times too."""

WITHOUT_EFFECT = re.compile(r"\.conv_0\.bias$|\.model\.[1-9]\d*\.conv2d\.bias$")
"""Keys of the biases that an instance norm follows, in the generator and in the discriminators."""

RESTORED = "restored"
"""Under this name the generator's phase leaves its faces in the batch, for the discriminators' phase of the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PSFRSettings:
    """What is trained, on which maps, and with which losses.

    Attributes:
        least_size: side of the learnt constant, px; the face size is a power of two times it.
        ch_range: least and most channels of the generator.
        discriminator_width: channels of the discriminators' first layer.
        discriminator_layers: their layers that halve the size.
        discriminator_scales: discriminators, at most; faces too small for so many get fewer (3 need 192 px).
        condition: whose parsing maps the generator sees: ``parser`` for those that a parser sees in the degraded face,
            as the published network was trained and as it is used; ``landmarks`` for maps drawn from five points, for
            ``enhance --parser landmarks``; ``hq-map`` for those of the real face, which nobody has at test time.
        parser: for ``parser``: file or catalog name of a ParseNet or of a network of ours, or ``auto`` for the best
            that is installed.
        landmark_jitter: for ``landmarks``: deviation of the five points, as a share of the face size.
        features: whether VGG19 is used; ``auto`` if its weights are installed.
        gan_mode: the adversarial loss.
        pixel_weight: of the mean absolute error.
        style_weight: of the style by face part, in VGG19's features.
        judged_style_weight: of the same in the finest discriminator's features, which stand in without VGG19; ours,
            like that of their distance.
        parsed_style_weight: of the same in the features of the parser that ``condition`` asks for, where it is a
            network of ours: it knows parts of faces, is there anyway, and needs no discriminators. Ours.
        matching_weight: of the distance of the discriminators' features.
        adversarial_weight: of the generator's adversarial loss. Where no term asks for the discriminators, they are
            not trained.
        perceptual_weight: of the distance of VGG19's features; published as 0.
        generator_rate: the generator's learning rate.
        muon_rate: Muon's rate for the generator's inner convolutions, the rest of which keep Adam's; 0 leaves all to
            Adam. Ours, for runs of few steps.
        discriminator_rate: the discriminators' learning rate.
        betas: of Adam, for both.
    """

    least_size: int = option(16, least=2)
    ch_range: tuple[int, int] = (32, 1024)
    discriminator_width: int = option(64, least=1)
    discriminator_layers: int = option(4, least=2)
    discriminator_scales: int = option(3, least=1)
    condition: Literal["parser", "landmarks", "hq-map"] = "parser"
    parser: str = "auto"
    landmark_jitter: float = option(0.01, least=0, most=0.2)
    features: Wish = "auto"
    gan_mode: GANMode = "hinge"
    pixel_weight: float = option(10.0, least=0)
    style_weight: float = option(1000.0, least=0)
    judged_style_weight: float = option(10.0, least=0)
    parsed_style_weight: float = option(0.0, least=0)
    matching_weight: float = option(10.0, least=0)
    adversarial_weight: float = option(1.0, least=0)
    perceptual_weight: float = option(0.0, least=0)
    generator_rate: float = option(1e-4, above=0)
    muon_rate: float = option(0.0, least=0)
    discriminator_rate: float = option(4e-4, above=0)
    betas: tuple[float, float] = (0.5, 0.999)


class PSFRRecipe(Recipe):
    """Trains :class:`facerestore.archs.psfr.PSFRGenerator`, with spectral norm on every convolution."""

    name: ClassVar[str] = "psfr"
    settings_class: ClassVar[type[Any]] = PSFRSettings
    needs: ClassVar[frozenset[str]] = frozenset({"lq", "hq", "parsing"})
    averaged = "generator"
    phases: tuple[Phase, ...] = (
        Phase("generator", ("generator",), "generator"),
        Phase("discriminator", ("discriminator",), "discriminator"),
    )

    def __init__(self, settings: PSFRSettings, *, face_size: int) -> None:
        self.settings = settings
        try:
            self.config = PSFRConfig(face_size, settings.least_size, settings.ch_range)
        except ValueError as error:
            raise ConfigError(f"recipe 'psfr': {error}; set data.face_size or recipe.least_size") from error
        if settings.parsed_style_weight and settings.condition != "parser":
            raise ConfigError(
                f"recipe 'psfr': parsed_style_weight {settings.parsed_style_weight} asks for a parser, and condition"
                f" '{settings.condition}' has none; set recipe.condition=parser or recipe.parsed_style_weight=0"
            )
        self.scales = fitting_scales(face_size, settings.discriminator_layers, settings.discriminator_scales)
        self.features = find_features(
            "features",
            instead="style by face part is compared in the finest discriminator's features"
            + (", and the perceptual loss is left out" if settings.perceptual_weight else ""),
            wish=settings.features,
        )
        if not self._is_judged:
            self.phases = self.phases[:1]
            if (
                self.features.name is None
                and settings.condition != "hq-map"
                and not settings.parsed_style_weight
            ):
                self.needs = frozenset({"lq", "hq"})  # type: ignore[misc]  # nothing looks at the real faces' maps
        self.notes = self._make_notes()
        self._parser: ParseNetParser | PartsParser | None = None

    @property
    def _is_judged(self) -> bool:
        """Whether a term of the generator needs the discriminators."""
        chosen = self.settings
        stands_in = chosen.judged_style_weight if self.features.name is None else 0.0
        return bool(chosen.matching_weight or chosen.adversarial_weight or stands_in)

    def _make_notes(self) -> tuple[str, ...]:
        notes = [self.features.note]
        if self.scales < self.settings.discriminator_scales:
            notes.append(
                f"faces of {self.config.face_size} px are judged at {self.scales} of"
                f" {self.settings.discriminator_scales} scales: they are too small for more"
            )
        if self.settings.condition == "parser":
            try:
                notes.append(f"degraded faces are parsed by '{parser_path(self.settings.parser)}'")
            except FaceRestoreError as error:  # raised once training begins; exporting needs no parser
                notes.append(str(error))
        if self.settings.condition == "hq-map":
            notes.append(
                "the generator sees the real faces' parsing maps, which nobody has at test time: validation flatters"
            )
        return tuple(notes)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the published settings: 52,500 steps, no augmentation, constant rates."""
        return {
            "engine": {"steps": 52_500, "batch_size": 2, "schedule": "constant"},
            "data": {
                "face_size": 512,
                "mix": {"psfr": 1.0},
                "augmentation": {"flip_probability": 0, "jitter_probability": 0, "gamma_probability": 0},
            },
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        """Return settings of a whole tiny run; it needs no parser, and gives weights for ``--parser landmarks``."""
        return {
            "engine": {"steps": 20, "batch_size": 2},
            "data": {"face_size": 64},
            "recipe": {"ch_range": [8, 32], "discriminator_width": 8, "condition": "landmarks"},
        }

    def networks(self) -> dict[str, nn.Module]:
        discriminator = PSFRDiscriminator(
            self.settings.discriminator_width, layers=self.settings.discriminator_layers, scales=self.scales
        )
        return {
            "generator": attach_spectral_norm(PSFRGenerator(self.config)),
            "discriminator": attach_spectral_norm(discriminator),
        }

    def frozen(self) -> dict[str, nn.Module]:
        """Return VGG19 and the parser, as far as they are used.

        Raises:
            ConfigError: a parser is needed, and there is none.
            WeightsError: weights are corrupt.
            CheckpointError: a file is of another network.
        """
        networks: dict[str, nn.Module] = {}
        if self.features.name is not None and (self.settings.style_weight or self.settings.perceptual_weight):
            networks["features"] = load_vgg19(self.features.name, taps=PSFR_TAPS)
        if self.settings.condition == "parser":
            self._parser = find_parser(self.settings.parser)
            networks["parser"] = self._parser.network
            if self.settings.parsed_style_weight and not isinstance(self._parser, PartsParser):
                raise ConfigError(
                    f"recipe 'psfr': parsed_style_weight needs a parser of ours, and '{self.settings.parser}' is a"
                    f" {self._parser.name}; set recipe.parser=parse.clean-256"
                )
        return networks

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for both, the discriminators' four times as quick (arXiv 1706.08500); Muon where it has a rate.

        Biases that an instance norm removes again (see `archs.psfr`) stay where they are: their gradients are rounding
        noise, which Adam would make steps of full length of.
        """
        chosen, optimisers = self.settings, dict[str, torch.optim.Optimizer]()
        rates = {"generator": chosen.generator_rate, "discriminator": chosen.discriminator_rate}
        for name, rate in rates.items():
            named = list(networks[name].named_parameters())
            still = [parameter for key, parameter in named if WITHOUT_EFFECT.search(key)]
            if name == "generator" and chosen.muon_rate:
                parts = [(networks[name], chosen.muon_rate, rate)]
                optimisers[name] = muon_for(parts, betas=chosen.betas, still=still)
                continue
            moving = [parameter for key, parameter in named if not WITHOUT_EFFECT.search(key)]
            groups: list[dict[str, Any]] = [{"params": moving}, {"params": still, "lr": 0.0}]
            optimisers[name] = torch.optim.Adam(groups, lr=rate, betas=chosen.betas)
        return optimisers

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        return self._generator_terms(scene) if phase == "generator" else self._discriminator_terms(scene)

    def _generator_terms(self, scene: Scene) -> list[Term]:
        chosen, batch = self.settings, scene.batch
        hq = batch["hq"] * 2 - 1
        restored = self._restored_by(scene)
        pixel = Term("pixel", (restored - hq).abs().mean(), chosen.pixel_weight)
        if not self._is_judged:
            seen = self._vgg19_terms(scene, restored) if "features" in scene.networks else []
            return [pixel, *seen, *self._parsed_style_terms(scene, restored)]
        batch[RESTORED], planes = restored.detach(), one_hot(batch["parsing"])
        judge = scene.networks["discriminator"]
        with torch.no_grad():
            real: list[Judgement] = judge(hq, planes)
        fake: list[Judgement] = judge(restored, planes)
        return [
            pixel,
            Term("matching", scale_feature_matching(fake, real), chosen.matching_weight),
            Term("adversarial", scale_adversarial(fake, chosen.gan_mode), chosen.adversarial_weight),
            *(
                self._vgg19_terms(scene, restored)
                if "features" in scene.networks
                else self._judged_style_terms(scene, fake[0], real[0])
            ),
            *self._parsed_style_terms(scene, restored),
        ]

    def _judged_style_terms(self, scene: Scene, fake: Judgement, real: Judgement) -> list[Term]:
        """Return the style by face part in the features of the finest discriminator.

        They are normalised, so that Gram matrices divided by the channels would all but vanish; here they are not.
        """
        weight = self.settings.judged_style_weight
        if not weight:
            return []
        ours, theirs = (
            [x * x.shape[1] ** 0.5 for x in judgement.features[STYLE_LAYERS]] for judgement in (fake, real)
        )
        return [Term("judged_style", region_style(ours, theirs, scene.batch["parsing"]), weight)]

    def _parsed_style_terms(self, scene: Scene, restored: Tensor) -> list[Term]:
        """Return the style by face part in what the parser sees on its way down, without its coarsest level."""
        weight = self.settings.parsed_style_weight
        if not weight:
            return []
        parser = scene.bare["parser"]
        assert isinstance(parser, PartsNet), "frozen() has refused others"
        assert self._parser is not None
        size = (self._parser.input_size, self._parser.input_size)

        def seen(faces: Tensor) -> list[Tensor]:
            """B 3 S S in [0, 1] -> B Ci of each level, at the size at which the parser knows faces."""
            return parser.encode(functional.interpolate(faces, size, mode="bicubic", align_corners=False))[
                :-1
            ]

        with torch.no_grad():
            real = seen(scene.batch["hq"])
        ours = seen((restored + 1) / 2)
        return [Term("parsed_style", region_style(ours, real, scene.batch["parsing"]), weight)]

    def _vgg19_terms(self, scene: Scene, restored: Tensor) -> list[Term]:
        """Return the style by face part and the distance in VGG19's features."""
        chosen, labels = self.settings, scene.batch["parsing"]
        network = scene.networks["features"]
        with torch.no_grad():
            real = network(scene.batch["hq"] * 2 - 1)
        ours = network(restored)
        terms = [
            Term("style", region_style(ours[STYLE_LEVELS], real[STYLE_LEVELS], labels), chosen.style_weight)
        ]
        if chosen.perceptual_weight:
            distance = perceptual(ours, real, weights=PERCEPTUAL_WEIGHTS, distance=functional.mse_loss)
            terms.append(Term("perceptual", distance, chosen.perceptual_weight))
        return terms

    def _discriminator_terms(self, scene: Scene) -> list[Term]:
        batch = scene.batch
        if RESTORED not in batch:
            with torch.no_grad():
                batch[RESTORED] = self._restored_by(scene)
        planes = one_hot(batch["parsing"])
        faces = torch.cat((batch[RESTORED], batch["hq"] * 2 - 1))
        # Both in one pass: every layer treats each face by itself.
        judged: list[Judgement] = scene.networks["discriminator"](faces, torch.cat((planes, planes)))
        halves = [judgement.score.chunk(2) for judgement in judged]
        fake, real = ([Judgement(half[index], []) for half in halves] for index in (0, 1))
        return [Term("discriminator", scale_discrimination(fake, real, self.settings.gan_mode))]

    def _restored_by(self, scene: Scene) -> Tensor:
        """Return restored faces in [-1, 1]."""
        condition = one_hot(self._seen_maps(scene.batch, scene.draw))
        restored: Tensor = scene.networks["generator"](scene.batch["lq"] * 2 - 1, condition)
        return restored

    def _seen_maps(self, batch: Batch, draw: Draw | None = None) -> Tensor:
        """Return the maps that the generator sees, (B, S, S); without a draw nothing is left to chance."""
        if self.settings.condition == "hq-map":
            return batch["parsing"]
        if self.settings.condition == "landmarks":
            shifts = None if draw is None else draw.normal(5, 2) * self.settings.landmark_jitter
            return landmark_maps(batch["lq"], shifts)
        assert self._parser is not None, "frozen() comes before any loss"
        return parsed_maps(batch["lq"], self._parser)

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        """Return PSNR before and after, and the maps beside the faces."""
        labels = self._seen_maps(batch)
        shown = pair_validation((network(batch["lq"] * 2 - 1, one_hot(labels)) + 1) / 2, batch)
        lq, *rest = shown.rows
        return Validated(shown.metrics, (lq, coloured(labels), *rest))

    def export(self, network: nn.Module) -> Exported:
        """Return the generator under the keys of the published checkpoint, spectral norms folded into its weights."""
        header, parser = {"arch": "psfr", "condition": self.settings.condition}, self.settings.parser
        if self.settings.condition == "parser" and parser != "auto" and not looks_like_path(parser):
            header["parser"] = parser
        return Exported(fuse(to_official(network.state_dict())), header)

    def state_dict(self) -> dict[str, Any]:
        return {"features": self.features.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that the same weights of VGG19 are used.

        Raises:
            ConfigError: they are not.
        """
        check_same(state["features"], self.features.name, what="VGG19")

"""The recipe of MMRB: warm-up on labelled faces drawn by a prior, fidelity without an adversary, realism with one.

After Hu et al., "Enhancing Quality of Pose-varied Face Restoration with Local Weak Feature Sensing and GAN Prior",
arXiv 2205.14377, of which only the abstract was at hand: it names a self-supervised strategy without details. The
three parts of ours, their losses and all weights are our own decisions, each behind a setting; none is the paper's:

- S0, stage 0: the codec learns to tell the styles of faces that the prior itself draws; it needs no photographs;
- S1, stages 1 and 2: part of each batch shows the real face and asks for it back;
- S2, stages 1 and 2: a running average of the codec looks at the real face, and the codec at the degraded one is to
  find the same.

Without weights of VGG19 the perceptual loss is replaced by the distance of a discriminator's features, which is then
trained for that alone in the stages 0 and 1, and pixels count ten times as much.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.arcface import ArcFace
from facerestore.archs.gpen import GPENDiscriminator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.degradation import preset
from facerestore.errors import ConfigError
from facerestore.training.data.samples import Batch
from facerestore.training.engine.muon import muon_for
from facerestore.training.losses.common import (
    consistency,
    discriminator_score_loss,
    feature_matching,
    generator_score_loss,
    identity,
    latent,
    perceptual,
    pyramid,
    r1_penalty,
)
from facerestore.training.losses.feature_weights import (
    check_same,
    find_features,
    load_arcface,
    load_vgg19,
)
from facerestore.training.recipes.base import Exported, Phase, Recipe, Scene, Term, Validated, pair_validation
from facerestore.training.recipes.mmrb.parts import (
    Drawn,
    Faces,
    Teacher,
    TrainedMMRB,
    continue_discriminator,
    draw_labelled,
    draw_noise,
    labelling_prior,
    prior_of,
    state_of,
)
from facerestore.training.recipes.mmrb.settings import MMRBSettings, check_beginning, network_config
from facerestore.training.recipes.start import fill

Result = TypeVar("Result")

# Pixels count so much beside a perceptual loss, and so much without one or in stage 0 (design c.7 and c.6).
PIXEL_WEIGHT, LONE_PIXEL_WEIGHT = 0.1, 1.0
# Faces whose features a discriminator compares with each other, as in StyleGAN2 (arXiv 1912.04958).
STDDEV_GROUP = 4


class MMRBRecipe(Recipe):
    """Trains :class:`facerestore.archs.mmrb.MMRBGenerator`."""

    name: ClassVar[str] = "mmrb"
    settings_class: ClassVar[type[Any]] = MMRBSettings
    averaged = "generator"

    def __init__(self, settings: MMRBSettings, *, face_size: int) -> None:
        self.settings = settings
        self.config = network_config(settings.network, face_size)
        check_beginning(settings)
        if min(settings.muon_rate) < 0 or (any(settings.muon_rate) and not all(settings.muon_rate)):
            raise ConfigError(
                f"recipe.muon_rate is {settings.muon_rate}; give two numbers above 0, or 0 twice"
            )
        self._degradation = preset(settings.degradation)
        self._vgg19 = find_features("features", instead=self._without_vgg19(), wish=settings.vgg19)
        self._arcface = find_features(
            "identity", instead="the identity loss is left out", wish=settings.arcface
        )
        self._teacher = Teacher(settings.teacher_decay)
        self.phases = self._make_phases()
        self.notes = tuple(self._make_notes())
        if settings.stage == 0:
            self.needs = frozenset()  # type: ignore[misc]  # it draws its own faces

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings of stage 1 at 256 px in the smaller of the design's two budgets (c.9)."""
        return {
            "engine": {"steps": 20_000, "batch_size": 8, "schedule": "halving", "clip_norm": 10.0},
            "data": {"face_size": 256},
        }

    @classmethod
    def smoke(cls) -> dict[str, Any]:
        return {
            "engine": {"steps": 20, "batch_size": 2},
            "data": {"face_size": 64},
            "recipe": {
                "network": {"style_dim": 32, "narrow": 1 / 16, "block_counts": [1, 1, 1, 1, 1]},
                "consistency_ramp_steps": 10,
                "r1_every": 4,
            },
        }

    def networks(self) -> dict[str, nn.Module]:
        generator = TrainedMMRB(self.config, synthesis_trained=self.synthesis_rate is not None)
        if not self._has_discriminator:
            return {"generator": generator}
        discriminator = GPENDiscriminator(
            self.config.face_size,
            channel_multiplier=self.config.channel_multiplier,
            narrow=self.config.narrow,
            stddev_group=STDDEV_GROUP,
        )
        return {"generator": generator, "discriminator": discriminator}

    def start(self, networks: Mapping[str, nn.Module]) -> None:
        """Load the prior, or the networks of another run."""
        settings, generator = self.settings, _generator(networks)
        if settings.start:
            own = f"the network of this run (to start from '{settings.start}')"
            fill(generator, state_of(Path(settings.start)), name=own)
            if "discriminator" in networks:
                continue_discriminator(networks["discriminator"], Path(settings.start))
        if settings.stage == 0:
            generator.adopt_prior(self._labelling_prior())
        elif settings.prior:
            generator.adopt_prior(prior_of(Path(settings.prior), self.config.prior()))

    def frozen(self) -> dict[str, nn.Module]:
        """Return the prior and the feature networks that the stage needs."""
        found: dict[str, nn.Module] = {}
        if self.settings.stage == 0:
            found["prior"] = self._labelling_prior()
        if self._vgg19.name is not None and self.settings.weights.perceptual:
            found["vgg19"] = load_vgg19(self._vgg19.name)
        if self._arcface.name is not None and self.settings.stage and self.settings.weights.identity:
            found["arcface"] = load_arcface(self._arcface.name)
        return found

    def _labelling_prior(self) -> StyleGAN2Prior:
        path = Path(self.settings.prior) if self.settings.prior else None
        return labelling_prior(self.config.prior(), path)

    @property
    def synthesis_rate(self) -> float | None:
        """Peak rate of the synthesis, or None where it is not trained."""
        settings = self.settings
        if settings.stage == 0:
            return None
        if not settings.prior and not settings.start:
            return settings.scratch_rate
        return settings.synthesis_rate if settings.stage == 2 and settings.finetune else None

    def optimisers(self, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return Adam, or Muon for inner convolutions where it has rates; codec and synthesis have their own."""
        generator, betas = _generator(networks), (0.9, 0.99)
        codec_muon, synthesis_muon = self.settings.muon_rate
        parts: list[tuple[nn.Module, float, float]] = [
            (generator.codec, codec_muon, self.settings.codec_rate)
        ]
        if self.synthesis_rate is not None:
            parts.append((generator.prior, synthesis_muon, self.synthesis_rate))
        groups = [{"params": list(network.parameters()), "lr": rate} for network, _, rate in parts]
        made: dict[str, torch.optim.Optimizer] = {
            "generator": muon_for(parts, betas=betas) if codec_muon else torch.optim.Adam(groups, betas=betas)
        }
        if "discriminator" in networks:
            made["discriminator"] = torch.optim.Adam(
                networks["discriminator"].parameters(), lr=self.settings.discriminator_rate, betas=betas
            )
        return made

    def losses(self, phase: str, scene: Scene) -> list[Term]:
        faces = self._faces_of(scene)
        if phase == "generator":
            return self._generator_terms(scene, faces)
        if phase == "discriminator":
            with torch.no_grad():
                fake = self._restored_by(scene, faces).faces
            real_scores, fake_scores = _of_each(scene.networks["discriminator"], faces.hq, fake)
            return [Term("discriminator", discriminator_score_loss(real_scores, fake_scores, "vanilla"))]
        with torch.autocast(faces.hq.device.type, enabled=False):  # squares of gradients leave half precision
            real = faces.hq.detach().requires_grad_(True)
            scores = scene.networks["discriminator"](real)
            weight = self.settings.weights.r1 / 2 * self.settings.r1_every
            # The last bias has no part in the gradient; processes still wait for its own.
            return [Term("r1", r1_penalty(scores, real) + 0 * scores.mean(), weight)]

    def validate(self, network: nn.Module, batch: Batch) -> Validated:
        restored = cast(TrainedMMRB, network).restore(batch["lq"] * 2 - 1)
        return pair_validation((restored + 1) / 2, batch)

    def export(self, network: nn.Module) -> Exported:
        """Return codec, synthesis, mean style and noise, as the backend ``mmrb`` loads them."""
        config = json.dumps(asdict(self.config))
        return Exported(network.state_dict(), {"backend": "mmrb", "config": config})

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher, and which weights of VGG19 and ArcFace are used."""
        return {
            "teacher": self._teacher.state_dict(),
            "vgg19": self._vgg19.name,
            "arcface": self._arcface.name,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned.

        Raises:
            ConfigError: the run compared with other networks than are installed now.
        """
        check_same(state["vgg19"], self._vgg19.name, what="VGG19")
        check_same(state["arcface"], self._arcface.name, what="ArcFace")
        self._teacher.load_state_dict(state["teacher"])

    def _generator_terms(self, scene: Scene, faces: Faces) -> list[Term]:
        """Return the terms of codec and synthesis."""
        settings, drawn = self.settings, self._restored_by(scene, faces)
        weights = settings.weights
        # The RGB views stay with weight 0 once they do not count, since their layers must have a gradient.
        views_count = settings.stage > 0 and scene.progress < settings.pyramid_share
        terms = [
            Term("pixel", functional.l1_loss(drawn.faces, faces.hq), self.pixel_weight),
            Term("pyramid", pyramid(drawn.heads, faces.hq), weights.pyramid if views_count else 0.0),
            *self._comparing_terms(scene, drawn, faces),
        ]
        if faces.latents is not None:
            styles = _generator(scene.bare).prior.w_avg + drawn.offsets
            return [Term("label", functional.mse_loss(styles, faces.latents), weights.label), *terms]
        terms.append(Term("latent", latent(drawn.offsets), weights.latent))
        return [*terms, *self._consistency_terms(scene, drawn, faces)]

    def _comparing_terms(self, scene: Scene, drawn: Drawn, faces: Faces) -> list[Term]:
        """Return the terms of VGG19, ArcFace and the discriminator."""
        weights, networks, terms = self.settings.weights, scene.networks, list[Term]()
        if "vgg19" in networks:
            ours, real = _of_each(networks["vgg19"], drawn.faces, faces.hq)
            terms.append(Term("perceptual", perceptual(ours, real), weights.perceptual))
        if "arcface" in networks:
            arcface = cast(ArcFace, networks["arcface"])
            ours, real = _of_each(arcface.of_aligned, drawn.faces, faces.hq)
            terms.append(Term("identity", identity(ours, real), weights.identity))
        if "discriminator" in networks:
            judge = cast(GPENDiscriminator, scene.bare["discriminator"])
            features = judge.features(drawn.faces)
            if self.settings.stage == 2:
                loss = generator_score_loss(judge.score(features[-1]), "vanilla")
                terms.append(Term("adversarial", loss, weights.adversarial))
            if self._matches_features:
                with torch.no_grad():
                    real = judge.features(faces.hq)
                loss = feature_matching(features, real)
                terms.append(Term("feature_matching", loss, weights.feature_matching))
        return terms

    def _consistency_terms(self, scene: Scene, drawn: Drawn, faces: Faces) -> list[Term]:
        """Return the distance from the teacher's codes of the real faces."""
        settings, generator = self.settings, _generator(scene.bare)
        if not settings.weights.consistency:
            return []
        self._teacher.follow(generator.codec, scene.step)
        found = self._teacher.look(generator.codec, faces.hq)
        value = consistency(drawn.features, list(found.features.values()), drawn.offsets, found.offsets)
        ramp = (
            min(scene.step / settings.consistency_ramp_steps, 1.0) if settings.consistency_ramp_steps else 1.0
        )
        return [Term("consistency", value, settings.weights.consistency * ramp)]

    def _faces_of(self, scene: Scene) -> Faces:
        """Return the faces of a phase: drawn in stage 0, else those of the batch, some of them as they are."""
        if self.settings.stage == 0:
            prior = cast(StyleGAN2Prior, scene.networks["prior"])
            with torch.autocast(prior.w_avg.device.type, enabled=False):
                return draw_labelled(prior, self._degradation, scene.draw)
        lq, hq = scene.batch["lq"] * 2 - 1, scene.batch["hq"] * 2 - 1
        is_shown = scene.draw.uniform(1, 1, 1) < self.settings.self_reconstruction
        return Faces(torch.where(is_shown, hq, lq), hq)

    def _restored_by(self, scene: Scene, faces: Faces) -> Drawn:
        drawn: Drawn = scene.networks["generator"](faces.lq, draw_noise(self.config.prior(), scene.draw))
        return drawn

    @property
    def pixel_weight(self) -> float:
        """Weight of the pixel term."""
        if self.settings.weights.pixel is not None:
            return self.settings.weights.pixel
        is_alone = self.settings.stage == 0 or self._vgg19.name is None
        return LONE_PIXEL_WEIGHT if is_alone else PIXEL_WEIGHT

    @property
    def _matches_features(self) -> bool:
        return self._vgg19.name is None and self.settings.weights.feature_matching > 0

    @property
    def _has_discriminator(self) -> bool:
        return self.settings.stage == 2 or self._matches_features

    def _make_phases(self) -> tuple[Phase, ...]:
        restoration = Phase("generator", ("generator",), "generator")
        if not self._has_discriminator:
            return (restoration,)
        trains, every = ("discriminator",), self.settings.r1_every
        lazy = [Phase("r1", trains, "discriminator", every=every)] if self.settings.weights.r1 else []
        return (restoration, Phase("discriminator", trains, "discriminator"), *lazy)

    def _without_vgg19(self) -> str:
        """Say what replaces VGG19."""
        weights = self.settings.weights
        pixel = LONE_PIXEL_WEIGHT if weights.pixel is None else weights.pixel
        if not weights.feature_matching:
            return f"the perceptual loss is left out, and pixels count {pixel:g}"
        text = (
            "the perceptual loss is replaced by the distance of a discriminator's features with weight"
            f" {weights.feature_matching:g}, and pixels count {pixel:g}"
        )
        return text if self.settings.stage == 2 else f"{text}; the discriminator is trained for that alone"

    def _make_notes(self) -> list[str]:
        settings, notes = self.settings, [self._vgg19.note]
        if settings.stage:
            notes.append(self._arcface.note)
        if not settings.prior and not settings.start:
            notes.append(
                "no prior is given, so the synthesis is trained from the start, with the codec; a StyleGAN2"
                " generator of faces does better: --set recipe.prior=FILE"
                if settings.stage
                else "no prior is given: an untrained one draws the faces of stage 0, which are none. Such a run only"
                " shows that everything works; for more, --set recipe.prior=FILE"
            )
        return notes


def _generator(networks: Mapping[str, nn.Module]) -> TrainedMMRB:
    return cast(TrainedMMRB, networks["generator"])


def _of_each(network: Callable[[Tensor], Result], first: Tensor, second: Tensor) -> tuple[Result, Result]:
    """Return what a network gives for each of two batches."""
    return network(first), network(second)

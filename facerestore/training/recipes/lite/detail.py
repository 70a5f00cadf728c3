"""What asks the restorer for fine detail: two judges of luma, and the distances that hold the rest in place.

The generator is judged on cuts of whole faces, in pairs with the real ones, and each pair counts as far as its input
is good: what severe damage took is not to be invented. Colour, and all that is coarser than four pixels, stays with
distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs.judges import PIXEL_SCORES, Judges, places
from facerestore.archs.lite import LiteGenerator, LiteTrunk
from facerestore.errors import ConfigError
from facerestore.fields import option
from facerestore.training.data.samples import CORNER
from facerestore.training.losses.common import charbonnier
from facerestore.training.losses.detail import (
    LATTICE_WINDOW_PX,
    cut,
    cut_places,
    lattice_loss,
    luma_of,
    matching_loss,
    pair_loss,
    quality_weights,
    spectrum_loss,
)
from facerestore.training.recipes.base import Scene, Term

RESTORED = "restored"
"""In a batch: what the generator made of it, kept for the judges, so that it is computed once."""

COARSE_PX = 4
ENCODER_LEVELS = 3
"""Levels of the frozen encoder that are judged and compared: 1/4 to 1/16 of the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarySettings:
    """Judges that ask for detail, and the weights of all terms beside them.

    Attributes:
        weight: of the pairs that the judge of pixels tells apart; 0 for no adversary at all.
        projected_weight: of those that the judge of the frozen encoder's features tells apart.
        matching_weight: of the distance of the first judge's activations.
        feature_weight: of the distance of the frozen encoder's features.
        coarse_weight: of the Charbonnier distance after pooling by four.
        fine_weight: of the Charbonnier distance of luma.
        chroma_weight: of the Charbonnier distance of what luma leaves.
        lattice_weight: of what repeats every 4 or 8 px in the error.
        spectrum_weight: of the distance of the logarithms of luma's power spectra, window by window.
        cut_size: side of the cuts that are judged, px, a multiple of 16.
        cuts: of each face.
        width: channels of the first judge's first layer.
        learning_rate: peak of the judges' Adam.
        betas: of the generator's and the judges' Adam.
        dither: standard deviation of the noise that lies over all that is judged, so that no judge looks for whether
            levels are whole: photographs hold whole ones of 255, and what a network gives is none.
        penalty_weight: of the squared change of scores under noise, a finite difference for the gradient penalty.
        penalty_noise: standard deviation of that noise.
        alone_steps: steps in which only the judges learn.
        ramp_steps: steps after those in which the judges' say rises to its full weight.
        none_db: PSNR of an input's luma up to which its pair does not count.
        full_db: PSNR from which it counts fully.
    """

    weight: float = option(0.0, least=0)
    projected_weight: float = option(0.2, least=0)
    matching_weight: float = option(5.0, least=0)
    feature_weight: float = option(1.5, least=0)
    coarse_weight: float = option(30.0, least=0)
    fine_weight: float = option(4.0, least=0)
    chroma_weight: float = option(30.0, least=0)
    lattice_weight: float = option(30.0, least=0)
    spectrum_weight: float = option(0.0, least=0)
    cut_size: int = option(112, least=16, multiple=16)
    cuts: int = option(3, least=1)
    width: int = option(32, least=1)
    learning_rate: float = option(1e-4, above=0)
    betas: tuple[float, float] = (0.5, 0.99)
    dither: float = option(0.01, least=0)
    penalty_weight: float = option(10.0, least=0)
    penalty_noise: float = option(0.02, above=0)
    alone_steps: int = option(100, least=0)
    ramp_steps: int = option(500, least=1)
    none_db: float = 18.0
    full_db: float = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """Cuts of faces as the judges see them.

    Attributes:
        planes: B 4 S S, see `facerestore.archs.judges.PixelJudge`.
        encoded: features of each level of the frozen encoder.
    """

    planes: Tensor
    encoded: list[Tensor]


class Adversary:
    """The judges' side of a step, and the generator's.

    Args:
        settings: the weights.
        face_size: side of the aligned faces, px; None for pictures of anything, which are cut anywhere, and whose
            judge of pixels is not told where a cut lies.
    """

    def __init__(self, settings: AdversarySettings, *, face_size: int | None) -> None:
        self.settings, self.face_size = settings, face_size

    def judges(self, generator: LiteGenerator) -> Judges:
        """Return new judges, for features as wide as the generator's own."""
        return Judges(self.settings.width, generator.config.widths[:ENCODER_LEVELS])

    def share(self, step: int) -> float:
        """Return the share of its weight that the judges' say has at a 0-based step."""
        settings = self.settings
        return min(max((step - settings.alone_steps) / settings.ramp_steps, 0.0), 1.0)

    def generator_terms(self, scene: Scene, restored: Tensor) -> list[Term]:
        """Return what the judges make of restored faces, and the distances beside it."""
        settings, hq = self.settings, scene.batch["hq"]
        scene.batch[RESTORED] = restored.detach()
        real, fake, counts = self._cuts(scene, restored)
        real_scores, real_activations, _ = _judged(scene, real)
        scores, activations, _ = _judged(scene, fake)
        say, acts = self.share(scene.step), float(scene.step >= settings.alone_steps)
        drawn = restored.float()
        luma, real_luma = luma_of(drawn), luma_of(hq)
        coarse = charbonnier(functional.avg_pool2d(drawn, COARSE_PX), functional.avg_pool2d(hq, COARSE_PX))
        projected = pair_loss(scores[PIXEL_SCORES:], real_scores[PIXEL_SCORES:], counts)
        adversarial = pair_loss(scores[:PIXEL_SCORES], real_scores[:PIXEL_SCORES], counts)
        matching = matching_loss(activations, real_activations, counts)
        feature = matching_loss(fake.encoded, real.encoded, torch.ones_like(counts))
        spectrum = []
        if settings.spectrum_weight:
            spectrum = [Term("spectrum", spectrum_loss(luma, real_luma), acts * settings.spectrum_weight)]
        return [
            *spectrum,
            Term("coarse", coarse, acts * settings.coarse_weight),
            Term("fine", charbonnier(luma, real_luma), acts * settings.fine_weight),
            Term("chroma", charbonnier(drawn - luma, hq - real_luma), acts * settings.chroma_weight),
            Term("lattice", lattice_loss(luma, real_luma), acts * settings.lattice_weight),
            Term("feature", feature, acts * settings.feature_weight),
            Term("matching", matching, say * settings.matching_weight),
            Term("adversarial", adversarial, say * settings.weight),
            Term("projected", projected, say * settings.projected_weight),
        ]

    def judge_terms(self, scene: Scene) -> list[Term]:
        """Return the judges' own loss on the faces that the generator has just made."""
        settings = self.settings
        with torch.no_grad():
            real, fake, counts = self._cuts(scene, scene.batch[RESTORED])
        together = Cuts(
            torch.cat((real.planes, fake.planes)),
            [torch.cat(pair) for pair in zip(real.encoded, fake.encoded, strict=True)],
        )
        noise = self._noise(scene, 2)
        scores, _, again = _judged(scene, together, settings.penalty_noise * noise)
        real_scores, fake_scores = zip(*(score.chunk(2) for score in scores), strict=True)
        changes = [(a - b).square().mean() for a, b in zip(again, scores, strict=False)]
        return [
            Term("pixels", pair_loss(real_scores[:PIXEL_SCORES], fake_scores[:PIXEL_SCORES], counts)),
            Term("features", pair_loss(real_scores[PIXEL_SCORES:], fake_scores[PIXEL_SCORES:], counts)),
            Term("penalty", torch.stack(changes).sum(), settings.penalty_weight),
        ]

    def _noise(self, scene: Scene, times: int) -> Tensor:
        """Return standard normal noise for so many times the cuts of a batch, B 1 S S."""
        size = self.settings.cut_size
        drawn = scene.draw.normal(times * self.settings.cuts, size, size)
        return drawn.transpose(0, 1).reshape(-1, 1, size, size)

    def _cuts(self, scene: Scene, restored: Tensor) -> tuple[Cuts, Cuts, Tensor]:
        """Cut real and restored faces alike; return both, and how much each pair of cuts counts."""
        settings, lq, hq = self.settings, scene.batch["lq"], scene.batch["hq"]
        side, nowhere = lq.shape[-1], torch.zeros(len(lq), 2, dtype=torch.long)
        check_side(settings, side, setting="data.crop_size")
        corners = scene.batch.get(CORNER, nowhere) if self.face_size else nowhere
        where = cut_places(
            scene.draw.common(),
            corners,
            side=side,
            cuts=settings.cuts,
            size=settings.cut_size,
            face_size=self.face_size,
        )
        luma, real_luma = luma_of(restored.float()), luma_of(hq)
        dither = settings.dither * self._noise(scene, 2)
        over_real, over_fake = dither.chunk(2)
        place = torch.zeros_like(hq[:, :2])
        if self.face_size:
            whole = places(self.face_size, like=hq)
            place = torch.stack([whole[:, y : y + side, x : x + side] for x, y in corners.tolist()])
        beside = cut(torch.cat((luma_of(lq), place), dim=1), where)
        encoder, colours = scene.networks["encoder"], cut(hq, where)
        with torch.no_grad():
            real = Cuts(torch.cat((cut(real_luma, where) + over_real, beside), dim=1), encoder(colours))
        # With the real colours: only what is drawn in luma is seen.
        encoded = encoder(colours + cut(luma - real_luma, where))
        fake = Cuts(torch.cat((cut(luma, where) + over_fake, beside), dim=1), encoded)
        counts = quality_weights(lq, hq, none_db=settings.none_db, full_db=settings.full_db)
        return real, fake, counts.repeat_interleave(settings.cuts)


def check_side(settings: AdversarySettings, side: int, *, setting: str) -> None:
    """Make sure that pictures can be judged.

    Args:
        settings: how they are judged.
        side: theirs, px.
        setting: what sets it.

    Raises:
        ConfigError: they are smaller than what is cut from them, or the periods of lattices do not fit.
    """
    if settings.cut_size > side:
        raise ConfigError(
            f"recipe 'lite': recipe.adversary.cut_size is {settings.cut_size} px, larger than what it is cut from, of"
            f" {side} px; give a multiple of 16 up to that, or set {setting}"
        )
    if side % LATTICE_WINDOW_PX:
        raise ConfigError(
            f"recipe 'lite': an adversary takes pictures of a multiple of {LATTICE_WINDOW_PX} px, not {side};"
            f" set {setting}"
        )


class FrozenEncoder(nn.Module):
    """The way down of a trained restorer, which gives the features of its first levels."""

    def __init__(self, trunk: LiteTrunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) RGB in [0, 1] -> B C S/4 S/4, B C S/8 S/8, B C S/16 S/16."""
        return self.trunk.encode(x)[:ENCODER_LEVELS]


def _judged(
    scene: Scene, cuts: Cuts, noise: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return what the judges say of cuts, in float32: differences of scores are small."""
    judges = scene.networks["judges"]
    with torch.autocast(cuts.planes.device.type, enabled=False):
        found: tuple[list[Tensor], list[Tensor], list[Tensor]] = judges(
            cuts.planes.float(), [x.float() for x in cuts.encoded], noise
        )
    return found

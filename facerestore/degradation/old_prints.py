"""Prints of long ago: worn and scanned, the degradation ``old-photo``; folded, torn and stained, ``damage``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.ageing import Damage, Fading, Grain, Stains
from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    SMALLEST_SIDE_PX,
    Degradation,
    DegradationDraw,
    log_uniform,
    reduced_side,
    uniform,
    whole_number,
)
from facerestore.degradation.steps import Grey, Jpeg, Resize, Step, Toning, round_blur
from facerestore.degradation.tearing import (
    Cracks,
    Creases,
    Dust,
    MissingPieces,
    PaperDamage,
    Scratches,
    Tears,
    WaterStains,
)

YELLOW = np.array([0.3, 0.0, -0.7])
"""Change of R, G, B of white as paper yellows, of the difference of red and blue; the mean of five yellowed scans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPrint(Degradation):
    """What is often monochrome, and then often toned.

    Grey and toning are done to the target too: a restored face must not bring colours into a monochrome photo, nor
    lose the tone that the rest of it has. All else is done to the input alone.

    Attributes:
        grey_probability: chance of a monochrome print.
        toning_probability: chance that a monochrome print is toned, as sepia ones are.
        red_exponent: of the tone.
        green_exponent: of the tone.
        blue_exponent: of the tone.
    """

    grey_probability: float
    toning_probability: float
    red_exponent: tuple[float, float] = (0.8, 0.95)
    green_exponent: tuple[float, float] = (0.97, 1.06)
    blue_exponent: tuple[float, float] = (1.1, 1.8)

    def draw_target(self, chances: NDArray[np.float64], rng: np.random.Generator) -> tuple[Step, ...]:
        """Return the steps of the target; ``chances``, in [0, 1), decide on grey and on toning."""
        exponents = (self.red_exponent, self.green_exponent, self.blue_exponent)
        toning = Toning(*(uniform(each, rng) for each in exponents))
        if chances[0] >= self.grey_probability:
            return ()
        return (Grey(), toning) if chances[1] < self.toning_probability else (Grey(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPhoto(OldPrint):
    """A soft lens, a grainy print that fades, stains, cracks and gathers dust, and a scan of it.

    The ranges are ours. Those of tone and fading hold what was measured on a dozen scans of photographs of about 1900
    to 1980, half of them monochrome: 1st percentile of luma 4 to 67, 99th 170 to 232, red above blue there by 12 to
    55; exponents of the tone at mid-grey 0.8 to 0.95 (red), 0.97 to 1.06 (green), 1.2 to 2.1 (blue). The others were
    set by eye beside them.

    Attributes:
        blur_sigma_px: softness of the lens, at 512 px.
        black: level that black has faded to.
        white: level that white has faded to.
        yellowing: of the paper: level by which white has more red than blue.
        cast: largest further difference of a channel's black or white, in a print of colours, whose dyes fade
            unevenly; a monochrome one has a sixth of it.
        stains: largest change of level by uneven ageing.
        grain_sigma: of the emulsion at mid-grey, levels of 255.
        grain_size_px: standard deviation of a grain's shape, at 512 px.
        scratched_probability: chance of scratches.
        scratches: how many, both ends included.
        cracked_probability: chance of cracks.
        cracks: how many, both ends included.
        specks: how many grains of dust, both ends included.
        width_px: of scratches, and radius of dust, at 512 px.
        downsample: factor by which the scan reduces the face; small faces in a group are the rule.
        jpeg_quality: of the scan, both ends included.
    """

    grey_probability: float = 0.65
    toning_probability: float = 0.6
    blur_sigma_px: tuple[float, float] = (0.5, 4.0)
    black: tuple[float, float] = (5.0, 70.0)
    white: tuple[float, float] = (170.0, 235.0)
    yellowing: tuple[float, float] = (0.0, 50.0)
    cast: float = 20.0
    stains: tuple[float, float] = (0.0, 25.0)
    grain_sigma: tuple[float, float] = (3.0, 18.0)
    grain_size_px: tuple[float, float] = (0.6, 2.0)
    scratched_probability: float = 0.6
    scratches: tuple[int, int] = (1, 8)
    cracked_probability: float = 0.4
    cracks: tuple[int, int] = (1, 4)
    specks: tuple[int, int] = (0, 60)
    width_px: tuple[float, float] = (1.0, 3.0)
    downsample: tuple[float, float] = (1.0, 5.0)
    jpeg_quality: tuple[int, int] = (60, 95)

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        scale = face_size / REFERENCE_SIZE
        chances = rng.random(4)
        target = self.draw_target(chances, rng)
        sigma = scale * uniform(self.blur_sigma_px, rng)
        small = max(int(face_size // rng.uniform(*self.downsample)), SMALLEST_SIDE_PX)
        steps = (
            round_blur(sigma),
            Grain(uniform(self.grain_sigma, rng), max(scale * uniform(self.grain_size_px, rng), 0.3)),
            self._fading(self.cast / 6 if target else self.cast, rng),
            Stains(uniform(self.stains, rng), int(rng.integers(2**31))),
            self._damage(scale, rng, scratched=chances[2], cracked=chances[3]),
            Resize(small, "area"),
            Jpeg(whole_number(self.jpeg_quality, rng)),
            Resize(face_size, "cubic"),
        )
        return DegradationDraw(self.name, face_size, target, steps)

    def _fading(self, cast: float, rng: np.random.Generator) -> Fading:
        black, white, yellow = (rng.uniform(*r) for r in (self.black, self.white, self.yellowing))
        blacks, whites = black + rng.uniform(-cast, cast, 3), white + rng.uniform(-cast, cast, 3)
        whites += yellow * YELLOW
        lows, highs = np.clip(blacks, 0, 255).tolist(), np.clip(whites, 0, 255).tolist()
        return Fading((lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2]))

    def _damage(self, scale: float, rng: np.random.Generator, *, scratched: float, cracked: float) -> Damage:
        counts = [whole_number(each, rng) for each in (self.scratches, self.cracks, self.specks)]
        return Damage(
            scratches=counts[0] if scratched < self.scratched_probability else 0,
            cracks=counts[1] if cracked < self.cracked_probability else 0,
            specks=counts[2],
            width_px=scale * uniform(self.width_px, rng),
            layout_seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind of damage is there, and how much of it.

    Attributes:
        step: what it is.
        probability: chance of it.
        count: how many, both ends included.
        width_px: at 512 px; its logarithm is drawn evenly.
    """

    step: type[PaperDamage]
    probability: float
    count: tuple[int, int]
    width_px: tuple[float, float]


KINDS = (
    # In the order in which they come over a print: later ones cover earlier ones.
    Kind(WaterStains, 0.2, (1, 3), (3.0, 9.0)),
    Kind(Creases, 0.35, (1, 2), (1.5, 6.0)),
    Kind(Cracks, 0.45, (1, 6), (1.2, 6.0)),
    Kind(Scratches, 0.45, (1, 8), (1.0, 4.0)),
    Kind(Tears, 0.2, (1, 2), (3.0, 10.0)),
    Kind(MissingPieces, 0.25, (1, 3), (1.5, 6.0)),
    Kind(Dust, 0.5, (4, 60), (1.0, 4.0)),
)
"""Every kind of damage. Probabilities and ranges are ours, set by eye beside scans of damaged photographs."""

YELLOW_GREEN = 0.35
"""Of what bare paper has lost in blue, it has lost this share in green."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPrint(OldPrint):
    """A print, often monochrome and somewhat soft, with one kind of damage or several.

    Damage comes last, so that :func:`facerestore.degradation.damaged` can say of each pixel whether it was
    touched.

    Attributes:
        soft_probability: chance of a soft, small and compressed picture under the damage.
        blur_sigma_px: of the softness, at 512 px.
        downsample: factor by which it is then reduced; its logarithm is drawn evenly.
        jpeg_quality: of its file, both ends included.
        softness_px: of the damage in the scan, standard deviation at 512 px.
        yellowing: of bare paper: what it has lost in blue, as a share of white.
        kinds: of damage.
    """

    grey_probability: float = 0.45
    toning_probability: float = 0.5
    soft_probability: float = 0.6
    blur_sigma_px: tuple[float, float] = (0.3, 2.5)
    downsample: tuple[float, float] = (1.0, 3.0)
    jpeg_quality: tuple[int, int] = (70, 95)
    softness_px: tuple[float, float] = (0.6, 2.4)
    yellowing: tuple[float, float] = (0.0, 0.22)
    kinds: tuple[Kind, ...] = KINDS

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        chances = rng.random(3)
        target = self.draw_target(chances, rng)
        soft = self._soft(face_size, rng)
        steps = soft if chances[2] < self.soft_probability else []
        return DegradationDraw(self.name, face_size, target, (*steps, *self._damage(face_size, rng)))

    def _soft(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        blur = round_blur(face_size / REFERENCE_SIZE * uniform(self.blur_sigma_px, rng))
        small = reduced_side(face_size, log_uniform(self.downsample, rng))
        quality = whole_number(self.jpeg_quality, rng)
        return [blur, Resize(small, "area"), Jpeg(quality), Resize(face_size, "cubic")]

    def _damage(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        """Return at least one kind of damage."""
        scale = face_size / REFERENCE_SIZE
        chances = rng.random(len(self.kinds)) / [kind.probability for kind in self.kinds]
        softness = max(scale * uniform(self.softness_px, rng), 0.3)
        yellow = uniform(self.yellowing, rng)
        paper = (1.0, 1 - YELLOW_GREEN * yellow, 1 - yellow)
        steps: list[Step] = []
        for kind, chance in zip(self.kinds, chances, strict=True):
            count = whole_number(kind.count, rng)
            width, seed = scale * log_uniform(kind.width_px, rng), int(rng.integers(2**31))
            stain = (uniform((0.6, 0.95), rng), uniform((0.5, 0.85), rng), uniform((0.3, 0.7), rng))
            colour = stain if kind.step is WaterStains else paper
            if chance < 1 or chance == chances.min():
                steps.append(kind.step(count, width, softness, colour, seed))
        return steps

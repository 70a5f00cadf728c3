"""Prints that were folded, torn, scratched and stained: the degradation ``damage``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    DegradationDraw,
    log_uniform,
    reduced_side,
    uniform,
    whole_number,
)
from facerestore.degradation.old_photo import OldPrint
from facerestore.degradation.steps import Jpeg, Resize, Step, round_blur
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

    Damage comes last, so that :func:`facerestore.degradation.damaged.damaged` can say of each pixel whether it was
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

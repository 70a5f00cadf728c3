"""Small pictures of the web and of messengers: the degradation ``web``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    Degradation,
    DegradationDraw,
    cropped_jpeg,
    log_uniform,
    reduced_side,
    uniform,
)
from facerestore.degradation.steps import Grey, Interpolation, Resize, Sharpen, Step, WholeLevels, round_blur

REDUCED_BY: tuple[Interpolation, ...] = ("area", "bicubic", "lanczos")
ENLARGED_BY: tuple[Interpolation, ...] = ("linear", "cubic", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Web(Degradation):
    """A photo that was reduced, sharpened, compressed, perhaps passed on - all of it once more - and enlarged.

    The ranges are ours: JPEG from 30, which messengers go down to, to 92, which photo sites keep; sharpening from
    none to what leaves bright lines along every edge.

    Attributes:
        grey_probability: chance that input and target are both turned grey.
        soft_probability: chance that the photo was not sharp to begin with.
        blur_sigma_px: how soft it then was, at 512 px.
        downsample: factor by which the face is reduced; its logarithm is drawn evenly.
        sharpened_probability: chance of sharpening after the first reduction.
        again_probability: chance of sharpening after the second reduction, too.
        amount: of sharpening; its logarithm is drawn evenly.
        halo_px: standard deviation of its blur, px of the reduced face.
        jpeg_quality: of each JPEG, both ends included.
        passed_on_probability: chance of a second reduction and a second JPEG.
        second_downsample: factor of the second reduction.
    """

    grey_probability: float = 0.08
    soft_probability: float = 0.3
    blur_sigma_px: tuple[float, float] = (0.5, 3.0)
    downsample: tuple[float, float] = (1.0, 5.0)
    sharpened_probability: float = 0.75
    again_probability: float = 0.35
    amount: tuple[float, float] = (0.15, 1.8)
    halo_px: tuple[float, float] = (0.5, 1.4)
    jpeg_quality: tuple[int, int] = (30, 92)
    passed_on_probability: float = 0.5
    second_downsample: tuple[float, float] = (1.0, 1.6)

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        chances = rng.random(3)
        steps: list[Step] = []
        sigma = face_size / REFERENCE_SIZE * uniform(self.blur_sigma_px, rng)
        if chances[1] < self.soft_probability:
            steps.append(round_blur(sigma))
        side = face_size / log_uniform(self.downsample, rng)
        steps += self._reduced_and_stored(side, self.sharpened_probability, rng)
        if chances[2] < self.passed_on_probability:
            side /= uniform(self.second_downsample, rng)
            steps += self._reduced_and_stored(side, self.again_probability, rng)
        steps.append(Resize(face_size, ENLARGED_BY[rng.integers(len(ENLARGED_BY))]))
        target: tuple[Step, ...] = (Grey(),) if chances[0] < self.grey_probability else ()
        return DegradationDraw(self.name, face_size, target, tuple(steps))

    def _reduced_and_stored(
        self, side: float, sharpened_probability: float, rng: np.random.Generator
    ) -> list[Step]:
        method = REDUCED_BY[rng.integers(len(REDUCED_BY))]
        sharpen = Sharpen(log_uniform(self.amount, rng), uniform(self.halo_px, rng))
        sharpened = [sharpen] if rng.random() < sharpened_probability else []
        file = cropped_jpeg(self.jpeg_quality, rng)
        return [Resize(reduced_side(side), method), WholeLevels(), *sharpened, file]

"""Small pictures of the web and of messengers, ``web``, and snapshots of phones in poor light, ``phone``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerestore.degradation.camera import Sensor, Smear
from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    Degradation,
    DegradationDraw,
    cropped_jpeg,
    log_uniform,
    reduced_side,
    uniform,
)
from facerestore.degradation.steps import (
    Grey,
    Interpolation,
    MotionBlur,
    Resize,
    Sharpen,
    Step,
    WholeLevels,
    round_blur,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone(Degradation):
    """A hand that moves, a noisy sensor, and software that smears, sharpens and compresses.

    The ranges are ours. Noise at mid-grey, after demosaicing, is 1 to 20 levels.

    Attributes:
        downsample: factor by which the face is smaller on the sensor; its logarithm is drawn evenly.
        moved_probability: chance of motion blur.
        motion_length_px: of the motion blur, at 512 px.
        soft_probability: chance of a poor focus.
        blur_sigma_px: of the focus, at 512 px.
        shot: variance of the light's noise at white; its logarithm is drawn evenly.
        read: standard deviation of the electronics' noise as a share of white; its logarithm is drawn evenly.
        gain: of red and of blue in white balance.
        smeared_probability: chance of a denoiser.
        tolerance: of the denoiser, levels.
        reach_px: of the denoiser, px of the sensor.
        chroma_px: blur of its colours, px of the sensor.
        kept: share of the fine structure that it puts back.
        sharpened_probability: chance of sharpening.
        amount: of sharpening.
        halo_px: standard deviation of its blur, px of the sensor.
        jpeg_quality: both ends included.
    """

    downsample: tuple[float, float] = (1.0, 3.0)
    moved_probability: float = 0.35
    motion_length_px: tuple[float, float] = (2.0, 16.0)
    soft_probability: float = 0.4
    blur_sigma_px: tuple[float, float] = (0.5, 4.0)
    shot: tuple[float, float] = (2e-4, 1.2e-2)
    read: tuple[float, float] = (1e-3, 1.5e-2)
    gain: tuple[float, float] = (1.3, 2.4)
    smeared_probability: float = 0.8
    tolerance: tuple[float, float] = (8.0, 50.0)
    reach_px: tuple[float, float] = (0.8, 2.6)
    chroma_px: tuple[float, float] = (0.8, 5.0)
    kept: tuple[float, float] = (0.0, 0.4)
    sharpened_probability: float = 0.6
    amount: tuple[float, float] = (0.2, 1.2)
    halo_px: tuple[float, float] = (0.6, 1.4)
    jpeg_quality: tuple[int, int] = (70, 96)

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        scale = face_size / REFERENCE_SIZE
        chances = rng.random(4)
        steps: list[Step] = []
        length, angle = scale * uniform(self.motion_length_px, rng), uniform((0, np.pi), rng)
        if chances[0] < self.moved_probability:
            # Even along its length: a ramp would move the face.
            steps.append(MotionBlur(max(1.0, length), angle, 0.0))
        sigma = scale * uniform(self.blur_sigma_px, rng)
        if chances[1] < self.soft_probability:
            steps.append(round_blur(sigma))
        small = reduced_side(face_size, log_uniform(self.downsample, rng))
        steps += [Resize(small, "area"), self._sensor(rng)]
        ranges = (self.tolerance, self.reach_px, self.chroma_px, self.kept)
        smear = Smear(*(uniform(each, rng) for each in ranges))
        sharpen = Sharpen(uniform(self.amount, rng), uniform(self.halo_px, rng))
        steps += [smear] if chances[2] < self.smeared_probability else []
        steps += [sharpen] if chances[3] < self.sharpened_probability else []
        steps += [cropped_jpeg(self.jpeg_quality, rng), Resize(face_size, "cubic")]
        return DegradationDraw(self.name, face_size, (), tuple(steps))

    def _sensor(self, rng: np.random.Generator) -> Sensor:
        red, blue = (uniform(self.gain, rng) for _ in range(2))
        shot, read = log_uniform(self.shot, rng), log_uniform(self.read, rng)
        return Sensor(shot, read, red, blue, bool(rng.random() < 0.5))

"""Snapshots of phones and small cameras in poor light: the degradation ``phone``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facerestore.degradation.camera import Sensor, Smear
from facerestore.degradation.delivery import CroppedJpeg, Sharpen
from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    SMALLEST_SIDE_PX,
    Degradation,
    DegradationDraw,
    log_uniform,
)
from facerestore.degradation.steps import GaussianBlur, MotionBlur, Resize, Step
from facerestore.degradation.web import BLOCK_PX


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone(Degradation):
    """A hand that moves, a noisy sensor, and software that smears, sharpens and compresses.

    The ranges are ours. Noise at mid-grey, after demosaicing, is 1 to 20 levels.

    Attributes:
        name: name of the preset.
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
        length, angle = scale * float(rng.uniform(*self.motion_length_px)), float(rng.uniform(0, np.pi))
        if chances[0] < self.moved_probability:
            # Even along its length: a ramp would move the face.
            steps.append(MotionBlur(max(1.0, length), angle, 0.0))
        sigma = scale * float(rng.uniform(*self.blur_sigma_px))
        if chances[1] < self.soft_probability:
            steps.append(GaussianBlur(2 * max(1, int(np.ceil(3 * sigma))) + 1, sigma, sigma))
        small = max(round(face_size / log_uniform(self.downsample, rng)), SMALLEST_SIDE_PX)
        steps += [Resize(small, "area"), self._sensor(rng)]
        smear, sharpen = self._smear(rng), self._sharpen(rng)
        steps += [smear] if chances[2] < self.smeared_probability else []
        steps += [sharpen] if chances[3] < self.sharpened_probability else []
        quality = int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        left, top = rng.integers(BLOCK_PX, size=2).tolist()
        steps += [CroppedJpeg(quality, left, top), Resize(face_size, "cubic")]
        return DegradationDraw(self.name, face_size, (), tuple(steps))

    def _sensor(self, rng: np.random.Generator) -> Sensor:
        red, blue = (float(rng.uniform(*self.gain)) for _ in range(2))
        return Sensor(
            log_uniform(self.shot, rng), log_uniform(self.read, rng), red, blue, bool(rng.random() < 0.5)
        )

    def _smear(self, rng: np.random.Generator) -> Smear:
        ranges = (self.tolerance, self.reach_px, self.chroma_px, self.kept)
        tolerance, reach, chroma, kept = (float(rng.uniform(*each)) for each in ranges)
        return Smear(tolerance, reach, chroma, kept)

    def _sharpen(self, rng: np.random.Generator) -> Sharpen:
        return Sharpen(float(rng.uniform(*self.amount)), float(rng.uniform(*self.halo_px)))

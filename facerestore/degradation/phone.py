"""Snapshots of phones and small cameras in poor light: the degradation ``phone``."""

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
from facerestore.degradation.steps import MotionBlur, Resize, Sharpen, Step, round_blur


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

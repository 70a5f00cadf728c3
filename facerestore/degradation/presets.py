"""The degradations by name, each with the source of its ranges. Widths are stated at 512 px and scale with the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    SMALLEST_SIDE_PX,
    Degradation,
    DegradationDraw,
    draw_from_json,
    reduced_side,
    uniform,
    whole_number,
)
from facerestore.degradation.old_prints import DamagedPrint, OldPhoto
from facerestore.degradation.print_scan import Print
from facerestore.degradation.snapshots import Phone, Web
from facerestore.degradation.steps import (
    BoxBlur,
    GaussianBlur,
    Grey,
    Interpolation,
    Jpeg,
    MedianBlur,
    MotionBlur,
    Noise,
    Resize,
    Step,
    WholeLevels,
    round_blur,
)
from facerestore.extensions import Extensions


@dataclass(frozen=True, slots=True, kw_only=True)
class BlurReduceNoise(Degradation):
    """``y = resize_S( JPEG_q( resize_{S/s}(x * k) + n ) )`` (GFP-GAN, arXiv 2101.04061, eq. 1), each drawn uniformly.

    Attributes:
        kernel_size_px: odd side of the blur kernel, at 512 px.
        blur_sigma_px: standard deviation of each axis of the blur, at 512 px.
        isotropic_probability: chance that both axes share one sigma.
        downsample: factor by which the face is reduced.
        noise_sigma: standard deviation of Gaussian colour noise, in levels of 255.
        jpeg_quality: JPEG quality, both ends included.
        grey_probability: chance that input and target are both turned grey.
    """

    kernel_size_px: int = 41
    blur_sigma_px: tuple[float, float] = (0.1, 10.0)
    isotropic_probability: float = 0.5
    downsample: tuple[float, float] = (0.8, 8.0)
    noise_sigma: tuple[float, float] = (0.0, 20.0)
    jpeg_quality: tuple[int, int] = (60, 100)
    grey_probability: float = 0.2

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        # The order of these draws is fixed: pairs that published weights were judged on depend on it.
        scale = face_size / REFERENCE_SIZE
        sigma_x, sigma_y = scale * rng.uniform(*self.blur_sigma_px, size=2)
        if rng.random() < self.isotropic_probability:
            sigma_y = sigma_x
        angle = uniform((-np.pi, np.pi), rng)
        small = max(int(face_size // rng.uniform(*self.downsample)), SMALLEST_SIDE_PX)
        noise, quality = uniform(self.noise_sigma, rng), whole_number(self.jpeg_quality, rng)
        grey = bool(rng.random() < self.grey_probability)
        kernel_size_px = max(3, round(self.kernel_size_px * face_size / REFERENCE_SIZE) | 1)
        return DegradationDraw(
            self.name,
            face_size,
            (Grey(),) if grey else (),
            (
                GaussianBlur(kernel_size_px, float(sigma_x), float(sigma_y), angle),
                Resize(small, "linear"),
                Noise(noise, coloured=not grey),
                Jpeg(quality),
                Resize(face_size, "linear"),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOfFourBlurs(Degradation):
    """PSFR-GAN's degradation (arXiv 2009.08709; the ranges are those of its public training code).

    In order: grey input and target; one of four blurs; reduced to a drawn side by a drawn interpolation; noise; JPEG;
    enlarged by cubic interpolation; in 8 bits after every step, as imgaug works.

    Attributes:
        grey_probability: chance that input and target are both turned grey.
        blur_probability: chance of a blur, which is one of the four, all alike.
        gaussian_sigma_px: of the Gaussian blur, at 512 px.
        average_width_px: side of the average blur, whole px at 512.
        median_width_px: side of the median blur, odd px at 512.
        motion_length_px: of the motion blur, whole px at 512.
        side_px: side to which the face is reduced, whole px of 512.
        noise_probability: chance of noise.
        noise_sigma: its standard deviation, levels of 255 (0.1 * 255 at most).
        colour_noise_probability: chance that each channel has its own noise.
        jpeg_probability: chance of JPEG.
        jpeg_compression: imgaug's measure; the quality is 100 minus it.
    """

    grey_probability: float = 0.3
    blur_probability: float = 0.5
    gaussian_sigma_px: tuple[float, float] = (3.0, 15.0)
    average_width_px: tuple[int, int] = (3, 15)
    median_width_px: tuple[int, int] = (3, 15)
    motion_length_px: tuple[int, int] = (5, 25)
    side_px: tuple[int, int] = (32, 255)
    noise_probability: float = 0.2
    noise_sigma: tuple[float, float] = (0.0, 25.5)
    colour_noise_probability: float = 0.5
    jpeg_probability: float = 0.7
    jpeg_compression: tuple[int, int] = (10, 65)

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        scale = face_size / REFERENCE_SIZE
        grey = bool(rng.random() < self.grey_probability)
        chances = rng.random(4)
        steps: list[Step] = []
        if chances[0] < self.blur_probability:
            steps.append(self._blur(scale, rng))
        side = reduced_side(scale * whole_number(self.side_px, rng))
        choices: tuple[Interpolation, ...] = ("nearest", "linear", "area", "cubic")
        steps.append(Resize(side, choices[rng.integers(len(choices))]))
        sigma, coloured = uniform(self.noise_sigma, rng), bool(chances[2] < self.colour_noise_probability)
        if chances[1] < self.noise_probability:
            steps.append(Noise(sigma, coloured))
        compression = whole_number(self.jpeg_compression, rng)
        if chances[3] < self.jpeg_probability:
            steps.append(Jpeg(100 - compression))
        steps.append(Resize(face_size, "cubic"))
        stored = [each for step in steps for each in (step, WholeLevels())]
        return DegradationDraw(self.name, face_size, (Grey(),) if grey else (), tuple(stored))

    def _blur(self, scale: float, rng: np.random.Generator) -> Step:
        kind = rng.integers(4)
        if kind == 0:
            return round_blur(scale * uniform(self.gaussian_sigma_px, rng))
        if kind == 1:
            return BoxBlur(max(1.0, scale * whole_number(self.average_width_px, rng)))
        if kind == 2:
            odd = range(self.median_width_px[0], self.median_width_px[1] + 1, 2)
            return MedianBlur(_nearest_odd(scale * odd[rng.integers(len(odd))]))
        length = max(1.0, scale * whole_number(self.motion_length_px, rng))
        return MotionBlur(length, uniform((0, 2 * np.pi), rng), uniform((-1, 1), rng))


def _nearest_odd(width_px: float) -> int:
    return 2 * max(0, round((width_px - 1) / 2)) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BicubicReduction(Degradation):
    """Face super-resolution: reduced by antialiased bicubic interpolation to 8 bits, enlarged alike; nothing is drawn.

    Attributes:
        factor: of the reduction.
    """

    factor: int

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return the parameters, which are always the same."""
        small = max(face_size // self.factor, SMALLEST_SIDE_PX)
        steps = (Resize(small, "bicubic"), WholeLevels(), Resize(face_size, "bicubic"))
        return DegradationDraw(self.name, face_size, (), steps)


PRESETS: Mapping[str, Degradation] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            # GFP-GAN's published training options, as GPEN's public training script uses them.
            BlurReduceNoise(name="gfpgan"),
            # GPEN's own name for them: its script took GFP-GAN's ranges over, grey at 0.2 included; its published
            # weights were trained on something else, which is not public.
            BlurReduceNoise(name="gpen"),
            # The ranges for seriously degraded faces (CodeFormer, arXiv 2206.11253); kernel widened to hold three
            # sigma on each side.
            BlurReduceNoise(
                name="severe",
                kernel_size_px=91,
                blur_sigma_px=(1.0, 15.0),
                downsample=(1.0, 30.0),
                jpeg_quality=(30, 90),
            ),
            OneOfFourBlurs(name="psfr"),
            BicubicReduction(name="sr-x4", factor=4),
            BicubicReduction(name="sr-x8", factor=8),
            BicubicReduction(name="sr-x16", factor=16),
            OldPhoto(name="old-photo"),
            Web(name="web"),
            Print(name="print"),
            DamagedPrint(name="damage"),
            Phone(name="phone"),
        )
    }
)


def preset(name: str) -> Degradation:
    """Return the preset ``name``.

    Raises:
        ConfigError: there is no such preset.
        ExtensionError: it is another package's, and broken.
    """
    return PRESETS[name] if name in PRESETS else EXTENSIONS.load(name)


def register_degradation(name: str, degradation: Degradation) -> None:
    """Let ``preset("NAME")``, and settings that name presets, mean a degradation of yours, in this process.

    Args:
        name: that of the degradation, and not that of another.
        degradation: derived from `facerestore.degradation.Degradation`; what it draws is made of the steps of
            `facerestore.degradation.STEPS`.

    Raises:
        ConfigError: the name is taken.
        ExtensionError: it is no degradation, or a trial of it fails.
    """
    EXTENSIONS.register(name, degradation)


TRIAL_PX = 64
"""Face for which a degradation of another package is drawn to see whether it can."""


def _lack(name: str, found: object) -> str | None:
    """Return what keeps an object from being the degradation ``name``; None where nothing does."""
    if not isinstance(found, Degradation):
        return f"{found!r} is no instance of a class derived from facerestore.degradation.Degradation"
    if found.name != name:
        return f"it calls itself '{found.name}', not '{name}'"
    try:
        drawn = found.draw(TRIAL_PX, np.random.default_rng(0))
        return (
            None if draw_from_json(drawn.to_json()) == drawn else "its draws change on their way through JSON"
        )
    except Exception as error:  # code of another package may raise anything
        return f"it cannot be drawn: {type(error).__name__}: {error}"


EXTENSIONS: Extensions[Degradation] = Extensions(
    kind="degradation", own=PRESETS, lack=_lack, reserved=("clean",)
)
"""Degradations of other packages."""

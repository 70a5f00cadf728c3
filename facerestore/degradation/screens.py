"""Steps of print and video: regular patterns that lie over a face, from halftone dots to the lines of a field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.shapes import stain_field
from facerestore.degradation.steps import HostStep, Pixels

SCREEN_ANGLES = (15.0, 75.0, 0.0, 45.0)
"""Degrees of the screens of cyan, magenta, yellow and black: the classic ones of offset printing, whose dots form
rosettes."""
WIDTH_STEP = 0.05
"""Edges of dots are tabulated at these steps."""
Weave = Literal["linen", "silk"]


def plane_wave(size_px: int, period_px: float, angle_rad: float, phase_rad: float) -> NDArray[np.float32]:
    """Return (S, S) of cos(2 pi / period * (x cos + y sin) + phase)."""
    frequency = 2 * np.pi / period_px
    places = np.arange(size_px)
    across = frequency * math.cos(angle_rad) * places + phase_rad
    down = frequency * math.sin(angle_rad) * places
    # cos(a + b) as one product of two thin matrices: no cosine of each pixel.
    rows = np.stack([np.cos(down), -np.sin(down)], axis=1).astype(np.float32)
    return np.asarray(rows @ np.stack([np.cos(across), np.sin(across)]).astype(np.float32))


@lru_cache(maxsize=64)
def dot_thresholds(width_steps: int) -> NDArray[np.float32]:
    """Return the threshold of a screen for each of 256 coverages, such that dots cover as much on average.

    The screen is the mean of two crossed waves; a dot's edge is a ramp of ``width_steps * WIDTH_STEP`` of its levels.
    """
    width = width_steps * WIDTH_STEP
    wave = np.cos((np.arange(48) + 0.5) / 48 * np.pi)
    screen = (wave[:, None] + wave[None]).ravel() / 2
    thresholds = np.linspace(-1 - width / 2, 1 + width / 2, 129)
    covered = np.clip((thresholds[:, None] - screen[None]) / width + 0.5, 0, 1).mean(axis=1)
    return np.interp(np.arange(256) / 255, covered, thresholds).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Halftone(HostStep):
    """Printed in dots that grow with the tone: four inks on screens of their own angles, or black alone.

    Dots cover, on average, what the tone asks for; only the gain makes the print darker, as ink that spreads does.

    Attributes:
        period_px: between dots.
        angle_rad: by which the page is turned.
        colours: four inks; black alone otherwise.
        black_share: how much of the grey below the inks of colour black takes over, 0 to 1.
        gain: spread of the ink at half coverage, as a share.
        softness: of the dots' edges, in px.
        layout_seed: of where the screens begin.
    """

    period_px: float
    angle_rad: float
    colours: bool
    black_share: float
    gain: float
    softness: float
    layout_seed: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the print."""
        light = np.clip(picture / np.float32(255), 0, 1)
        phases = np.random.default_rng(self.layout_seed).uniform(0, 2 * np.pi, (4, 2))
        if not self.colours:
            ink = self._printed(1 - light.mean(axis=2), SCREEN_ANGLES[3], phases[3])
            return np.repeat(255 * (1 - ink)[..., None], 3, axis=2)
        black = np.float32(self.black_share) * (1 - light.max(axis=2))
        inks = 1 - light / np.maximum(1 - black, np.float32(1e-3))[..., None]
        paper = 255 * (1 - self._printed(black, SCREEN_ANGLES[3], phases[3]))
        channels = [paper * (1 - self._printed(inks[..., k], SCREEN_ANGLES[k], phases[k])) for k in range(3)]
        return np.stack(channels, axis=2)

    def _printed(
        self, coverage: NDArray[np.float32], degrees: float, phases: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return (S, S) ink in [0, 1] for the coverage that is asked for."""
        angle = self.angle_rad + math.radians(degrees)
        size = len(coverage)
        screen = plane_wave(size, self.period_px, angle, float(phases[0]))
        screen += plane_wave(size, self.period_px, angle + np.pi / 2, float(phases[1]))
        # The mean of both waves changes by about pi / period in a pixel.
        steps = max(1, round(max(self.softness, 0.7) * np.pi / self.period_px / WIDTH_STEP))
        spread = coverage + np.float32(4 * self.gain) * coverage * (1 - coverage)
        asked = np.clip(255 * spread + np.float32(0.5), 0, 255).astype(np.uint8)
        threshold = np.asarray(cv2.LUT(asked, dot_thresholds(steps)), dtype=np.float32)
        ramp = (threshold - screen / 2) / np.float32(steps * WIDTH_STEP) + np.float32(0.5)
        return np.asarray(np.clip(ramp, 0, 1), dtype=np.float32)

    @property
    def text(self) -> str:
        """Say it."""
        return f"{'CMYK' if self.colours else 'black'} dots {self.period_px:.1f} px"


@dataclass(frozen=True, slots=True)
class PaperTexture(HostStep):
    """The embossed pattern of photographic paper, which a scanner's slanted light shows.

    Attributes:
        weave: ``linen``: crossed threads; ``silk``: a honeycomb.
        period_px: of the pattern.
        angle_rad: by which it is turned.
        amplitude: largest change, levels of 255.
        layout_seed: of where it is stronger and weaker.
    """

    summary: ClassVar[str] = "{0.weave} {0.amplitude:.0f}, {0.period_px:.1f} px"
    weave: Weave
    period_px: float
    angle_rad: float
    amplitude: float
    layout_seed: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture on textured paper."""
        size = len(picture)
        phases = np.random.default_rng(self.layout_seed).uniform(0, 2 * np.pi, 3)
        turns = (0, np.pi / 3, 2 * np.pi / 3) if self.weave == "silk" else (0, np.pi / 2)
        waves = [
            plane_wave(size, self.period_px, self.angle_rad + turn, float(phase))
            for turn, phase in zip(turns, phases, strict=False)
        ]
        pattern = sum(waves) / len(waves) if self.weave == "silk" else waves[0] * waves[1] + sum(waves) / 4
        strength = np.float32(0.75) + np.float32(0.25) * stain_field(size, self.layout_seed)
        return np.asarray(picture + (np.float32(self.amplitude) * strength * pattern)[..., None])


@dataclass(frozen=True, slots=True)
class ScanLines(HostStep):
    """The dark gaps between the lines of a screen, and its stripes of red, green and blue.

    Attributes:
        period_px: between lines.
        depth: how much darker a gap is, as a share; the mean brightness stays.
        triad_px: width of the three stripes together.
        triad_depth: how much of the other colours each stripe takes away, as a share.
        phase_rad: of the lines.
    """

    summary: ClassVar[str] = "lines {0.depth:.0%}, {0.period_px:.1f} px"
    period_px: float
    depth: float
    triad_px: float
    triad_depth: float
    phase_rad: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture as the screen shows it."""
        rows, columns = (np.arange(side) for side in picture.shape[:2])
        lines = 1 + self.depth / 2 * np.cos(2 * np.pi / self.period_px * rows + self.phase_rad)
        turns = columns[:, None] / self.triad_px - np.arange(3)[None] / 3
        stripes = 1 + self.triad_depth / 2 * np.cos(2 * np.pi * turns)
        shown = picture * lines[:, None, None].astype(np.float32) * stripes[None].astype(np.float32)
        return np.asarray(shown, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Combing(HostStep):
    """Two fields of a video frame, taken one after the other of something that moves sideways.

    Attributes:
        shift_px: from one field to the other; each moves by half of it, so that the face stays where it is.
    """

    summary: ClassVar[str] = "combed {0.shift_px:.1f} px"
    shift_px: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the frame."""
        combed = np.empty_like(picture)
        for first, shift in ((0, -self.shift_px / 2), (1, self.shift_px / 2)):
            field = picture[first::2]
            moved = cv2.warpAffine(
                field,
                np.array([[1, 0, shift], [0, 1, 0]], dtype=np.float64),
                (field.shape[1], field.shape[0]),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            combed[first::2] = moved
        return combed


@dataclass(frozen=True, slots=True)
class ChromaBlur(HostStep):
    """Colours that run sideways, as video gives them fewer details than luma.

    Attributes:
        sigma_px: standard deviation, along x alone.
    """

    summary: ClassVar[str] = "colours run {0.sigma_px:.1f} px"
    sigma_px: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture; its luma (BT.601) stays."""
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        luma = (picture @ weights)[..., None]
        colours = np.ascontiguousarray(picture - luma)
        blurred = cv2.GaussianBlur(
            colours, (0, 0), self.sigma_px, sigmaY=1e-3, borderType=cv2.BORDER_REFLECT_101
        )
        return luma + np.asarray(blurred, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Moire(HostStep):
    """The slow, bent, coloured bands of two patterns that nearly agree: a screen photographed, a print scanned.

    Attributes:
        amplitude: as a share of the level.
        period_px: of the bands.
        angle_rad: across which they run.
        bend: how many bands the middle of a side lags behind its ends.
        spread: of the colours' phases; 0 gives grey bands.
        phase_rad: of the first band.
    """

    summary: ClassVar[str] = "moire {0.amplitude:.0%}, {0.period_px:.0f} px"
    amplitude: float
    period_px: float
    angle_rad: float
    bend: float
    spread: float
    phase_rad: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the banded picture."""
        size = len(picture)
        axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        cosine, sine = np.float32(math.cos(self.angle_rad)), np.float32(math.sin(self.angle_rad))
        along = cosine * axis[None] + sine * axis[:, None]
        across = cosine * axis[:, None] - sine * axis[None]
        bends = np.float32(8 * np.pi * self.bend / size**2) * across * across
        phase = np.float32(2 * np.pi / self.period_px) * along + bends + np.float32(self.phase_rad)
        phases = phase[..., None] + np.float32(self.spread) * np.arange(3, dtype=np.float32)
        return np.asarray(picture * (1 + np.float32(self.amplitude) * np.cos(phases)), dtype=np.float32)

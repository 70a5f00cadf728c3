"""Faces from newspapers, books, textured paper, screens and video: the degradation ``print``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from facerestore.degradation.drawing import (
    REFERENCE_SIZE,
    Degradation,
    DegradationDraw,
    cropped_jpeg,
    log_uniform,
    reduced_side,
    uniform,
    whole_number,
)
from facerestore.degradation.screens import (
    ChromaBlur,
    Combing,
    Halftone,
    Moire,
    PaperTexture,
    ScanLines,
    Weave,
)
from facerestore.degradation.steps import Grey, Interpolation, Resize, Step, round_blur

SHARES = {"inks": 0.3, "black": 0.2, "paper": 0.18, "screen": 0.12, "video": 0.2}
"""Of the kinds of pattern, of which a face has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Print(Degradation):
    """One regular pattern over a face, then a scan or a frame of it.

    The ranges are ours. Patterns go from what a scanner hardly resolves to dots that the eye counts; with a fine
    pattern and a reduction that does not antialias, moire comes by itself.

    Attributes:
        grey_probability: chance that a pattern that is not of ink lies on a monochrome picture.
        blur_sigma_px: softness of what is printed, at 512 px.
        dot_period_px: of halftone dots, at 512 px; its logarithm is drawn evenly.
        black_share: of the grey that black ink takes over.
        gain: spread of the ink at half coverage.
        softness: of the dots' edges, px.
        blurred_dots: standard deviation of the scan's blur over the dots, as a share of their period; at a half, the
            dots are all but gone.
        texture_period_px: of textured paper, at 512 px.
        texture_amplitude: levels of 255.
        line_period_px: of scan lines, at 512 px.
        line_depth: as a share.
        triad_depth: as a share.
        moire_probability: chance of bands over scan lines.
        moire_amplitude: as a share.
        moire_period_px: at 512 px.
        video_lines: across the face.
        shift_px: between two fields, px of a line.
        chroma_px: blur of video's colours, px of a line.
        scan_sigma_px: softness of the scan, at 512 px.
        downsample: factor by which the scan reduces the face; its logarithm is drawn evenly.
        jpeg_quality: both ends included.
    """

    grey_probability: float = 0.25
    blur_sigma_px: tuple[float, float] = (0.3, 2.5)
    dot_period_px: tuple[float, float] = (3.5, 13.0)
    black_share: tuple[float, float] = (0.3, 1.0)
    gain: tuple[float, float] = (0.0, 0.12)
    softness: tuple[float, float] = (0.7, 2.0)
    blurred_dots: tuple[float, float] = (0.08, 0.42)
    texture_period_px: tuple[float, float] = (4.0, 14.0)
    texture_amplitude: tuple[float, float] = (4.0, 28.0)
    line_period_px: tuple[float, float] = (4.0, 10.0)
    line_depth: tuple[float, float] = (0.1, 0.7)
    triad_depth: tuple[float, float] = (0.0, 0.5)
    moire_probability: float = 0.5
    moire_amplitude: tuple[float, float] = (0.02, 0.15)
    moire_period_px: tuple[float, float] = (16.0, 120.0)
    video_lines: tuple[int, int] = (90, 256)
    shift_px: tuple[float, float] = (0.5, 7.0)
    chroma_px: tuple[float, float] = (0.5, 4.0)
    scan_sigma_px: tuple[float, float] = (0.2, 1.6)
    downsample: tuple[float, float] = (1.0, 2.5)
    jpeg_quality: tuple[int, int] = (60, 95)

    def draw(self, face_size: int, rng: np.random.Generator) -> DegradationDraw:
        """Return one set of parameters."""
        kind = list(SHARES)[rng.choice(len(SHARES), p=list(SHARES.values()))]
        grey = kind == "black" or (kind != "inks" and bool(rng.random() < self.grey_probability))
        scale = face_size / REFERENCE_SIZE
        patterns: dict[str, Callable[[int, np.random.Generator], list[Step]]] = {
            "inks": partial(self._dots, colours=True),
            "black": partial(self._dots, colours=False),
            "paper": self._paper,
            "screen": self._screen,
            "video": self._video,
        }
        steps = [
            round_blur(scale * uniform(self.blur_sigma_px, rng)),
            *patterns[kind](face_size, rng),
            *self._scan(face_size, rng),
        ]
        return DegradationDraw(self.name, face_size, (Grey(),) if grey else (), tuple(steps))

    def _dots(self, face_size: int, rng: np.random.Generator, *, colours: bool) -> list[Step]:
        period = face_size / REFERENCE_SIZE * log_uniform(self.dot_period_px, rng)
        ranges = (self.black_share, self.gain, self.softness)
        black, gain, softness = (uniform(each, rng) for each in ranges)
        angle, seed = uniform((0, np.pi / 2), rng), int(rng.integers(2**31))
        dots = Halftone(period, angle, colours, black, gain, softness, seed)
        return [dots, round_blur(period * uniform(self.blurred_dots, rng))]

    def _paper(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        weave: Weave = "linen" if rng.random() < 0.5 else "silk"
        period = face_size / REFERENCE_SIZE * log_uniform(self.texture_period_px, rng)
        amplitude, angle = log_uniform(self.texture_amplitude, rng), uniform((0, np.pi), rng)
        return [PaperTexture(weave, period, angle, amplitude, int(rng.integers(2**31)))]

    def _screen(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        """Return the lines of a screen, and bands where its photo has them."""
        scale = face_size / REFERENCE_SIZE
        period, width = (scale * log_uniform(self.line_period_px, rng) for _ in range(2))
        depth, triads = uniform(self.line_depth, rng), uniform(self.triad_depth, rng)
        turn = uniform((0, 2 * np.pi), rng)
        bands = Moire(
            log_uniform(self.moire_amplitude, rng),
            scale * log_uniform(self.moire_period_px, rng),
            *(float(each) for each in rng.uniform((0, -3, 0, 0), (np.pi, 3, 2.1, 2 * np.pi))),
        )
        lines = ScanLines(period, depth, width, triads, turn)
        return [lines, bands] if rng.random() < self.moire_probability else [lines]

    def _video(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        """Return a frame of few lines, its running colours, and the comb of its two fields."""
        most = min(self.video_lines[1], face_size)
        lines = whole_number((min(self.video_lines[0], most), most), rng)
        shift = log_uniform(self.shift_px, rng) * (1 if rng.random() < 0.5 else -1)
        back: Interpolation = "linear" if rng.random() < 0.5 else "cubic"
        colours = ChromaBlur(uniform(self.chroma_px, rng))
        return [Resize(lines, "area"), colours, Combing(shift), Resize(face_size, back)]

    def _scan(self, face_size: int, rng: np.random.Generator) -> list[Step]:
        sigma = face_size / REFERENCE_SIZE * uniform(self.scan_sigma_px, rng)
        small = reduced_side(face_size, log_uniform(self.downsample, rng))
        method: Interpolation = "linear" if rng.random() < 0.3 else "area"
        jpeg = cropped_jpeg(self.jpeg_quality, rng)
        return [round_blur(sigma), Resize(small, method), jpeg, Resize(face_size, "cubic")]

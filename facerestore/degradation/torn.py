"""Shapes of damage beside those of wear: folds, torn edges, missing pieces, stains and fibres, laid out by a seed.

They were drawn after scans of damaged family photographs: a fold has a lit and a shaded side, and the emulsion has
broken off along it; a tear begins at the border, shows the white core of the paper, and casts a shadow; stains are
darkest at their rim, where the water dried.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.wear import SUBPIXEL_BITS, Line, draw_tone, lay_shape, walk, window_of

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class Layers:
    """Opacity and level that damage is laid on.

    Attributes:
        opacity: (S, S) in [0, 1].
        level: (S, S), 0 to 255.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.opacity: NDArray[np.float32] = np.zeros((size_px, size_px), np.float32)
        self.level: NDArray[np.float32] = np.full((size_px, size_px), 255, np.float32)

    def polygon(self, points: NDArray[np.float64], level: float, cover: float) -> None:
        """Lay an area, (N, 2) points in shares of the side, over what is there."""
        places: NDArray[np.float64] = points * self.size_px
        window = window_of(places, 1.0, self.size_px)
        if window is None:
            return
        shape = np.zeros(window[1], np.uint8)
        corners = np.rint((places - window[0]) * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(shape, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        lay_shape(self.opacity, self.level, shape, window[0], level, cover)

    def textured(self, rng: np.random.Generator, sigma: float) -> None:
        """Give what is there the fibres of bare paper: a noise of levels two pixels wide."""
        half = max(self.size_px // 2, 1)
        coarse = rng.normal(0, sigma, (half, half)).astype(np.float32)
        fibres = cv2.resize(coarse, (self.size_px, self.size_px), interpolation=cv2.INTER_LINEAR)
        self.level = np.clip(self.level + np.asarray(fibres, dtype=np.float32), 0, 255)

    def softened(self, sigma_px: float) -> None:
        """Blur all that is there, as the scan of it does."""
        laid, opacity = (
            np.asarray(cv2.GaussianBlur(each, (0, 0), sigma_px), dtype=np.float32)
            for each in (self.opacity * self.level, self.opacity)
        )
        self.level = np.asarray(laid / np.maximum(opacity, np.float32(1e-4)))
        self.opacity = opacity


def fold(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a line across the whole picture, slightly bent, (N, 2) in shares of the side."""
    middle, angle = rng.uniform(0.15, 0.85, 2), rng.uniform(0, np.pi)
    along = np.linspace(-1.2, 1.2, 60)
    bend, turn = rng.normal(0, 0.02), rng.uniform(0, 2 * np.pi)
    aside = bend * np.sin(3 * along + turn) + np.cumsum(rng.normal(0, 0.0012, 60))
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    line: NDArray[np.float64] = middle + along[:, None] * direction + aside[:, None] * across
    return line


def broken_along(rng: np.random.Generator, line: NDArray[np.float64], width_px: float) -> Iterator[Line]:
    """Yield the pieces of a fold where the emulsion is gone."""
    tone, share = rng.uniform(200, 255), rng.uniform(0.2, 0.9)
    for first in range(0, len(line) - 2, 2):
        if rng.random() < share:
            jitter = rng.normal(0, 0.0015, (3, 2))
            width = width_px * min(float(rng.lognormal(-0.4, 0.5)), 3.0)
            yield Line(line[first : first + 3] + jitter, width, tone, rng.uniform(0.6, 1.0))


def jagged(rng: np.random.Generator, line: NDArray[np.float64], jitter: float) -> NDArray[np.float64]:
    """Return a line with three points for each of its own, those between set off by about ``jitter``."""
    places = np.linspace(0, len(line) - 1, 3 * len(line))
    finer = np.stack([np.interp(places, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1)
    return finer + rng.normal(0, jitter, finer.shape)


def ribbon(
    rng: np.random.Generator, line: NDArray[np.float64], half: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ragged outline of what lies within about ``half`` of a line, and one of its edges."""
    along = np.gradient(line, axis=0)
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    left, right = (
        line + sign * (half * rng.uniform(0.5, 1.5, len(line)))[:, None] * across for sign in (-1, 1)
    )
    return np.concatenate([left, right[::-1]]), left


def uneven(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return how wide a crack is along its way, as a share: here broken open, there a hairline."""
    coarse = rng.normal(0, 0.7, 2 + count // 6)
    return np.exp(np.interp(np.linspace(0, len(coarse) - 1, count), np.arange(len(coarse)), coarse) - 0.2)


def crack(
    rng: np.random.Generator, width: float
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the trunk of a crack and its branches, each a line and half its width along it, in shares of the side."""
    start, angle = rng.uniform(0, 1, 2), rng.uniform(0, 2 * np.pi)
    trunk = walk(rng, start, angle, steps=int(rng.integers(10, 45)), wander=0.12)
    lines = [trunk]
    for _ in range(rng.integers(0, 4)):
        root, turn = trunk[rng.integers(len(trunk))], rng.choice([-1, 1]) * rng.uniform(0.5, 1.4)
        lines.append(walk(rng, root, angle + turn, steps=int(rng.integers(4, 14)), wander=0.15))
    for number, line in enumerate(lines):
        finer = jagged(rng, line, 0.3 * width)
        taper = np.linspace(1, 0.2, len(finer)) if number else np.ones(len(finer))
        yield finer, (0.25 if number else 0.5) * width * taper * uneven(rng, len(finer))


def tear(rng: np.random.Generator, width: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outline of a tear that runs in from the border, and one of its edges; ``width`` is at the border."""
    side, place = rng.integers(4), rng.uniform(0.05, 0.95)
    start = np.array([[place, -0.02], [1.02, place], [place, 1.02], [-0.02, place]][side])
    inward = np.array([0.5, 0.5]) + rng.normal(0, 0.2, 2) - start
    coarse = walk(rng, start, float(np.arctan2(inward[1], inward[0])), steps=int(rng.integers(6, 22)))
    line = jagged(rng, coarse, 0.08 * width)
    return ribbon(rng, line, width / 2 * np.linspace(1, 0, len(line)) ** 0.6 * uneven(rng, len(line)) ** 0.5)


def blob(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float, *, roughness: float
) -> NDArray[np.float64]:
    """Return an irregular outline around a centre, (96, 2) in shares of the side; rough ones are jagged too."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    reach = np.ones(96)
    for wave in range(1, 7):
        reach += rng.normal(0, 0.22 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    reach += roughness * rng.normal(0, 0.06, 96)
    long, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    x, y = np.cos(angle) * np.maximum(reach, 0.15), long * np.sin(angle) * np.maximum(reach, 0.15)
    turned = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1)
    outline: NDArray[np.float64] = centre + radius * turned
    return outline


def fibre(rng: np.random.Generator, width_px: float) -> Line:
    """Return a hair or a thread of cloth: thin, and curled."""
    count = 24
    curl = rng.normal(0, 0.12) + rng.normal(0, 0.12, count)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(curl)
    stride = rng.uniform(0.03, 0.22) / count
    steps = stride * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = rng.uniform(0, 1, 2) + np.cumsum(steps, axis=0)
    return Line(points, width_px * rng.uniform(0.3, 0.7), draw_tone(rng), rng.uniform(0.4, 1.0))

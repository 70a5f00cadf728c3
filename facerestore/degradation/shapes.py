"""Shapes of damage on a print, laid out by a seed: scratches, cracks, dust, stains, folds, tears and missing pieces.

They were drawn after scans of damaged family photographs. Scratches are thin, long, nearly straight, and mostly light;
cracks are jagged, branch, and show the white paper; dust is round and small. A fold has a lit and a shaded side, and
the emulsion has broken off along it; a tear begins at the border, shows the white core of the paper, and casts a
shadow; stains are darkest at their rim, where the water dried. Points are (N, 2) x y in shares of the side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]

SUBPIXEL_BITS = 4
"""Lines are drawn at sixteenths of a pixel, which is what cv2 offers up to 16 bits of coordinates."""
DARK_SHARE = 0.2
"""Share of scratches and specks that are dark: dirt and ink, where most are missing emulsion."""
STAIN_CELLS = 5
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class Line(NamedTuple):
    """A polyline: (N, 2) points in shares of the side, its width in px, level and opacity."""

    points: Points
    width_px: float
    level: float
    opacity: float


Speck: TypeAlias = tuple[float, float, float, float, float]
"""x and y as shares of the side, radius in px, level and opacity."""

Drawing: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.int32]], None]
"""Draws a shape of 255 into an (H, W) picture; its points are (N, 2) x y in 2^-`SUBPIXEL_BITS` px."""


class Layers:
    """Opacity and level of damage, the later over the earlier.

    Attributes:
        opacity: (S, S) in [0, 1].
        level: (S, S), 0 to 255.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.opacity: NDArray[np.float32] = np.zeros((size_px, size_px), np.float32)
        self.level: NDArray[np.float32] = np.full((size_px, size_px), 255, np.float32)

    def line(self, line: Line) -> None:
        """Draw a line; a width under a pixel is drawn as a weaker one of a pixel."""
        strength, thickness = round(255 * min(1.0, line.width_px)), max(1, round(line.width_px))

        def draw(shape: NDArray[np.uint8], places: NDArray[np.int32]) -> None:
            cv2.polylines(shape, [places], False, strength, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

        self._lay(line.points, line.width_px, line.level, line.opacity, draw)

    def specks(self, specks: Iterable[Speck]) -> None:
        """Draw round specks."""
        for x, y, radius, tone, cover in specks:
            reach = max(1, round(radius * 2**SUBPIXEL_BITS))

            def draw(shape: NDArray[np.uint8], places: NDArray[np.int32], reach: int = reach) -> None:
                left, top = places[0].tolist()
                cv2.circle(shape, (left, top), reach, 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)

            self._lay(np.array([[x, y]]), max(radius, 1.0), tone, cover * min(1.0, 2 * radius), draw)

    def polygon(self, points: Points, level: float, cover: float) -> None:
        """Fill an outline."""

        def draw(shape: NDArray[np.uint8], places: NDArray[np.int32]) -> None:
            cv2.fillPoly(shape, [places], 255, cv2.LINE_AA, SUBPIXEL_BITS)

        self._lay(points, 1.0, level, cover, draw)

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

    def _lay(self, points: Points, reach_px: float, tone: float, cover: float, draw: Drawing) -> None:
        """Lay on a shape that reaches so far beyond its points; nothing where all of it is off the picture."""
        places, size = points * self.size_px, self.size_px
        first = np.clip(np.floor(places.min(axis=0) - reach_px - 2), 0, size).astype(np.int64)
        last = np.clip(np.ceil(places.max(axis=0) + reach_px + 3), 0, size).astype(np.int64)
        (left, top), (width, height) = first.tolist(), (last - first).tolist()
        if width <= 0 or height <= 0:
            return
        shape = np.zeros((height, width), np.uint8)
        draw(shape, np.rint((places - first) * 2**SUBPIXEL_BITS).astype(np.int32))
        here = np.s_[top : top + height, left : left + width]
        self.level[here][shape > 0] = tone
        share = shape.astype(np.float32) * np.float32(cover / 255)
        self.opacity[here] = np.maximum(self.opacity[here], share)


def worn_layers(
    size_px: int, *, scratches: int, cracks: int, specks: int, width_px: float, seed: int
) -> Layers:
    """Return the damage of ``old-photo`` on a picture of a side; a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    layers = Layers(size_px)
    lines = [draw_scratch(rng, width_px) for _ in range(scratches)]
    for _ in range(cracks):
        lines += draw_crack(rng, width_px)
    for line in lines:
        layers.line(line)
    layers.specks(draw_specks(rng, specks, width_px))
    return layers


def draw_scratch(rng: np.random.Generator, width_px: float) -> Line:
    """Return a nearly straight line across a part of the picture."""
    start, angle = rng.uniform(-0.1, 1.1, 2), rng.normal(np.pi / 2, 0.6)
    length, bend = rng.uniform(0.1, 1.0), rng.normal(0, 0.04)
    along = np.linspace(0, 1, 12)
    aside = bend * np.sin(np.pi * along) + rng.normal(0, 0.002, 12)
    points = bent(start, angle, length * along, aside)
    return Line(points, width_px * rng.uniform(0.4, 1.0), draw_tone(rng), rng.uniform(0.3, 0.9))


def draw_crack(rng: np.random.Generator, width_px: float) -> Iterator[Line]:
    """Yield a jagged line and its branches, all showing the paper."""
    start, angle = rng.uniform(0, 1, 2), rng.uniform(0, 2 * np.pi)
    trunk = walk(rng, start, angle, steps=int(rng.integers(12, 36)))
    tone, cover = rng.uniform(200, 255), rng.uniform(0.7, 1.0)
    thickness = width_px * rng.uniform(0.8, 2.0)
    # Drawn piece by piece, so that the width varies along it.
    for piece in range(0, len(trunk) - 3, 3):
        yield Line(trunk[piece : piece + 4], thickness * rng.uniform(0.5, 1.3), tone, cover)
    for _ in range(rng.integers(0, 4)):
        root = trunk[rng.integers(len(trunk))]
        branch = walk(rng, root, angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.4), steps=8)
        yield Line(branch, 0.6 * thickness, tone, cover)


def walk(
    rng: np.random.Generator, start: Points, angle: float, *, steps: int, wander: float = 0.25
) -> Points:
    """Return a walk whose direction wanders by ``wander`` radians a step, (steps + 1, 2)."""
    angles = angle + np.cumsum(rng.normal(0, wander, steps)) + rng.normal(0, 0.35, steps)
    strides = rng.uniform(0.01, 0.035, steps)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    walked: Points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(strides, axis=0)])
    return walked


def draw_specks(rng: np.random.Generator, count: int, radius_px: float) -> Iterator[Speck]:
    """Yield specks all over the picture, most of them small."""
    for _ in range(count):
        x, y = rng.uniform(0, 1, 2)
        radius = radius_px * min(float(rng.lognormal(-0.5, 0.5)), 4.0)
        yield float(x), float(y), radius, draw_tone(rng), float(rng.uniform(0.3, 1.0))


def draw_tone(rng: np.random.Generator) -> float:
    """Return a level: mostly that of bare paper, sometimes dark."""
    return float(rng.uniform(10, 70) if rng.random() < DARK_SHARE else rng.uniform(190, 255))


def stain_field(size_px: int, seed: int) -> NDArray[np.float32]:
    """Return an (S, S) smooth field within [-1, 1]; a pure function of its arguments."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (STAIN_CELLS, STAIN_CELLS)).astype(np.float32)
    field = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(field, dtype=np.float32), -1, 1)


def fold(rng: np.random.Generator) -> Points:
    """Return a line across the whole picture, slightly bent, (N, 2) in shares of the side."""
    middle, angle = rng.uniform(0.15, 0.85, 2), rng.uniform(0, np.pi)
    along = np.linspace(-1.2, 1.2, 60)
    bend, turn = rng.normal(0, 0.02), rng.uniform(0, 2 * np.pi)
    aside = bend * np.sin(3 * along + turn) + np.cumsum(rng.normal(0, 0.0012, 60))
    return bent(middle, angle, along, aside)


def bent(start: Points, angle: float, along: Points, aside: Points) -> Points:
    """Return points that lie ``along`` a direction from a start and ``aside`` of it, (N, 2)."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    line: Points = start + along[:, None] * direction + aside[:, None] * across
    return line


def broken_along(rng: np.random.Generator, line: Points, width_px: float) -> Iterator[Line]:
    """Yield the pieces of a fold where the emulsion is gone."""
    tone, share = rng.uniform(200, 255), rng.uniform(0.2, 0.9)
    for first in range(0, len(line) - 2, 2):
        if rng.random() < share:
            jitter = rng.normal(0, 0.0015, (3, 2))
            width = width_px * min(float(rng.lognormal(-0.4, 0.5)), 3.0)
            yield Line(line[first : first + 3] + jitter, width, tone, rng.uniform(0.6, 1.0))


def jagged(rng: np.random.Generator, line: Points, jitter: float) -> Points:
    """Return a line with three points for each of its own, those between set off by about ``jitter``."""
    places = np.linspace(0, len(line) - 1, 3 * len(line))
    finer = np.stack([np.interp(places, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1)
    return finer + rng.normal(0, jitter, finer.shape)


def ribbon(rng: np.random.Generator, line: Points, half: Points) -> tuple[Points, Points]:
    """Return the ragged outline of what lies within about ``half`` of a line, and one of its edges."""
    along = np.gradient(line, axis=0)
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / length
    left, right = (
        line + sign * (half * rng.uniform(0.5, 1.5, len(line)))[:, None] * across for sign in (-1, 1)
    )
    return np.concatenate([left, right[::-1]]), left


def uneven(rng: np.random.Generator, count: int) -> Points:
    """Return how wide a crack is along its way, as a share: here broken open, there a hairline."""
    coarse = rng.normal(0, 0.7, 2 + count // 6)
    return np.exp(np.interp(np.linspace(0, len(coarse) - 1, count), np.arange(len(coarse)), coarse) - 0.2)


def crack(rng: np.random.Generator, width: float) -> Iterator[tuple[Points, Points]]:
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


def tear(rng: np.random.Generator, width: float) -> tuple[Points, Points]:
    """Return the outline of a tear that runs in from the border, and one of its edges; ``width`` is at the border."""
    side, place = rng.integers(4), rng.uniform(0.05, 0.95)
    start = np.array([[place, -0.02], [1.02, place], [place, 1.02], [-0.02, place]][side])
    inward = np.array([0.5, 0.5]) + rng.normal(0, 0.2, 2) - start
    coarse = walk(rng, start, float(np.arctan2(inward[1], inward[0])), steps=int(rng.integers(6, 22)))
    line = jagged(rng, coarse, 0.08 * width)
    return ribbon(rng, line, width / 2 * np.linspace(1, 0, len(line)) ** 0.6 * uneven(rng, len(line)) ** 0.5)


def blob(rng: np.random.Generator, centre: Points, radius: float, *, roughness: float) -> Points:
    """Return an irregular outline around a centre, (96, 2) in shares of the side; rough ones are jagged too."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    reach = np.ones(96)
    for wave in range(1, 7):
        reach += rng.normal(0, 0.22 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    reach += roughness * rng.normal(0, 0.06, 96)
    long, turn = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    x, y = np.cos(angle) * np.maximum(reach, 0.15), long * np.sin(angle) * np.maximum(reach, 0.15)
    turned = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1)
    outline: Points = centre + radius * turned
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

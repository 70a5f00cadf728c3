"""What age leaves on a print: scratches, cracks, dust and stains, laid out by a seed.

The shapes were drawn after scratched family photographs of the early twentieth century: cracks are jagged, branch, and
show the white paper; scratches are thin, long, nearly straight, and mostly light; dust is round and small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SUBPIXEL_BITS = 4
"""Lines are drawn at sixteenths of a pixel, which is what cv2 offers up to 16 bits of coordinates."""
DARK_SHARE = 0.2
"""Share of scratches and specks that are dark: dirt and ink, where most are missing emulsion."""
STAIN_CELLS = 5


class Line(NamedTuple):
    """A polyline: (N, 2) points in shares of the side, its width in px, level and opacity."""

    points: NDArray[np.float64]
    width_px: float
    level: float
    opacity: float


def damage_layers(
    size_px: int, *, scratches: int, cracks: int, specks: int, width_px: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (S, S) opacity in [0, 1] and (S, S) level 0 to 255 of damage; a pure function of its arguments."""
    rng = np.random.default_rng(seed)
    opacity = np.zeros((size_px, size_px), np.float32)
    level = np.full((size_px, size_px), 255, np.float32)
    lines = [draw_scratch(rng, width_px) for _ in range(scratches)]
    for _ in range(cracks):
        lines += draw_crack(rng, width_px)
    for line in lines:
        lay_line(opacity, level, line, size_px)
    lay_specks(opacity, level, draw_specks(rng, specks, width_px), size_px)
    return opacity, level


def lay_specks(
    opacity: NDArray[np.float32],
    level: NDArray[np.float32],
    specks: Iterable[tuple[float, float, float, float, float]],
    size_px: int,
) -> None:
    """Draw round specks, each given by x and y as shares of the side, radius in px, level and opacity."""
    for x, y, radius, tone, cover in specks:
        centre = np.array([[x, y]]) * size_px
        window = window_of(centre, max(radius, 1.0), size_px)
        if window is not None:
            middle = np.rint((centre[0] - window[0]) * 2**SUBPIXEL_BITS).astype(int).tolist()
            reach = max(1, round(radius * 2**SUBPIXEL_BITS))
            shape = np.zeros(window[1], np.uint8)
            cv2.circle(shape, (middle[0], middle[1]), reach, 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)
            lay_shape(opacity, level, shape, window[0], tone, cover * min(1.0, 2 * radius))


def window_of(
    points: NDArray[np.float64], reach_px: float, size_px: int
) -> tuple[NDArray[np.int64], tuple[int, int]] | None:
    """Return the (left, top) and the (height, width) of what holds all points; None where that is off the picture."""
    first = np.clip(np.floor(points.min(axis=0) - reach_px - 2), 0, size_px).astype(np.int64)
    last = np.clip(np.ceil(points.max(axis=0) + reach_px + 3), 0, size_px).astype(np.int64)
    width, height = (last - first).tolist()
    return (first, (height, width)) if width > 0 and height > 0 else None


def lay_line(opacity: NDArray[np.float32], level: NDArray[np.float32], line: Line, size_px: int) -> None:
    """Draw a line; a width under a pixel is drawn as a weaker one of a pixel."""
    points = line.points * size_px
    window = window_of(points, line.width_px, size_px)
    if window is None:
        return
    shape = np.zeros(window[1], np.uint8)
    places = np.rint((points - window[0]) * 2**SUBPIXEL_BITS).astype(np.int32)
    strength, thickness = round(255 * min(1.0, line.width_px)), max(1, round(line.width_px))
    cv2.polylines(shape, [places], False, strength, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    lay_shape(opacity, level, shape, window[0], line.level, line.opacity)


def lay_shape(
    opacity: NDArray[np.float32],
    level: NDArray[np.float32],
    shape: NDArray[np.uint8],
    corner: NDArray[np.int64],
    tone: float,
    cover: float,
) -> None:
    """Lay a shape, whose left upper corner is given, onto both layers, the later over the earlier."""
    left, top = corner.tolist()
    here = np.s_[top : top + shape.shape[0], left : left + shape.shape[1]]
    share = shape.astype(np.float32) * np.float32(cover / 255)
    level[here][shape > 0] = tone
    opacity[here] = np.maximum(opacity[here], share)


def draw_scratch(rng: np.random.Generator, width_px: float) -> Line:
    """Return a nearly straight line across a part of the picture."""
    start, angle = rng.uniform(-0.1, 1.1, 2), rng.normal(np.pi / 2, 0.6)
    length, bend = rng.uniform(0.1, 1.0), rng.normal(0, 0.04)
    along = np.linspace(0, 1, 12)
    aside = bend * np.sin(np.pi * along) + rng.normal(0, 0.002, 12)
    direction = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    points = start + length * along[:, None] * direction + aside[:, None] * across
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
    rng: np.random.Generator, start: NDArray[np.float64], angle: float, *, steps: int, wander: float = 0.25
) -> NDArray[np.float64]:
    """Return a walk whose direction wanders by ``wander`` radians a step, (steps + 1, 2)."""
    angles = angle + np.cumsum(rng.normal(0, wander, steps)) + rng.normal(0, 0.35, steps)
    strides = rng.uniform(0.01, 0.035, steps)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    walked: NDArray[np.float64] = start + np.concatenate([np.zeros((1, 2)), np.cumsum(strides, axis=0)])
    return walked


def draw_specks(
    rng: np.random.Generator, count: int, radius_px: float
) -> Iterator[tuple[float, float, float, float, float]]:
    """Yield x and y as shares of the side, radius in px, level and opacity; most are small."""
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

"""Pictures without a face, drawn from a seed: noise, weave, brick, leaves, dots, print, wood, cells and more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Grey = NDArray[np.float32]


def texture(size: tuple[int, int], seed: int) -> Pixels:
    """Return a (height, width, 3) RGB picture; the kinds take turns by the seed.

    Args:
        size: width and height, px.
        seed: of all that is drawn.
    """
    rng = np.random.default_rng([seed, 7])
    grey = KINDS[seed % len(KINDS)](size, rng)
    low, high = np.percentile(grey[::4, ::4], [1, 99])
    grey = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    dark, light = rng.uniform(0, 110, 3), rng.uniform(130, 255, 3)
    picture = np.empty((*grey.shape, 3), np.uint8)
    for channel in range(3):
        picture[..., channel] = dark[channel] + (light[channel] - dark[channel]) * grey
    grain = rng.normal(0, 4, (512, 512, 3)).astype(np.int16)
    for top in range(0, len(picture), 512):  # row by row, to hold no second picture in 16 bits
        band = picture[top : top + 512]
        tiled = np.tile(grain, (1, -(-band.shape[1] // 512), 1))[: len(band), : band.shape[1]]
        band[:] = np.clip(band + tiled, 0, 255)
    return picture


def clouds(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return noise of equal strength at every octave, as photographs have it."""
    import cv2

    width, height = size
    grey = np.zeros((height, width), np.float32)
    for cell in (4, 8, 16, 32, 64, 128, 256, 512):
        coarse = rng.normal(0, 1, (height // cell + 3, width // cell + 3)).astype(np.float32)
        large = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        grey += large[:height, :width]
    return grey


def weave(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return a plaid of stripes across and down."""
    x, y = (np.arange(side, dtype=np.float32) for side in size)
    across = sum(np.sin(2 * np.pi * x / p + rng.uniform(0, 6)) for p in rng.uniform(6, 150, 4))
    down = sum(np.sin(2 * np.pi * y / p + rng.uniform(0, 6)) for p in rng.uniform(6, 150, 4))
    return (across[None] + down[:, None]).astype(np.float32) + 0.4 * clouds(size, rng)


def bricks(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return a wall."""
    width, height = int(rng.integers(30, 160)), int(rng.integers(14, 70))
    y, x = np.ogrid[: size[1], : size[0]]
    row = y // height
    x = x + row % 2 * (width // 2)
    joint = ((x % width < 4) | (y % height < 4)).astype(np.float32)
    tone = (((x // width) * 7919 + row * 104729) % 97).astype(np.float32) / 97
    return tone - 1.2 * joint + 0.15 * clouds(size, rng)


def leaves(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return ellipses of all sizes, one over the other, as falling leaves hide each other."""
    import cv2

    grey = 0.3 * clouds(size, rng)
    for _ in range(min(6000, size[0] * size[1] // 1500)):
        axes = rng.pareto(2.0, 2) * 12 + 5
        place = tuple(int(c) for c in rng.uniform((0, 0), size))
        half = (int(min(axes[0], 220)), int(min(axes[1], 220)))
        cv2.ellipse(
            grey, place, half, float(rng.uniform(0, 180)), 0, 360, float(rng.normal(0, 2)), -1, cv2.LINE_AA
        )
    return grey


def dots(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return a halftone: dots in a turned grid, their size after a cloud."""
    angle, pitch = rng.uniform(0, 1.5), rng.uniform(5, 60)
    y, x = np.ogrid[: size[1], : size[0]]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = np.cos(2 * np.pi * u / pitch) + np.cos(2 * np.pi * v / pitch)
    return np.clip(3 * (wave + 0.3 * clouds(size, rng)), -1, 1).astype(np.float32)


def print_(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return lines of letters."""
    import cv2

    page = np.full((size[1], size[0]), 255, np.uint8)  # putText draws in 8 bits only
    height = int(rng.integers(14, 90))
    letters = np.array(list("etaoin shrdlu CMFWYP.,;0O8&@"))
    for y in range(height, size[1], round(height * 1.6)):
        line = "".join(rng.choice(letters, size[0] * 2 // height + 4))
        cv2.putText(
            page, line, (5, y), int(rng.integers(8)), height / 30, 0, max(1, height // 16), cv2.LINE_AA
        )
    return page.astype(np.float32) / 255 + 0.05 * clouds(size, rng)


def wood(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return rings about a point, bent by a cloud; knots of wood are taken for eyes."""
    y, x = np.ogrid[: size[1], : size[0]]
    place = rng.uniform((0, 0), size)
    away = np.hypot((x - place[0]) * rng.uniform(0.1, 1), y - place[1]).astype(np.float32)
    return np.sin(away / rng.uniform(3, 25) + 1.5 * clouds(size, rng)).astype(np.float32)


def cells(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return the distance to the nearest of many points: leather, cells, cracked ground."""
    import cv2

    field = np.full((size[1], size[0]), 255, np.uint8)
    count = int(size[0] * size[1] / rng.uniform(300, 20000)) + 2
    spots = rng.integers((0, 0), size, (count, 2))
    field[spots[:, 1], spots[:, 0]] = 0
    return cv2.distanceTransform(field, cv2.DIST_L2, 3).astype(np.float32) + 2 * clouds(size, rng)


def windows(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return a front with windows and doors: two above one, as eyes stand above a mouth."""
    import cv2

    grey = 0.2 * clouds(size, rng)
    pitch = int(rng.integers(40, 260))
    for top in range(0, size[1], pitch):
        for left in range(0, size[0], pitch):
            w, h = (int(v) for v in rng.uniform(0.2, 0.6, 2) * pitch)
            x, y = left + pitch // 5, top + pitch // 5
            cv2.rectangle(grey, (x, y), (x + w, y + h), float(rng.normal(-2, 1)), -1)
            cv2.line(grey, (x, y + h // 2), (x + w, y + h // 2), 1.0, max(1, pitch // 40))
    return grey


def pebbles(size: tuple[int, int], rng: np.random.Generator) -> Grey:
    """Return shaded balls, each with two dark spots and a line here and there."""
    import cv2

    grey = 0.3 * clouds(size, rng)
    for _ in range(min(3000, size[0] * size[1] // 4000)):
        radius = int(min(150, rng.pareto(1.5) * 15 + 8))
        place = rng.integers((0, 0), size)
        tone = float(rng.normal(0, 1))
        for share in (1.0, 0.75, 0.5, 0.25):
            middle = tuple(int(c) for c in place - radius * (1 - share) * 0.3)
            cv2.circle(grey, middle, max(1, int(radius * share)), tone + 1.5 * (1 - share), -1, cv2.LINE_AA)
        for spot in rng.normal(0, 0.35, (int(rng.integers(0, 4)), 2)):
            middle = tuple(int(c) for c in place + spot * radius)
            cv2.circle(grey, middle, max(1, radius // 8), tone - 2, -1, cv2.LINE_AA)
    return grey


KINDS: tuple[Callable[[tuple[int, int], np.random.Generator], Grey], ...] = (
    clouds,
    weave,
    bricks,
    leaves,
    dots,
    print_,
    wood,
    cells,
    windows,
    pebbles,
)

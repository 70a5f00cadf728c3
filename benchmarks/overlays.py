"""What lies over a photograph and is no part of it: six kinds, drawn at random from a seed.

Each takes an (S, S, 3) uint8 RGB picture and a generator, and returns another of the same form. Widths are those of a
picture of 256 px and grow with it; rows and dots are in pixels of the picture, as screens and interlace make them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.pixels import whole_levels

Picture = NDArray[np.uint8]
Overlay = Callable[[Picture, np.random.Generator], Picture]

WIDTHS_AT_PX = 256
SUBPIXEL_BITS = 4  # of OpenCV's drawing
WORDS = ("SAMPLE", "PREVIEW", "(c) PHOTO ARCHIVE", "DO NOT COPY", "stock image")


def crease(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a print that was folded once, straight through the face: paper shows, or dirt."""
    side = len(picture)
    angle, middle = rng.uniform(0, np.pi), side * rng.uniform(0.4, 0.65, 2)
    reach = side * np.array([np.cos(angle), np.sin(angle)])
    ends = np.stack([middle - reach, middle + reach])
    cover = _lines(side, [ends], widths=[rng.uniform(2, 6) * side / WIDTHS_AT_PX])
    return _blended(picture, cover * rng.uniform(0.6, 1), _extreme(rng))


def scratches(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a print or film with 3 to 12 thin scratches, slightly bent, most of them along one direction."""
    side = len(picture)
    along = rng.uniform(0, np.pi)
    lines = [_scratch(side, along, rng) for _ in range(rng.integers(3, 13))]
    widths = rng.uniform(0.7, 2, len(lines)) * side / WIDTHS_AT_PX
    cover = _lines(side, lines, widths=widths.tolist())
    return _blended(picture, cover * rng.uniform(0.4, 1), _extreme(rng))


def comb(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a frame of interlaced video: every second row was taken later, after a move of 2 to 8 px."""
    shift = int(rng.integers(2, 9)) * (1 if rng.random() < 0.5 else -1)
    moved = cv2.warpAffine(
        picture,
        np.array([[1.0, 0, shift], [0, 1, 0]]),
        picture.shape[1::-1],
        borderMode=cv2.BORDER_REFLECT_101,
    )
    combed = picture.copy()
    combed[1::2] = moved[1::2]
    return combed


def scan_lines(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a screen's picture: of every 2 to 6 rows up to half are darker, by 15% to 60%."""
    period = int(rng.integers(2, 7))
    dark = int(rng.integers(1, period // 2 + 1))
    factor = np.where(np.arange(len(picture)) % period < dark, 1 - rng.uniform(0.15, 0.6), 1)
    return whole_levels(picture * factor[:, None, None])


def halftone(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a printed picture: a screen of dots 3 to 8 px apart, at any angle, soft or hard, over the tones."""
    side = len(picture)
    pitch, angle = rng.uniform(3, 8), rng.choice([0, 15, 45, 75, rng.uniform(0, 90)])
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    turned = (x + 1j * y) * np.exp(1j * np.deg2rad(angle)) * 2 * np.pi / pitch
    screen = (np.cos(turned.real) + np.cos(turned.imag)) / 2
    hardness = rng.uniform(0, 4)
    screen = np.tanh(hardness * screen) / np.tanh(hardness)
    return whole_levels(picture * (1 + rng.uniform(0.1, 0.4) * screen[..., None]))


def watermark(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a stock picture: words across the face, once or tiled, level or slanting, half transparent."""
    side = len(picture)
    word, font = rng.choice(WORDS), int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    tiled = rng.random() < 0.5
    height = side * (rng.uniform(0.05, 0.09) if tiled else rng.uniform(0.09, 0.18))
    size = height / 22  # of OpenCV's fonts, whose capitals are 22 px tall
    thick = max(1, round(height / 8))
    canvas = np.zeros((2 * side, 2 * side), np.uint8)
    wide = cv2.getTextSize(word, font, size, thick)[0][0]
    gap = height * rng.uniform(2.5, 4)
    rows = np.arange(0, 2 * side, gap) if tiled else [side * rng.uniform(0.85, 1.2)]
    for number, row in enumerate(rows):
        starts = np.arange(-(number % 2) * wide / 2, 2 * side, wide * 1.3) if tiled else [side - wide / 2]
        for start in starts:
            cv2.putText(canvas, word, (int(start), int(row)), font, size, 255, thick, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((side, side), float(rng.choice([0, rng.uniform(-45, 45)])), 1)
    turn[:, 2] -= side / 2
    cover = cv2.warpAffine(canvas, turn, (side, side)) / 255
    return _blended(picture, cover * rng.uniform(0.25, 0.7), _extreme(rng))


OVERLAYS: Mapping[str, Overlay] = MappingProxyType(
    {
        "crease": crease,
        "scratches": scratches,
        "comb": comb,
        "scan lines": scan_lines,
        "halftone": halftone,
        "watermark": watermark,
    }
)


def _scratch(side: int, along: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (N, 2) points of a scratch through the middle two thirds of the picture."""
    angle = along + rng.normal(0, 0.25)
    middle, length = side * rng.uniform(0.2, 0.8, 2), side * rng.uniform(0.3, 1)
    steps = np.linspace(-0.5, 0.5, 17)
    bend = side * rng.normal(0, 0.03) * (1 - (2 * steps) ** 2)
    forward, aside = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    return np.asarray(middle + length * steps[:, None] * forward + bend[:, None] * aside)


def _lines(side: int, lines: list[NDArray[np.float64]], *, widths: list[float]) -> NDArray[np.float64]:
    """Return the (S, S) cover, 0 to 1, of polylines; drawn four times as large, so that widths are fractions too."""
    dense = 4
    canvas = np.zeros((side * dense, side * dense), np.uint8)
    for points, width in zip(lines, widths, strict=True):
        fixed = np.rint(points * dense * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, [fixed], False, 255, max(1, round(width * dense)), cv2.LINE_8, SUBPIXEL_BITS)
    return np.asarray(cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / 255)


def _extreme(rng: np.random.Generator) -> float:
    """Return the level of paper, of a light colour, or of dirt."""
    return float(rng.uniform(200, 255) if rng.random() < 0.7 else rng.uniform(0, 50))


def _blended(picture: Picture, cover: NDArray[np.float64], level: float) -> Picture:
    return whole_levels(picture + cover[..., None] * (level - picture))

"""What cameras, light and years do to a composite: tone, colour, blur, noise, compression."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import degrade, preset

PRESETS = ("gfpgan", "severe", "old-photo", "psfr")
PRESET_SHARE = (
    0.2  # of the pictures whose faces are all large enough for the presets, which are made for one face
)
PRESET_SIDE_PX = 70  # a preset's blur is stated for a face that fills its picture
BLUR_MOST = 0.045  # sigma over the smallest face's side; the severest blur of `gfpgan` is 10 px of 317
NOISE_SIDE_PX = 1024  # of the field that noise is cut from; pictures are smaller
SMALLEST_PX = 9.0  # side below which a face is not reduced further


def photographed(
    picture: NDArray[np.uint8], smallest_px: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return an (S, S, 3) uint8 picture as a worse camera, light or age might have left it.

    Args:
        picture: the clean picture.
        smallest_px: side of its smallest face, which must stay a face.
        rng: source of every choice.
    """
    toned = _vary_tone(_vary_colour(picture, rng), rng)
    if smallest_px >= PRESET_SIDE_PX and rng.random() < PRESET_SHARE:
        return np.asarray(degrade(toned, preset(str(rng.choice(PRESETS))), rng)[0], dtype=np.uint8)
    if rng.random() < 0.25:
        return toned
    return _vary_compression(_vary_noise(_vary_sharpness(toned, smallest_px, rng), rng), rng)


def _vary_colour(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture in colour, grey, sepia or under coloured light."""
    kind = rng.random()
    if kind < 0.55:
        return picture
    if kind < 0.85:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if kind < 0.76:
            return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
        paper = np.array([255, rng.uniform(200, 245), rng.uniform(130, 210)]) / 255
        shade = np.arange(256)[:, None] * paper
        return np.asarray(shade.astype(np.uint8)[grey])
    gains = np.clip(np.exp(rng.normal(0, 0.2, 3)), 0.5, 1.5)
    table = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[None]), dtype=np.uint8)


def _vary_tone(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture lighter, darker, flatter or over-exposed, and sometimes lit from one side."""
    level = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.3))
    kind = rng.random()
    if kind < 0.1:
        level = level * rng.uniform(1.2, 2.0)
    elif kind < 0.2:
        level = level * rng.uniform(0.25, 0.7)
    elif kind < 0.35:
        level = level * rng.uniform(0.3, 0.8) + rng.uniform(0.0, 0.3)
    toned = cv2.LUT(picture, (np.clip(level, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.15:
        ramp = np.linspace(rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.2), len(picture), dtype=np.float32)
        ramp = ramp[:, None, None] if rng.random() < 0.3 else ramp[None, :, None]
        toned = np.clip(toned * ramp, 0, 255).astype(np.uint8)
    return np.asarray(toned, dtype=np.uint8)


def _vary_sharpness(
    picture: NDArray[np.uint8], smallest_px: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the picture blurred, or reduced and enlarged again, as far as its smallest face bears."""
    size, kind = picture.shape[1::-1], rng.random()
    if kind < 0.4:
        sigma = rng.uniform(0.0, BLUR_MOST) * smallest_px
        return (
            picture if sigma < 0.3 else np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)
        )
    if kind < 0.75:
        factor = max(rng.uniform(0.15, 1.0), min(1.0, SMALLEST_PX / smallest_px))
        smaller = (max(8, round(size[0] * factor)), max(8, round(size[1] * factor)))
        reduced = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
        way = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        return np.asarray(cv2.resize(reduced, size, interpolation=way), dtype=np.uint8)
    if kind < 0.85:
        blurred = cv2.GaussianBlur(picture, (0, 0), 1.0)
        strength = rng.uniform(0.3, 1.5)
        return np.asarray(cv2.addWeighted(picture, 1 + strength, blurred, -strength, 0), dtype=np.uint8)
    return picture


def _vary_noise(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with noise of one or three colours, half of the time."""
    if rng.random() < 0.5:
        return picture
    field, height, width = _noise_field(), *picture.shape[:2]
    top, left = rng.integers(0, [NOISE_SIDE_PX - height + 1, NOISE_SIDE_PX - width + 1])
    channels = slice(0, 1) if rng.random() < 0.5 else slice(None)
    piece = field[top : top + height, left : left + width, channels] * np.float32(rng.uniform(2, 22))
    noisy = picture + (piece[::-1] if rng.random() < 0.5 else piece)
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


@cache
def _noise_field() -> NDArray[np.float32]:
    """Return one large field of white noise, pieces of which are much cheaper than new noise."""
    shape = (NOISE_SIDE_PX, NOISE_SIDE_PX, 3)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _vary_compression(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture after JPEG of some quality, two times in three."""
    if rng.random() < 0.33:
        return picture
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])

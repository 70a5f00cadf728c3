"""Gives restored faces the grain of their surroundings, so that a face in a grainy photo does not look pasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.imaging.alignment import invert_affine, transform_points, upscale_affine
from facerestore.imaging.blending import Paste
from facerestore.quality.grain import LEAST_LEVELS, Grain, drawn, grain_of, is_smooth, missing
from facerestore.types import Affine, Image, Mask

SURROUNDINGS = 0.25
"""How far beyond a face's crop its surroundings reach, in sides of the crop."""

INSIDE = 0.9
"""Of the mask's most: from here on a pixel is the restored face's."""

WORTH = 0.85
"""Faces with this share of their surroundings' grain, or more, have enough of their own."""

LEVELS = 255.0

SEED = 20261129


class _Area(NamedTuple):
    """A face on the canvas: its rectangle with what surrounds it, and how much of the face is in each pixel."""

    rows: slice
    columns: slice
    share: Mask


def with_grain(pixels: Image, pastes: Sequence[Paste], *, size: tuple[int, int]) -> Image:
    """Return a result, its pasted faces with the grain of their surroundings; without a mask no pixel is touched.

    Args:
        pixels: (H, W, 3) RGB, uint8 or uint16, with the faces in it; written to, and returned.
        pastes: the faces.
        size: (W, H) of the photo, pixels.
    """
    ratio = (pixels.shape[1] / size[0], pixels.shape[0] / size[1])
    affines = [upscale_affine(paste.affine, ratio) for paste in pastes]
    taken = np.zeros(pixels.shape[:2], dtype=np.bool_)
    areas = [_area_of(paste, affine, pixels.shape) for paste, affine in zip(pastes, affines, strict=True)]
    for area in areas:
        taken[area.rows, area.columns] |= area.share > 0
    for area in areas:
        _give(pixels[area.rows, area.columns], area.share, ~taken[area.rows, area.columns])
    return pixels


def _area_of(paste: Paste, to_crop: Affine, shape: tuple[int, ...]) -> _Area:
    import cv2

    side = paste.lq.shape[0]
    low, high = -SURROUNDINGS * side, (1 + SURROUNDINGS) * side
    corners = transform_points(invert_affine(to_crop), [(low, low), (high, low), (low, high), (high, high)])
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), (shape[1], shape[0]))
    moved = np.column_stack([to_crop[:, :2], to_crop[:, 2] + to_crop[:, :2] @ (left, top)])
    mask = paste.mask * np.asarray(paste.strength, dtype=np.float32)
    share = cv2.warpAffine(
        mask, moved, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return _Area(slice(top, bottom), slice(left, right), np.clip(share, 0, 1).astype(np.float32))


def _give(pixels: Image, share: Mask, outside: NDArray[np.bool_]) -> None:
    """Write the grain that a face lacks into its pixels."""
    most = float(share.max(initial=0))
    limit = np.iinfo(pixels.dtype).max
    levels = pixels.astype(np.float32) * np.float32(LEVELS / limit)
    if most == 0 or is_smooth(levels, outside):
        return
    around = grain_of(levels, outside)
    if around is None or not around.alike or around.levels < LEAST_LEVELS:
        return
    own = grain_of(levels, share >= INSIDE * most)
    if own is None or own.levels >= WORTH * around.levels:
        return
    noise = _noise(around, own, share.shape, grey=bool((pixels == pixels[..., :1]).all()))
    # Where the input shines through, its own grain does too: of variance (1 - share) squared.
    lacking = np.sqrt((1 - (1 - share) ** 2) / (1 - (1 - most) ** 2))[..., None]
    grainy = np.rint((levels + noise * lacking) * np.float32(limit / LEVELS))
    np.copyto(pixels, np.clip(grainy, 0, limit).astype(pixels.dtype), where=share[..., None] > 0)


def _noise(around: Grain, own: Grain, shape: tuple[int, int], *, grey: bool) -> NDArray[np.float32]:
    spectra = missing(around, own)
    if grey:
        spectra[1:] = 0
    return drawn(spectra, shape, seed=SEED + shape[0] * shape[1])

"""Gives restored faces the grain of their surroundings, so that a face in a grainy photo does not look pasted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from facerestore.engines.cores import side_by_side
from facerestore.imaging.alignment import invert_affine, transform_points, upscale_affine
from facerestore.imaging.blending import Paste, Rectangle, overlapping
from facerestore.imaging.pixels import is_grey
from facerestore.quality.grain import (
    LEAST_LEVELS,
    Spectrum,
    drawn,
    grain_of,
    grains_of,
    is_smooth,
    rounding,
    white_noise,
)
from facerestore.types import Affine, Image, Mask

SURROUNDINGS = 0.25
"""How far beyond a face's crop its surroundings reach, in sides of the crop."""

INSIDE = 0.9
"""Of the mask's most: from here on a pixel is the restored face's."""

LEAST_LACK = 0.15
"""Faces that lack less of the power of the grain's luma have enough of their own: 0.92 of its standard deviation."""

REACH_PX = 24
"""From a face its grain is measured: the blur that leaves light and shade, of 5 px, has 20 px to each side."""

LEVELS = 255.0

SEED = 20261129


class _Area(NamedTuple):
    """A face on the canvas: its rectangle with what surrounds it, and how much of the face is in each pixel."""

    rows: slice
    columns: slice
    share: Mask

    @property
    def most(self) -> float:
        """How much of the face is in a pixel at most."""
        return float(self.share.max(initial=0))

    @property
    def inner(self) -> NDArray[np.bool_]:
        """Where the face is."""
        return np.asarray(self.share >= INSIDE * self.most)

    @property
    def face(self) -> tuple[slice, slice]:
        """The rows and columns of the area in which there is anything of the face."""
        rows, columns = (np.flatnonzero((self.share > 0).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return slice(0), slice(0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    @property
    def reach(self) -> Rectangle:
        """What is looked at and written to where the face gets grain, pixels of the canvas."""
        rows, columns = self.face
        left, top = self.columns.start - REACH_PX, self.rows.start - REACH_PX
        right, bottom = self.columns.start + REACH_PX, self.rows.start + REACH_PX
        return Rectangle(left + columns.start, top + rows.start, right + columns.stop, bottom + rows.stop)


def with_grain(canvas: Image, pastes: Sequence[Paste], *, size: tuple[int, int]) -> Callable[[Image], Image]:
    """Return what gives pasted faces the grain of the photo; without a mask no pixel is touched.

    Args:
        canvas: (H, W, 3) RGB, uint8 or uint16, before the faces are pasted.
        pastes: the faces.
        size: (W, H) of the photo, pixels.

    Returns:
        Takes the canvas with the faces in it, writes to it, and returns it.
    """
    ratio = (canvas.shape[1] / size[0], canvas.shape[0] / size[1])
    affines = [upscale_affine(paste.affine, ratio) for paste in pastes]
    taken = np.zeros(canvas.shape[:2], dtype=np.bool_)
    areas = [_area_of(paste, affine, canvas.shape) for paste, affine in zip(pastes, affines, strict=True)]
    for area in areas:
        taken[area.rows, area.columns] |= area.share > 0
    grains = side_by_side(lambda area: _grain_at(canvas, area, ~taken[area.rows, area.columns]), areas)
    grainy = [(area, grain) for area, grain in zip(areas, grains, strict=True) if grain is not None]

    def give(pixels: Image) -> Image:
        faces: list[Image] = [pixels[area.rows, area.columns] for area, _ in grainy]
        grey = [is_grey(face) for face in faces]

        def give_some(group: Sequence[int]) -> None:
            for index in group:
                _give(faces[index], *grainy[index], grey=grey[index])

        side_by_side(give_some, overlapping([area.reach for area, _ in grainy]))
        return pixels

    return give


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


def _levels(pixels: Image) -> NDArray[np.float32]:
    return pixels.astype(np.float32) * np.float32(LEVELS / np.iinfo(pixels.dtype).max)


def _grain_at(canvas: Image, area: _Area, outside: NDArray[np.bool_]) -> Spectrum | None:
    """Return the grain that lies on a face and around it, before the face is pasted; None where nobody sees any.

    It is the power of luma and two planes of colour, see `Grain`. What is on both is grain, texture is on one of them.
    """
    levels = _levels(canvas[area.rows, area.columns])
    if area.most == 0 or is_smooth(levels, outside):
        return None
    around, on_face = grains_of(levels, [outside, area.inner], least_levels=LEAST_LEVELS)
    if around is None or not (around.alike or on_face):
        return None
    grain = around.spectra if on_face is None else np.minimum(around.spectra, on_face.spectra)
    return grain if grain[0].sum() >= LEAST_LEVELS**2 else None


def _give(pixels: Image, area: _Area, grain: Spectrum, *, grey: bool) -> None:
    """Write the grain that a face lacks into its pixels, those of its area; ``grey`` where they have one channel."""
    limit, levels = np.iinfo(pixels.dtype).max, _levels(pixels)
    own = grain_of(levels, area.inner)
    if own is None:
        return
    lacks = np.maximum(grain - own.spectra - rounding(LEVELS / limit, grey=grey), 0)
    if lacks[0].sum() <= LEAST_LACK * grain[0].sum():
        return
    if grey:
        lacks[1:] = 0
    face, (height, width) = area.face, area.share.shape
    share, smooth = area.share[face], levels[face].copy()
    # Where the input shines through, its own grain does too: of variance (1 - share) squared.
    lacking = np.sqrt((1 - (1 - share) ** 2) / (1 - (1 - area.most) ** 2))[..., None]
    white = white_noise((height, width), seed=SEED + height * width)

    def grainy(power: Spectrum) -> Image:
        found = drawn(power, white, face)
        found *= lacking
        found += smooth
        found *= np.float32(limit / LEVELS)
        np.clip(np.rint(found, out=found), 0, limit, out=found)
        return cast("Image", found.astype(pixels.dtype))

    # Features and grain together have another spread than grain alone, so what came out is measured, and made good.
    levels[face] = _levels(grainy(lacks))
    came = grain_of(levels, area.inner)
    if came is not None:
        lacks = np.clip(lacks + grain - came.spectra, lacks / 2, 2 * lacks)
    np.copyto(pixels[face], grainy(lacks), where=share[..., None] > 0)

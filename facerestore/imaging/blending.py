"""Blending: restored faces go back into the photo, each inside its own rectangle.

A canvas pixel is ``(1 - a) * background + a * sum(m_i * face_i) / sum(m_i)`` with ``a = 1 - prod(1 - m_i)``,
where ``m_i`` is the soft mask of face i times its strength. It does not depend on the order of the faces, and
where faces overlap one fades into the other. Where no mask reaches, nothing is written at all.

A face that is larger in the photo than ``face_size`` is enlarged with bicubic interpolation: what the photo
may hold above the resolution of the model (detail and noise) is not carried over. The judge keeps such faces
when they are sharp; for the others the model's resolution is the better one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from facerestore.errors import BackendError, ConfigError, ImageError
from facerestore.imaging.alignment import template, upscale_affine
from facerestore.imaging.pixels import checked_canvas, match_colour, resize_face, resize_image
from facerestore.types import Affine, AlignedFace, DetectedFace, FaceImage, Image, Mask

POINT_SAMPLED_REDUCTION = 1.1
"""Up to here a face is sampled at points: only the uppermost tenth of its band can fold."""

BAND_PIXELS = 2**19
"""Canvas pixels blended at a time: about 20 MB of floats, whatever the size of the face in the photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Paste:
    """One restored face and where it goes.

    Attributes:
        affine: (2, 3) float64, image pixels to pixels of the crop.
        restored: (S, S, 3) float32 RGB in [0, 1].
        lq: (S, S, 3) float32 RGB in [0, 1], the crop as it was; what the colours are matched to.
        mask: (S, S) float32 in [0, 1].
        strength: share of the restored face, 0 to 1; one number, or one for each pixel of the crop, (S, S) float32.
    """

    affine: Affine
    restored: FaceImage
    lq: FaceImage
    mask: Mask
    strength: float | Mask = 1.0

    def __post_init__(self) -> None:
        """Check sizes and values.

        Raises:
            ConfigError: sizes differ, the affine is singular, or the strength is outside 0 to 1.
            BackendError: ``restored`` holds a value that is not finite.
        """
        size = self.restored.shape[0]
        if self.restored.shape != (size, size, 3) or self.lq.shape != (size, size, 3):
            raise ConfigError(
                f"restored {self.restored.shape} and lq {self.lq.shape} differ; give (S, S, 3) for both"
            )
        if self.mask.shape != (size, size):
            raise ConfigError(f"the mask is {self.mask.shape}; give ({size}, {size}), the size of the face")
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:, :2])) < np.finfo(float).eps:
            raise ConfigError(f"the affine {self.affine.tolist()} has no inverse; drop this face")
        if np.shape(self.strength) not in ((), (size, size)):
            raise ConfigError(
                f"the strength is {np.shape(self.strength)}; give a number or ({size}, {size}), the size of the face"
            )
        _check_strength(self.strength)
        if not np.isfinite(self.restored).all():
            raise BackendError(
                "the restored face holds values that are not finite; the weights or the device failed"
            )


class Rectangle(NamedTuple):
    """Canvas pixels [left, right) x [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    def touches(self, other: Rectangle) -> bool:
        """Say whether both have a pixel in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def intersection(self, other: Rectangle) -> Rectangle:
        """Return what both have in common."""
        return Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def union(self, other: Rectangle) -> Rectangle:
        """Return the least rectangle that holds both."""
        return Rectangle(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


class _Placed(NamedTuple):
    """A face ready to be warped: colours, mask times strength, canvas to crop, and where it lands."""

    face: FaceImage
    mask: Mask
    to_crop: Affine
    area: Rectangle


def paste_faces(
    image: Image,
    pastes: Sequence[Paste],
    *,
    upscale: float = 1.0,
    colour_match: bool = True,
    canvas: Image | None = None,
) -> Image:
    """Return ``image``, enlarged by ``upscale``, with the restored faces in it.

    The background is ``canvas`` where one is given, else the photo resized with Lanczos; a face goes from its crop
    straight onto the canvas, at the full resolution of the model: bicubic where it grows, area-averaged where it
    shrinks. At upscale 1 every pixel outside the masks is the canvas's or the input's, bit for bit, and so is every
    pixel of a face with strength 0.

    Args:
        image: (H, W, 3) RGB, uint8 or uint16; not changed.
        pastes: the faces, in any order: the result is the same.
        upscale: factor between the image and the result, above 0.
        colour_match: give the restored faces the low-frequency colours of the photo.
        canvas: the photo at the size of the result, to paste on; written to, and returned.

    Returns:
        (round(upscale * H), round(upscale * W), 3) RGB of the input's dtype, rounded to nearest; a new array unless
        ``canvas`` was given.

    Raises:
        ConfigError: ``upscale`` is out of range, or the canvas has another size or dtype.
    """
    canvas = resize_image(image, upscale) if canvas is None else checked_canvas(canvas, image, upscale)
    ratio = (canvas.shape[1] / image.shape[1], canvas.shape[0] / image.shape[0])
    placed = [_place(p, ratio, colour_match, canvas.shape) for p in sorted(pastes, key=_sort_key)]
    seen = [p for p in placed if p is not None]
    for group in overlapping([p.area for p in seen]):
        _blend_group(canvas, [seen[index] for index in group])
    return canvas


def _place(
    paste: Paste, ratio: tuple[float, float], colour_match: bool, shape: tuple[int, ...]
) -> _Placed | None:
    """Return the face ready to be warped onto the canvas; None where nothing of it would be seen."""
    mask = np.clip(paste.mask, 0, 1) * np.asarray(paste.strength, dtype=np.float32)
    support = _support(mask)
    if support is None:
        return None
    to_crop = upscale_affine(paste.affine, ratio)
    area = _landing(support, to_crop, shape)
    if area is None:
        return None
    face = match_colour(paste.restored, paste.lq, paste.mask) if colour_match else paste.restored
    return _Placed(face=face, mask=mask, to_crop=to_crop, area=area)


def _support(mask: Mask) -> Rectangle | None:
    """Return the rectangle of the mask's pixels above 0; None where there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _landing(support: Rectangle, to_crop: Affine, shape: tuple[int, ...]) -> Rectangle | None:
    """Return the canvas rectangle that the support of the mask reaches; None where it lies outside."""
    inverse = np.linalg.inv(to_crop[:, :2])
    # One pixel to each side: linear interpolation carries the mask that far.
    x, y = (support.left - 1, support.right), (support.top - 1, support.bottom)
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[0], y[1]), (x[1], y[1])], dtype=np.float64)
    reached = (corners - to_crop[:, 2]) @ inverse.T
    left, top = np.floor(reached.min(axis=0)).astype(int)
    right, bottom = np.ceil(reached.max(axis=0)).astype(int) + 1
    area = Rectangle(
        max(int(left), 0), max(int(top), 0), min(int(right), shape[1]), min(int(bottom), shape[0])
    )
    return area if area.left < area.right and area.top < area.bottom else None


def touched_area(
    affine: Affine, face_size: int, *, shape: tuple[int, ...], upscale: float
) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of the pixels of a result beyond which a face changes nothing; None for none.

    Args:
        affine: (2, 3) float64, image pixels to pixels of the crop.
        face_size: side of the crop, pixels.
        shape: of the photo, (H, W) or more.
        upscale: factor between the photo and the result.
    """
    height, width = (round(upscale * side) for side in shape[:2])
    to_crop = upscale_affine(affine, (width / shape[1], height / shape[0]))
    return _landing(Rectangle(0, 0, face_size, face_size), to_crop, (height, width))


def overlapping(areas: Sequence[Rectangle]) -> list[list[int]]:
    """Return the places of rectangles in groups of those that touch, each group in the given order."""
    groups: list[list[int]] = []
    for index, area in enumerate(areas):
        joined = [g for g in groups if any(areas[other].touches(area) for other in g)]
        groups = [g for g in groups if g not in joined]
        groups.append(sorted([index, *(member for g in joined for member in g)]))
    return groups


def _blend_group(canvas: Image, group: list[_Placed]) -> None:
    """Write the faces of one group into ``canvas``, some rows at a time, so that memory stays small."""
    area = group[0].area
    for placed in group[1:]:
        area = area.union(placed.area)
    rows = max(1, BAND_PIXELS // (area.right - area.left))
    for top in range(area.top, area.bottom, rows):
        band = area._replace(top=top, bottom=min(top + rows, area.bottom))
        _blend_band(canvas, [p for p in group if p.area.touches(band)], band)


def _blend_band(canvas: Image, group: list[_Placed], band: Rectangle) -> None:
    """Write the faces into the pixels of ``band``, rounding once; pixels without a mask are not touched."""
    shape = (band.bottom - band.top, band.right - band.left)
    colour, weight = np.zeros((*shape, 3), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    uncovered = np.ones(shape, dtype=np.float32)
    for placed in group:
        area = placed.area.intersection(band)
        here = (
            slice(area.top - band.top, area.bottom - band.top),
            slice(area.left - band.left, area.right - band.left),
        )
        face, mask = _warp(placed, area)
        colour[here] += face * mask[..., None]
        weight[here] += mask
        uncovered[here] *= 1 - mask
    covered = weight > 0
    pixels = canvas[band.top : band.bottom, band.left : band.right]
    limit = np.float32(np.iinfo(canvas.dtype).max)
    background = pixels[covered].astype(np.float32)
    front = colour[covered] / weight[covered][:, None] * limit
    alpha = 1 - uncovered[covered][:, None]
    blended = np.rint(background + alpha * (front - background))
    pixels[covered] = np.clip(blended, 0, limit).astype(canvas.dtype)


def _warp(placed: _Placed, area: Rectangle) -> tuple[FaceImage, Mask]:
    """Return the face and its mask on the canvas pixels of ``area``."""
    import cv2

    size = (area.right - area.left, area.bottom - area.top)
    reduction = math.sqrt(abs(float(np.linalg.det(placed.to_crop[:, :2]))))
    density = math.ceil(reduction / POINT_SAMPLED_REDUCTION)
    face = cv2.warpAffine(
        placed.face,
        _from_grid(placed.to_crop, area, density),
        (size[0] * density, size[1] * density),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if density > 1:
        face = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    to_crop = _from_grid(placed.to_crop, area, 1)
    mask = cv2.warpAffine(placed.mask, to_crop, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(face, dtype=np.float32), np.clip(mask, 0, 1).astype(np.float32, copy=False)


def _from_grid(to_crop: Affine, area: Rectangle, density: int) -> Affine:
    """Return ``to_crop`` for a grid of ``density`` samples a pixel, from the corner of ``area``."""
    origin = np.array([area.left, area.top]) + (1 / density - 1) / 2
    linear = to_crop[:, :2]
    return np.column_stack([linear / density, to_crop[:, 2] + linear @ origin])


def _sort_key(paste: Paste) -> tuple[float, ...]:
    """Return what fixes the order in which floats are added, so that the caller's cannot change a bit."""
    return (*(float(value) for value in paste.affine.ravel()), float(np.mean(paste.strength)))


def _check_strength(strength: float | Mask) -> None:
    least, most = float(np.min(strength)), float(np.max(strength))
    if not 0 <= least <= most <= 1:  # also true of NaN
        wrong = most if most > 1 else least
        raise ConfigError(f"strength is {wrong:g}; give a number from 0 (nothing) to 1 (full)")


def whole_face(pixels: Image) -> DetectedFace:
    """Return the face that fills a square crop in the FFHQ frame.

    Raises:
        ImageError: the picture is not square.
    """
    height, width = pixels.shape[:2]
    if height != width:
        raise ImageError(
            f"an aligned face is square, this picture is {width} x {height}; crop it, or leave out --aligned"
        )
    return _filling(width)


def whole_crop(lq: FaceImage) -> AlignedFace:
    """Return the record of an (S, S, 3) float32 crop that is itself the photo."""
    return AlignedFace(_filling(lq.shape[0]), np.eye(2, 3), lq)


def _filling(size: int) -> DetectedFace:
    return DetectedFace((0.0, 0.0, size - 1.0, size - 1.0), template(size).astype(np.float32), 1.0)


def replace_whole(
    pixels: Image,
    restored: FaceImage,
    *,
    upscale: float,
    strength: float | Mask,
    canvas: Image | None = None,
) -> Image:
    """Return an aligned photo mixed with its restored face over its whole area.

    Args:
        pixels: (S, S, 3) RGB, uint8 or uint16.
        restored: (T, T, 3) float32 RGB in [0, 1]; resized by area when larger, cubic when smaller.
        upscale: size of the result over that of ``pixels``.
        strength: share of the restored face, 0 to 1: one number, or (T, T) float32.
        canvas: the photo at the size of the result, where it was enlarged in another way; not changed.
    """
    import cv2

    background = resize_image(pixels, upscale) if canvas is None else checked_canvas(canvas, pixels, upscale)
    side = background.shape[0]
    limit = np.iinfo(pixels.dtype).max
    front = np.clip(resize_face(restored, side), 0, 1) * np.float32(limit)
    share = np.asarray(strength, dtype=np.float32)
    if share.ndim:
        resized = cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR)
        share = np.asarray(resized, dtype=np.float32)[..., None]
    mixed = background + share * (front - background)
    result: Image = np.empty_like(pixels, shape=background.shape)
    np.rint(np.clip(mixed, 0, limit), out=result, casting="unsafe")
    return result

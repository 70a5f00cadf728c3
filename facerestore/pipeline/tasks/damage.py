"""What is damaged in a photo: read from a mask picture, found by a network, or drawn at random for trying."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.imaging.alignment import (
    affine_scale,
    compose_affine,
    invert_affine,
    resize_affine,
    transform_points,
    warp_to_crop,
)
from facerestore.imaging.blending import touched_area
from facerestore.io import DEFAULT_MAX_PIXELS, SUFFIXES, read_image
from facerestore.parsing import whole_mask
from facerestore.parsing.damage import DamageFinder
from facerestore.types import Affine, DecodedImage, Image

Holes: TypeAlias = NDArray[np.bool_]
"""(H, W) True where a photo is damaged."""

HALF = 0.5
"""A mask's pixel is damage from this luma on, and from this opacity on where the mask has alpha."""
BETWEEN = (0.25, 0.75)
"""Lumas that are neither black nor white: beyond the ringing of JPEG (under 0.1 at quality 75)."""
MOST_BETWEEN = 0.1
"""Most of a mask that may lie between; soft brushes stay below, photographs taken for a mask lie far above."""
MOST_MISSED = 2.0
"""Most that may be painted too dark to count, in shares of what counts: 1 at the edge of a Gaussian brush; paint in
red or blue, which has little luma, is all beyond."""

LIKELY, CERTAIN = 0.7, 0.97
"""Probabilities of damage: of all of it, and of some pixel of each piece."""
LEAST_AREA = 60 / 256**2
"""Least piece of damage, of the crop: a speck of dust in an eye is its highlight. All three were measured on the
bundled finder (weights/damage_clean_256.md): lower ones find a little more damage, and more in undamaged faces."""
WIDENED = 1 / 256
"""By how much of the crop's side what is found is widened: its edge fades."""

# Strokes as the GPEN authors draw them (https://github.com/yangxy/GPEN at 2c73670) at 1024 px, after Algorithm 1
# of Yu et al., "Free-Form Image Inpainting with Gated Convolution", ICCV 2019, arXiv:1806.03589.
STROKES = (1, 3)
VERTICES = (8, 27)
WIDTH_PX = (12.0, 80.0)
WIDTH_FACE_SIZE = 1024
ANGLE = 2 * math.pi / 5
ANGLE_SPREAD = 2 * math.pi / 15
STEPS_ON_DIAGONAL = 8
"""The mean step from vertex to vertex is this part of the crop's diagonal."""

SHIFT = 4
"""Bits of a pixel's fraction in the coordinates of a stroke: a sixteenth of a pixel."""


class DamageSource(Protocol):
    """Says what is damaged."""

    @property
    def description(self) -> str:
        """A few words for reports."""
        ...

    def for_photo(self, source: Path) -> DamageSource:
        """Return the source for the photo at a path, or ``-``."""
        ...

    def holes(self, photo: Image, affines: Sequence[Affine], face_size: int) -> Holes:
        """Return the damage of a photo.

        Args:
            photo: (H, W, 3) RGB, uint8 or uint16.
            affines: (2, 3) photo to crop pixels of each face that is to be filled.
            face_size: side of the crops, pixels.

        Raises:
            ImageError: there is none for this photo.
        """
        ...


@dataclass(frozen=True, slots=True)
class MaskFile:
    """Damage drawn white on black in a picture of the photo's size.

    Attributes:
        path: the mask, or a directory of masks that have the names of their photos, in any format; subdirectories
            mirror those of the photos.
        max_pixels: largest mask that is decoded.
    """

    path: Path
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def description(self) -> str:
        """The path."""
        return str(self.path)

    def for_photo(self, source: Path) -> MaskFile:
        """Return the source with the mask of one photo.

        Raises:
            ImageError: the directory holds none for it, or several.
        """
        return replace(self, path=find_mask(self.path, source)) if self.path.is_dir() else self

    def holes(self, photo: Image, affines: Sequence[Affine], face_size: int) -> Holes:
        """Return what is white in the mask.

        Raises:
            ImageError: it cannot be read, has another size than the photo, or is no mask.
        """
        return read_holes(read_image(self.path, max_pixels=self.max_pixels), photo.shape, name=str(self.path))


@dataclass(frozen=True, slots=True, eq=False)
class MaskPicture:
    """Damage drawn white on black in a decoded picture of the photo's size."""

    picture: DecodedImage
    description: str = "mask"

    def for_photo(self, source: Path) -> Self:
        """Return this: the mask is the same for every photo."""
        return self

    def holes(self, photo: Image, affines: Sequence[Affine], face_size: int) -> Holes:
        """Return what is white in the mask.

        Raises:
            ImageError: it has another size than the photo, or is no mask.
        """
        return read_holes(self.picture, photo.shape, name="the mask")


@dataclass(frozen=True, slots=True, eq=False)
class FoundDamage:
    """Damage that a network finds in each face; what is beside the faces is not looked at.

    Attributes:
        finder: the network.
        name: of its weights.
    """

    finder: DamageFinder
    name: str

    @property
    def description(self) -> str:
        """Who has found it."""
        return f"found by {self.name}"

    def for_photo(self, source: Path) -> Self:
        """Return this: it looks at any photo."""
        return self

    def holes(self, photo: Image, affines: Sequence[Affine], face_size: int) -> Holes:
        """Return what is found in the crop of each face, where it is pasted in full.

        Raises:
            BackendError: the network failed.
        """
        found, size = np.zeros(photo.shape[:2], dtype=bool), self.finder.face_size
        for affine in affines:
            to_crop = compose_affine(resize_affine(size / face_size), affine)
            (share,) = self.finder.find([warp_to_crop(photo, to_crop, size)])
            mark_damage(found, certain(share), to_crop)
        return found


def certain(share: NDArray[np.float32]) -> Holes:
    """Return what counts as damage in a crop: all that is likely and hangs together with what is almost certain.

    Args:
        share: (S, S) in [0, 1], how likely each pixel is damaged.
    """
    import cv2

    size = len(share)
    likely = ((share >= LIKELY) & (whole_mask(size) == 1)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(likely, connectivity=8)
    least = LEAST_AREA * size**2
    sure = np.zeros(count, dtype=bool)
    sure[np.unique(labels[(share >= CERTAIN) & (likely > 0)])] = True
    sure &= stats[:, cv2.CC_STAT_AREA] >= least
    sure[0] = False
    width = 2 * max(1, round(WIDENED * size)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.dilate(sure[labels].astype(np.uint8), disc), dtype=bool)


def mark_damage(holes: Holes, found: Holes, affine: Affine) -> None:
    """Set what is damaged in a crop in its photo.

    Args:
        holes: (H, W), changed in place.
        found: (S, S) in the crop.
        affine: (2, 3) photo to crop pixels.
    """
    import cv2

    area = touched_area(affine, len(found), shape=holes.shape, upscale=1)
    if area is None or not found.any():
        return
    left, top, right, bottom = area
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (left, top)
    shares = cv2.warpAffine(
        found.astype(np.float32),
        moved,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    holes[top:bottom, left:right] |= shares >= HALF


@dataclass(frozen=True, slots=True)
class Strokes:
    """Random brush strokes across each face, for trying: the same for the same seed and name of a photo.

    Attributes:
        seed: any number from 0.
        name: of the photo, without its folder, so that a folder's photos differ.
    """

    seed: int = 0
    name: str = ""

    @property
    def description(self) -> str:
        """The seed."""
        return f"random strokes, seed {self.seed}"

    def for_photo(self, source: Path) -> Strokes:
        """Return the strokes of one photo."""
        return replace(self, name=source.name)

    def holes(self, photo: Image, affines: Sequence[Affine], face_size: int) -> Holes:
        """Return strokes within the crop of each face; none where there is no face."""
        # A hash that is the same on every machine, as Python's own is not.
        digest = hashlib.sha256(self.name.encode("utf-8", errors="surrogateescape")).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8])])
        canvas = np.zeros(photo.shape[:2], dtype=np.uint8)
        for affine in affines:
            draw_strokes(canvas, affine, face_size=face_size, rng=rng)
        return canvas > 0


def draw_strokes(
    canvas: NDArray[np.uint8], affine: Affine, *, face_size: int, rng: np.random.Generator
) -> None:
    """Draw 1 to 3 strokes across one face, 255 on what is there.

    Vertices and widths are drawn in the crop, then taken to the photo. They stay where the crop is pasted in full, so
    that all of a stroke is filled again.

    Args:
        canvas: (H, W), changed in place.
        affine: (2, 3) photo to crop pixels.
        face_size: side of the crop, pixels.
        rng: drawn from.
    """
    import cv2

    to_photo = invert_affine(affine)
    for _ in range(int(rng.integers(STROKES[0], STROKES[1], endpoint=True))):
        width = rng.uniform(*WIDTH_PX) * face_size / WIDTH_FACE_SIZE
        # Beyond half the width: rounding to the photo's pixels, and the crop's pixels that those are mixed from.
        margin = width / 2 + affine_scale(affine) + 1
        vertices = transform_points(to_photo, stroke(face_size, margin_px=margin, rng=rng))
        fixed = np.rint(vertices * 2**SHIFT).astype(np.int32)
        thickness = max(1, round(width * affine_scale(to_photo)))
        cv2.polylines(canvas, [fixed], False, 255, thickness, cv2.LINE_8, SHIFT)


def stroke(face_size: int, *, margin_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the (N, 2) vertices of one stroke, crop pixels: a zigzag, since every other angle is reversed.

    Args:
        face_size: side of the crop, pixels.
        margin_px: least distance of a vertex from where the crop is not pasted in full.
        rng: drawn from.
    """
    count = int(rng.integers(VERTICES[0], VERTICES[1], endpoint=True))
    inner = np.flatnonzero(whole_mask(face_size)[face_size // 2] == 1)
    low, high = inner[0] + margin_px, inner[-1] - margin_px
    angles = rng.uniform(ANGLE - rng.uniform(0, ANGLE_SPREAD), ANGLE + rng.uniform(0, ANGLE_SPREAD), count)
    angles[::2] *= -1
    mean_step = face_size * math.sqrt(2) / STEPS_ON_DIAGONAL
    steps = np.clip(rng.normal(mean_step, mean_step // 2, count), 0, 2 * mean_step)
    points = [rng.uniform(low, high, 2)]
    for angle, step in zip(angles, steps, strict=True):
        moved = points[-1] + step * np.array([math.cos(angle), math.sin(angle)])
        points.append(np.clip(moved, low, high))
    return np.stack(points)


def find_mask(folder: Path, source: Path) -> Path:
    """Return the mask of a photo: its own name in ``folder``, under as many of its parent folders as exist there.

    Raises:
        ImageError: there is none, or there are several.
    """
    parents = [part for part in source.parent.parts if part not in (source.anchor, "..")]
    for depth in range(len(parents), -1, -1):
        place = folder.joinpath(*parents[len(parents) - depth :])
        found = [place / f"{source.stem}{suffix}" for suffix in SUFFIXES]
        found = [path for path in found if path.is_file() and not _same(path, source)]
        if len(found) > 1:
            names = ", ".join(f"'{path.name}'" for path in found)
            raise ImageError(f"'{source}' has several masks in '{place}': {names}; leave one")
        if found:
            return found[0]
    raise ImageError(
        f"'{source}' has no mask in '{folder}'; draw one there as '{source.stem}.png', white where the photo is damaged"
    )


def read_holes(mask: DecodedImage, shape: tuple[int, ...], *, name: str) -> Holes:
    """Return what is white (and opaque) in a mask picture.

    Args:
        mask: the picture; its colours count by their luma.
        shape: (H, W, ...) of the photo.
        name: what to call the mask in errors.

    Raises:
        ImageError: the sizes differ, or it is no mask but a picture full of greys.
    """
    import cv2

    if mask.pixels.shape[:2] != tuple(shape[:2]):
        raise ImageError(
            f"{name} is {mask.pixels.shape[1]} x {mask.pixels.shape[0]} pixels, the photo {shape[1]} x {shape[0]};"
            " a mask has the size of its photo"
        )
    limit = np.iinfo(mask.pixels.dtype).max
    luma = cv2.cvtColor(mask.pixels, cv2.COLOR_RGB2GRAY)
    opaque = np.ones(luma.shape, dtype=bool) if mask.alpha is None else mask.alpha >= HALF * limit
    between = float(np.mean(opaque & (luma > BETWEEN[0] * limit) & (luma < BETWEEN[1] * limit)))
    if between > MOST_BETWEEN:
        raise ImageError(
            f"{name} is no mask: {between:.0%} of it is neither black nor white; give a picture that is white where"
            " the photo is damaged and black elsewhere"
        )
    holes: Holes = opaque & (luma >= HALF * limit)
    _check_paint(opaque & (mask.pixels.max(axis=2) > BETWEEN[0] * limit), holes, name)
    return holes


def _check_paint(painted: Holes, holes: Holes, name: str) -> None:
    """Raise ImageError where much more is painted, in whatever colour, than counts as damage."""
    missed, white = np.count_nonzero(painted & ~holes), np.count_nonzero(holes)
    if missed > MOST_MISSED * white:
        raise ImageError(
            f"{name} has {missed} pixels in colours or greys that are too dark to count as damage, and {white} that"
            " count; paint what is damaged white"
        )


def _same(path: Path, source: Path) -> bool:
    """Say whether a mask's path is the photo's own."""
    return source.exists() and path.samefile(source)

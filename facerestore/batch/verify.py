"""What a result has changed of its photo, pixel by pixel, held against what it says that it has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.io import decode_image, encode_image, fitted, is_lossy, quality_written
from facerestore.types import DecodedImage, Image

Area = tuple[int, int, int, int]
"""Left, top, right and bottom of pixels [left, right) x [top, bottom)."""

_BLOCK_PX = 8  # of a JPEG with full colour, outside of which a change in it reaches nothing (T.81, A.1)
# How much further than an encoding of the photo alone another lossy encoding may lie from it: what is coded of a face
# moves what is predicted from it and how bits are spent.
_LARGEST_RATIO, _MEAN_RATIO, _SLACK = 2.0, 1.5, 2.0


class Outside(StrEnum):
    """How the pixels outside of the areas are."""

    SAME = "same"
    ENCODED = "encoded"
    DIFFERENT = "different"


class Region(NamedTuple):
    """One area that was to be changed, and what in it was.

    Attributes:
        area: as the result or a report states it.
        changed: the smallest area that holds all changed pixels of it; None where there are none.
        pixels: how many those are.
        largest: difference of a channel, levels of the picture's depth.
    """

    area: Area
    changed: Area | None
    pixels: int
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a photo's pixels.

    Attributes:
        regions: the areas that were to be changed.
        within: share of the pixels that lie in them, 0 to 1.
        touched: share of the pixels that lie in them and differ, 0 to 1.
        outside: how the others are.
        different: how many of the others differ.
        largest: difference of a channel among those, levels of the picture's depth.
        mean: over all of them and their channels.
        first: (x, y) of the first of them that differs; None where none does.
        encoder: by how much an encoding of the photo alone differs there at most; None where nothing was lost.
        exact: they are the very pixels of that encoding.
    """

    regions: tuple[Region, ...]
    within: float
    touched: float
    outside: Outside
    different: int = 0
    largest: int = 0
    mean: float = 0.0
    first: tuple[int, int] | None = None
    encoder: int | None = None
    exact: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing was changed outside of the areas, but for what a lossy encoder does."""
        return self.outside is not Outside.DIFFERENT

    @property
    def words(self) -> str:
        """What became of the pixels outside, for people."""
        if self.outside is Outside.SAME:
            return "all other pixels are those of the photo"
        found = f"by at most {self.largest} levels, {self.mean:.2f} in the mean"
        if self.outside is Outside.ENCODED and self.exact:
            return f"all other pixels are the very ones that the lossy encoder makes of the photo; they differ {found}"
        if self.outside is Outside.ENCODED:
            alone = f"the photo alone differs by at most {self.encoder} after it"
            return f"all other pixels differ {found}, as the lossy encoder makes them: {alone}"
        x, y = self.first or (0, 0)
        return f"{self.different} other pixels differ, {found}, the first at x {x}, y {y}"


def verify_pictures(
    before: DecodedImage, after: DecodedImage, areas: Sequence[Area], *, quality: int | None = None
) -> Verdict:
    """Return what of a photo a result has changed.

    Args:
        before: the photo.
        after: the result.
        areas: beyond which it says that it changed nothing.
        quality: that a lossy result was written with; None for what its file tells, or the usual.

    Raises:
        ImageError: they have not the same size and depth, so that no pixel can be held against another.
    """
    if after.format is not None:
        before = fitted(before, format=after.format)
    _check_alike(before, after)
    difference = _difference(before, after)
    inside = np.zeros(difference.shape, bool)
    for left, top, right, bottom in areas:
        inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    changed = difference > 0
    facts = Verdict(
        regions=tuple(_region(difference, area) for area in areas),
        within=float(inside.mean()),
        touched=float((changed & inside).mean()),
        outside=Outside.SAME,
    )
    outside = changed & ~inside
    if not outside.any():
        return facts
    y, x = np.unravel_index(int(outside.argmax()), outside.shape)
    facts = replace(
        facts,
        outside=Outside.DIFFERENT,
        different=int(outside.sum()),
        largest=int(difference[~inside].max()),
        mean=_mean(before, after, ~inside),
        first=(int(x), int(y)),
    )
    return _held_against_encoder(facts, before, after, inside, quality) if is_lossy(after) else facts


def _check_alike(before: DecodedImage, after: DecodedImage) -> None:
    """Raise ImageError unless two pictures have pixels that can be held against each other."""
    if before.pixels.shape != after.pixels.shape:
        (height, width), (high, wide) = before.pixels.shape[:2], after.pixels.shape[:2]
        raise ImageError(
            f"the result has {wide}x{high} pixels, the photo {width}x{height}: none of them is one of the photo's;"
            " verify results of --upscale 1"
        )
    if before.pixels.dtype != after.pixels.dtype:
        raise ImageError(
            f"the result has {8 * after.pixels.dtype.itemsize} bits a sample, the photo"
            f" {8 * before.pixels.dtype.itemsize}; write a format that holds those of the photo"
        )


def _difference(before: DecodedImage, after: DecodedImage) -> NDArray[np.uint16]:
    """Return (H, W) of the largest difference of a channel, transparency among them."""
    low, high = np.minimum(before.pixels, after.pixels), np.maximum(before.pixels, after.pixels)
    found: NDArray[np.uint16] = (high - low).max(axis=2).astype(np.uint16)
    if before.alpha is not None and after.alpha is not None:
        apart = np.maximum(before.alpha, after.alpha) - np.minimum(before.alpha, after.alpha)
        found = np.maximum(found, apart.astype(np.uint16))
    return found


def _mean(before: DecodedImage, after: DecodedImage, where: NDArray[np.bool_]) -> float:
    """Return the mean difference of the channels of pixels."""
    return float(np.abs(before.pixels[where].astype(np.int32) - after.pixels[where]).mean())


def _region(difference: NDArray[np.uint16], area: Area) -> Region:
    """Return what was changed in an area."""
    left, top, right, bottom = area
    part = difference[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    changed = _extent(part, area)
    largest = 0 if changed is None else int(part.max())
    return Region(area, changed, int(np.count_nonzero(part)), largest)


def changed_area(before: Image, after: Image, area: Area) -> Area | None:
    """Return the smallest area within another that holds all pixels of it that differ; None where none does.

    Args:
        before: (H, W, 3), the photo.
        after: the same of the result.
        area: within the picture.
    """
    left, top, right, bottom = area
    here = (slice(top, bottom), slice(left, right))
    return _extent((before[here] != after[here]).any(axis=2), area)


def _extent(changed: NDArray[np.generic], area: Area) -> Area | None:
    """Return the smallest area that holds all that is not zero of (H, W) pixels, whose first is that of ``area``."""
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return None
    x, y = max(area[0], 0), max(area[1], 0)
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1


def _held_against_encoder(
    facts: Verdict, before: DecodedImage, after: DecodedImage, inside: NDArray[np.bool_], quality: int | None
) -> Verdict:
    """Return a verdict on a lossy result: whether what differs is what its encoder makes of the photo alone.

    In a JPEG no block knows of another, so that each outside has to be the very same. In other formats each is
    predicted from its neighbours; there it is by how much pixels differ that is held against the photo alone.
    """
    image = replace(after, pixels=before.pixels, alpha=before.alpha)
    format = after.format or ""
    encoded = encode_image(image, format=format, quality=quality or quality_written(after))
    alone = decode_image(encoded, name="the photo as it was encoded")
    if format == "JPEG":
        outside = ~_in_blocks(inside)
        same = bool((alone.pixels == after.pixels)[outside].all())
        return replace(facts, outside=Outside.ENCODED, encoder=facts.largest, exact=True) if same else facts
    largest = int(_difference(before, alone)[~inside].max())
    mean = _mean(before, alone, ~inside)
    scale = np.iinfo(after.pixels.dtype).max / 255
    near = (
        facts.largest <= _LARGEST_RATIO * largest + _SLACK * scale
        and facts.mean <= _MEAN_RATIO * mean + scale / 4
    )
    return replace(facts, outside=Outside.ENCODED if near else Outside.DIFFERENT, encoder=largest)


def _in_blocks(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of all blocks of a JPEG that hold any of those given."""
    height, width = inside.shape
    padded = np.pad(inside, ((0, -height % _BLOCK_PX), (0, -width % _BLOCK_PX)))
    rows, columns = (side // _BLOCK_PX for side in padded.shape)
    blocks = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).any(axis=(1, 3))
    grown: NDArray[np.bool_] = blocks.repeat(_BLOCK_PX, 0).repeat(_BLOCK_PX, 1)[:height, :width]
    return grown

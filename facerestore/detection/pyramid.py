"""A photo at the sizes that a face detector looks at: its own, and smaller ones; each size cut into tiles that overlap.

A network finds faces from ``Reach.least_px`` up to many times that. So the sizes step down by a factor of at most
``Reach.step`` until the photo is as small as ``Reach.sides_px``, and tiles overlap by as much as a face may measure
that is still too small for the next size: every face lies whole in a tile of some size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from facerestore.detection.frames import Reduction, View, check_image, reduce_for_detection, to_rgb8
from facerestore.imaging.alignment import compose_affine, invert_affine
from facerestore.types import Affine, Box, Image

TILE_PIXELS = 2**22
"""Most pixels of a tile: the bundled detector takes about 200 MB beside the photo for one (measured)."""
CELL_PX = 64
"""Tiles measure multiples of this, the coarsest stride of the networks, so that none computes a padded border."""
FACE_HEIGHT = 1.4
"""Height of a face's box over its width, as ``landmark_frame`` draws it."""
CONTEXT_PX = 16
"""What a face in a tile should have about it."""
CUT_PX = 8
"""A box that comes nearer to where a tile is cut is taken to be of a face that is cut too."""


class Reach(NamedTuple):
    """At which sizes a network finds faces.

    Attributes:
        least_px: width of the narrowest face that it finds as surely as wider ones.
        sides_px: longest sides at which it looks at every photo that is as large, the last for a face that fills it.
        step: by how much a larger size may exceed the next smaller.
    """

    least_px: float
    sides_px: tuple[int, ...]
    step: float


class Pyramid(NamedTuple):
    """A photo at all the sizes that it is looked at.

    Attributes:
        fine: sizes above those that the network looks at in every photo, largest first.
        usual: those, or the photo itself where it is smaller.
        overlap_px: of the tiles of a level.
    """

    fine: tuple[Reduction, ...]
    usual: tuple[Reduction, ...]
    overlap_px: int

    @property
    def levels(self) -> tuple[Reduction, ...]:
        """All sizes, largest first."""
        return self.fine + self.usual

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, px."""
        return tuple(level.size for level in self.levels)


class Tile(NamedTuple):
    """A part of a level, and what of a photo it is.

    Attributes:
        view: its pixels, turned where turned faces are looked for.
        left, top, right, bottom: what it shows with something about it, image px; infinite at the photo's own border.
    """

    view: View
    left: float
    top: float
    right: float
    bottom: float

    def holds(self, box: Box) -> bool:
        """Say whether a face lies in the tile as far as the photo shows it."""
        within = self.left <= box[0] and self.top <= box[1]
        return within and box[2] <= self.right and box[3] <= self.bottom


def pyramid(
    image: Image, reach: Reach, *, most_side_px: float = math.inf, most_pixels: float = math.inf
) -> Pyramid:
    """Return a photo at the sizes at which a network is to look for faces, largest first.

    Args:
        image: (H, W, 3) or (H, W), uint8 or uint16.
        reach: of the network.
        most_side_px: bounds the longest side of the first level.
        most_pixels: bounds its pixels.

    Raises:
        ImageError: the image is of another kind, or empty.
    """
    check_image(image)
    longest = max(image.shape[:2])
    first = longest * min(1.0, most_side_px / longest, math.sqrt(most_pixels / math.prod(image.shape[:2])))
    usual = min(first, reach.sides_px[0])
    steps = math.ceil(math.log(first / usual, reach.step))
    step = (first / usual) ** (1 / max(steps, 1))
    fine = _reduced(image, [first / step**number for number in range(steps)])
    sides = [usual, *(side for side in reach.sides_px[1:] if side < usual)]
    overlap = math.ceil(reach.least_px * step * FACE_HEIGHT) + 2 * CONTEXT_PX
    return Pyramid(fine, _reduced(image, sides), overlap)


def _reduced(image: Image, sides: Sequence[float]) -> tuple[Reduction, ...]:
    """Return an image reduced to each of some longest sides, each made from the one before; at its own, itself."""
    found: list[Reduction] = []
    longest = max(image.shape[:2])
    for side in sides:
        if side >= longest:
            found.append(Reduction(image, (1.0, 1.0)))
            continue
        pixels = reduce_for_detection(found[-1].pixels if found else image, side).pixels
        scale = (pixels.shape[1] / image.shape[1], pixels.shape[0] / image.shape[0])
        found.append(Reduction(pixels, scale))
    return tuple(found)


def tiles(level: Reduction, overlap: int, *, turn: int = 0) -> Iterator[Tile]:
    """Yield the parts of a level, each turned against the clock by ``turn`` quarters."""
    width, height = level.size
    tile_width, tile_height = tile_size(width, height, overlap)
    to_image = invert_affine(level.affine)
    for top in _starts(height, tile_height, overlap):
        for left in _starts(width, tile_width, overlap):
            right, bottom = min(width, left + tile_width), min(height, top + tile_height)
            pixels = np.rot90(to_rgb8(level.pixels[top:bottom, left:right]), turn)
            shift = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
            turned_back = compose_affine(shift, _unturned(right - left, bottom - top, turn))
            yield Tile(
                View(np.ascontiguousarray(pixels), compose_affine(to_image, turned_back)),
                left=(left + CUT_PX) / level.scale[0] if left > 0 else -math.inf,
                top=(top + CUT_PX) / level.scale[1] if top > 0 else -math.inf,
                right=(right - CUT_PX) / level.scale[0] if right < width else math.inf,
                bottom=(bottom - CUT_PX) / level.scale[1] if bottom < height else math.inf,
            )


def tile_size(width: int, height: int, overlap: int) -> tuple[int, int]:
    """Return width and height of the tiles that cover a picture with the fewest pixels in all.

    Args:
        width: of the picture, px.
        height: likewise.
        overlap: least overlap of neighbours, px.
    """
    across, down = (_divisions(side, overlap) for side in (width, height))
    fitting = [
        (columns * rows * tile_width * tile_height, columns + rows, tile_width, tile_height)
        for columns, tile_width in across
        for rows, tile_height in down
        if tile_width * tile_height <= TILE_PIXELS
    ]
    return min(fitting)[2:]


def _divisions(side: int, overlap: int) -> list[tuple[int, int]]:
    """Return into how many parts a side may be cut, and how long each then is."""
    found = []
    for count in range(1, math.ceil(side / (2 * overlap)) + 2):
        length = math.ceil((side + (count - 1) * overlap) / count)
        found.append((count, min(side, math.ceil(length / CELL_PX) * CELL_PX)))
    return found


def _starts(side: int, length: int, overlap: int) -> list[int]:
    """Return where tiles of one length begin, evenly spread."""
    count = max(1, math.ceil((side - overlap) / (length - overlap))) if length < side else 1
    return [round(index * (side - length) / max(count - 1, 1)) for index in range(count)]


def _unturned(width: int, height: int, turn: int) -> Affine:
    """Return the affine to the pixels of a (height, width) picture from those of ``np.rot90(picture, turn)``."""
    return np.array(
        (
            ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
            ((0.0, -1.0, width - 1.0), (1.0, 0.0, 0.0)),
            ((-1.0, 0.0, width - 1.0), (0.0, -1.0, height - 1.0)),
            ((0.0, 1.0, 0.0), (-1.0, 0.0, height - 1.0)),
        )[turn]
    )

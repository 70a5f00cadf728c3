"""Enlarging or cleaning a photo tile by tile: no seams, a size that the user chooses, and little memory.

**Tiles.** The photo is cut into cores of at most ``tile_px`` a side. The network sees each core with an overlap on
every side, and of its result only the core is kept, so that what it makes of the edge of its window is thrown away. A
network whose field of view ends within the overlap gives the very pixels that it gives without tiles. In a deeper one
the influence of a pixel fades with its distance: with the 23 blocks of RRDBNet, drawn at random, what lies 16 px away
(of the folded photo) changes a pixel by less than 1e-5 of the contrast. Windows begin at multiples of what the network
folds together. Beyond its edges the photo is continued by its mirror image, so that no dark rim is made up there.

**Size.** The canvas has the size that the user asked for, whatever the network's factor. Where the network gives more,
each core is reduced by area; where it gives less, enlarged with bicubic interpolation. So a network of factor 4 with
upscale 1 gives a photo restored at its own size. A network that cleans is given the photo at the canvas's size already.

**Memory.** Beside photo and canvas, what one window takes. Where a device has less, the tiles are halved.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from facerestore.background.resampling import Pixels, Side, Span
from facerestore.config import LEAST_TILE_PX
from facerestore.engines.room import lacks_memory
from facerestore.errors import BackendError, ConfigError, first_line
from facerestore.imaging.pixels import grey_face, resize_to

if TYPE_CHECKING:
    from facerestore.engines import Engine
    from facerestore.types import Image

OVERLAP_PX = 32
"""Photo pixels that a window reaches beyond its core, where its network asks for no more. Real-ESRGAN's own program
takes 10, CodeFormer's 40."""

EDGE_PX = 10
"""Mirrored pixels beyond the photo's own edges, where a network would see black; Real-ESRGAN's ``pre_pad``."""

CPU_TILE_PIXELS = 2**20
CLEANED_TILE_PIXELS = 2**18
ACCELERATOR_TILE_PIXELS = 2**22
"""Pixels of a core after the network. RRDBNet needs about 1.2 kB for each, most of it in its last convolutions; what
cleans, on a CPU, takes 380 MB with so many and 790 MB with four times as many, in the same time (measured)."""

OnTile = Callable[[int, int], None]
"""Told after each tile: how many are done, and how many there are."""


class Upsampler(Protocol):
    """Enlarges whole photos.

    Attributes:
        name: for people and reports.
        scale: the network's own factor.
    """

    name: str
    scale: int

    def upsample(self, pixels: Image, size: tuple[int, int], *, on_tile: OnTile | None = None) -> Image:
        """Return (H, W, 3) RGB pixels, uint8 or uint16, at ``size`` (width, height) in a new array of their dtype.

        Raises:
            BackendError: the network failed.
        """
        ...


class Network(NamedTuple):
    """A network that enlarges or cleans photos.

    Attributes:
        engine: maps (1, 3, H, W) float32 RGB in [0, 1] to (1, 3, scale * H, scale * W), in [0, 1] but for overshoot.
        scale: factor of its result over its input.
        multiple: its input's sides are multiples of this, pixels.
        overlap_px: how far around a pixel it must see; a multiple of ``multiple``.
        cleans: it has learnt to clean photos that were enlarged: it is given them at the size of the result.
    """

    engine: Engine
    scale: int
    multiple: int
    overlap_px: int
    cleans: bool = False


class _MemoryFullError(Exception):
    """The device has too little memory for a window."""


class TiledUpsampler:
    """Enlarges photos with a network; holds no state between photos, so threads may share it.

    Attributes:
        name: a catalog name or a file.
        scale: the network's own factor.
        tile_px: side of a core, photo pixels.
    """

    def __init__(self, network: Network, *, name: str, tile: int | None = None) -> None:
        """Choose the tiles.

        Args:
            network: what enlarges or cleans.
            name: what it is called.
            tile: side of a core, photo pixels; None chooses by the network's factor and where it runs.

        Raises:
            ConfigError: ``tile`` is below `LEAST_TILE_PX`.
        """
        if tile is not None and tile < LEAST_TILE_PX:
            raise ConfigError(f"tile is {tile}; give {LEAST_TILE_PX} pixels or more, or leave it out")
        self.name = name
        self.scale = network.scale
        self.tile_px = _default_tile(network) if tile is None else tile
        self._network = network

    def upsample(self, pixels: Image, size: tuple[int, int], *, on_tile: OnTile | None = None) -> Image:
        """Return a photo at ``size``, as the network makes it; one whose three channels are equal stays so.

        Args:
            pixels: (H, W, 3) RGB, uint8 or uint16; not changed.
            size: (width, height) of the result.
            on_tile: told after each tile; told from the start again where tiles had to be halved.

        Returns:
            (height, width, 3) RGB of the input's dtype, rounded to nearest.

        Raises:
            BackendError: the network failed, ran out of memory with the smallest tiles, or gave a value that is not
                finite.
        """
        if self._network.cleans:
            pixels = resize_to(pixels, size)
        canvas: Image = np.empty_like(pixels, shape=(size[1], size[0], 3))
        grey = bool((pixels == pixels[..., :1]).all())
        tile_px = self.tile_px
        while not self._fill(canvas, pixels, tile_px, grey, on_tile):
            tile_px //= 2
            if tile_px < LEAST_TILE_PX:
                raise BackendError(
                    f"the background network '{self.name}' ran out of memory on {self._network.engine.place} with"
                    " the smallest tiles; free memory there, choose a smaller network, or use --device cpu"
                )
        return canvas

    def _fill(self, canvas: Image, pixels: Image, tile_px: int, grey: bool, on_tile: OnTile | None) -> bool:
        """Write the canvas tile by tile; say whether there was memory enough."""
        multiple = self._network.multiple
        height, width = pixels.shape[:2]
        cores = list(product(_cores(height, tile_px, multiple), _cores(width, tile_px, multiple)))
        for done, (rows, columns) in enumerate(cores, 1):
            try:
                self._write(canvas, pixels, rows, columns, grey)
            except _MemoryFullError:
                break
            if on_tile is not None:
                on_tile(done, len(cores))
        else:
            return True
        if "torch" in sys.modules:  # what it keeps for later is room, too
            sys.modules["torch"].cuda.empty_cache()
        return False

    def _write(self, canvas: Image, pixels: Image, rows: Span, columns: Span, grey: bool) -> None:
        """Write one core to the canvas."""
        overlap = self._network.overlap_px
        height, width = pixels.shape[:2]
        tall, wide = rows.widened(overlap, limit=height), columns.widened(overlap, limit=width)
        ends = (self._ends(tall, height), self._ends(wide, width))
        enlarged = self._enlarge(pixels[tall.start : tall.stop, wide.start : wide.stop], ends)
        if grey:
            enlarged = grey_face(enlarged)
        down = Side(rows, tall, height, canvas.shape[0], self.scale)
        across = Side(columns, wide, width, canvas.shape[1], self.scale)
        core = across.resample(down.resample(enlarged).swapaxes(0, 1)).swapaxes(0, 1)
        limit = np.iinfo(canvas.dtype).max
        target = canvas[slice(*down.covered), slice(*across.covered)]
        np.rint(np.clip(core, 0, 1) * np.float32(limit), out=target, casting="unsafe")

    def _ends(self, window: Span, length: int) -> tuple[int, int]:
        """Return the mirrored pixels before and after a window, 0 where it ends within the photo."""
        multiple = self._network.multiple
        edge = round_up(EDGE_PX, multiple)
        after = edge + -window.length % multiple if window.stop == length else 0
        return edge if window.start == 0 else 0, after

    def _enlarge(self, window: Image, ends: tuple[tuple[int, int], tuple[int, int]]) -> Pixels:
        """Return what the network makes of (h, w, 3) pixels, mirrored at the ends: (scale * h, scale * w, 3)."""
        limit, engine = np.float32(np.iinfo(window.dtype).max), self._network.engine
        scaled = np.pad(window.astype(np.float32) / limit, (*ends, (0, 0)), mode="reflect")
        height, width = (side * self.scale for side in window.shape[:2])
        top, left = (before * self.scale for before, _ in ends)
        try:
            (y,) = engine.run(np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]))
        except Exception as error:  # each engine has classes of its own
            if lacks_memory(error):
                raise _MemoryFullError from None
            raise BackendError(
                f"the background network '{self.name}' failed on {engine.place}: {first_line(error)}; see 'facerestore"
                " doctor', or try other weights"
            ) from error
        result: Pixels = np.clip(y[0, :, top : top + height, left : left + width], 0, 1).transpose(1, 2, 0)
        expected = (height, width, 3)
        if result.shape != expected or not np.isfinite(result).all():
            raise BackendError(
                f"the background network '{self.name}' gave {result.shape}, or values that are not finite, where"
                f" {expected} was expected; verify its weights with 'facerestore weights verify'"
            )
        return result


def _cores(length: int, tile_px: int, multiple: int) -> list[Span]:
    """Return the cores along one side: of nearly equal lengths that are multiples of the network's."""
    step = round_up(math.ceil(length / math.ceil(length / tile_px)), multiple)
    return [Span(start, min(start + step, length)) for start in range(0, length, step)]


def round_up(length: int, multiple: int) -> int:
    """Return the least multiple that is not below ``length``."""
    return -(-length // multiple) * multiple


def _default_tile(network: Network) -> int:
    on_cpu = CLEANED_TILE_PIXELS if network.cleans else CPU_TILE_PIXELS
    pixels = ACCELERATOR_TILE_PIXELS if network.engine.accelerated else on_cpu
    return max(LEAST_TILE_PX, math.isqrt(pixels) // network.scale)

"""The rest of the photo: enlarged by a super-resolution network, tile by tile, for the faces to be pasted on.

``load_upsampler`` makes one from a weights file, `TiledUpsampler` says how tiles are cut, and anything that keeps the
protocol `Upsampler` may be given to a pipeline.
"""

from __future__ import annotations

from facerestore.background.networks import is_upsampler, load_upsampler
from facerestore.background.tiles import LEAST_TILE_PX, Network, OnTile, TiledUpsampler, Upsampler

__all__ = [
    "LEAST_TILE_PX",
    "Network",
    "OnTile",
    "TiledUpsampler",
    "Upsampler",
    "is_upsampler",
    "load_upsampler",
]

"""The rest of the photo: enlarged by a super-resolution network, tile by tile, for the faces to be pasted on.

``load_upsampler`` makes one from a weights file, `TiledUpsampler` says how tiles are cut, and anything that keeps the
protocol `Upsampler` may be given to a pipeline.
"""

from __future__ import annotations

from facerestore.background.networks import holds_upsampler, is_upsampler, load_upsampler
from facerestore.background.tiles import Network, OnTile, TiledUpsampler, Upsampler

__all__ = [
    "Network",
    "OnTile",
    "TiledUpsampler",
    "Upsampler",
    "holds_upsampler",
    "is_upsampler",
    "load_upsampler",
]

"""Pictures of a restoration scale by scale, for backends that work so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facerestore.backends.restorer import Restorer
from facerestore.errors import ConfigError
from facerestore.imaging.pixels import to_8_bit
from facerestore.parsing import colour_map
from facerestore.types import FaceImage, ParsingMap, Stage

# An addition is drawn so that this share of its values fits in the range; a few sharp edges may be clipped.
SHOWN_SHARE = 0.99
TILE_PX = 256
"""Side of a tile in the picture of all stages: seven of them fit a wide screen."""

Pixels = NDArray[np.uint8]


def check_staged(restorer: Restorer) -> None:
    """Raise ConfigError where a restorer does not work in stages."""
    if not restorer.descriptor.has_stages:
        raise ConfigError(
            f"backend '{restorer.name}' does not work in stages, only 'psfr' does; leave out --save-stages, or give"
            " --backend psfr"
        )


def stage_pictures(stages: Sequence[Stage], lq: FaceImage, parsing_map: ParsingMap) -> dict[str, Pixels]:
    """Return (S, S, 3) uint8 RGB pictures of a restoration by the ending of their file's name.

    - ``lq``: the degraded face.
    - ``parsing``: its parsing map in the colours of CelebAMask-HQ.
    - ``stage016``, ``stage032``, ...: what each scale adds to the picture, in its own size. Mid-grey is nothing;
      the contrast is stretched to fill the range, since the coarse scales of a network may add little.
    - ``stages``: all of these, labelled with how much they were stretched; above them the picture up to each
      scale, below them the principal components of its features.

    Args:
        stages: from ``Restorer.stages``, coarsest first.
        lq: the face that they are of.
        parsing_map: (S, S) uint8 class ids of that face.
    """
    from facerestore.pictures.compare import labelled_picture

    face, coloured = to_8_bit(lq), colour_map(parsing_map)
    added = {stage.size: stretched(stage.added) for stage in stages}
    rows = [
        [
            ("degraded face", face),
            *((f"up to {stage.size} px", to_8_bit(stage.picture)) for stage in stages),
        ],
        [
            ("parsing map", coloured),
            *((f"{size} px adds (x {_rounded(factor)})", view) for size, (view, factor) in added.items()),
        ],
        [
            ("restored", to_8_bit(stages[-1].picture)),
            *((f"{stage.size} px features", to_8_bit(stage.features)) for stage in stages),
        ],
    ]
    return {
        "lq": face,
        "parsing": coloured,
        **{f"stage{size:03d}": view for size, (view, _) in added.items()},
        "stages": labelled_picture(rows, side_px=TILE_PX),
    }


def stretched(added: NDArray[np.float32]) -> tuple[Pixels, float]:
    """Return signed values as pixels around mid-grey, stretched to fill the range, and the factor of the stretch.

    Args:
        added: (S, S, 3) RGB differences, in units of the whole range from black to white.

    Returns:
        (S, S, 3) uint8, and what the values were multiplied with; all mid-grey and 1 where nothing is added.
    """
    reach = float(np.quantile(np.abs(added), SHOWN_SHARE))
    factor = 0.5 / reach if reach > 0 else 1.0
    return to_8_bit(np.float32(0.5) + np.float32(factor) * added), factor


def _rounded(factor: float) -> str:
    """Return a factor to two digits, without an exponent."""
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"

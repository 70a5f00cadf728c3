"""Strength by region: how much of the restored face is mixed in at each part of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facerestore.errors import ConfigError
from facerestore.parsing.classes import check_map, labelled
from facerestore.parsing.oval import distance_from, smoothstep
from facerestore.types import Mask, ParsingMap

REGION_FEATHER = 0.03
"""Width of the transition between two strengths, of the crop's side: 15 px at 512, about an eye's height, so that
no edge shows and a raised eye still reaches its strength."""


def strength_map(parsing_map: ParsingMap, strengths: Mapping[str, float], *, base: float) -> Mask:
    """Return the strength at each pixel of a crop, (S, S) float32 in [0, 1].

    A named class has exactly its own strength; the transition lies outside of it, on what has the base strength.
    Where two named classes touch, the lower strength holds exactly and the higher one gives way, so that a part
    with strength 0 keeps every one of its pixels.

    Args:
        parsing_map: (S, S) uint8 ids.
        strengths: class name to strength, 0 to 1, as ``face_parts.parse_region`` gives them.
        base: strength of all that is not named, 0 to 1.

    Raises:
        ConfigError: the map is no map, a class is unknown, or a strength is outside 0 to 1.
    """
    size = parsing_map.shape[0]
    check_map(parsing_map, size)
    for name, value in {**strengths, "the base": base}.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"the strength of {name} is {value}; give a number from 0 to 1")
    levels = {
        value: labelled(parsing_map, [name for name, own in strengths.items() if own == value])
        for value in sorted(set(strengths.values()))
    }
    feather = np.float32(REGION_FEATHER * size)
    result = np.full((size, size), base, dtype=np.float32)
    for value, region in levels.items():
        if value > base:
            lift = np.float32(value - base) * smoothstep(1 - distance_from(region) / feather)
            np.maximum(result, np.float32(base) + lift, out=result)
    top = np.float32(max([base, *levels]))
    for value, region in levels.items():
        if value < top:
            ceiling = np.float32(value) + (top - np.float32(value)) * smoothstep(
                distance_from(region) / feather
            )
            np.minimum(result, ceiling, out=result)
    return result

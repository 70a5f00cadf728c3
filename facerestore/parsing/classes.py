"""The classes of parsing maps as numbers: their ids and their colours."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_COLOURS, CLASS_NAMES
from facerestore.types import ParsingMap

PALETTE: NDArray[np.uint8] = np.array(CLASS_COLOURS, dtype=np.uint8)
"""(19, 3) RGB with which CelebAMask-HQ and PSFR-GAN draw the classes, in the order of ``CLASS_NAMES``."""
PALETTE.setflags(write=False)


def class_ids(classes: Collection[str]) -> list[int]:
    """Return the ids of classes, in ascending order.

    Raises:
        ConfigError: a name is not in ``CLASS_NAMES``.
    """
    unknown = sorted(set(classes) - set(CLASS_NAMES))
    if unknown:
        raise ConfigError(f"unknown parsing classes {unknown}; choose from {', '.join(CLASS_NAMES)}")
    return [index for index, name in enumerate(CLASS_NAMES) if name in classes]


def labelled(parsing_map: ParsingMap, classes: Collection[str]) -> NDArray[np.bool_]:
    """Return (S, S): whether a pixel of a parsing map, which `check_map` has seen, is of one of these classes.

    Raises:
        ConfigError: a name is not in ``CLASS_NAMES``.
    """
    wanted = np.zeros(len(CLASS_NAMES), dtype=np.bool_)
    wanted[class_ids(classes)] = True
    return np.take(wanted, parsing_map)


def check_map(parsing_map: ParsingMap, face_size: int) -> None:
    """Make sure that a parsing map fits a crop.

    Raises:
        ConfigError: it is not uint8 (face_size, face_size), or holds an id that no class has.
    """
    if parsing_map.shape != (face_size, face_size) or parsing_map.dtype != np.uint8:
        raise ConfigError(
            f"the parsing map is {parsing_map.dtype} {parsing_map.shape}; "
            f"give uint8 ({face_size}, {face_size}), the size of the crop"
        )
    if parsing_map.max(initial=0) >= len(CLASS_NAMES):
        raise ConfigError(
            f"the parsing map holds the id {parsing_map.max()}; ids go from 0 to {len(CLASS_NAMES) - 1}"
        )


def colour_map(parsing_map: ParsingMap) -> NDArray[np.uint8]:
    """Return a parsing map in the colours of ``PALETTE``, (S, S, 3) uint8 RGB.

    Raises:
        ConfigError: it is not square uint8, or holds an id that no class has.
    """
    check_map(parsing_map, parsing_map.shape[0])
    coloured: NDArray[np.uint8] = PALETTE[parsing_map]
    return coloured


def class_shares(parsing_map: ParsingMap) -> dict[str, float]:
    """Return the share of the crop that each class has, 0 to 1, for the classes that occur."""
    counts = np.bincount(parsing_map.ravel(), minlength=len(CLASS_NAMES))
    return {
        name: float(count) / parsing_map.size
        for name, count in zip(CLASS_NAMES, counts, strict=True)
        if count
    }

"""Two weights files of one network, mixed tensor by tensor: how far a network goes from one towards the other.

Interpolating parameters, where one network was trained from the other, moves its results between theirs (Wang et al.,
"Deep Network Interpolation", arXiv 1811.10515).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import CheckpointError
from facerestore.weights.weights_file import WeightsSource

PIECE = 1 << 15
"""Numbers that numpy mixes at a time, which a processor's cache holds: 256 kB of them in float32."""

FLOAT16_SINCE = 5
"""Major version of OpenCV that computes with float16, in float32 as numpy does, to a last place in 1 of 7000."""


class Mix(NamedTuple):
    """What a network is mixed with.

    Attributes:
        base: the weights that it was trained from.
        share: of its own; what is left is the base's. Above 0 and up to 1.
    """

    base: WeightsSource
    share: float


def mixed(
    base: Mapping[str, NDArray[Any]], own: Mapping[str, NDArray[Any]], share: float, *, name: str
) -> dict[str, NDArray[Any]]:
    """Return tensors between two sets, computed in float32 and stored as ``own`` are.

    Args:
        base: tensors of the network that ``own`` was trained from.
        own: others of the same names and shapes.
        share: of ``own``; at 1 they are returned as they are.
        name: what ``own`` is, for messages.

    Raises:
        CheckpointError: the two are not of one network.
    """
    if share == 1:
        return dict(own)
    made: dict[str, NDArray[Any]] = {}
    for key, value in own.items():
        other = base.get(key)
        if other is None or other.shape != value.shape:
            raise CheckpointError(
                f"'{name}' cannot be mixed with its base: '{key}' is missing there, or of another shape"
            )
        made[key] = _between(other, value, share)
    return made


def _between(base: NDArray[Any], own: NDArray[Any], share: float) -> NDArray[Any]:
    """Return one tensor between two."""
    import cv2

    flat, ours, theirs = np.empty(own.size, own.dtype), own.reshape(-1), base.reshape(-1)
    if FLOAT16_SINCE <= int(cv2.__version__.partition(".")[0]) and base.dtype == own.dtype == np.float16:
        cv2.addWeighted(ours, share, theirs, 1 - share, 0, dst=flat)  # 30 times as quick as numpy
        return flat.reshape(own.shape)
    for start in range(0, flat.size, PIECE):
        piece = slice(start, start + PIECE)
        between, more = theirs[piece].astype(np.float32), ours[piece].astype(np.float32)
        between *= 1 - share
        more *= share
        between += more
        flat[piece] = between
    return flat.reshape(own.shape)

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
"""Numbers that are mixed at a time: 256 kB of them in float32."""

FLOAT16_SINCE = 5
"""Major version of OpenCV that reads and rounds float16 as numpy does, bit for bit and six times as quick."""


class Mix(NamedTuple):
    """What a network is mixed with.

    Attributes:
        base: the weights that it was trained from.
        share: of its own; what is left is the base's. Above 0 and up to 1.
    """

    base: WeightsSource
    share: float


class Base(NamedTuple):
    """What a network refines: another one, whose parameters lie in a file of their own.

    Attributes:
        source: its weights.
        mix: what they are mixed with; None takes them as they are.
    """

    source: WeightsSource
    mix: Mix | None = None


def detail_of(mix: Mix | None, base: Base | None) -> float | None:
    """Return the share of the weights that draw detail, in a network or else in what it refines; None for none."""
    mix = base.mix if mix is None and base is not None else mix
    return None if mix is None else mix.share


DETAIL_OF = "detail_of"
"""Entry of a weights file's header: the catalog name of the weights that its network was trained from. The file holds
the tensors alone that were trained; the others are those of that name."""

REFINES = "refines"
"""Entry of a weights file's header: the catalog name of the weights that its network refines."""

BASE = "base."
"""Before the names of the parameters of what is refined, beside those of what refines."""


def without_the_rest(name: str) -> str:
    """Return what is wrong with a file whose other tensors are those of a name, and that was opened without them."""
    return (
        f"it holds what was trained on from '{name}' alone; give it to 'facerestore' by its path or its name"
    )


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
    """Return one tensor between two, in pieces that a processor's cache holds: half the time of the whole at once."""
    import cv2

    quick = base.dtype == own.dtype == np.float16 and int(cv2.__version__.partition(".")[0]) >= FLOAT16_SINCE
    made = np.empty(own.shape, own.dtype)
    flat, ours, theirs = (each.reshape(1, -1) for each in (made, own, base))  # OpenCV takes (4,) for a colour
    for start in range(0, made.size, PIECE):
        piece = np.s_[:, start : start + PIECE]
        if quick:
            more = cv2.addWeighted(ours[piece], share, ours[piece], 0, 0, dtype=cv2.CV_32F)
            between = cv2.addWeighted(theirs[piece], 1 - share, theirs[piece], 0, 0, dtype=cv2.CV_32F)
            cv2.add(more, between, dst=flat[piece], dtype=cv2.CV_16F)
        else:
            more, between = (each[piece].astype(np.float32) for each in (ours, theirs))
            flat[piece] = more * np.float32(share) + between * np.float32(1 - share)
    return made

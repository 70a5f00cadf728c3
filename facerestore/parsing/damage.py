"""Finds what is damaged in faces: scratches, creases, tears, the rims of stains, and dust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facerestore.engines import Place
from facerestore.engines.graph import open_engine
from facerestore.errors import BackendError, CheckpointError, count, first_line
from facerestore.weights.checkpoint import (
    load_state_dict,
    load_strictly,
    on_meta,
    open_weights,
    shapes_of,
    trained_size,
)

if TYPE_CHECKING:
    from facerestore.archs.parts import DamageShares, PartsNet
    from facerestore.engines import Engine
    from facerestore.types import FaceImage
    from facerestore.weights.weights_file import WeightsFile, WeightsSource

NAME = "damage"
"""What the header of a weights file calls the network."""

FACE_SIZE = 256
"""Of a file whose header states none."""


class DamageFinder:
    """Says how likely each pixel of a face is damaged.

    Args:
        engine: (N, S, S, 3) float32 RGB in [0, 1] to (N, S, S) float32 in [0, 1].
        face_size: side of the crops that it takes, pixels.
    """

    name = NAME

    def __init__(self, engine: Engine, *, face_size: int) -> None:
        self._engine, self.face_size = engine, face_size

    def find(self, crops: Sequence[FaceImage]) -> list[NDArray[np.float32]]:
        """Return the probability of damage, (S, S) float32 each, of (S, S, 3) crops of ``face_size`` in the FFHQ frame.

        Raises:
            BackendError: the network failed, or gave values that are not finite.
        """
        found = []
        for crop in crops:
            try:
                (shares,) = self._engine.run(crop[None])
            except Exception as error:  # each engine has classes of its own
                raise BackendError(
                    f"the network that finds damage failed on {self._engine.place} with {count(1, 'face')}:"
                    f" {first_line(error)}; see 'facerestore doctor', or use --device cpu"
                ) from error
            if not np.isfinite(shares).all():
                raise BackendError(
                    "the network that finds damage gave values that are not finite; verify its weights with"
                    " 'facerestore weights verify', or use --device cpu"
                )
            found.append(np.asarray(shares[0], dtype=np.float32))
        return found


def load_damage_network(file: WeightsFile) -> PartsNet:
    """Return the network of a weights file, computed in float32 whatever it is stored in.

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """
    from facerestore.archs.parts import PartsNet, parts_config

    state = load_state_dict(file)
    try:
        if (last := "label.weight") not in state:
            raise ValueError(f"it lacks '{last}'")
        config = parts_config(shapes_of(state))
        if config.classes != 1:
            raise ValueError(f"it tells {config.classes} classes apart, not damage alone")
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(f"'{file.path}' finds no damage: {error}; give another file") from error
    network = on_meta(PartsNet, config)
    load_strictly(network, {key: value.float() for key, value in state.items()}, name="PartsNet")
    return network


def load_damage_finder(source: WeightsSource, *, place: Place | None = None) -> DamageFinder:
    """Return what finds damage with the parameters of a weights file.

    Args:
        source: safetensors or PyTorch file.
        place: where it runs; on the CPU when None.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of another network.
        ConfigError: the place has a provider that is not here.
    """
    file = open_weights(source)
    size = trained_size(file.metadata, default=FACE_SIZE)
    return DamageFinder(open_engine(file, place or Place("cpu"), _module, arch=NAME), face_size=size)


def _module(file: WeightsFile) -> DamageShares:
    from facerestore.archs.parts import DamageShares

    return DamageShares(load_damage_network(file))

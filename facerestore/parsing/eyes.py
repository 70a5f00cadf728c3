"""Tells closed eyes from open ones in degraded faces, by a tiny network on the eyes of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facerestore.engines import Place
from facerestore.engines.graph import open_engine
from facerestore.errors import BackendError, CheckpointError, first_line
from facerestore.imaging.pixels import resize_face
from facerestore.weights.checkpoint import load_state_dict, load_strictly, open_weights, shapes_of

if TYPE_CHECKING:
    from facerestore.archs.eyes import ClosedEyes, EyesNet
    from facerestore.engines import Engine
    from facerestore.types import FaceImage
    from facerestore.weights.weights_file import WeightsFile, WeightsSource

NAME = "eyes"
"""What the header of a weights file calls the network."""

FACE_SIZE = 256
"""Side of the faces that it takes, pixels."""


class EyeReader:
    """Says how likely the eyes of a face are closed.

    Args:
        engine: (N, 256, 256, 3) float32 RGB in [0, 1] to (N, 2) float32 in [0, 1], the left and the right eye.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def closed(self, crops: Sequence[FaceImage]) -> list[float]:
        """Return how likely the eyes of faces are closed, the mean of both, 0 to 1.

        Args:
            crops: (S, S, 3) float32 RGB in [0, 1], in the FFHQ frame; resized to 256 px.

        Raises:
            BackendError: the network failed, or gave values that are not finite.
        """
        faces = np.stack([np.clip(resize_face(crop, FACE_SIZE), 0, 1) for crop in crops])
        try:
            (found,) = self._engine.run(faces)
        except Exception as error:  # each engine has classes of its own
            raise BackendError(
                f"the network that tells closed eyes failed on {self._engine.place}: {first_line(error)}; see"
                " 'facerestore doctor', or use --no-guard"
            ) from error
        if not np.isfinite(found).all():
            raise BackendError(
                "the network that tells closed eyes gave values that are not finite; verify its weights with"
                " 'facerestore weights verify', or use --no-guard"
            )
        return [float(value) for value in found.mean(axis=1)]


def load_eyes_network(file: WeightsFile) -> EyesNet:
    """Return the network of a weights file, computed in float32 whatever it is stored in.

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """
    from facerestore.archs.eyes import EyesNet

    state = load_state_dict(file)
    try:
        shapes = shapes_of(state)
        widths = (int(shapes["near.weight"][0]), int(shapes["wide.weight"][0]))
        hidden = int(shapes["hidden.weight"][0])
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"'{file.path}' tells no closed eyes: it lacks {error}; give another file"
        ) from error
    network = EyesNet(widths, hidden)
    load_strictly(network, {key: value.float() for key, value in state.items()}, name="EyesNet")
    return network


def load_eye_reader(source: WeightsSource, *, place: Place | None = None) -> EyeReader:
    """Return what tells closed eyes with the parameters of a weights file.

    Args:
        source: safetensors or PyTorch file.
        place: where it runs; on the CPU when None.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of another network.
        ConfigError: the place has a provider that is not here.
    """
    return EyeReader(open_engine(open_weights(source), place or Place("cpu"), _module, arch=NAME))


def _module(file: WeightsFile) -> ClosedEyes:
    from facerestore.archs.eyes import ClosedEyes

    return ClosedEyes(load_eyes_network(file))

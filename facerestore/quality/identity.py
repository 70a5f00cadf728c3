"""Who a face is, in 128 numbers, by dlib's recognition network where the extra ``identity`` brings it; no dlib needed.

Its parameters are read from the package's file as they are; its graph (``dlib_resnet.onnx``, written by
``facerestore.export.identity``) comes with facerestore, so ONNX Runtime runs it and nothing waits for torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facerestore.engines import Place
from facerestore.errors import CheckpointError
from facerestore.imaging.alignment import estimate_similarity, template, warp_to_crop
from facerestore.imaging.pixels import to_8_bit
from facerestore.types import FaceImage
from facerestore.weights.dlib_file import read_dlib

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facerestore.weights import WeightsStore

WEIGHTS = "dlib.resnet-v1"
"""Catalog name of the network's weights."""

SAME_PERSON = 0.6
"""Distance below which two pictures are taken for one person: the network was trained to it (blog.dlib.net, 2017)."""

CHIP_SIZE = 150
"""Side of the faces that the network takes, px."""

DLIB_TEMPLATE: NDArray[np.float64] = np.array(
    [[47.583, 46.599], [100.476, 46.599], [74.013, 76.563], [50.415, 103.023], [97.610, 103.023]]
)
"""Where the five points lie in such a face: eyes, nose tip and mouth corners of dlib's mean face, padded by a quarter.

Checked against ``dlib.get_face_chip_details``, which takes that mean face to the chip without a turn."""
DLIB_TEMPLATE.setflags(write=False)

GRAPH_FILE = "dlib_resnet.onnx"


class IdentityNetwork:
    """Describes faces; any number of threads share it.

    Args:
        weights: dlib's file.
        place: where it runs; on the CPU when None.

    Raises:
        CheckpointError: the file is damaged, or holds another network.
        BackendError: ONNX Runtime is not installed.
    """

    name = WEIGHTS

    def __init__(self, weights: Path, place: Place | None = None) -> None:
        from facerestore.engines.onnx import OnnxEngine

        model = (Path(__file__).parent / GRAPH_FILE).read_bytes()
        place = Place() if place is None else place
        parameters = folded(read_dlib(weights))
        self._engine = OnnxEngine(model, place, name=str(weights), parameters=parameters, blocked=False)

    def describe(self, faces: Sequence[FaceImage]) -> NDArray[np.float32]:
        """Return the (N, 128) numbers of N faces.

        Args:
            faces: (S, S, 3) float32 RGB in [0, 1], in the FFHQ frame; of any sizes.

        Raises:
            CheckpointError: a number is not finite.
        """
        found: NDArray[np.float32] = self._engine.run(np.stack([chip(face) for face in faces]))[0]
        if not np.isfinite(found).all():
            raise CheckpointError(f"weights '{WEIGHTS}' gave values that are not finite; verify them")
        return found

    def distance(self, one: FaceImage, other: FaceImage) -> float:
        """Return how unlike two faces are: 0 for one picture, about 0.9 for two people; see `SAME_PERSON`."""
        first, second = self.describe([one, other])
        return distance(first, second)


def folded(parameters: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of a network, its affine layers in its convolutions, which are written to.

    ONNX Runtime folds them too, and takes twice their memory for it.
    """
    for name, value in parameters.items():
        kind, _, rest = name.partition(".")
        if kind == "conv":
            number, _, part = rest.partition(".")
            value *= parameters[f"affine.{number}.scale"].reshape(-1, *[1] * (value.ndim - 1))
            if part == "bias":
                value += parameters[f"affine.{number}.shift"].ravel()
    return {name: value for name, value in parameters.items() if not name.startswith("affine.")}


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the distance between the numbers of two faces."""
    return float(np.linalg.norm(one.astype(np.float64) - other))


def chip(face: FaceImage) -> NDArray[np.uint8]:
    """Return a face as the network takes it: (150, 150, 3) uint8 RGB, in dlib's frame."""
    affine = estimate_similarity(template(face.shape[0]), DLIB_TEMPLATE)
    return to_8_bit(warp_to_crop(to_8_bit(face), affine, CHIP_SIZE))


def open_identity(store: WeightsStore, place: Place | None = None) -> IdentityNetwork | None:
    """Return the network; None where its weights are not installed.

    Raises:
        FaceRestoreError: they are here and cannot be used.
    """
    if store.locate(WEIGHTS) is None:
        return None
    return IdentityNetwork(store.require(WEIGHTS), place)

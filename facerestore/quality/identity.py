"""Who a face is, in numbers: by dlib's recognition network where the extra ``identity`` brings it, or by ArcFace.

dlib's parameters are read from the package's file as they are, without dlib; its graph (``dlib_resnet.onnx``, written
by ``facerestore.export.identity``) comes with facerestore, so ONNX Runtime runs it and nothing waits for torch.
ArcFace is run by torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from facerestore.engines import Place
from facerestore.errors import CheckpointError, require_torch
from facerestore.imaging.alignment import estimate_similarity, template, warp_to_crop
from facerestore.imaging.pixels import to_8_bit
from facerestore.types import FaceImage
from facerestore.weights.checkpoint import load_state_dict, load_strictly
from facerestore.weights.dlib_file import read_dlib

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

WEIGHTS = "dlib.resnet-v1"
"""Catalog name of the weights of dlib's network."""

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


class IdentityNetwork(Protocol):
    """Describes faces; any number of threads share it."""

    def describe(self, faces: Sequence[FaceImage]) -> NDArray[np.float32]:
        """Return the (N, D) numbers of N faces.

        Args:
            faces: (S, S, 3) float32 RGB in [0, 1], in the FFHQ frame; of any sizes.

        Raises:
            CheckpointError: a number is not finite.
        """
        ...

    def likeness(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Return how alike two faces are by their numbers: 1 for the same picture, less for anything else."""
        ...


class DlibIdentity:
    """dlib's network, see `IdentityNetwork`: 128 numbers, and as likeness 1 less their distance.

    Args:
        weights: dlib's file.
        place: where it runs; on the CPU when None.

    Raises:
        CheckpointError: the file is damaged, or holds another network.
        BackendError: ONNX Runtime is not installed.
    """

    def __init__(self, weights: Path, place: Place | None = None) -> None:
        from facerestore.engines.onnx import OnnxEngine

        model = (Path(__file__).parent / GRAPH_FILE).read_bytes()
        place = Place() if place is None else place
        parameters = folded(read_dlib(weights))
        self._engine = OnnxEngine(model, place, name=str(weights), parameters=parameters, blocked=False)

    def describe(self, faces: Sequence[FaceImage]) -> NDArray[np.float32]:
        """Return the (N, 128) numbers of N faces."""
        return _finite(self._engine.run(np.stack([chip(face) for face in faces]))[0], WEIGHTS)

    def likeness(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Return 1 less the distance: about 0.1 for two people, above 0.4 for one; see `SAME_PERSON`."""
        return 1 - distance(one, other)


class ArcFaceIdentity:
    """ArcFace's IR-SE50, see `IdentityNetwork`: 512 numbers of length 1, and as likeness their cosine.

    Args:
        weights: its file.
        device: where it runs.

    Raises:
        CheckpointError: the file is unsafe or damaged, or holds another network.
        BackendError: torch is not installed.
    """

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        require_torch(what="ArcFace")
        from facerestore.archs.arcface import ArcFace

        network = ArcFace()
        load_strictly(network, load_state_dict(weights), name="ArcFace IR-SE50")
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device

    def describe(self, faces: Sequence[FaceImage]) -> NDArray[np.float32]:
        """Return the (N, 512) numbers of N faces."""
        import torch

        from facerestore.archs.arcface import arcface_crop

        with torch.inference_mode():
            planes = [torch.tensor(face, device=self._device).permute(2, 0, 1)[None] for face in faces]
            found = self._network(torch.cat([arcface_crop(x * 2 - 1) for x in planes]))
        return _finite(found.float().cpu().numpy(), "arcface.ir-se50")

    def likeness(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Return the cosine, -1 to 1."""
        return float(one.astype(np.float64) @ other.astype(np.float64))


DLIB, ARCFACE = "dlib", "arcface"
"""Backends of the catalog whose identity networks can be run."""


def load_identity(weights: Path, backend: str, place: Place | None = None) -> IdentityNetwork:
    """Return an identity network.

    Args:
        weights: its file.
        backend: `DLIB` or `ARCFACE`.
        place: where it runs; on the CPU when None.

    Raises:
        CheckpointError: the file is damaged, or holds another network.
        BackendError: the package that runs it is not installed.
    """
    place = Place() if place is None else place
    if backend == ARCFACE:
        return ArcFaceIdentity(weights, place.device)
    return DlibIdentity(weights, Place(threads=place.threads))


def _finite(numbers: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if not np.isfinite(numbers).all():
        raise CheckpointError(f"weights '{name}' gave values that are not finite; verify them")
    return numbers


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

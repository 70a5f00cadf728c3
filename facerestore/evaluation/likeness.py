"""Metrics of likeness by networks: LPIPS, the distance of landmarks, and how alike identities are.

Their weights come from the weights store; nothing is fetched here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerestore.archs.landmarks import LandmarkNet, normalise
from facerestore.detection import LANDMARKS
from facerestore.detection.embedded import load_landmarks
from facerestore.detection.landmark_frame import affine_from_landmarks, from_units, grey_crop
from facerestore.errors import ConfigError
from facerestore.evaluation.cases import Face
from facerestore.evaluation.metrics import FaceMetric, Setting, Spec, best_weights, require, sha256_known
from facerestore.imaging.alignment import invert_affine, template, transform_points
from facerestore.quality.identity import (
    CHIP_SIZE,
    SAME_PERSON,
    WEIGHTS,
    ArcFaceIdentity,
    DlibIdentity,
    distance,
)
from facerestore.types import FaceImage
from facerestore.weights import WeightsEntry
from facerestore.weights.files import sha256_of

LOOKS = 2
"""Times that the landmark network looks: at the crop as the template has it, then aligned by the first look."""


def lpips(spec: Spec, setting: Setting) -> FaceMetric:
    """Open LPIPS (Zhang et al. 2018, version 0.1): torchmetrics' layers on a backbone from the weights store.

    Raises:
        ConfigError: torchmetrics or torchvision is absent, or wants another file than the store's.
        WeightsError: the backbone is not installed, or corrupt.
    """
    module = require("torchmetrics.image.lpip", metric=spec.title)
    require("torchvision", metric=spec.title)
    entry = best_weights("lpips", setting, metric=spec.title)
    path = setting.store.require(entry.name)
    net = _lpips_net(entry)
    with _torch_hub_with(path, entry, net):
        network = module.LearnedPerceptualImagePatchSimilarity(net_type=net, normalize=True)
    network = network.to(setting.device).eval()

    def measure(restored: Face, hq: Face | None) -> float:
        with torch.inference_mode():
            value = float(network(_unit_tensor(restored, setting.device), _unit_tensor(hq, setting.device)))
        network.reset()  # it would remember every face for a mean of its own
        return value

    layers = Path(str(module.__file__)).parents[1] / "functional" / "image" / "lpips_models" / f"{net}.pth"
    protocol = {
        "implementation": "torchmetrics LearnedPerceptualImagePatchSimilarity, LPIPS 0.1",
        "network": entry.name,
        "network_sha256": sha256_known(entry, setting.store),
        "layers_sha256": sha256_of(layers) if layers.is_file() else None,  # which torchmetrics brings
        "colour": "RGB, 8 bit",
        "crop": f"the whole aligned face, {setting.face_size} px",
    }
    return FaceMetric(spec, protocol, measure)


def identity(spec: Spec, setting: Setting) -> FaceMetric:
    """Open the cosine between ArcFace's vectors of a face and of its original.

    Raises:
        WeightsError: ArcFace is not installed, or corrupt.
    """
    entry = best_weights("identity", setting, metric=spec.title, backends={"arcface"})
    network = ArcFaceIdentity(setting.store.require(entry.name), setting.device)

    protocol = {
        "implementation": "ArcFace IR-SE50, cosine of two vectors",
        "network": entry.name,
        "network_sha256": sha256_known(entry, setting.store),
        "colour": "RGB, 8 bit",
        "crop": "the part of the aligned face that lies in ArcFace's frame, 112 px",
    }
    reference = _with_memory_of_one(lambda face: network.describe([_unit_face(face)])[0])

    def measure(face: Face, hq: Face | None) -> float:
        return network.likeness(network.describe([_unit_face(face)])[0], reference(_needed_face(hq)))

    return FaceMetric(spec, protocol, measure)


def identity_distance(spec: Spec, setting: Setting) -> FaceMetric:
    """Open the distance between dlib's descriptions of a face and of its original; see `facerestore.quality`.

    Raises:
        WeightsError: the weights are not installed, or corrupt.
    """
    network = DlibIdentity(setting.store.require(WEIGHTS))
    reference = _with_memory_of_one(lambda face: network.describe([_unit_face(face)])[0])
    protocol = {
        "implementation": "dlib's ResNet, Euclidean distance of two descriptions",
        "network": WEIGHTS,
        "network_sha256": sha256_known(setting.store.entry(WEIGHTS), setting.store),
        "colour": "RGB, 8 bit",
        "crop": f"the part of the aligned face that lies in dlib's frame, {CHIP_SIZE} px",
    }

    def measure(face: Face, hq: Face | None) -> float:
        return distance(network.describe([_unit_face(face)])[0], reference(_needed_face(hq)))

    return FaceMetric(spec, protocol, measure)


def same_person(spec: Spec, setting: Setting) -> FaceMetric:
    """Open 1 for a face that dlib's network takes for the person of its original, 0 for one that it does not."""
    found = identity_distance(spec, setting)

    def measure(face: Face, hq: Face | None) -> float:
        return float((found.measure(face, hq) or 0.0) < SAME_PERSON)

    return FaceMetric(spec, {**found.protocol, "limit": SAME_PERSON}, measure)


def landmarks(spec: Spec, setting: Setting) -> FaceMetric:
    """Open the mean distance of five landmarks from the original's, in percent of the original's eye distance.

    The landmarks are those of the bundled network, on every machine, so that numbers compare. It is given the crop by
    the template and not by a detector, so that it has an answer for every face, however degraded.

    Raises:
        WeightsError: the bundled weights are missing.
    """
    entry = setting.store.entry(LANDMARKS)
    network = load_landmarks(setting.store.require(entry.name)).requires_grad_(False)

    def find(face: Face) -> NDArray[np.float64]:
        return five_points(network, face)

    reference = _with_memory_of_one(find)

    def measure(restored: Face, hq: Face | None) -> float:
        original = reference(_needed_face(hq))
        distances = np.linalg.norm(find(restored) - original, axis=1)
        return float(100 * distances.mean() / np.linalg.norm(original[1] - original[0]))

    protocol = {
        "implementation": f"facerestore's five-point network, {LOOKS} looks from the template",
        "network": entry.name,
        "network_sha256": entry.sha256,
        "unit": "mean distance of five points, percent of the original's eye distance",
    }
    return FaceMetric(spec, protocol, measure)


def five_points(network: LandmarkNet, face: Face) -> NDArray[np.float64]:
    """Return the (5, 2) landmarks of an aligned face, px; the network looks `LOOKS` times."""
    points = template(face.shape[0])
    for _ in range(LOOKS):
        affine = affine_from_landmarks(points)
        crop = torch.from_numpy(grey_crop(face, affine))[None]
        with torch.inference_mode():
            found, _ = network(normalise(crop))
        points = transform_points(invert_affine(affine), from_units(found[0].numpy()))
    return points


def _lpips_net(entry: WeightsEntry) -> Literal["alex", "vgg"]:
    nets: dict[str, Literal["alex", "vgg"]] = {"alexnet": "alex", "vgg16": "vgg"}
    if entry.backend not in nets:
        raise ConfigError(
            f"LPIPS knows the backbones {', '.join(nets)}, and the weights are '{entry.name}'; remove those"
        )
    return nets[entry.backend]


@contextmanager
def _torch_hub_with(path: Path, entry: WeightsEntry, net: Literal["alex", "vgg"]) -> Iterator[None]:
    """Let torchvision find the store's file where it keeps its own downloads, so that it fetches nothing.

    Raises:
        ConfigError: this torchvision would look for another file.
    """
    vision = import_module("torchvision")
    weights = {"alex": vision.models.AlexNet_Weights, "vgg": vision.models.VGG16_Weights}[net]
    wanted = weights.IMAGENET1K_V1.url.rpartition("/")[2]
    if wanted != entry.file:
        raise ConfigError(
            f"torchvision {vision.__version__} takes '{wanted}' for LPIPS, and the catalog has '{entry.file}';"
            " update facerestore"
        )
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoints"
        place.mkdir()
        try:
            (place / wanted).symlink_to(path.resolve())
        except OSError:  # Windows without the right to link
            (place / wanted).write_bytes(path.read_bytes())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


def _with_memory_of_one(function: Callable[[Face], Any]) -> Callable[[Face], Any]:
    """Return the function with a memory of one: every method is compared with the same original in turn."""
    last: list[tuple[Face, Any]] = []

    def remembering(face: Face) -> Any:
        if not last or last[0][0] is not face:
            last[:] = [(face, function(face))]
        return last[0][1]

    return remembering


def _unit_face(face: Face) -> FaceImage:
    """Return a face as (S, S, 3) float32 in [0, 1]."""
    return face.astype(np.float32) / np.float32(255)


def _unit_tensor(face: Face | None, device: torch.device) -> Tensor:
    """Return a face as a (1, 3, S, S) tensor in [0, 1]."""
    tensor = torch.from_numpy(_needed_face(face).copy()).permute(2, 0, 1)[None].float() / 255
    return tensor.to(device)


def _needed_face(face: Face | None) -> Face:
    if face is None:
        raise ConfigError("this metric compares a face with its original, and there is none")
    return face

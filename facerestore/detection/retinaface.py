"""RetinaFace with facexlib's network parts, and our own loading, anchors, decoding and suppression."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facerestore.detection.anchors import anchors, decode_boxes, decode_points
from facerestore.detection.frames import View, suppress_overlaps, to_image_frame
from facerestore.detection.pyramid import Reach
from facerestore.detection.searching import Extent, by_score, search_photo
from facerestore.errors import BackendError, ConfigError
from facerestore.types import DetectedFace, FoundFaces, Image
from facerestore.weights.checkpoint import load_state_dict, load_strictly

if TYPE_CHECKING:
    from types import ModuleType

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from facerestore.archs.retinaface import RetinaFaceNet

BGR_MEAN = np.array(
    [104.0, 117.0, 123.0], dtype=np.float32
)  # ImageNet's, as the published weights were trained
SCORE_THRESHOLD = 0.8  # facexlib's; GPEN takes 0.9
NMS_THRESHOLD = 0.4  # facexlib's and GPEN's
USUAL_SIDE_PX = 1280  # a face that fills a picture of this side meets the largest anchors
LEAST_PX = 24.0  # twice the smallest anchors; of 18 validation portraits mobile0.25 finds 15 at 18 to 32 px
STEP = 4.0
STRICT_SCORE = 0.99  # above the usual size and for turned faces; mobile0.25 gives 0.979 to a turned violin
LEAST_SEEN = 0.1  # of what is told of a photo without a face: how likely the likeliest was
FACEXLIB_MIN_SIZES = ((16, 32), (64, 128), (256, 512))
SMALL_MIN_SIZES = ((10, 20), (32, 64), (128, 256))
UNUSED_PREFIX = "body.fc."  # the classifier of the backbone, which some files still carry


@dataclass(frozen=True, slots=True)
class RetinaFaceConfig:
    """How a published RetinaFace file was made.

    Attributes:
        backbone: ``resnet50`` or ``mobile0.25``.
        min_sizes: anchor sides of the three levels, px.
        usual_side_px: longest side of a picture that a face may fill and meet the anchors.
        plain_relu: the network was trained with ReLU where facexlib's mobile0.25 has a leaky one of slope 0.1.
    """

    backbone: str
    min_sizes: tuple[tuple[int, ...], ...] = FACEXLIB_MIN_SIZES
    usual_side_px: int = USUAL_SIDE_PX
    plain_relu: bool = False

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ConfigError(
                f"unknown RetinaFace backbone '{self.backbone}'; choose one of {', '.join(BACKBONES)}"
            )


BACKBONES = ("resnet50", "mobile0.25")
CONFIGS = {
    "retinaface.resnet50": RetinaFaceConfig("resnet50"),
    "retinaface.resnet50-gpen": RetinaFaceConfig("resnet50"),
    "retinaface.mobile0.25": RetinaFaceConfig("mobile0.25"),
    # biubug6/Face-Detector-1MB-with-landmark: the same tensors, but smaller anchors and ReLU (data/config.py, net.py).
    "retinaface.mobile0.25-1mb": RetinaFaceConfig(
        "mobile0.25", SMALL_MIN_SIZES, usual_side_px=800, plain_relu=True
    ),
}
"""By catalog name. Anchors and activations are no tensors of the file, so nothing but its name can tell them."""


class RetinaFaceDetector:
    """Finds faces with RetinaFace.

    Args:
        weights: a published file, read without unpickling.
        config: its backbone and anchors.
        device: torch device.
        extent: how much of a photo is searched.

    Raises:
        CheckpointError: the file is unsafe, or does not fit the network.
    """

    name = "retinaface"

    def __init__(
        self,
        weights: Path,
        config: RetinaFaceConfig,
        *,
        device: str | torch.device = "cpu",
        extent: Extent | None = None,
    ) -> None:
        self._config, self._device, self._extent = config, device, extent or Extent()
        network = build_network(config)
        state_dict = load_state_dict(weights)
        kept = {key: value for key, value in state_dict.items() if not key.startswith(UNUSED_PREFIX)}
        load_strictly(network, kept, name=f"RetinaFace {config.backbone}")
        self._network = network.eval().to(device)

    def detect(self, image: Image) -> FoundFaces:
        """Return the faces of an (H, W, 3) or (H, W) image, uint8 or uint16, best score first.

        Raises:
            BackendError: the network gave a value that is not finite.
        """
        judge, reach = (
            by_score(SCORE_THRESHOLD, strictly=STRICT_SCORE),
            Reach(LEAST_PX, (self._config.usual_side_px,), STEP),
        )
        return search_photo(image, see=self._candidates_in, judge=judge, reach=reach, extent=self._extent)

    def _candidates_in(self, view: View) -> list[DetectedFace]:
        boxes, scores, points = self._regress(view.pixels)
        chosen = np.flatnonzero(scores > LEAST_SEEN)
        boxes, scores, points = boxes[chosen], scores[chosen], points[chosen]
        kept = suppress_overlaps(boxes, scores, NMS_THRESHOLD, pixel=1.0)
        # Fractions times the size are pixel coordinates as they are, as in facexlib and GPEN.
        return [to_image_frame(boxes[i], points[i], float(scores[i]), view.to_image) for i in kept]

    def _regress(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return (A, 4) boxes and (A, 5, 2) points in reduced px, and (A,) scores."""
        import torch

        height, width = pixels.shape[:2]
        bgr = pixels[..., ::-1].astype(np.float32) - BGR_MEAN
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(bgr.transpose(2, 0, 1)[None])).to(self._device)
            regressions, classes, shifts = (out[0].cpu().numpy() for out in self._network(batch))
        if not (np.isfinite(regressions).all() and np.isfinite(classes).all() and np.isfinite(shifts).all()):
            raise BackendError("RetinaFace gave values that are not finite; verify its weights")
        priors = anchors(height, width, self._config.min_sizes)
        size = np.array([width, height], dtype=np.float32)
        boxes = decode_boxes(regressions, priors) * np.tile(size, 2)
        return boxes, classes[:, 1], decode_points(shifts, priors) * size


def build_network(config: RetinaFaceConfig) -> RetinaFaceNet:
    """Return RetinaFace, untrained, of facexlib's parts; nothing is downloaded.

    Raises:
        ConfigError: facexlib lacks its network module.
    """
    from torch.nn import LeakyReLU

    from facerestore.archs.retinaface import Body, RetinaFaceNet

    parts = facexlib_parts()
    if config.backbone == "resnet50":
        body, taps, width = Body(_resnet50_stages(), ("layer2", "layer3", "layer4")), [512, 1024, 2048], 256
    else:
        names = ("stage1", "stage2", "stage3")
        mobile = parts.MobileNetV1()
        body, taps, width = Body({name: getattr(mobile, name) for name in names}, names), [64, 128, 256], 64
    makers = (parts.make_class_head, parts.make_bbox_head, parts.make_landmark_head)
    network = RetinaFaceNet(
        body,
        parts.FPN(taps, width),
        context=[parts.SSH(width, width) for _ in taps],
        heads=tuple(make(fpn_num=len(taps), inchannels=width) for make in makers),
    )
    for module in network.modules():
        if config.plain_relu and isinstance(module, LeakyReLU):
            module.negative_slope = 0.0
    return network


def _resnet50_stages() -> dict[str, nn.Module]:
    """Return torchvision's ResNet50 up to its last stage, untrained."""
    from torchvision.models import resnet50  # type: ignore[import-untyped]

    network = resnet50(weights=None)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    return {name: getattr(network, name) for name in names}


@cache
def facexlib_parts() -> ModuleType:
    """Return facexlib's ``detection/retinaface_net.py``, loaded by its file.

    ``import facexlib.detection.retinaface_net`` would first run facexlib's ``__init__``, which imports numba, scipy,
    matplotlib and the GPL-licensed tracking code. The file needs torch only, so it is loaded alone, under a private
    name, and facexlib itself is never imported.

    Raises:
        ConfigError: facexlib is not installed, or lacks the file.
    """
    package = importlib.util.find_spec("facexlib")
    places = list(package.submodule_search_locations or []) if package else []
    files = [path for place in places if (path := Path(place) / "detection" / "retinaface_net.py").is_file()]
    if not files:
        raise ConfigError(
            "facexlib, or its detection/retinaface_net.py, is missing; run 'pip install facexlib'"
        )
    return _load_alone("facerestore.detection._facexlib_retinaface_net", files[0])


def _load_alone(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"cannot load {file} as a Python module; reinstall facexlib")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

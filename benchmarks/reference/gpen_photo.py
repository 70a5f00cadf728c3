"""A photo restored in the form in which GPEN's test program does it, written from its description.

Yang et al., arXiv 2105.06070, and what ``pipeline.official.gpen`` tells of the program: RetinaFace with ResNet-50 on
the photo at 1000 px, anchors made in a loop, one face after the other through the network, ParseNet on the restored
face for the mask, and every face warped onto a canvas of the whole photo. Networks are in their reference form and have
random weights, so faces are given; what the detector finds is let go.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facerestore.bench.parts import reference_network
from facerestore.bench.sources import find_source
from facerestore.detection.retinaface import BGR_MEAN, FACEXLIB_MIN_SIZES, RetinaFaceConfig, build_network
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import estimate_similarity, gpen_template, invert_affine
from facerestore.pipeline.official.gpen import (
    BLUR_SIGMA_PX,
    BLUR_WIDTH_PX,
    BLURS,
    KEPT_CLASSES,
    MASK_SIZE,
)
from facerestore.types import DetectedFace
from facerestore.weights import WeightsStore

if TYPE_CHECKING:
    from facerestore.types import Affine

DETECTION_SIDE_PX, REDUCED_FROM_PX = 1000, 1500
SCORE, OVERLAP = 0.9, 0.4
MOST_BOXES = 100
"""That are compared with each other. Untrained networks score most anchors above the threshold, 24,876 on the photo of
12 megapixels, and comparing these takes minutes, which no trained network would ever cause."""
STEPS = (8, 16, 32)
VARIANCES = (0.1, 0.2)
BORDER_SHARE = 26 / 512
JPEG_QUALITY = 95  # OpenCV's own


class PublishedPhoto:
    """The program with its networks loaded.

    Args:
        face_size: side of GPEN's faces, pixels; a published size, or that of the small example.
        parser_size: side of ParseNet's faces, pixels.
        backbone: of RetinaFace.
    """

    def __init__(self, face_size: int, *, parser_size: int = MASK_SIZE, backbone: str = "resnet50") -> None:
        store, cpu = WeightsStore(offline=True), torch.device("cpu")
        self._face_size, self._parser_size = face_size, parser_size
        torch.manual_seed(0)
        self._detector = build_network(RetinaFaceConfig(backbone)).eval().requires_grad_(False)
        gpen = find_source("gpen", random=True, size=face_size, store=store)
        parser = find_source("parsenet", random=True, size=parser_size, store=store)
        self._gpen = reference_network("gpen", gpen.state_dict or {}, cpu)
        self._parsenet = reference_network("parsenet", parser.state_dict or {}, cpu)

    @torch.no_grad()
    def restore(self, data: bytes, faces: Sequence[DetectedFace]) -> bytes:
        """Return a JPEG file's restored version, encoded again."""
        image: NDArray[Any] = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        self._detect(image)
        height, width = image.shape[:2]
        full_mask, full_image = np.zeros((height, width), np.float32), np.zeros(image.shape, np.uint8)
        for face in faces:
            affine = estimate_similarity(face.landmarks, gpen_template(self._face_size))
            crop = cv2.warpAffine(image, affine, (self._face_size, self._face_size), flags=cv2.INTER_LINEAR)
            restored = self._restore(crop)
            mask = self._mask(restored)
            self._lay(full_image, full_mask, restored, mask, invert_affine(affine))
        share = full_mask[:, :, None]
        blended = cv2.convertScaleAbs(image * (1 - share) + full_image * share)
        encoded, file = cv2.imencode(".jpg", blended, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not encoded:
            raise RuntimeError("the photo cannot be encoded")
        return bytes(file)

    def _detect(self, image: NDArray[Any]) -> list[list[float]]:
        """Return boxes of faces with scores; of untrained networks, whatever these are."""
        longest = max(image.shape[:2])
        if longest > REDUCED_FROM_PX:
            scale = DETECTION_SIDE_PX / longest
            image = cv2.resize(image, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = image.shape[:2]
        x = torch.from_numpy((image.astype(np.float32) - BGR_MEAN).transpose(2, 0, 1)[None].copy())
        regressions, classes, _ = self._detector(x)
        priors = torch.tensor(anchors_in_a_loop(height, width))
        centres = priors[:, :2] + regressions[0, :, :2] * VARIANCES[0] * priors[:, 2:]
        sizes = priors[:, 2:] * torch.exp(regressions[0, :, 2:] * VARIANCES[1])
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1).numpy()
        scores = classes[0, :, 1].numpy()
        kept = np.flatnonzero(scores > SCORE)
        kept = kept[np.argsort(-scores[kept], kind="stable")][:MOST_BOXES]
        return without_overlaps(np.column_stack([boxes[kept], scores[kept]]))

    def _restore(self, crop: NDArray[Any]) -> NDArray[Any]:
        """Return a BGR face restored."""
        x = torch.from_numpy(crop[:, :, ::-1].astype(np.float32).transpose(2, 0, 1)[None].copy()) / 255
        y = (self._gpen((x - 0.5) / 0.5)[0] * 0.5 + 0.5).clamp(0, 1) * 255
        restored: NDArray[Any] = y.permute(1, 2, 0).numpy()[:, :, ::-1].astype(np.uint8)
        return restored

    def _mask(self, face: NDArray[Any]) -> NDArray[Any]:
        """Return the soft mask of a restored BGR face."""
        side = self._parser_size
        resized = cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        x = torch.from_numpy(resized.astype(np.float32).transpose(2, 0, 1)[None].copy()) / 127.5 - 1
        labels = self._parsenet(x)[0].argmax(dim=0).numpy()
        mask = np.zeros(labels.shape, np.float32)
        for index, name in enumerate(CLASS_NAMES):
            mask[labels == index] = 0 if name in KEPT_CLASSES else 1
        border = max(1, round(BORDER_SHARE * side))
        mask[:border] = mask[-border:] = mask[:, :border] = mask[:, -border:] = 0
        for _ in range(BLURS):
            mask = cv2.GaussianBlur(mask, (BLUR_WIDTH_PX, BLUR_WIDTH_PX), BLUR_SIGMA_PX)
        return cv2.resize(mask, (self._face_size, self._face_size))

    @staticmethod
    def _lay(
        full_image: NDArray[Any],
        full_mask: NDArray[Any],
        face: NDArray[Any],
        mask: NDArray[Any],
        affine: Affine,
    ) -> None:
        """Put a face where its mask is larger than what lies there, over the whole canvas."""
        size = (full_mask.shape[1], full_mask.shape[0])
        warped_mask = cv2.warpAffine(mask, affine, size, flags=cv2.INTER_LINEAR)
        warped_face = cv2.warpAffine(face, affine, size, flags=cv2.INTER_LINEAR)
        larger = np.where(warped_mask - full_mask > 0)
        full_mask[larger] = warped_mask[larger]
        full_image[larger] = warped_face[larger]


def anchors_in_a_loop(height: int, width: int) -> list[list[float]]:
    """Return the centre, width and height of each anchor over the picture's, made one by one."""
    found = []
    for step, sizes in zip(STEPS, FACEXLIB_MIN_SIZES, strict=True):
        for row, column in itertools.product(range(math.ceil(height / step)), range(math.ceil(width / step))):
            x, y = (column + 0.5) * step / width, (row + 0.5) * step / height
            found += [[x, y, side / width, side / height] for side in sizes]
    return found


def without_overlaps(boxes: NDArray[Any]) -> list[list[float]]:
    """Return boxes with scores, best first, without those that overlap a better one."""
    left = sorted(boxes.tolist(), key=lambda box: -box[4])
    kept: list[list[float]] = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [box for box in left if overlap(best, box) <= OVERLAP]
    return kept


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the area that two boxes share over that of both together."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height) if areas else 0.0

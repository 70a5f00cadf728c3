"""What every detector shares: the picture reduced for detection, the way back, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.imaging.alignment import transform_points
from facerestore.imaging.pixels import in_8_bits
from facerestore.types import Affine, DetectedFace, Image

SAME_FACE = 0.3
"""Faces whose boxes overlap by more are one: OpenCV's default for YuNet, and less than any two neighbours do."""


class Reduction(NamedTuple):
    """A picture made for detection, and its size relative to the image, by axis (x, y).

    Attributes:
        pixels: (H, W, 3) uint8 RGB; in a `pyramid` at the image's own size the image itself, of whatever depth.
        scale: 1 and 1 where nothing was reduced.
    """

    pixels: Image
    scale: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def affine(self) -> Affine:
        """The affine from image px to reduced px, by pixel centres."""
        x, y = self.scale
        return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2]])


def reduce_for_detection(image: Image, max_side_px: float) -> Reduction:
    """Return ``image``, as 8-bit RGB, averaged down so that no side exceeds ``max_side_px``; never enlarged.

    Args:
        image: (H, W, 3) or (H, W), uint8 or uint16.
        max_side_px: longest side allowed.

    Raises:
        ImageError: the image is of another kind, or empty.
    """
    import cv2

    check_image(image)
    height, width = image.shape[:2]
    factor = min(1.0, max_side_px / max(height, width))
    reduced_width, reduced_height = max(1, round(width * factor)), max(1, round(height * factor))
    pixels: NDArray[Any] = image
    if factor < 1:
        pixels = cv2.resize(image, (reduced_width, reduced_height), interpolation=cv2.INTER_AREA)
    return Reduction(to_rgb8(pixels), (reduced_width / width, reduced_height / height))


def check_image(image: Image) -> None:
    """Raise ImageError unless the image is (H, W, 3) or (H, W), uint8 or uint16."""
    if image.ndim not in (2, 3) or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise ImageError(f"the image is {image.dtype} {image.shape}; give (H, W, 3) RGB in uint8 or uint16")
    if image.ndim == 3 and image.shape[2] != 3:
        raise ImageError(f"the image has {image.shape[2]} channels; give RGB, or grey as (H, W)")


def to_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (H, W, 3) or (H, W) pixels of 8 or 16 bits as 8-bit RGB."""
    return np.ascontiguousarray(as_rgb(in_8_bits(pixels)))


def as_rgb(image: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) grey as (H, W, 3); three channels as they are."""
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


class View(NamedTuple):
    """An (H, W, 3) uint8 RGB picture of a photo or of a part of it, and the affine from its px to the photo's."""

    pixels: NDArray[np.uint8]
    to_image: Affine


def to_image_frame(
    box: NDArray[np.floating], landmarks: NDArray[np.floating], score: float, to_image: Affine
) -> DetectedFace:
    """Return the face with its box and landmarks taken from a view to the image, pixel centres exact.

    Args:
        box: (4,) left, top, right, bottom, view px.
        landmarks: (5, 2) view px, the eyes and the mouth corners each image-left first.
        score: confidence, clipped to [0, 1].
        to_image: from view px to image px; it scales, shifts, and turns by quarter turns.
    """
    corners = transform_points(to_image, np.asarray(box, dtype=np.float64).reshape(2, 2))
    left, top, right, bottom = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).tolist()
    return DetectedFace(
        box=(left, top, right, bottom),
        landmarks=transform_points(to_image, landmarks).astype(np.float32),
        score=min(1.0, max(0.0, score)),
    )


def suppress_overlaps(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    threshold: float,
    *,
    pixel: float = 0.0,
    inside: float = 1.0,
) -> NDArray[np.int64]:
    """Return the indices that greedy non-maximum suppression keeps, best score first.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        scores: (N,).
        threshold: a box is dropped when its intersection over union with a kept one exceeds this.
        pixel: added to every width and height; 1 where boxes name their last pixel, as in RetinaFace.
        inside: a box is dropped too when more than this share of it lies in a kept one.
    """
    order = np.argsort(-scores, kind="stable")
    corners = boxes.astype(np.float64)
    areas = np.prod(corners[:, 2:] - corners[:, :2] + pixel, axis=1)
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[rest, :2])
        high = np.minimum(corners[best, 2:], corners[rest, 2:])
        shared = np.prod(np.maximum(high - low + pixel, 0.0), axis=1)
        union = areas[best] + areas[rest] - shared
        order = rest[(shared <= threshold * union) & (shared <= inside * areas[rest])]
    return np.array(kept, dtype=np.int64)


def apart(faces: Sequence[DetectedFace], *, inside: float = 1.0) -> list[DetectedFace]:
    """Return the faces without overlaps, best score first.

    Args:
        faces: of one photo.
        inside: as in `suppress_overlaps`.
    """
    if not faces:
        return []
    boxes, scores = np.array([face.box for face in faces]), np.array([face.score for face in faces])
    return [faces[i] for i in suppress_overlaps(boxes, scores, SAME_FACE, inside=inside)]

"""YuNet, the small detector that OpenCV runs (Wu et al., Machine Intelligence Research 2023)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from facerestore.detection.frames import View, to_image_frame
from facerestore.detection.onnx_shape import with_input_shape
from facerestore.detection.pyramid import Reach
from facerestore.detection.searching import Extent, by_score, search_photo
from facerestore.errors import CheckpointError, WeightsError
from facerestore.types import DetectedFace, FoundFaces, Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

REACH = Reach(least_px=32, sides_px=(1280,), step=5.0)
"""On 18 validation portraits: 18 faces found from 32 to 450 px and more, of smaller ones 13 to 16 down to 10 px."""
SCORE_THRESHOLD = 0.6  # OpenCV's demo keeps 0.9, which loses old and blurred faces
STRICT_SCORE = 0.8  # above the usual size and for turned faces: as there are more places for mistakes
LEAST_SEEN = 0.1  # of what is told of a photo without a face: how likely the likeliest was
NMS_THRESHOLD = 0.3  # OpenCV's default
TOP_K = 5000  # OpenCV's default
MIN_SIDE_PX = (
    64  # on a picture of one 32 px cell OpenCV 4.14 returns uninitialised memory; smaller ones are padded
)
EXPORT_SHAPE = (
    1,
    3,
    640,
    640,
)  # that of the published file; FaceDetectorYN resizes the network to each picture


class YuNetDetector:
    """Finds faces with ``cv2.FaceDetectorYN``.

    OpenCV's detector keeps the picture size and buffers, so a lock lets one thread in at a time.

    Args:
        weights: the ONNX file; fixed and dynamic exports both work.
        extent: how much of a photo is searched.

    Raises:
        WeightsError: the file cannot be read.
        CheckpointError: the file is no YuNet network.
    """

    name = "yunet"

    def __init__(self, weights: Path, *, extent: Extent | None = None) -> None:
        self._extent = extent or Extent()
        self._network = _load(weights)
        self._lock = threading.Lock()

    def detect(self, image: Image) -> FoundFaces:
        """Return the faces of an (H, W, 3) or (H, W) image, uint8 or uint16, best score first."""
        judge = by_score(SCORE_THRESHOLD, strictly=STRICT_SCORE)
        return search_photo(image, see=self._candidates_in, judge=judge, reach=REACH, extent=self._extent)

    def _candidates_in(self, view: View) -> list[DetectedFace]:
        height, width = view.pixels.shape[:2]
        bgr = np.zeros((max(height, MIN_SIDE_PX), max(width, MIN_SIDE_PX), 3), dtype=np.uint8)
        bgr[:height, :width] = view.pixels[..., ::-1]
        with self._lock:
            self._network.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = self._network.detect(bgr)
        return [] if rows is None else [_to_face(row, view) for row in np.asarray(rows, dtype=np.float32)]


def _load(weights: Path) -> Any:
    import cv2

    try:
        model = weights.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read {weights}: {error.strerror}; run 'facerestore weights download yunet.2023mar'"
        ) from error
    buffer = np.frombuffer(with_input_shape(model, EXPORT_SHAPE), dtype=np.uint8)
    try:
        return cv2.FaceDetectorYN.create(
            "onnx", buffer, np.empty(0, np.uint8), (320, 320), LEAST_SEEN, NMS_THRESHOLD, TOP_K
        )
    except cv2.error as error:
        raise CheckpointError(f"{weights} is no YuNet network: {error.err}; download it again") from error


def _to_face(row: NDArray[np.float32], view: View) -> DetectedFace:
    """Return the face of one row: x, y, width, height, five points, score.

    YuNet's first eye is the person's right one, which is image-left for an upright face: already our order.
    """
    left, top, width, height = row[:4]
    box = np.array([left, top, left + width, top + height])
    return to_image_frame(box, row[4:14].reshape(5, 2), float(row[14]), view.to_image)

"""What facerestore found faces with before: Haar cascades propose, the landmark network decides and refines."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facerestore.detection.embedded import Views, load_landmarks
from facerestore.detection.frames import Reduction, as_rgb, reduce_for_detection, suppress_overlaps
from facerestore.detection.landmark_frame import (
    CROP_CENTRE,
    CROP_PER_FFHQ,
    CROP_SIZE,
    affine_from_landmarks,
    from_units,
)
from facerestore.errors import ConfigError
from facerestore.imaging.alignment import (
    affine_scale,
    compose_affine,
    invert_affine,
    resize_affine,
    transform_points,
)
from facerestore.types import Affine, Box, DetectedFace, Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Pass(NamedTuple):
    """One run of a cascade: which, over the photo reduced to which side, turned by how much."""

    cascade: str
    max_side_px: int
    degrees: float


UPRIGHT, LENIENT = "haarcascade_frontalface_alt2.xml", "haarcascade_frontalface_default.xml"
PASSES = (
    Pass(UPRIGHT, 1024, 0.0),  # the faces of a group of 30 are then about 35 px wide
    Pass(LENIENT, 640, 0.0),
    Pass(LENIENT, 320, -22.0),  # the cascades bear about 12 degrees to each side
    Pass(LENIENT, 320, 22.0),
)
"""Of the sets tried, the one that missed least for its time: 5 of 109 photographed and validation faces, the first
pass alone 11. The lenient cascade's false alarms cost little, since the network rejects them."""
MIN_FACE_PX = 20  # the cascades' own window is 20 and 24 px
SCALE_STEP = 1.1  # OpenCV's default
MIN_NEIGHBOURS = 1  # lenient: the network rejects what is no face
LOOK_THRESHOLDS = (0.2, 0.4)  # of the looks before the last, lower since the crop is not yet aligned
SCORE_THRESHOLD = 0.93
"""On photos and on clean or `gfpgan` portraits true faces score 0.98 and more, false ones up to 0.86."""
NMS_THRESHOLD = 0.3
POINTS = 5
# Where the median box of haarcascade_frontalface_alt2 lies in the FFHQ frame at 512 px, and its side; 5% to 95% are 299
# to 366 (measured on 57 training faces).
BOX_CENTRE, BOX_SIDE = (256.5, 274.5), 330.0


class HaarDetector:
    """Finds upright and moderately turned faces without a download.

    The cascades keep buffers between calls, so a lock lets one thread in at a time; the network runs freely.

    Args:
        weights: the landmark network (safetensors).

    Raises:
        CheckpointError: the file does not fit the network.
        ConfigError: this OpenCV carries no Haar cascades.
    """

    name = "haar"

    def __init__(self, weights: Path) -> None:
        self._cascades = {name: load_cascade(name) for name in (UPRIGHT, LENIENT)}
        self._lock = threading.Lock()
        self._network = load_landmarks(weights)

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces of an (H, W, 3) or (H, W) image, uint8 or uint16, best score first."""
        views = Views(as_rgb(image), reduce_for_detection(image, PASSES[0].max_side_px))
        affines = self._candidates(views.reduced)
        landmarks, scores = np.empty((0, POINTS, 2)), np.empty(0)
        for threshold in (*LOOK_THRESHOLDS, SCORE_THRESHOLD):
            if not affines:
                return []
            landmarks, scores = self._look(views, affines)
            kept = np.flatnonzero(scores >= threshold)
            landmarks, scores = landmarks[kept], scores[kept]
            affines = [affine_from_landmarks(points) for points in landmarks]
        return _faces(landmarks, scores, affines)

    def _candidates(self, reduced: Reduction) -> list[Affine]:
        """Return the affines from image px to the crops that the cascades propose."""
        return [affine for one in PASSES for affine in self._propose(reduced, one)]

    def _propose(self, reduced: Reduction, one: Pass) -> list[Affine]:
        """Return the affines from image px to the crops of one pass."""
        smaller = reduce_for_detection(reduced.pixels, one.max_side_px)
        grey, turn = _turned(_grey(smaller.pixels), one.degrees)
        to_grey = compose_affine(turn, compose_affine(smaller.affine, reduced.affine))
        with self._lock:
            boxes = cascade_boxes(
                self._cascades[one.cascade], grey, neighbours=MIN_NEIGHBOURS, smallest_px=MIN_FACE_PX
            )
        return [compose_affine(affine_from_box(_outer_edges(box)), to_grey) for box in boxes]

    def _look(
        self, views: Views, affines: Sequence[Affine]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (N, 5, 2) landmarks in image px and (N,) scores of the crops that ``affines`` cut."""
        import torch

        from facerestore.archs.landmarks import normalise

        crops = np.stack([views.crop(affine) for affine in affines])
        with torch.inference_mode():
            points, logits = self._network(normalise(torch.from_numpy(crops)))
            scores = torch.sigmoid(logits).double().numpy()
        landmarks = [
            transform_points(invert_affine(affine), from_units(found))
            for affine, found in zip(affines, points.numpy(), strict=True)
        ]
        return np.stack(landmarks), scores


def load_cascade(name: str = UPRIGHT) -> Any:
    """Return one of OpenCV's Haar cascades.

    Raises:
        ConfigError: this OpenCV carries no Haar cascades.
    """
    import cv2

    path = Path(cv2.data.haarcascades) / name  # type: ignore[attr-defined]
    if not path.is_file():
        raise ConfigError(
            f"OpenCV {cv2.__version__} has no {name}; install opencv-python>=4.11,<5, or use --detector yunet"
        )
    # Read by us: OpenCV cannot open a path with letters outside the system's own code page.
    storage = cv2.FileStorage(
        path.read_text(encoding="utf-8"), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY
    )
    cascade = cv2.CascadeClassifier()
    if not cascade.read(storage.getFirstTopLevelNode()):
        raise ConfigError(f"OpenCV {cv2.__version__} cannot use '{path}'; reinstall opencv-python")
    return cascade


def cascade_boxes(
    cascade: Any, grey: NDArray[np.uint8], *, neighbours: int, smallest_px: int
) -> NDArray[np.float64]:
    """Return the (N, 4) boxes x, y, width, height that a cascade finds, sorted.

    OpenCV's threads hand them in as they finish; sorted, the same picture gives the same boxes in the same order.
    """
    found = cascade.detectMultiScale(grey, SCALE_STEP, neighbours, minSize=(smallest_px, smallest_px))
    boxes = np.asarray(found, dtype=np.float64).reshape(-1, 4)
    return boxes[np.lexsort(boxes.T)]


def affine_from_box(box: Box) -> Affine:
    """Return the affine from image px to the crop for an upright face in a Haar box."""
    left, top, right, bottom = box
    centre = np.array([left + right, top + bottom]) / 2
    scale = BOX_SIDE / (right - left) * CROP_PER_FFHQ
    return np.column_stack([np.eye(2) * scale, box_centre() - scale * centre])


def box_centre() -> NDArray[np.float64]:
    """Return where the centre of a Haar box lies in the crop, px."""
    return (np.array(BOX_CENTRE) - CROP_CENTRE) * CROP_PER_FFHQ + (CROP_SIZE - 1) / 2


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _turned(grey: NDArray[np.uint8], degrees: float) -> tuple[NDArray[np.uint8], Affine]:
    """Return an (H, W) picture turned about its centre in a canvas that holds it, and the affine to the canvas."""
    import cv2

    if degrees == 0:
        return grey, resize_affine(1)
    height, width = grey.shape
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    size = np.ceil([width * cosine + height * abs(sine), width * abs(sine) + height * cosine]).astype(int)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    shift = (size - 1) / 2 - linear @ np.array([(width - 1) / 2, (height - 1) / 2])
    turn = np.column_stack([linear, shift])
    canvas = cv2.warpAffine(grey, turn, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)
    return np.asarray(canvas, dtype=np.uint8), turn


def _outer_edges(box: NDArray[np.float64]) -> Box:
    """Return x, y, width, height as left, top, right, bottom of the box's edges, half a px outside its centres."""
    x, y, width, height = box.tolist()
    return x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5


def _faces(
    landmarks: NDArray[np.float64], scores: NDArray[np.float64], affines: Sequence[Affine]
) -> list[DetectedFace]:
    """Return the faces without overlaps, best score first, each in the upright box the cascade would draw."""
    if not affines:
        return []
    boxes = np.array([_box(affine) for affine in affines])
    kept = suppress_overlaps(boxes, scores, NMS_THRESHOLD)
    return [DetectedFace(_as_box(boxes[i]), landmarks[i].astype(np.float32), float(scores[i])) for i in kept]


def _box(affine: Affine) -> NDArray[np.float64]:
    """Return the box of a face whose crop ``affine`` (image px to crop px) cuts."""
    side = BOX_SIDE * CROP_PER_FFHQ / affine_scale(affine)
    centre = transform_points(invert_affine(affine), [box_centre()])[0]
    return np.concatenate([centre - side / 2, centre + side / 2])


def _as_box(corners: NDArray[np.float64]) -> Box:
    left, top, right, bottom = corners.tolist()
    return left, top, right, bottom

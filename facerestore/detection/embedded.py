"""The detector that needs no download: a small one-stage network of ours finds faces, a second one looks at each."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facerestore.alignment import (
    FFHQ_TEMPLATE,
    affine_scale,
    compose_affine,
    estimate_similarity,
    invert_affine,
    transform_points,
)
from facerestore.checkpoint import load_state_dict, load_strictly
from facerestore.detection.candidates import Candidates, candidates
from facerestore.detection.frames import (
    Reduction,
    as_rgb,
    reduce_for_detection,
    suppress_overlaps,
    to_image_frame,
)
from facerestore.detection.landmark_frame import affine_from_landmarks, box_of_face, from_units, grey_crop
from facerestore.errors import BackendError, CheckpointError
from facerestore.lanes import lane_to
from facerestore.types import Affine, DetectedFace, Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from torch import nn

SIDES_PX = (1024, 192)
"""Longest sides that a photo is searched at: for small faces, and for one that fills it."""
CELL_PX = 64  # the finder's coarsest stride; pictures are padded to multiples of it
SCORE_THRESHOLD = 0.68
"""Of the geometric mean of both networks' scores; on 200 validation composites nothing false reaches 0.6."""
LOOK_THRESHOLDS = (0.05, 0.93)
"""Of the second network in its two looks. The first is not yet aligned: by 0.05 it rejects six false faces of seven,
and one true one of a hundred. True faces of photographs exceed the last (0.98 and more), false ones rarely do."""
NMS_THRESHOLD = 0.3
SMALLEST_EYES_PX = 1.0  # points closer than this give no direction to look in


class EmbeddedDetector:
    """Finds faces without a download; any number of threads share it.

    Args:
        finder: weights of the network that finds faces.
        landmarks: weights of the network that looks at each.
        score_threshold: faces below are dropped.
        device: where both networks run.

    Raises:
        WeightsError: a file cannot be read.
        CheckpointError: a file does not fit its network.
    """

    name = "embedded"

    def __init__(
        self,
        finder: Path,
        landmarks: Path,
        *,
        score_threshold: float = SCORE_THRESHOLD,
        device: str | torch.device = "cpu",
    ) -> None:
        self._score_threshold = score_threshold
        self._finder, self._landmarks = load_finder(finder).to(device), load_landmarks(landmarks).to(device)

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces of an (H, W, 3) or (H, W) image, uint8 or uint16, best score first.

        Raises:
            BackendError: a network gave a value that is not finite.
        """
        views = _views(image)
        found = [face for view in views for face in self._search(view)]
        apart = _apart([face for face in found if face.eye_distance_px >= SMALLEST_EYES_PX])
        return _apart(self._looked_at(Views(as_rgb(image), views[0]), apart))

    def _search(self, view: Reduction) -> list[DetectedFace]:
        """Return what the finder sees in one view, in the image's frame, where a sure look can still make it a face."""
        seen = search(self._finder, view.pixels, self._score_threshold**2)
        return [
            to_image_frame(box, points, float(score), view)
            for box, points, score in zip(seen.boxes, seen.points, seen.scores, strict=True)
        ]

    def _looked_at(self, picture: Views, faces: Sequence[DetectedFace]) -> list[DetectedFace]:
        """Return the faces that both networks take for faces, with the second one's landmarks."""
        if not faces:
            return []
        found, scores = np.array([face.score for face in faces]), np.ones(len(faces))
        points = np.stack([face.landmarks for face in faces]).astype(np.float64)
        for least in LOOK_THRESHOLDS:
            points, scores = look(self._landmarks, picture, points)
            kept = np.flatnonzero(scores >= least)
            found, points, scores = found[kept], points[kept], scores[kept]
            if not len(kept):
                return []
        sure = np.sqrt(found * scores)
        return [_face(points[n], float(sure[n])) for n in np.flatnonzero(sure >= self._score_threshold)]


class Views(NamedTuple):
    """A photo at full size and reduced: a crop that the reduced one resolves is cut from there, which is quicker."""

    image: Image
    reduced: Reduction

    def crop(self, affine: Affine) -> NDArray[np.float32]:
        """Return the (64, 64) grey crop of an affine from image px."""
        from_reduced = compose_affine(affine, invert_affine(self.reduced.affine))
        if affine_scale(from_reduced) <= 1:
            return grey_crop(self.reduced.pixels, from_reduced)
        return grey_crop(self.image, affine)


def load_finder(weights: Path) -> nn.Module:
    """Return the face finder of a file, ready to be run.

    Raises:
        WeightsError: it cannot be read.
        CheckpointError: it holds another network.
    """
    import torch

    from facerestore.archs.finder import FinderNet, without_norms

    state_dict = load_state_dict(weights)
    if "points.weight" in state_dict and "score.weight" in state_dict:
        raise CheckpointError(
            f"'{weights}' is a landmark network, which looks at faces and finds none; give a face finder, "
            "such as 'facerestore train finder' makes"
        )
    network = FinderNet()
    load_strictly(network, state_dict, name="the face finder")
    return without_norms(network).to(memory_format=torch.channels_last)


def load_landmarks(weights: Path) -> nn.Module:
    """Return the landmark network of a file; see `load_finder` for what it raises."""
    from facerestore.archs.landmarks import LandmarkNet

    network = LandmarkNet()
    load_strictly(network, load_state_dict(weights), name="the five-point landmark network")
    return network.eval()


def search(network: nn.Module, pixels: NDArray[np.uint8], threshold: float) -> Candidates:
    """Return the faces that a finder sees in one (H, W, 3) uint8 RGB picture, at the size it has.

    Raises:
        BackendError: the network gave a value that is not finite.
    """
    import torch

    from facerestore.archs.finder import flatten

    lane = lane_to(_device_of(network))
    height, width = (-(-side // CELL_PX) * CELL_PX for side in pixels.shape[:2])
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    with torch.inference_mode():
        # As it lies in memory, colour last, which is what the convolutions are quickest on.
        batch = lane.upload(torch.from_numpy(canvas))[None].permute(0, 3, 1, 2).float() / 255
        outputs = lane.download(flatten(network(batch))[0])()
        if not bool(torch.isfinite(outputs).all()):
            raise BackendError("the face finder gave values that are not finite; verify its weights")
        return candidates(outputs, (height, width), threshold)


def look(
    network: nn.Module, picture: Views, landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 5, 2) better landmarks in image px, and (N,) scores, of faces at (N, 5, 2) landmarks."""
    import torch

    from facerestore.archs.landmarks import normalise

    lane = lane_to(_device_of(network))
    affines = [affine_from_landmarks(points) for points in landmarks]
    crops = np.stack([picture.crop(affine) for affine in affines])
    with torch.inference_mode():
        found = network(normalise(lane.upload(torch.from_numpy(crops))))
        points, logits = (wait() for wait in [lane.download(one) for one in found])
        scores = torch.sigmoid(logits).double().numpy()
    better = [
        transform_points(invert_affine(affine), from_units(own))
        for affine, own in zip(affines, points.numpy(), strict=True)
    ]
    return np.stack(better), scores


def _device_of(network: nn.Module) -> torch.device:
    """Return where a network is."""
    return next(chain(network.parameters(), network.buffers())).device


def _face(points: NDArray[np.float64], score: float) -> DetectedFace:
    """Return the face of (5, 2) landmarks, in the upright box that YuNet would draw."""
    left, top, right, bottom = box_of_face(estimate_similarity(FFHQ_TEMPLATE, points)).tolist()
    return DetectedFace((left, top, right, bottom), points.astype(np.float32), score)


def _views(image: Image) -> list[Reduction]:
    """Return the image at the sizes that it is searched at; the small one only where it is smaller."""
    large = reduce_for_detection(image, SIDES_PX[0])
    small = reduce_for_detection(large.pixels, SIDES_PX[1])
    if small.pixels.shape == large.pixels.shape:
        return [large]
    scale = (small.scale[0] * large.scale[0], small.scale[1] * large.scale[1])
    return [large, Reduction(small.pixels, scale)]


def _apart(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Return the faces without overlaps, best score first."""
    if not faces:
        return []
    boxes, scores = np.array([face.box for face in faces]), np.array([face.score for face in faces])
    return [faces[i] for i in suppress_overlaps(boxes, scores, NMS_THRESHOLD)]

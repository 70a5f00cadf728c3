"""The detector that needs no download: a small one-stage network of ours finds faces, a second one looks at each."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facerestore.detection.candidates import Candidates, candidates
from facerestore.detection.frames import Reduction, View, apart, as_rgb, to_image_frame
from facerestore.detection.landmark_frame import affine_from_landmarks, box_of_face, from_units, grey_crop
from facerestore.detection.pyramid import Pyramid, Reach
from facerestore.detection.searching import Extent, Judged, search_photo
from facerestore.engines import Engine, Place
from facerestore.engines.graph import open_graph, runs_graph
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import BackendError, CheckpointError
from facerestore.imaging.alignment import (
    FFHQ_TEMPLATE,
    affine_scale,
    compose_affine,
    estimate_similarity,
    invert_affine,
    transform_points,
)
from facerestore.types import Affine, DetectedFace, FoundFaces, Image
from facerestore.weights.checkpoint import load_state_dict, load_strictly, open_weights
from facerestore.weights.weights_file import WeightsFile, WeightsSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facerestore.archs.detector import DetectorNet
    from facerestore.archs.landmarks import LandmarkNet

REACH = Reach(least_px=18, sides_px=(1024, 192), step=6.0)
"""Of the first network, by itself on 30 validation portraits: it gives 0.66 or more to faces of 18 to 250 px, so that
the next smaller size takes over long before; 192 px show a face that fills them."""
CELL_PX = 64  # the first network's coarsest stride; pictures are padded to multiples of it
SCORE_THRESHOLD = 0.68
"""Of the geometric mean of both networks' scores; on 200 validation composites nothing false reaches 0.6."""
LOOKS = (0.05, 0.93)
"""Of the second network in its two looks. The first is not yet aligned: by 0.05 it rejects six false faces of seven,
and one true one of a hundred. True faces of photographs exceed the last (0.98 and more), false ones rarely do."""
STRICT_SCORE, STRICT_LOOKS = 0.8, (0.05, 0.98)
"""In place of ``SCORE_THRESHOLD`` and the last of ``LOOKS``, above the usual sizes and for turned faces. Of
480 megapixels of drawn textures five things passed those, with 0.69 to 0.79 and looks of 0.94 to 0.985; none these."""
LOOKS_AT_ONCE = 256  # faces that the second network looks at in one call: 4 MB of crops, and 50 MB within it
SMALLEST_EYES_PX = 1.0  # points closer than this give no direction to look in


class EmbeddedDetector:
    """Finds faces without a download; any number of threads share it.

    Args:
        detector: weights of the network that finds faces.
        landmarks: weights of the network that looks at each.
        place: where both networks run; on the CPU when None.
        extent: how much of a photo is searched.

    Raises:
        WeightsError: a file cannot be read.
        CheckpointError: a file does not fit its network.
    """

    name = "embedded"

    def __init__(
        self,
        detector: Path,
        landmarks: Path,
        *,
        place: Place | None = None,
        extent: Extent | None = None,
    ) -> None:
        self._extent = extent or Extent()
        self._detector, self._landmarks = open_cells(detector, place), open_points(landmarks, place)

    def detect(self, image: Image) -> FoundFaces:
        """Return the faces of an (H, W, 3) or (H, W) image, uint8 or uint16, best score first.

        Raises:
            BackendError: a network gave a value that is not finite.
        """
        image = as_rgb(image)
        judge = partial(self._judged_by_both, image)
        return search_photo(image, see=self._candidates_in, judge=judge, reach=REACH, extent=self._extent)

    def _candidates_in(self, view: View) -> list[DetectedFace]:
        """Return what the first network sees in one view, in the image's frame, or else what it finds likeliest."""
        seen = search(self._detector, view.pixels, SCORE_THRESHOLD**2, at_least=1)
        return [
            to_image_frame(box, points, float(score), view.to_image)
            for box, points, score in zip(seen.boxes, seen.points, seen.scores, strict=True)
        ]

    def _judged_by_both(self, image: Image, photo: Pyramid, seen: list[DetectedFace], strict: bool) -> Judged:
        """Return the candidates that both networks take for faces; a sure look makes one of a doubtful find."""
        bar = STRICT_SCORE if strict else SCORE_THRESHOLD
        likely = [face for face in seen if face.score >= bar**2]
        sizable = apart([face for face in likely if face.eye_distance_px >= SMALLEST_EYES_PX])
        if not sizable:
            return Judged([], max((face.score for face in seen), default=None))
        found = np.array([face.score for face in sizable])
        points = np.stack([face.landmarks for face in sizable]).astype(np.float64)
        views = Views(image, photo.usual[0])
        sure, rejected = found, []
        for least_look, least_sure in zip(STRICT_LOOKS if strict else LOOKS, (0.0, bar), strict=True):
            points, looks = look(self._landmarks, views, points)
            sure = np.sqrt(found * looks)
            passed = (looks >= least_look) & (sure >= least_sure)
            rejected += sure[~passed].tolist()
            found, points, sure = found[passed], points[passed], sure[passed]
        faces = [_detected_face(own, float(score)) for own, score in zip(points, sure, strict=True)]
        return Judged(faces, max(rejected, default=None))


class Views(NamedTuple):
    """A photo at full size and reduced: a crop that the reduced one resolves is cut from there, which is quicker."""

    image: Image
    reduced: Reduction

    def crop(self, affine: Affine) -> NDArray[np.float32]:
        """Return the (64, 64) grey crop of an affine from image px."""
        from_reduced = compose_affine(affine, invert_affine(self.reduced.affine))
        if affine_scale(from_reduced) <= 1:
            return grey_crop(as_rgb(self.reduced.pixels), from_reduced)
        return grey_crop(self.image, affine)


def open_cells(weights: WeightsSource, place: Place | None = None) -> Engine:
    """Return what finds faces, B H W 3 uint8 RGB to B N 15 cells, from the file of a face detector.

    Args:
        weights: the file.
        place: where it runs; on the CPU when None.

    Raises:
        WeightsError: it cannot be read.
        CheckpointError: it holds another network.
    """
    file, place = open_weights(weights), place or Place()
    if _is(file, "finder") and runs_graph(file, place):
        return open_graph(file, place)
    import torch

    from facerestore.archs.detector import PictureCells, without_norms

    network = without_norms(load_detector_network(file)).to(memory_format=torch.channels_last)
    return TorchEngine(PictureCells(network), device=place.device)


def open_points(weights: WeightsSource, place: Place | None = None) -> Engine:
    """Return what looks at faces, B 64 64 crops to points and scores; see `open_cells`."""
    file, place = open_weights(weights), place or Place()
    if _is(file, "landmarks") and runs_graph(file, place):
        return open_graph(file, place)
    from facerestore.archs.landmarks import CropPoints

    return TorchEngine(CropPoints(load_landmarks(file)), device=place.device)


def _is(file: WeightsFile, arch: str) -> bool:
    """Say whether the header of a file calls its network so; what is in a file of another name, loading tells."""
    return file.metadata.get("arch") == arch


def load_detector_network(weights: WeightsSource) -> DetectorNet:
    """Return the face detector of a file, as it was trained; see `open_cells` for what it raises."""
    from facerestore.archs.detector import DetectorNet

    state_dict = load_state_dict(weights)
    if "points.weight" in state_dict and "score.weight" in state_dict:
        named = weights.path if isinstance(weights, WeightsFile) else weights
        raise CheckpointError(
            f"'{named}' is a landmark network, which looks at faces and finds none; give a face detector, "
            "such as 'facerestore train finder' makes"
        )
    network = DetectorNet()
    load_strictly(network, state_dict, name="the face detector")
    return network.eval()


def load_landmarks(weights: WeightsSource) -> LandmarkNet:
    """Return the landmark network of a file, as it was trained; see `open_cells` for what it raises."""
    from facerestore.archs.convolution import fold_batch_norms
    from facerestore.archs.landmarks import LandmarkNet

    network, state_dict = LandmarkNet().eval(), load_state_dict(weights)
    if not any(key.endswith("running_mean") for key in state_dict):  # as they are exported
        fold_batch_norms(network)
    load_strictly(network, state_dict, name="the five-point landmark network")
    return network


def search(cells: Engine, pixels: NDArray[np.uint8], threshold: float, *, at_least: int = 0) -> Candidates:
    """Return the faces that a network sees in one (H, W, 3) uint8 RGB picture, at the size it has; see `candidates`.

    Raises:
        BackendError: the network gave a value that is not finite.
    """
    height, width = (-(-side // CELL_PX) * CELL_PX for side in pixels.shape[:2])
    canvas = pixels
    if pixels.shape[:2] != (height, width):
        canvas = np.zeros((height, width, 3), dtype=np.uint8)
        canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    outputs = cells.run(np.ascontiguousarray(canvas)[None])[0][0]
    if not np.isfinite(outputs).all():
        raise BackendError("the face detector gave values that are not finite; verify its weights")
    return candidates(outputs, (height, width), threshold, at_least=at_least)


def look(
    points: Engine, picture: Views, landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N, 5, 2) better landmarks in image px, and (N,) scores, of faces at (N, 5, 2) landmarks."""
    better, scores = np.empty_like(landmarks), np.empty(len(landmarks))
    for start in range(0, len(landmarks), LOOKS_AT_ONCE):
        affines = [affine_from_landmarks(own) for own in landmarks[start : start + LOOKS_AT_ONCE]]
        crops = np.stack([picture.crop(affine) for affine in affines])
        found, scores[start : start + LOOKS_AT_ONCE] = points.run(np.ascontiguousarray(crops, np.float32))
        for index, (affine, own) in enumerate(zip(affines, found, strict=True), start):
            better[index] = transform_points(invert_affine(affine), from_units(own))
    return better, scores


def _detected_face(points: NDArray[np.float64], score: float) -> DetectedFace:
    """Return the face of (5, 2) landmarks, in the upright box that YuNet would draw."""
    left, top, right, bottom = box_of_face(estimate_similarity(FFHQ_TEMPLATE, points)).tolist()
    return DetectedFace((left, top, right, bottom), points.astype(np.float32), score)

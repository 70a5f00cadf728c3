"""Compare the bundled face detector with OpenCV's Haar cascades and with YuNet, in one run on one thread.

python benchmarks/detectors.py --shared SHARED [--judged FILE.json] [--out RESULTS.json]

SHARED (or FACERESTORE_SHARED) holds ``photos/`` with a folder ``no_face``, ``faces/val/`` with aligned portraits, and
YuNet in ``weights/``. Recall and precision on the photographs are against YuNet at its threshold of 0.6, corrected by
what a person has judged (``--judged``: see `Judgement`). The Haar detector is what facerestore shipped before; it needs
OpenCV 4.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import degrade, preset
from facerestore.detection.yunet import YuNetDetector
from facerestore.engines.device import keep_freed_memory
from facerestore.io import find_images, read_image
from facerestore.types import DetectedFace, FaceDetector, Image

SAME_FACE_OVERLAP = (
    0.35  # detectors draw boxes of different shape: ours, Haar's and YuNet's overlap by 0.74 at best
)
CANVAS_PX = 768  # of the grey canvas that portraits are laid into
SEED = 20261121  # of the degradations
TIMED_PX = (1024, 1024)  # a photo of 1.05 megapixels, which every detector looks at whole
TIMED_PHOTO = "solvay_1927"  # about 17 of its 29 faces are in the middle square
REPEATS = 5


@dataclass(frozen=True)
class Judgement:
    """What a person has seen in one photograph where detectors disagree with YuNet.

    Attributes:
        faces: middles (x, y) in px of faces that YuNet misses.
        none: middles of what YuNet takes for a face and is none, or no face that could be restored.
    """

    faces: list[tuple[float, float]] = field(default_factory=list)
    none: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Tally:
    """Counts over pictures, and the landmark errors of the faces that were found."""

    faces: int = 0
    found: int = 0
    false: int = 0
    errors: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return recall, precision, and the median and 90% landmark error over the eye distance."""
        right = self.found + self.false
        median, most = np.percentile(self.errors, [50, 90]) if self.errors else (np.nan, np.nan)
        return {
            "faces": self.faces,
            "found": self.found,
            "false": self.false,
            "recall": self.found / max(self.faces, 1),
            "precision": self.found / right if right else 1.0,
            "error_median": float(median),
            "error_90": float(most),
        }


def overlap(one: DetectedFace, other: DetectedFace) -> float:
    """Return the intersection over union of two faces' boxes."""
    a, b = np.array(one.box), np.array(other.box)
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def holds(face: DetectedFace, point: tuple[float, float]) -> bool:
    """Return whether a point lies in the middle half of a face's box."""
    left, top, right, bottom = face.box
    width, height = (right - left) / 4, (bottom - top) / 4
    return left + width <= point[0] <= right - width and top + height <= point[1] <= bottom - height


def compare(
    tally: Tally, found: Sequence[DetectedFace], reference: Sequence[DetectedFace], judged: Judgement
) -> list[tuple[str, DetectedFace]]:
    """Add one picture to ``tally`` and return its misses and false faces."""
    faults: list[tuple[str, DetectedFace]] = []
    left = list(found)
    for true in reference:
        matches = [face for face in left if overlap(face, true) >= SAME_FACE_OVERLAP]
        best = max(matches, key=lambda face: overlap(face, true), default=None)
        if best is not None:
            left.remove(best)
        if any(holds(true, point) for point in judged.none):
            tally.false += best is not None
            continue
        tally.faces += 1
        if best is None:
            faults.append(("missed", true))
            continue
        tally.found += 1
        distances = np.linalg.norm(best.landmarks - true.landmarks, axis=1)
        tally.errors.append(float(distances.mean()) / true.eye_distance_px)
    for point in judged.faces:
        tally.faces += 1
        best = next((face for face in left if holds(face, point)), None)
        if best is not None:
            tally.found += 1
            left.remove(best)
    tally.false += len(left)
    return faults + [("false", face) for face in left]


def milliseconds(detector: FaceDetector, pixels: Image) -> float:
    """Return the least processor time of a detection, in milliseconds: other programs' work is not in it."""
    spent = []
    for _ in range(REPEATS):
        before = time.process_time()
        detector.detect(pixels)
        spent.append(time.process_time() - before)
    return 1000 * min(spent)


def in_canvas(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a portrait in the middle of a grey canvas."""
    canvas = np.full((CANVAS_PX, CANVAS_PX, 3), 128, dtype=np.uint8)
    top = (CANVAS_PX - len(face)) // 2
    canvas[top : top + len(face), top : top + len(face)] = face
    return canvas


def portraits(folder: Path, kind: str) -> Iterable[tuple[Path, Image, Image]]:
    """Yield path, clean canvas and canvas degraded by the preset ``kind`` (``clean`` for none)."""
    for number, path in enumerate(find_images(folder, recursive=True)):
        face = np.asarray(read_image(path).pixels, dtype=np.uint8)
        worse = face
        if kind != "clean":
            worse = np.asarray(degrade(face, preset(kind), np.random.default_rng([SEED, number]))[0])
        yield path, in_canvas(face), in_canvas(worse)


def measure(
    detectors: dict[str, FaceDetector], shared: Path, judgements: dict[str, Judgement]
) -> dict[str, Any]:
    """Return all numbers of all detectors."""
    yunet = YuNetDetector(shared / "weights" / "face_detection_yunet_dynamic.onnx")
    results: dict[str, Any] = {name: {} for name in detectors}
    photos = [(path, read_image(path).pixels) for path in find_images(shared / "photos", recursive=True)]
    references = [yunet.detect(pixels) for _, pixels in photos]
    for name, detector in detectors.items():
        _photographs(results[name], detector, (photos, references, judgements), shared / "photos")
        for kind in ("clean", "gfpgan", "severe"):
            tally = Tally()
            for _, clean, worse in portraits(shared / "faces" / "val", kind):
                true = yunet.detect(clean)[:1]
                compare(tally, detector.detect(worse), true, Judgement())
            results[name][kind] = tally.summary()
    _times(results, detectors, next(pixels for path, pixels in photos if path.stem == TIMED_PHOTO))
    return results


def _photographs(
    results: dict[str, Any],
    detector: FaceDetector,
    seen: tuple[list[tuple[Path, Image]], list[list[DetectedFace]], dict[str, Judgement]],
    folder: Path,
) -> None:
    """Put the numbers of one detector on the photographs into ``results``."""
    photos, references, judgements = seen
    whole, empty, faults = Tally(), Tally(), []
    groups: dict[str, Tally] = {}
    for (path, pixels), reference in zip(photos, references, strict=True):
        name = path.relative_to(folder).as_posix()
        tallies = [groups.setdefault(path.parent.name, Tally())]
        tallies.append(empty if path.parent.name == "no_face" else whole)
        found = detector.detect(pixels)
        for tally in tallies:
            wrong = compare(tally, found, reference, judgements.get(name, Judgement()))
        faults += [(name, kind, [round(v) for v in face.box], round(face.score, 3)) for kind, face in wrong]
    results["photos"], results["no_face"] = whole.summary(), empty.summary()
    results["folders"] = {name: tally.summary() for name, tally in groups.items()}
    results["faults"] = faults


def _times(results: dict[str, Any], detectors: dict[str, FaceDetector], photo: Image) -> None:
    """Put milliseconds per megapixel into ``results``: of a group of faces, and of the same picture without any."""
    import cv2

    side = min(photo.shape[:2])
    left = (photo.shape[1] - side) // 2
    middle = photo[:side, left : left + side]
    group = np.asarray(cv2.resize(middle, TIMED_PX, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    empty = np.ascontiguousarray(group[::-1, :, ::-1])
    megapixels = TIMED_PX[0] * TIMED_PX[1] / 1e6
    for name, detector in detectors.items():
        results[name]["ms_per_megapixel"] = milliseconds(detector, group) / megapixels
        results[name]["ms_per_megapixel_upside_down"] = milliseconds(detector, empty) / megapixels


def table(results: dict[str, Any]) -> str:
    """Return the numbers as lines of text."""
    lines = [
        f"{'':10}  {'pictures':9} {'faces':>5} {'found':>5} {'false':>5} {'recall':>6} {'precis.':>7}"
        f" {'error':>6} {'90%':>6}"
    ]
    for name, numbers in results.items():
        for kind in ("photos", "no_face", "clean", "gfpgan", "severe"):
            n = numbers[kind]
            lines.append(
                f"{name:10}  {kind:9} {n['faces']:5} {n['found']:5} {n['false']:5} {n['recall']:6.1%}"
                f" {n['precision']:7.1%} {n['error_median']:6.1%} {n['error_90']:6.1%}"
            )
    for name, numbers in results.items():
        lines.append(
            f"{name:10}  {numbers['ms_per_megapixel']:.0f} ms per megapixel of a group of faces,"
            f" {numbers['ms_per_megapixel_upside_down']:.0f} ms upside down"
        )
    return "\n".join(lines)


def make_detectors(shared: Path, wanted: Sequence[str]) -> dict[str, FaceDetector]:
    """Return the detectors by name; a path is an exported face detector."""
    from facerestore.detection import create_detector
    from facerestore.weights import WeightsStore

    store = WeightsStore(offline=True)
    makers: dict[str, Callable[[], FaceDetector]] = {
        "yunet": lambda: YuNetDetector(shared / "weights" / "face_detection_yunet_dynamic.onnx"),
        "haar": lambda: _haar(store.require("landmarks.five-point")),
    }
    return {
        Path(name).stem: makers[name]()
        if name in makers
        else create_detector(name, weights_for=store.require)
        for name in wanted
    }


def _haar(weights: Path) -> FaceDetector:
    sys.path.insert(0, str(Path(__file__).parent))
    from haar import HaarDetector

    detector: FaceDetector = HaarDetector(weights)
    return detector


def main() -> None:
    """Measure, print a table, and write JSON."""
    import cv2
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=os.environ.get("FACERESTORE_SHARED"))
    parser.add_argument("--detectors", nargs="+", default=["embedded", "haar", "yunet"])
    parser.add_argument(
        "--judged", type=Path, help="JSON: photo to faces that YuNet misses, and what is none"
    )
    parser.add_argument("--out", type=Path, help="JSON file of all numbers")
    chosen = parser.parse_args()
    if chosen.shared is None:
        parser.error("give --shared, or set FACERESTORE_SHARED")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as every pipeline does on the CPU
    judged = json.loads(chosen.judged.read_text()) if chosen.judged else {}
    judgements = {name: Judgement(**one) for name, one in judged.items()}
    results = measure(make_detectors(chosen.shared, chosen.detectors), chosen.shared, judgements)
    print(table(results))
    if chosen.out:
        facts = {"opencv": cv2.__version__, "torch": torch.__version__, "results": results}
        facts["judged"] = {name: asdict(one) for name, one in judgements.items()}
        chosen.out.write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

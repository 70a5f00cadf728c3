"""How many faces a detector finds in large photos, turned photos and strips, and how many where there are none.

python benchmarks/large_photos.py --shared SHARED [--detectors embedded ...] [--parts grid turned empty time]
    [--out RESULTS.json]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/`` with aligned portraits and ``photos/no_face``. Twelve portraits of
other people each time are laid with soft edges into a texture that is drawn, at random places, the borders of the
picture included, and the picture goes through JPEG. A face's width is that of its box, which is 0.53 of its portrait's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from detectors import make_detectors
from textures import texture

from facerestore.detection.landmark_frame import BOX_CENTRE, BOX_SIZE
from facerestore.engines.device import keep_freed_memory
from facerestore.io import find_images, read_image
from facerestore.types import FaceDetector

Pixels = NDArray[np.uint8]

SIZES = {
    "1 MP": (1152, 912),
    "6 MP": (3000, 2000),
    "24 MP": (6000, 4000),
    "48 MP": (8000, 6000),
    "12000x300": (12000, 300),
    "300x12000": (300, 12000),
}
WIDTHS_PX = (24, 32, 48, 64, 100, 200)
FACES = 12
TURNS_DEGREES = (0, 30, 45, 60, 75, 90, 135, 180, 270)
TURNED_WIDTHS_PX = (48, 150)
EMPTY = 100
EMPTY_SIZE = (1600, 1200)
QUALITY = 90
NEAR = 0.35
"""A face is found where the middle of a box is no further from its own than this share of its width."""
RATIO = 1.6
"""And the box is so much wider or narrower at most."""
SEED = 20261129


def portraits(shared: Path) -> list[Pixels]:
    """Return the validation portraits, the sets mixed."""
    paths = sorted(find_images(shared / "faces" / "val", recursive=True), key=lambda path: path.stem[::-1])
    return [np.asarray(read_image(path).pixels, dtype=np.uint8) for path in paths]


def lay(picture: Pixels, face: Pixels, place: tuple[float, float], width: float, degrees: float = 0) -> None:
    """Lay a portrait into a picture, its edges soft: the middle of the face's box at ``place``, that ``width`` wide."""
    import cv2

    scale = width / (BOX_SIZE[0] * len(face) / 512)
    side = max(1, round(len(face) * scale))
    way = cv2.INTER_AREA if side < len(face) else cv2.INTER_CUBIC
    small = cv2.resize(face, (side, side), interpolation=way)
    middle = tuple(c * side / 512 for c in BOX_CENTRE)
    reach = round(side * 0.75)
    turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    turn[:, 2] += np.array([reach, reach]) - middle
    across = np.linspace(-1, 1, side)
    round_ = np.clip((1.0 - np.hypot(*np.meshgrid(across, across))) * 8, 0, 1).astype(np.float32)
    size = (2 * reach + 1, 2 * reach + 1)
    turned = cv2.warpAffine(small, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(round_, turn, size, flags=cv2.INTER_LINEAR)[..., None]
    left, top = (round(c) - reach for c in place)
    x, y = max(0, left), max(0, top)
    right, bottom = min(picture.shape[1], left + size[0]), min(picture.shape[0], top + size[1])
    window = (slice(y - top, bottom - top), slice(x - left, right - left))
    under = picture[y:bottom, x:right]
    under[:] = np.rint(under + (turned[window].astype(np.float32) - under) * mask[window])


def places(size: tuple[int, int], width: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return the middles of faces that do not touch; each lies whole in the picture, some of them at its border."""
    half = np.array([0.55 * width, 0.75 * width])
    low, high = half, np.array(size) - half
    found: list[NDArray[np.float64]] = []
    for _ in range(20_000):
        place = rng.uniform(low, high)
        if rng.random() < 0.25:
            axis = rng.integers(2)
            place[axis] = (low, high)[rng.integers(2)][axis]
        if all(np.abs(place - other).max() > 1.9 * width for other in found):
            found.append(place)
        if len(found) == FACES:
            return [(float(x), float(y)) for x, y in found]
    steps = np.array(size) / (4, 3)  # so many find no room but in rows
    return [(float((x + 0.5) * steps[0]), float((y + 0.5) * steps[1])) for y in range(3) for x in range(4)]


def through_jpeg(picture: Pixels) -> Pixels:
    """Return a picture as a file of it would be read."""
    import cv2

    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def scene(
    size: tuple[int, int], width: float, faces: Sequence[Pixels], *, degrees: float, seed: Sequence[int]
) -> tuple[Pixels, list[tuple[float, float]]]:
    """Return a picture with `FACES` faces, and their middles."""
    rng = np.random.default_rng(seed)
    picture = texture(size, int(rng.integers(1 << 30)))
    middles = places(size, width, rng)
    for index, place in zip(rng.permutation(len(faces)), middles, strict=False):
        lay(picture, faces[index], place, width, degrees)
    return through_jpeg(picture), middles


def score(found: Sequence[Any], middles: Sequence[tuple[float, float]], width: float) -> dict[str, int]:
    """Return how many faces were found, how many of them more than once, and how many others."""
    hits = np.zeros(len(middles), dtype=int)
    false = 0
    for face in found:
        left, top, right, bottom = face.box
        away = np.hypot(*(np.array(middles) - ((left + right) / 2, (top + bottom) / 2)).T)
        nearest = int(away.argmin())
        fits = 1 / RATIO < (right - left) / width < RATIO and away[nearest] <= NEAR * width
        hits[nearest] += fits
        false += not fits
    return {"found": int((hits > 0).sum()), "twice": int((hits > 1).sum()), "false": false}


def grid(detector: FaceDetector, faces: Sequence[Pixels]) -> dict[str, Any]:
    """Return what is found by size of the picture and width of the faces."""
    results: dict[str, Any] = {}
    for number, (name, size) in enumerate(SIZES.items()):
        for width in WIDTHS_PX:
            picture, middles = scene(size, width, faces, degrees=0, seed=(SEED, number, width))
            results[f"{name}, {width} px"] = score(detector.detect(picture), middles, width)
            print(name, width, results[f"{name}, {width} px"], flush=True)
    return results


def turned(detector: FaceDetector, faces: Sequence[Pixels]) -> dict[str, Any]:
    """Return what is found of faces that are all turned alike, in 1 and 6 megapixels."""
    results: dict[str, Any] = {}
    for name in ("1 MP", "6 MP"):
        for width in TURNED_WIDTHS_PX:
            for degrees in TURNS_DEGREES:
                picture, middles = scene(
                    SIZES[name], width, faces, degrees=degrees, seed=(SEED, width, degrees)
                )
                key = f"{name}, {width} px, {degrees} degrees"
                results[key] = score_turned(detector.detect(picture), middles, width)
                print(key, results[key], flush=True)
    return results


def score_turned(
    found: Sequence[Any], middles: Sequence[tuple[float, float]], width: float
) -> dict[str, int]:
    """Return the `score`, by the middle of the landmarks: a turned face's upright box says little."""
    hits = np.zeros(len(middles), dtype=int)
    false = 0
    for face in found:
        away = np.hypot(*(np.array(middles) - face.landmarks.mean(axis=0)).T)
        nearest = int(away.argmin())
        fits = away[nearest] <= NEAR * width
        hits[nearest] += fits
        false += not fits
    return {"found": int((hits > 0).sum()), "twice": int((hits > 1).sum()), "false": false}


def empty(detector: FaceDetector, shared: Path) -> dict[str, Any]:
    """Return what is found where there is no face: in drawn textures and in photographs."""
    drawn = {}
    for number in range(EMPTY):
        found = detector.detect(through_jpeg(texture(EMPTY_SIZE, SEED + number)))
        if found:
            drawn[number] = [[*(round(v) for v in face.box), round(face.score, 3)] for face in found]
            print("texture", number, drawn[number], flush=True)
    photos = {}
    for path in find_images(shared / "photos" / "no_face", recursive=True):
        found = detector.detect(read_image(path).pixels)
        if found:
            photos[path.name] = [[*(round(v) for v in face.box), round(face.score, 3)] for face in found]
            print(path.name, photos[path.name], flush=True)
    return {"textures": EMPTY, "false_in_textures": drawn, "false_in_photos": photos}


def seconds(detector: FaceDetector, faces: Sequence[Pixels]) -> dict[str, Any]:
    """Return the processor and the wall time of 24 megapixels with faces and without, the least of three times."""
    pictures = {
        "24 MP with 12 faces of 64 px": scene(SIZES["24 MP"], 64, faces, degrees=0, seed=(SEED,))[0],
        "24 MP without a face": texture(SIZES["24 MP"], SEED),
        "1 MP with 12 faces of 64 px": scene(SIZES["1 MP"], 64, faces, degrees=0, seed=(SEED,))[0],
    }
    results = {}
    for name, picture in pictures.items():
        timed = []
        for _ in range(3):
            wall, processor = time.perf_counter(), time.process_time()
            detector.detect(picture)
            timed.append((time.process_time() - processor, time.perf_counter() - wall))
        results[name] = {"processor_s": min(t[0] for t in timed), "wall_s": min(t[1] for t in timed)}
        print(name, results[name], flush=True)
    return results


def main() -> None:
    """Measure, print as it comes, and write JSON."""
    import cv2
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=os.environ.get("FACERESTORE_SHARED"))
    parser.add_argument("--detectors", nargs="+", default=["embedded"])
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured; all unless given"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file of all numbers")
    chosen = parser.parse_args()
    if chosen.shared is None:
        parser.error("give --shared, or set FACERESTORE_SHARED")
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(chosen.threads)
    keep_freed_memory()
    faces = portraits(chosen.shared)
    results: dict[str, Any] = {}
    for name, detector in make_detectors(chosen.shared, chosen.detectors).items():
        print(name)
        results[name] = {part: PARTS[part](detector, faces, chosen.shared) for part in chosen.parts}
    if chosen.out:
        facts = {"opencv": cv2.__version__, "torch": torch.__version__, "threads": chosen.threads}
        chosen.out.write_text(json.dumps(facts | {"results": results}, indent=1), encoding="utf-8")


PARTS: dict[str, Callable[[FaceDetector, Sequence[Pixels], Path], dict[str, Any]]] = {
    "grid": lambda detector, faces, shared: grid(detector, faces),
    "turned": lambda detector, faces, shared: turned(detector, faces),
    "empty": lambda detector, faces, shared: empty(detector, shared),
    "time": lambda detector, faces, shared: seconds(detector, faces),
}


if __name__ == "__main__":
    main()

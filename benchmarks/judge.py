"""Which faces the judge keeps as already sharp: clean ones and degraded ones, as they are and under overlays.

python benchmarks/judge.py --shared SHARED [--sizes 256 512] [--out RESULTS.json]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/`` with aligned portraits. Each is reduced to the size of a crop, left
clean or degraded by a preset, and judged alone and under each overlay of ``benchmarks/overlays.py``, all with fixed
seeds. Wanted are at most 2% of the degraded ones called sharp, and at least 80% of the clean ones, in every column.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from facerestore.degradation import PRESETS, degrade, preset
from facerestore.imaging.alignment import align_face, template
from facerestore.io import find_images, read_image
from facerestore.quality.judge import assess
from facerestore.types import AlignedFace, DetectedFace

sys.path.insert(0, str(Path(__file__).parent))
from overlays import OVERLAYS, Picture

SEED = 20261129
CLEAN, BARE, DEGRADED = "clean", "none", "degraded"
DEGRADATIONS = tuple(name for name in PRESETS if name != "gpen")  # gpen draws as gfpgan does
COUNTED = ("gfpgan", "severe", "psfr", "sr-x4", "sr-x8", "old-photo")
"""What the line of all degraded faces is made of: six of each portrait."""
REPEATS = 3  # of the timing of a face

Shares = dict[str, dict[str, float]]


def whole(picture: Picture) -> AlignedFace:
    """Return a portrait in the FFHQ frame as the crop that the pipeline would cut."""
    side = len(picture)
    found = DetectedFace((0.0, 0.0, float(side), float(side)), template(side).astype(np.float32), 1.0)
    return align_face(picture, found, side)


def portraits(folder: Path, size: int) -> Iterator[Picture]:
    """Yield the portraits of a folder, reduced to ``size`` px."""
    for path in find_images(folder, recursive=True):
        pixels = read_image(path).pixels
        yield np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def variants(picture: Picture, number: int) -> Iterator[tuple[str, str, Picture]]:
    """Yield what is judged of one portrait: the name of the degradation, of the overlay, and the picture."""
    for kind, name in enumerate((CLEAN, *DEGRADATIONS)):
        rng = np.random.default_rng([SEED, number, kind])
        worse = picture if name == CLEAN else np.asarray(degrade(picture, preset(name), rng)[0])
        yield name, BARE, worse
        for over, (overlay, draw) in enumerate(OVERLAYS.items()):
            yield name, overlay, draw(worse, np.random.default_rng([SEED, number, kind, over]))


def measure(folder: Path, size: int) -> tuple[Shares, float]:
    """Return the share that is called sharp, by degradation and overlay, and the milliseconds that a face takes."""
    found: dict[tuple[str, str], list[bool]] = {}
    spent = []
    for number, picture in enumerate(portraits(folder, size)):
        for name, overlay, worse in variants(picture, number):
            aligned = whole(worse)
            if overlay == BARE:
                spent.append(_milliseconds(partial(assess, aligned)))
            found.setdefault((name, overlay), []).append(assess(aligned).sharp)
    columns = (BARE, *OVERLAYS)
    shares = {
        name: {overlay: float(np.mean(found[name, overlay])) for overlay in columns}
        for name in (CLEAN, *DEGRADATIONS)
    }
    shares[DEGRADED] = {
        overlay: float(np.mean([shares[name][overlay] for name in COUNTED])) for overlay in columns
    }
    return shares, float(np.median(spent))


def _milliseconds(call: Callable[[], object]) -> float:
    """Return the least processor time of a call: what other programs do is not in it."""
    spent = []
    for _ in range(REPEATS):
        before = time.process_time()
        call()
        spent.append(time.process_time() - before)
    return 1000 * min(spent)


def table(shares: Shares) -> str:
    """Return the shares as a table, in percent."""
    lines = [f"{'called sharp, %':16}" + "".join(f"{overlay:>11}" for overlay in (BARE, *OVERLAYS))]
    for name, row in shares.items():
        lines.append(f"{name:16}" + "".join(f"{100 * share:11.1f}" for share in row.values()))
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table for each size, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=os.environ.get("FACERESTORE_SHARED"))
    parser.add_argument("--faces", default="faces/val", help="folder of aligned portraits in SHARED")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="sides of the crop")
    parser.add_argument("--out", type=Path, help="JSON file of all numbers")
    chosen = parser.parse_args()
    if chosen.shared is None:
        parser.error("give --shared, or set FACERESTORE_SHARED")
    cv2.setNumThreads(1)
    results = {}
    for size in chosen.sizes:
        shares, spent = measure(Path(chosen.shared) / chosen.faces, size)
        results[size] = {"shares": shares, "milliseconds": spent}
        print(f"{size} px crops, {spent:.1f} ms a face on one thread\n{table(shares)}\n")
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

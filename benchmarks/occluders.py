"""Measure what restoring does to things in front of faces, and whether the parsing of input and output gives them away.

python -m benchmarks.occluders --shared SHARED [--presets gfpgan,severe] [--kinds hand,microphone,hair,glasses]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/SET/NAME.jpg``. Onto every third face, at 256 px, a hand of the
face's own colour, a microphone, strands of hair or rims of glasses are drawn; all is degraded (seed 7) and restored
by ``auto``. Figures are means over faces. Levels: absolute difference from the undegraded picture, of 255, where the
thing is in the face, before, after, and with the input left where the two parsings disagree (opened, grown by 3 px,
softened). Shares: pixels of which they disagree, on the thing and on the rest of the face.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.degradation import degrade, preset
from facerestore.imaging.blending import whole_crop
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import PARSE
from facerestore.pipeline.load import build_parser
from facerestore.training.data.face_files import face_files, read_face
from facerestore.types import DecodedImage
from facerestore.weights import WeightsStore

SIDE, SEED, EVERY = 256, 7, 3
Plane = NDArray[np.float64]
Drawn = tuple[NDArray[np.uint8], Plane]


def hand(face: Plane, rng: np.random.Generator) -> Drawn:
    """Return the mask of a palm and four fingers over mouth and chin, and their colours, darker towards the edges."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y, side = 128 + rng.uniform(-25, 25), 195 + rng.uniform(-10, 10), rng.choice([-1, 1])
    _ellipse(mask, (x + side * 25, y + 25), (34, 26), 20 * side)
    for finger in range(4):
        _ellipse(mask, (x - side * 10, y - 14 + finger * 13), (34, 7), -8 * side)
    skin = np.median(face[150:175, 85:170].reshape(-1, 3), axis=0) * rng.uniform(0.8, 1.1)
    inside = cv2.distanceTransform((mask > 128).astype(np.uint8), cv2.DIST_L2, 5)
    grain = cv2.GaussianBlur(rng.normal(0, 6, (SIDE, SIDE)), (0, 0), 1.2)
    return mask, skin * (0.72 + 0.28 * np.clip(inside / 7, 0, 1))[..., None] + grain[..., None]


def microphone(face: Plane, rng: np.random.Generator) -> Drawn:
    """Return the mask of a disc with a stick at the mouth, and its grid."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y = int(128 + rng.uniform(-35, 35)), int(205 + rng.uniform(-8, 10))
    cv2.circle(mask, (x, y), int(rng.uniform(22, 30)), 255, -1, cv2.LINE_AA)
    cv2.line(mask, (x, y), (x + int(rng.uniform(-30, 30)), 255), 255, 18, cv2.LINE_AA)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    light = np.exp(-((columns - x + 8) ** 2 + (rows - y + 8) ** 2) / 120)
    return mask, (40 + 25 * np.sin(columns * 1.3) * np.sin(rows * 1.3) + 70 * light)[..., None]


def hair(face: Plane, rng: np.random.Generator) -> Drawn:
    """Return the mask of strands from the forehead downwards, and their colour."""
    mask, left, t = np.zeros((SIDE, SIDE), np.uint8), rng.uniform(70, 150), np.linspace(0, 1, 30)
    for strand in range(14):
        x = left + strand * 3 + rng.uniform(-6, 6) + rng.uniform(-40, 40) * t**2 + 8 * np.sin(3 * t + strand)
        points = np.stack([x, 45 + t * rng.uniform(80, 150)], axis=1).astype(np.int32)
        cv2.polylines(mask, [points], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    return mask, np.array([45.0, 32, 25]) * rng.uniform(0.6, 2.5)


def glasses(face: Plane, rng: np.random.Generator) -> Drawn:
    """Return the mask of two rims with a bridge and temples, and their colour."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x in (96, 160):
        _ellipse(mask, (x, 122), (26, 20), 0, 4)
    for start, end in (((121, 118), (135, 118)), ((70, 118), (35, 112)), ((186, 118), (221, 112))):
        cv2.line(mask, start, end, 255, 4, cv2.LINE_AA)
    return mask, np.array([30.0, 25, 25]) * rng.uniform(0.5, 3)


def _ellipse(
    mask: NDArray[np.uint8], centre: tuple[float, float], axes: tuple[int, int], turn: float, width: int = -1
) -> None:
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, turn, 0, 360, 255, width, cv2.LINE_AA)


KINDS: Mapping[str, Callable[[Plane, np.random.Generator], Drawn]] = {
    "hand": hand, "microphone": microphone, "hair": hair, "glasses": glasses,
}  # fmt: skip


def main() -> None:
    """Print a row for each preset and kind."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--presets", default="gfpgan,severe")
    options.add_argument("--kinds", default=",".join(KINDS))
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    files = face_files(chosen.shared / "faces/val")[::EVERY]
    line = build_pipeline(RestoreConfig(aligned=True, force=True))
    parser = build_parser(choose(PARSE, RestoreConfig(), WeightsStore()))
    assert parser is not None, "one ships"
    core = np.zeros((SIDE, SIDE), np.uint8)
    _ellipse(core, (128, 140), (70, 95), 0)
    print(f"{line.description}; {parser.name}; {len(files)} faces")
    print("| preset | thing | before | after | left alone | disagree, thing | rest | worse after |")
    for name in chosen.presets.split(","):
        for kind in chosen.kinds.split(","):
            figures = []
            for index, file in enumerate(files):
                rng = np.random.default_rng([SEED, index])
                clean = read_face(file, SIDE).astype(np.float64)
                mask, colour = KINDS[kind](clean, rng)
                share = mask[..., None] / 255
                truth = np.clip(clean * (1 - share) + colour * share, 0, 255).astype(np.uint8)
                lq = degrade(truth, preset(name), np.random.default_rng([SEED, index]))[0]
                made = line.run(DecodedImage(lq)).image.pixels
                maps = [parser.parse([whole_crop(each.astype(np.float32) / 255)])[0] for each in (lq, made)]
                apart = (maps[0] != maps[1]).astype(np.uint8)
                grown = cv2.dilate(cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((3, 3))), np.ones((7, 7)))
                keep = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 2)[..., None]
                thing, near = (mask > 127) & (core > 0), cv2.dilate(mask, np.ones((9, 9))) > 127
                errors = [
                    np.abs(each - 1.0 * truth)[thing].mean()
                    for each in (lq, made, made * (1 - keep) + lq * keep)
                ]
                figures.append([*errors, apart[thing].mean(), apart[(core > 0) & ~near].mean()])
            table = np.array(figures)
            worse = int((table[:, 1] > table[:, 0]).sum())
            values = " | ".join(f"{value:.2f}" for value in table.mean(axis=0))
            print(f"| {name} | {kind} | {values} | {worse} |", flush=True)


if __name__ == "__main__":
    main()

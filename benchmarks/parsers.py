"""Measure how well parsers label degraded faces, in intersection over union with labels of the real ones.

python -m benchmarks.parsers --shared SHARED [--parser NAME|FILE ...] [--presets gfpgan,severe] [--sheet SHEET.png]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/SET/NAME.jpg`` and ``faces/parts/val/SET/NAME.png``, label maps of 256
px with 255 where unknown. Each face is degraded once for each preset (seed 7, by its number among all validation faces,
as ``facerestore evaluate`` draws it). A part's figure is its intersection over union, over all faces together; and in
brackets the mean over the faces that have it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.config import RestoreConfig
from facerestore.degradation import degrade, preset
from facerestore.face_parts import CLASS_NAMES, UNKNOWN
from facerestore.imaging.blending import whole_crop
from facerestore.io import write_image
from facerestore.parsing import colour_map
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import PARSE
from facerestore.pipeline.load import build_parser
from facerestore.training.data.datasets import CLEAN
from facerestore.training.data.face_files import FaceFile, face_files, read_face, read_parsing_map
from facerestore.types import DecodedImage, FaceParser, ParsingMap
from facerestore.weights import WeightsStore

SIDE, SEED = 256, 7
SHOWN = 12  # faces on a sheet
MEASURED: Mapping[str, tuple[str, ...]] = {
    "eyes": ("left_eye", "right_eye"),
    "brows": ("left_brow", "right_brow"),
    "nose": ("nose",),
    "mouth": ("mouth", "upper_lip", "lower_lip"),
    "skin": ("skin",),
    "hair": ("hair",),
    "glasses": ("eyeglasses",),
    "neck": ("neck",),
    "cloth": ("cloth",),
    "background": ("background",),
}


@dataclass
class Tally:
    """Shared and joint pixels of one part, face by face."""

    shared: list[int] = field(default_factory=list)
    joint: list[int] = field(default_factory=list)

    def add(self, predicted: ParsingMap, labels: ParsingMap, names: Sequence[str]) -> None:
        """Count one face; pixels of unknown label are left out."""
        ids = [CLASS_NAMES.index(name) for name in names]
        known = labels != UNKNOWN
        ours, theirs = np.isin(predicted, ids) & known, np.isin(labels, ids)
        self.shared.append(int((ours & theirs).sum()))
        self.joint.append(int((ours | theirs).sum()))

    def text(self) -> str:
        """Return the figure of all faces together, and the mean over those that have the part."""
        shared, joint = np.array(self.shared), np.array(self.joint)
        if not joint.any():
            return "-"
        return f"{shared.sum() / joint.sum():.3f} ({(shared / joint.clip(1))[joint > 0].mean():.3f})"


def degraded(face: NDArray[np.uint8], name: str, index: int) -> NDArray[np.uint8]:
    """Return what a network sees of a face, (S, S, 3) uint8."""
    return face if name == CLEAN else degrade(face, preset(name), np.random.default_rng([SEED, index]))[0]


def measure(
    parser: FaceParser, faces: Sequence[tuple[int, FaceFile]], maps: Path, name: str
) -> tuple[dict[str, Tally], float, list[NDArray[np.uint8]]]:
    """Return the tallies of a preset, milliseconds a face (median), and pictures of some faces with their labels."""
    tallies, seconds, shown = {part: Tally() for part in MEASURED}, [], []
    for number, (index, file) in enumerate(faces):
        labels = read_parsing_map(file, maps, SIDE)
        lq = degraded(read_face(file, SIDE), name, index)
        started = time.perf_counter()
        (predicted,) = parser.parse([whole_crop(lq.astype(np.float32) / 255)])
        seconds.append(time.perf_counter() - started)
        for part, names in MEASURED.items():
            tallies[part].add(predicted, labels, names)
        if number % max(len(faces) // SHOWN, 1) == 0:
            shown.append(
                np.vstack([lq, colour_map(predicted), colour_map(np.where(labels == UNKNOWN, 0, labels))])
            )
    return tallies, 1000 * float(np.median(seconds)), shown


def main() -> None:
    """Print a table for each parser, and write a sheet of the last."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--parser", action="append", help="landmarks, a name of the catalog, or a file")
    options.add_argument("--presets", default=f"gfpgan,severe,{CLEAN}")
    options.add_argument(
        "--sheet", type=Path, help="where to show the degraded faces, their maps, and the labels"
    )
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    maps = chosen.shared / "faces/parts/val"
    every = list(enumerate(face_files(chosen.shared / "faces/val")))
    faces = [(index, f) for index, f in every if (maps / f.set_name / f"{f.name}.png").exists()]
    print(f"{len(faces)} of {len(every)} validation faces have labels; {SIDE} px, seed {SEED}")
    rows: list[NDArray[np.uint8]] = []
    for word in chosen.parser or ["landmarks"]:
        parser = build_parser(choose(PARSE, RestoreConfig(parser=word), WeightsStore()))
        assert parser is not None, "it is named"
        for name in chosen.presets.split(","):
            tallies, milliseconds, shown = measure(parser, faces, maps, name)
            figures = ", ".join(f"{part} {tally.text()}" for part, tally in tallies.items())
            print(f"{word} | {name} | {milliseconds:.1f} ms | {figures}", flush=True)
            rows.append(np.hstack(shown[:SHOWN]))
    if chosen.sheet is not None:
        write_image(chosen.sheet, DecodedImage(np.vstack(rows)), overwrite=True)


if __name__ == "__main__":
    main()

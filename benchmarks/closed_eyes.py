"""Measure how often closed eyes are told in degraded faces, and how often open ones are taken for closed.

python -m benchmarks.closed_eyes --shared SHARED [--presets web,phone,gfpgan] [--seeds 1,2,3] [--weights FILE]

SHARED (or FACERESTORE_SHARED) holds ``faces/{train,val}/SET/NAME.jpg``, and ``faces/parts/train/SET/NAME.png``. Closed
are the faces of `CLOSED_FACES`, which were looked at, unseen those of them that training did not see, open all other
validation faces, narrow the training faces with the least openness beyond the closed ones. A row for each preset: in
how many degraded pictures of each eyes count as closed. Sharp ones, which are not looked at, count as left alone.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np

from facerestore.degradation import degrade, preset
from facerestore.imaging.blending import whole_crop
from facerestore.parsing.eyes import FACE_SIZE, EyeReader, load_eye_reader
from facerestore.pipeline.closed_eyes import CLOSED, is_looked_at
from facerestore.quality.judge import assess
from facerestore.training.data.closed_eyes import openness
from facerestore.training.data.face_files import FaceFile, face_files, read_face, read_parsing_map
from facerestore.weights import WeightsStore

UNSEEN = (
    "2_Makeup_0_2", "2_Expression_2_1", "2_Expression_3_0", "2_Expression_3_8", "2_Eye-Gaze_3_5", "2_Eye-Gaze_4_5",
)  # fmt: skip
"""Closed ones that no training has seen: of validation, or without labels."""

CLOSED_FACES = (
    *UNSEEN, "2_Eye-Gaze_3_0", "2_Eye-Gaze_3_1", "2_Eye-Gaze_3_2", "2_Eye-Gaze_3_3", "2_Eye-Gaze_3_6", "2_Eye-Gaze_4_0",
    "2_Eye-Gaze_4_1", "2_Eye-Gaze_4_2", "2_Eye-Gaze_4_3", "2_Eye-Gaze_4_4", "2_Eye-Gaze_4_6", "2_Eye-Gaze_4_8",
    "2_Expression_3_4", "2_Expression_3_6", "2_Expression_3_7", "2_Expression_x_Sex_3_6", "2_Expression_x_Sex_3_8",
    "2_Expression_x_Sex_5_4", "2_Hair-Style_3_0", "2_Hair_Color_0_2", "2_Hair_Color_4_0", "2_Hats_3_4", "2_Makeup_4_4",
    "029",
)  # fmt: skip
"""Eyes closed, or lowered nearly so far: as looked at. All synthetic but the last."""

NARROW = 60


def told(file: FaceFile, name: str, seed: int, reader: EyeReader) -> bool:
    """Say whether the eyes of a face count as closed once it is degraded."""
    rng = np.random.default_rng([seed, sum(map(ord, file.name))])
    lq, *_ = degrade(read_face(file, FACE_SIZE), preset(name), rng)
    crop = whole_crop(lq.astype(np.float32) / 255)
    return is_looked_at(assess(crop), FACE_SIZE) and reader.closed([crop.lq])[0] >= CLOSED


def narrow_ones(files: list[FaceFile], maps: Path) -> list[FaceFile]:
    """Return the open faces whose labelled eyes are narrowest."""
    found = []
    for file in files:
        if (maps / file.set_name / f"{file.name}.png").exists():
            seen = openness(read_parsing_map(file, maps, FACE_SIZE))
            found += [] if seen is None else [(seen, file.name, file)]
    return [file for *_, file in sorted(found, key=lambda one: one[:2])[:NARROW]]


def main() -> None:
    """Print a row for each preset."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--presets", default="web,phone,gfpgan")
    options.add_argument("--seeds", default="1,2,3")
    options.add_argument("--weights", type=Path)
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    faces = chosen.shared / "faces"
    train, val = (face_files(faces / split) for split in ("train", "val"))
    closed = [file for file in (*train, *val) if file.name in CLOSED_FACES]
    others = [file for file in train if file.name not in CLOSED_FACES]
    groups = {
        "closed": closed,
        "unseen": [file for file in closed if file.name in UNSEEN],
        "open": [file for file in val if file.name not in CLOSED_FACES],
        "narrow": narrow_ones(others, faces / "parts/train"),
    }
    reader = load_eye_reader(chosen.weights or WeightsStore().require("eyes.clean-256"))
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    print(f"| preset | {' | '.join(groups)} |")
    for name in chosen.presets.split(","):
        counts = []
        for files in groups.values():
            hits = sum(told(file, name, seed, reader) for file in files for seed in seeds)
            counts.append(f"{hits} of {len(files) * len(seeds)}")
        print(f"| {name} | {' | '.join(counts)} |", flush=True)


if __name__ == "__main__":
    main()

"""``python -m facerestore.evaluation``: the quality of restorer weights on degraded faces, as a Markdown table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerestore.alignment import template
from facerestore.backends import load_backend
from facerestore.degradation import PRESETS, preset
from facerestore.evaluation.faces import FacePair, face_pairs
from facerestore.evaluation.restoration import BASELINES, Method, markdown_table, score
from facerestore.types import AlignedFace, DetectedFace, Restorer


def method_of(restorer: Restorer) -> Method:
    """Return the restorer as a method on face pairs; its faces have the size of the pairs."""

    def restore(pair: FacePair) -> NDArray[np.uint8]:
        size = pair.lq.shape[0]
        landmarks = template(size).astype(np.float32)
        detected = DetectedFace(box=(0.0, 0.0, size - 1.0, size - 1.0), landmarks=landmarks, score=1.0)
        aligned = AlignedFace(detected, np.eye(2, 3), pair.lq.astype(np.float32) / np.float32(255))
        return np.rint(restorer.restore([aligned])[0] * 255).astype(np.uint8)

    return restore


def main() -> None:
    """Parse the command line, measure, and write the table to standard output."""
    parser = argparse.ArgumentParser(prog="python -m facerestore.evaluation", description=__doc__)
    parser.add_argument(
        "--faces", type=Path, required=True, help="folder of aligned faces, one folder per set"
    )
    parser.add_argument("--weights", type=Path, required=True, help="weights of a restorer")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="gfpgan")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    restorer = load_backend(arguments.weights, device=arguments.device)
    pairs = face_pairs(
        arguments.faces, restorer.face_size, degradation=preset(arguments.preset), seed=arguments.seed
    )
    rows = score(pairs, {**BASELINES, arguments.weights.stem: method_of(restorer)})
    sys.stdout.write(
        f"Preset {arguments.preset}, seed {arguments.seed}, {restorer.face_size} px, RGB, means over faces.\n\n"
        f"{markdown_table(rows)}\n"
    )


if __name__ == "__main__":
    main()

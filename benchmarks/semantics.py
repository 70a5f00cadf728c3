"""Measure what semantics bring to PSFR-GAN: the same degraded faces restored with maps of several sources.

python -m benchmarks.semantics WEIGHTS.safetensors [--shared SHARED] [--presets gfpgan,severe] [--sheet SHEET.png]

SHARED (or FACERESTORE_SHARED) holds validation faces and their labels as for ``benchmarks.parsers``; faces are degraded
once (seed 7). The maps: of the bundled parser, as seen in the degraded face; of the labels of the real face, unknown
pixels as background; drawn from the five points; the parser's of the next face; and background alone. PSNR in dB of all
pixels and of those of eyes, brows and mouth by the labels; in brackets a 95% bootstrap interval of the difference from
the parser's.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.parsers import MEASURED, degraded
from facerestore.backends import load_backend
from facerestore.config import RestoreConfig
from facerestore.evaluation.bootstrap import estimate
from facerestore.face_parts import CLASS_NAMES, UNKNOWN
from facerestore.imaging.blending import whole_crop
from facerestore.io import write_image
from facerestore.parsing import LandmarkParser
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import PARSE
from facerestore.pipeline.load import build_parser
from facerestore.training.data.face_files import face_files, read_face, read_parsing_map
from facerestore.types import DecodedImage, ParsingMap
from facerestore.weights import WeightsStore

FINE = [CLASS_NAMES.index(name) for part in ("eyes", "brows", "mouth") for name in MEASURED[part]]
SHOWN = 10


def psnr_db(restored: NDArray[np.float32], real: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return the PSNR of 8 bit values over some pixels."""
    levels = np.rint(restored.clip(0, 1) * 255) - np.rint(real * 255)
    return float(10 * np.log10(255**2 / max(float((levels[where] ** 2).mean()), 1e-6)))


def main() -> None:
    """Print a table for each preset, and write a sheet of the last."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("weights", type=Path)
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--presets", default="gfpgan,severe")
    options.add_argument(
        "--sheet", type=Path, help="degraded faces, and their results by each source of maps"
    )
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    restorer = load_backend(chosen.weights)
    size, drawn = restorer.face_size, LandmarkParser()
    parser = build_parser(choose(PARSE, RestoreConfig(parser="parse.clean-256"), WeightsStore()))
    assert parser is not None, "it is bundled"
    maps = chosen.shared / "faces/parts/val"
    every = list(enumerate(face_files(chosen.shared / "faces/val")))
    faces = [(index, f) for index, f in every if (maps / f.set_name / f"{f.name}.png").exists()]
    for name in chosen.presets.split(","):
        rows: list[list[NDArray[np.uint8]]] = []
        inputs = [degraded(read_face(file, size), name, index) for index, file in faces]
        aligned = [whole_crop(lq.astype(np.float32) / 255) for lq in inputs]
        labels = [read_parsing_map(file, maps, size) for _, file in faces]
        seen = parser.parse(aligned)
        sources: dict[str, list[ParsingMap]] = {
            "parser": list(seen),
            "real face": [np.where(ids == UNKNOWN, 0, ids).astype(np.uint8) for ids in labels],
            "drawn": list(drawn.parse(aligned)),
            "another face": [*seen[1:], seen[0]],
            "none": [np.zeros((size, size), np.uint8)] * len(faces),
        }
        scores: dict[str, NDArray[np.float64]] = {}
        reals = [read_face(file, size).astype(np.float32) / 255 for _, file in faces]
        for source, given in sources.items():
            results = [restorer.restore([face], [ids])[0] for face, ids in zip(aligned, given, strict=True)]
            fine = [np.isin(ids, FINE) for ids in labels]
            scores[source] = np.array(
                [
                    (psnr_db(ours, real, np.ones_like(part)), psnr_db(ours, real, part))
                    for ours, real, part in zip(results, reals, fine, strict=True)
                    if part.any()
                ]
            )
            rows.append([np.rint(x.clip(0, 1) * 255).astype(np.uint8) for x in results[:SHOWN]])
        given_db = np.array(
            [
                (
                    psnr_db(face.lq, real, np.ones((size, size), bool)),
                    psnr_db(face.lq, real, np.isin(ids, FINE)),
                )
                for face, real, ids in zip(aligned, reals, labels, strict=True)
                if np.isin(ids, FINE).any()
            ]
        )
        print(f"{name}: input {given_db.mean(axis=0)[0]:.2f} dB, parts {given_db.mean(axis=0)[1]:.2f} dB")
        for source, found in scores.items():
            texts = []
            for column, what in enumerate(("all", "parts")):
                gap = estimate(found[:, column] - scores["parser"][:, column])
                texts.append(f"{what} {found[:, column].mean():.2f} [{gap.low:+.3f}, {gap.high:+.3f}]")
            print(f"  {source}: {', '.join(texts)}", flush=True)
    if chosen.sheet is not None:
        shown = [inputs[:SHOWN], *rows]
        picture = np.vstack([np.hstack(row) for row in shown])
        write_image(chosen.sheet, DecodedImage(picture), overwrite=True)


if __name__ == "__main__":
    main()

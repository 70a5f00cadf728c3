"""Measure colours given to grey faces: PSNR with the real luma, distance of chroma, and how colourful they are.

python -m benchmarks.colours WEIGHTS [--shared SHARED] [--saturation 1] [--sheet SHEET.png]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/SET/NAME.jpg``; those that have colours are greyed and coloured
again. "skin" is one tone for the whole face, the mean colour of the middle of training faces: what is to be beaten
beside doing nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.backends import load_backend
from facerestore.evaluation.bootstrap import estimate
from facerestore.imaging.blending import whole_crop
from facerestore.imaging.pixels import LUMA, grey_face, has_single_tone
from facerestore.io import write_image
from facerestore.parsing import whole_mask
from facerestore.pipeline.tasks.colorize import TINT_RMS, with_luma
from facerestore.training.data.face_files import face_files, read_face
from facerestore.types import DecodedImage

SIDE, SHOWN, TONE_FACES = 256, 12, 200


def chroma(face: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (S, S, 3) colours without their luma."""
    return face - (face @ LUMA)[..., None]


def middle_tone(shared: Path) -> NDArray[np.float32]:
    """Return the mean chroma (3,) of the middle of training faces."""
    files = face_files(shared / "faces/train")
    middle = slice(SIDE * 3 // 8, SIDE * 5 // 8)
    chosen = files[:: max(len(files) // TONE_FACES, 1)]
    tones = [
        chroma(read_face(file, SIDE).astype(np.float32) / 255)[middle, middle].mean((0, 1)) for file in chosen
    ]
    return np.asarray(np.mean(tones, axis=0), dtype=np.float32)


def main() -> None:
    """Print the figures, and write a sheet: real, grey, coloured."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("weights", type=Path)
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--saturation", type=float, default=1.0, help="factor of the network's chroma")
    options.add_argument("--sheet", type=Path, help="where to show some faces")
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    restorer, skin = load_backend(chosen.weights), middle_tone(chosen.shared)
    rows: dict[str, list[tuple[float, float, float]]] = {"grey": [], "skin": [], "coloured": []}
    shown = []
    for file in face_files(chosen.shared / "faces/val"):
        real = read_face(file, SIDE).astype(np.float32) / 255
        if has_single_tone(real, whole_mask(SIDE), most_rms=TINT_RMS):
            continue
        grey, theirs = grey_face(real), chroma(real)
        (restored,) = restorer.restore([whole_crop(grey)])
        found = cv2.resize(chroma(restored), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) * chosen.saturation
        luma = grey[..., 0]
        results = {
            "grey": grey,
            "skin": with_luma(grey + skin, luma),
            "coloured": with_luma(grey + found, luma),
        }
        for name, result in results.items():
            gap = result - real
            ours = chroma(result)
            rows[name].append(
                (
                    float(-10 * np.log10((gap**2).mean())),
                    float(255 * np.sqrt((gap**2).sum(-1)).mean()),
                    float(np.sqrt((ours**2).sum(-1)).mean() / np.sqrt((theirs**2).sum(-1)).mean()),
                )
            )
        shown.append(
            np.vstack([np.rint(255 * x).astype(np.uint8) for x in (real, grey, results["coloured"])])
        )
    print(f"{len(shown)} validation faces with colours, {SIDE} px")
    for name, found_rows in rows.items():
        parts = []
        for column, what in enumerate(("PSNR dB", "distance of 255", "colourfulness")):
            e = estimate([row[column] for row in found_rows])
            parts.append(f"{what} {e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]")
        print(f"{name}: {', '.join(parts)}")
    if chosen.sheet is not None:
        step = max(len(shown) // SHOWN, 1)
        write_image(chosen.sheet, DecodedImage(np.hstack(shown[::step][:SHOWN])), overwrite=True)


if __name__ == "__main__":
    main()

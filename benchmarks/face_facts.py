"""What faces are like, for tables by group: skin tone, colour, glasses, head turn, as a manifest for ``evaluate``.

python benchmarks/face_facts.py --shared SHARED --out facts.csv
facerestore evaluate --hq SHARED/faces/val --degradation severe --manifest facts.csv --group skin --group glasses

Skin tone is the individual typology angle of Chardon et al. (1991), atan((L* - 50) / b*) in degrees, of the median of
both cheeks; it depends on the light of the photograph as much as on the skin. Words for it: above 41 light, above 10
medium, else dark. Glasses are those of the part labels, where a face has them.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.io import find_images, read_image

SIDE = 256
CHEEKS = ((140, 170, 70, 112), (140, 170, 146, 188))
"""Top, bottom, left, right in the FFHQ frame."""
SKIN, GLASSES = 1, 3
LEAST_SKIN_PX, LEAST_GLASSES_PX = 300, 60
LIGHT, MEDIUM = 41, 10
GREY_CHROMA = 3.0
"""Mean chroma of the cheeks below which a portrait has no colour."""
TURNS = ((0.05, "frontal"), (0.15, "slightly turned"), (float("inf"), "turned"))
"""Of the nose's offset from the middle of the eyes, in eye distances; `manifest.csv` has it."""


def facts_of(path: Path, parts: Path | None) -> dict[str, str]:
    """Return the skin, its angle, and whether there are glasses.

    Args:
        path: an aligned portrait.
        parts: its part labels; None where there are none.
    """
    face = cv2.resize(read_image(path).pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(face.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    labels = None if parts is None else read_image(parts).pixels[..., 0]
    cheeks = lab[cheek_mask(labels)]
    angle = float(np.degrees(np.arctan2(*(np.median(cheeks, axis=0)[[0, 2]] - (50, 0)))))
    grey = float(np.hypot(cheeks[:, 1], cheeks[:, 2]).mean()) < GREY_CHROMA
    tone = "light" if angle > LIGHT else "medium" if angle > MEDIUM else "dark"
    worn = "" if labels is None else "yes" if (labels == GLASSES).sum() > LEAST_GLASSES_PX else "no"
    return {"skin": "grey photograph" if grey else tone, "ita": f"{angle:.1f}", "glasses": worn}


def cheek_mask(labels: NDArray[np.uint8] | None) -> NDArray[np.bool_]:
    """Return where the cheeks are: what of two boxes is labelled skin, or both where that is too little."""
    boxes = np.zeros((SIDE, SIDE), dtype=np.bool_)
    for top, bottom, left, right in CHEEKS:
        boxes[top:bottom, left:right] = True
    skin = boxes if labels is None else boxes & (labels == SKIN)
    return skin if skin.sum() > LEAST_SKIN_PX else boxes


def main() -> None:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=os.environ.get("FACERESTORE_SHARED"))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    faces: Path = asked.shared / "faces"
    with (faces / "manifest.csv").open(newline="") as stream:
        turns = {(r["set"], r["name"]): abs(float(r["yaw_proxy"])) for r in csv.DictReader(stream)}
    rows = []
    for path in find_images(faces / "val", recursive=True):
        of_set, name = path.parent.name, path.stem
        parts = faces / "parts" / "val" / of_set / f"{name}.png"
        turn = next(word for edge, word in TURNS if turns[of_set, name] <= edge)
        origin = "synthetic" if of_set == "sfhq_t2i" else "photograph"
        facts = facts_of(path, parts if parts.is_file() else None)
        rows.append({"set": of_set, "name": name, **facts, "head": turn, "picture": origin})
    with asked.out.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} faces -> {asked.out}")


if __name__ == "__main__":
    main()

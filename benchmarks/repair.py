"""Measure how much of the damage in faces is found, and what fills it.

python -m benchmarks.repair --shared SHARED [--finder NAME|FILE] [--filler NAME|FILE|telea ...] [--sheet SHEET.png]

SHARED (or FACERESTORE_SHARED) holds ``faces/val/SET/NAME.jpg``. Faces are 256 px; each is drawn once for each row (seed
7, by its number among all validation faces). What counts as damage is what training takes for it: opaque, and seen.

found: share of the damaged pixels that are found, share of what is found that is damaged, both over all faces together;
and how many of the faces in which nothing is damaged have anything found in them.
filled: PSNR inside the damage against the same face without it, over all damaged pixels of all faces, in dB: as it is,
filled where it is (the mask is given, a pixel wider), and filled where it is found; then the same outside that mask.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.config import INPAINT, RestoreConfig
from facerestore.degradation import DamagedFace, DegradationDraw, damaged, preset
from facerestore.imaging.blending import whole_crop
from facerestore.imaging.filling import fill
from facerestore.io import write_image
from facerestore.parsing.damage import DamageFinder, load_damage_finder
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import DAMAGE
from facerestore.pipeline.load import load_restorer
from facerestore.pipeline.tasks.damage import certain, draw_strokes
from facerestore.training.data.damaged_faces import damage_of, visible_damage, worn
from facerestore.training.data.datasets import CLEAN
from facerestore.training.data.face_files import face_files, read_face
from facerestore.types import DecodedImage
from facerestore.weights import WeightsStore

SIDE, SEED = 256, 7
SHOWN = 16
"""Faces on a sheet."""

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Fill = Callable[[Picture, Mask], Picture]
ROWS = (CLEAN, "gfpgan", "web", "phone", "print", "old-photo", "damage", "damage, web", "damage, phone")
"""Presets; the second of two is what is done to the damaged face afterwards."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A face of a row, and what is damaged of it."""

    face: DamagedFace
    damage: Mask


def case_of(face: Picture, row: str, index: int) -> Case:
    """Return a face degraded as a row says."""
    rng = np.random.default_rng([SEED, index])
    first, _, then = row.partition(", ")
    name = then or first
    drawn = DegradationDraw(CLEAN, SIDE) if name == CLEAN else preset(name).draw(SIDE, rng)
    if then:
        drawn = worn(drawn, damage_of(first, SIDE, rng), rng)
    made = damaged(face, drawn, rng)
    return Case(made, visible_damage(made, drawn))


def found_in(finder: DamageFinder, lq: Picture) -> Mask:
    """Return what counts as found in a face."""
    (share,) = finder.find([lq.astype(np.float32) / 255])
    return certain(share)


def filler(name: str) -> Fill:
    """Return what fills holes: ``telea``, or a network over that."""
    if name == "telea":
        return lambda face, holes: np.asarray(fill(face, holes), dtype=np.uint8)
    chosen = choose(INPAINT.purpose, RestoreConfig(weights=name), WeightsStore())
    network = load_restorer(chosen, task=INPAINT)

    def by_network(face: Picture, holes: Mask) -> Picture:
        rims = np.asarray(fill(face, holes), dtype=np.uint8)
        (drawn,) = network.restore([whole_crop(rims.astype(np.float32) / 255)])
        whole = np.rint(np.clip(drawn, 0, 1) * 255).astype(np.uint8)
        return np.where(holes[..., None], whole, rims)

    return by_network


class Squares:
    """Squared differences over masks, of many faces."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, one: Picture, other: Picture, mask: Mask) -> None:
        """Count one face."""
        self.sum += float(np.square(one[mask].astype(np.float64) - other[mask]).sum())
        self.count += 3 * int(mask.sum())

    @property
    def text(self) -> str:
        """PSNR in dB."""
        if not self.count:
            return "-"
        return f"{10 * np.log10(255**2 * self.count / self.sum):.2f}" if self.sum else "inf"


def measure_found(finder: DamageFinder, faces: Sequence[Picture], row: str) -> str:
    """Return what is found of the damage of a row."""
    shared = damage = found = false_faces = sound_faces = 0
    false_share = 0.0
    for index, face in enumerate(faces):
        case = case_of(face, row, index)
        own = found_in(finder, case.face.lq)
        shared, damage, found = (
            total + int(each.sum())
            for total, each in ((shared, own & case.damage), (damage, case.damage), (found, own))
        )
        if not case.damage.any():
            sound_faces += 1
            false_faces += bool(own.any())
            false_share += float(own.mean())
    recall, precision = (f"{shared / total:.3f}" if total else "-" for total in (damage, found))
    false = f"{false_faces} of {sound_faces}, {false_share / max(sound_faces, 1):.4%} of their pixels"
    return f"{row} | recall {recall} | precision {precision} | sound faces with a find: {false}"


def measure_filled(
    finder: DamageFinder | None, faces: Sequence[Picture], row: str, names: Sequence[str]
) -> str:
    """Return PSNR inside and outside the damage of a row, before and after."""
    fills = {name: filler(name) for name in names}
    inside: dict[str, Squares] = {}
    outside: dict[str, Squares] = {}
    for index, face in enumerate(faces):
        case = case_of(face, row, index)
        lq, real, mask = case.face.lq, case.face.undamaged, case.damage
        results = {"as it is": lq}
        for name, own in fills.items():
            results[f"{name}, mask given"] = own(lq, widened(mask))
            if finder is not None:
                results[f"{name}, found"] = own(lq, found_in(finder, lq))
        for name, result in results.items():
            inside.setdefault(name, Squares()).add(result, real, mask)
            outside.setdefault(name, Squares()).add(result, real, ~widened(mask))
    return "\n".join(
        f"{row} | {name} | inside {inside[name].text} dB | outside {outside[name].text} dB" for name in inside
    )


def widened(mask: Mask) -> Mask:
    """Return a mask widened by a pixel: the edges of damage fade."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), dtype=bool)


def measure_strokes(faces: Sequence[Picture], row: str, names: Sequence[str]) -> str:
    """Return PSNR inside brush strokes across the faces of a row."""
    fills = {name: filler(name) for name in names}
    inside = {name: Squares() for name in fills}
    for index, face in enumerate(faces):
        whole, canvas = case_of(face, row, index).face.lq, np.zeros((SIDE, SIDE), np.uint8)
        draw_strokes(canvas, np.eye(2, 3), face_size=SIDE, rng=np.random.default_rng([SEED, index, 1]))
        for name, own in fills.items():
            inside[name].add(own(whole, canvas > 0), whole, canvas > 0)
    return "\n".join(f"strokes on {row} | {name} | inside {inside[name].text} dB" for name in fills)


def sheet(finder: DamageFinder, faces: Sequence[Picture], rows: Sequence[str], name: str) -> Picture:
    """Return rows of eight faces: damaged, what is found, filled, and undamaged."""
    own, pictures = filler(name), []
    for row in rows:
        for start in range(0, min(SHOWN, len(faces) - 7), 8):
            cases = [case_of(faces[n], row, n) for n in range(start, start + 8)]
            found = [found_in(finder, case.face.lq) for case in cases]
            shown = [np.where(mask[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2) for mask in found]
            filled = [own(case.face.lq, mask) for case, mask in zip(cases, found, strict=True)]
            undamaged = [case.face.undamaged for case in cases]
            lines = ([case.face.lq for case in cases], shown, filled, undamaged)
            pictures += [np.hstack(line) for line in lines]
    return np.vstack(pictures)


def main() -> None:
    """Print the rows, and write a sheet."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("FACERESTORE_SHARED", "../shared"))
    )
    options.add_argument("--finder", help="a file, or 'none'; the installed one unless given")
    options.add_argument("--filler", action="append", help="telea, a name of the catalog, or a file")
    options.add_argument("--every", type=int, default=1, help="take only every n-th face")
    options.add_argument("--sheet", type=Path)
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    faces = [read_face(file, SIDE) for file in face_files(chosen.shared / "faces/val")[:: chosen.every]]
    print(f"{len(faces)} validation faces, {SIDE} px, seed {SEED}")
    finder, names = None, chosen.filler or ["telea"]
    if chosen.finder != "none":
        source = (
            choose(DAMAGE, RestoreConfig(), WeightsStore()).source
            if chosen.finder is None
            else Path(chosen.finder)
        )
        assert source is not None, "one ships"
        finder = load_damage_finder(source)
        for row in ROWS:
            print(measure_found(finder, faces, row), flush=True)
    for row in ("damage", "damage, web"):
        print(measure_filled(finder, faces, row, names), flush=True)
    for row in (CLEAN, "old-photo"):
        print(measure_strokes(faces, row, names), flush=True)
    if chosen.sheet is not None and finder is not None:
        write_image(chosen.sheet, DecodedImage(sheet(finder, faces, ROWS, names[-1])), overwrite=True)


if __name__ == "__main__":
    main()

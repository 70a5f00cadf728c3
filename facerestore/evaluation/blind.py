"""A sheet for the eye: two methods on the same faces, left and right by a seeded coin, and the key in a file beside it.

Whoever judges looks at the pages alone and notes for each number which side is better; the key says what that was.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError
from facerestore.evaluation.cases import CaseFiles, CaseSource, spread_over
from facerestore.evaluation.methods import Method, Unchanged
from facerestore.io import marked, write_encoded, write_image
from facerestore.pictures.contact_sheet import Group, Tile, contact_sheet
from facerestore.types import DecodedImage, Metadata

KEY_FILE = "blind_key.csv"

PAIRS_A_PAGE = 8
"""A page is as high as a large screen shows at once when it is scrolled twice."""

CELL_PX = 512
"""Side of a face on the sheet: at half of it nobody tells detail from a lattice."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One choice between two faces.

    Attributes:
        number: on the sheet, from 1.
        files: the face.
        left: the method whose face is on the left.
        right: the other.
    """

    number: int
    files: CaseFiles
    left: Method
    right: Method


def draw_pairs(
    files: Sequence[CaseFiles], methods: Sequence[Method], *, count: int, seed: int
) -> tuple[Pair, ...]:
    """Return pairs in random order, each method on the left in half of them.

    Args:
        files: the faces; ``count`` of them are taken, evenly.
        methods: two.
        count: how many faces are shown.
        seed: of order and sides.

    Raises:
        ConfigError: there are not two methods, or no faces are wanted.
    """
    if len(methods) != 2:
        names = ", ".join(method.name for method in methods) or "none"
        raise ConfigError(
            f"a blind sheet compares two methods, and here there are: {names}; give two with --backend"
        )
    chosen, rng = spread_over(files, count), np.random.default_rng(seed)
    sides = rng.permutation(np.arange(len(chosen)) % 2)
    return tuple(
        Pair(number, chosen[index], methods[side], methods[1 - side])
        for number, (index, side) in enumerate(zip(rng.permutation(len(chosen)), sides, strict=True), 1)
    )


def pages(source: CaseSource, pairs: Sequence[Pair], face_size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the pages, (H, W, 3) uint8 RGB: for each pair the input, then left and right; no method is named."""
    for start in range(0, len(pairs), PAIRS_A_PAGE):
        groups = [_group(source, pair, face_size) for pair in pairs[start : start + PAIRS_A_PAGE]]
        yield contact_sheet(groups, columns=3, tile_px=CELL_PX)


def key(pairs: Sequence[Pair]) -> str:
    """Return the key as CSV: number, face, and the methods on the left and on the right."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["pair", "face", "left", "right"])
    table.writerows([[pair.number, pair.files.name, pair.left.name, pair.right.name] for pair in pairs])
    return text.getvalue()


def write_sheet(
    folder: Path, source: CaseSource, pairs: Sequence[Pair], face_size: int, *, overwrite: bool
) -> None:
    """Write the pages of a sheet and its key into a folder; nothing without pairs.

    Raises:
        ImageError: a file is there and is not to be replaced, or cannot be written.
    """
    if not pairs:
        return
    for number, page in enumerate(pages(source, pairs, face_size), 1):
        picture = DecodedImage(page, metadata=marked(Metadata(), "sheet"), format="PNG")
        write_image(folder / f"blind_{number}.png", picture, overwrite=overwrite)
    write_encoded(folder / KEY_FILE, key(pairs).encode(), overwrite=overwrite)


def _group(source: CaseSource, pair: Pair, face_size: int) -> Group:
    case = source.load(pair.files, face_size)
    shown = {"input": Unchanged(), "left": pair.left, "right": pair.right}
    tiles = [Tile(method.restore(case, face_size), word) for word, method in shown.items()]
    return Group(f"{pair.number}", tiles)

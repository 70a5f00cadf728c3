"""Sheets that compare degradation presets, and folders of degraded pairs with their parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facerestore.degradation import Degradation, DegradationDraw, degrade, preset
from facerestore.errors import ConfigError
from facerestore.io import write_encoded, write_image
from facerestore.pictures.contact_sheet import Group, Tile, contact_sheet
from facerestore.training.data import streams
from facerestore.training.data.datasets import CLEAN
from facerestore.training.data.face_files import FaceFile, read_face
from facerestore.types import DecodedImage

PARAMETERS = "pairs.jsonl"


@dataclass(frozen=True, slots=True, eq=False)
class DegradedFace:
    """One pair.

    Attributes:
        file: the real face.
        preset: name of the degradation; ``clean`` for none.
        seed: the pair is ``degrade(face, preset, np.random.default_rng(seed))``.
        lq: (S, S, 3) uint8 RGB.
        hq: (S, S, 3) uint8 RGB.
        drawn: the parameters; None for ``clean``.
    """

    file: FaceFile
    preset: str
    seed: tuple[int, int]
    lq: NDArray[np.uint8]
    hq: NDArray[np.uint8]
    drawn: DegradationDraw | None

    def to_json(self) -> dict[str, Any]:
        """Return all but the pictures as plain values."""
        return {
            "face": self.file.place,
            "set": self.file.set_name,
            "name": self.file.name,
            "preset": self.preset,
            "seed": list(self.seed),
            "parameters": None if self.drawn is None else self.drawn.to_json(),
        }


def parse_mix(text: str) -> dict[str, float]:
    """Return the shares of a text such as ``gfpgan=0.8,clean=0.2``; a name alone has share 1.

    Raises:
        ConfigError: a share is no positive number, or a preset is unknown.
    """
    mix: dict[str, float] = {}
    for item in text.split(","):
        name, equals, share = (part.strip() for part in item.partition("="))
        try:
            mix[name] = float(share) if equals else 1.0
        except ValueError as error:
            raise ConfigError(
                f"the share of '{name}' is '{share}'; give a number, as in gfpgan=0.8"
            ) from error
        if not mix[name] > 0:
            raise ConfigError(f"the share of '{name}' is {share}; give a number above 0")
        if name != CLEAN:
            preset(name)
    return mix


def degraded_face(
    file: FaceFile, index: int, *, face_size: int, mix: Mapping[str, float], seed: int
) -> DegradedFace:
    """Return the pair of the ``index``-th face, which depends on the seed and the index alone.

    Args:
        file: the face.
        index: its number among the faces.
        face_size: side of the pair, px.
        mix: share of each preset, ``clean`` included.
        seed: of all pairs.

    Raises:
        ImageError: the face cannot be read, is not square, or is smaller.
    """
    shares = np.array(list(mix.values()))
    chosen = list(mix)[
        np.random.default_rng([seed, index, streams.PRESET]).choice(len(mix), p=shares / shares.sum())
    ]
    face = read_face(file, face_size)
    if chosen == CLEAN:
        return DegradedFace(file, CLEAN, (seed, index), face, face, None)
    ranges: Degradation = preset(chosen)
    lq, hq, drawn = degrade(face, ranges, np.random.default_rng([seed, index]))
    return DegradedFace(file, chosen, (seed, index), lq, hq, drawn)


def degradation_sheet(rows: Sequence[Sequence[DegradedFace]], *, tile_px: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 RGB: a row for each face, the real one first, then its degradations with parameters."""
    groups = []
    for row in rows:
        first = row[0]
        real = Tile(read_face(first.file, first.lq.shape[0]), f"real face\n{first.lq.shape[0]} px")
        tiles = [
            Tile(pair.lq, f"{pair.preset}\n{pair.drawn.text if pair.drawn else ''}".strip()) for pair in row
        ]
        groups.append(Group(f"{first.file.set_name}/{first.file.name}", [real, *tiles]))
    return contact_sheet(groups, columns=1 + max(len(row) for row in rows), tile_px=tile_px)


class PairFolder:
    """Writes ``lq/SET/NAME.png``, ``hq/SET/NAME.png`` and a line of parameters for each pair.

    Args:
        folder: where to.
        overwrite: replace pictures that are there.

    Raises:
        ImageError: there are pairs already.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self._folder, self._overwrite = folder, overwrite
        self._lines: list[str] = []
        write_encoded(folder / PARAMETERS, b"", overwrite=overwrite)

    def add(self, pair: DegradedFace) -> None:
        """Write one pair.

        Raises:
            ImageError: a picture is there already, or cannot be written.
        """
        for kind, pixels in (("lq", pair.lq), ("hq", pair.hq)):
            path = self._folder / kind / pair.file.set_name / f"{pair.file.name}.png"
            write_image(path, DecodedImage(pixels), overwrite=self._overwrite)
        self._lines.append(json.dumps(pair.to_json()))

    def close(self) -> None:
        """Write the parameters of all pairs."""
        data = "".join(f"{line}\n" for line in self._lines).encode()
        write_encoded(self._folder / PARAMETERS, data, overwrite=True)

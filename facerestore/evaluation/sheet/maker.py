"""Makes contact sheets: every face of some photos under every backend and strength, side by side.

Faces are found once, by the detector of the first pipeline. Each network runs once per photo, whatever the number of
strengths. What a cell shows is the face in the finished photo, pasted and blended: what a user would get.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facerestore import __version__
from facerestore.batch.report import describe_error
from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError, ImageError, WeightsError
from facerestore.evaluation.sheet.picture import (
    PAGE_HEIGHT_PX,
    SheetCell,
    SheetColumn,
    SheetRow,
    cell_side,
    row_height,
    sheet_picture,
)
from facerestore.evaluation.sheet.rerun import CachedParser, Rerun
from facerestore.imaging.blending import whole_face
from facerestore.io import DEFAULT_MAX_PIXELS, as_decoded
from facerestore.pictures.compare import close_up, face_square
from facerestore.pipeline.per_face import face_size_of
from facerestore.pipeline.report import search_facts
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.selection import left_to_right, select_faces
from facerestore.types import DecodedImage, DetectedFace, Image, Outcome, RestoredFace

if TYPE_CHECKING:
    from PIL import Image as PillowImage

MAX_COLUMNS = 64
"""Of 200 px and the gaps between them: 15,200 px; WebP ends at 16,383."""

_LICENCE_NOTES = {"no": "non-commercial", "unclear": "commercial use unclear"}


@dataclass(frozen=True, slots=True, eq=False)
class PhotoRows:
    """One photo on a sheet.

    Attributes:
        rows: one for each chosen face, left to right.
        facts: the same as plain values ready for JSON.
        failed: how many cells failed.
    """

    rows: tuple[SheetRow, ...]
    facts: dict[str, Any]
    failed: int


@dataclass(frozen=True, slots=True, eq=False)
class ContactSheet:
    """A finished sheet.

    Attributes:
        pages: (H, W, 3) uint8 RGB each; none where no photo has a face.
        facts: columns, and every cell of every photo, ready for JSON.
    """

    pages: tuple[NDArray[np.uint8], ...]
    facts: dict[str, Any]


def contact_sheet(
    photos: Iterable[
        str
        | os.PathLike[str]
        | bytes
        | PillowImage.Image
        | DecodedImage
        | NDArray[np.uint8]
        | NDArray[np.uint16]
    ],
    pipelines: Sequence[RestorePipeline],
    *,
    strengths: Sequence[float] | None = None,
) -> ContactSheet:
    """Return a sheet of every chosen face of some photos under every pipeline and strength.

    Only the cells stay in memory, not the photos. The pipelines' ``config`` applies: which faces, ``force``,
    ``upscale`` and the like; faces are found by the detector of the first, and chosen by its ``config.faces``.

    Args:
        photos: paths, the bytes of picture files, Pillow images, decoded images, or RGB arrays.
        pipelines: at least one.
        strengths: for each pipeline, 0 to 1; None takes the one of its own configuration.

    Raises:
        ConfigError: there is no pipeline or are too many, or a strength is out of range or refused by one.
        ImageError: a photo cannot be read. A network that fails does not raise: its cells say so.
    """
    maker = SheetMaker(pipelines, strengths=strengths)
    limit = pipelines[0].config.max_pixels or DEFAULT_MAX_PIXELS
    pages: list[NDArray[np.uint8]] = []
    facts = []
    for number, photo in enumerate(photos, 1):
        image = as_decoded(photo, max_pixels=limit, page=pipelines[0].config.page)
        name = Path(photo).name if isinstance(photo, str | os.PathLike) else f"photo {number}"
        found = maker.compare(image, name=name)
        pages += maker.add(found.rows)
        facts.append({"input": name, **found.facts})
    pages += maker.finish()
    return ContactSheet(tuple(pages), {**maker.facts, "photos": facts})


class SheetMaker:
    """Makes a sheet photo by photo, and page by page, so that neither photos nor finished pages are kept.

    Args:
        pipelines: at least one; the detector of the first finds the faces.
        strengths: for each pipeline, 0 to 1; None takes the one of its own configuration.
        page_height_px: a page ends before it is higher than this.
        draw: makes a page, as `sheet_picture`.

    Attributes:
        columns: of every row, left to right.
        side_px: side of a cell.
        facts: columns and configuration, ready for JSON.

    Raises:
        ConfigError: there is no pipeline or are too many, or a strength is out of range or refused by one.
    """

    def __init__(
        self,
        pipelines: Sequence[RestorePipeline],
        *,
        strengths: Sequence[float] | None = None,
        page_height_px: int = PAGE_HEIGHT_PX,
        draw: Callable[..., NDArray[np.uint8]] = sheet_picture,
    ) -> None:
        if not pipelines or (strengths is not None and not strengths):
            raise ConfigError("a contact sheet needs at least one pipeline and one strength; give them")
        self._compared = [
            (
                each,
                [
                    replace(each.config, strength=s)
                    for s in dict.fromkeys(strengths or [each.config.strength])
                ],
            )
            for each in pipelines
        ]
        for pipeline, configs in self._compared:
            for config in configs:  # what a pipeline refuses is to be known before any work
                replace(pipeline, config=config)
        self.columns = _sheet_columns(self._compared)
        if len(self.columns) > MAX_COLUMNS:
            raise ConfigError(
                f"a sheet of {len(self.columns)} columns is too wide; give at most {MAX_COLUMNS}"
            )
        self.side_px = cell_side(len(self.columns))
        self._page_height_px, self._draw = page_height_px, draw
        self._waiting: list[SheetRow] = []
        self._pages = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What holds for the whole sheet, ready for JSON."""
        first = self._compared[0][0]
        return {
            "facerestore": __version__,
            "detector": None if first.config.aligned or first.detector is None else first.detector.name,
            "config": asdict(first.config),
            "columns": [
                {
                    "backend": pipeline.restorer.name,
                    "weights": asdict(pipeline.facts),
                    "face_size": face_size_of(pipeline),
                    "strength": config.strength,
                }
                for pipeline, configs in self._compared
                for config in configs
            ],
        }

    def compare(
        self, image: DecodedImage, *, name: str, on_pipeline: Callable[[str], None] | None = None
    ) -> PhotoRows:
        """Return the rows of one photo: each chosen face under each column.

        Args:
            image: the photo; not changed.
            name: shown to people.
            on_pipeline: called with the name of the weights before each pipeline.

        Raises:
            ImageError: an aligned photo is not square, or the enlarged one would be too large.
        """
        found, chosen = self._find_faces(image.pixels)
        cells: dict[int, list[SheetCell]] = {index: [] for index in chosen}
        facts: dict[int, list[dict[str, Any]]] = {index: [] for index in chosen}
        parsers: dict[int, CachedParser] = {}
        for pipeline, configs in self._compared if chosen else ():
            if on_pipeline is not None:
                on_pipeline(_weights_name(pipeline))
            if pipeline.parser is not None:
                parsers.setdefault(id(pipeline.parser), CachedParser(pipeline.parser))
            rerun = Rerun(pipeline, found, parsers.get(id(pipeline.parser)))
            for config in configs:
                for index, (cell, fact) in self._cells_of_column(rerun, config, image, found, chosen).items():
                    cells[index].append(cell)
                    facts[index].append({"column": len(facts[index]), **fact})
        rows = tuple(
            SheetRow(
                photo=name,
                facts=f"face {index} · {found[index].eye_distance_px:.0f} px between the eyes",
                before=self._cell_picture(image.pixels, found[index], 1.0),
                cells=tuple(cells[index]),
            )
            for index in chosen
        )
        faces = [_face_facts(index, found[index], facts[index]) for index in chosen]
        failed = sum(cell.picture is None for row in rows for cell in row.cells)
        return PhotoRows(rows, {"found": len(found), "search": search_facts(found), "faces": faces}, failed)

    def add(self, rows: Iterable[SheetRow]) -> Iterator[NDArray[np.uint8]]:
        """Take rows, and yield the pages that are full with them, (H, W, 3) uint8 RGB."""
        for row in rows:
            height = sum(row_height(waiting, self.side_px) for waiting in [*self._waiting, row])
            if self._waiting and height > self._page_height_px:
                yield from self.finish()
            self._waiting.append(row)

    def finish(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the page of the rows that wait for one, if any."""
        if not self._waiting:
            return
        self._pages += 1
        rows, self._waiting = self._waiting, []
        yield self._draw(self.columns, rows, side_px=self.side_px, footer=self._page_footer())

    def _page_footer(self) -> str:
        words = [
            "faces as they lie in the finished photo",
            *_unusual_choices(self._compared[0][0].config),
            f"seconds measured on {self._compared[0][0].facts.device}",
            f"facerestore {__version__}",
        ]
        return " · ".join([*words, f"page {self._pages}"] if self._pages > 1 else words)

    def _find_faces(self, pixels: Image) -> tuple[list[DetectedFace], list[int]]:
        """Return all faces left to right, and the indices of those that the first configuration chooses."""
        first = self._compared[0][0]
        if first.config.aligned or first.detector is None:
            found = [whole_face(pixels)]
        else:
            found = left_to_right(first.detector.detect(pixels))
        return found, sorted(select_faces(first.config.faces, found, pixels.shape))

    def _cells_of_column(
        self,
        rerun: Rerun,
        config: RestoreConfig,
        image: DecodedImage,
        found: Sequence[DetectedFace],
        chosen: Sequence[int],
    ) -> dict[int, tuple[SheetCell, dict[str, Any]]]:
        """Return cell and facts of each chosen face in one column; what a network raises becomes a failed cell."""
        try:
            result = rerun.pipeline(config).run(image)
        except (WeightsError, ConfigError, ImageError):
            raise
        except Exception as error:  # a network's fault is told in its cells, and the other columns go on
            note = describe_error(error)
            failed = {"decision": "failed", "code": "failed", "reason": note}
            return {index: (SheetCell(None, note), failed) for index in chosen}
        scale = result.image.pixels.shape[1] / image.pixels.shape[1]
        column = {}
        for index in chosen:
            picture = self._cell_picture(result.image.pixels, found[index], scale)
            face = result.faces[index]
            restored = face.decision.outcome is Outcome.RESTORED
            seconds = (face.seconds or rerun.seconds_per_face) if restored else None
            note = _chosen_words(face) if restored else f"kept: {face.decision.reason}"
            fact = {
                key: value for key, value in result.report["faces"][index].items() if key not in _OF_THE_FACE
            }
            column[index] = (SheetCell(picture, note, seconds), {**fact, "seconds": round(seconds or 0.0, 4)})
        return column

    def _cell_picture(self, pixels: Image, face: DetectedFace, scale: float) -> NDArray[np.uint8]:
        """Return the square around a face, ``scale`` times as large as where it was found, as a cell."""
        square = tuple(scale * value for value in face_square(face.box))
        return np.asarray(close_up(pixels, square, self.side_px))


_OF_THE_FACE = ("index", "box", "landmarks", "score", "eye_distance_px")
"""Keys of a face's report that are the same in every column."""


def _chosen_words(face: RestoredFace) -> str:
    return "" if face.choice is None else f"by {face.choice.weights}"


def _face_facts(index: int, face: DetectedFace, cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "index": index,
        "box": [round(value, 2) for value in face.box],
        "score": round(float(face.score), 4),
        "eye_distance_px": round(face.eye_distance_px, 2),
        "cells": cells,
    }


def _unusual_choices(config: RestoreConfig) -> list[str]:
    """Return what of a configuration changes how faces look beside the columns, for the small print."""
    default = RestoreConfig()
    words = {
        f"mask {config.mask}": config.mask != default.mask,
        f"region {config.region}": config.region != default.region,
        f"dial {config.dial}": config.dial != default.dial,
        f"detail {config.detail}": config.detail != default.detail,
        "damage filled first": config.repair,
        "without colour match": config.colour_match != default.colour_match,
        "without grain": config.grain != default.grain,
        "without guard": config.guard != default.guard,
        "official pipelines": config.official,
    }
    return [word for word, shown in words.items() if shown]


def _sheet_columns(compared: Sequence[tuple[RestorePipeline, Sequence[RestoreConfig]]]) -> list[SheetColumn]:
    """Return what stands above the columns; weights of one short name are called by their long one."""
    long = [_weights_name(pipeline) for pipeline, _ in compared]
    short = [Path(name).name for name in long]
    names = [s if short.count(s) == 1 else n for s, n in zip(short, long, strict=True)]
    return [
        SheetColumn(
            group=group,
            name=names[group],
            strength=config.strength,
            face_size=face_size_of(pipeline),
            licence=_LICENCE_NOTES.get(pipeline.facts.commercial_use or "", ""),
        )
        for group, (pipeline, configs) in enumerate(compared)
        for config in configs
    ]


def _weights_name(pipeline: RestorePipeline) -> str:
    return pipeline.facts.weights or pipeline.restorer.name

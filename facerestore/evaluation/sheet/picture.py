"""How a contact sheet looks: one row per face, one column per weights and strength, every word whole and legible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from facerestore.pictures.layout import GAP_PX, INK, PAPER, drawable, font_of, wrapped

# The look: chosen by eye on sheets of two to nine columns; nothing else depends on it.
_HEADING = (38, 41, 48)
_LINE = (222, 220, 215)
_WARNING = (178, 58, 46)
_HEADING_PX, _TEXT_PX, _NOTE_PX = 22, 17, 15
_LEADING = 1.3
"""Distance of text lines, of the font's size."""
_TITLE_PX = 28
"""Height of a row's title: its line and a little air above the cells."""

GROUP_GAP_PX = 3 * GAP_PX
"""Between the columns of different weights; those of one stand closer."""
MARGIN_PX = 2 * GAP_PX
WIDTH_PX = 1600
"""Width that a sheet aims at: it fills a screen, and an article shows it without scrolling."""
LEAST_CELL_PX, MOST_CELL_PX = 200, 400
"""A face must be large enough to be judged, and none needs more than the input of most networks shows."""
PAGE_HEIGHT_PX = 6000
"""A page ends before this; about fourteen rows of the largest cells. JPEG and WebP end at 65,535 and 16,383."""


@dataclass(frozen=True, slots=True)
class SheetColumn:
    """One column: the result of one pipeline at one strength.

    Attributes:
        group: number of the pipeline; columns of one pipeline stand under one heading.
        name: the weights, for people.
        strength: share of the restored face, 0 to 1.
        face_size: side of the restored faces, pixels; None where each face has a network of its own.
        licence: what has to be said of the terms, such as ``non-commercial``; empty where nothing has.
    """

    group: int
    name: str
    strength: float
    face_size: int | None
    licence: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SheetCell:
    """One face in one column.

    Attributes:
        picture: (S, S, 3) uint8 RGB, the face in the finished photo; None where the column failed.
        note: why the face was kept, what failed, or which network the face chose; else empty.
        seconds: the network's time for one face; None where it did not run.
    """

    picture: NDArray[np.uint8] | None
    note: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SheetRow:
    """One face.

    Attributes:
        photo: name of its photo, for people.
        facts: what else is said of the face, such as its index.
        before: (S, S, 3) uint8 RGB, the face in the photo as it came.
        cells: one for each column.
    """

    photo: str
    facts: str
    before: NDArray[np.uint8]
    cells: tuple[SheetCell, ...]


def cell_side(columns: int) -> int:
    """Return the side of a cell, pixels, for a sheet of that many columns beside the input."""
    share = (WIDTH_PX - 2 * MARGIN_PX - columns * 2 * GAP_PX) // (columns + 1)
    return min(max(share, LEAST_CELL_PX), MOST_CELL_PX)


def sheet_picture(
    columns: Sequence[SheetColumn], rows: Sequence[SheetRow], *, side_px: int, footer: str = ""
) -> NDArray[np.uint8]:
    """Return one page: headings, the rows, and a line of small print.

    Args:
        columns: left to right, those of one group beside each other.
        rows: from above, at least one; each with a cell for every column.
        side_px: side of a cell.
        footer: small print.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    lefts = _column_lefts(columns, side_px)
    width = lefts[-1] + side_px
    footer_lines = wrapped(footer, _NOTE_PX, width)
    headings = [
        _text_height(names, _HEADING_PX) + _text_height(details, _TEXT_PX)
        for _, _, names, details in _heading_groups(columns, rows, side_px)
    ]
    heading = max(headings) + _line_height(_TEXT_PX) + 2 * GAP_PX
    body = sum(row_height(row, side_px) for row in rows)
    height = heading + body + _text_height(footer_lines, _NOTE_PX)
    page = PillowImage.new("RGB", (width + 2 * MARGIN_PX, height + 2 * MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(page)
    lefts = [MARGIN_PX + left for left in lefts]
    _draw_heading(draw, columns, rows, lefts, bottom=MARGIN_PX + heading, side_px=side_px)
    top = MARGIN_PX + heading
    for row in rows:
        _draw_row(page, draw, row, lefts, top=top, side_px=side_px)
        top += row_height(row, side_px)
    _draw_lines(draw, footer_lines, (MARGIN_PX, top), _NOTE_PX, INK)
    return np.asarray(page)


def row_height(row: SheetRow, side_px: int) -> int:
    """Return the height that a row takes: its title, the cells, the notes below them, and air."""
    notes = [wrapped(cell.note, _NOTE_PX, side_px) for cell in row.cells if cell.picture is not None]
    note_height = max((_text_height(lines, _NOTE_PX) for lines in notes), default=0)
    return _TITLE_PX + side_px + note_height + 2 * GAP_PX


def _column_lefts(columns: Sequence[SheetColumn], side_px: int) -> list[int]:
    """Return where the input and each column begin, the input at 0."""
    lefts, group = [0], -1
    for column in columns:
        gap = GAP_PX if column.group == group else GROUP_GAP_PX
        lefts.append(lefts[-1] + side_px + gap)
        group = column.group
    return lefts


def _heading_groups(
    columns: Sequence[SheetColumn], rows: Sequence[SheetRow], side_px: int
) -> list[tuple[int, int, list[str], list[str]]]:
    """Return first column, number of columns, and the heading's two kinds of lines of each group."""
    groups, start = [], 0
    for _, members in groupby(columns, key=lambda column: column.group):
        group = list(members)
        width = len(group) * side_px + (len(group) - 1) * GAP_PX
        cells = [cell for row in rows for cell in row.cells[start : start + len(group)]]
        details = [
            _heading_details(group[0], [cell.seconds for cell in cells if cell.seconds is not None]),
            group[0].licence,
        ]
        lines = [line for detail in details for line in wrapped(detail, _TEXT_PX, width)]
        groups.append((start, len(group), wrapped(group[0].name, _HEADING_PX, width), lines))
        start += len(group)
    return groups


def _heading_details(column: SheetColumn, seconds: Sequence[float]) -> str:
    """Return what is said below the name of the weights: face size, and mean seconds of the page's faces."""
    size = "face by face" if column.face_size is None else f"{column.face_size} px"
    return f"{size} · {_two_digits(sum(seconds) / len(seconds))} s/face" if seconds else size


def _two_digits(value: float) -> str:
    """Return two digits that count, and never an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _draw_heading(
    draw: ImageDraw.ImageDraw,
    columns: Sequence[SheetColumn],
    rows: Sequence[SheetRow],
    lefts: Sequence[int],
    *,
    bottom: int,
    side_px: int,
) -> None:
    """Draw the names of the weights, a line over the columns of each, and the strengths."""
    strengths_top = bottom - GAP_PX - _line_height(_TEXT_PX)
    rule_y = strengths_top - GAP_PX // 2
    _draw_lines(draw, ["input"], (lefts[0], MARGIN_PX), _HEADING_PX, _HEADING)
    draw.line((lefts[0], rule_y, lefts[0] + side_px, rule_y), fill=_LINE, width=2)
    for start, count, names, details in _heading_groups(columns, rows, side_px):
        left = lefts[1 + start]
        _draw_lines(draw, names, (left, MARGIN_PX), _HEADING_PX, _HEADING)
        below = MARGIN_PX + _text_height(names, _HEADING_PX)
        _draw_lines(draw, details, (left, below), _TEXT_PX, INK)
        draw.line((left, rule_y, lefts[start + count] + side_px, rule_y), fill=_LINE, width=2)
    for column, left in zip(columns, lefts[1:], strict=True):
        _draw_lines(draw, [f"strength {column.strength:g}"], (left, strengths_top), _TEXT_PX, INK)


def _draw_row(
    page: PillowImage.Image,
    draw: ImageDraw.ImageDraw,
    row: SheetRow,
    lefts: Sequence[int],
    *,
    top: int,
    side_px: int,
) -> None:
    """Draw a row's title, its cells, and the notes below them."""
    width = lefts[-1] + side_px - lefts[0]
    _draw_lines(draw, [_row_title(row, width)], (lefts[0], top), _TEXT_PX, _HEADING)
    y = top + _TITLE_PX
    page.paste(PillowImage.fromarray(row.before), (lefts[0], y))
    for cell, left in zip(row.cells, lefts[1:], strict=True):
        if cell.picture is None:
            _draw_failure(draw, cell.note, (left, y), side_px)
            continue
        page.paste(PillowImage.fromarray(cell.picture), (left, y))
        lines = wrapped(cell.note, _NOTE_PX, side_px)
        _draw_lines(draw, lines, (left, y + side_px + GAP_PX // 4), _NOTE_PX, INK)


def _draw_failure(draw: ImageDraw.ImageDraw, note: str, corner: tuple[int, int], side_px: int) -> None:
    """Draw the cell of a column that failed: a frame, the word, and as much of the error as it holds."""
    x, y = corner
    draw.rectangle((x, y, x + side_px - 1, y + side_px - 1), outline=_LINE, width=2)
    _draw_lines(draw, ["failed"], (x + GAP_PX, y + GAP_PX), _HEADING_PX, _WARNING)
    top = y + GAP_PX + _line_height(_HEADING_PX)
    room = max(0, (y + side_px - GAP_PX - top) // _line_height(_NOTE_PX))
    lines = wrapped(note, _NOTE_PX, side_px - 2 * GAP_PX)
    shown = lines if len(lines) <= room else [*lines[: room - 1], "… (the report tells all)"]
    _draw_lines(draw, shown, (x + GAP_PX, top), _NOTE_PX, INK)


def _row_title(row: SheetRow, width: int) -> str:
    """Return a row's title in one line; a long name of a photo loses its middle."""
    name, facts = drawable(row.photo), drawable(row.facts)
    title, kept = f"{name} · {facts}", len(name)
    while font_of(_TEXT_PX).getlength(title) > width and kept > 2:
        kept -= 1
        title = f"{name[: kept // 2]}…{name[len(name) - (kept - kept // 2) :]} · {facts}"
    return title


def _draw_lines(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    corner: tuple[int, int],
    size_px: int,
    colour: tuple[int, int, int],
) -> None:
    for number, line in enumerate(lines):
        place = (corner[0], corner[1] + number * _line_height(size_px))
        draw.text(place, line, fill=colour, font=font_of(size_px))


def _text_height(lines: Sequence[str], size_px: int) -> int:
    return len(lines) * _line_height(size_px)


def _line_height(size_px: int) -> int:
    return round(size_px * _LEADING)

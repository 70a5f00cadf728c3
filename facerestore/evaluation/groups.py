"""Groups of faces by the columns of a manifest: bins of a number such as yaw, or the values of a word."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from facerestore.errors import ConfigError, read_text, refusing
from facerestore.evaluation.cases import CaseFiles

NAME, SET = "name", "set"
"""Columns by which rows are matched to faces; the second may be absent."""

UNKNOWN = "not in the manifest"
BINS = 3
"""Of a number whose edges are not given: as many faces in each."""

MOST_MANIFEST_BYTES = 1 << 28
"""Of a manifest: 256 MB are the rows of two million faces."""

MOST_WORDS = 12
"""A column of more different words makes an unreadable table."""


@dataclass(frozen=True, slots=True)
class GroupWish:
    """A column to group by.

    Attributes:
        column: its name.
        edges: ascending, between the bins; empty for thirds of a number, or the values of a word.
    """

    column: str
    edges: tuple[float, ...] = ()


def parse_group(text: str) -> GroupWish:
    """Return the wish of ``COLUMN`` or ``COLUMN=EDGE,EDGE``.

    Raises:
        ConfigError: an edge is no number, or they do not ascend.
    """
    column, mark, given = text.partition("=")
    try:
        edges = tuple(float(item) for item in given.split(",")) if mark else ()
    except ValueError as error:
        raise ConfigError(f"--group is '{text}'; give COLUMN, or COLUMN=EDGE,EDGE with numbers") from error
    if not column or list(edges) != sorted(set(edges)):
        raise ConfigError(f"--group is '{text}'; give COLUMN, or COLUMN=EDGE,EDGE with ascending numbers")
    return GroupWish(column, edges)


def group_faces(
    files: Sequence[CaseFiles], manifest: Path, wishes: Sequence[GroupWish]
) -> dict[str, dict[str, str]]:
    """Return the groups of each face: its name to column to group; a face without a row is in a group of its own.

    Args:
        files: the faces.
        manifest: a CSV file with a column ``name`` and perhaps ``set``.
        wishes: the columns.

    Raises:
        ConfigError: the manifest cannot be used, has no such column, or no row of it is of a face.
    """
    rows = _rows_of(files, _manifest_rows(manifest, wishes))
    if not rows:
        raise ConfigError(
            f"no row of '{manifest}' is of one of the faces (such as '{files[0].name}'); its column '{NAME}' holds file"
            f" names without suffix, and '{SET}', where there is one, the folder's name"
        )
    groups: dict[str, dict[str, str]] = {each.name: {} for each in files}
    for wish in wishes:
        values = {name: row[wish.column] for name, row in rows.items()}
        labels = _group_labels(wish, values)
        for each in files:
            groups[each.name][wish.column] = labels.get(each.name, UNKNOWN)
    return groups


def _manifest_rows(manifest: Path, wishes: Sequence[GroupWish]) -> list[dict[str, str]]:
    with refusing(lambda why: ConfigError(f"manifest '{manifest}' cannot be read: {why}; give a CSV file")):
        text = read_text(manifest, most_bytes=MOST_MANIFEST_BYTES).removeprefix("\ufeff")
        # A row shorter than the first has empty values, and what is beyond the last column belongs to none.
        rows = [
            {column: value for column, value in row.items() if column is not None}
            for row in csv.DictReader(io.StringIO(text, newline=""), restval="")
        ]
    columns = list(rows[0]) if rows else []
    for column in (NAME, *(wish.column for wish in wishes)):
        if column not in columns:
            known = ", ".join(map(str, columns)) or "none"
            raise ConfigError(f"manifest '{manifest}' has no column '{column}'; its columns are {known}")
    return rows


def _rows_of(files: Sequence[CaseFiles], rows: Sequence[Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Return the row of each face that has one."""
    by_key = {(row.get(SET), row[NAME]): row for row in rows}
    by_name = {row[NAME]: row for row in rows if SET not in row}
    found = {}
    for each in files:
        stem = PurePosixPath(each.name).name
        row = by_key.get((each.set_name, stem)) or by_name.get(stem) or by_name.get(each.name)
        if row is not None:
            found[each.name] = row
    return found


def _group_labels(wish: GroupWish, values: Mapping[str, str]) -> dict[str, str]:
    """Return the group of each face."""
    try:
        numbers = {name: float(value) for name, value in values.items() if value != ""}
    except ValueError:
        return _word_labels(wish, values)
    numbers = {name: number for name, number in numbers.items() if math.isfinite(number)}
    if not numbers:
        return {}
    thirds = np.quantile(list(numbers.values()), [k / BINS for k in range(1, BINS)])
    edges = wish.edges or sorted({float(f"{edge:.3g}") for edge in thirds})
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    names = [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and more"]
    return {
        name: names[int(np.searchsorted(edges, number, side="right"))] for name, number in numbers.items()
    }


def _word_labels(wish: GroupWish, values: Mapping[str, str]) -> dict[str, str]:
    if wish.edges:
        raise ConfigError(f"column '{wish.column}' holds words, and edges are for numbers; leave them out")
    different = len(set(values.values()))
    if different > MOST_WORDS:
        raise ConfigError(
            f"column '{wish.column}' has {different} different words; group by one with {MOST_WORDS} or fewer"
        )
    return dict(values)

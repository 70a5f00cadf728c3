"""Results of preparing faces: a row for each photo, the journal of rows, and the manifest."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from facerestore.errors import ConfigError, ImageError, parse_json_object, refusing
from facerestore.fields import make
from facerestore.io import write_encoded
from facerestore.training.data.screening import REASONS, Measures
from facerestore.training.engine.settings import differing_settings

DROPPED = "dropped"
"""Folder of the small pictures of dropped faces."""


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One face of a photo, as it stands in the manifest.

    Attributes:
        split: ``train`` or ``val``.
        set_name: folder of the photo within the photos.
        name: of the crop's file, without ending.
        reason: why it was dropped, of ``REASONS``; empty for a face that was kept.
        detail: the numbers of that reason.
        photo: path of the photo within the photos.
        index: of the face in the photo, left to right.
        measures: what was measured on it.
    """

    split: str
    set_name: str
    name: str
    reason: str
    detail: str
    photo: str
    index: int
    measures: Measures


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """One photo: its faces, or what went wrong."""

    photo: str
    error: str
    faces: tuple[FaceRow, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """All results.

    Attributes:
        photos: a row for each photo, in order.
        sheet: the picture of dropped faces; None when none was.
    """

    photos: tuple[PhotoRow, ...]
    sheet: Path | None

    @property
    def kept(self) -> list[FaceRow]:
        """The faces for training and validation."""
        return [face for photo in self.photos for face in photo.faces if not face.reason]

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped faces by reason."""
        counts = Counter(face.reason for photo in self.photos for face in photo.faces)
        return {reason: counts[reason] for reason in REASONS if counts[reason]}

    @property
    def failed(self) -> list[PhotoRow]:
        """The photos that failed."""
        return [photo for photo in self.photos if photo.error]


def face_path(out: Path, row: FaceRow) -> Path:
    """Return where a face lies: its crop, or the small picture of one that was dropped."""
    if row.reason:
        return out / DROPPED / row.reason / row.set_name / f"{row.name}.jpg"
    return out / row.split / row.set_name / f"{row.name}.png"


class Journal:
    """One line for each photo that is done; the first line says with which settings.

    Args:
        path: of the journal.
        settings: of the work.

    Raises:
        ConfigError: the journal there is of other settings, or cannot be read.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.done: dict[str, PhotoRow] = {}
        lines = self._whole_lines()
        if lines:
            with self._unreadable():
                before, *after = [parse_json_object(line) for line in lines]
                rows = [make(PhotoRow, row) for row in after]
            found = differing_settings(before, settings)
            different = "; ".join(f"{name.rpartition('.')[2]} was {a} and is {b}" for name, a, b in found)
            if different:
                raise ConfigError(
                    f"'{path.parent}' was prepared with other settings ({different}); give those, or another folder"
                )
            self.done = {row.photo: row for row in rows if not row.error}
        else:
            lines = [json.dumps(settings)]
        # Written anew: without the torn line of a run that was killed, and without photos that failed.
        kept = [lines[0], *(json.dumps(asdict(row)) for row in self.done.values())]
        write_encoded(self._path, ("\n".join(kept) + "\n").encode(), overwrite=True)

    def _whole_lines(self) -> list[str]:
        """Return the whole lines."""
        if not self._path.exists():
            return []
        with self._unreadable():
            text = self._path.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1].splitlines()

    def _unreadable(self) -> AbstractContextManager[None]:
        return refusing(
            lambda why: ConfigError(f"journal '{self._path}' cannot be read ({why}); remove it to begin anew")
        )

    def add(self, row: PhotoRow) -> None:
        """Write a photo down.

        Raises:
            ImageError: the disk is full.
        """
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(row)) + "\n")
        except OSError as error:
            raise ImageError(
                f"{self._path}: cannot be written ({error.strerror}); free some space"
            ) from error
        self.done[row.photo] = row


def write_manifest(path: Path, rows: Sequence[PhotoRow]) -> None:
    """Write a line for each face, and one for each photo without; photos that failed have the reason ``error``."""
    own = [field.name for field in fields(FaceRow) if field.name != "measures"]
    measured = [field.name for field in fields(Measures)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*("set" if name == "set_name" else name for name in own), *measured])
    for photo in rows:
        for face in photo.faces:
            writer.writerow(
                [*(getattr(face, name) for name in own), *(getattr(face.measures, name) for name in measured)]
            )
        if not photo.faces:
            values = {
                "reason": "error" if photo.error else "no face",
                "detail": photo.error,
                "photo": photo.photo,
            }
            writer.writerow([*(values.get(name, "") for name in own), *("" for _ in measured)])
    write_encoded(path, text.getvalue().encode(), overwrite=True)

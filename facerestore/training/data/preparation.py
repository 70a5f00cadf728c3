"""Prepares training faces from a folder of photographs: detects, crops, screens, splits and lists them.

Each photo gets a line in a journal once its faces are on disk, so that interrupted work resumes where it stopped and
gives the same result. A photo that cannot be read gets a line too, and is tried again the next time.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError, FaceRestoreError, WeightsError
from facerestore.fields import option
from facerestore.io import (
    DEFAULT_MAX_PIXELS,
    find_images,
    marked,
    read_encoded,
    read_image,
    write_image,
)
from facerestore.pictures.contact_sheet import Group, Tile, contact_sheet
from facerestore.pipeline.selection import left_to_right
from facerestore.training.data.prepared import FaceRow, Journal, PhotoRow, Prepared, face_path, write_manifest
from facerestore.training.data.screening import REASONS, Screening, Seen, fault, measure, sides_of
from facerestore.training.data.shards import ShardSample, json_part, shard_faces, write_shards
from facerestore.training.engine.settings import resolved
from facerestore.types import DecodedImage, FaceDetector, Metadata

JOURNAL, MANIFEST, SHEET = "prepare.jsonl", "manifest.csv", "dropped.jpg"
TRAIN, VAL = "train", "val"
_OF_SEVERAL = re.compile(r"_face\d+$")
THUMBNAIL_PX = 160
SHOWN_PER_REASON = 32
SHEET_COLUMNS = 8
THUMBNAIL_QUALITY = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How photos become faces.

    Attributes:
        screening: what a face must be like.
        val_share: share of photos whose faces are for validation; chosen by a hash of the name, so that photos that are
            added later move none to the other side.
        max_pixels: photos with more pixels are refused.
    """

    screening: Screening = field(default_factory=Screening)
    val_share: float = option(0.05, least=0, most=1)
    max_pixels: int = option(DEFAULT_MAX_PIXELS, least=1)


@dataclass(frozen=True, slots=True)
class _PhotoSource:
    """A photo: its path within the photos, its set, and the name of its faces."""

    photo: str
    set_name: str
    name: str


class FacePreparation:
    """Cuts the faces out of all photos below a folder.

    ``out/train/SET/NAME.png`` and ``out/val/SET/NAME.png`` are the faces, ``out/manifest.csv`` lists all, and
    ``out/dropped.jpg`` shows those that were dropped, which lie small in ``out/dropped``. What ``out`` holds already
    is not done again.

    Attributes:
        todo: the photos that are left, in order, as paths within the photos.
    """

    def __init__(self, photos: Path, out: Path, detector: FaceDetector, settings: Preparation) -> None:
        """Find what is left to do.

        Args:
            photos: folder of photographs; its subfolders are the sets.
            out: folder of the faces.
            detector: finds faces.
            settings: which are kept, and how they are split.

        Raises:
            ConfigError: there is no photo, or ``out`` was prepared with other settings.
            ImageError: ``out`` cannot be written.
        """
        sides_of(settings.screening)
        self._photos, self._out, self._detector, self._settings = photos, out, detector, settings
        self._photo_sources = {source.photo: source for source in _photo_sources(photos, out)}
        self._journal = Journal(out / JOURNAL, {"detector": detector.name, "settings": resolved(settings)})
        self.todo = [photo for photo in self._photo_sources if photo not in self._journal.done]
        self._seen = Seen(settings.screening.duplicate_bits)
        for row in self._journal.done.values():
            self._remember_kept(row)

    def do(self, photo: str) -> PhotoRow:
        """Process one photo and return its row, which holds any error of the photo.

        Raises:
            ImageError: ``out`` cannot be written.
            WeightsError: the detector's weights are not installed.
        """
        row = self._measured_photo(self._photo_sources[photo])
        self._journal.add(row)
        return row

    def finish(self) -> Prepared:
        """Write the manifest and the sheet of dropped faces, and return the rows of all photos."""
        rows = tuple(
            self._journal.done[photo] for photo in self._photo_sources if photo in self._journal.done
        )
        write_manifest(self._out / MANIFEST, rows)
        return Prepared(rows, _write_sheet(self._out, rows))

    def _measured_photo(self, source: _PhotoSource) -> PhotoRow:
        try:
            image = read_image(self._photos / source.photo, max_pixels=self._settings.max_pixels)
            faces = left_to_right(self._detector.detect(image.pixels))
            measured = [measure(image, face, self._settings.screening) for face in faces]
        except WeightsError:
            raise
        except Exception as error:  # one bad photo does not stop the others
            kind = "" if isinstance(error, FaceRestoreError) else f"{type(error).__name__}: "
            return PhotoRow(source.photo, kind + " ".join(str(error).split()), ())
        split = split_of(source.set_name, source.name, self._settings.val_share)
        rows = []
        for index, (measures, crop) in enumerate(measured):
            reason, detail = fault(measures, self._settings.screening, self._seen)
            name = source.name if len(faces) == 1 else f"{source.name}_face{index}"
            row = FaceRow(split, source.set_name, name, reason, detail, source.photo, index, measures)
            _write_face(self._out, row, crop)
            self._remember_kept(PhotoRow(source.photo, "", (row,)))
            rows.append(row)
        return PhotoRow(source.photo, "", tuple(rows))

    def _remember_kept(self, row: PhotoRow) -> None:
        for face in row.faces:
            if not face.reason:
                self._seen.add(f"{face.set_name}/{face.name}", face.measures.fingerprint)


def _photo_sources(photos: Path, out: Path) -> list[_PhotoSource]:
    """Return the photos in order; no two faces of a set share a name, whatever the case of letters and folders."""
    home = out.resolve()
    found = [path for path in find_images(photos, recursive=True) if not path.resolve().is_relative_to(home)]
    if not found and photos.resolve().is_relative_to(home):
        raise ConfigError(f"the photos '{photos}' lie in the folder of the faces '{out}'; give another OUT")
    if not found:
        raise ConfigError(f"no photo in '{photos}' or its subfolders; give a folder of photographs")
    taken: set[tuple[str, str]] = set()
    sources = []
    for path in found:
        inner = path.relative_to(photos)
        set_name = _safe_name(inner.parts[0]) if len(inner.parts) > 1 else _safe_name(photos.resolve().name)
        stem = _safe_name("_".join([*inner.parts[1:-1], path.stem]))
        if _OF_SEVERAL.search(stem):
            stem += "_"  # not to be taken for a face of another photo
        name, number = stem, 2
        while (set_name.casefold(), name.casefold()) in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add((set_name.casefold(), name.casefold()))
        sources.append(_PhotoSource(inner.as_posix(), set_name, name))
    return sources


def _safe_name(name: str) -> str:
    """Return a name without dots, at which the names in shards end."""
    return unicodedata.normalize("NFC", name).replace(".", "_") or "photos"


def split_of(set_name: str, name: str, val_share: float) -> str:
    """Return ``train`` or ``val`` by a hash of the names."""
    digest = hashlib.sha256(f"{set_name}/{name}".encode()).digest()
    return VAL if int.from_bytes(digest[:8], "big") < val_share * 2**64 else TRAIN


def _write_face(out: Path, row: FaceRow, crop: NDArray[np.uint8]) -> None:
    if row.reason:
        method = cv2.INTER_AREA if crop.shape[0] > THUMBNAIL_PX else cv2.INTER_LINEAR
        crop = np.asarray(
            cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=method), dtype=np.uint8
        )
    quality = THUMBNAIL_QUALITY if row.reason else None
    write_image(face_path(out, row), DecodedImage(crop), quality=quality, overwrite=True)


def _write_sheet(out: Path, rows: Sequence[PhotoRow]) -> Path | None:
    """Write a picture of the dropped faces by reason, some of each, and return its path."""
    groups = []
    for reason in REASONS:
        faces = [face for photo in rows for face in photo.faces if face.reason == reason]
        step = max(1, len(faces) // SHOWN_PER_REASON)
        shown = faces[::step][:SHOWN_PER_REASON]
        tiles = [
            Tile(read_image(face_path(out, face)).pixels.astype(np.uint8), f"{face.detail}\n{face.photo}")
            for face in shown
        ]
        if tiles:
            several = f", {len(shown)} of them" if len(shown) < len(faces) else ""
            groups.append(Group(f"{reason}: {len(faces)}{several}", tiles))
    if not groups:
        (out / SHEET).unlink(missing_ok=True)
        return None
    page = contact_sheet(groups, columns=SHEET_COLUMNS, tile_px=THUMBNAIL_PX)
    return write_image(out / SHEET, DecodedImage(page, metadata=marked(Metadata(), "sheet")), overwrite=True)


def pack_faces(out: Path, prepared: Prepared, *, max_bytes: int) -> Iterator[Path]:
    """Move the kept faces into tar shards below ``out/train`` and ``out/val``, and yield each shard that is complete.

    The loose pictures are removed once their shard is on disk; if interrupted, the same call resumes.

    Raises:
        ImageError: the disk is full.
    """
    for split in (TRAIN, VAL):
        for shard in sorted((out / split).glob("*.tar")):
            _forget_loose(shard)
        loose = [face for face in prepared.kept if face.split == split and face_path(out, face).exists()]
        for shard in write_shards(
            (_shard_sample(out, face) for face in loose), out / split, max_bytes=max_bytes
        ):
            _forget_loose(shard)
            yield shard


def _forget_loose(shard: Path) -> None:
    """Remove the pictures that a shard beside them holds, and folders that are empty then."""
    faces = shard_faces(shard)
    for face in faces:
        (shard.parent / face.set_name / f"{face.name}.png").unlink(missing_ok=True)
    for folder in {shard.parent / face.set_name for face in faces}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _shard_sample(out: Path, face: FaceRow) -> ShardSample:
    values = {**asdict(face), **asdict(face.measures)}
    values.pop("measures")
    parts = {"png": read_encoded(face_path(out, face)), "json": json_part(values)}
    return ShardSample(face.set_name, face.name, parts)


__all__ = ["FacePreparation", "FaceRow", "PhotoRow", "Preparation", "Prepared", "pack_faces", "split_of"]

"""The pages of a gallery, out of the records of a run: an index of all photos, and what is said of each by the hundred.

A browser shows them from disk: data are scripts that hand JSON over, since a page from disk may not fetch. Whatever
comes from files is JSON in ASCII and percent-encoded in addresses, and ``gallery.js`` sets it as text only.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote

from facerestore.errors import ConfigError, count, no_face
from facerestore.io import write_encoded
from facerestore.pictures.gallery.thumbnails import MOST_FACES, is_changed, picture_key, picture_path
from facerestore.pictures.result import done_words
from facerestore.types import Effect

Record: TypeAlias = Mapping[str, Any]
"""What became of a photo, as ``facerestore.batch.report.photo_report`` gives it."""

PAGE = 100
"""Photos on a page and in a file of data; ``gallery.js`` has the same number."""

MARK = 'content="facerestore gallery"'
"""Stands in the page: a folder whose ``index.html`` has it may be written to again."""

_DATA = re.compile(r"data-[0-9a-f]{12}")
_DATA_FILE = re.compile(r"(index|photos-\d{5,})\.js")


def check_gallery(folder: Path) -> None:
    """Make sure that a gallery can go into a folder, before any work is done for it.

    Raises:
        ConfigError: it is a file, or holds a page that is none of ours.
    """
    page = folder / "index.html"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"the gallery's folder '{folder}' is a file; give another with --html")
    if os.path.lexists(page) and not (page.is_file() and MARK.encode() in page.read_bytes()[:4096]):
        raise ConfigError(f"'{page}' is no gallery of facerestore; give another folder with --html")


def write_gallery(folder: Path, records: Iterable[Record], *, summary: str, done: str = "restored") -> Path:
    """Write the pages of a gallery in place of older ones, and return the one to open.

    The photos that were changed most come first. Each file is written whole, and the page last, so that a browser sees
    the older gallery or the new one. Small pictures are those that ``write_thumbnails`` has left in the folder.

    Args:
        folder: of the gallery.
        records: of the photos; each is let go when the next is asked for.
        summary: one line on all of them.
        done: the word for what was done with faces, where no change was measured.

    Raises:
        ImageError: a file cannot be written.
    """
    ordered = sorted((_card(folder, record, done) for record in records), key=attrgetter("rank"))
    rows = ",".join(card.row for card in ordered)
    scripts = {"index.js": f"facerestoreGallery.index([{rows}]);\n"}
    for number, start in enumerate(range(0, len(ordered), PAGE)):
        details = ",".join(card.details for card in ordered[start : start + PAGE])
        scripts[f"photos-{number:05d}.js"] = f"facerestoreGallery.photos({number}, [{details}]);\n"
    digest = hashlib.blake2b("".join(scripts.values()).encode(), digest_size=6).hexdigest()
    data = f"data-{digest}"
    for name, text in scripts.items():
        _write(folder / data / name, text)
    for name in ("gallery.css", "gallery.js"):
        _write(folder / name, _packaged(name))
    words = {"title": count(len(ordered), "photo"), "summary": summary, "data": data}
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: html.escape(words[found[1]]), _packaged("index.html"))
    _write(folder / "index.html", page)
    _remove_older(folder, data)
    return folder / "index.html"


class _Card(NamedTuple):
    """What is said of a photo, ready to be written."""

    rank: tuple[int, float]
    row: str
    details: str


def _card(folder: Path, record: Record, done: str) -> _Card:
    row, details = _row(folder, record, done), _details(folder, record, done)
    return _Card(_rank(record), _json(row), _json(details))


def _rank(record: Record) -> tuple[int, float]:
    """Return where a photo stands: changed ones first, the most changed at the front, then what failed, then others."""
    if record["status"] == "failed":
        return 1, 0.0
    if record["status"] != "done":
        return 4, 0.0
    if record.get("restored"):
        return 0, -(_change(record) or 0.0)
    return (2 if record.get("found") else 3), 0.0


def _change(record: Record) -> float | None:
    """Return by how many levels the most changed face of a photo was changed; None where nothing was measured."""
    return max((c for face in record.get("faces", []) if (c := face.get("change")) is not None), default=None)


def _row(folder: Path, record: Record, done: str) -> dict[str, Any]:
    """Return what the card of a photo, the filters and the search need of it."""
    source, effects = Path(record["input"]), record.get("effects", {})
    key = _key(folder, record)
    measured = sum(effects.values())
    return {
        "name": _text(source.name),
        "folder": _text(source.parent) if source.parent != Path() else "",
        "status": record["status"],
        "error": record["error"],
        "found": record.get("found", 0),
        "effects": [effects.get(effect.value, 0) for effect in Effect],
        "done": record.get("restored", 0) - measured,
        "word": done,
        "kept": sum(record.get("kept", {}).values()),
        "change": _change(record),
        "key": key,
        "photo": None if key else _address(folder, record["input"]),
        "changed": "size" in record and is_changed(record),
    }


def _key(folder: Path, record: Record, page: int | None = None) -> str | None:
    """Return what a photo's small pictures are called, those of its first page where it has several; None for none."""
    if page is None and "pages" in record:
        page = 1
    key = picture_key(record["input"], page)
    return key if picture_path(folder, key, "before").exists() else None


def _details(folder: Path, record: Record, done: str) -> dict[str, Any]:
    """Return what is shown of a photo when it is opened."""
    output = record["output"]
    return {
        "input": _address(folder, record["input"]),
        "output": None if output is None else _address(folder, output),
        "size": record.get("result_size", [0, 0]),
        "words": _words(record, done),
        "notes": [*record.get("notes", []), *([record["advice"]] if record.get("advice") else [])],
        "faces": _faces(folder, record, done),
    }


def _words(record: Record, done: str) -> str:
    """Return a line on a photo: faces, sizes, seconds."""
    if record["status"] != "done":
        others = {
            "skipped": "skipped, since its result exists",
            "left": "left to another run, which has begun it",
        }
        return record["error"] or others[record["status"]]
    found, kept = record["found"], sum(record["kept"].values())
    faces = f"{count(found, 'face')}, {done_words(record['restored'], record['effects'], done)}, {kept} kept"
    sizes = [f"{width} x {height} px" for width, height in (record["size"], record["result_size"])]
    words = [faces if found else no_face(record.get("search")), " → ".join(dict.fromkeys(sizes))]
    return " · ".join([*words, f"{record['seconds']:.1f} s"])


def _faces(folder: Path, record: Record, done: str) -> list[dict[str, Any]]:
    """Return what is said of each face of a photo, and where its small pictures are."""
    faces, columns = [], dict[int | None, int]()
    pages = {face.get("page") for face in record.get("faces", [])}
    keys = {page: _key(folder, record, page) for page in pages}
    for face in record.get("faces", []):
        page = face.get("page")
        column = columns[page] = columns.get(page, -1) + 1
        key = keys[page] if column < MOST_FACES else None
        faces.append(
            {
                "title": f"Face {face['index']}" + ("" if page is None else f" on page {page}"),
                "code": face.get("effect") or face["decision"],
                "words": _face_words(face, done),
                "reason": face["reason"],
                "lines": _face_lines(face),
                "centre": _centre(face["box"], record["size"]),
                "key": key,
                "column": column,
                "pair": face["decision"] != "kept",
            }
        )
    return faces


def _face_words(face: Record, done: str) -> str:
    if face["decision"] == "kept":
        return "kept"
    if face.get("effect") is None:
        return done
    return f"{Effect(face['effect']).words}, changed by {face['change']:.1f} levels of 255"


def _face_lines(face: Record) -> list[str]:
    """Return by which network a face was restored and how strongly, and how large and sure it is."""
    by = []
    if face["decision"] != "kept":
        network = face.get("weights") or face.get("backend")
        why = f": {face['why']}" if face.get("why") else ""
        by = [f"by {network} at strength {face['strength']:g}{why}"]
    return [*by, f"eyes {face['eye_distance_px']:.0f} px apart; the detector's score is {face['score']:.2f}"]


def _centre(box: Sequence[float], size: Sequence[int]) -> list[float]:
    """Return the middle of a box as shares of the photo's width and height."""
    return [round(min(max((box[axis] + box[axis + 2]) / 2 / size[axis], 0.0), 1.0), 4) for axis in (0, 1)]


def _address(folder: Path, path: str) -> str | None:
    """Return the address of a file for the page; None for standard input and output."""
    if path == "-":
        return None
    place = Path(os.path.abspath(path))  # noqa: PTH100 - a link stays the name that was given
    try:
        relative = os.path.relpath(_real(place.parent), _real(folder))
    except ValueError:  # another drive of Windows
        return place.as_uri()
    return quote(os.fsencode(Path(relative, place.name).as_posix()))


@lru_cache(maxsize=256)
def _real(folder: Path) -> str:
    """Return where a folder lies, links resolved; asked for each photo of it."""
    return os.path.realpath(folder)


def _text(path: str | Path) -> str:
    """Return a path as text that every browser can show: bytes that are no UTF-8 become question marks in diamonds."""
    return os.fsencode(path).decode("utf-8", "replace")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _packaged(name: str) -> str:
    return files("facerestore.pictures.gallery").joinpath(name).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    write_encoded(path, text.encode(), overwrite=True)


def _remove_older(folder: Path, data: str) -> None:
    """Remove the data of older pages; what else lies in such a folder stays, and so does the folder then."""
    for place in folder.glob("data-*"):
        if place.name == data or not _DATA.fullmatch(place.name):
            continue
        with suppress(OSError):
            for file in place.iterdir():
                if _DATA_FILE.fullmatch(file.name):
                    file.unlink()
            place.rmdir()

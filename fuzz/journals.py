"""Target ``journal``: what a run keeps beside its results, as a damaged file and as rows of wrong values."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facerestore.batch import Asked, Journal, PhotoJob, PhotoOutcome, Status
from facerestore.batch.journal_file import FILE
from facerestore.batch.selecting import known_results
from facerestore.errors import FaceRestoreError, ImageError
from facerestore.pipeline.parts import PipelineFacts
from facerestore.training.data.prepared import Journal as PreparedJournal
from fuzz.kinds import Kind, in_folder, lines, of_file, packed

_SETTINGS = {"restore": {"strength": 0.5}}
_REPORT = {
    "facerestore": "1", "size": [8, 8], "result_size": [8, 8], "task": "restore", "damage": None, "notes": [],
    "backend": "x", "official": False, "face_size": 64, "weights": asdict(PipelineFacts()), "detector": None,
    "parser": None, "mask": "x",
    "region": "x", "background": None, "fidelity": None, "detail": None, "upscale": 1.0, "strength": 1.0, "found": 0,
    "restored": 0, "kept": {}, "effects": {}, "absent_indices": [], "stage_seconds": {}, "faces": [], "search": None,
    "advice": None,
}  # fmt: skip
_TABLES = ("settings", "runs", "photos")

_FACE = {
    "split": "train", "set_name": "a", "name": "0", "reason": "", "detail": "", "photo": "a.jpg", "index": 0,
    "measures": {
        "side_px": 64, "resolved_px": 60.0, "eye_distance_px": 20.0, "turn": 0.1, "outside": 0.0, "blur_px": 1.0,
        "noise": 2.0, "blockiness": 1.0, "fingerprint": "0" * 64,
    },
}  # fmt: skip


def journal() -> tuple[Kind, ...]:
    """Return the file of a journal, its rows, and the journal of preparing faces."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = _photos(Path(folder))
        _work(Path(folder), jobs)
        data = (Path(folder) / "out" / FILE).read_bytes()
        with closing(sqlite3.connect(Path(folder) / "out" / FILE)) as base:
            rows = {table: list(_rows(base, table)) for table in _TABLES}
    prepared = lines({"size": 64}, {"photo": "a.jpg", "error": "", "faces": [_FACE]})
    return (
        Kind("file", (data,), in_folder(lambda folder: folder / "out" / FILE, _open)),
        Kind("rows", (packed(rows),), _read_rows, "json"),
        Kind("prepared", (prepared,), of_file(lambda path: PreparedJournal(path, {"size": 64}), "j.jsonl"), "lines"),
    )  # fmt: skip


def _photos(folder: Path) -> list[PhotoJob]:
    """Return three photos with files, of which two have results."""
    names = ("a", "b", "c")
    (folder / "out").mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.png").write_bytes(name.encode())
    for name in names[:2]:
        (folder / "out" / f"{name}.png").write_bytes(name.encode())
    return [
        PhotoJob(folder / f"{name}.png", folder / "out" / f"{name}.png", Path(f"out/{name}"))
        for name in names
    ]


def _work(folder: Path, jobs: list[PhotoJob]) -> None:
    """Do as a run does: look, claim, and write down the first photo."""
    base = Journal(folder / "out", Asked(settings=_SETTINGS))
    try:
        base.begin()
        for job in base.look(jobs).to_do:
            base.claim(job)
        base.writing(jobs[0], b"a", report=_REPORT, parts=[b"a"])
        base.settle(PhotoOutcome(jobs[0], Status.DONE, 0.5, report=_REPORT))
        base.settle(PhotoOutcome(jobs[1], Status.FAILED, 0.5, error=ImageError("b.png: damaged")))
        base.look(jobs)
        base.records(jobs)
        base.complete()
    finally:
        base.close()


def _open(folder: Path) -> None:
    jobs = _photos(folder)
    with contextlib.suppress(FaceRestoreError):
        known_results()(jobs[0].target)
    _work(folder, jobs)


def _rows(base: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, bytes as texts."""
    found = base.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in found.description]
    for row in found:
        yield {n: v.decode() if isinstance(v, bytes) else v for n, v in zip(names, row, strict=True)}


def _read_rows(data: bytes) -> None:
    """Put the values of a JSON text into the tables of a right journal, and go on with it."""
    try:
        tables = json.loads(data)
    except (ValueError, RecursionError):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Journal(_made(folder), Asked(settings=_SETTINGS)).close()
        with closing(sqlite3.connect(folder / "out" / FILE)) as base:
            for table in _TABLES:
                _fill(base, table, tables.get(table) if isinstance(tables, dict) else None)
            base.commit()
        _open(folder)


def _made(folder: Path) -> Path:
    (folder / "out").mkdir()
    return folder / "out"


def _fill(base: sqlite3.Connection, table: str, rows: object) -> None:
    for row in rows if isinstance(rows, list) else ():
        values = row if isinstance(row, dict) else {}
        names = [column[1] for column in base.execute(f"PRAGMA table_info({table})") if column[1] in values]
        held = [_held(name, values[name]) for name in names]
        marks = ", ".join("?" * len(names))
        with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
            base.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", held)


def _held(name: str, value: Any) -> Any:
    """Return a value as SQLite can hold it."""
    if name in ("name", "source") and isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if value.isascii() else "replace")
    return json.dumps(value) if isinstance(value, dict | list) else value

"""The file of a journal: its tables, and how it is opened by several processes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

VERSION = 1
"""Of the tables, as SQLite's ``user_version``."""

BUSY_S = 60.0
"""How long is waited for another process that writes; each takes milliseconds."""

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY, facts TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings, begun REAL NOT NULL, seen REAL NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS photos (
    name BLOB PRIMARY KEY, source BLOB NOT NULL, state TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs, settings INTEGER NOT NULL REFERENCES settings,
    input_size INTEGER, input_mtime_ns INTEGER, input_sha256 TEXT, output_size INTEGER, output_sha256 TEXT,
    seconds REAL, written TEXT, report TEXT, error TEXT
);
"""

ROWS = (
    "SELECT name, state, run, photos.settings, input_size, input_mtime_ns, input_sha256, output_size, output_sha256,"
    " host, pid, seen, complete FROM photos JOIN runs ON runs.id = run"
)
"""What is asked of photos, with the run that has each."""


def opened(path: Path) -> sqlite3.Connection:
    """Return a journal's file, made where there is none.

    Raises:
        sqlite3.Error: it is damaged, of a later version, or cannot be written.
    """
    base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        base.row_factory = sqlite3.Row
        base.execute("PRAGMA journal_mode = WAL")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise sqlite3.DatabaseError(f"a later facerestore has made it, with tables of version {version}")
        if version < VERSION:
            base.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
    except BaseException:
        base.close()
        raise
    return base

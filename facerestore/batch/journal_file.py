"""The file of a journal: its tables, and how it is opened by several processes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from facerestore.errors import JournalError, MalformedError, why

FILE = ".facerestore-journal"
"""In the folder of results; hidden, so that no search for photos counts it."""

VERSION = 1
"""Of the tables, as SQLite's ``user_version``."""

NETWORKS = "networks"
"""Among the settings of a run: those that it takes."""

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

_WRONG_VALUES = (ValueError, TypeError, LookupError, OverflowError, RecursionError)
"""What values raise that a journal has where none of ours stands: SQLite's columns hold any type."""


def opened(path: Path) -> sqlite3.Connection:
    """Return a journal's file, made where there is none.

    Raises:
        sqlite3.Error: it is damaged, of a later version, or cannot be written.
    """
    base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        base.row_factory = sqlite3.Row
        _write_ahead(base)
        base.execute("PRAGMA synchronous = NORMAL")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise sqlite3.DatabaseError(f"a later facerestore has made it, with tables of version {version}")
        if version < VERSION:
            base.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
        check_tables(base)
    except BaseException:
        base.close()
        raise
    return base


def _write_ahead(base: sqlite3.Connection) -> None:
    """Have a journal write ahead; SQLite itself does not wait where others switch a new file at the same time."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            base.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def check_tables(base: sqlite3.Connection) -> None:
    """Raise DatabaseError where a file's tables are not those of a journal: views and triggers may work without end."""
    if _tables(base) != _own_tables():
        raise sqlite3.DatabaseError("its tables are not those of a journal")


def checked_texts(found: object) -> list[str]:
    """Return a list of texts that was read as JSON.

    Raises:
        MalformedError: it is something else.
    """
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise MalformedError("what should be names is something else")
    return found


def _tables(base: sqlite3.Connection) -> frozenset[str]:
    """Return what the tables, and all else that a file defines, are made by."""
    made = base.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return frozenset(" ".join(str(sql).split()) for (sql,) in made)


@cache
def _own_tables() -> frozenset[str]:
    with closing(sqlite3.connect(":memory:")) as base:
        base.executescript(_TABLES)
        return _tables(base)


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say of a folder's journal into an error of ours.

    Raises:
        JournalError: the file is damaged, of a later version, or cannot be written.
    """
    path = folder / FILE
    try:
        yield
    except (sqlite3.DatabaseError, *_WRONG_VALUES) as error:
        words = str(error) if isinstance(error, sqlite3.Error) else why(error)
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
            raise JournalError(
                f"the journal '{path}' cannot be written ({words}); make room or see to the folder's permissions,"
                " and run the same again: it goes on where it was; or give --no-journal"
            ) from error
        raise JournalError(
            f"the journal '{path}' is damaged ({words}); remove it, and give --skip-existing to go on by the"
            " names of the results, or --overwrite to make them anew"
        ) from error
    except OSError as error:
        raise JournalError(
            f"'{path}' cannot be made ({why(error)}); choose another folder with -o"
        ) from error

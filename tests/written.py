"""What a run has written: the names and bytes of its files, and the rows of its journal."""

import sqlite3
from pathlib import Path

from facerestore.batch.journal_file import FILE


def names(folder):
    """Return the files below a folder, by their paths in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents(folder):
    """Return name to bytes of the files in a folder, without the hidden ones."""
    return {path.name: path.read_bytes() for path in Path(folder).glob("[!.]*")}


def rows(folder, columns="name, state"):
    """Return what the journal of a folder has in these columns, a row for each photo."""
    base = sqlite3.connect(Path(folder, FILE))
    try:
        return list(base.execute(f"SELECT {columns} FROM photos ORDER BY name"))
    finally:
        base.close()


def facts(folder):
    """Return all that the journal of a folder tells of each photo but when, and in which run, it was done."""
    told = "input_size, input_mtime_ns, input_sha256, output_size, output_sha256, written, error"
    return rows(folder, f"name, source, state, {told}")

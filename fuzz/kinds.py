"""One kind of file from outside: right examples of it, and what reads it as the program does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerestore.weights.catalog import load_catalog

SHA256 = "0" * 64
CATALOG = load_catalog()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file.

    Attributes:
        name: of the kind, such as ``exif.jpeg``.
        examples: right ones.
        read: reads one; may raise nothing but a FaceRestoreError.
        form: ``json``, ``lines`` (of JSON) or ``toml`` where the examples are such texts; empty for other bytes.
    """

    name: str
    examples: tuple[bytes, ...]
    read: Callable[[bytes], object]
    form: str = ""


def of_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], None]:
    """Return what reads bytes with a function of paths, as a file of this name in the folder for temporary files."""

    def run(data: bytes) -> None:
        path = Path(tempfile.gettempdir()) / name
        path.unlink(missing_ok=True)  # what is mapped into memory still is another file
        path.write_bytes(data)
        read(path)

    return run


def in_folder(place: Callable[[Path], Path], read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return what reads bytes as a file at its place within a new folder, which the reader is given and may fill."""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = place(Path(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            read(Path(folder))

    return run


def packed(value: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value).encode()


def lines(*values: Any) -> bytes:
    """Return values as JSON, one a line."""
    return b"".join(packed(value) + b"\n" for value in values)

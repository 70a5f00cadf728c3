"""Small records beside the weights: pinned hashes, and stamps that spare hashing a file at every start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facerestore.errors import MalformedError, WeightsError, refusing
from facerestore.fields import make
from facerestore.weights.files import read_json, write_json

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pin:
    """A hash that was taken from the first copy of a file, because nobody has published one.

    Attributes:
        sha256: lower-case hex.
        origin: the URL or the path of that copy.
        pinned_at: ISO 8601, UTC.
    """

    sha256: str
    origin: str
    pinned_at: str


def pin_path(home: Path, name: str) -> Path:
    """Return where the pin of a catalog name is kept: one file each, so that processes never overwrite each other's."""
    return home / "pins" / f"{name}.json"


def read_pin(home: Path, name: str) -> Pin | None:
    """Return the pin of a catalog name, or None.

    Raises:
        WeightsError: the record is damaged.
    """
    path = pin_path(home, name)
    record = read_json(path)
    with refusing(lambda why: WeightsError(f"the record {path} is damaged ({why}); delete it and try again")):
        return _checked_pin(record) if record is not None else None


def _checked_pin(record: Mapping[str, Any]) -> Pin:
    """Return the pin of a record; raises ValueError where it is none."""
    pin = make(Pin, record)
    if not _is_sha256(pin.sha256):
        raise MalformedError(f"its sha256 is {pin.sha256!r}"[:200])
    return pin


def write_pin(home: Path, name: str, *, sha256: str, origin: str) -> None:
    """Pin a hash now.

    Raises:
        WeightsError: the home cannot be written.
    """
    pin = Pin(sha256, origin, datetime.now(UTC).isoformat(timespec="seconds"))
    write_json(pin_path(home, name), asdict(pin))


def explain(name: str, pin: Pin | None) -> str:
    """Return where an expected hash comes from, and what to do if the publisher has changed the file."""
    if pin is None:
        return "the hash of the catalog"
    return (
        f"pinned at the first copy, {pin.pinned_at}, from {pin.origin}; if the publisher has replaced the file and "
        f"you trust the new one, run 'facerestore weights remove {name} --forget-pin' and download again"
    )


def stamp_path(path: Path) -> Path:
    """Return the record that says which hash a file had when it was last read whole."""
    return path.with_name(path.name + ".verified.json")


def stamp(path: Path, sha256: str) -> None:
    """Remember the hash of a file for as long as its size and time of change stay.

    Raises:
        WeightsError: the folder cannot be written.
    """
    if stamped_sha256(path) != sha256:
        write_json(stamp_path(path), {"sha256": sha256, **_file_identity(path)})


def stamped_sha256(path: Path) -> str | None:
    """Return the remembered hash of a file, or None if there is none or the file has changed since."""
    record = _current_stamp(path)
    if record is None:
        return None
    if not _is_sha256(record.get("sha256")):
        raise WeightsError(
            f"the record {stamp_path(path)} is damaged (it holds no sha256); delete it and try again"
        )
    return str(record["sha256"])


def stamped_use(path: Path) -> str | None:
    """Return what a file was found to be fit for, as `stamp_use` wrote it; None if nothing is known of it as it is."""
    use = (_current_stamp(path) or {}).get("use")
    return use if isinstance(use, str) else None


def stamp_use(path: Path, use: str) -> None:
    """Remember beside the hash of a file what it was found to be fit for; nothing where no hash is remembered.

    Raises:
        WeightsError: the folder cannot be written.
    """
    if (record := _current_stamp(path)) is not None:
        write_json(stamp_path(path), {**record, "use": use})


def _current_stamp(path: Path) -> dict[str, Any] | None:
    """Return the record of a file; None if there is none, or the file has changed since.

    Raises:
        WeightsError: the record is damaged.
    """
    record, identity = read_json(stamp_path(path)), _file_identity(path)
    if record is None or {key: record.get(key) for key in identity} != identity:
        return None
    return record


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _file_identity(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}

"""Small records beside the weights: pinned hashes, and stamps that spare hashing a file at every start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from facerestore.errors import WeightsError
from facerestore.weights.files import read_json, write_json


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
    try:
        return Pin(**record) if record is not None else None
    except TypeError as error:
        raise WeightsError(f"the record {path} is damaged ({error}); delete it and try again") from error


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
        write_json(stamp_path(path), {"sha256": sha256, **_identity(path)})


def stamped_sha256(path: Path) -> str | None:
    """Return the remembered hash of a file, or None if there is none or the file has changed since."""
    record = read_json(stamp_path(path))
    if record is None or {key: record.get(key) for key in ("size_bytes", "mtime_ns")} != _identity(path):
        return None
    return str(record["sha256"])


def _identity(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}

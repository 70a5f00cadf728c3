"""Weights that somebody names: by their name in the catalog, or as a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from facerestore.config import TASKS
from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facerestore.weights.catalog import WeightsEntry
    from facerestore.weights.store import WeightsStore

PassedOver: TypeAlias = tuple[tuple[str, str], ...]
"""Installed weights that an automatic choice does not take: catalog name, and why, with the remedy."""

SUFFIXES = frozenset({".pth", ".pt", ".safetensors"})
"""Endings of files that hold networks."""


class ChosenWeights(NamedTuple):
    """Weights that are to be used: the file, its backend's name where known, and what reports say of it.

    A backend that needs no weights has no ``path``, and its own name as ``name``.
    """

    path: Path | None
    backend: str | None
    name: str
    sha256: str | None
    bundled: bool
    commercial_use: str | None


class Sound(NamedTuple):
    """The first of some weights that can be used, and those before it that cannot: name and fault."""

    entry: WeightsEntry | None
    passed_over: PassedOver


def first_sound(entries: Iterable[WeightsEntry], store: WeightsStore) -> Sound:
    """Return the first of installed weights whose file is what it must be; no network is loaded.

    An automatic choice takes it: weights that nobody asked for by name are no reason to fail.
    """
    passed_over: list[tuple[str, str]] = []
    for entry in entries:
        fault = store.fault(entry.name)
        if fault is None:
            return Sound(entry, tuple(passed_over))
        passed_over.append((entry.name, fault))
    return Sound(None, tuple(passed_over))


def looks_like_path(weights: str) -> bool:
    """Say whether ``weights`` is the path of a file rather than a catalog name."""
    path = Path(weights)
    return len(path.parts) > 1 or path.suffix in SUFFIXES or path.is_file()


def installed_weights(name: str, store: WeightsStore, *, purpose: str) -> ChosenWeights:
    """Return installed weights of the catalog.

    Args:
        name: theirs in the catalog.
        store: where they are looked for; nothing is downloaded.
        purpose: what they are to be used for.

    Raises:
        WeightsError: no weights have that name, or they are not installed, or corrupt.
        ConfigError: they are for another purpose.
    """
    check_purpose(name, store, purpose=purpose)
    entry, path = store.entry(name), store.require(name)
    pin = store.pin(name) if entry.sha256 is None else None
    sha256 = entry.sha256 if pin is None else pin.sha256
    return ChosenWeights(path, entry.backend, name, sha256, entry.bundled, entry.commercial_use)


def check_purpose(name: str, store: WeightsStore, *, purpose: str) -> None:
    """Make sure that weights of the catalog are for ``purpose``; installed or not.

    Raises:
        WeightsError: no weights have that name.
        ConfigError: they are for another purpose.
    """
    found = store.entry(name).purpose
    if found == purpose:
        return
    own = TASKS.get(found) if purpose in TASKS else None
    command = f"weights list --purpose {purpose}" if own is None else own.command
    remedy = f"{'see' if own is None else 'give them to'} 'facerestore {command}'"
    raise ConfigError(f"weights '{name}' are for the purpose '{found}', not '{purpose}'; {remedy}")

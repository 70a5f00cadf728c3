"""Which weights are installed for a purpose, and what reports say of those that are chosen.

No network is loaded, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from facerestore.config import TASKS
from facerestore.detection import DETECTORS
from facerestore.errors import ConfigError, WeightsError
from facerestore.parsing import LandmarkParser
from facerestore.weights.mixing import Base, Mix
from facerestore.weights.weights_file import WeightsFile, WeightsSource, look_at, looks_like_path

if TYPE_CHECKING:
    from facerestore.backends.exported import NetworkRecord
    from facerestore.weights import WeightsEntry, WeightsStore

AUTO, NONE, LANDMARKS = "auto", "none", LandmarkParser.name
"""What may be given in the place of a name: the best that is here, nothing, and the parser that needs no network."""

PARSE, DETECT, BACKGROUND, IDENTITY = "parse", "detect", "background", "identity"
DAMAGE, EYES = "damage", "eyes"
"""Purposes of weights beside those of `facerestore.types.TASKS`."""

PassedOver: TypeAlias = tuple[tuple[str, str], ...]
"""Installed weights that an automatic choice does not take: catalog name, and why, with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWeights:
    """What serves a purpose, and what reports say of it.

    Attributes:
        name: of the catalog, the path of a file, or of what needs no file: a backend, a detector, ``landmarks``;
            `NONE` where nothing is to be used.
        backend: the kind of network; None where the keys of the file tell.
        source: the file, looked into already where it is somebody's own; None for what needs none.
        sha256: of the file; None where nobody has stated one.
        bundled: they came with the program.
        commercial_use: ``yes``, ``no`` or ``unclear``; None where nobody says.
        mix: what the network is mixed with; None where it is taken as it is.
        base: what the network refines; None where it refines nothing.
        record: what an exported network says of itself; None for all others.
        identities: of an identity network, the likenesses that were measured here; None where the guard has its own.
        passed_over: what ``auto`` would have taken before these.
    """

    name: str = NONE
    backend: str | None = None
    source: WeightsSource | None = None
    sha256: str | None = None
    bundled: bool = False
    commercial_use: str | None = None
    mix: Mix | None = None
    base: ChosenWeights | None = None
    record: NetworkRecord | None = None
    identities: tuple[float, ...] | None = None
    passed_over: PassedOver = ()

    @property
    def path(self) -> Path | None:
        """Where the file lies."""
        return self.source.path if isinstance(self.source, WeightsFile) else self.source

    @property
    def refined(self) -> Base | None:
        """What the network refines, as a file and what that is mixed with."""
        if self.base is None or self.base.source is None:
            return None
        return Base(self.base.source, self.base.mix)


def ranked(
    purpose: str,
    store: WeightsStore,
    *,
    backends: Collection[str] | None = None,
    preferred: str | None = None,
) -> list[WeightsEntry]:
    """Return the installed weights of a purpose, those first that ``auto`` takes; what the files hold is not looked at.

    Args:
        purpose: as `choose` takes it.
        store: where weights are looked for.
        backends: only these; by default all.
        preferred: catalog name that comes first where it is installed.
    """
    found = store.ranked(purpose, backends=backends)
    if purpose == DETECT:  # the catalog has some that no detector of ours reads
        found = [entry for entry in found if entry.name in DETECTORS.values()]
    if preferred and preferred in store.catalog.entries and store.locate(preferred) is not None:
        first = store.entry(preferred)
        found = [first, *(entry for entry in found if entry != first)]
    return found


def best(
    purpose: str,
    store: WeightsStore,
    *,
    backends: Collection[str] | None = None,
    preferred: str | None = None,
) -> ChosenWeights:
    """Return the first of `ranked` whose file is what it must be; `NONE` where there is none to be used.

    Weights that nobody asked for by name are no reason to fail: those that cannot be used are passed over.
    """
    passed_over: list[tuple[str, str]] = []
    for entry in ranked(purpose, store, backends=backends, preferred=preferred):
        fault = store.fault(entry.name)
        if fault is None:
            found = installed_weights(entry.name, store, purpose=purpose)
            return replace(found, passed_over=tuple(passed_over))
        passed_over.append((entry.name, fault))
    return ChosenWeights(passed_over=tuple(passed_over))


def installed_weights(name: str, store: WeightsStore, *, purpose: str) -> ChosenWeights:
    """Return installed weights of the catalog.

    Args:
        name: theirs in the catalog.
        store: where they are looked for.
        purpose: what they are to be used for.

    Raises:
        WeightsError: no weights have that name, or they are not installed, or corrupt.
        ConfigError: they are for another purpose.
    """
    entry = store.entry(name)
    if entry.purpose != purpose:
        own = TASKS.get(entry.purpose) if purpose in TASKS else None
        remedy = (
            f"see 'facerestore weights list --purpose {purpose}'"
            if own is None
            else f"give them to 'facerestore {own.command}'"
        )
        raise ConfigError(
            f"weights '{name}' are for the purpose '{entry.purpose}', not '{purpose}'; {remedy}"
        )
    path = store.require(name)
    pin = store.pin(name) if entry.sha256 is None else None
    return ChosenWeights(
        name=name,
        backend=entry.backend,
        source=path,
        sha256=entry.sha256 if pin is None else pin.sha256,
        bundled=entry.bundled,
        commercial_use=entry.commercial_use,
    )


_LISTED = "or a name of 'facerestore weights list'"
_ABSENT = {
    PARSE: ("parser file", f"a path, 'auto', 'none', 'landmarks', {_LISTED}"),
    BACKGROUND: ("the background's weights file", f"a path, {_LISTED} whose purpose is background"),
}


def named_weights(name: str, store: WeightsStore, purpose: str) -> ChosenWeights:
    """Return the weights of a catalog name or of a file, which is looked into now.

    Raises:
        WeightsError: they are not installed, or corrupt, or the file does not exist or cannot be read.
        ConfigError: they are for another purpose.
    """
    if not looks_like_path(name):
        return installed_weights(name, store, purpose=purpose)
    path = Path(name).expanduser()
    if not path.is_file():
        what, instead = _ABSENT.get(purpose, ("weights file", f"a path, {_LISTED}"))
        raise WeightsError(f"{what} '{path}' does not exist; give {instead}")
    try:
        file = look_at(path, hashed=True)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error}") from error
    entry = store.catalog.copied(file.sha256)
    use = None if entry is None else entry.commercial_use
    return ChosenWeights(name=str(path), source=file, sha256=file.sha256, commercial_use=use)

"""How alike a face must be to its input by an identity network: tables measured on this machine, beside the weights.

Those of dlib's network come with the program (`facerestore.pipeline.guard.LIMITS`). ArcFace's published weights were
not to be had where they were fitted, so the guard takes ArcFace where ``facerestore evaluate limits`` has measured it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from facerestore.errors import MalformedError, WeightsError, refusing
from facerestore.fields import make
from facerestore.pipeline.guard import LIMITS
from facerestore.quality.identity import ARCFACE, DLIB
from facerestore.weights.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from facerestore.weights import WeightsStore


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityLimits:
    """What degradation alone leaves of likeness, by an identity network.

    Attributes:
        sha256: of the network's weights.
        least: likeness to the degraded picture that 95% of the originals have, for each of `guard.LIMITS`, -1 to 1.
        faces: degraded pictures in each of them.
        folder: of the originals.
        protocol: how they were degraded.
    """

    sha256: str
    least: tuple[float, ...]
    faces: tuple[int, ...]
    folder: str
    protocol: str


def limits_path(store: WeightsStore, name: str) -> Path:
    """Return where the table of a network is kept, by the name of its weights."""
    return store.home / "guard" / f"{name}.json"


def write_limits(store: WeightsStore, name: str, limits: IdentityLimits) -> None:
    """Keep a table.

    Raises:
        WeightsError: the home cannot be written.
    """
    write_json(limits_path(store, name), asdict(limits))


def read_limits(store: WeightsStore, name: str) -> IdentityLimits | None:
    """Return the table of a network; None where there is none for the weights that are installed.

    Raises:
        WeightsError: the record is damaged.
    """
    path = limits_path(store, name)
    record = read_json(path)
    if record is None:
        return None
    with refusing(lambda why: WeightsError(f"the record {path} is damaged ({why}); delete it and try again")):
        found = make(IdentityLimits, record)
        if len(found.least) != len(LIMITS):
            raise MalformedError(f"{len(found.least)} limits, not {len(LIMITS)}")
    return found if found.sha256 == installed_sha256(store, name) else None


def installed_sha256(store: WeightsStore, name: str) -> str | None:
    """Return the hash that installed weights must have: the catalog's, or the one pinned at their arrival."""
    pin = store.pin(name)
    return store.entry(name).sha256 or (None if pin is None else pin.sha256)


def measured_backends(store: WeightsStore) -> set[str]:
    """Return the backends of identity networks that the guard can take: they can be run, and their limits are known.

    Raises:
        WeightsError: the record of a network's limits is damaged.
    """
    found = {DLIB}
    if find_spec("torch") is not None:
        names = [entry.name for entry in store.ranked("identity", backends={ARCFACE})]
        found |= {ARCFACE} if any(read_limits(store, name) for name in names) else set()
    return found

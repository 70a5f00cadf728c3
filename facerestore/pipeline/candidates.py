"""Which restorers are here for a face to choose from, and which are passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facerestore.backends import backend_class, backend_names
from facerestore.config import RESTORE
from facerestore.errors import FaceRestoreError
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import AUTO, PARSE, PassedOver
from facerestore.pipeline.routing import GENERATIVE, Candidate, contenders, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facerestore.config import RestoreConfig
    from facerestore.weights import WeightsEntry, WeightsStore


@dataclass(frozen=True, slots=True)
class Available:
    """What the automatic choice has to choose from.

    Attributes:
        candidates: the networks that could serve some face, in the order of preference.
        passed_over: those that could if what they lack were here, or their files could be used.
    """

    candidates: tuple[Candidate, ...]
    passed_over: PassedOver = ()

    @property
    def words(self) -> str:
        """One line for people: what the automatic choice would take now."""
        chosen = f"auto takes {summary(self.candidates)}" if self.candidates else "auto has nothing to take"
        return "; ".join([chosen, *(f"passes over {name}: {lack}" for name, lack in self.passed_over)])


def chooses_by_face(config: RestoreConfig) -> bool:
    """Say whether each face is to have a network of its own choice: nothing is named that only one network has."""
    named = config.backend != AUTO or config.weights is not None
    return not (named or config.official or config.fidelity is not None)


def available(
    config: RestoreConfig, store: WeightsStore, *, without: Mapping[str, str] | None = None
) -> Available:
    """Return the restorers that may be chosen face by face; no network is loaded.

    These are the installed weights of the catalog that have a rank and are not set aside there. One that lacks a
    Python package, or a parser that it cannot do without, is passed over.

    Args:
        config: may name a parser.
        store: where weights are looked for; whether files are there, not what they hold.
        without: weights that are not taken, and why.
    """
    without = without or {}
    known = frozenset(backend_names())
    entries = sorted(
        (e for e in store.installed() if _takes_part(e) and e.backend in known), key=lambda e: e.choice_order
    )
    entries = _as_detailed(entries, config.detail)
    lacks = {
        e.name: lack
        for e in entries
        if e.name not in without and (lack := _lack(e, config, store)) is not None
    }
    every = [_candidate(e) for e in entries]
    wanting = tuple((c.name, lacks[c.name]) for c in contenders(every) if c.name in lacks)
    return Available(
        candidates=contenders([c for c in every if c.name not in lacks and c.name not in without]),
        passed_over=(*without.items(), *wanting),
    )


def usable(config: RestoreConfig, store: WeightsStore) -> Available:
    """Return the restorers that may be chosen face by face and whose files are what they must be; none is loaded.

    The files are looked at before the first face, so that none meets a broken one midway. Which network is taken
    decides what a face looks like: that one is passed over is for whoever asks to tell.
    """
    found = available(config, store)
    faults: dict[str, str] = {}
    while broken := {c.name: fault for c in found.candidates if (fault := store.fault(c.name)) is not None}:
        # Without it, others may serve faces that it was before.
        faults |= {
            name: f"{fault}; or run 'facerestore weights remove {name}' to go on without it"
            for name, fault in broken.items()
        }
        found = available(config, store, without=faults)
    return found


def _as_detailed(entries: list[WeightsEntry], detail: float | None) -> list[WeightsEntry]:
    """Return those that serve the detail that is asked for: all where none is, since then each face has its own."""
    if detail is None:
        return entries
    if detail == 0:
        return [entry for entry in entries if entry.detail_of is None]
    bases = {entry.detail_of for entry in entries}
    return [entry for entry in entries if entry.name not in bases]


def _takes_part(entry: WeightsEntry) -> bool:
    return (
        entry.purpose == RESTORE.purpose
        and entry.auto
        and entry.quality_rank is not None
        and entry.face_size is not None
    )


def _candidate(entry: WeightsEntry) -> Candidate:
    return Candidate(
        name=entry.name,
        backend=entry.backend,
        face_size=entry.face_size or 0,
        character=entry.character or GENERATIVE,
        bundled=entry.bundled,
        commercial_use=entry.commercial_use,
    )


def _lack(entry: WeightsEntry, config: RestoreConfig, store: WeightsStore) -> str | None:
    """Return what keeps weights from being used, with the remedy; None where nothing does."""
    descriptor = backend_class(entry.backend).descriptor
    if missing := descriptor.missing_modules():
        return (
            f"it needs the Python package {', '.join(missing)}; see 'facerestore weights info {entry.name}'"
        )
    if descriptor.needs_parsing:
        try:
            choose(PARSE, config, store, needed_by=f"backend '{entry.backend}'")
        except FaceRestoreError as error:
            return str(error)
    return None

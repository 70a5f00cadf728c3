"""Which installed weights restore faces: those that are named, or those that the automatic choice may take."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.backends import backend_class, backend_names, backend_sources, needs_weights
from facerestore.backends.exported import choose_exported, refuse_exported
from facerestore.config import RESTORE
from facerestore.errors import ConfigError, FaceRestoreError, WeightsError
from facerestore.parsing import choose_parser
from facerestore.pipeline.routing import GENERATIVE, Candidate, contenders, summary
from facerestore.weights.choosing import ChosenWeights, PassedOver, installed_weights, looks_like_path
from facerestore.weights.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facerestore.config import RestoreConfig, Task
    from facerestore.weights import WeightsEntry, WeightsStore

AUTO = "auto"


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
    found = backend_class(entry.backend)
    missing = [module for module in getattr(found, "requires", ()) if find_spec(module) is None]
    if missing:
        return (
            f"it needs the Python package {', '.join(missing)}; see 'facerestore weights info {entry.name}'"
        )
    if getattr(found, "needs_parsing", False) is True:
        try:
            choose_parser(config, store, needed_by=f"backend '{entry.backend}'")
        except FaceRestoreError as error:
            return str(error)
    return None


def choose_weights(config: RestoreConfig, store: WeightsStore, task: Task = RESTORE) -> ChosenWeights:
    """Return the restorer's weights that ``config`` asks for.

    Args:
        config: the backend and the weights, both perhaps left open.
        store: where weights are looked for.
        task: what they are for; a file of a path is taken for any task.

    Raises:
        WeightsError: they are not installed, or corrupt.
        ConfigError: the backend is unknown or takes no weights, or the weights are of another one or for another task.
        BackendError: the backend is another package's, and broken.
    """
    if (exported := choose_exported(config.backend, config.weights)) is not None:
        return exported
    if config.backend not in (AUTO, *(source.name for source in backend_sources())):
        raise ConfigError(
            f"unknown backend '{config.backend}'; choose {AUTO} or one of {', '.join(backend_names())}"
        )
    if config.backend != AUTO and not needs_weights(config.backend):
        return _without_weights(config)
    if config.weights is None:
        return installed_weights(_best(config.backend, store, task), store, purpose=task.purpose)
    if looks_like_path(config.weights):
        return _from_file(Path(config.weights).expanduser(), config.backend)
    chosen = installed_weights(config.weights, store, purpose=task.purpose)
    if config.backend not in (AUTO, chosen.backend):
        raise ConfigError(
            f"weights '{chosen.name}' are for backend '{chosen.backend}', not '{config.backend}'; leave out one of both"
        )
    return chosen


def _best(backend: str, store: WeightsStore, task: Task) -> str:
    """Return the catalog name of the best installed weights for a task, of one backend or of any."""
    backends = set(backend_names()) if backend == AUTO else {backend}
    entry = store.best(task.purpose, backends=backends)
    if entry is not None:
        return entry.name
    if backend in store.catalog.unpublished:
        raise WeightsError(store.catalog.unpublished[backend])
    raise WeightsError(no_weights(backend, store, task))


def no_weights(backend: str, store: WeightsStore, task: Task) -> str:
    """Return the message that no weights for a task are here, with the command that fetches some."""
    entries = sorted(store.catalog.of(task.purpose), key=lambda entry: entry.advice_order)
    known = [e.name for e in entries if backend in (AUTO, e.backend) and store.fetchable(e.name)]
    remedy = f"run 'facerestore weights download {known[0]}'" if known else "give a file with --weights"
    wanted = "for any backend" if backend == AUTO else f"for backend '{backend}'"
    wanted += "" if task == RESTORE else f" to {task.verb} faces"
    return f"no weights {wanted} are installed; {remedy}"


def _without_weights(config: RestoreConfig) -> ChosenWeights:
    """Return the choice of a backend that needs no weights."""
    if config.weights is not None:
        raise ConfigError(f"backend '{config.backend}' takes no weights; leave out '{config.weights}'")
    return ChosenWeights(None, config.backend, config.backend, None, False, None)


def _from_file(path: Path, backend: str) -> ChosenWeights:
    refuse_exported(path)
    if not path.is_file():
        raise WeightsError(
            f"weights file '{path}' does not exist; give a path, or a name of 'facerestore weights list'"
        )
    return ChosenWeights(path, None if backend == AUTO else backend, str(path), sha256_of(path), False, None)

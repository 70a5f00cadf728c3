"""Which network is exported, and what its weights' catalog entry or header says of the terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore import __version__
from facerestore.archs.convolution import published_forms
from facerestore.backends import backend_class, needs_weights
from facerestore.backends.base import TensorRestorer
from facerestore.backends.calling import with_fidelity
from facerestore.backends.exported import NetworkRecord, exported_file
from facerestore.backends.exported.record import RANDOM, UNSTATED
from facerestore.config import RESTORE, TASKS, RestoreConfig, Task
from facerestore.engines.graph import TORCH
from facerestore.errors import ConfigError
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import ChosenWeights
from facerestore.pipeline.load import load_restorer
from facerestore.testing.subject import open_example
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import read_metadata
from facerestore.weights.own import PERMISSIVE

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be exported.

    Attributes:
        name: of a backend, or of weights in the catalog.
        weights: catalog name or file; None for the best that are installed.
        random: take a small network with random weights instead.
        fidelity: for backends that have such a weight; it becomes part of the graph.
    """

    name: str
    weights: str | None = None
    random: bool = False
    fidelity: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ExportSubject:
    """A network that is to be exported.

    Attributes:
        published: a restorer of the network as it was trained, from which the graph is made.
        shipped: one of the same weights in the form that `restore` uses, with which the graph is compared.
        record: what the exported file will say of itself.
    """

    published: TensorRestorer
    shipped: TensorRestorer
    record: NetworkRecord


def open_export(wanted: Wanted, store: WeightsStore | None = None) -> ExportSubject:
    """Return the network that is asked for, loaded on the CPU in both forms.

    Raises:
        WeightsError: its weights are unknown, not installed or corrupt.
        ConfigError: no backend or weights have that name, or such a network cannot be exported.
    """
    if wanted.random:
        return _random(wanted)
    store = store if store is not None else WeightsStore(offline=True)
    chosen, task = _choose(wanted, store)
    with published_forms():
        published = _checked(load_restorer(chosen, task=task, provider=TORCH), wanted)
    shipped = _checked(load_restorer(chosen, task=task, provider=TORCH), wanted)
    record = replace(_record(shipped), purpose=task.purpose, weights=chosen.name, **_terms(chosen, store))
    return ExportSubject(published, shipped, record)


def label_of(wanted: Wanted, store: WeightsStore) -> str:
    """Return how a file is called that nobody has named, without its ending: after the weights.

    Raises:
        FaceRestoreError: as `open_export`, as far as that can be told without loading the network.
    """
    if wanted.random:
        backend_class(wanted.name)  # tells an unknown one
        return f"{wanted.name}-random"
    chosen, _ = _choose(wanted, store)
    return chosen.name if str(chosen.path) != chosen.name else Path(chosen.name).stem


def _random(wanted: Wanted) -> ExportSubject:
    if wanted.weights is not None:
        raise ConfigError(f"random weights were asked for and '{wanted.weights}' too; give one of both")
    with published_forms():
        published = _checked(open_example(wanted.name, device="cpu").restorer, wanted)
    shipped = _checked(open_example(wanted.name, device="cpu").restorer, wanted)
    record = replace(_record(shipped), weights=RANDOM, licence="CC0-1.0", commercial_use="yes", source="none")
    return ExportSubject(published, shipped, record)


def _choose(wanted: Wanted, store: WeightsStore) -> tuple[ChosenWeights, Task]:
    """Return the weights that are meant, and the task that they are for."""
    if exported_file(wanted.name) is not None:
        raise ConfigError(
            f"'{wanted.name}' is exported already; name the backend or the weights that it came from"
        )
    entry = store.catalog.entries.get(wanted.name)
    if entry is not None and wanted.weights is not None:
        raise ConfigError(f"'{wanted.name}' are weights, and '{wanted.weights}' too; give one of both")
    name = wanted.weights if entry is None else wanted.name
    named = store.catalog.entries.get(name or "")
    task = RESTORE if named is None else TASKS.get(named.purpose)
    if task is None:
        raise ConfigError(
            f"weights '{name}' are for the purpose '{named and named.purpose}'; only networks that give"
            " faces are exported"
        )
    backend = wanted.name if entry is None else entry.backend
    if not needs_weights(backend):
        raise ConfigError(f"backend '{backend}' has no network of its own that could be exported")
    return choose(task.purpose, RestoreConfig(backend=backend, weights=name), store), task


def _checked(restorer: Restorer, wanted: Wanted) -> TensorRestorer:
    """Return a restorer that holds one torch network, with the fidelity that is wanted.

    Raises:
        ConfigError: it is another kind of restorer.
    """
    if wanted.fidelity is not None:
        restorer = with_fidelity(restorer, wanted.fidelity)
    if not isinstance(restorer, TensorRestorer):
        raise ConfigError(
            f"backend '{restorer.name}' is not made of one torch network (facerestore.backends.base.TensorRestorer), so"
            " there is nothing to export"
        )
    return restorer


def _record(restorer: TensorRestorer) -> NetworkRecord:
    """Return what the restorer itself tells."""
    return NetworkRecord(
        face_size=restorer.face_size,
        value_range=restorer.network_range,
        input_size=restorer.input_size,
        needs_parsing=restorer.needs_parsing,
        backend=restorer.name,
        paper=restorer.descriptor.paper or UNSTATED,
        fidelity=restorer.descriptor.fidelity,
        exporter=f"facerestore {__version__}",
    )


def _terms(chosen: ChosenWeights, store: WeightsStore) -> dict[str, Any]:
    """Return licence, origin and hash of the weights, as the catalog or their own header states them."""
    entry = store.catalog.entries.get(chosen.name)
    if entry is not None:
        return {
            "weights_sha256": chosen.sha256,
            "licence": entry.licence,
            "commercial_use": entry.commercial_use,
            "source": entry.source,
            "training_data": entry.training_data,
        }
    path = chosen.path
    header = read_metadata(path) if path is not None and path.suffix == ".safetensors" else {}
    licence = header.get("licence", UNSTATED)
    return {
        "weights_sha256": chosen.sha256,
        "licence": licence,
        "commercial_use": "yes" if licence in PERMISSIVE else "unclear",
        "training_data": header.get("data", UNSTATED),
        "source": header.get("source", UNSTATED),
    }

"""What is known of a backend: where it comes from, what it needs, its weights, and the size of its networks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from facerestore.backends import EXTENSIONS, backend_sources
from facerestore.backends.base import TensorRestorer
from facerestore.backends.calling import adapter_errors
from facerestore.backends.restorer import Descriptor, Restorer, has_own
from facerestore.config import TASKS
from facerestore.errors import BackendError, ConfigError, FaceRestoreError
from facerestore.extensions import Extension

if TYPE_CHECKING:
    from facerestore.weights import WeightsEntry, WeightsStore


@dataclass(frozen=True, slots=True)
class BackendWeights:
    """One weights file that the catalog has for a backend.

    Attributes:
        name: catalog name.
        purpose: what it is for, such as ``restore``.
        state: ``bundled``, ``installed`` or ``not installed``.
        face_size: side of its faces, pixels; None where it takes any.
        licence: id of its licence.
        commercial_use: ``yes``, ``no`` or ``unclear``.
        downloadable: the catalog has an address; else it is imported by hand.
    """

    name: str
    purpose: str
    state: str
    face_size: int | None
    licence: str
    commercial_use: str
    downloadable: bool

    @property
    def here(self) -> bool:
        """Whether the file is on this machine."""
        return self.state != "not installed"


@dataclass(frozen=True, slots=True)
class BackendSummary:
    """A backend in one paragraph.

    Attributes:
        name: what ``--backend`` calls it.
        package: the package that brings it, with its version; ``facerestore`` for our own.
        location: ``module:Class``.
        problem: why it cannot be used at all; None where it can.
        descriptor: what it says of itself; of one that cannot be used its name alone.
        face_sizes: sides of the faces that it gives, as far as known without loading it, pixels.
        missing: Python modules that it needs and that are not installed.
        weights: its entries in the catalog that do a task; discriminators, which only training takes, are left out.
        unpublished: what the catalog says of a backend that has none; else empty.
    """

    name: str
    package: str
    location: str
    problem: str | None
    descriptor: Descriptor
    face_sizes: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    weights: tuple[BackendWeights, ...] = ()
    unpublished: str = ""


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """A network at one published size, as counted.

    Attributes:
        face_size: side of its output, pixels.
        input_size: side of its input, pixels.
        parameters: how many numbers are trained.
        gflops: billions of operations for one face, two for a multiply-add, as torch's counter has it; many papers
            count multiply-adds, half as many.
    """

    face_size: int
    input_size: int
    parameters: int
    gflops: float


@dataclass(frozen=True, slots=True)
class BackendDetails:
    """All that is known of a backend.

    Attributes:
        summary: the same in one paragraph.
        sizes: its network at each published size.
        has_example: ``backends check --random`` can try it without weights.
        options: options of ``enhance`` that mean something for this backend alone.
    """

    summary: BackendSummary
    sizes: tuple[NetworkSize, ...]
    has_example: bool
    options: tuple[str, ...]


def summarise_backends(store: WeightsStore) -> list[BackendSummary]:
    """Return every backend that is installed, our own first; a broken one has its problem stated."""
    return [_summarise(source, store) for source in backend_sources()]


def describe_backend(name: str, store: WeightsStore) -> BackendDetails:
    """Return all that is known of a backend; its networks are built without parameters to be counted.

    Raises:
        ConfigError: no backend has this name.
        BackendError: it cannot be used; the message says why.
    """
    sources = {source.name: source for source in reversed(backend_sources())}
    if name not in sources:
        raise ConfigError(f"unknown backend '{name}'; 'facerestore backends list' shows all")
    summary = _summarise(sources[name], store)
    if summary.problem is not None:
        raise BackendError(summary.problem)
    found = EXTENSIONS.import_one(sources[name])
    return BackendDetails(
        summary=summary,
        sizes=count_sizes(found) if not summary.missing else (),
        has_example=has_example(found),
        options=_options(found.descriptor),
    )


def has_example(found: type[Restorer]) -> bool:
    """Say whether a backend offers a small network with random weights."""
    return has_own(found, "example_state_dict")


def count_sizes(found: type[Restorer]) -> tuple[NetworkSize, ...]:
    """Return parameters and operations of the published networks of a backend, counted on the meta device."""
    with adapter_errors(f"the networks of backend '{found.descriptor.name}' cannot be counted"):
        return tuple(_count(each) for each in found.published() if isinstance(each, TensorRestorer))


def _count(restorer: TensorRestorer) -> NetworkSize:
    """Return the size of one network, which may hold shapes alone."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    side = restorer.input_size
    maps = [np.zeros((side, side), np.uint8)] if restorer.needs_parsing else None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        restorer.forward(torch.empty(1, 3, side, side, device=restorer.device), maps)
    parameters = sum(parameter.numel() for parameter in restorer.network.parameters())
    return NetworkSize(restorer.face_size, side, parameters, counter.get_total_flops() / 1e9)


def _summarise(source: Extension, store: WeightsStore) -> BackendSummary:
    if source.problem is not None:
        return _unusable(source, source.problem)
    try:
        found = EXTENSIONS.import_one(source)
    except FaceRestoreError as error:
        return _unusable(source, str(error))
    entries = [entry for entry in store.catalog.entries.values() if entry.purpose in TASKS]
    weights = tuple(_weights(entry, store) for entry in entries if entry.backend == source.name)
    return BackendSummary(
        name=source.name,
        package=source.package,
        location=source.location,
        problem=None,
        descriptor=replace(found.descriptor, summary=found.descriptor.summary or _first_line(found)),
        face_sizes=_face_sizes(found.descriptor, weights),
        missing=found.descriptor.missing_modules(),
        weights=weights,
        unpublished=store.catalog.unpublished.get(source.name, ""),
    )


def _unusable(source: Extension, problem: str) -> BackendSummary:
    return BackendSummary(source.name, source.package, source.location, problem, Descriptor(name=source.name))


def _weights(entry: WeightsEntry, store: WeightsStore) -> BackendWeights:
    here = "bundled" if entry.bundled else "installed"
    return BackendWeights(
        name=entry.name,
        purpose=entry.purpose,
        state="not installed" if store.locate(entry.name) is None else here,
        face_size=entry.face_size,
        licence=entry.licence,
        commercial_use=entry.commercial_use,
        downloadable=bool(entry.urls),
    )


def _face_sizes(descriptor: Descriptor, weights: tuple[BackendWeights, ...]) -> tuple[int, ...]:
    """Return the sizes that the catalog has, else the one that the class has."""
    own = (descriptor.face_size,) if descriptor.face_size else ()
    return tuple(sorted({w.face_size for w in weights if w.face_size is not None})) or own


def _first_line(found: type) -> str:
    return inspect.cleandoc(found.__doc__ or "").partition("\n")[0].rstrip(".")


def _options(descriptor: Descriptor) -> tuple[str, ...]:
    """Return the options of enhance that not every backend has."""
    applies = {
        "--weights": descriptor.needs_weights,
        "--parser": descriptor.needs_parsing,
        "--fidelity": descriptor.fidelity is not None,
        "--save-stages": descriptor.has_stages,
    }
    return tuple(option for option, own in applies.items() if own)

"""Which restorer is checked when a backend is named: with the weights of ``enhance``, or with random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facerestore.backends import backend_class, needs_weights
from facerestore.backends.calling import adapter_errors
from facerestore.backends.description import has_example
from facerestore.backends.exported import ExportedRestorer, exported_file
from facerestore.config import RESTORE, RestoreConfig
from facerestore.engines.device import resolve_device
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.pipeline.choose import choose
from facerestore.pipeline.load import load_restorer

if TYPE_CHECKING:
    from facerestore.backends.restorer import Restorer
    from facerestore.weights import WeightsStore


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A restorer that is to be checked.

    Attributes:
        restorer: it.
        label: what it is made of: weights by name or path, or that they are random, or none.
        device: where it runs.
        random_weights: its network is not trained.
    """

    restorer: Restorer
    label: str
    device: str
    random_weights: bool


def open_subject(config: RestoreConfig, store: WeightsStore) -> Subject:
    """Return the restorer that ``enhance`` would use for this backend, weights and device.

    Raises:
        WeightsError: no weights are installed, or they are corrupt or of another network.
        ConfigError: the backend or the device is unknown.
        BackendError: the backend is broken.
    """
    device = resolve_device(config.device)
    try:
        chosen = choose(RESTORE.purpose, config, store)
    except CheckpointError:
        raise
    except WeightsError as error:
        exported = exported_file(config.backend) is not None
        if not exported and config.weights is None and has_example(backend_class(config.backend)):
            raise WeightsError(f"{error}; or try the adapter with random weights: --random") from error
        raise
    restorer = load_restorer(chosen, device=device, provider=config.provider, threads=config.threads)
    label = "no weights needed" if chosen.path is None else chosen.name
    if not isinstance(restorer, ExportedRestorer):
        return Subject(restorer, label, str(device), random_weights=False)
    return Subject(restorer, restorer.record.origin, restorer.place, random_weights=restorer.record.is_random)


def open_example(name: str, *, device: str = "auto") -> Subject:
    """Return a small network of a backend with random weights, made from a state dict as a real one is.

    Raises:
        ConfigError: the backend or the device is unknown, or the backend offers no example.
        BackendError: the backend is broken.
    """
    found, where = backend_class(name), resolve_device(device)
    if not needs_weights(name):
        raise ConfigError(f"backend '{name}' needs no weights; leave out --random")
    if not has_example(found):
        raise ConfigError(
            f"backend '{name}' offers no network with random weights; give weights with --weights"
        )
    return Subject(_build(found, where), "random weights", str(where), random_weights=True)


def _build(found: type, device: str) -> Restorer:
    with adapter_errors(f"the example of backend '{found.__name__}' cannot be made"):
        restorer: Restorer = found.build(found.example_state_dict(), device=device)  # type: ignore[attr-defined]
    return restorer

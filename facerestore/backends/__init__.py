"""Restoration backends behind one protocol.

A backend is two files: the network in `facerestore.archs`, and here an adapter derived from
`facerestore.backends.base.TensorRestorer`. Adapters are named in a table and imported when they are asked
for. Other packages add theirs through the entry point group ``facerestore.backends``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.checkpoint import load_state_dict
from facerestore.errors import BackendError, CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch

    from facerestore.backends.base import TensorRestorer
    from facerestore.types import Restorer

BACKENDS: Mapping[str, str] = {
    "gpen": "facerestore.backends.gpen:GPENRestorer",
    "lite": "facerestore.backends.lite:LiteRestorer",
}
"""Name of each backend that comes with facerestore, and where its class is."""

ENTRY_POINT_GROUP = "facerestore.backends"

# How many keys of an unknown state dict a message shows: enough to recognise the network by.
KEYS_SHOWN = 5


def backend_names() -> list[str]:
    """Return the names of all backends, our own first."""
    return list(_table())


def backend_class(name: str) -> type[TensorRestorer]:
    """Return the class of a backend, imported now.

    Raises:
        ConfigError: no backend has this name.
        BackendError: the backend's module cannot be imported.
    """
    table = _table()
    if name not in table:
        raise ConfigError(f"unknown backend '{name}'; choose one of {', '.join(table)}")
    return _import(name, table[name])


def identify(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the name of the one backend that these parameters belong to.

    Raises:
        CheckpointError: no backend claims them, or several do.
    """
    table = _table()
    claims = [name for name, location in table.items() if _import(name, location).detect(state_dict)]
    if len(claims) == 1:
        return claims[0]
    first = ", ".join(f"'{key}'" for key in list(state_dict)[:KEYS_SHOWN])
    verdict = f"backends {' and '.join(claims)} both claim" if claims else "no backend recognises"
    raise CheckpointError(
        f"{verdict} these {len(state_dict)} keys ({first}, ...); name the backend if you know it, one of"
        f" {', '.join(table)}"
    )


def load_backend(path: Path, *, name: str | None = None, device: torch.device | str = "cpu") -> Restorer:
    """Return a restorer with the parameters of a weights file.

    Args:
        path: safetensors or PyTorch file; read without running code.
        name: the backend; None recognises it by the file's keys.
        device: where the network runs.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of no known network, or does not fit.
        ConfigError: no backend is called ``name``.
    """
    state_dict = load_state_dict(path)
    try:
        chosen = backend_class(identify(state_dict) if name is None else name)
        if not chosen.detect(state_dict):
            raise CheckpointError(
                f"its keys are not those of backend '{name}'; leave the backend out to detect it"
            )
        return chosen.build(state_dict, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}': {error}") from error


def _table() -> dict[str, str]:
    """Return all backends: name -> "module:Class".

    Raises:
        ConfigError: an installed package gives a backend the name of another.
    """
    table = dict(BACKENDS)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if table.setdefault(point.name, point.value) != point.value:
            raise ConfigError(
                f"'{point.value}' and '{table[point.name]}' both are a backend '{point.name}'; uninstall one package"
            )
    return table


def _import(name: str, location: str) -> type[TensorRestorer]:
    module_name, _, class_name = location.partition(":")
    try:
        found: type[TensorRestorer] = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"backend '{name}' ({location}) cannot be imported: {error}; reinstall the package it comes from"
        ) from error
    return found

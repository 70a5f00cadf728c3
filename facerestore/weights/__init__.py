"""Weights: which files exist, on what terms, and where they lie on this machine.

Importing this package costs nothing: the names below are resolved when they are first used (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facerestore.weights.catalog import Catalog, Licence, WeightsEntry, load_catalog, parse_catalog
    from facerestore.weights.checks import Verdict
    from facerestore.weights.files import default_home
    from facerestore.weights.store import WeightsStore
    from facerestore.weights.transfer import DownloadProgress, TransferPolicy

_HOMES = {
    "Catalog": "catalog",
    "Licence": "catalog",
    "WeightsEntry": "catalog",
    "load_catalog": "catalog",
    "parse_catalog": "catalog",
    "DownloadProgress": "transfer",
    "TransferPolicy": "transfer",
    "Verdict": "checks",
    "WeightsStore": "store",
    "default_home": "files",
}

__all__ = [
    "Catalog",
    "DownloadProgress",
    "Licence",
    "TransferPolicy",
    "Verdict",
    "WeightsEntry",
    "WeightsStore",
    "default_home",
    "load_catalog",
    "parse_catalog",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds ``name``, when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

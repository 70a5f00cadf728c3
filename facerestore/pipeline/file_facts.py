"""What a file of weights says of itself, and what its tensors tell where it says nothing; no network is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facerestore.backends import identify
from facerestore.errors import CheckpointError, WeightsError
from facerestore.weights import WeightsEntry, WeightsStore
from facerestore.weights.checkpoint import load_state_dict
from facerestore.weights.mixing import DETAIL_OF, REFINES
from facerestore.weights.own import stated
from facerestore.weights.weights_file import WeightsFile, look_at

FIELDS = (
    "purpose",
    "backend",
    "face_size",
    DETAIL_OF,
    REFINES,
    "licence",
    "commercial_use",
    "training_data",
    "source",
)
"""Of a catalog entry, that a file may say of itself; a header has the same names for them."""


def file_facts(path: Path, store: WeightsStore) -> dict[str, Any]:
    """Return what is known of a file of weights, ready for JSON, in the order in which people want it.

    Args:
        path: the file; installed or not.
        store: whose catalog knows published files by their hash.

    Raises:
        WeightsError: the file is not there, or cannot be read.
        CheckpointError: it is damaged, holds no network, or objects other than tensors; nothing in it is run.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights file '{path}' does not exist; give a path, or a name of 'facerestore weights list'"
        )
    try:
        file = look_at(path, hashed=True)
    except OSError as error:
        raise WeightsError(f"weights file '{path}' cannot be read: {error}") from error
    known = next((e for e in store.catalog.entries.values() if e.sha256 == file.sha256), None)
    return {
        "name": None if known is None else known.name,
        **(_told(file) if known is None else _fields(known)),
        "path": str(path),
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
    }


def _told(file: WeightsFile) -> dict[str, Any]:
    """Return what the header of a file that ``train export`` wrote says; of another, whose network it is."""
    if file.fault is None and file.torn is not None:
        raise CheckpointError(f"'{file.path}' is damaged: {file.torn}; get or export it again")
    if "recipe" not in file.metadata:
        return {"backend": identify(load_state_dict(file))}
    fields = stated(file.metadata, name=str(file.path))
    return {key: fields.get(key, file.metadata.get(key)) for key in FIELDS}


def _fields(entry: WeightsEntry) -> dict[str, Any]:
    return {key: getattr(entry, key) for key in FIELDS}

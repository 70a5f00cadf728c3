"""What ``facerestore weights`` shows of an entry, and of many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from facerestore.cli.terminal import is_plain

if TYPE_CHECKING:
    from facerestore.weights import WeightsEntry, WeightsStore

NO_ADDRESS = "no address"
"""What is said of weights that no program can fetch."""


def facts_of(store: WeightsStore, entry: WeightsEntry) -> dict[str, Any]:
    """Return what is known of an entry, in the order in which people want it."""
    path, licence = store.locate(entry.name), store.catalog.licence_of(entry)
    pin = None if entry.sha256 else store.pin(entry.name)
    return {
        "name": entry.name,
        "purpose": entry.purpose,
        "backend": entry.backend,
        "state": _state(store, entry),
        "path": str(path or store.path_of(entry.name)),
        "size_bytes": _size_bytes(store, entry),
        "face_size": entry.face_size,
        "character": entry.character,
        "licence": entry.licence,
        "licence_name": licence.name,
        "licence_url": licence.url,
        "licence_notice": licence.notice,
        "commercial_use": entry.commercial_use,
        "training_data": entry.training_data,
        "source": entry.source,
        "paper": entry.paper,
        "fetchable": store.fetchable(entry.name),
        "urls": list(store.urls(entry.name)),
        "file": entry.file,
        "sha256": entry.sha256 or (pin.sha256 if pin else None),
        "sha256_source": f"pinned {pin.pinned_at} from {pin.origin}" if pin else entry.sha256_source,
        "notes": entry.notes,
    }


def _state(store: WeightsStore, entry: WeightsEntry) -> str:
    if store.locate(entry.name) is None:
        return "missing" if entry.bundled else "not installed"
    return "bundled" if entry.bundled else "installed"


def _size_bytes(store: WeightsStore, entry: WeightsEntry) -> int | None:
    path = store.locate(entry.name)
    return path.stat().st_size if path else entry.size_bytes


def print_table(store: WeightsStore, entries: list[WeightsEntry]) -> None:
    """Print what there is, a row for each."""
    from rich import box
    from rich.table import Table

    from facerestore.cli.terminal import console, megabytes

    table = Table(box=box.ASCII2 if is_plain(sys.stdout) else box.SIMPLE, pad_edge=False)
    for heading in ("name", "purpose", "state", "size", "licence", "commercial use"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for entry in entries:
        state, size = _state(store, entry), megabytes(_size_bytes(store, entry))
        state = NO_ADDRESS if _by_hand_only(store, entry) else state
        table.add_row(entry.name, entry.purpose, state, size, entry.licence, entry.commercial_use)
    console(stderr=False).print(table)
    if any(_by_hand_only(store, entry) for entry in entries):
        typer.echo(
            f"{NO_ADDRESS}: no program can fetch the file; 'facerestore weights info NAME' says where people get it,"
            " and 'facerestore weights import NAME FILE' installs it"
        )


def _by_hand_only(store: WeightsStore, entry: WeightsEntry) -> bool:
    """Say whether weights are not here, and come only by import."""
    return not (entry.bundled or store.locate(entry.name) or store.fetchable(entry.name))


def automatic_choice(store: WeightsStore) -> str:
    """Return in one line which installed weights the automatic choice takes, for which faces."""
    from facerestore.config import RestoreConfig
    from facerestore.pipeline.candidates import usable

    return usable(RestoreConfig(), store).words

"""Weights of one's own: files that ``facerestore train export`` wrote, installed under a name that their owner chose.

What a catalog entry says of published weights, the header of such a file says of these; at the import it is copied to
one record for each name, ``home/own/NAME.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facerestore.errors import WeightsError, parse_whole, refusing
from facerestore.weights.catalog import PURPOSES, Catalog, WeightsEntry, extended, is_name
from facerestore.weights.files import copy_hashed, exclusive, read_json, write_json
from facerestore.weights.mixing import DETAIL_OF, REFINES
from facerestore.weights.weights_file import look_at

PERMISSIVE = frozenset({"Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT", "MIT-0"})
"""SPDX licences that allow commercial use, where the owner of weights states one for them."""

MOST_SIDE_PX = 16384
"""Of a face; beyond it a single feature map fills any memory."""

NOTICE = "Stated by whoever trained these weights."


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """What is recorded of a file of one's own.

    Attributes:
        name: ``backend.tag``.
        weights: as a table of the catalog.
        licence: as a table of the catalog, or None where the catalog knows that licence.
    """

    name: str
    weights: dict[str, Any]
    licence: dict[str, Any] | None


def record_path(home: Path, name: str) -> Path:
    """Return where the record of a name is kept."""
    return home / "own" / f"{name}.json"


def with_own(catalog: Catalog, home: Path) -> Catalog:
    """Return the catalog with the weights of one's own; a name that the catalog has already stays the catalog's.

    Raises:
        WeightsError: a record is damaged.
    """
    for path in sorted((home / "own").glob("*.json")):
        record = read_json(path)
        if record is None or path.stem in catalog.entries:
            continue
        try:
            catalog = extended(catalog, {path.stem: record.get("weights")}, record.get("licences", {}))
        except (WeightsError, AttributeError) as error:  # a table that is none has no items
            raise WeightsError(f"the record {path} is damaged ({error}); delete it and try again") from error
    return catalog


def examine(name: str, path: Path, catalog: Catalog) -> OwnWeights | None:
    """Return what the header of a file says, to install it as ``name``; None for a file that says nothing.

    Raises:
        WeightsError: the name is not fit for this file, the file is cut short or damaged, or it is to be used with
            weights that do not go with it.
    """
    file = look_at(path)
    if file.torn is not None and path.suffix == ".safetensors":
        raise WeightsError(f"{path} is damaged: {file.torn}; get or export it again")
    header = file.metadata if file.torn is None else {}
    backend, purpose = header.get("backend"), header.get("purpose")
    if backend is None or purpose not in PURPOSES:
        return None
    if not is_name(name) or not name.startswith(f"{backend}."):
        raise WeightsError(
            f"{path} is for the backend '{backend}'; call it '{backend}.mine', or so in lower case, not {name!r}"
        )
    weights = {
        "file": f"{name}.safetensors",
        "paper": "none: weights of your own",
        **stated(header, name=str(path)),
    }
    for key, does in ((REFINES, "refines"), (DETAIL_OF, "draws detail over")):
        if key not in header:
            continue
        if fault := _unfit(catalog.entries.get(header[key]), purpose, refined=key == REFINES):
            raise WeightsError(f"{path} {does} '{header[key]}', which {fault}")
        weights[key] = header[key]
    licence = weights["licence"]
    known = licence in catalog.licences
    return OwnWeights(name, weights, None if known else {"name": licence, "url": "none", "notice": NOTICE})


def stated(header: Mapping[str, str], *, name: str) -> dict[str, Any]:
    """Return what the header of a file that ``train export`` wrote states of it, as fields of a catalog entry.

    Args:
        header: of the file.
        name: of the file, for messages.

    Raises:
        WeightsError: it states a face size that is none.
    """
    licence = header.get("licence", "unstated")
    fields: dict[str, Any] = {
        "licence": licence,
        "commercial_use": "yes" if licence in PERMISSIVE else "unclear",
        "training_data": header.get("data", "unstated"),
        "source": f"facerestore train {header.get('recipe', header.get('backend'))}, {header.get('step', '?')} steps",
        "purpose": header.get("purpose"),
    }
    if "face_size" in header:
        with refusing(
            lambda why: WeightsError(f"{name}: its header's face_size is no side in pixels: {why}")
        ):
            fields["face_size"] = parse_whole(header["face_size"], most=MOST_SIDE_PX)
    return fields


def _unfit(other: WeightsEntry | None, purpose: str, *, refined: bool) -> str | None:
    """Return why weights of a purpose cannot be used with others; None where nothing speaks against it."""
    if other is None:
        return "are no weights of the catalog"
    if other.purpose != purpose:
        return f"are for the purpose '{other.purpose}', not '{purpose}'"
    return "refine others themselves" if refined and other.refines is not None else None


def entry_of(own: OwnWeights, catalog: Catalog) -> WeightsEntry:
    """Return what a catalog says of a file of one's own, which need not be installed.

    Raises:
        WeightsError: its header states what cannot be.
    """
    licences = {} if own.licence is None else {own.weights["licence"]: own.licence}
    return extended(catalog, {own.name: own.weights}, licences).entry(own.name)


def install(own: OwnWeights, source: Path, folder: Path, *, home: Path, timeout_s: float) -> Path:
    """Copy a file of one's own to where the store keeps it, and record it; returns where it lies.

    Args:
        own: what is recorded of it.
        source: the file.
        folder: of the store's files.
        home: of its records.
        timeout_s: longest wait for another process.

    Raises:
        WeightsError: the home cannot be written, has no room, or reading failed.
    """
    target = folder / f"{own.name}.safetensors"
    with (
        refusing(
            lambda why: WeightsError(f"cannot import {source} as {own.name!r}: {why}; see who owns {folder}")
        ),
        exclusive(target, timeout_s=timeout_s, on_wait=lambda: None),
    ):
        sha256 = copy_hashed(source, target)
        weights = {
            **own.weights,
            "sha256": sha256,
            "sha256_source": f"taken when {source.absolute()} was imported",
        }
        licences: Mapping[str, Any] = {} if own.licence is None else {own.weights["licence"]: own.licence}
        write_json(record_path(home, own.name), {"weights": weights, "licences": dict(licences)})
    return target

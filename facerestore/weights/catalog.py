"""The catalog: every weights file that facerestore knows, what it is for, and on what terms.

The data is ``weights/catalog.toml`` of the repository, which the wheel carries as ``facerestore/weights/bundled``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from facerestore.config import TASKS
from facerestore.errors import WeightsError, parse_toml, read_text, refusing
from facerestore.fields import MissingError, UnfitError, UnknownError, make, option

PURPOSES = (
    *TASKS,
    "discriminator",
    "parse",
    "damage",
    "eyes",
    "detect",
    "landmarks",
    "identity",
    "features",
    "lpips",
    "inception",
    "background",
)
COMMERCIAL_USES = ("yes", "no", "unclear")
CHARACTERS = ("careful", "detailed", "generative")
SUFFIXES = (".pth", ".pt", ".safetensors", ".onnx", ".dat", ".bin")
CATALOG_FILE = "catalog.toml"

_NAME = re.compile(r"[a-z0-9]+(\.[a-z0-9][a-z0-9.-]*)")
_FILE = rf"[A-Za-z0-9][A-Za-z0-9._-]*({'|'.join(map(re.escape, SUFFIXES))})"

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of one or more weights files.

    Attributes:
        id: SPDX identifier, or ``LicenseRef-...`` where SPDX has none.
        name: what people call it.
        url: where the full text or the publisher's statement stands.
        notice: what it asks of the user, in plain words.
    """

    id: str
    name: str
    url: str
    notice: str


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One published weights file.

    Attributes:
        name: ``backend.tag``, such as ``gpen.bfr-512``.
        file: name of the file on disk and on a mirror.
        licence: id of a `Licence` of the same catalog.
        commercial_use: ``yes`` only where the publisher licenses the weights themselves so; ``no``; or ``unclear``.
        training_data: what the network was trained on, with what is known of that data's own terms.
        source: page of the people who made it.
        paper: title and place of the paper, or a plain statement that there is none.
        purpose: one of `PURPOSES`.
        urls: where to fetch it, in order of preference; empty where people must fetch it by hand and import it.
        size_bytes: exact size; None where nobody has stated it.
        sha256: lower-case hex; None where none is known, and the first download is pinned instead.
        sha256_source: where that hash comes from.
        face_size: side of the aligned face that the network takes, pixels; None where it takes any size.
        quality_rank: 1 is chosen first among installed weights of a purpose; None is never chosen automatically.
        auto: the automatic choice may take it where its backend is not named; ``pipeline.routing`` has the rule.
        character: of a restorer: ``careful`` holds to the photo, ``detailed`` draws what the photo hints at,
            ``generative`` draws detail from what it has learnt of faces; None where nobody has said.
        detail_of: name of the weights that these were trained from, to draw detail; the two can be mixed.
        detail: share of these in that mixture unless another is asked for, above 0.
        refines: name of the weights whose result on half the size these refine; they are used with those alone, and
            the detail that those draw.
        bundled: the file comes with facerestore, in the catalog's own folder.
        package: what pip calls the package that the file is part of; None where it is in none.
        package_file: where in that package's folder of installed packages it lies, with forward slashes.
        notes: what else a user should know.
    """

    name: str
    file: str = option(pattern=_FILE, wanted=f"a plain file name ending in {', '.join(SUFFIXES)}")
    licence: str = option()
    commercial_use: str = option(among=COMMERCIAL_USES)
    training_data: str = option()
    source: str = option()
    paper: str = option()
    purpose: str = option(among=PURPOSES)
    urls: tuple[str, ...] = ()
    size_bytes: int | None = option(None, least=1, wanted="a positive number")
    sha256: str | None = option(None, pattern="[0-9a-f]{64}", wanted="64 lower-case hexadecimal digits")
    sha256_source: str | None = None
    face_size: int | None = option(None, least=1, wanted="a positive number")
    quality_rank: int | None = option(None, least=1, wanted="a positive number")
    auto: bool = True
    character: str | None = option(None, among=CHARACTERS)
    detail_of: str | None = None
    detail: float = option(1.0, above=0, most=1, wanted="a number above 0, up to 1")
    refines: str | None = None
    bundled: bool = False
    package: str | None = None
    package_file: str | None = option(
        None, pattern=r"\w+(/[\w.-]+)+", wanted="a path such as folder/file.dat"
    )
    notes: str = ""

    @property
    def backend(self) -> str:
        """The part of the name before the first dot."""
        return self.name.partition(".")[0]

    @property
    def permissive(self) -> bool:
        """Whether the publisher clearly allows commercial use."""
        return self.commercial_use == "yes"

    @property
    def choice_order(self) -> tuple[bool, bool, float]:
        """What sorts weights of one purpose: the least is taken where the user names none."""
        return not self.auto, self.bundled, float("inf") if self.quality_rank is None else self.quality_rank

    @property
    def advice_order(self) -> tuple[int, float]:
        """What sorts weights of one purpose where some are recommended: what is free first, then the best."""
        rank = float("inf") if self.quality_rank is None else self.quality_rank
        return ("yes", "unclear", "no").index(self.commercial_use), rank


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries and licences, in the order of the file.

    Attributes:
        entries: by name.
        licences: by id.
        folder: where the bundled files lie.
        unpublished: by name, what to tell who asks for the weights of a backend that has none.
    """

    entries: Mapping[str, WeightsEntry]
    licences: Mapping[str, Licence]
    folder: Path
    unpublished: Mapping[str, str]

    def of(self, purpose: str) -> list[WeightsEntry]:
        """Return the entries for a purpose, installed or not."""
        return [entry for entry in self.entries.values() if entry.purpose == purpose]

    def entry(self, name: str) -> WeightsEntry:
        """Return the entry of that name.

        Raises:
            WeightsError: no such entry; the message lists close matches, or says that its backend has no weights.
        """
        if name in self.entries:
            return self.entries[name]
        if (backend := name.partition(".")[0]) in self.unpublished:
            raise WeightsError(self.unpublished[backend])
        own = [entry.name for entry in self.entries.values() if entry.backend == name]
        close = own or difflib.get_close_matches(name.lower(), self.entries, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(repr(match) for match in close)}?" if close else "nothing is close."
        )
        raise WeightsError(
            f"no weights are called {name!r}; {hint} 'facerestore weights list' shows all names"
        )

    def copied(self, sha256: str | None) -> WeightsEntry | None:
        """Return the entry whose file has a hash, so that a copy of it acts alike; None where none is known to."""
        return next((entry for entry in self.entries.values() if sha256 and entry.sha256 == sha256), None)

    def licence_of(self, entry: WeightsEntry) -> Licence:
        """Return the terms of an entry of this catalog."""
        return self.licences[entry.licence]


def data_folder(package: Path | None = None) -> Path:
    """Return the folder of the catalog and the bundled weights: in the wheel, or else in the source checkout.

    Args:
        package: folder of ``facerestore.weights``; by default the real one.

    Raises:
        WeightsError: neither folder holds a catalog.
    """
    package = package or Path(__file__).parent
    wheel, checkout = package / "bundled", package.parent.parent / "weights"
    if wheel.is_dir():
        return wheel
    if (checkout / CATALOG_FILE).is_file():
        return checkout
    raise WeightsError(
        f"facerestore is installed without its weights catalog: neither {wheel} nor {checkout / CATALOG_FILE} exists; "
        f"install facerestore again"
    )


def load_catalog(folder: Path | None = None) -> Catalog:
    """Read and check ``catalog.toml``.

    Args:
        folder: where it lies; by default `data_folder`.

    Raises:
        WeightsError: the file is absent, is no TOML, or has a key or value that the catalog does not know.
    """
    path = (folder or data_folder()) / CATALOG_FILE
    with refusing(
        lambda why: WeightsError(
            f"the weights catalog {path} cannot be read ({why}); install facerestore again"
        )
    ):
        text = read_text(path)
    return parse_catalog(text, folder=path.parent)


def parse_catalog(text: str, *, folder: Path) -> Catalog:
    """Build a catalog from TOML text.

    Args:
        text: ``schema = 1``, tables ``[licences.ID]`` and ``[weights."backend.tag"]``, and where there is a
            backend without published weights, ``[unpublished]`` with a text for each.
        folder: where bundled files lie.

    Raises:
        WeightsError: a key is unknown, missing, of the wrong type, or its value cannot be; the message names it.
    """
    with refusing(
        lambda why: WeightsError(f"the weights catalog is not valid TOML: {why}; mend {CATALOG_FILE}")
    ):
        data = parse_toml(text)
    tables = _made_record(_Tables, data, "the top level")
    if tables.schema != 1:
        raise _catalog_error("schema", "the top level", f"is {tables.schema!r}; this version reads schema 1")
    licences = {key: _checked_licence(key, table) for key, table in tables.licences.items()}
    entries = {name: _checked_entry(name, table, licences) for name, table in tables.weights.items()}
    _check_unique_files(entries)
    _check_bases(entries)
    _check_unpublished(tables.unpublished, entries)
    return Catalog(
        MappingProxyType(entries), MappingProxyType(licences), folder, MappingProxyType(tables.unpublished)
    )


def extended(catalog: Catalog, weights: Mapping[str, Any], licences: Mapping[str, Any]) -> Catalog:
    """Return the catalog with more entries and licences, tables as in the TOML file; its own licences stay.

    Raises:
        WeightsError: see `parse_catalog`.
    """
    more = {key: _checked_licence(key, table) for key, table in licences.items()}
    known = {**more, **catalog.licences}
    entries = {
        **catalog.entries,
        **{name: _checked_entry(name, table, known) for name, table in weights.items()},
    }
    _check_unique_files(entries)
    return replace(catalog, entries=MappingProxyType(entries), licences=MappingProxyType(known))


def is_name(text: str) -> bool:
    """Say whether a text could be the name of weights: ``backend.tag`` in lower case."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tables:
    """The top level of the file."""

    schema: int
    licences: dict[str, Any]
    weights: dict[str, Any]
    unpublished: dict[str, str] = field(default_factory=dict)


def _catalog_error(key: str, where: str, what: str) -> WeightsError:
    return WeightsError(f"weights catalog, {where}: {key!r} {what}; mend {CATALOG_FILE}")


def _made_record(record: type[Record], values: Any, where: str, **more: str) -> Record:
    """Return a record made of a table and of what else is known of it."""
    if not isinstance(values, dict):
        raise _catalog_error(where, "the top level", "is not a table")
    for key in more.keys() & values:
        raise _catalog_error(key, where, "is no known key")
    try:
        return make(record, {**more, **values})
    except UnknownError as error:
        raise _catalog_error(error.name, where, f"is no known key ({error.hint})") from error
    except UnfitError as error:
        raise _catalog_error(error.name, where, f"is {error.value!r}, not {error.wanted}") from error
    except MissingError as error:
        raise _catalog_error(error.name, where, "is missing") from error


def _checked_licence(key: str, table: Any) -> Licence:
    return _made_record(Licence, table, f"licences.{key}", id=key)


def _checked_entry(name: str, table: Any, licences: Mapping[str, Licence]) -> WeightsEntry:
    where = f"weights.{name}"
    if not _NAME.fullmatch(name):
        raise _catalog_error(name, "weights", "is not of the form backend.tag in lower case")
    entry = _made_record(WeightsEntry, table, where, name=name)
    if entry.licence not in licences:
        raise _catalog_error("licence", where, f"is {entry.licence!r}, not one of {', '.join(licences)}")
    if entry.bundled and (entry.urls or entry.sha256 is None):
        raise _catalog_error("bundled", where, "is true, which asks for a sha256 and for no urls")
    if (entry.package is None) != (entry.package_file is None) or (entry.package and entry.sha256 is None):
        raise _catalog_error("package", where, "needs a package_file and a sha256 beside it")
    for url in entry.urls:
        if not url.startswith(("https://", "http://")):
            raise _catalog_error("urls", where, f"holds {url!r}, which is no http or https address")
    return entry


def _check_unique_files(entries: Mapping[str, WeightsEntry]) -> None:
    owners: dict[str, str] = {}
    for name, entry in entries.items():
        # Some file systems do not tell upper from lower case.
        owner = owners.setdefault(entry.file.casefold(), name)
        if owner != name:
            raise _catalog_error("file", f"weights.{name}", f"is {entry.file!r}, which {owner} has already")


def _check_bases(entries: Mapping[str, WeightsEntry]) -> None:
    for name, entry in entries.items():
        if entry.detail_of is not None and entry.detail_of not in entries:
            raise _catalog_error("detail_of", f"weights.{name}", f"is {entry.detail_of!r}, which is no entry")
        if entry.refines is not None and (entry.refines not in entries or entries[entry.refines].refines):
            reason = f"is {entry.refines!r}, which is no entry, or refines others itself"
            raise _catalog_error("refines", f"weights.{name}", reason)


def _check_unpublished(notes: Mapping[str, Any], entries: Mapping[str, WeightsEntry]) -> None:
    for entry in entries.values():
        if entry.backend in notes:
            raise _catalog_error(entry.backend, "unpublished", f"has weights: {entry.name}")

"""The metrics by name: what each means, and what opens it; an unavailable one is reported, never replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Literal

import torch

from facerestore.errors import ConfigError, FaceRestoreError, WeightsError, required_package
from facerestore.evaluation.cases import Face
from facerestore.extensions import Extensions, foreign_errors
from facerestore.weights import WeightsEntry, WeightsStore
from facerestore.weights.files import sha256_of

Better = Literal["higher", "lower", "one"]
"""Which way is better; ``one`` is for ratios, whose best is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One metric.

    Attributes:
        name: in options and files.
        title: in tables.
        unit: of its values; empty where it has none.
        better: which way is better.
        decimals: as many as tables show.
        needs_reference: it compares a face with its original.
        of_sets: it judges all faces together, and not each.
        opener: what opens it, a function or its ``module:function``: takes this record and a `Setting`, and gives a
            `FaceMetric`; for metrics of sets, it takes the setting and raises where they are unavailable.
    """

    name: str
    title: str
    unit: str = ""
    better: Better
    decimals: int
    needs_reference: bool = True
    of_sets: bool = False
    opener: str | Callable[..., Any]


_HERE = "facerestore.evaluation"

SPECS: Mapping[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec(
            name="psnr", title="PSNR", unit="dB", better="higher", decimals=2, opener=f"{_HERE}.fidelity:psnr"
        ),
        Spec(name="ssim", title="SSIM", better="higher", decimals=3, opener=f"{_HERE}.fidelity:ssim"),
        Spec(
            name="ms-ssim", title="MS-SSIM", better="higher", decimals=3, opener=f"{_HERE}.fidelity:ms_ssim"
        ),
        Spec(name="lpips", title="LPIPS", better="lower", decimals=3, opener=f"{_HERE}.likeness:lpips"),
        Spec(
            name="landmarks",
            title="landmark distance",
            unit="% of the eye distance",
            better="lower",
            decimals=2,
            opener=f"{_HERE}.likeness:landmarks",
        ),
        Spec(
            name="identity",
            title="identity cosine",
            better="higher",
            decimals=3,
            opener=f"{_HERE}.likeness:identity",
        ),
        Spec(
            name="identity-distance",
            title="identity distance",
            better="lower",
            decimals=3,
            opener=f"{_HERE}.likeness:identity_distance",
        ),
        Spec(
            name="same-person",
            title="same person",
            unit="share of faces",
            better="higher",
            decimals=3,
            opener=f"{_HERE}.likeness:same_person",
        ),
        Spec(
            name="fine-energy",
            title="fine energy",
            unit="of the original's",
            better="one",
            decimals=2,
            opener=f"{_HERE}.spectrum:fine_energy",
        ),
        Spec(
            name="grid-energy",
            title="grid energy",
            unit="dB over the original's",
            better="lower",
            decimals=2,
            opener=f"{_HERE}.spectrum:grid_energy",
        ),
        Spec(
            name="niqe",
            title="NIQE",
            better="lower",
            decimals=2,
            needs_reference=False,
            opener=f"{_HERE}.niqe:niqe",
        ),
        Spec(
            name="fid",
            title="FID",
            better="lower",
            decimals=1,
            needs_reference=False,
            of_sets=True,
            opener=f"{_HERE}.inception:check_present",
        ),
        Spec(
            name="kid",
            title="KID x 1000",
            better="lower",
            decimals=2,
            needs_reference=False,
            of_sets=True,
            opener=f"{_HERE}.inception:check_present",
        ),
    )
}
"""Every metric of ours, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and on what a metric is opened.

    Attributes:
        store: where the weights of its network are looked for; nothing is ever fetched.
        device: where its network runs.
        face_size: side of the faces, px.
    """

    store: WeightsStore
    device: torch.device
    face_size: int


@dataclass(frozen=True, slots=True, eq=False)
class FaceMetric:
    """A metric that gives each face a value.

    Attributes:
        spec: what it is.
        protocol: all that its numbers depend on, as plain values.
        measure: takes the face and its original (None where it needs none), both (S, S, 3) uint8 RGB; None where the
            face has no value.
    """

    spec: Spec
    protocol: Mapping[str, Any]
    measure: Callable[[Face, Face | None], float | None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which metrics are measured, and why the others are not.

    Attributes:
        faces: those of each face, in the order of the tables.
        sets: names of those of sets that are wanted and available.
        unavailable: name of a metric to the reason why it is unavailable here.
    """

    faces: tuple[FaceMetric, ...]
    sets: tuple[str, ...] = ()
    unavailable: Mapping[str, str] = field(default_factory=dict)


def parse_metrics(text: str | None) -> tuple[str, ...] | None:
    """Return the names of a list such as ``psnr,lpips``; None for None, which means all that are available.

    Raises:
        ConfigError: a name is unknown.
    """
    if text is None:
        return None
    names, known = [item.strip() for item in text.split(",")], metric_names()
    for name in names:
        if name not in known:
            metric_spec(name)
    return tuple(name for name in known if name in names)


def metric_names() -> list[str]:
    """Return the names of all metrics that may be asked for, in the order of the tables."""
    return EXTENSIONS.names()


def metric_spec(name: str) -> Spec:
    """Return the metric ``name``.

    Raises:
        ConfigError: there is no such metric.
        ExtensionError: it is another package's, and broken.
    """
    return SPECS[name] if name in SPECS else EXTENSIONS.load(name)


def metric_title(name: str) -> str:
    """Return a metric of ours as tables call it, and any other by its name."""
    return SPECS[name].title if name in SPECS else name


def register_metric(name: str, spec: Spec) -> None:
    """Let `open_metrics` know a metric of yours, in this process.

    Args:
        name: that of the metric, and not that of another.
        spec: of a metric of each face.

    Raises:
        ConfigError: the name is taken.
        ExtensionError: it is no metric of each face.
    """
    EXTENSIONS.register(name, spec)


def _lack(name: str, found: object) -> str | None:
    """Return what keeps an object from being the metric ``name``; None where nothing does."""
    if not isinstance(found, Spec):
        return f"{found!r} is no facerestore.evaluation.metrics.Spec"
    if found.of_sets:
        return "it judges sets, which FID and KID alone do; leave out of_sets"
    return None if found.name == name else f"it calls itself '{found.name}', not '{name}'"


EXTENSIONS: Extensions[Spec] = Extensions(kind="metric", own=SPECS, lack=_lack)
"""Metrics of other packages."""


def open_metrics(
    wanted: Sequence[str] | None, setting: Setting, *, has_reference: bool, has_reference_set: bool
) -> Chosen:
    """Open the metrics that are wanted, or all that are available.

    Args:
        wanted: names, of which an unavailable one is an error; None tries all.
        setting: where and on what.
        has_reference: each face comes with its original.
        has_reference_set: there are faces to compare sets with.

    Raises:
        FaceRestoreError: a wanted metric is unavailable, or all are.
    """
    faces: list[FaceMetric] = []
    sets: list[str] = []
    unavailable: dict[str, str] = {}
    for name in metric_names():
        if wanted is not None and name not in wanted:
            continue
        try:
            spec = metric_spec(name)
            _check_reference(spec, has_reference, has_reference_set)
            if spec.of_sets:
                # Their network is loaded when there are faces; here it is only looked for.
                _opener_of(spec)(setting)
                sets.append(name)
            else:
                faces.append(_opener_of(spec)(spec, setting) if name in SPECS else _foreign(spec, setting))
        except FaceRestoreError as error:
            if wanted is not None:
                raise
            unavailable[name] = str(error)
    if not faces and not sets:
        reasons = "; ".join(f"{metric_title(name)}: {reason}" for name, reason in unavailable.items())
        raise ConfigError(f"nothing can be measured. {reasons}")
    return Chosen(tuple(faces), tuple(sets), unavailable)


def require(module: str, *, metric: str) -> ModuleType:
    """Return an optional module that measures a metric, imported now; raises as `errors.required_package`."""
    return required_package(module, what=metric, install='pip install "facerestore[train]"')


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def best_weights(
    purpose: str, setting: Setting, *, metric: str, backends: Collection[str] | None = None
) -> WeightsEntry:
    """Return the catalog entry of the installed weights for a purpose.

    Args:
        purpose: of the catalog.
        setting: has the store.
        metric: whom they are for, in messages.
        backends: only these; by default all.

    Raises:
        WeightsError: none are installed; the message names the command that fetches them.
    """
    entry = setting.store.best(purpose, backends=backends)
    if entry is not None:
        return entry
    known = [e for e in setting.store.catalog.entries.values() if e.purpose == purpose and e.quality_rank]
    name = min(known, key=lambda e: e.quality_rank or 0).name
    raise WeightsError(
        f"weights '{name}' (for {metric}) are not installed; run 'facerestore weights download {name}'"
    )


def sha256_known(entry: WeightsEntry, store: WeightsStore) -> str:
    """Return the hash of installed weights: the catalog's, else the one pinned at their arrival, else the file's."""
    pin = store.pin(entry.name)
    return entry.sha256 or (sha256_of(store.path_of(entry.name)) if pin is None else pin.sha256)


def _check_reference(spec: Spec, has_reference: bool, has_reference_set: bool) -> None:
    if spec.needs_reference and not has_reference:
        raise ConfigError(f"{spec.title} compares faces with their originals; give them with --hq")
    if spec.of_sets and not has_reference_set:
        raise ConfigError(f"{spec.title} compares sets of faces; give real faces with --reference")


def _opener_of(spec: Spec) -> Callable[..., Any]:
    """Return the function that opens a metric, imported now."""
    if not isinstance(spec.opener, str):
        return spec.opener
    module, _, function = spec.opener.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def _foreign(spec: Spec, setting: Setting) -> FaceMetric:
    """Return an opened metric of another package; whatever it raises becomes an error that names it.

    Raises:
        ExtensionError: it cannot be opened.
    """
    author = f"the author of metric '{spec.name}'"
    with foreign_errors(f"metric '{spec.name}' cannot be opened", author=author):
        opened = _opener_of(spec)(spec, setting)
        measure, protocol = opened.measure, dict(opened.protocol)

    def guarded(face: Face, hq: Face | None) -> float | None:
        with foreign_errors(f"metric '{spec.name}' failed", author=author):
            value = measure(face, hq)
            return None if value is None else float(value)

    return FaceMetric(spec, protocol, guarded)

"""Networks that ``facerestore export`` wrote, or other programs, as backends: ``onnx:FILE`` and the like.

Such a file is named where a backend is, since it is both: ``--backend onnx:gpen.onnx``. What it says of itself is read
without the package that runs it; that package is imported when the network is loaded, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from facerestore.backends.exported.reading import companion_of, embedded_record
from facerestore.backends.exported.record import NetworkRecord, record_beside, record_from_json, sidecar_of
from facerestore.backends.exported.restorer import ExportedRestorer
from facerestore.engines import Place
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.weights.files import sha256_of
from facerestore.weights.weights_file import SUFFIXES

if TYPE_CHECKING:
    from facerestore.engines import Engine

__all__ = [
    "RUNTIMES",
    "ExportedFile",
    "ExportedRestorer",
    "NetworkRecord",
    "Place",
    "Runtime",
    "check_companion",
    "exported_file",
    "load_exported",
    "read_record",
    "refuse_exported",
]


@dataclass(frozen=True, slots=True)
class Runtime:
    """A kind of exported file.

    Attributes:
        suffixes: how the names of its files end; the first is what ``facerestore export`` writes.
        engine: ``module:Class`` of what runs it.
    """

    suffixes: tuple[str, ...]
    engine: str


RUNTIMES: Mapping[str, Runtime] = {
    "onnx": Runtime((".onnx",), "facerestore.engines.onnx:OnnxEngine"),
    "openvino": Runtime((".xml",), "facerestore.engines.openvino:OpenVinoEngine"),
    "torchscript": Runtime(
        (".torchscript", ".ts", ".pt"), "facerestore.engines.torchscript:TorchScriptEngine"
    ),
}
"""What exported networks run on, by the word before the colon in ``--backend onnx:FILE``."""


class ExportedFile(NamedTuple):
    """A file that is named in the place of a backend."""

    runtime: str
    path: Path

    @property
    def name(self) -> str:
        """What ``--backend`` takes."""
        return f"{self.runtime}:{self.path}"


def exported_file(backend: str) -> ExportedFile | None:
    """Return the file that a backend's name such as ``onnx:gpen.onnx`` means; None for every other name.

    Raises:
        ConfigError: there is no file behind the colon, or its name does not end as such files do.
    """
    runtime, _, rest = backend.partition(":")
    if runtime not in RUNTIMES:
        return None
    if not rest:
        suffix = RUNTIMES[runtime].suffixes[0]
        raise ConfigError(
            f"backend '{runtime}' needs a file: --backend {runtime}:FILE{suffix}; write one with 'facerestore export'"
        )
    path, suffixes = Path(rest).expanduser(), RUNTIMES[runtime].suffixes
    if path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"backend '{backend}': the name of a file for {runtime} ends in {' or '.join(suffixes)}, not"
            f" '{path.suffix}'; write one with 'facerestore export'"
        )
    return ExportedFile(runtime, path)


def read_record(file: ExportedFile) -> NetworkRecord:
    """Return what a file says of itself, or what is stated beside it, without loading it.

    Raises:
        WeightsError: the file does not exist.
        CheckpointError: it is of another kind, cut short, or nothing is stated.
        ConfigError: what is stated beside it cannot be used, or contradicts a record within.
    """
    if not file.path.is_file():
        raise WeightsError(f"'{file.path}' does not exist; write it with 'facerestore export'")
    text = embedded_record(file.path, file.runtime)
    if text is None:
        return record_beside(file.path)
    if (beside := sidecar_of(file.path)).is_file():
        raise ConfigError(f"'{file.path}' says of itself what '{beside}' would state; remove '{beside.name}'")
    return record_from_json(text, file.path)


def load_exported(
    file: ExportedFile, place: Place | None = None, *, record: NetworkRecord | None = None
) -> ExportedRestorer:
    """Return a restorer with the network of a file.

    Args:
        file: runtime and path.
        place: where it runs; on the CPU when None.
        record: what `read_record` gave; None reads it.

    Raises:
        WeightsError: the file does not exist.
        CheckpointError: it is corrupt, of another kind, or does not say how faces are given to it.
        ConfigError: the provider is unknown or not available here.
        BackendError: the package that runs it is not installed, or the network takes something else than faces.
    """
    record = record or read_record(file)
    check_companion(file.path, record)
    module, _, class_name = RUNTIMES[file.runtime].engine.partition(":")
    engine: Engine = getattr(import_module(module), class_name)(file.path, place or Place())
    return ExportedRestorer(file.path, file.runtime, record, engine)


def check_companion(path: Path, record: NetworkRecord) -> None:
    """Make sure that the parameters beside a file are those that it was written with.

    Raises:
        CheckpointError: they are missing, or others.
    """
    if record.companion_sha256 is None:
        return
    companion = companion_of(path)
    if companion is None or not companion.is_file():
        raise CheckpointError(
            f"the parameters of '{path}' are missing: keep the file that was written beside it"
        )
    found = sha256_of(companion)
    if found != record.companion_sha256:
        raise CheckpointError(
            f"'{companion}' is not what '{path.name}' was written with: sha256 {found[:12]}…, expected"
            f" {record.companion_sha256[:12]}…; copy both again, or export again"
        )


def refuse_exported(path: Path) -> None:
    """Raise ConfigError for an exported network that was given as weights, which it is not."""
    for runtime, own in RUNTIMES.items():
        if path.suffix.lower() in own.suffixes and path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"'{path}' is an exported network; give it as --backend {runtime}:{path}")

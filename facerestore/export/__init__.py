"""Networks as files that other programs run: ONNX, OpenVINO, TorchScript, each compared with its network at once.

    from facerestore.export import Wanted, export_network, open_export

    exported = export_network(open_export(Wanted(name="gpen.bfr-512")), Path("gpen.onnx"), format="onnx")

The file is then a backend: ``facerestore enhance photo.jpg --backend onnx:gpen.onnx``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.backends.exported import RUNTIMES, ExportedFile, NetworkRecord, Place, load_exported
from facerestore.backends.exported.reading import companion_of
from facerestore.errors import BackendError, ConfigError
from facerestore.export.parity import Parity, compare
from facerestore.export.subject import ExportSubject, Wanted, label_of, open_export
from facerestore.weights.files import sha256_of

if TYPE_CHECKING:
    from facerestore.export.writers import ExportJob
    from facerestore.weights import WeightsStore

__all__ = [
    "STEPS",
    "ExportSubject",
    "Exported",
    "Parity",
    "Wanted",
    "check_target",
    "default_path",
    "export_network",
    "format_of",
    "open_export",
]

STEPS = ("recording and writing the graph", "loading it again", "comparing faces")
"""What `export_network` does, in order."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and compared.

    Attributes:
        path: the file.
        files: it, and what lies beside it.
        size_bytes: of all of them.
        sha256: of ``path``.
        name: what ``--backend`` takes.
        record: what it says of itself.
        parity: how it compares with its network.
    """

    path: Path
    files: tuple[Path, ...]
    size_bytes: int
    sha256: str
    name: str
    record: NetworkRecord
    parity: Parity


def format_of(path: Path | None, given: str | None) -> str:
    """Return the format that is meant: the one that is given, else what the file's name ends in, else ``onnx``.

    Raises:
        ConfigError: the format is unknown, or the name ends otherwise than such files do.
    """
    by_suffix = None
    if path is not None:
        by_suffix = next(
            (name for name, own in RUNTIMES.items() if path.suffix.lower() in own.suffixes), None
        )
    name = given or by_suffix or ("onnx" if path is None else None)
    if name is None:
        raise ConfigError(f"'{path}' does not tell the format; end it in {_endings()}, or give --format")
    if name not in RUNTIMES:
        raise ConfigError(f"unknown format '{name}'; choose one of {', '.join(RUNTIMES)}")
    if path is not None and path.suffix.lower() not in RUNTIMES[name].suffixes:
        raise ConfigError(
            f"'{path}' does not end as a file for {name} does; call it '{path.with_suffix(RUNTIMES[name].suffixes[0])}'"
        )
    return name


def _endings() -> str:
    return ", ".join(own.suffixes[0] for own in RUNTIMES.values())


def default_path(wanted: Wanted, store: WeightsStore, *, format: str) -> Path:
    """Return where a network goes that nobody has named a file for: in this directory, named after its weights.

    Raises:
        FaceRestoreError: as `open_export`, as far as that can be told without loading the network.
    """
    return Path(label_of(wanted, store) + RUNTIMES[format].suffixes[0])


def check_target(path: Path, *, format: str, half: bool = False, overwrite: bool = False) -> None:
    """Make sure, before a network is loaded, that a file can be written in this format and under this name.

    Raises:
        BackendError: a package that the format needs is not installed.
        ConfigError: the format is unknown or has no float16, or the file exists or its folder does not.
    """
    from facerestore.export.writers import FORMATS, check_packages

    if not path.absolute().parent.is_dir():
        raise ConfigError(f"the folder of '{path}' does not exist; make it, or give another name")
    existing = [found for found in _names(path) if found.exists()]
    if existing and not overwrite:
        raise ConfigError(f"'{existing[0]}' exists; give --overwrite to replace it, or another name with -o")
    check_packages(format)
    if half and not FORMATS[format].halves:
        raise ConfigError(f"--half is for onnx and openvino; {format} is written in float32")


def _names(path: Path) -> list[Path]:
    """Return the names that an export may write: the file, and its parameters where they are apart."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def export_network(
    subject: ExportSubject,
    path: Path,
    *,
    format: str,
    half: bool = False,
    overwrite: bool = False,
    threads: int = 0,
    on_step: Callable[[str], None] | None = None,
) -> Exported:
    """Write a network as a file, load it again and compare it; only what passes gets its name.

    Args:
        subject: the network.
        path: the file; an existing one is replaced if ``overwrite`` says so.
        format: ``onnx``, ``openvino`` or ``torchscript``.
        half: in float16.
        overwrite: replace files that exist.
        threads: CPU threads of the exported network in the comparison; 0 for as many as torch has.
        on_step: told each of `STEPS` as it begins.

    Raises:
        BackendError: a package is missing, or the file does not give what the network gives; none is left.
        ConfigError: the format is unknown, the file exists, or torch cannot record the network.
    """
    import torch

    from facerestore.export.graph import graph_of, sample_inputs
    from facerestore.export.writers import ExportJob

    begin = on_step or (lambda _: None)
    check_target(path, format=format, half=half, overwrite=overwrite)
    with tempfile.TemporaryDirectory(
        prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent
    ) as folder:
        draft = Path(folder) / path.name
        job = ExportJob(
            graph_of(subject.published), sample_inputs(subject.published), subject.record, draft, half
        )
        begin(STEPS[0])
        _write(job, format)
        begin(STEPS[1])
        # As many threads for one as for the other: what runs the file would choose for itself.
        place = Place(threads=threads or torch.get_num_threads())
        exported = load_exported(ExportedFile(format, draft), place)
        begin(STEPS[2])
        parity = compare(subject.shipped, exported)
        if not parity.passed:
            raise BackendError(
                f"the {format} file does not give what its network gives: {parity.told}. No file was written"
                + ("; try without --half" if half else "")
            )
        files = _move(draft, path)
    size = sum(found.stat().st_size for found in files)
    return Exported(
        path, files, size, sha256_of(path), ExportedFile(format, path).name, exported.record, parity
    )


def _write(job: ExportJob, format: str) -> None:
    """Write a draft.

    Raises:
        BackendError: the exporter failed, or the disk is full.
    """
    from facerestore.export.writers import FORMATS

    try:
        FORMATS[format].write(job)
    except (ConfigError, BackendError):
        raise
    except Exception as error:  # what an exporter raises is not known
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BackendError(
            f"{format} cannot hold this network: {type(error).__name__}: {lines[0] if lines else 'no reason given'}"
            " (FACERESTORE_DEBUG=1 shows where)"
        ) from error


def _move(draft: Path, path: Path) -> tuple[Path, ...]:
    """Give a draft its name, its parameters first: a reader sees the old pair or refuses a mixed one."""
    companion, names = companion_of(draft), [path]
    try:
        if companion is not None:
            target = path.with_name(companion.name)
            companion.replace(target)
            names.append(target)
        draft.replace(path)
    except OSError as error:
        raise BackendError(f"cannot write '{path}': {error}; check the folder and the free space") from error
    return tuple(names)

"""What a user may choose: two frozen records, built from defaults < TOML file < flags, and checked when made."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from facerestore.errors import ConfigError, parse_toml, parse_whole, read_text, refusing
from facerestore.face_parts import check_region_in_mask, parse_mask, parse_region

FACE_CHOICES = ("all", "largest", "center")
"""Words that ``faces`` knows beside a list of indices."""

MAX_UPSCALE = 8
"""Above this the photo is almost all invented by interpolation; a guard against a slipped key, not a law."""

LEAST_TILE_PX = 16
"""Smallest side of a tile: below it nearly all that is computed is overlap."""

LEAST_DETECT_SIZE_PX = 64
"""Smallest side at which photos are searched: the largest cell of the bundled face finder."""

DEFAULT_SUFFIX = "_restored"

PRECISION_CHOICES = ("auto", "float32", "fp16", "bf16")
"""Number formats that ``precision`` knows; ``facerestore.device`` says what ``auto`` is."""

_Record = TypeVar("_Record", "RestoreConfig", "OutputConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreConfig:
    """How faces are found, chosen and restored.

    Attributes:
        backend: ``auto``, the name of a restoration backend such as ``lite`` or ``gpen``, or an exported network such
            as ``onnx:gpen.onnx``.
        weights: a catalog name such as ``gpen.bfr-512``, or the path of a weights file. None takes the best of a named
            backend; with ``auto`` each face has those that suit it (``facerestore.pipeline.routing``).
        provider: what runs an exported network: ``cpu``, ``cuda``, ``directml``, ``coreml`` or ``openvino`` of ONNX
            Runtime, or a device of OpenVINO; None follows the device.
        detector: ``auto``, ``embedded``, ``yunet``, ``retinaface-resnet50``, ``retinaface-mobile0.25``, or the
            safetensors file of a face finder.
        detect_size: longest side at which the photo is searched for faces, pixels; None searches it at its own, so that
            small faces in large photos are found.
        rotations: look for faces in the quarter turns of the photo too, and not only where it shows no upright face.
        parser: ``auto`` (the best parser network that is installed, else none), ``none``, ``landmarks`` (a map drawn
            from the five points), or a catalog name or file of a parser network.
        mask: what is pasted: ``face`` (by the parsing map, else an oval), ``whole`` (the crop with a soft border), or
            parts such as ``face,hair`` or ``face,-ears``, which need a parser.
        region: strengths of single parts in place of ``strength``, such as ``eyes=0.3,mouth=1``.
        strength: share of the restored face in the result, 0 to 1; 0 returns the input's pixels exactly.
        fidelity: weight between quality (0) and fidelity to the input (1), for backends that have one (``codeformer``);
            None takes the backend's own default.
        upscale: factor by which the photo is enlarged, 1 to 8.
        background: what enlarges, or at upscale 1 cleans, the rest of the photo: ``auto`` (the best such network that
            is installed), a catalog name such as ``realesrnet.x2``, or the path of a weights file; None resizes it.
        tile: side of the tiles in which the background is computed, photo pixels; None chooses by network and device.
        faces: ``all``, ``largest``, ``center``, or indices as ``detect`` shows them, such as ``0,2``.
        min_face: smallest distance between the eyes, image pixels, that is restored; None takes the measured
            default of the quality rules.
        force: restore faces that would be kept for being small or already sharp.
        aligned: the input is itself a square face crop in the FFHQ frame; nothing is detected.
        colour_match: match the colours of a restored face to its surroundings.
        official: repeat the choices of the backend's original test program (alignment, mask, rounding), known defects
            included, so that published pictures can be compared; for ``gpen`` and ``psfr``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: number format in which the restoring network computes its convolutions and products: ``float32``,
            ``fp16``, ``bf16``, or ``auto``: fp16 on CUDA for networks that were compared in it, float32 elsewhere.
            Detectors, parsers and backgrounds stay in float32.
        threads: CPU threads; 0 leaves the choice to the libraries.
        offline: never use the network.
        max_pixels: largest picture that is decoded, in pixels; None takes the default of ``facerestore.io``.
        page: which page of a TIFF, or which frame of an animation, the first is 1; None for all pages of a TIFF.
    """

    backend: str = "auto"
    weights: str | None = None
    provider: str | None = None
    detector: str = "auto"
    detect_size: int | None = None
    rotations: bool = False
    parser: str = "auto"
    mask: str = "face"
    region: str = ""
    strength: float = 1.0
    fidelity: float | None = None
    upscale: float = 1.0
    background: str | None = None
    tile: int | None = None
    faces: str = "all"
    min_face: float | None = None
    force: bool = False
    aligned: bool = False
    colour_match: bool = True
    official: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    offline: bool = False
    max_pixels: int | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value has the wrong type or is out of its range.
        """
        _check_types(self)
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength is {self.strength}; give a number from 0 (nothing) to 1 (full)")
        if not 1 <= self.upscale <= MAX_UPSCALE:
            raise ConfigError(f"upscale is {self.upscale}; give a number from 1 to {MAX_UPSCALE}")
        if self.fidelity is not None and not 0 <= self.fidelity <= 1:
            raise ConfigError(f"fidelity is {self.fidelity}; give a number from 0 (quality) to 1 (fidelity)")
        _check_background(self)
        if self.detect_size is not None and self.detect_size < LEAST_DETECT_SIZE_PX:
            raise ConfigError(
                f"detect_size is {self.detect_size}; give {LEAST_DETECT_SIZE_PX} pixels or more, or leave it out"
            )
        if self.min_face is not None and not 0 <= self.min_face < math.inf:
            raise ConfigError(f"min_face is {self.min_face}; give pixels between the eyes, 0 or more")
        if self.precision not in PRECISION_CHOICES:
            raise ConfigError(
                f"precision is '{self.precision}'; choose one of {', '.join(PRECISION_CHOICES)}"
            )
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; give 0 for automatic, or a positive number")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ConfigError(f"max_pixels is {self.max_pixels}; give a positive number of pixels")
        if self.page is not None and self.page < 1:
            raise ConfigError(f"page is {self.page}; the first page is 1")
        parse_faces(self.faces)
        parse_mask(self.mask)
        parse_region(self.region)
        check_region_in_mask(self.region, self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig:
    """How results are named and written, and how many photos at a time.

    Attributes:
        format: ``jpeg``, ``png``, ``webp``, ``tiff`` or ``bmp``; None keeps the format of the input.
        quality: 1 to 100 for formats that lose something; None takes the default of ``facerestore.io``.
        suffix: ends the name of a result; None means ``_restored`` beside the input and nothing in another folder.
        overwrite: replace results that exist.
        skip_existing: leave out inputs whose result exists.
        save_faces: folder for the aligned faces, before and after; None saves none.
        save_stages: folder for views of what each scale of a progressive backend adds to each face; None saves none.
        save_damaged: folder for the photos as ``inpaint`` sees them, their damage white; None saves none.
        compare: draw a before/after picture beside each result.
        workers: photos that are worked on at a time; 0 for automatic. On an accelerator faces of several photos share
            calls of the networks, so that the last bits of a result may depend on which; with 1 they never do.
    """

    format: str | None = None
    quality: int | None = None
    suffix: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    save_faces: str | None = None
    save_stages: str | None = None
    save_damaged: str | None = None
    compare: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value has the wrong type or is out of its range.
        """
        _check_types(self)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"quality is {self.quality}; give a whole number from 1 to 100")
        if any(character in (self.suffix or "") for character in '/\\\0:*?"<>|'):
            raise ConfigError(
                f"suffix '{self.suffix}' cannot be part of a file name; give one such as '_restored'"
            )
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}; give 0 for automatic, or photos at a time")
        if self.overwrite and self.skip_existing:
            raise ConfigError("overwrite and skip_existing exclude each other; give one of them")


def _check_background(config: RestoreConfig) -> None:
    """Raise ConfigError where the options of the background do not fit each other."""
    if config.background is None and config.tile is not None:
        raise ConfigError(f"tile is {config.tile}, but nothing is computed in tiles; give a background too")
    if config.tile is not None and config.tile < LEAST_TILE_PX:
        raise ConfigError(f"tile is {config.tile}; give {LEAST_TILE_PX} pixels or more, or leave it out")


def parse_faces(choice: str) -> tuple[int, ...] | None:
    """Return the face indices that ``choice`` names, sorted and once each; None for a word of FACE_CHOICES.

    Raises:
        ConfigError: it is neither such a word nor a list like ``0,2``.
    """
    if choice in FACE_CHOICES:
        return None
    parts = [part.strip() for part in choice.split(",")]
    with refusing(
        lambda why: ConfigError(
            f"faces is '{choice[:80]}'; give {', '.join(FACE_CHOICES)}, or indices such as 0,2"
            f" ('facerestore detect' shows them): {why}"
        )
    ):
        return tuple(sorted({parse_whole(part) for part in parts}))


def load_config(
    path: Path | None = None,
    *,
    restore: Mapping[str, object] | None = None,
    output: Mapping[str, object] | None = None,
    restore_defaults: Mapping[str, object] | None = None,
) -> tuple[RestoreConfig, OutputConfig]:
    """Return the configuration: defaults, then the tables ``[restore]`` and ``[output]`` of a TOML file, then flags.

    Args:
        path: a TOML file, or None.
        restore: fields of RestoreConfig that win over the file.
        output: fields of OutputConfig that win over the file.
        restore_defaults: fields of RestoreConfig that a task presets otherwise; the file wins over them.

    Raises:
        ConfigError: the file cannot be read, or a table, key or value is unknown or unfit.
    """
    tables = _read_tables(path) if path is not None else {}
    source = f" in '{path}'" if path is not None else ""
    return (
        make_config(
            RestoreConfig,
            {**(restore_defaults or {}), **tables.get("restore", {}), **(restore or {})},
            source=source,
        ),
        make_config(OutputConfig, {**tables.get("output", {}), **(output or {})}, source=source),
    )


def make_config(record: type[_Record], values: Mapping[str, object], *, source: str = "") -> _Record:
    """Return ``record`` with ``values``, naming the closest real key where one is unknown.

    Raises:
        ConfigError: a key is unknown, or a value is unfit.
    """
    known = [field.name for field in fields(record)]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown option '{key}'{source}{_suggestion(key, known)}")
    return record(**dict(values))  # type: ignore[arg-type]  # the values are checked in __post_init__


def _read_tables(path: Path) -> dict[str, dict[str, object]]:
    """Return the tables of a TOML configuration file by name."""
    with refusing(lambda why: ConfigError(f"configuration '{path}' cannot be read: {why}; mend the file")):
        content = parse_toml(read_text(path))
    known = ["restore", "output"]
    for name, table in content.items():
        if name not in known:
            if not isinstance(table, dict):
                raise ConfigError(f"'{name}' in '{path}' is in no table; put it under [restore] or [output]")
            raise ConfigError(f"unknown table '{name}' in '{path}'{_suggestion(name, known)}")
        if not isinstance(table, dict):
            raise ConfigError(f"'{name}' in '{path}' is a value; make it a table: [{name}]")
    return content


def _suggestion(word: str, known: list[str]) -> str:
    """Return how to go on after an unknown word: the closest known one, or all of them."""
    close = difflib.get_close_matches(word.replace("-", "_"), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known)}"


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "str | None": ((str, type(None)), "a text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "int | None": ((int, type(None)), "a whole number"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float, type(None)), "a number"),
}


def _check_types(record: Any) -> None:
    """Raise ConfigError unless every field has the type that its annotation names."""
    for field in fields(record):
        value = getattr(record, field.name)
        types, wanted = _TYPES[str(field.type)]
        # bool is an int to Python; to a reader of a configuration file it is not.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ConfigError(f"{field.name} is {value!r}; give {wanted}")


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is done with the faces of photos.

    Attributes:
        purpose: what weights for it are for, in the catalog.
        command: the command of ``facerestore`` that does it.
        verb: in "would restore with ...".
        doing: in "restoring with ...".
        done: in "2 faces, 1 restored".
        ending: what the name of a result beside its photo ends in.
    """

    purpose: str
    command: str
    verb: str
    doing: str
    done: str
    ending: str


RESTORE = Task("restore", "enhance", "restore", "restoring", "restored", "_restored")
COLORIZE = Task("colorize", "colorize", "colour", "colouring", "coloured", "_colorized")
INPAINT = Task("inpaint", "inpaint", "fill", "filling", "filled", "_inpainted")
SYNTHESIZE = Task("synthesize", "synthesize", "synthesize", "synthesizing", "synthesized", "_synthesized")

TASKS = {task.purpose: task for task in (RESTORE, COLORIZE, INPAINT, SYNTHESIZE)}
"""All tasks by purpose."""

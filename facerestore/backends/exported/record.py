"""What a file with an exported network says of itself: how faces are given to it, and on what terms it may be used.

``facerestore export`` writes a record into each file, as one JSON object under ``facerestore``. Of a file that another
program wrote, its owner states the same in a TOML file beside it, ``FILE.toml``.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from facerestore.errors import (
    CheckpointError,
    ConfigError,
    parse_json_object,
    parse_toml,
    read_text,
    refusing,
)

KEY = "facerestore"
"""Where the record stands in a file's own metadata."""

UNSTATED = "unstated"

RANDOM = "random weights"
"""What a record says of a network that was never trained."""

COMMERCIAL_USES = ("yes", "no", "unclear")

MOST_SIDE_PX = 1 << 14
"""Of a face, and faces of a batch: what is beyond is a damaged record, and would be taken for a demand of memory."""

ANY_BATCH = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """What is known of an exported network. Only the first two have to be stated.

    Attributes:
        face_size: side of the faces that it gives, pixels.
        value_range: (low, high) of its input and output; both are RGB, B 3 S S.
        input_size: side of the faces that it takes, pixels; 0 for ``face_size``.
        needs_parsing: it takes as second input a map of CelebAMask-HQ class ids, uint8 B S S.
        max_batch: most faces in one call; `ANY_BATCH` where there is no limit.
        purpose: the task that it was trained for, such as ``restore``.
        backend: the kind of network, such as ``gpen``.
        weights: what it was exported from, by name or path.
        weights_sha256: of that file.
        licence: of the weights.
        commercial_use: ``yes``, ``no`` or ``unclear``; None where nobody says.
        source: page of the people who made the weights.
        training_data: what they were trained on.
        paper: where the network is described.
        fidelity: the weight between quality and fidelity that was fixed at the export; None where it has none.
        precision: ``float32`` or ``float16``.
        exporter: the programs that wrote the file.
        companion_sha256: of the file beside it that holds its parameters, where there is one.
    """

    face_size: int
    value_range: tuple[float, float]
    input_size: int = 0
    needs_parsing: bool = False
    max_batch: int = ANY_BATCH
    purpose: str = "restore"
    backend: str = "unknown"
    weights: str = UNSTATED
    weights_sha256: str | None = None
    licence: str = UNSTATED
    commercial_use: str | None = None
    source: str = UNSTATED
    training_data: str = UNSTATED
    paper: str = UNSTATED
    fidelity: float | None = None
    precision: str = "float32"
    exporter: str = UNSTATED
    companion_sha256: str | None = None

    def __post_init__(self) -> None:
        """Check the values and fill in those that follow from others.

        Raises:
            ValueError: a value cannot be; the message names it.
        """
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not kind.holds(value):
                raise ValueError(f"{name} is {value!r}, not {kind.words}")
        low, high = self.value_range
        object.__setattr__(self, "value_range", (float(low), float(high)))
        object.__setattr__(self, "input_size", self.input_size or self.face_size)

    def to_json(self) -> str:
        """Return the record as one JSON object."""
        return json.dumps(asdict(self))

    @property
    def is_random(self) -> bool:
        """Whether the network was never trained."""
        return self.weights == RANDOM

    @property
    def origin(self) -> str:
        """What the network was exported from and on what terms, in a few words."""
        uses = {"yes": "commercial use allowed", "no": "non-commercial", "unclear": "commercial use unclear"}
        terms = uses.get(self.commercial_use or "", "commercial use unstated")
        weights = "unknown weights" if self.weights == UNSTATED else self.weights
        return f"{weights}; licence {self.licence}, {terms}"


def record_from_json(text: str, path: Path) -> NetworkRecord:
    """Return the record that `NetworkRecord.to_json` wrote; what later versions add to it is left out.

    Raises:
        CheckpointError: it is damaged.
    """
    known = {field.name for field in fields(NetworkRecord)}
    with refusing(
        lambda why: CheckpointError(f"'{path}': what it says of itself is damaged ({why}); export it again")
    ):
        values = parse_json_object(text)
        return NetworkRecord(**{name: value for name, value in values.items() if name in known})


def sidecar_of(path: Path) -> Path:
    """Return where the owner of a foreign file states what is known of it."""
    return path.with_name(f"{path.name}.toml")


def record_beside(path: Path) -> NetworkRecord:
    """Return what is stated beside a file that says nothing of itself.

    Raises:
        CheckpointError: nothing is stated; the message says what to write, and where.
        ConfigError: the TOML file cannot be read, or lacks something, or a key or value in it cannot be.
    """
    beside = sidecar_of(path)
    if not beside.exists():
        raise CheckpointError(
            f"'{path}' was not written by 'facerestore export' and does not say how faces are given to it. If it takes"
            f" and gives B 3 S S RGB, write what you know of it into '{beside}', for example: face_size = 512 and"
            " value_range = [-1, 1]; and, where they apply: input_size, needs_parsing, max_batch, licence,"
            ' commercial_use = "yes", "no" or "unclear"'
        )
    with refusing(lambda why: ConfigError(f"'{beside}' cannot be read: {why}; mend the file")):
        values = parse_toml(read_text(beside))
    return _stated(values, beside)


def _stated(values: Mapping[str, Any], beside: Path) -> NetworkRecord:
    """Return the record that a TOML file states."""
    known = [field.name for field in fields(NetworkRecord)]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"'{beside}' states '{name}', which is unknown; {remedy}")
    lacking = [name for name in ("face_size", "value_range") if name not in values]
    if lacking:
        raise ConfigError(
            f"'{beside}' lacks {' and '.join(lacking)}; state face_size in pixels, and value_range as [low, high]"
        )
    with refusing(lambda why: ConfigError(f"'{beside}': {why}; mend the file")):
        return NetworkRecord(**values)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a value must be."""

    words: str
    types: tuple[type, ...]
    least: int | None = None
    among: tuple[str | None, ...] = ()

    def holds(self, value: object) -> bool:
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return False
        if self.least is not None and isinstance(value, int):
            return self.least <= value <= MOST_SIDE_PX
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return not self.among or value in self.among


@dataclass(frozen=True, slots=True)
class _Range(_Kind):
    """Two ascending numbers."""

    def holds(self, value: object) -> bool:
        if not isinstance(value, list | tuple) or len(value) != 2:
            return False
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in value):
            return False
        return all(math.isfinite(end) for end in value) and bool(value[0] < value[1])


_TEXT = _Kind("a text", (str,))
_TEXT_OR_NONE = _Kind("a text", (str, type(None)))

_KINDS: Mapping[str, _Kind] = {
    "face_size": _Kind("a positive number of pixels", (int,), least=1),
    "value_range": _Range("two numbers [low, high], the lower first", ()),
    "input_size": _Kind("a number of pixels", (int,), least=0),
    "needs_parsing": _Kind("true or false", (bool,)),
    "max_batch": _Kind("a number of faces, 0 for any", (int,), least=0),
    "purpose": _TEXT,
    "backend": _TEXT,
    "weights": _TEXT,
    "weights_sha256": _TEXT_OR_NONE,
    "licence": _TEXT,
    "commercial_use": _Kind("'yes', 'no' or 'unclear'", (str, type(None)), among=(*COMMERCIAL_USES, None)),
    "source": _TEXT,
    "training_data": _TEXT,
    "paper": _TEXT,
    "fidelity": _Kind("a number", (int, float, type(None))),
    "precision": _TEXT,
    "exporter": _TEXT,
    "companion_sha256": _TEXT_OR_NONE,
}

"""What a file with an exported network says of itself: how faces are given to it, and on what terms it may be used.

``facerestore export`` writes a record into each file, as one JSON object under ``facerestore``. Of a file that another
program wrote, its owner states the same in a TOML file beside it, ``FILE.toml``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facerestore.backends.restorer import Descriptor
from facerestore.errors import (
    CheckpointError,
    ConfigError,
    parse_json_object,
    parse_toml,
    read_text,
    refusing,
)
from facerestore.fields import UnfitError, check, names_of, option, suggestion

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
        drawn_maps: it was trained on maps drawn from the five landmarks.
        parser_weights: catalog name of the parser on whose maps it was trained; None for those of a ParseNet.
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

    face_size: int = option(least=1, most=MOST_SIDE_PX, wanted="a positive number of pixels")
    value_range: tuple[float, float] = option()
    input_size: int = option(0, least=0, most=MOST_SIDE_PX, wanted="a number of pixels")
    needs_parsing: bool = False
    drawn_maps: bool = False
    parser_weights: str | None = None
    max_batch: int = option(ANY_BATCH, least=0, most=MOST_SIDE_PX, wanted="a number of faces, 0 for any")
    purpose: str = "restore"
    backend: str = "unknown"
    weights: str = UNSTATED
    weights_sha256: str | None = None
    licence: str = UNSTATED
    commercial_use: str | None = option(None, among=COMMERCIAL_USES, wanted="'yes', 'no' or 'unclear'")
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
        if not _is_range(self.value_range):
            raise ValueError(
                f"value_range is {self.value_range!r}, not two numbers [low, high], the lower first"
            )
        low, high = self.value_range
        object.__setattr__(self, "value_range", (float(low), float(high)))
        try:
            check(self)
        except UnfitError as error:
            raise ValueError(error.denied) from error
        object.__setattr__(self, "input_size", self.input_size or self.face_size)

    def to_json(self) -> str:
        """Return the record as one JSON object."""
        return json.dumps(asdict(self))

    def described(self, name: str, usual_batch: int) -> Descriptor:
        """Return what a restorer of this network declares.

        Args:
            name: what ``--backend`` calls it.
            usual_batch: most faces in one call where the network sets no limit.
        """
        return Descriptor(
            name=name,
            paper=self.paper,
            tasks=(self.purpose,),
            face_size=self.face_size,
            input_size=self.input_size,
            network_range=self.value_range,
            needs_parsing=self.needs_parsing,
            drawn_maps=self.drawn_maps,
            parser_weights=self.parser_weights,
            precision=self.precision,
            max_batch=min(usual_batch, self.max_batch) if self.max_batch else usual_batch,
        )

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
    known = names_of(NetworkRecord)
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
    known = names_of(NetworkRecord)
    for name in values:
        if name not in known:
            raise ConfigError(f"'{beside}' states '{name}', which is unknown; {suggestion(name, known)}")
    lacking = [name for name in ("face_size", "value_range") if name not in values]
    if lacking:
        raise ConfigError(
            f"'{beside}' lacks {' and '.join(lacking)}; state face_size in pixels, and value_range as [low, high]"
        )
    with refusing(lambda why: ConfigError(f"'{beside}': {why}; mend the file")):
        return NetworkRecord(**values)


def _is_range(value: object) -> bool:
    """Say whether a value is two ascending numbers."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in value):
        return False
    return all(math.isfinite(end) for end in value) and bool(value[0] < value[1])

"""The result of an evaluation: its protocol and the values of every face, in memory and as a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError, parse_json, read_text, refusing
from facerestore.evaluation.bootstrap import estimate
from facerestore.evaluation.metrics import Better, Spec
from facerestore.fields import make, names_of, option

SCHEMA = "facerestore evaluation 1"
"""First entry of every file; a later form gets another number."""

MOST_DECIMALS = 15
"""Of a number in tables; a float has no more."""

Values = TypeVar("Values", float, NDArray[np.float64])

MOST_RESULT_BYTES = 1 << 25
"""Of a result: 32 MB are ten numbers each of 100,000 faces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """One metric as it was measured.

    Attributes:
        name: in options and files.
        title: in tables.
        unit: of its values; empty where it has none.
        better: which way is better.
        decimals: as many as tables show.
        of_sets: it judges all faces together.
        protocol: all that its numbers depend on.
    """

    name: str
    title: str
    unit: str
    better: Better
    decimals: int = option(least=0, most=MOST_DECIMALS)
    of_sets: bool
    protocol: dict[str, Any]

    @classmethod
    def of(cls, spec: Spec, protocol: Mapping[str, Any]) -> MetricFacts:
        """Return the facts of an opened metric."""
        own = {name: getattr(spec, name) for name in names_of(cls) if name != "protocol"}
        return cls(**own, protocol=dict(protocol))

    def gain(self, after: Values, before: Values) -> Values:
        """Return by how much values are better than others, face by face: negative where they are worse."""
        if self.better == "one":
            return abs(before - 1) - abs(after - 1)
        return after - before if self.better == "higher" else before - after


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """One method: its name in tables, and what it is."""

    name: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceResult:
    """One face.

    Attributes:
        name: its path within the folder, without suffix.
        set_name: the folder that holds it.
        sha256: of the pixels that were judged, the degraded and the original.
        groups: column of the manifest to group.
        drawn: how it was degraded, where that was done here.
        values: method to metric to value; None where the face has none.
    """

    name: str
    set_name: str
    sha256: str
    groups: dict[str, str] = field(default_factory=dict)
    drawn: dict[str, Any] | None = None
    values: dict[str, dict[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """How far all faces of a method are from the reference set; the interval may be None."""

    method: str
    metric: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A picture that was left out, and why; ``method`` is None where it could not be read at all."""

    name: str
    method: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A complete result.

    Attributes:
        protocol: where the faces come from, their size, their hash, the reference set and the intervals.
        metrics: those that were measured, in the order of the tables.
        unavailable: name of a metric to the reason why it was not.
        methods: in the order of the tables.
        faces: those that every method could restore.
        set_values: of the metrics of sets.
        failures: faces that were left out, since they could not be read or restored.
        unmatched: pictures without a partner.
        versions: of the libraries that were used.
    """

    protocol: dict[str, Any]
    metrics: tuple[MetricFacts, ...]
    unavailable: dict[str, str]
    methods: tuple[MethodFacts, ...]
    faces: tuple[FaceResult, ...]
    set_values: tuple[SetResult, ...] = ()
    failures: tuple[Failure, ...] = ()
    unmatched: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def face_metrics(self) -> tuple[MetricFacts, ...]:
        """The metrics that give each face a value."""
        return tuple(metric for metric in self.metrics if not metric.of_sets)

    def values(
        self, metric: str, faces: Sequence[FaceResult] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return method to values, for those faces to which the metric gives a value under every method.

        Args:
            metric: its name.
            faces: of this evaluation; all when None.
        """
        names = [method.name for method in self.methods]
        chosen = self.faces if faces is None else faces
        rows = [[face.values[name].get(metric) for name in names] for face in chosen]
        whole = np.array([row for row in rows if None not in row], dtype=np.float64).reshape(-1, len(names))
        return {name: whole[:, column] for column, name in enumerate(names)}

    def parts(self) -> Iterator[tuple[str, str, list[FaceResult]]]:
        """Yield what the faces are split by, the part, and its faces: all, then each set, then each group."""
        yield "all", "all", list(self.faces)
        labels = {"set": [face.set_name for face in self.faces]}
        for column in sorted({column for face in self.faces for column in face.groups}):
            labels[column] = [face.groups.get(column, "") for face in self.faces]
        for column, own in labels.items():
            for label in _in_order(own):
                yield column, label, [f for f, name in zip(self.faces, own, strict=True) if name == label]

    def summary(self) -> list[dict[str, Any]]:
        """Return mean, interval and number of faces of each method and metric, for each part of the faces."""
        return [
            {"by": by, "part": part, "method": method, "metric": metric.name, **asdict(estimate(values))}
            for by, part, faces in self.parts()
            for metric in self.face_metrics
            for method, values in self.values(metric.name, faces).items()
        ]

    def to_json(self) -> str:
        """Return the text of a file that `read_evaluation` reads; the summary in it is for other readers."""
        content = {"schema": SCHEMA, "summary": self.summary(), **asdict(self)}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def read_evaluation(path: Path) -> Evaluation:
    """Return the evaluation that a JSON file holds.

    Raises:
        ConfigError: the file cannot be read, or is of another kind.
    """
    with refusing(lambda why: ConfigError(f"'{path}' cannot be read: {why}; give an evaluation.json")):
        content = parse_json(read_text(path, most_bytes=MOST_RESULT_BYTES))
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ConfigError(
            f"'{path}' is no result of 'facerestore evaluate' that this version reads (schema {found!r}, expected"
            f" {SCHEMA!r}); give an evaluation.json"
        )
    with refusing(lambda why: ConfigError(f"'{path}' is damaged: {why}; measure again")):
        own = {key: value for key, value in content.items() if key not in ("schema", "summary")}
        if set(own) != set(names_of(Evaluation)):
            raise ValueError(f"its entries are {sorted(own)}")
        found = make(Evaluation, own)
        _check_shown(found)
        return found


def _check_shown(found: Evaluation) -> None:
    """Raise ValueError where a value deep within cannot be shown or compared."""
    methods = {method.name for method in found.methods}
    for face in found.faces:
        if missing := methods - face.values.keys():
            raise ValueError(f"'{face.name}' has no values of '{min(missing)}'")
        values = [value for own in face.values.values() for value in own.values() if value is not None]
        if not all(map(math.isfinite, values)):
            raise ValueError(f"the values of '{face.name}' are no numbers")


def _in_order(labels: Sequence[str]) -> list[str]:
    """Return the different labels; those of bins from the lowest."""

    def key(label: str) -> tuple[int, float, str]:
        first = label.split()[0] if label.split() else ""
        place = {"below": 0}.get(first, 1)
        try:
            return place, float(first), label
        except ValueError:
            return place, float("inf"), label

    return sorted(set(labels), key=key)

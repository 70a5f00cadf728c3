"""Merges two results whose protocols agree, and refuses others with what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from facerestore.errors import ConfigError, count
from facerestore.evaluation.cases import NAMES_SHOWN
from facerestore.evaluation.result import Evaluation, FaceResult, MethodFacts, MetricFacts

TOLERANCE = 1e-3
"""Share of a value by which the same method may differ between two machines: float32 networks do by about 1e-5."""


@dataclass(frozen=True, slots=True)
class Named:
    """An evaluation and its name, for messages and ambiguous methods."""

    name: str
    evaluation: Evaluation


def merge(first: Named, second: Named) -> tuple[Evaluation, tuple[str, ...]]:
    """Return one evaluation with the methods of both, and notes on what was left out.

    Methods of one name that are the same (by their facts) are taken once, from the first; others of one name are told
    apart by the name of their evaluation. Metrics that only one has are left out.

    Raises:
        ConfigError: the protocols differ, or the same method has other values; the message names what.
    """
    check_alike(first, second)
    a, b = first.evaluation, second.evaluation
    common = [metric.name for metric in a.metrics if metric.name in {m.name for m in b.metrics}]
    names = _names_in_merged(first, second)
    b_faces = {face.name: face for face in b.faces}
    faces = tuple(_merged_face(face, b_faces[face.name], names, common) for face in a.faces)
    added = tuple(replace(m, name=names[m.name]) for m in b.methods if m.name in names)
    sets = [value for value in a.set_values if value.metric in common]
    sets += [
        replace(v, method=names[v.method]) for v in b.set_values if v.method in names and v.metric in common
    ]
    merged = replace(
        a,
        metrics=tuple(metric for metric in a.metrics if metric.name in common),
        methods=(*a.methods, *added),
        faces=faces,
        set_values=tuple(sets),
        failures=(),
        unavailable={},
    )
    return merged, tuple(_merge_notes(first, second, common))


def check_alike(first: Named, second: Named) -> None:
    """Raise ConfigError, naming all that differs, unless the numbers of both mean the same."""
    a, b = first.evaluation, second.evaluation
    different = list(_differing_entries(_comparable_protocol(a.protocol), _comparable_protocol(b.protocol)))
    different += _unlike_faces(first, second)
    theirs = {metric.name: metric for metric in b.metrics}
    common = [metric for metric in a.metrics if metric.name in theirs]
    for metric in common:
        for key, one, other in _differing_entries(metric.protocol, theirs[metric.name].protocol):
            different.append((f"{metric.title}, {key}", one, other))
    if not common:
        different.append(("metrics", _metric_titles(a.metrics), _metric_titles(b.metrics)))
    if different:
        told = "; ".join(f"{key}: {one} and {other}" for key, one, other in different)
        raise ConfigError(
            f"'{first.name}' and '{second.name}' were not measured alike, so their numbers do not compare. {told}"
        )
    _check_same_methods(first, second, common)


def _comparable_protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal; the hash of all faces is left to the faces, which can be named."""
    return {key: value for key, value in protocol.items() if key not in ("faces", "inputs_sha256")}


def _differing_entries(
    a: Mapping[str, Any], b: Mapping[str, Any], at: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, value in one, value in the other."""
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)
        name = f"{at}{key.replace('_', ' ')}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differing_entries(one, other, f"{name}, ")
        elif one != other:
            yield name, _value_text(one), _value_text(other)


def _value_text(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _metric_titles(metrics: tuple[MetricFacts, ...]) -> str:
    return ", ".join(metric.title for metric in metrics)


def _unlike_faces(first: Named, second: Named) -> Iterator[tuple[str, str, str]]:
    one, other = ({face.name: face.sha256 for face in named.evaluation.faces} for named in (first, second))
    if only := sorted(set(one) ^ set(other)):
        yield f"faces (such as {', '.join(only[:NAMES_SHOWN])})", str(len(one)), str(len(other))
    changed = [name for name in sorted(set(one) & set(other)) if one[name] != other[name]]
    if changed:
        name = changed[0]
        what = f"pixels of {count(len(changed), 'face')} (such as {', '.join(changed[:NAMES_SHOWN])}), sha256"
        yield what, one[name][:12], other[name][:12]


def _check_same_methods(first: Named, second: Named, common: list[MetricFacts]) -> None:
    """Raise ConfigError where one method has other values in the two."""
    theirs = {face.name: face for face in second.evaluation.faces}
    for method in _in_both(first, second):
        for metric in common:
            for face in first.evaluation.faces:
                one = face.values[method].get(metric.name)
                other = theirs[face.name].values[method].get(metric.name)
                if one is None or other is None:
                    continue
                if abs(one - other) > TOLERANCE * max(abs(one), abs(other), TOLERANCE):
                    raise ConfigError(
                        f"'{method}' has {metric.title} {one:g} on '{face.name}' in '{first.name}' and {other:g} in"
                        f" '{second.name}', though both say that it is the same method; measure both anew"
                    )


def _in_both(first: Named, second: Named) -> list[str]:
    """Return the names of methods that are the same in both."""
    facts = {method.name: _facts_but_device(method) for method in second.evaluation.methods}
    return [m.name for m in first.evaluation.methods if facts.get(m.name) == _facts_but_device(m)]


def _facts_but_device(method: MethodFacts) -> dict[str, Any]:
    """Return the facts of a method but for where it ran."""
    return {key: value for key, value in method.facts.items() if key != "device"}


def _names_in_merged(first: Named, second: Named) -> dict[str, str]:
    """Return what the methods of the second that are not in the first are called."""
    same = _in_both(first, second)
    taken = {method.name for method in first.evaluation.methods}
    return {
        method.name: f"{method.name} ({second.name})" if method.name in taken else method.name
        for method in second.evaluation.methods
        if method.name not in same
    }


def _merged_face(
    one: FaceResult, other: FaceResult, names: Mapping[str, str], common: list[str]
) -> FaceResult:
    values = {**one.values, **{new: other.values[old] for old, new in names.items()}}
    kept = {
        method: {key: value for key, value in found.items() if key in common}
        for method, found in values.items()
    }
    return replace(one, values=kept, groups={**other.groups, **one.groups})


def _merge_notes(first: Named, second: Named, common: list[str]) -> Iterator[str]:
    for named in (first, second):
        only = [metric.title for metric in named.evaluation.metrics if metric.name not in common]
        if only:
            yield f"left out, since only '{named.name}' has them: {', '.join(only)}"
    for package, one, other in _differing_entries(first.evaluation.versions, second.evaluation.versions):
        yield f"{package} was {one} in '{first.name}' and {other} in '{second.name}'; last digits may differ"

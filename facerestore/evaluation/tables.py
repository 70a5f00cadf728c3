"""An evaluation as Markdown: tables with intervals, what was not measured and why, and the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facerestore.errors import count
from facerestore.evaluation.bootstrap import Estimate, estimate
from facerestore.evaluation.cases import NAMES_SHOWN
from facerestore.evaluation.methods import INPUT
from facerestore.evaluation.metrics import metric_title
from facerestore.evaluation.result import Evaluation, FaceResult, MetricFacts

NOTHING = "n/a"

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}

FAILURES_SHOWN = 10
"""How many left out pictures a report names; the JSON file has all."""


def markdown(evaluation: Evaluation, *, against: str = INPUT, notes: Sequence[str] = ()) -> str:
    """Return the whole report.

    Args:
        evaluation: what was found.
        against: the method that the others' gains are over; paired, face by face.
        notes: further remarks, a line each.
    """
    parts = [
        f"# Evaluation\n\n{_opening_paragraph(evaluation)}",
        main_table(evaluation),
        f"## Gain over {against}\n\n{_GAIN}\n\n{gain_table(evaluation, against)}",
    ]
    parts_by: dict[str, int] = Counter(by for by, _, _ in evaluation.parts())
    for column, parts_of in parts_by.items():
        # One set is the whole, which stands above already.
        if column != "all" and (column != "set" or parts_of > 1):
            parts.append(f"## By {column}\n\n{split_table(evaluation, column)}")
    parts += [part for part in (_not_measured(evaluation), _left_out(evaluation)) if part]
    if notes:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in notes))
    parts.append(f"## Protocol\n\n{_protocol_lines(evaluation)}")
    return "\n\n".join(parts) + "\n"


_GAIN = (
    "Differences face by face, the better direction positive, with 95% intervals: where one excludes 0, the gain is"
    " told from chance."
)


def main_table(evaluation: Evaluation) -> str:
    """Return the table of all faces: a row for each method, a column for each metric."""
    columns = [_column_cells(evaluation, metric, evaluation.faces) for metric in evaluation.metrics]
    rows = [[m.name, *(column[m.name] for column in columns)] for m in evaluation.methods]
    return _markdown_table(["method", *(_column_heading(metric) for metric in evaluation.metrics)], rows)


def gain_table(evaluation: Evaluation, against: str) -> str:
    """Return the paired differences of every other method from ``against``, the better direction positive."""
    metrics = evaluation.face_metrics
    columns = [gains(evaluation, metric, against) for metric in metrics]
    rows = [
        [
            m.name,
            *(
                _interval_text(column[m.name], metric.decimals, signed=True)
                for column, metric in zip(columns, metrics, strict=True)
            ),
        ]
        for m in evaluation.methods
        if m.name != against
    ]
    return _markdown_table(["method", *(_title_with_unit(metric) for metric in metrics)], rows)


def gains(evaluation: Evaluation, metric: MetricFacts, against: str) -> dict[str, Estimate]:
    """Return method to its mean gain over ``against``, positive where it is better, with its interval."""
    values = evaluation.values(metric.name)
    return {name: estimate(metric.gain(found, values[against])) for name, found in values.items()}


def split_table(evaluation: Evaluation, column: str) -> str:
    """Return the table with rows for each part of the faces: each set for ``set``, else each group of a column."""
    metrics = evaluation.face_metrics
    rows = []
    for by, part, faces in evaluation.parts():
        if by == column:
            columns = [_column_cells(evaluation, metric, faces) for metric in metrics]
            rows += [
                [part, str(len(faces)), m.name, *(c[m.name] for c in columns)] for m in evaluation.methods
            ]
    return _markdown_table(
        [column, "faces", "method", *(_column_heading(metric) for metric in metrics)], rows, words=3
    )


def _column_cells(evaluation: Evaluation, metric: MetricFacts, faces: Sequence[FaceResult]) -> dict[str, str]:
    """Return method to what a table shows of a metric."""
    if metric.of_sets:
        return {
            value.method: _interval_text(Estimate(value.value, value.low, value.high, 0), metric.decimals)
            for value in evaluation.set_values
            if value.metric == metric.name
        }
    values = evaluation.values(metric.name, faces)
    return {
        name: _interval_text(estimate(found), metric.decimals, of=len(faces))
        for name, found in values.items()
    }


def _interval_text(found: Estimate, decimals: int, *, signed: bool = False, of: int | None = None) -> str:
    if found.mean is None:
        return NOTHING
    form = f"{'+' if signed else ''}.{decimals}f"
    text = f"{found.mean:{form}}"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:{form}}, {found.high:{form}}]"
    return text if of is None or found.count == of else f"{text} ({found.count} of {of} faces)"


def _column_heading(metric: MetricFacts) -> str:
    return f"{_title_with_unit(metric)} {ARROWS[metric.better]}"


def _title_with_unit(metric: MetricFacts) -> str:
    comma = ", " if " " in metric.unit else " "
    return f"{metric.title}{comma}{metric.unit}" if metric.unit else metric.title


def _markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """Return a Markdown table whose first ``words`` columns are aligned to the left."""
    rule = ["---" if column < words else "--:" for column in range(len(heading))]
    lines = [heading, rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _opening_paragraph(evaluation: Evaluation) -> str:
    protocol = evaluation.protocol
    source, sets = protocol["source"], {face.set_name for face in evaluation.faces}
    origin = {
        "pairs": "pairs of pictures",
        "faces": "faces without originals",
        "degradation": f"degraded by the preset '{source.get('preset')}', seed {source.get('seed')}",
    }[source["kind"]]
    of_sets = f" of {len(sets)} sets" if len(sets) > 1 else ""
    reference = protocol.get("reference")
    compared = (
        f" FID and KID compare with {reference['faces']} faces ({reference['what']})." if reference else ""
    )
    unknown = (
        ""
        if source["kind"] == "degradation"
        else " Faces that came at full size have no lower resolution that is known: there bicubic is the input."
    )
    return (
        f"{count(len(evaluation.faces), 'face')}{of_sets}, {protocol['face_size']} px, {origin}. Means over faces, in"
        f" brackets their 95% bootstrap intervals; arrows say which way is better.{compared}{unknown}"
    )


def _not_measured(evaluation: Evaluation) -> str:
    if not evaluation.unavailable:
        return ""
    lines = [f"- {metric_title(name)}: {why}" for name, why in evaluation.unavailable.items()]
    return "## Not measured\n\n" + "\n".join(lines)


def _left_out(evaluation: Evaluation) -> str:
    lines = [
        f"- {each.name}{'' if each.method is None else f' ({each.method})'}: {each.message}"
        for each in evaluation.failures[:FAILURES_SHOWN]
    ]
    if len(evaluation.failures) > FAILURES_SHOWN:
        lines.append(f"- and {len(evaluation.failures) - FAILURES_SHOWN} more")
    if evaluation.unmatched:
        shown = "; ".join(evaluation.unmatched[:NAMES_SHOWN])
        more = len(evaluation.unmatched) - NAMES_SHOWN
        lines.append(f"- without a partner: {shown}{f' and {more} more' if more > 0 else ''}")
    return "## Left out of every row\n\n" + "\n".join(lines) if lines else ""


def _protocol_lines(evaluation: Evaluation) -> str:
    lines = [f"- {key.replace('_', ' ')}: {_in_words(value)}" for key, value in evaluation.protocol.items()]
    lines += [f"- {metric.title}: {_in_words(metric.protocol)}" for metric in evaluation.metrics]
    for method in evaluation.methods:
        facts = {key: value for key, value in method.facts.items() if value is not None}
        if "tuned_on" in facts:
            facts["tuned_on"] = count(len(facts["tuned_on"]), "face")
        lines.append(f"- {method.name}: {_in_words(facts)}")
    lines.append(f"- versions: {_in_words(evaluation.versions)}")
    return "\n".join(lines)


def _in_words(value: Any) -> str:
    """Return plain values as words."""
    return "; ".join(_flat_words(value)) if isinstance(value, Mapping) else _value_text(value)


def _flat_words(values: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{at}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat_words(value, f"{name} ")
        elif value is not None:
            yield f"{name} {_value_text(value)}"


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_value_text(item) for item in value)
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

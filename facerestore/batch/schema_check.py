"""Holds values to a JSON Schema, as far as the schema of reports goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_KNOWN: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None), "array": list,
    "object": dict,
}  # fmt: skip
WORDS = frozenset({
    "$schema", "$id", "$defs", "title", "description", "type", "properties", "required", "additionalProperties",
    "items", "minItems", "maxItems", "anyOf", "enum", "const", "if", "then", "$ref",
})  # fmt: skip
"""What a schema may consist of; what only describes is passed over."""

UNDESCRIBED = "which is not described"
"""How a fault ends that is a key more than the schema has: a later version may have written it."""


def faults(value: Any, schema: Schema, *, root: Schema | None = None, place: str = "report") -> list[str]:
    """Return what of a value, made of what JSON has, is not as a schema says.

    Args:
        value: to be held to the schema.
        schema: of `WORDS` alone.
        root: the schema whose ``$defs`` are meant; the same one when None.
        place: what to call the value.
    """
    root = root or schema
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root=root, place=place)
    if "anyOf" in schema:
        tried = [faults(value, one, root=root, place=place) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{place} is {_shown(value)}, not {' or '.join(kinds)}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [f"{place} is {_shown(value)}"]
    if isinstance(value, list):
        return _of_list(value, schema, root, place)
    return _of_object(value, schema, root, place) if isinstance(value, dict) else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _KNOWN[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_list(value: list[Any], schema: Schema, root: Schema, place: str) -> list[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return [f"{place} has {len(value)} items"]
    inner = schema.get("items", {})
    return [f for i, item in enumerate(value) for f in faults(item, inner, root=root, place=f"{place}[{i}]")]


def _of_object(value: dict[str, Any], schema: Schema, root: Schema, place: str) -> list[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    found = [f"{place} lacks {name}" for name in schema.get("required", []) if name not in value]
    for name, item in value.items():
        if name not in known and others is False:
            found.append(f"{place} has {name[:80]}, {UNDESCRIBED}")
        else:
            found += faults(item, known.get(name, others or {}), root=root, place=f"{place}.{name[:80]}")
    if "if" in schema and not faults(value, schema["if"], root=root):
        found += faults(value, schema["then"], root=root, place=place)
    return found

"""Holds values to a JSON Schema, as far as the schema of reports goes; one that has more is refused."""

import json

KNOWN = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
KNOWN |= {"array": list, "object": dict}
WORDS = {
    "$schema", "$id", "$defs", "title", "description", "type", "properties", "required", "additionalProperties",
    "items", "minItems", "maxItems", "anyOf", "enum", "const", "if", "then", "$ref",
}  # fmt: skip


def faults(value, schema, *, root=None, place="report"):
    """Return what of a value, made of what JSON has, is not as a schema says."""
    root = root or schema
    assert set(schema) <= WORDS, set(schema) - WORDS
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root=root, place=place)
    if "anyOf" in schema:
        tried = [faults(value, one, root=root, place=place) for one in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{place} is {value!r}, not {kinds}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [f"{place} is {value!r}"]
    if isinstance(value, list):
        return _of_list(value, schema, root, place)
    return _of_object(value, schema, root, place) if isinstance(value, dict) else []


def _is(value, kind):
    return isinstance(value, KNOWN[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _of_list(value, schema, root, place):
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return [f"{place} has {len(value)} items"]
    inner = schema.get("items", {})
    return [f for i, item in enumerate(value) for f in faults(item, inner, root=root, place=f"{place}[{i}]")]


def _of_object(value, schema, root, place):
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    found = [f"{place} lacks {name}" for name in schema.get("required", []) if name not in value]
    for name, item in value.items():
        if name not in known and others is False:
            found.append(f"{place} has {name}, which is not described")
        else:
            found += faults(item, known.get(name, others or {}), root=root, place=f"{place}.{name}")
    if "if" in schema and not faults(value, schema["if"], root=root):
        found += faults(value, schema["then"], root=root, place=place)
    return found


def plain(value):
    """Return a value as it comes out of a JSON file."""
    return json.loads(json.dumps(value))

"""The JSON Schema of the report of a run, draft 2020-12: what ``facerestore schema`` prints.

Records that go into the report as they are describe themselves, by their fields and docstrings; what is put together
in ``facerestore.batch.report`` and ``facerestore.pipeline.report`` is described here. Objects name all their keys, so
that the tests notice a key that is not described.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, cast, get_args, get_origin

from facerestore.batch.outcome import Status
from facerestore.batch.report import REPORT_SCHEMA, Summary
from facerestore.config import TASKS, RestoreConfig
from facerestore.fields import documented, type_of
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.routing import Candidate
from facerestore.quality.judge import FaceQuality
from facerestore.types import Effect, Guarded, Outcome, Search

Schema: TypeAlias = dict[str, Any]

_PLAIN: Mapping[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    NoneType: "null",
}


def report_schema() -> Schema:
    """Return the schema of what ``--report`` and ``--json`` of ``enhance`` and the other tasks write."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:facerestore:report:{REPORT_SCHEMA}",
        "title": "facerestore report",
        "description": "The number of the schema is raised when a key changes its meaning or goes away.",
        **_object(
            {
                "schema": {"const": REPORT_SCHEMA},
                "facerestore": _said(_of(str), "version of the program"),
                "restorer": _said(
                    _of(str | None), "what restored, in one line; null where no photo was there"
                ),
                "weights": _said(_of(PipelineFacts | None), "where the networks come from"),
                "config": _said(_of(RestoreConfig | None), "what was chosen"),
                "left_out": _said(
                    _of(list[str]), "files that are results of an earlier run, or drawn by one"
                ),
                "not_selected": _said(_of(list[str]), "photos that are not taken by the patterns"),
                "not_read": _said(_of(list[str]), "files that are no pictures that are read here"),
                "not_searched": _said(_of(list[str]), "directories that were not asked for"),
                "faults": _said(_of(list[str]), "what was wrong with directories"),
                "summary": _of(Summary),
                "interrupted": _said(_of(bool), "the run was broken off"),
                "photos": {"type": "array", "items": {"$ref": "#/$defs/photo"}},
            }
        ),
        "$defs": {"photo": _photo(), "face": _face()},
    }


def answer_schemas() -> dict[str, Schema]:
    """Return the schemas of what a service tells of a photo: ``photo`` restored, ``look`` at it, and a ``face``."""
    head = {
        "schema": {"const": REPORT_SCHEMA},
        "facerestore": _said(_of(str), "version of the program"),
        "seconds": _said(_of(float), "wall time of the work"),
    }
    done = _photo_done()
    looked = {name: done[name] for name in ("size", "notes", "found", "search", "faces")}
    pages = _said(_of(int), "how many the file has")
    return {
        "photo": _object(head | done | _photo_some(), needed=head | done),
        "look": _object(head | looked | {"pages": pages}),
        "face": _face(),
    }


@cache
def done_schema() -> Schema:
    """Return the schema of what the pipeline reports of a photo that was done, as journals keep it."""
    required = _photo_done()
    return {"type": "object", "properties": required, "required": list(required), "$defs": {"face": _face()}}


def _photo() -> Schema:
    always = {
        "input": _said(_of(str), "the photo; - for standard input"),
        "output": _said(_of(str | None), "the result; - for standard output, null where the photo failed"),
        "written": _said(_of(list[str]), "all files that were written, the result first"),
        "status": {"enum": [status.value for status in Status]},
        "name_shortened": _said(_of(bool), "its name was too long for a result's"),
        "error": _said(_of(str | None), "why it failed"),
        "seconds": _said(_of(float), "wall time, reading and writing included"),
        "earlier": _said(
            _of(bool), "an earlier run, or another one, has done it; this is what its journal says"
        ),
    }
    done, some = _photo_done(), _photo_some()
    return {
        **_object(always | done | some, needed=always),
        "if": {"properties": {"status": {"const": Status.DONE.value}}},
        "then": {"required": list(done)},
    }


def _photo_some() -> Schema:
    """Return the keys that only some photos have which were done."""
    return {
        "repair": _said(_repair(), "where damage in faces was looked for before they were restored"),
        "filled": _said(_filled(), "of inpainting, the damage that was filled"),
        "auto": _said(_auto(), "where each face has the network that suits it"),
        "clip": _said(_clip(), "of a video or an animation, whose faces here are those of one frame"),
        "pages": _said(_of(int), "of a photo of several pages, their number"),
        "searches": _said(_list({"anyOf": [_of(Search), _of(NoneType)]}), "what was looked at, page by page"),
    }


def _clip() -> Schema:
    return _object(
        {
            "frames": _of(int),
            "with_faces": _said(_of(int), "frames in which a face was found"),
            "restored": _said(_of(int), "frames in which one was restored"),
            "shown_frame": _said(_of(int), "the one whose faces are told: with the most of them restored"),
            "encoder": _of(str),
            "resumed_at": _said(_of(int), "frames that an earlier run had done"),
        }
    )


def _photo_done() -> Schema:
    """Return the keys of a photo that was done."""
    return {
        "facerestore": _of(str),
        "size": _said(_size(), "width and height, pixels"),
        "result_size": _size(),
        "task": {"enum": list(TASKS)},
        "damage": _said(_of(str | None), "what of the file is not the photo"),
        "notes": _said(_of(list[str]), "what people should know beside the faces' decisions"),
        "backend": _of(str),
        "official": _said(_of(bool), "by the test pipeline of an original program"),
        "face_size": _said(
            _of(int | None), "side of restored faces, pixels; null where each may have its own"
        ),
        "weights": _of(PipelineFacts),
        "detector": _of(str | None),
        "parser": _of(str | None),
        "mask": _of(str),
        "region": _of(str),
        "background": _maybe(_object({"name": _of(str), "scale": _of(float), "note": _of(str)})),
        "fidelity": _of(float | None),
        "detail": _of(float | None),
        "upscale": _of(float),
        "strength": _of(float),
        "found": _said(_of(int), "faces"),
        "restored": _of(int),
        "kept": _said(_of(dict[str, int]), "how many faces, by the code of the decision"),
        "effects": _said(_of(dict[str, int]), "restored faces by how much they were changed"),
        "absent_indices": _said(_of(list[int]), "of faces that were asked for and are not there"),
        "stage_seconds": _of(dict[str, float]),
        "faces": _said(_list({"$ref": "#/$defs/face"}), "left to right"),
        "search": _said(_of(Search | None), "what the detector looked at"),
        "advice": _said(_of(str | None), "what to try where no face was found"),
    }


def _face() -> Schema:
    always = {
        "index": _said(_of(int), "its place from the left, from 0"),
        "box": _said(_list(_of(float), 4), "left, top, right, bottom, pixels of the photo"),
        "landmarks": _said(_list(_list(_of(float), 2), 5), "eyes, nose, corners of the mouth"),
        "score": _said(_of(float), "the detector's confidence, 0 to 1"),
        "eye_distance_px": _of(float),
        "quality": _said(_of(FaceQuality | None), "what was measured on it"),
        "decision": {"enum": [outcome.value for outcome in Outcome]},
        "code": _said(_of(str), "of the decision"),
        "reason": _said(_of(str), "of the decision, for people"),
        "change": _said(_of(float | None), "mean absolute change within the face's oval, levels of 255"),
        "effect": _said({"enum": [*(effect.value for effect in Effect), None]}, "the change in a word"),
        "guard": _said(_of(Guarded | None), "how far it is from its input, and how much of it is used"),
        "strength": _of(float),
        "seconds": _said(_of(float), "of the network"),
        "precision": _of(str | None),
        "backend": _of(str | None),
        "weights": _of(str | None),
        "touched": _said(
            _of(list[int] | None), "left, top, right, bottom of the result, beyond which it changed nothing"
        ),
        "choice": _said(_of(str | None), "code of why this network was chosen"),
        "why": _said(_of(str | None), "the same for people"),
    }
    some = {
        "mask": _said(_of(str | None), "what its mask was made from"),
        "regions": _said(_of(dict[str, float]), "share of the crop by region that had its own strength"),
        "detail": _said(
            _of(float | None), "share of detail drawn into it; null where its network draws none"
        ),
        "page": _said(_of(int), "which page of the photo it is on, from 1"),
        "repaired": _said(_of(float | None), "how much of its crop was damaged and filled, 0 to 1"),
    }
    return _object(always | some, needed=always)


def _auto() -> Schema:
    return _object(
        {
            "rule": _of(str),
            "candidates": _of(list[Candidate]),
            "passed_over": _said(_of(dict[str, str]), "networks that could not be chosen, and why"),
            "used": _said(_of(dict[str, str | None]), "sha256 of the weights that ran"),
        }
    )


def _filled() -> Schema:
    return _object(
        {
            "source": _said(_of(str), "who has said what is damaged"),
            "share": _said(_of(float), "of the photo, 0 to 1"),
            "share_left": _said(_of(float), "of the damage, outside the restored faces, 0 to 1"),
        }
    )


def _repair() -> Schema:
    return _object(
        {
            "source": _said(_of(str), "who has found the damage"),
            "weights": _said(_of(str), "what has filled it"),
            "sha256": _of(str | None),
            "share": _said(_of(float), "of the photo, 0 to 1"),
            "faces": _said(_of(int), "that were filled"),
        }
    )


def _size() -> Schema:
    return _list(_of(int), 2)


def _object(properties: Mapping[str, Schema], *, needed: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if needed is None else needed),
        "additionalProperties": False,
    }


def _list(items: Schema, length: int | None = None) -> Schema:
    ends = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": items, **ends}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, _of(NoneType)]}


def _said(schema: Schema, text: str) -> Schema:
    return schema | {"description": text}


def _of(kind: Any) -> Schema:
    """Return the schema of a type, as JSON has its values."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    inner = get_args(kind)
    match get_origin(kind):
        case origin if origin in (Union, UnionType):
            plain = [_PLAIN[one] for one in inner if one in _PLAIN]
            return {"type": plain} if len(plain) == len(inner) else {"anyOf": [_of(one) for one in inner]}
        case origin if origin is list or (origin is tuple and inner[-1] is Ellipsis):
            return _list(_of(inner[0]))
        case origin if origin is tuple:
            items: Schema = _of(inner[0])
            return _list(items, len(inner))
        case origin if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": _of(inner[1])}
    return _record(kind)


def _record(kind: Any) -> Schema:
    """Return the schema of a record, its fields described by the docstrings under them or by its own."""
    assert is_dataclass(kind), f"{kind} is known to JSON"
    texts = documented(cast(Hashable, kind)) or _attributes(kind)
    properties = {}
    for each in fields(kind):
        schema = _of(type_of(cast(Hashable, kind), each.name))
        properties[each.name] = _said(schema, texts[each.name]) if texts.get(each.name) else schema
    return _object(properties)


def _attributes(kind: Any) -> dict[str, str]:
    """Return what the docstring of a record says of its attributes."""
    text = cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", text, re.DOTALL | re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}

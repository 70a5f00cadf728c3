"""The OpenAPI document of the service, made of the one declaration of options and of the schema of reports.

What is served is ``openapi.json`` beside this file, so that the front need not import what describes reports; a test
keeps the two the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from facerestore import __version__
from facerestore.batch.schema import answer_schemas
from facerestore.serve.answers import BOTH, JSON, MEDIA
from facerestore.serve.options import request_fields, schema_of
from facerestore.serve.problems import TYPE
from facerestore.serve.upload import FORM, RAW

Schema: TypeAlias = dict[str, Any]

_TEXT = {"type": "string"}
_BYTES = {"type": "string", "format": "binary"}


def document() -> Schema:
    """Return the document, OpenAPI 3.1."""
    parts = _pointed(answer_schemas())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "facerestore",
            "version": __version__,
            "description": "Restores the faces in photographs. Options have the names and the meaning that they have on"
            " the command line; unless given, they are what the service was started with.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**_work_paths(), **_job_paths(), **_state_paths()},
        "security": [{}, {"token": []}],
        "components": {
            "schemas": {**parts, "options": _options(), "problem": _problem(), "job": _job()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "where the service has one",
                }
            },
        },
    }


def _work_paths() -> Schema:
    return {
        "/v1/restore": {
            "post": _operation(
                "restore",
                "Restore a photo, and wait for it; the Accept header chooses picture, report or both.",
                _done(),
                refused=(406, 408, 413, 415, 422, 429, 500, 503, 504),
                sends=True,
            )
        },
        "/v1/faces": {
            "post": _operation(
                "faces",
                "Find the faces of a photo, and say what would be done with each; nothing is restored.",
                _answer("What was found.", {JSON: _ref("look")}),
                refused=(408, 413, 415, 422, 429, 500, 503, 504),
                sends=True,
            )
        },
    }


def _job_paths() -> Schema:
    name = {"name": "name", "in": "path", "required": True, "schema": _TEXT, "description": "id of the job"}
    begun = _answer("Accepted.", {JSON: _ref("job")}, status=202)
    begun["202"]["headers"] = {"Location": {"schema": _TEXT, "description": "where the job is told of"}}
    refused = (408, 413, 415, 422, 429, 503)
    return {
        "/v1/jobs": {
            "post": _operation(
                "begin_job", "Restore a photo without waiting for it.", begun, refused=refused, sends=True
            )
        },
        "/v1/jobs/{name}": {
            "parameters": [name],
            "get": _operation(
                "look_at_job",
                "Say how far a job is.",
                _answer("The job.", {JSON: _ref("job")}),
                refused=(404,),
            ),
            "delete": _operation(
                "delete_job",
                "Give a job up, and forget it.",
                _answer("Done.", {}, status=204),
                refused=(404,),
            ),
        },
        "/v1/jobs/{name}/result": {
            "parameters": [name],
            "get": _operation(
                "fetch_result",
                "Return what came of a job, as the Accept header chooses.",
                _done(),
                refused=(404, 406, 409, 413, 422, 500, 503, 504),
            ),
        },
    }


def _state_paths() -> Schema:
    status = _answer("It does.", {JSON: _shape({"status": _TEXT})})
    about = _shape(
        {
            "facerestore": _TEXT,
            "restorer": _TEXT,
            "limits": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
            "waiting": {"type": "integer"},
            "running": {"type": "integer"},
        }
    )
    paths = {
        "/healthz": _operation("health", "Say whether the service answers.", status, public=True),
        "/readyz": _operation(
            "readiness", "Say whether the service takes photos.", status, refused=(503,), public=True
        ),
        "/v1/service": _operation(
            "service", "Say what restores, and within which limits.", _answer("That.", {JSON: about})
        ),
        "/metrics": _operation(
            "metrics", "Counters for Prometheus.", _answer("The counters.", {"text/plain": _TEXT})
        ),
    }
    return {path: {"get": operation} for path, operation in paths.items()}


def _operation(
    name: str,
    summary: str,
    answers: Schema,
    *,
    refused: tuple[int, ...] = (),
    sends: bool = False,
    public: bool = False,
) -> Schema:
    """Return an operation.

    Args:
        name: its id.
        summary: what it does.
        answers: where it goes well.
        refused: statuses of its problems.
        sends: it takes a photo with options.
        public: it needs no token.
    """
    statuses = sorted({*refused, 400, 403, 421, *(() if public else (401,))})
    problems = {str(status): _problem_answer(status) for status in statuses}
    return {
        "operationId": name,
        "summary": summary,
        **({"parameters": _parameters(), "requestBody": _body()} if sends else {}),
        "responses": answers | problems,
        **({"security": []} if public else {}),
    }


def _parameters() -> list[Schema]:
    """Return the options as parameters of the query, which go with a photo that is the body."""
    return [
        {"name": each.name, "in": "query", "schema": schema_of(record, each)}
        for record, each in request_fields()
    ]


def _body() -> Schema:
    return {
        "required": True,
        "content": {
            **{media: {"schema": _BYTES} for media in RAW},
            FORM: {"schema": _ref("options"), "encoding": {"image": {"contentType": ", ".join(RAW)}}},
        },
    }


def _options() -> Schema:
    """Return the form: the photo, and the options as its other parts."""
    own = {each.name: schema_of(record, each) for record, each in request_fields()}
    return {
        "type": "object",
        "properties": {"image": {**_BYTES, "description": "the photo's file"}, **own},
        "required": ["image"],
        "additionalProperties": False,
    }


def _done() -> Schema:
    pictures = dict.fromkeys(MEDIA.values(), _BYTES)
    both = {media: _shape({"image": _BYTES, "report": _ref("photo")}) for media in BOTH}
    return _answer("The restored photo, its report, or both.", {**pictures, JSON: _ref("photo"), **both})


def _problem() -> Schema:
    known = {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "what happened, the value, and the remedy"},
        "option": {**_TEXT, "description": "of the request, where one is at fault"},
        "value": {**_TEXT, "description": "that was given"},
        "remedy": {**_TEXT, "description": "what to do"},
        "retry_after": {"type": "integer", "description": "seconds after which it may be gone"},
    }
    return {**_shape(known), "required": ["type", "title", "status", "detail"]}


def _job() -> Schema:
    nothing = {"type": "null"}
    return _shape(
        {
            "id": _TEXT,
            "state": {"enum": ["queued", "running", "done", "failed"]},
            "stage": {"type": ["string", "null"], "description": "that is under way"},
            "progress": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "problem": {"anyOf": [_ref("problem"), nothing], "description": "why it failed"},
            "result": {"type": ["string", "null"], "description": "where the result is fetched"},
        }
    )


def _answer(text: str, content: Mapping[str, Schema], *, status: int = 200) -> Schema:
    kinds = {media: {"schema": schema} for media, schema in content.items()}
    return {str(status): {"description": text, **({"content": kinds} if kinds else {})}}


def _problem_answer(status: int) -> Schema:
    answer: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {TYPE: {"schema": _ref("problem")}},
    }
    if status in (409, 429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return answer


def _shape(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _pointed(schema: Any) -> Any:
    """Return a schema whose references lead to where they lie in this document."""
    if isinstance(schema, Mapping):
        return {key: _pointed(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_pointed(value) for value in schema]
    return schema.replace("#/$defs/", "#/components/schemas/") if isinstance(schema, str) else schema

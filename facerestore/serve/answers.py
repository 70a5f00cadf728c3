"""How an answer goes out: the picture, its report, or both, as the client accepts them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from fastapi import Response

from facerestore.serve.messages import Answer
from facerestore.serve.problems import TYPE, Problem, RefusedError

MEDIA = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
}
"""Media types by format."""

JSON = "application/json"
BOTH = ("multipart/form-data", "multipart/mixed")

_RANGE = re.compile(r"\s*([\w!#$&^.+*-]+/[\w!#$&^.+*-]+)\s*(?:;(.*))?", re.DOTALL)
_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*")


def accepted(header: str) -> list[str]:
    """Return the media ranges of an ``Accept`` header, best first (RFC 9110, 12.5.1); all where it says nothing."""
    found = []
    for place, item in enumerate(header.lower().split(",")[:64]):
        if (match := _RANGE.fullmatch(item)) is None:
            continue
        qualities = (_QUALITY.fullmatch(one) for one in (match[2] or "").split(";"))
        quality = next((float(one[1]) for one in qualities if one is not None), 1.0)
        if quality > 0:
            found.append((-quality, match[1].count("*"), place, match[1]))
    return [media for *_, media in sorted(found)] if header.strip() else ["*/*"]


def wanted(header: str) -> str:
    """Return what a client wants of a restored photo: ``image``, ``report``, or a media type that holds both.

    Raises:
        RefusedError: it accepts nothing of that.
    """
    for media in accepted(header):
        if media in BOTH:
            return media
        if media in (JSON, "application/*"):
            return "report"
        if media in ("*/*", "image/*", *MEDIA.values()):
            return "image"
        if media == "multipart/*":
            return BOTH[1]
    raise RefusedError.make(
        406,
        f"nothing of '{header[:80]}' can be sent",
        value=header,
        remedy=f"accept image/*, {JSON}, or {' or '.join(BOTH)} for both",
    )


def answer_response(answer: Answer, what: str) -> Response:
    """Return the response with what is wanted of an answer."""
    if what == "report" or answer.picture is None or answer.format is None:
        return json_response(answer.report)
    media, name = MEDIA[answer.format], f"restored.{MEDIA[answer.format].partition('/')[2]}"
    if what == "image":
        return Response(
            answer.picture, media_type=media, headers={"content-disposition": f'inline; filename="{name}"'}
        )
    parts = [
        (f'name="image"; filename="{name}"', media, answer.picture),
        ('name="report"; filename="report.json"', JSON, json.dumps(answer.report).encode()),
    ]
    body, boundary = _multipart(parts)
    return Response(body, headers={"content-type": f"{what}; boundary={boundary}"})


def _multipart(parts: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """Return parts (disposition, media type, content) as one body, and its boundary (RFC 7578)."""
    boundary = secrets.token_hex(16)
    lines = []
    for disposition, media, content in parts:
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {media}\r\n\r\n"
        )
        lines += [head.encode(), content, b"\r\n"]
    return b"".join([*lines, f"--{boundary}--\r\n".encode()]), boundary


def json_response(
    value: Any, *, status: int = 200, media: str = JSON, headers: dict[str, str] | None = None
) -> Response:
    """Return a value as JSON."""
    return Response(json.dumps(value), status_code=status, media_type=media, headers=headers)


def problem_response(problem: Problem) -> Response:
    """Return a problem as RFC 9457 has it."""
    headers = {} if problem.retry_after is None else {"retry-after": str(problem.retry_after)}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response(problem.facts, status=problem.status, media=TYPE, headers=headers)

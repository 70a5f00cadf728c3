"""What every request goes through: who may come in, a name for it, its time, and an answer whatever happens."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facerestore.errors import FaceRestoreError
from facerestore.serve.answers import problem_response
from facerestore.serve.problems import Problem, RefusedError
from facerestore.serve.watching import Log, Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/healthz", "/readyz", "/openapi.json")
"""What needs no token: the page, which asks for it, and what tells nothing of photos."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: nothing of it is kept, framed, or asks another server."""


def is_local(host: str) -> bool:
    """Say whether an address or a name is that of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Door:
    """Lets requests in.

    Attributes:
        app: answers them.
        token: that they must bring; None where this machine alone is listened to.
        metrics: counts them.
        log: tells them.
    """

    app: ASGIApp
    token: str | None
    metrics: Metrics
    log: Log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = _Visit(scope, send)
        try:
            self._check(scope, visit.headers)
            await self.app(scope, receive, visit.send)
        except FaceRestoreError as error:
            visit.problem = Problem.of(error)
            await self._refuse(visit, scope, receive)
        except Exception as error:
            visit.problem = Problem.fault(error)
            self.log.event("fault", id=visit.name, error=repr(error))
            await self._refuse(visit, scope, receive)
        finally:
            self._tell(visit, scope)

    async def _refuse(self, visit: _Visit, scope: Scope, receive: Receive) -> None:
        if visit.status == 0 and visit.problem is not None:
            await problem_response(visit.problem)(scope, receive, visit.send)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise RefusedError for who may not come in."""
        if not scope["query_string"].isascii():  # some servers let it through, and what makes addresses fails
            raise RefusedError.make(
                400,
                "the options in the address are no ASCII",
                value=scope["query_string"],
                remedy="write other characters as %XX of UTF-8",
            )
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self.token is None and not is_local(name):  # another site's name may lead here
            raise RefusedError.make(
                421,
                f"'{host[:80]}' is not the name of this machine",
                value=host,
                remedy="ask for localhost, or start the service with a token",
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError.make(
                403,
                f"the page at '{origin[:80]}' is another server's",
                value=origin,
                remedy="use the page of this one, or a program",
            )
        path = scope["path"]
        if self.token is None or path in OPEN or path.startswith("/page/"):
            return
        given = headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise RefusedError.make(
                401, "the request brings no token, or another", remedy="send 'Authorization: Bearer TOKEN'"
            )

    def _tell(self, visit: _Visit, scope: Scope) -> None:
        """Count and log a request that is over."""
        route = getattr(scope.get("route"), "path", "none")
        seconds = time.perf_counter() - visit.begun
        self.metrics.request(route, visit.status, seconds)
        state: dict[str, Any] = scope.get("state") or {}
        problem = visit.problem or state.get("problem")
        self.log.event(
            "request",
            id=visit.name,
            method=scope["method"],
            route=route,
            status=visit.status or None,
            seconds=round(seconds, 4),
            problem=None if problem is None else problem.detail,
            **state.get("facts", {}),
        )


class _Visit:
    """One request and how it is answered."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.name = secrets.token_hex(8)
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.begun, self.status, self.problem = time.perf_counter(), 0, None
        self._send = send

    problem: Problem | None

    async def send(self, message: Message) -> None:
        """Send a part of the answer, its head with what all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {"x-request-id": self.name, **HEADERS}
            given = {name.lower() for name, _ in message["headers"]}
            more = [(n.encode(), v.encode()) for n, v in own.items() if n.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)

"""The routes of the service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from facerestore import __version__
from facerestore.config import RestoreConfig
from facerestore.errors import CancelledError, FaceRestoreError
from facerestore.serve.answers import answer_response, json_response, problem_response, wanted
from facerestore.serve.crew import Crew, Ticket
from facerestore.serve.door import Door
from facerestore.serve.jobs import BYTES_KEPT, Jobs
from facerestore.serve.messages import Answer, Order
from facerestore.serve.options import ServeOptions, asked
from facerestore.serve.problems import Problem, RefusedError
from facerestore.serve.upload import SHARE, Account, Budget, read_upload
from facerestore.serve.watching import Log, Metrics

CLIENT_GONE = 499
"""Status in log and metrics where nobody was left to be answered (as nginx has it)."""

SHARED = "gallery.css"
"""Colours and parts that the page shares with the gallery of runs."""

PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(slots=True)
class Service:
    """What the routes share.

    Attributes:
        options: how it was started.
        config: what requests begin with.
        crew: does the work.
        log: tells what happened.
    """

    options: ServeOptions
    config: RestoreConfig
    crew: Crew
    log: Log
    metrics: Metrics = field(init=False)
    budget: Budget = field(init=False)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        """Make what goes with these."""
        options = self.options
        self.metrics = Metrics(self.crew)
        self.budget = Budget(SHARE * options.max_bytes)
        self.jobs = Jobs(
            self.crew,
            options.jobs,
            BYTES_KEPT * options.max_bytes,
            options.keep_for,
            options.keep,
            lambda error: self.log.event("not kept", error=str(error)),
        )

    @asynccontextmanager
    async def order(self, request: Request, *, look: bool = False) -> AsyncIterator[tuple[Order, Account]]:
        """Yield what a request asks for, and the account of its bytes; raises RefusedError and ConfigError."""
        self.crew.check_room()
        options = self.options
        with self.budget.account() as account:
            upload = await read_upload(request, account, most=options.max_bytes, seconds=options.upload_limit)
            self.metrics.received(len(upload.data))
            facts(request)["received"] = len(upload.data)
            chosen = asked(self.config, upload.options)
            yield Order(upload.data, chosen.restore, chosen.output, look), account

    def lost(self, fault: FaceRestoreError | None) -> None:
        """Note that a process was lost, and why it could not start, where it said so."""
        self.metrics.lost.inc()
        self.log.event("process lost", error=None if fault is None else str(fault))

    async def answer(self, request: Request, ticket: Ticket) -> Answer:
        """Return what comes of an order; where its client goes away, it is given up.

        Raises:
            ClientDisconnect: it has gone.
            FaceRestoreError: why nothing came of it.
        """
        gone = asyncio.create_task(_gone(request))
        try:
            waited: set[asyncio.Future[Any]] = {gone, ticket.answer}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not ticket.answer.done():
                raise ClientDisconnect
            answer = ticket.answer.result()
        finally:
            gone.cancel()
            if not ticket.answer.done():
                self.crew.drop(ticket, CancelledError("the client went away; nothing was kept"))
        self.metrics.photo(answer.report)
        facts(request).update(told(answer))
        return answer


def facts(request: Request) -> dict[str, Any]:
    """Return what the log says of a request beside its status."""
    found: dict[str, Any] = request.scope.setdefault("state", {}).setdefault("facts", {})
    return found


def told(answer: Answer) -> dict[str, Any]:
    """Return what the log says of an answer: sizes and counts."""
    report = answer.report
    return {
        "size": report["size"],
        "faces": report["found"],
        "restored": report.get("restored"),
        "work_seconds": report["seconds"],
    }


async def _gone(request: Request) -> None:
    """Return when the client of a request that was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_app(service: Service, *, token: str | None = None) -> Door:
    """Return the application.

    Args:
        service: what it serves with.
        token: that requests must bring; None for none.
    """
    app = FastAPI(title="facerestore", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    _add_work(app, service)
    _add_jobs(app, service)
    _add_state(app, service)
    _add_page(app)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        where = f"{request.method} {request.url.path[:80]}"
        allowed = _methods(app, request) if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else ""
        remedy = f"use {allowed}" if allowed else "see /openapi.json"
        problem = Problem(error.status_code, f"{where}: {error.detail}; {remedy}", remedy=remedy)
        response = problem_response(problem)
        if allowed:
            response.headers["allow"] = allowed
        return response

    @app.exception_handler(FaceRestoreError)
    async def explain(request: Request, error: FaceRestoreError) -> Response:
        problem = Problem.of(error)
        request.scope.setdefault("state", {})["problem"] = problem
        return problem_response(problem)

    @app.exception_handler(Exception)
    async def confess(request: Request, error: Exception) -> Response:
        return problem_response(Problem.fault(error))

    @app.exception_handler(ClientDisconnect)
    async def leave(request: Request, error: ClientDisconnect) -> Response:
        service.metrics.gone.inc()
        return Response(status_code=CLIENT_GONE)

    return Door(app, token, service.metrics, service.log)


def _methods(app: FastAPI, request: Request) -> str:
    """Return the methods that a path knows; each of its routes knows one alone."""
    routes = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in routes for method in getattr(route, "methods", None) or ()}))


def _add_work(app: FastAPI, service: Service) -> None:
    @app.post("/v1/restore")
    async def restore(request: Request) -> Response:
        what = wanted(request.headers.get("accept", ""))
        async with service.order(request) as (order, _):
            answer = await service.answer(request, service.crew.take(order))
        return answer_response(answer, what)

    @app.post("/v1/faces")
    async def faces(request: Request) -> Response:
        async with service.order(request, look=True) as (order, _):
            answer = await service.answer(request, service.crew.take(order))
        return json_response(answer.report)


def _add_jobs(app: FastAPI, service: Service) -> None:
    jobs = service.jobs

    @app.post("/v1/jobs")
    async def begin(request: Request) -> Response:
        jobs.check_room()
        async with service.order(request) as (order, account):
            jobs.check_room()  # others may have come while this one was read
            ticket = service.crew.take(order)
            account.lend(ticket.answer)
        job = jobs.add(ticket)
        return json_response(job.facts, status=202, headers={"location": f"/v1/jobs/{job.name}"})

    @app.get("/v1/jobs/{name}")
    async def look(name: str) -> Response:
        return json_response(jobs.get(name).facts)

    @app.get("/v1/jobs/{name}/result")
    async def fetch(request: Request, name: str) -> Response:
        what, result = wanted(request.headers.get("accept", "")), jobs.get(name).result
        if isinstance(result, Answer):
            return answer_response(result, what)
        if result is not None:
            raise result
        raise RefusedError.make(
            409, "the job is not done", value=name, remedy="ask again in 1 s", retry_after=1
        )

    @app.delete("/v1/jobs/{name}")
    async def forget(name: str) -> Response:
        jobs.forget(name)
        return Response(status_code=204)


def _add_state(app: FastAPI, service: Service) -> None:
    crew, options = service.crew, service.options

    @app.get("/healthz")
    async def healthy() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz")
    async def ready() -> Response:
        if crew.ready:
            return json_response({"status": "ready"})
        why = "is stopping" if crew.stopping else "has not all its processes"
        raise RefusedError.make(503, f"the service {why}", remedy="ask again in 1 s", retry_after=1)

    @app.get("/v1/service")
    async def about() -> Response:
        limits = {name: getattr(options, name) for name in ("max_bytes", "time_limit", "keep_for")}
        return json_response(
            {
                "facerestore": __version__,
                "restorer": crew.description,
                "limits": {**limits, "max_pixels": service.config.max_pixels},
                "waiting": crew.waiting,
                "running": crew.running,
            }
        )

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    async def described() -> Response:
        return Response(_own_file("openapi.json"), media_type="application/json")


def _add_page(app: FastAPI) -> None:
    @app.get("/")
    async def page() -> Response:
        return Response(_own_file("page/index.html"), media_type="text/html")

    @app.get("/page/{name}")
    async def part(name: str) -> Response:
        kind = PAGE_TYPES.get(PurePosixPath(name).suffix)
        if kind is None or not re.fullmatch(r"[a-z]+\.[a-z]+", name):
            raise HTTPException(404)
        if name == SHARED:
            return Response(_own_file(name, "facerestore.pictures.gallery"), media_type=kind)
        try:
            return Response(_own_file(f"page/{name}"), media_type=kind)
        except FileNotFoundError as error:
            raise HTTPException(404) from error


def _own_file(name: str, package: str = "facerestore.serve") -> bytes:
    return files(package).joinpath(*name.split("/")).read_bytes()

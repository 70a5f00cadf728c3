"""Target ``service``: requests, given to the application in this process as a server would give them; no socket.

An answer must be whole: a head, a body with an end, a status that is known, a problem where it refuses. Whatever the
application answers with 500 because of a fault of ours is raised again.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlencode

import numpy as np

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.config import RestoreConfig
from facerestore.errors import FaceRestoreError
from facerestore.io import encode_image
from facerestore.pipeline.progress import Cancel
from facerestore.pipeline.restore import RestorePipeline
from facerestore.serve.app import CLIENT_GONE, Service, build_app
from facerestore.serve.crew import Crew, Ticket
from facerestore.serve.messages import Order, Recipe
from facerestore.serve.options import ServeOptions
from facerestore.serve.problems import TYPE, Problem, RefusedError
from facerestore.serve.watching import Log
from facerestore.serve.work import Kitchen
from facerestore.testing.drawn_faces import trial_faces
from facerestore.testing.line import DrawnFaceDetector, DrawnFaceParser, trial_photo
from facerestore.testing.trial import maps_of
from facerestore.types import AlignedFace, FaceImage, ParsingMap
from fuzz.kinds import Kind, lines, packed

_CONFIG = RestoreConfig(max_pixels=2**16, force=True)
_MOST_BYTES = 50_000
_FACE_SIZE = 64
_TOKEN = "0123456789abcdef"
_PIECE = 700  # bytes of a body that come at a time
_STUCK_S = 60.0
_BOUNDARY = b"edge"
_FORM = (b"content-type", b"multipart/form-data; boundary=" + _BOUNDARY)
_RAW = (b"content-type", b"application/octet-stream")
_HOST = (b"host", b"localhost:8000")

_OPTIONS = (
    {
        "strength": 0.7, "min_face": 3, "force": True, "upscale": 1.5, "faces": "0", "format": "png",
        "region": "eyes=0.3", "colour_match": True,
    },
    {
        "dial": "0:strength=0.4", "mask": "face,hair", "detail": 0.5, "detect_size": 640, "rotations": True, "page": 1,
        "format": "jpeg", "quality": 80,
    },
)  # fmt: skip
_ACCEPT = (b"image/png;q=0.5, application/json;q=0.1", b"multipart/form-data, */*;q=0.2", b"multipart/*")
_HEADS = (
    b"POST /v1/restore?strength=0.5\ncontent-type: image/png\naccept: image/*\ncontent-length: 40\n"
    b"origin: http://localhost:8000\nauthorization: Bearer 0123456789abcdef",
    b"GET /readyz\naccept: application/json\nhost: localhost",
    b"GET /page/page.css\nauthorization: Bearer 0123456789abcdef",
    b"POST /v1/faces\ncontent-type: image/jpeg;x=y\nauthorization: Bearer 0123456789abcdef\ntransfer-encoding: chunked",
)  # fmt: skip


def service() -> tuple[Kind, ...]:
    """Return requests one after another, and alone: head, form, query, what is accepted, and the photo itself."""
    photo, face, _ = trial_photo(_FACE_SIZE)
    pictures = {name: encode_image(photo, format=name) for name in ("PNG", "JPEG")}
    front = _Front(_Here(Kitchen(_CONFIG, partial(_line, face=face, parser=_Parser()))), pictures["JPEG"])
    jpeg = pictures["JPEG"]

    def post(path: bytes, *headers: tuple[bytes, bytes], body: bytes = jpeg) -> None:
        front.visit([_Visit(b"POST", path, [_HOST, *headers], body)])

    return (
        Kind("visits", _visits(), front.json_lines, "lines"),
        Kind("head", _HEADS, front.head),
        Kind("form", (_form(jpeg), _form(jpeg, strength="0.5", format="png")),
             lambda body: post(b"/v1/restore", _FORM, body=body)),
        Kind("options", tuple(map(packed, _OPTIONS)),
             lambda text: post(b"/v1/restore?" + query, _RAW) if (query := _query(text)) else None, "json"),
        Kind("accept", _ACCEPT, lambda text: post(b"/v1/restore", _RAW, (b"accept", text))),
        Kind("photo", tuple(pictures.values()), lambda body: post(b"/v1/restore", _RAW, body=body)),
    )  # fmt: skip


class _Halver(Restorer):
    """Restores by halving the contrast."""

    descriptor = Descriptor(name="halver", face_size=_FACE_SIZE)

    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        return [(face.lq * 0.5 + 0.25).astype(np.float32) for face in faces]


class _Parser(DrawnFaceParser):
    """Has drawn the map before."""

    def __init__(self) -> None:
        self._map = maps_of(trial_faces(_FACE_SIZE)[:1])[0]

    def parse(self, faces: Sequence[AlignedFace]) -> list[ParsingMap]:
        return [self._map for _ in faces]


def _line(config: RestoreConfig, *, face: Any, parser: Any) -> RestorePipeline:
    return RestorePipeline(DrawnFaceDetector(face), _Halver(), config=config, parser=parser)


class _Here(Crew):
    """Does orders in this process, at once."""

    def __init__(self, kitchen: Kitchen) -> None:
        super().__init__(Recipe(_CONFIG))
        self._kitchen = kitchen

    @property
    def ready(self) -> bool:
        return True

    def take(self, order: Order) -> Ticket:
        self.check_room()
        ticket = Ticket(1, order, asyncio.get_running_loop().create_future())
        try:
            ticket.settle(self._kitchen.do(order, cancel=Cancel(), on_progress=lambda progress: None))
        except FaceRestoreError as error:  # as a process tells it
            ticket.settle(RefusedError(Problem.of(error)))
        return ticket


class _Kept(Log):
    """Keeps the fault that the application was about to hide behind a 500."""

    fault: BaseException | None = None

    def event(self, name: str, **facts: Any) -> None:
        json.dumps({"event": name, **facts})
        if name == "fault":
            self.fault = sys.exc_info()[1]


@dataclass(slots=True)
class _Visit:
    """One request as a server hands it on."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    cut: bool = False  # its client goes away before the end
    head: dict[str, Any] = field(default_factory=dict)
    answer: bytes = b""
    whole: bool = False

    @property
    def scope(self) -> dict[str, Any]:
        path, _, query = self.target.partition(b"?")
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": self.method.decode("latin-1"),
            "scheme": "http", "path": unquote(path.decode("latin-1")), "raw_path": path, "query_string": query,
            "root_path": "", "headers": self.headers, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
        }  # fmt: skip

    async def given(self, app: Callable[..., Any]) -> None:
        """Give it to an application, and take what that answers."""
        stream, over = io.BytesIO(self.body), asyncio.Event()

        async def receive() -> dict[str, Any]:
            piece = stream.read(_PIECE)
            more = stream.tell() < len(self.body)
            if over.is_set() and not self.cut:
                await asyncio.Event().wait()
            if over.is_set() or (self.cut and not more):
                over.set()
                return {"type": "http.disconnect"}
            if not more:
                over.set()
            return {"type": "http.request", "body": piece, "more_body": more}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert not self.head, "an answer with two heads"
                self.head = message
            else:
                assert self.head, "a body without a head"
                assert not self.whole, "a body behind its end"
                self.answer += message.get("body", b"")
                self.whole = not message.get("more_body", False)

        await app(self.scope, receive, send)

    def check(self) -> None:
        """Say what is wrong with the answer; raises what the service refused."""
        assert self.whole, "an answer without an end"
        status = self.head["status"]
        for name, value in self.head["headers"]:
            assert not set(name + value) & set(b"\r\n\0"), f"the header {name!r} is {value!r}"
        if status < HTTPStatus.BAD_REQUEST or status == CLIENT_GONE:
            return
        headers = dict(self.head["headers"])
        assert headers[b"content-type"].startswith(TYPE.encode()), f"{status} is no problem"
        facts = json.loads(self.answer)
        assert (facts["status"], bool(facts["detail"])) == (status, True), (
            "a problem of another status or no words"
        )
        raise RefusedError.make(status, facts["detail"], remedy="-")


class _Front:
    """One service, which has forgotten all before each input, behind a token and without one."""

    def __init__(self, crew: Crew, picture: bytes) -> None:
        self._log, self._picture = _Kept(), picture
        options = ServeOptions(max_bytes=_MOST_BYTES, jobs=3)
        self._service = Service(options, _CONFIG, crew, self._log)
        self._doors = {token: build_app(self._service, token=token) for token in (None, _TOKEN)}

    def visit(self, visits: Sequence[_Visit], token: str | None = None) -> None:
        """Give it requests; raises what is wrong with an answer, and what the last one was refused for."""
        self._log.fault = None
        self._service.jobs._known.clear()
        asyncio.run(self._visit(self._doors[token], visits))
        if self._log.fault is not None:
            raise self._log.fault
        assert self._service.budget.used == 0, "bytes are counted that nobody holds"
        refused = [error for one in visits if (error := _refusal(one)) is not None]
        if refused:
            raise refused[-1]

    async def _visit(self, app: Callable[..., Any], visits: Sequence[_Visit]) -> None:
        job = b"none"
        async with asyncio.timeout(_STUCK_S):
            for one in visits:
                one.target = one.target.replace(b"{job}", job)
                await one.given(app)
                found = dict(one.head.get("headers", ())).get(b"location", b"")
                job = found.rpartition(b"/")[2] or job
                await self._service.jobs.settled()
            await asyncio.sleep(0)  # for what is told of futures

    def head(self, data: bytes) -> None:
        """Read a request line and headers, and send the picture behind them."""
        first, *rest = data.replace(b"\r", b"").replace(b"\0", b"").split(b"\n")
        method, _, target = first.partition(b" ")
        headers = [(n.strip().lower(), v.strip()) for n, _, v in (line.partition(b":") for line in rest)]
        for token in (None, _TOKEN):
            self.visit([_Visit(method, target, [_HOST, *headers], self._picture)], token)

    def json_lines(self, data: bytes) -> None:
        """Read a request a line."""
        try:
            given = [json.loads(line) for line in data.decode("utf-8").splitlines()[:20]]
        except (ValueError, RecursionError):
            return
        self.visit([self._of(one if isinstance(one, dict) else {}) for one in given])

    def _of(self, given: Mapping[str, Any]) -> _Visit:
        bodies = {"PHOTO": self._picture, "FORM": _form(self._picture, format="png")}
        headers = given.get("headers")
        pairs = headers.items() if isinstance(headers, dict) else ()
        words = _plain(given.get("body", ""))
        return _Visit(
            _plain(given.get("method", "GET")),
            _plain(given.get("target", "/")),
            [_HOST, *((_plain(name).lower(), _plain(value)) for name, value in pairs)],
            bodies.get(words.decode("latin-1"), words),
            bool(given.get("cut")),
        )


def _refusal(one: _Visit) -> FaceRestoreError | None:
    try:
        one.check()
    except FaceRestoreError as error:
        return error
    return None


def _plain(value: Any) -> bytes:
    """Return a value as the bytes that stand in a head."""
    text = str(value)[:10_000].encode("utf-8", "replace")
    return text.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")


def _query(text: bytes) -> bytes:
    """Return the members of a JSON object as options in an address; empty of another text."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return b""
    members = given.items() if isinstance(given, dict) else ()
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in members}
    return urlencode(words, errors="replace").encode()


def _form(photo: bytes, **options: str) -> bytes:
    """Return a form with a photo and options."""
    parts = [(b'name="%s"' % name.encode(), value.encode()) for name, value in options.items()]
    parts.append((b'name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg', photo))
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (_BOUNDARY, head, data)
        for head, data in parts
    )
    return body + b"--%s--\r\n" % _BOUNDARY


def _visits() -> tuple[bytes, ...]:
    form = {"content-type": "multipart/form-data; boundary=edge"}
    raw = {"content-type": "image/jpeg", "accept": "multipart/form-data"}
    return (
        lines(
            {"method": "POST", "target": "/v1/jobs", "headers": form, "body": "FORM", "cut": False},
            {"method": "GET", "target": "/v1/jobs/{job}"},
            {"method": "GET", "target": "/v1/jobs/{job}/result", "headers": {"accept": "application/json"}},
            {"method": "DELETE", "target": "/v1/jobs/{job}"},
        ),
        lines(
            {"method": "POST", "target": "/v1/faces?page=1", "headers": raw, "body": "PHOTO", "cut": False},
            {"method": "POST", "target": "/v1/restore?strength=0.5", "headers": raw, "body": "PHOTO"},
            {"method": "GET", "target": "/metrics"},
            {"method": "GET", "target": "/v1/service"},
        ),
        lines({"method": "GET", "target": "/"}, {"target": "/page/main.js"}, {"target": "/openapi.json"}),
    )

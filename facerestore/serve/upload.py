"""The photo and the options of a request, read as they come: in memory, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from facerestore.serve.answers import MEDIA
from facerestore.serve.problems import RefusedError

if TYPE_CHECKING:
    from fastapi import Request

RAW = (*MEDIA.values(), "application/octet-stream")
"""Media types of a photo as it is; any other of pictures does as well, for what a file is, its bytes say."""

FORM = "multipart/form-data"

MOST_PARTS = 64
MOST_FIELD_BYTES = 4096
SHARE = 4
"""All uploads together may take so many times what one may."""


class Budget:
    """Memory that all uploads and waiting photos share; raises RefusedError where there is no more.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.used = limit, 0

    @contextmanager
    def account(self) -> Iterator[Account]:
        """Yield an account of one request, which is closed at the end of the block."""
        own = Account(self)
        try:
            yield own
        finally:
            if not own.lent:
                own.close()

    def take(self, count: int) -> None:
        """Take so many bytes."""
        if self.used + count > self._limit:
            raise RefusedError.make(
                429,
                f"uploads hold {self.used} bytes, as many as all of them together may",
                value=self.used,
                remedy="send it again in 2 s",
                retry_after=2,
            )
        self.used += count


@dataclass(slots=True)
class Account:
    """What one request has taken of a budget."""

    budget: Budget
    taken: int = 0
    lent: bool = False

    def take(self, count: int) -> None:
        """Take so many bytes; raises RefusedError where there are no more."""
        self.budget.take(count)
        self.taken += count

    def close(self) -> None:
        """Give all of them back."""
        self.budget.used -= self.taken
        self.taken = 0

    def lend(self, until: asyncio.Future[Any]) -> None:
        """Keep them beyond the request, until something has come."""
        self.lent = True
        until.add_done_callback(lambda _: self.close())


@dataclass(slots=True)
class Upload:
    """What was sent.

    Attributes:
        data: the photo's file.
        options: their texts by name.
    """

    data: bytes = b""
    options: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        """Add an option; raises RefusedError where it is there already."""
        if name in self.options:
            raise RefusedError.make(
                422, f"option '{name[:80]}' is given twice", value=name, remedy="give it once"
            )
        self.options[name] = value


# What its parser warns of, line by line on standard error where nobody listens, it raises too, and the request is told.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


async def read_upload(request: Request, account: Account, *, most: int, seconds: float) -> Upload:
    """Return what a request sends: a picture as its body with options in the query, or a form.

    Args:
        request: not yet read.
        account: takes the bytes as they come.
        most: bytes of the photo.
        seconds: for all of it.

    Raises:
        RefusedError: it is too large or too slow, of another type, no form, or without a photo.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, *RAW) and not kind.startswith("image/"):
        raise RefusedError.make(
            415,
            f"the request is of type '{kind[:80]}'",
            value=kind,
            remedy=f"send one of {', '.join(RAW)}, or {FORM} with the photo as 'image'",
        )
    try:
        async with asyncio.timeout(seconds):
            upload = await _read(request, account, kind, most)
    except TimeoutError as error:
        raise RefusedError.make(
            408, f"the upload took longer than {seconds:g} s", value=seconds, remedy="send a smaller photo"
        ) from error
    if not upload.data:
        wanted = "send a form with the photo as 'image'" if kind == FORM else "send its bytes as the body"
        raise RefusedError.make(422, "there is no photo in the request", remedy=wanted)
    return upload


async def _read(request: Request, account: Account, kind: str, most: int) -> Upload:
    upload = Upload()
    for name, value in request.query_params.multi_items():
        upload.add(name, value)
    announced = request.headers.get("content-length", "0")
    envelope = MOST_PARTS * 2 * MOST_FIELD_BYTES if kind == FORM else 0
    if announced.isdecimal() and len(announced) <= 18 and int(announced) > most + envelope:
        await _let_pass(request.stream(), most)
        raise too_large(int(announced), most)
    if kind == FORM:
        await _read_form(request, account, upload, most)
        return upload
    chunks = []
    async for chunk in request.stream():
        if account.taken + len(chunk) > most:
            raise too_large(account.taken + len(chunk), most)
        account.take(len(chunk))
        chunks.append(chunk)
    upload.data = b"".join(chunks)
    return upload


def too_large(size: int, most: int) -> RefusedError:
    """Return the refusal of a photo with too many bytes."""
    return RefusedError.make(
        413,
        f"the photo has {size} bytes or more, over the limit of {most}",
        value=size,
        remedy="send a smaller one",
    )


async def _let_pass(chunks: AsyncIterator[bytes], most: int) -> None:
    """Read on for a while without keeping anything: a client that is still sending would not see the refusal."""
    passed = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            async for chunk in chunks:
                passed += len(chunk)
                if passed > most:
                    return


async def _read_form(request: Request, account: Account, upload: Upload, most: int) -> None:
    """Read a form: its part ``image`` is the photo, the others are options.

    Not by Starlette's own reader, which puts large parts on disk.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    form = _Form(account, upload, most)
    _, facts = parse_options_header(request.headers["content-type"])
    try:
        parser = MultipartParser(facts.get(b"boundary", b""), cast(Any, form.callbacks))
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
        if not form.whole:
            raise FormParserError("it ends before its last boundary")
    except (FormParserError, UnicodeDecodeError) as error:
        raise RefusedError.make(
            400, f"the form cannot be read: {error}", remedy="send multipart/form-data with its boundary"
        ) from error
    upload.data = b"".join(form.photo)


@dataclass(slots=True)
class _Form:
    """Takes the parts of a form."""

    account: Account
    upload: Upload
    most: int
    photo: list[bytes] = field(default_factory=list)
    whole: bool = False
    _header: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _part: str = ""
    _text: bytearray = field(default_factory=bytearray)
    _parts: int = 0
    _photos: int = 0

    @property
    def callbacks(self) -> dict[str, object]:
        """What the parser tells."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._more_name,
            "on_header_value": self._more_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": lambda data, start, end: self._take(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._header, self._text, self._parts = {}, bytearray(), self._parts + 1
        if self._parts > MOST_PARTS:
            raise RefusedError.make(
                413, f"the form has more than {MOST_PARTS} parts", value=self._parts, remedy="send fewer"
            )

    def _more_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._header[self._name.lower()] = self._value
        self._name = self._value = b""

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, facts = parse_options_header(self._header.get(b"content-disposition", b""))
        self._part = facts.get(b"name", b"").decode("utf-8")
        self._photos += self._part == "image"
        if self._photos > 1:
            raise RefusedError.make(
                422, "the form has several photos", value=self._photos, remedy="send one at a time"
            )

    def _take(self, piece: bytes) -> None:
        if self._part == "image":
            if self.account.taken + len(piece) > self.most:
                raise too_large(self.account.taken + len(piece), self.most)
            self.account.take(len(piece))
            self.photo.append(bytes(piece))
            return
        self._text += piece
        if len(self._text) > MOST_FIELD_BYTES:
            raise RefusedError.make(
                413,
                f"option '{self._part[:80]}' has more than {MOST_FIELD_BYTES} bytes",
                value=self._part,
                remedy="shorten it",
            )

    def _end(self) -> None:
        if self._part != "image":
            self.upload.add(self._part, self._text.decode("utf-8"))

    def _finish(self) -> None:
        self.whole = True

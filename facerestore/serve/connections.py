"""Connections of which nothing comes are closed, so that they do not keep others out."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol


def closing(seconds: float) -> type[asyncio.Protocol]:
    """Return what speaks HTTP on a connection, and closes one that rests between two looks.

    It rests where no request is under way and none comes whole, or where nothing of an answer is taken. Bodies that
    come slowly have an end of their own.

    Args:
        seconds: from one look to the next.
    """

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # h11's or httptools', whichever is here
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._seen: tuple[object, int] = (None, 0)
            self._next_look = self.loop.call_later(seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            unsent = self.transport.get_write_buffer_size()
            seen = (self.cycle, unsent)
            if seen == self._seen and (unsent or self.cycle is None or self.cycle.response_complete):
                self.transport.abort()
                return
            self._seen = seen
            self._next_look = self.loop.call_later(seconds, self._look)

    return cast("type[asyncio.Protocol]", Connection)

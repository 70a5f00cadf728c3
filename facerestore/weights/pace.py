"""How long a server may take: a connection whose every read, of headers and of bodies alike, meets one overall limit.

The silence that a socket's timeout bounds is not all that a server can do: one that sends a byte every twenty seconds
is never silent, and never done.
"""

from __future__ import annotations

import http.client
import io
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any


class TooSlowError(OSError):
    """A server has taken longer than it may for what it has sent."""


@dataclass(slots=True)
class Pace:
    """What one request may take.

    Attributes:
        grace_s: seconds that it may take whatever it sends.
        least_bytes_per_s: what it must send on average beyond that.
        clock: seconds that never go back.
        received: bytes that have come, headers included.
    """

    grace_s: float
    least_bytes_per_s: float
    clock: Callable[[], float]
    received: int = 0
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._start = self.clock()

    def check(self) -> None:
        """Raise TooSlowError where too much time has gone by."""
        taken = self.clock() - self._start
        if taken > self.grace_s + self.received / self.least_bytes_per_s:
            raise TooSlowError(f"too slow: {self.received} bytes in {taken:.0f} s")


class _Paced(io.RawIOBase):
    """The bytes of a socket, each read of which is checked and counted."""

    def __init__(self, raw: Any, pace: Pace) -> None:
        self._raw, self._pace = raw, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._pace.check()
        count: int = self._raw.readinto(buffer)
        self._pace.received += count
        self._pace.check()
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read at a pace."""

    def __init__(self, pace: Pace, sock: Any, *, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Paced(sock.makefile("rb", buffering=0), pace))


def _connection(pace: Pace, kind: type[http.client.HTTPConnection], host: str, *, timeout: float) -> Any:
    """Return a connection whose responses are read at a pace."""
    made: Any = kind(host, timeout=timeout)
    # http.client makes responses with a debug level where one is set, which nobody sets here.
    made.response_class = partial(_Response, pace)
    return made


class PacedHTTP(urllib.request.HTTPHandler):
    """Opens http at a pace."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(partial(_connection, self._pace, http.client.HTTPConnection), req)


class PacedHTTPS(urllib.request.HTTPSHandler):
    """Opens https at a pace, with the certificates that Python trusts."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(partial(_connection, self._pace, http.client.HTTPSConnection), req)

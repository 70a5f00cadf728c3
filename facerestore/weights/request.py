"""One request for a file: addresses, redirects, refusals, how much a response holds, and how long it may take.

The silence that a socket's timeout bounds is not all that a server can do: one that sends a byte every twenty seconds
is never silent, and never done. So every read, of headers and of bodies alike, meets one overall limit.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, cast
from urllib.parse import urlsplit

from facerestore.errors import MalformedError, parse_whole, why
from facerestore.weights.transfer import TransferPolicy

_TRANSIENT_STATUS = frozenset(
    {408, 425, 429, 500, 502, 503, 504}
)  # RFC 9110, section 15, and RFC 6585: try again later
CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")  # RFC 9110, section 14.4


class TransientError(Exception):
    """This attempt failed, the next one may succeed."""


class UnusableError(Exception):
    """This URL will not give the file."""


class RangeRefusedError(Exception):
    """The server answers 416: nothing is left beyond the part file; carries the size of the whole, if it says so."""

    def __init__(self, total_bytes: int | None) -> None:
        super().__init__(total_bytes)
        self.total_bytes = total_bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Where to go on: bytes at hand, and the ETag or date that says whether the file is still the same."""

    size_bytes: int
    validator: str


class WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request that a redirect asks for; raises UnusableError where it is refused."""
        old, new = scheme_of(req.full_url), scheme_of(newurl)
        if new not in {"http", "https"} or (old == "https" and new == "http"):
            fp.close()
            raise UnusableError(f"it redirects to {newurl}, which is not as safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def scheme_of(url: str) -> str:
    """Return the scheme of an address; raises UnusableError where it is none."""
    try:
        return urlsplit(url).scheme
    except ValueError as error:
        raise UnusableError(f"'{url[:200]}' is no address ({error})") from error


def open_url(url: str, start: Start | None, policy: TransferPolicy) -> http.client.HTTPResponse:
    """Send the request, for the rest of the file where there is a start."""
    if scheme_of(url) not in {"http", "https"}:
        raise UnusableError("only http and https are allowed")
    headers = {"User-Agent": "facerestore", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start.size_bytes}-", "If-Range": start.validator}
    try:
        pace = Pace(policy.grace_s, policy.least_bytes_per_s, policy.clock)
        opener = urllib.request.build_opener(WebOnly, _PacedHTTP(pace), _PacedHTTPS(pace))
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=policy.timeout_s)
    except UnusableError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error, start) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise UnusableError(f"its certificate cannot be trusted: {error.reason}") from error
        raise TransientError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, http.client.InvalidURL):
            raise UnusableError(f"'{url[:200]}' is no address ({error})") from error
        raise failure_of(error) from error
    except Exception as error:  # addresses, redirects and headers that Python's own readers do not expect
        raise UnusableError(f"it cannot be asked, or answers what is no HTTP ({why(error)})") from error
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise UnusableError("it is a web page, not weights (a login page of the network, or a dead link?)")
    return cast(http.client.HTTPResponse, response)


def _refused(error: urllib.error.HTTPError, start: Start | None) -> Exception:
    if error.code == 416 and start:
        total = re.fullmatch(r"bytes \*/([0-9]+)", error.headers.get("Content-Range", ""))
        return RangeRefusedError(length_of(total[1]) if total else None)
    kind = TransientError if error.code in _TRANSIENT_STATUS else UnusableError
    return kind(f"the server answers {error.code} {error.reason}")


def failure_of(error: Exception) -> Exception:
    """Return what a broken connection means: another attempt, or none where the server has had its time."""
    if isinstance(error, TooSlowError):
        return UnusableError(f"{error}; run the command again to go on from there")
    return TransientError(f"{type(error).__name__}: {error}")


def length_of(text: str) -> int | None:
    """Return a number of bytes; None for what is none, such as digits of another script."""
    try:
        return parse_whole(text)
    except MalformedError:
        return None


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


class _PacedHTTP(urllib.request.HTTPHandler):
    """Opens http at a pace."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(partial(_connection, self._pace, http.client.HTTPConnection), req)


class _PacedHTTPS(urllib.request.HTTPSHandler):
    """Opens https at a pace, with the certificates that Python trusts."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(partial(_connection, self._pace, http.client.HTTPSConnection), req)

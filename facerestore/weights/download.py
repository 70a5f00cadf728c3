"""Fetch one file over HTTP: streamed to a part file, resumed, hashed as it comes, and renamed when whole.

Python's own urllib does it: it honours the proxy variables of the environment, needs no further dependency, and what
resuming takes beyond a plain GET (Range, If-Range; RFC 9110, sections 13.1.5 and 14) would be ours with any library.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Literal, cast
from urllib.parse import urlsplit

from facerestore.errors import WeightsError
from facerestore.weights.files import CHUNK_BYTES, check_room, feed, read_json, unlike_weights, write_json

_TRANSIENT_STATUS = frozenset(
    {408, 425, 429, 500, 502, 503, 504}
)  # RFC 9110, section 15, and RFC 6585: try again later
_BACKOFF_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        name: catalog name.
        phase: ``waiting`` for another process that fetches the same file, or ``downloading``.
        url: where from; empty while waiting.
        done_bytes: bytes in the part file.
        total_bytes: size of the whole file; None where the server does not say.
        resumed_bytes: how many of ``done_bytes`` an earlier attempt had left.
    """

    name: str
    phase: Literal["waiting", "downloading"]
    url: str
    done_bytes: int
    total_bytes: int | None
    resumed_bytes: int


Report = Callable[[DownloadProgress], None]


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """How patient a download is.

    Attributes:
        timeout_s: longest silence of the server.
        attempts: tries per URL; each goes on where the last one broke off.
        backoff_s: pause before the second try, doubled for each further one, at most 30 s.
        lock_timeout_s: longest wait for another process that fetches the same file.
    """

    timeout_s: float = 30.0
    attempts: int = 5
    backoff_s: float = 1.0
    lock_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The file to fetch: its catalog name, place on disk, addresses, and what is known of its content.

    ``hash_basis`` says in words where the expected hash comes from.
    """

    name: str
    target: Path
    urls: tuple[str, ...]
    size_bytes: int | None
    sha256: str | None
    hash_basis: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """A file that arrived whole and now lies at its target."""

    url: str
    sha256: str


class _TransientError(Exception):
    """This attempt failed, the next one may succeed."""


class _UnusableError(Exception):
    """This URL will not give the file."""


class _RangeRefusedError(Exception):
    """The server answers 416: nothing is left beyond the part file; carries the size of the whole, if it says so."""

    def __init__(self, total_bytes: int | None) -> None:
        super().__init__(total_bytes)
        self.total_bytes = total_bytes


def fetch(wanted: Wanted, *, policy: TransferPolicy, report: Report) -> Received:
    """Fetch a file from the first of its URLs that gives it, and put it at its target.

    What has arrived stays in ``<target>.part`` when the connection breaks or the process ends, for the next call.

    Args:
        wanted: what to fetch; its folder exists, and no other process fetches it.
        policy: patience.
        report: called after each chunk.

    Raises:
        WeightsError: no URL gave the file, it has a wrong hash or size, or the disk has no room.
    """
    failures = []
    for url in wanted.urls:
        try:
            return _fetch_patiently(wanted, url, policy, report)
        except _UnusableError as error:
            failures.append(f"{url}: {error}")
        except OSError as error:
            raise WeightsError(
                f"weights {wanted.name!r} cannot be written to {wanted.target.parent}: {error}"
            ) from error
    raise WeightsError(
        f"weights {wanted.name!r} could not be downloaded; {'; '.join(failures)}. Check the network or the proxy "
        f"(https_proxy), or fetch {wanted.target.name} elsewhere and run "
        f"'facerestore weights import {wanted.name} FILE'"
    )


def _fetch_patiently(wanted: Wanted, url: str, policy: TransferPolicy, report: Report) -> Received:
    failure = ""
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(min(policy.backoff_s * 2 ** (attempt - 1), _BACKOFF_MAX_S))
        try:
            return Received(url, _attempt(wanted, url, policy, report))
        except _TransientError as error:
            failure = str(error)
    raise _UnusableError(f"{failure} (tried {policy.attempts} times)")


def _attempt(wanted: Wanted, url: str, policy: TransferPolicy, report: Report) -> str:
    part = _Part(wanted.target)
    start = part.resume_point(url)
    try:
        response = _open(url, start, policy.timeout_s)
    except _RangeRefusedError as refused:
        return _finish_or_restart(wanted, part, refused)
    with response:
        resumed = _resumed_bytes(response, start)
        total = _total_bytes(response, resumed)
        _check_size(wanted, total)
        remaining_bytes = (total or wanted.size_bytes or 0) - resumed
        check_room(wanted.target.parent, remaining_bytes, what=f"weights {wanted.name!r}")
        digest = part.begin(url, response.headers, resumed)
        _stream(response, part, digest, lambda done: report(_progress(wanted, url, done, total, resumed)))
    if total is not None and part.size_bytes() < total:
        raise _TransientError(f"the connection ended after {part.size_bytes()} of {total} bytes")
    return _finish(wanted, part, digest)


def _progress(wanted: Wanted, url: str, done: int, total: int | None, resumed: int) -> DownloadProgress:
    return DownloadProgress(wanted.name, "downloading", url, done, total or wanted.size_bytes, resumed)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where to go on: bytes at hand, and the ETag or date that says whether the file is still the same."""

    size_bytes: int
    validator: str


class _Part:
    """The part file beside the target, with a record of which file of which server it is the beginning of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")

    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def resume_point(self, url: str) -> _Start | None:
        """Return where to go on, or None to start afresh: only a validator proves that the file is still the same."""
        record = read_json(self._record) if self.size_bytes() else None
        if record is None or record.get("url") != url or not record.get("validator"):
            return None
        return _Start(self.size_bytes(), str(record["validator"]))

    def begin(self, url: str, headers: Message, resumed: int) -> hashlib._Hash:
        """Empty the part, unless it is resumed, and return the hash of what stays."""
        digest = hashlib.sha256()
        if resumed:
            feed(digest, self.path)
        else:
            # In this order: a new record must never vouch for old bytes.
            self.path.write_bytes(b"")
            write_json(self._record, {"url": url, "validator": _validator(headers)})
        return digest

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        self.path.replace(target)
        self._record.unlink(missing_ok=True)


def _validator(headers: Message) -> str | None:
    etag = headers.get("ETag")
    # A weak ETag promises equal meaning, not equal bytes (RFC 9110, section 8.8.1).
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


class _WebOnly(urllib.request.HTTPRedirectHandler):
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
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in {"http", "https"} or (old == "https" and new == "http"):
            fp.close()
            raise _UnusableError(f"it redirects to {newurl}, which is not as safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, start: _Start | None, timeout_s: float) -> http.client.HTTPResponse:
    """Send the request, for the rest of the file where there is a start."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise _UnusableError("only http and https are allowed")
    headers = {"User-Agent": "facerestore", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start.size_bytes}-", "If-Range": start.validator}
    try:
        opener = urllib.request.build_opener(_WebOnly)
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(error, start) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _UnusableError(f"its certificate cannot be trusted: {error.reason}") from error
        raise _TransientError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_describe(error)) from error
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise _UnusableError("it is a web page, not weights (a login page of the network, or a dead link?)")
    return cast(http.client.HTTPResponse, response)


def _refused(error: urllib.error.HTTPError, start: _Start | None) -> Exception:
    if error.code == 416 and start:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        return _RangeRefusedError(int(total[1]) if total else None)
    kind = _TransientError if error.code in _TRANSIENT_STATUS else _UnusableError
    return kind(f"the server answers {error.code} {error.reason}")


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _resumed_bytes(response: http.client.HTTPResponse, start: _Start | None) -> int:
    """Return how much of the part stays: all if the server goes on from there, nothing if it sends the whole file."""
    if response.status != 206:
        return 0
    first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if start is None or first is None or int(first[1]) != start.size_bytes:
        raise _UnusableError(
            f"the server sends a range that was not asked for: {response.headers.get('Content-Range')}"
        )
    return start.size_bytes


def _total_bytes(response: http.client.HTTPResponse, resumed: int) -> int | None:
    length = response.headers.get("Content-Length")
    return resumed + int(length) if length is not None and length.isdigit() else None


def _check_size(wanted: Wanted, total: int | None) -> None:
    if total is not None and wanted.size_bytes is not None and total != wanted.size_bytes:
        raise _UnusableError(f"it has {total} bytes, expected {wanted.size_bytes}")


def _stream(
    response: http.client.HTTPResponse, part: _Part, digest: hashlib._Hash, report: Callable[[int], None]
) -> None:
    with part.path.open("ab") as out:
        report(out.tell())
        while chunk := _read(response):
            out.write(chunk)
            digest.update(chunk)
            report(out.tell())
        out.flush()
        os.fsync(out.fileno())


def _read(response: http.client.HTTPResponse) -> bytes:
    # Errors of the connection and of the disk are both OSError: only here are they the connection's.
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _TransientError(_describe(error)) from error


def _finish_or_restart(wanted: Wanted, part: _Part, refused: _RangeRefusedError) -> str:
    if part.size_bytes() != refused.total_bytes:
        part.discard()
        raise _TransientError(
            "what an earlier attempt left does not fit the file; it begins anew"
        ) from refused
    digest = hashlib.sha256()
    feed(digest, part.path)
    return _finish(wanted, part, digest)


def _finish(wanted: Wanted, part: _Part, digest: hashlib._Hash) -> str:
    """Check the whole file and move it to its place; a wrong one is thrown away. Returns its sha256."""
    found = digest.hexdigest()
    fault = _fault(wanted, part, found)
    if fault:
        part.discard()
        raise _UnusableError(f"{fault}; nothing was installed")
    part.move_to(wanted.target)
    return found


def _fault(wanted: Wanted, part: _Part, found: str) -> str | None:
    if wanted.size_bytes is not None and part.size_bytes() != wanted.size_bytes:
        return f"it has {part.size_bytes()} bytes, expected {wanted.size_bytes}"
    if wanted.sha256 is not None and found != wanted.sha256:
        return f"it has sha256 {found}, expected {wanted.sha256} ({wanted.hash_basis})"
    return unlike_weights(part.path, wanted.target.name)


def mirrored(mirror: str, file_name: str) -> str:
    """Return the address of a file on a mirror.

    Raises:
        WeightsError: the mirror is no http or https address.
    """
    if urlsplit(mirror).scheme not in {"http", "https"}:
        raise WeightsError(
            f"FACERESTORE_MIRROR is {mirror!r}; give an address that begins with https:// or http://"
        )
    return f"{mirror.rstrip('/')}/{file_name}"


def truthy(environment: Mapping[str, str], name: str) -> bool:
    """Return whether an environment variable switches something on: any value but empty, 0, no, off and false."""
    return environment.get(name, "").strip().lower() not in {"", "0", "no", "off", "false"}

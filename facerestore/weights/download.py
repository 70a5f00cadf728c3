"""Fetch one file over HTTP: streamed to a part file, resumed, hashed as it comes, and renamed when whole.

Python's own urllib does it: it honours the proxy variables of the environment, needs no further dependency, and what
resuming takes beyond a plain GET (Range, If-Range; RFC 9110, sections 13.1.5 and 14) would be ours with any library.
"""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from facerestore.errors import WeightsError
from facerestore.weights.files import CHUNK_BYTES, check_room, read_json, unlike_weights, write_json
from facerestore.weights.request import (
    CONTENT_RANGE,
    RangeRefusedError,
    Start,
    TransientError,
    UnusableError,
    failure_of,
    length_of,
    open_url,
    scheme_of,
)
from facerestore.weights.transfer import DownloadProgress, Report, TransferPolicy

_BACKOFF_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The file to fetch: its catalog name, place on disk, addresses, and what is known of its content.

    ``hash_basis`` says in words where the expected hash comes from. ``examine`` raises WeightsError where a whole file
    cannot be used; it is asked before the file is put at its place.
    """

    name: str
    target: Path
    urls: tuple[str, ...]
    size_bytes: int | None
    sha256: str | None
    hash_basis: str = ""
    examine: Callable[[Path], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Received:
    """A file that arrived whole and now lies at its target."""

    url: str
    sha256: str


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
        except UnusableError as error:
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
            policy.pause(min(policy.backoff_s * 2 ** (attempt - 1), _BACKOFF_MAX_S))
        try:
            return Received(url, _attempt_once(wanted, url, policy, report))
        except TransientError as error:
            failure = str(error)
    raise UnusableError(f"{failure} (tried {policy.attempts} times)")


def _attempt_once(wanted: Wanted, url: str, policy: TransferPolicy, report: Report) -> str:
    part = _Part(wanted.target)
    start = part.resume_point(url)
    try:
        response = open_url(url, start, policy)
    except RangeRefusedError as refused:
        return _finish_or_restart(wanted, part, refused)
    with response:
        resumed = _resumed_bytes(response, start)
        total = _total_bytes(response)
        _check_size(wanted, total)
        _check_provable(wanted, response, total)
        remaining_bytes = (total or wanted.size_bytes or 0) - resumed
        check_room(wanted.target.parent, remaining_bytes, what=f"weights {wanted.name!r}")
        digest = part.begin(url, response.headers, resumed)
        most = total or wanted.size_bytes or policy.most_bytes
        _stream_body(
            response,
            part,
            digest,
            lambda done: report(_counted_progress(wanted, url, done, total, resumed, most)),
        )
    if total is not None and part.size_bytes() < total:
        raise TransientError(f"the connection ended after {part.size_bytes()} of {total} bytes")
    return _finish_part(wanted, part, digest)


def _counted_progress(
    wanted: Wanted, url: str, done: int, total: int | None, resumed: int, most: int
) -> DownloadProgress:
    """Return how far a download is; raises UnusableError where it has become longer than it can be."""
    if done > most:
        raise UnusableError(f"it sends more than {most} bytes")
    return DownloadProgress(wanted.name, "downloading", url, done, total or wanted.size_bytes, resumed)


class _Part:
    """The part file beside the target, with a record of which file of which server it is the beginning of."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self._record = target.with_name(target.name + ".part.json")

    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def resume_point(self, url: str) -> Start | None:
        """Return where to go on, or None to start afresh: only a validator proves that the file is still the same."""
        record = read_json(self._record) if self.size_bytes() else None
        if record is None or record.get("url") != url or not record.get("validator"):
            return None
        return Start(self.size_bytes(), str(record["validator"]))

    def begin(self, url: str, headers: Message, resumed: int) -> hashlib._Hash:
        """Empty the part, unless it is resumed, and return the hash of what stays."""
        if not resumed:
            # In this order: a new record must never vouch for old bytes.
            self.path.write_bytes(b"")
            write_json(self._record, {"url": url, "validator": _validator(headers)})
        return self.digest()

    def digest(self) -> hashlib._Hash:
        """Return the hash of what is there."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256")

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


def _resumed_bytes(response: http.client.HTTPResponse, start: Start | None) -> int:
    """Return how much of the part stays: all if the server goes on from there, nothing if it sends the whole file."""
    if response.status != 206:
        return 0
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if start is None or found is None or length_of(found[1]) != start.size_bytes:
        raise UnusableError(
            f"the server sends a range that was not asked for: {response.headers.get('Content-Range')}"
        )
    return start.size_bytes


def _total_bytes(response: http.client.HTTPResponse) -> int | None:
    """Return the size of the whole file; None where the server does not say it, or not in numbers."""
    if response.status == 206:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return None if found is None else length_of(found[3])
    return None if response.chunked else length_of(response.headers.get("Content-Length", ""))


def _check_provable(wanted: Wanted, response: http.client.HTTPResponse, total: int | None) -> None:
    """Raise UnusableError where nothing would tell whether the file came whole: neither we nor the server know it.

    A body in chunks has an end of its own (RFC 9112, section 7.1); one that ends with the connection has none.
    """
    if wanted.size_bytes is None and wanted.sha256 is None and total is None:
        if response.chunked and response.status == 200:
            return
        raise UnusableError(
            "the server does not say how long the file is, and no size or hash of it is known, so that nothing would"
            " tell whether it came whole"
        )


def _check_size(wanted: Wanted, total: int | None) -> None:
    if total is not None and wanted.size_bytes is not None and total != wanted.size_bytes:
        raise UnusableError(f"it has {total} bytes, expected {wanted.size_bytes}")


def _stream_body(
    response: http.client.HTTPResponse, part: _Part, digest: hashlib._Hash, report: Callable[[int], None]
) -> None:
    with part.path.open("ab") as out:
        report(out.tell())
        while chunk := _read_chunk(response):
            out.write(chunk)
            digest.update(chunk)
            report(out.tell())
        out.flush()
        os.fsync(out.fileno())


def _read_chunk(response: http.client.HTTPResponse) -> bytes:
    # Errors of the connection and of the disk are both OSError: only here are they the connection's.
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise failure_of(error) from error


def _finish_or_restart(wanted: Wanted, part: _Part, refused: RangeRefusedError) -> str:
    if part.size_bytes() != refused.total_bytes:
        part.discard()
        raise TransientError(
            "what an earlier attempt left does not fit the file; it begins anew"
        ) from refused
    return _finish_part(wanted, part, part.digest())


def _finish_part(wanted: Wanted, part: _Part, digest: hashlib._Hash) -> str:
    """Check the whole file and move it to its place; a wrong one is thrown away. Returns its sha256."""
    found = digest.hexdigest()
    fault = _fault_of_part(wanted, part, found)
    if fault:
        part.discard()
        raise UnusableError(f"{fault}; nothing was installed")
    part.move_to(wanted.target)
    return found


def _fault_of_part(wanted: Wanted, part: _Part, found: str) -> str | None:
    if wanted.size_bytes is not None and part.size_bytes() != wanted.size_bytes:
        return f"it has {part.size_bytes()} bytes, expected {wanted.size_bytes}"
    if wanted.sha256 is not None and found != wanted.sha256:
        return f"it has sha256 {found}, expected {wanted.sha256} ({wanted.hash_basis})"
    if (fault := unlike_weights(part.path, wanted.target.name)) is not None:
        return fault
    try:
        wanted.examine(part.path)
    except WeightsError as error:
        return str(error)
    return None


def mirrored(mirror: str, file_name: str) -> str:
    """Return the address of a file on a mirror.

    Raises:
        WeightsError: the mirror is no http or https address.
    """
    try:
        fits = scheme_of(mirror) in {"http", "https"}
    except UnusableError:
        fits = False
    if not fits:
        raise WeightsError(
            f"FACERESTORE_MIRROR is {mirror!r}; give an address that begins with https:// or http://"
        )
    return f"{mirror.rstrip('/')}/{file_name}"

"""What a damaged zlib stream still gives. Source: RFC 1950."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

_STEP = 64
"""Bytes that are given at a time; what the last of them gave is lost with the error."""


class Inflated(NamedTuple):
    """What a stream gives, and whether it ended as it should, with the right checksum."""

    data: bytes
    whole: bool


def inflated_as_far(pieces: Iterable[bytes | memoryview], most: int) -> Inflated:
    """Return what a zlib stream gives up to its end or its first error, and no more than ``most`` bytes of it."""
    stream, given, total = zlib.decompressobj(), list[bytes](), 0
    for piece in pieces:
        for start in range(0, len(piece), _STEP):
            try:
                # One more than is wanted, so that a limit is not taken for an end.
                found = stream.decompress(piece[start : start + _STEP], most - total + 1)
            except zlib.error:
                return Inflated(b"".join(given)[:most], False)
            given.append(found)
            total += len(found)
            if stream.eof or total > most:
                return Inflated(b"".join(given)[:most], stream.eof)
    return Inflated(b"".join(given)[:most], False)

"""What two processes share: counts, and the input that is under way, should it be the last one."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

_COUNTS = struct.Struct("<QQQQd")
_INPUT = struct.Struct("<?64pI")
_ROOM = 8 << 20
"""For the input; of a longer one its beginning is kept."""


class Counts(NamedTuple):
    """Of a run so far: the number of the last input, how many there were, and the longest time one took."""

    number: int
    executions: int
    read: int
    refused: int
    slowest_s: float


class Board:
    """A file in memory that both have mapped.

    Args:
        path: of the file; whoever makes it gives one that is not there yet.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_COUNTS.size + _INPUT.size + _ROOM))
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 0)
        self._counts = Counts(*_COUNTS.unpack_from(self._map))

    @property
    def counts(self) -> Counts:
        """What is written on it now."""
        return Counts(*_COUNTS.unpack_from(self._map))

    def begin(self, number: int, kind: str, data: bytes) -> None:
        """Note that an input is given to its reader."""
        self._counts = self._counts._replace(number=number)
        held = data[:_ROOM]
        _INPUT.pack_into(self._map, _COUNTS.size, True, kind.encode(), len(held))
        start = _COUNTS.size + _INPUT.size
        self._map[start : start + len(held)] = held
        _COUNTS.pack_into(self._map, 0, *self._counts)

    def end(self, seconds: float, *, read: bool, refused: bool) -> None:
        """Note how it went."""
        now = self._counts
        self._counts = Counts(
            now.number,
            now.executions + 1,
            now.read + read,
            now.refused + refused,
            max(now.slowest_s, seconds),
        )
        _COUNTS.pack_into(self._map, 0, *self._counts)
        self._map[_COUNTS.size] = 0

    def under_way(self) -> tuple[str, bytes] | None:
        """Return kind and input that were given to a reader which has not come back."""
        busy, kind, size = _INPUT.unpack_from(self._map, _COUNTS.size)
        start = _COUNTS.size + _INPUT.size
        return (kind.decode(), bytes(self._map[start : start + size])) if busy else None

"""How a file is altered: by chance that is drawn from a seed and a number, so that each mutant can be made again."""

from __future__ import annotations

import contextlib
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_EXTREMES = (0, 1, 2, 4, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, float("inf"), float("nan"), "",
    "x", "x" * 5000, "\0", "\ud800", "\u0661\u0662", "1" * 5000, "\n", "../..", "/", [], {}, [[]], {"a": {}}, [None],
)  # fmt: skip
"""Values that a field of a record may have to nobody's joy."""
_HEAD_BYTES = 600
_MOST_STEPS = 4


def mutant(corpus: Sequence[bytes], seed: int, number: int) -> tuple[int, bytes]:
    """Return which file of the corpus is altered, and the altered one.

    Args:
        corpus: the files.
        seed: of the run.
        number: of the mutant; the files have their turns.
    """
    index = number % len(corpus)
    return index, altered(corpus[index], random.Random(f"{seed}:{number}"), corpus)


def altered(content: bytes, rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Return a file altered in one to `_MOST_STEPS` ways.

    Args:
        content: the file.
        rng: draws which ways, and where.
        corpus: files of which pieces may be taken.
    """
    data = bytearray(content)
    for _ in range(rng.randint(1, _MOST_STEPS)):
        if len(data) < 2:
            break
        steps = _TEXT_STEPS if data[:1] in (b"{", b"[") else _STEPS
        rng.choice(steps)(data, rng, corpus)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Return a place in a file: most of them at its start or end, where headers and directories are."""
    share = rng.random()
    if share < 0.45:
        return rng.randrange(min(len(data), _HEAD_BYTES))
    if share < 0.65:
        return len(data) - 1 - rng.randrange(min(len(data), _HEAD_BYTES))
    return rng.randrange(len(data))


def _flip(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    data[_place(data, rng)] = rng.choice(_EXTREMES) if rng.random() < 0.5 else rng.randrange(256)


def _number(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Overwrite with a number at the edge of its range, in either byte order."""
    packed = struct.pack(rng.choice("<>") + "I", rng.choice(_NUMBERS))
    size = rng.choice((2, 4))
    place = _place(data, rng)
    data[place : place + size] = packed[:size]


def _noise(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place, size = _place(data, rng), rng.randint(2, 40)
    data[place : place + size] = rng.randbytes(min(size, len(data) - place))


def _cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 2, 3, 4, 12, 100, 1000))]


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    place, size = _place(data, rng), rng.choice((1, 2, 4, 12, 100, 1000))
    piece = bytes(data[place : place + size])
    data[place:place] = piece * rng.choice((1, 1, 2, 50))


def _truncate(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[_place(data, rng) :]


def _splice(data: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> None:
    """Put a piece of another file in."""
    other = rng.choice(corpus)
    start, place = rng.randrange(len(other)), _place(data, rng)
    piece = other[start : start + rng.choice((4, 40, 400, 4000))]
    data[place : place + (len(piece) if rng.random() < 0.5 else 0)] = piece


def _value(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Alter a value of a JSON text; few altered bytes are such a text still."""
    with contextlib.suppress(ValueError, RecursionError):
        data[:] = _altered_values(bytes(data), rng)


def _altered_values(text: bytes, rng: random.Random) -> bytes:
    """Return a JSON text, or lines of such, with a value replaced, removed, added or put deep into lists."""
    lines = text.decode("utf-8").splitlines() if b"\n{" in text else [text.decode("utf-8")]
    number = rng.randrange(len(lines))
    value = json.loads(lines[number])
    if found := list(places(value)):
        holder, key = rng.choice(found)
        action = rng.random()
        if action < 0.7:
            holder[key] = rng.choice(_VALUES)
        elif action < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(("step", "name", "", "\0", "x" * 300, "face_size"))] = rng.choice(_VALUES)
    lines[number] = json.dumps(value)
    if rng.random() < 0.05:
        lines[number] = "[" * rng.choice((10, 70, 3000, 100_000)) + lines[number]
    return "\n".join(lines).encode()


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield holder and key of every value within another."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


_STEPS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _byte, _byte, _byte, _number, _number, _noise, _cut, _repeat, _truncate, _splice),
)
_TEXT_STEPS = (_value, _value, _value, *_STEPS)

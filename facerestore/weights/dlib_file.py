"""Reads the parameters out of a network that dlib has saved (``.dat``), without dlib.

Such a file is the network's layers from the input on, each a text that names its kind, then its parameters: numbers of
any size as one byte that counts the bytes behind it (and has its highest bit set for a minus), tensors as four sides
and float32 numbers, all little-endian (dlib's ``serialize.h``, ``tensor.cpp`` and ``layers.h``, written in 2017).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from facerestore.errors import CheckpointError, MalformedError, refusing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONVOLUTION, AFFINE, FULL = b"con_4", b"affine_", b"fc_2"
"""Kinds of layers that have parameters."""

_KIND = re.compile(b"|".join(re.escape(bytes([1, len(kind)]) + kind) for kind in (CONVOLUTION, AFFINE, FULL)))

TENSOR_VERSION = 2
"""Of what a tensor is saved as: float32 numbers as they are."""

MOST_NUMBERS = 100_000_000
"""Of a tensor; a damaged side is no demand of memory."""

MOST_INTEGER_BYTES = 8

WINDOW_BYTES, LONGEST_NAME = 256, 16
"""In which the next name is looked for, of which none is longer."""


class _Layers:
    """A file that is read from layer to layer."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.size_bytes = stream, os.fstat(stream.fileno()).st_size

    @property
    def at(self) -> int:
        """Where reading is."""
        return self.stream.tell()

    def kinds(self) -> Iterator[bytes]:
        """Yield the kind of each layer that has parameters; reading is right behind its name then.

        What stands between them says how the network was trained, and is passed over.
        """
        while window := self.stream.read(WINDOW_BYTES):
            found, end = _KIND.search(window), self.at
            if found is not None:
                self.stream.seek(end - len(window) + found.end())
                yield found[0][2:]
            elif end < self.size_bytes:
                self.stream.seek(end - LONGEST_NAME)  # which the window may have cut

    def number(self) -> int:
        """Return the whole number that stands here."""
        size = self.take(1)[0]
        if not 1 <= size <= MOST_INTEGER_BYTES:  # with the highest bit it would be negative, which no side is
            raise MalformedError(f"no whole number above zero begins at byte {self.at - 1}")
        return int.from_bytes(self.take(size), "little")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self._expect(count)
        return self.stream.read(count)

    def tensor(self) -> NDArray[np.float32]:
        """Return the tensor that stands here, four sides."""
        import numpy as np

        if (version := self.number()) != TENSOR_VERSION:
            raise MalformedError(
                f"a tensor of version {version} stands at byte {self.at}, not {TENSOR_VERSION}"
            )
        sides = [self.number() for _ in range(4)]
        count = sides[0] * sides[1] * sides[2] * sides[3]
        if count > MOST_NUMBERS:
            raise MalformedError(f"a tensor of {count} numbers is announced at byte {self.at}")
        self._expect(4 * count)
        values = np.fromfile(self.stream, "<f4", count).reshape(sides)
        if not np.isfinite(values).all():
            raise MalformedError(f"the tensor before byte {self.at} holds values that are not finite")
        return values.astype(np.float32, copy=False)

    def _expect(self, count: int) -> None:
        if self.at + count > self.size_bytes:
            raise MalformedError(f"it ends at byte {self.size_bytes}, within a layer")


def read_dlib(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of the convolutions, affine layers and fully connected layer of a network.

    They are named as in `facerestore.archs.dlib_resnet`: ``conv.N.weight`` and ``.bias``, ``affine.N.scale`` and
    ``.shift``, each kind numbered by itself, and ``last``.

    Raises:
        CheckpointError: it cannot be read, is no such file, or is damaged.
    """
    remedy = "install the package that it came with again"
    with refusing(lambda why: CheckpointError(f"'{path}' is no network that dlib saved: {why}; {remedy}")):
        parameters: dict[str, NDArray[np.float32]] = {}
        numbers = {CONVOLUTION: 0, AFFINE: 0, FULL: 0}
        with path.open("rb") as stream:
            data = _Layers(stream)
            for kind in data.kinds():
                for part, value in _parameters_of(kind, data).items():
                    parameters[part.format(numbers[kind])] = value
                numbers[kind] += 1
        if not numbers[FULL]:
            raise MalformedError(f"it has no layer '{FULL.decode()}', with which such a network ends")
        return parameters


def _parameters_of(kind: bytes, data: _Layers) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of the layer that stands here, by name."""
    if kind == FULL:
        data.number(), data.number()  # how many come out and go in, which the tensor says too
        return {"last": data.tensor()[:, :, 0, 0]}
    values = data.tensor().ravel()
    if kind == AFFINE:
        scale, shift = values.reshape(2, -1, 1, 1)
        return {"affine.{}.scale": scale, "affine.{}.shift": shift}
    filters, rows, columns = (data.number() for _ in range(3))
    if not filters or len(values) <= filters or (len(values) - filters) % (filters * rows * columns or 1):
        raise MalformedError(
            f"a convolution of {filters} filters of {rows} x {columns} has {len(values)} numbers at byte {data.at}"
        )
    weight = values[:-filters].reshape(filters, -1, rows, columns)
    return {"conv.{}.weight": weight, "conv.{}.bias": values[-filters:]}

"""Reads an RRDBNet out of the parameters that ncnn keeps of it (``.bin``), without ncnn.

Such a file is the convolutions of the network in the order in which they run, one behind the other: a tag that says
how the weights are kept, the weights in float16, continued to a multiple of four bytes, and the bias in float32, all
little-endian (ncnn's ``modelbin.cpp``). Shapes do not stand there; those of an RRDBNet follow from the file's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from facerestore.errors import CheckpointError, MalformedError, refusing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIX = ".bin"

HALF_TAG = 0x01306B47
"""Before weights that are kept in float16."""

WIDTH, GROWTH = 64, 32
"""Channels of the RRDBNets that were published with Real-ESRGAN, and of each step within their dense blocks."""

MOST_BLOCKS = 64

Shape = tuple[int, int]
"""Channels that come out of a 3 x 3 convolution, and that go in."""


def read_ncnn(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of an RRDBNet x4, named as in :class:`facerestore.archs.rrdb.RRDBNet`.

    Raises:
        CheckpointError: it cannot be read, holds another network, or is damaged.
    """
    with refusing(
        lambda why: CheckpointError(
            f"'{path}' holds no RRDBNet in ncnn's form: {why}; give Real-ESRGAN's x4plus, a .pth or a .safetensors"
        )
    ):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise MalformedError(str(error)) from error
        parameters: dict[str, NDArray[np.float32]] = {}
        at = 0
        for name, (out, into) in _layers(_blocks(len(data))):
            weight, bias, at = _convolution(data, at, out, into)
            parameters |= {f"{name}.weight": weight, f"{name}.bias": bias}
        return parameters


def _layers(blocks: int) -> Iterator[tuple[str, Shape]]:
    """Yield the convolutions of an RRDBNet in the order in which they run."""
    yield "conv_first", (WIDTH, 3)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for step in range(5):
                out = WIDTH if step == 4 else GROWTH
                yield f"body.{block}.rdb{dense}.conv{step + 1}", (out, WIDTH + step * GROWTH)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        yield name, (WIDTH, WIDTH)
    yield "conv_last", (3, WIDTH)


def _blocks(length: int) -> int:
    """Return how many blocks an RRDBNet has whose file is so long.

    Raises:
        MalformedError: none is.
    """
    none, one = (sum(_size(*shape) for _, shape in _layers(blocks)) for blocks in (0, 1))
    blocks, rest = divmod(length - none, one - none)
    if rest or not 1 <= blocks <= MOST_BLOCKS:
        raise MalformedError(f"none is {length} bytes long; it is cut short, or of another network")
    return blocks


def _weight_bytes(out: int, into: int) -> int:
    return -(-2 * out * into * 9 // 4) * 4


def _size(out: int, into: int) -> int:
    """Return the bytes of a convolution: tag, weights and bias."""
    return 4 + _weight_bytes(out, into) + 4 * out


def _convolution(
    data: bytes, at: int, out: int, into: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Return weight and bias of the convolution that stands at a byte, and where the next one begins."""
    import numpy as np

    tag = int.from_bytes(data[at : at + 4], "little")
    if tag != HALF_TAG:
        raise MalformedError(f"at byte {at} stands {tag:#010x}, not {HALF_TAG:#010x}")
    weight = np.frombuffer(data, "<f2", out * into * 9, at + 4).astype(np.float32).reshape(out, into, 3, 3)
    behind = at + 4 + _weight_bytes(out, into)
    bias = np.frombuffer(data, "<f4", out, behind).astype(np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise MalformedError(f"the convolution at byte {at} has values that are not finite")
    return weight, bias, behind + 4 * out

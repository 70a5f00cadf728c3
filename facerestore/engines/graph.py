"""The graph of a network in the header of its weights file: what ONNX Runtime runs where torch is not wanted.

The header of a safetensors file has room for texts. There stands an ONNX model without its parameters, compressed;
those are the tensors of the file, by name. So one file serves torch, which reads its tensors alone, and ONNX Runtime.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, Any

from facerestore.engines import Engine, Place
from facerestore.engines.cores import share_of_cores
from facerestore.errors import CheckpointError, ConfigError, MalformedError, parse_json, refusing
from facerestore.weights.mixing import BASE, DETAIL_OF, Base, Mix, mixed, without_the_rest
from facerestore.weights.weights_file import GRAPH_TENSORS, look_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from facerestore.weights.weights_file import WeightsFile

GRAPH = "onnx"
"""Entry of the header that holds the graph: an ONNX model, zlib, base64."""

TAKEN = "onnx_tensors"
"""Entry of the header that names the tensors which the graph takes from the file: a JSON array of texts."""

KINDS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2"}
"""How numpy calls the numbers that a safetensors file names, those that a graph takes."""

TORCH = "torch"
"""In the place of a provider of ONNX Runtime: torch is to run the network."""

MOST_GRAPH_BYTES = 32_000_000
"""Of a graph that is not compressed; those that ship have 0.2 MB at most. A damaged one is no demand of memory."""


def packed_graph(model: bytes) -> str:
    """Return an ONNX model as the header keeps it."""
    return base64.b64encode(zlib.compress(model, 9)).decode("ascii")


def unpacked_graph(text: str) -> bytes:
    """Return the ONNX model that `packed_graph` was given.

    Raises:
        MalformedError: the text is damaged, or larger than any graph.
    """
    stream = zlib.decompressobj()
    try:
        model = stream.decompress(base64.b64decode(text, validate=True), MOST_GRAPH_BYTES)
    except (zlib.error, binascii.Error, ValueError) as error:
        raise MalformedError(f"its graph cannot be unpacked: {error}") from error
    if not stream.eof:
        raise MalformedError(f"its graph is cut short, or larger than {MOST_GRAPH_BYTES} bytes")
    return model


def runs_graph(file: WeightsFile, place: Place) -> bool:
    """Say whether ONNX Runtime is to run a weights file: it holds a graph, and neither CUDA nor torch is asked for.

    On MPS too: the networks that ship take a CPU less time than torch takes to be imported.

    Raises:
        ConfigError: a provider of ONNX Runtime was named, and the file holds no graph.
    """
    if place.provider == TORCH:
        return False
    if place.provider is not None and GRAPH not in file.metadata:
        raise ConfigError(
            f"provider '{place.provider}' is for networks with a graph, and '{file.path}' holds none; leave the"
            " provider out and give --device, or 'facerestore export' the network to ONNX"
        )
    return GRAPH in file.metadata and (place.provider is not None or not place.device.startswith("cuda"))


def open_graph(
    file: WeightsFile, place: Place | None = None, *, mix: Mix | None = None, base: Base | None = None
) -> Engine:
    """Return the network of a weights file, run by ONNX Runtime with the tensors of the file.

    Args:
        file: one with a graph.
        place: where it runs; on the CPU when None.
        mix: what its tensors are mixed with; None takes them as they are.
        base: what its network refines, whose tensors the graph takes under `BASE`; None where it refines nothing.

    Raises:
        CheckpointError: the file is cut short or damaged, or graph and tensors do not fit each other.
        ConfigError: the provider is unknown or not available here.
        BackendError: ONNX Runtime is not installed.
    """
    from facerestore.engines.onnx import OnnxEngine

    with refusing(
        lambda why: CheckpointError(f"'{file.path}' is damaged: {why}; download or import it again")
    ):
        if file.torn is not None:
            raise MalformedError(file.torn)
        model = unpacked_graph(file.metadata[GRAPH])
        names = parse_json(file.metadata.get(TAKEN, "[]"))
        if not isinstance(names, list):
            raise MalformedError(f"its header's {TAKEN} is no list of names")
        own = [name for name in names if not name.startswith(BASE)]
        tensors = dict(_mixed(file, own, mix))
        if len(own) < len(names) and base is None:
            raise MalformedError("its graph refines what other weights give, and they are not named")
        if base is not None:
            theirs = [name.removeprefix(BASE) for name in names if name.startswith(BASE)]
            found = _mixed(look_at(base.source), theirs, base.mix)
            tensors |= {f"{BASE}{name}": value for name, value in found.items()}
        place = place or Place()
        place = replace(place, threads=place.threads or share_of_cores())
        return OnnxEngine(model, place, name=str(file.path), parameters=tensors, others=(TORCH,))


def open_engine(
    file: WeightsFile, place: Place, module: Callable[[WeightsFile], nn.Module], *, arch: str
) -> Engine:
    """Return the network of a weights file: its graph where that is to run, else ``module`` of it in torch.

    Args:
        file: the weights.
        place: where it runs.
        module: makes the network; what is in a file whose header calls its network otherwise, that tells.
        arch: what the header calls the network.

    Raises:
        CheckpointError: the file is damaged, or of another network.
        ConfigError: the provider is unknown or not available here.
        BackendError: ONNX Runtime is not installed.
    """
    if file.metadata.get("arch") == arch and runs_graph(file, place):
        return open_graph(file, place)
    from facerestore.engines.torch_module import TorchEngine

    return TorchEngine(module(file), device=place.device)


def _mixed(file: WeightsFile, names: list[str], mix: Mix | None) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of these names, as the graph calls them, mixed with others where they are to be."""
    if mix is None:
        if DETAIL_OF in file.metadata:
            raise MalformedError(without_the_rest(file.metadata[DETAIL_OF]))
        return _tensors(file, names)
    if folded := [name for name in names if name.startswith(GRAPH_TENSORS)]:
        raise MalformedError(f"{len(folded)} tensors of its graph were folded, which cannot be mixed")
    base = _tensors(look_at(mix.base), names)
    if DETAIL_OF not in file.metadata:
        return mixed(base, _tensors(file, names), mix.share, name=str(file.path))
    if strange := [name for name in file.tensors if name not in names]:
        raise MalformedError(f"it holds '{strange[0]}', which its network does not take")
    trained = [name for name in names if name in file.tensors]
    return {**base, **mixed(base, _tensors(file, trained), mix.share, name=str(file.path))}


def _tensors(file: WeightsFile, names: list[str]) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of these names, as the graph calls them, mapped from the file: none is copied."""
    import numpy as np

    with file.path.open("rb") as stream:
        held = mmap(stream.fileno(), 0, access=ACCESS_READ)
    found = {}
    for name in names:
        kind, shape, start, end = file.tensors[name]
        if kind not in KINDS:
            raise MalformedError(f"'{name}' is of the kind {kind}, and its graph takes {', '.join(KINDS)}")
        kind = np.dtype(KINDS[kind])
        flat = np.frombuffer(held, kind, count=(end - start) // kind.itemsize, offset=start)
        found[name.removeprefix(GRAPH_TENSORS)] = flat.reshape(shape)
    return found

"""Puts the graph of a network into its weights file, for ONNX Runtime; torch reads the file as before.

from facerestore.export.embedding import embed_graph

embed_graph(Path("lite.safetensors"))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from facerestore import __version__
from facerestore.archs.convolution import published_forms
from facerestore.archs.detector import PictureCells
from facerestore.archs.eyes import ClosedEyes
from facerestore.archs.landmarks import CROP_SIZE, CropPoints
from facerestore.archs.parts import DamageShares, PartLabels, PartsNet
from facerestore.backends import load_backend
from facerestore.backends.base import TensorRestorer
from facerestore.backends.exported import NetworkRecord
from facerestore.backends.graph_restorer import RECORD
from facerestore.background.cleaner import is_cleaner, load_cleaner_module
from facerestore.detection.embedded import CELL_PX, load_detector_network, load_landmarks
from facerestore.engines.graph import GRAPH, TAKEN, open_graph, packed_graph
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import BackendError, ConfigError
from facerestore.export.graph import FACE, LABELS, RESTORED, graph_of, record_program, sample_inputs
from facerestore.export.writers import OPSET, check_packages, onnx_model
from facerestore.files import path_written_whole
from facerestore.parsing import PartsParser, load_parser
from facerestore.parsing.damage import FACE_SIZE, load_damage_network
from facerestore.parsing.damage import NAME as DAMAGE
from facerestore.parsing.eyes import FACE_SIZE as EYES_FACE_SIZE
from facerestore.parsing.eyes import NAME as EYES
from facerestore.parsing.eyes import load_eyes_network
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import open_weights, trained_size
from facerestore.weights.mixing import BASE, DETAIL_OF, REFINES, Base, Mix, mixed
from facerestore.weights.weights_file import GRAPH_TENSORS, WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 5e-5
"""Largest error of an embedded graph that is accepted, over the largest value of the network's output."""

INLINE_BYTES = 2048
"""Tensors up to this size that the file does not have, such as factors and fixed filters, stay within the graph."""

SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A network as a function of arrays.

    Attributes:
        module: it.
        inputs: an example of each of its arrays.
        program: what ``torch.export`` recorded of it.
        names: of its inputs and outputs.
        record: how faces are given to it; None of a network that restores none.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    program: Any
    names: tuple[list[str], list[str]]
    record: NetworkRecord | None = None


def embed_graph(path: Path) -> None:
    """Write the graph of its network into a weights file, in its place; one that holds a graph gets a new one.

    Args:
        path: a safetensors file of a restorer, of a face detector, of the network that looks at them, of our parser, or
            of what cleans photos.

    Raises:
        BackendError: a package is missing, or the graph does not give what the network gives; the file is as it was.
        CheckpointError: it holds no such network, or cannot be written.
        ConfigError: torch cannot record the network.
    """
    check_packages("onnx")
    from safetensors.numpy import load_file, save_file

    file = open_weights(path)
    tensors = {k: v for k, v in load_file(path).items() if not k.startswith(GRAPH_TENSORS)}
    subject, base = _opened(file), _refined(file)
    # What follows from a restorer's parameters would lie in the file a second time; what every start loads is folded.
    model = onnx_model(subject.program, *subject.names, folded=subject.record is None)
    mix = _trained_from(file)
    theirs = {} if mix is None else load_file(open_weights(mix.base).path)
    theirs = theirs | tensors | ({} if base is None else _parameters(base, load_file))
    taken, own = taken_out(model, theirs)
    header = {key: value for key, value in file.metadata.items() if key != RECORD}
    header[TAKEN] = json.dumps(taken)
    header[GRAPH] = packed_graph(model.SerializeToString(deterministic=True))
    if subject.record is not None:
        header[RECORD] = subject.record.to_json()
    with path_written_whole(path) as (temporary, _):
        mode = temporary.stat().st_mode
        save_file(tensors | own, temporary, metadata=header)
        temporary.chmod(mode)
        _compare(subject, open_weights(temporary), path, mix=mix, base=base)


def _opened(file: WeightsFile) -> _Subject:
    """Return the network of a file, recorded."""
    opened = _cleaner if is_cleaner(file) else _OTHERS.get(file.metadata.get("arch", ""))
    if opened is not None:
        return opened(file)
    base = _refined(file)
    with published_forms():
        restorer = load_backend(file, mix=_trained_from(file), base=base)
    if not isinstance(restorer, TensorRestorer):
        raise ConfigError(f"backend '{restorer.name}' is not made of one torch network; it has no graph")
    module, inputs = graph_of(restorer), sample_inputs(restorer)
    program, fixed = record_program(module, inputs)
    record = NetworkRecord(
        face_size=restorer.face_size,
        value_range=restorer.network_range,
        input_size=restorer.input_size,
        needs_parsing=restorer.needs_parsing,
        drawn_maps=restorer.descriptor.drawn_maps,
        parser_weights=restorer.descriptor.parser_weights,
        max_batch=fixed,
        purpose=restorer.descriptor.tasks[0],
        backend=restorer.name,
        exporter=f"facerestore {__version__}, torch {torch.__version__}, ONNX opset {OPSET}",
    )
    return _Subject(module, inputs, program, ([FACE, LABELS][: len(inputs)], [RESTORED]), record)


def _detector(file: WeightsFile) -> _Subject:
    from torch.export import Dim, export

    module = PictureCells(load_detector_network(file)).eval()
    pictures = torch.zeros(1, 2 * CELL_PX, 3 * CELL_PX, 3, dtype=torch.uint8)
    rows, columns = CELL_PX * Dim("rows", min=1, max=1024), CELL_PX * Dim("columns", min=1, max=1024)
    with torch.no_grad():
        program = export(module, (pictures,), dynamic_shapes=({1: rows, 2: columns},), strict=False)
    return _Subject(module, (pictures,), program, (["pictures"], ["cells"]))


def _looker(file: WeightsFile) -> _Subject:
    module = CropPoints(load_landmarks(file)).eval()
    crops = torch.zeros(2, CROP_SIZE, CROP_SIZE)
    program, _ = record_program(module, (crops,))
    return _Subject(module, (crops,), program, (["crops"], ["points", "scores"]))


def _parser(file: WeightsFile) -> _Subject:
    parser = load_parser(file)
    if not isinstance(parser, PartsParser):
        raise ConfigError(f"'{file.path}' holds a {parser.name}, which ships with no graph")
    module, side = PartLabels(cast("PartsNet", parser.network)).eval(), parser.input_size
    faces = torch.zeros(2, side, side, 3)
    program, _ = record_program(module, (faces,))
    return _Subject(module, (faces,), program, (["faces"], ["labels", "sums"]))


def _damage_finder(file: WeightsFile) -> _Subject:
    module, side = (
        DamageShares(load_damage_network(file)).eval(),
        trained_size(file.metadata, default=FACE_SIZE),
    )
    faces = torch.zeros(2, side, side, 3)
    program, _ = record_program(module, (faces,))
    return _Subject(module, (faces,), program, (["faces"], ["shares"]))


def _eye_reader(file: WeightsFile) -> _Subject:
    module, faces = (
        ClosedEyes(load_eyes_network(file)).eval(),
        torch.zeros(2, EYES_FACE_SIZE, EYES_FACE_SIZE, 3),
    )
    program, _ = record_program(module, (faces,))
    return _Subject(module, (faces,), program, (["faces"], ["closed"]))


def _cleaner(file: WeightsFile) -> _Subject:
    from torch.export import Dim, export

    network = load_cleaner_module(file).eval()
    multiple = network.size_multiple
    photos = torch.zeros(1, 3, 2 * multiple, 3 * multiple)
    rows, columns = multiple * Dim("rows", min=1, max=1024), multiple * Dim("columns", min=1, max=1024)
    with torch.no_grad():
        program = export(network, (photos,), dynamic_shapes=({2: rows, 3: columns},), strict=False)
    return _Subject(network, (photos,), program, (["photos"], ["cleaned"]))


_OTHERS: Mapping[str, Callable[[WeightsFile], _Subject]] = {
    "finder": _detector,
    "landmarks": _looker,
    "parse": _parser,
    DAMAGE: _damage_finder,
    EYES: _eye_reader,
}
"""By what the header calls the network: those that restore no faces."""


def taken_out(model: Any, tensors: Mapping[str, NDArray[Any]]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Take a model's parameters out; return the names of all, and those that are none of the file's tensors.

    What the file has in float16 the graph takes so, and makes float32 of it, once, as it is loaded.
    """
    onnx, helper = import_module("onnx"), import_module("onnx.numpy_helper")
    taken: list[str] = []
    own: dict[str, NDArray[Any]] = {}
    casts: list[Any] = []
    for parameter in model.graph.initializer:
        value, name = helper.to_array(parameter), parameter.name.removeprefix("network.")
        if value.dtype != np.float32:  # shapes, which ONNX Runtime reads from the graph alone
            continue
        stored = tensors.get(name)
        if stored is None or not _is_same(stored, value):
            if value.nbytes <= INLINE_BYTES:
                continue
            name, stored = f"{GRAPH_TENSORS}{len(own)}", value
            own[name] = value
        taken.append(name)
        within = name.removeprefix(GRAPH_TENSORS)
        wide = within if stored.dtype == np.float32 else f"{within}.float32"
        _rename(model, parameter.name, wide)
        if wide != within:
            casts.append(onnx.helper.make_node("Cast", [within], [wide], to=onnx.TensorProto.FLOAT))
        parameter.name, parameter.data_type = within, onnx.helper.np_dtype_to_tensor_dtype(stored.dtype)
        parameter.ClearField("raw_data")
        parameter.data_location = onnx.TensorProto.EXTERNAL
        for key, stated in (("location", "tensors"), ("offset", "0"), ("length", str(stored.nbytes))):
            parameter.external_data.add(key=key, value=stated)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return taken, own


def _is_same(stored: NDArray[Any], value: NDArray[Any]) -> bool:
    return stored.shape == value.shape and bool(np.array_equal(stored.astype(value.dtype), value))


def _rename(model: Any, old: str, new: str) -> None:
    """Give a parameter another name where it is taken."""
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _trained_from(file: WeightsFile) -> Mix | None:
    """Return what has the tensors that a file lacks, and none of the others; None where it lacks none."""
    name = file.metadata.get(DETAIL_OF)
    return None if name is None else Mix(WeightsStore().require(name), 1.0)


def _refined(file: WeightsFile) -> Base | None:
    """Return the weights that a file refines; None where it refines nothing.

    With detail where some weights draw it: a graph has equal tensors once, and what was trained from the careful
    network may have some of its, which it is to keep whatever it refines.
    """
    name, store = file.metadata.get(REFINES), WeightsStore()
    if name is None:
        return None
    entries = store.catalog.entries
    drawing = next(
        (own for own in entries.values() if name in (own.name, own.detail_of) and own.detail_of), None
    )
    if drawing is None or store.locate(drawing.name) is None:
        return Base(store.require(name))
    return Base(store.require(drawing.name), Mix(store.require(drawing.detail_of or ""), drawing.detail))


def _parameters(base: Base, load: Callable[[Path], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return the parameters of what is refined, as the graph's network calls them."""
    found = load(open_weights(base.source).path)
    if base.mix is not None:
        careful = load(open_weights(base.mix.base).path)
        found = careful | mixed(careful, found, base.mix.share, name=str(base.source))
    return {f"{BASE}{name}": value for name, value in found.items()}


def _compare(
    subject: _Subject, written: WeightsFile, path: Path, *, mix: Mix | None, base: Base | None
) -> None:
    """Make sure that the graph gives what the network gives, on noise.

    Raises:
        BackendError: it does not.
    """
    draw = np.random.default_rng(SEED)
    inputs = [_noise(draw, example.numpy()) for example in subject.inputs]
    wanted = TorchEngine(subject.module).run(*inputs)
    found = open_graph(written, mix=mix, base=base).run(*inputs)
    for one, other in zip(wanted, found, strict=True):
        error = _error(one, other)
        if not error <= TOLERANCE:
            raise BackendError(
                f"the graph of '{path}' does not give what its network gives: the largest error is {error:.2g} of the"
                f" output's largest value, above {TOLERANCE:g}; the file is left as it was"
            )


def _error(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest error over the largest value, or, of classes, the share of pixels that differ.

    Two classes that are equally likely may fall either way; that many pixels of noise are.
    """
    if wanted.dtype == np.uint8:
        return float((wanted != found).mean())
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


def _noise(draw: np.random.Generator, example: NDArray[Any]) -> NDArray[Any]:
    if example.dtype == np.uint8:
        most = 256 if example.ndim == 4 else 19  # levels of pictures, or ids of classes
        return draw.integers(0, most, example.shape, dtype=np.uint8)
    return draw.random(example.shape, dtype=np.float32)

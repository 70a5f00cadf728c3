"""Graphs as files: ONNX, OpenVINO and TorchScript, each with its record inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from facerestore.backends.exported import NetworkRecord
from facerestore.backends.exported.reading import EXTRA_FILE, companion_of
from facerestore.backends.exported.record import KEY
from facerestore.engines.openvino import INSTALL as INSTALL_OPENVINO
from facerestore.engines.openvino import import_openvino
from facerestore.engines.torchscript import without_deprecation
from facerestore.errors import BackendError, ConfigError, required_package
from facerestore.export.graph import RESTORED, input_names, record_program
from facerestore.weights.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTALL_ONNX = 'pip install "facerestore[onnx]"'

OPSET = 18
"""The version of ONNX's operators that torch's exporter is made for; ONNX Runtime knows it since 1.14."""

MOST_EMBEDDED_BYTES = 2_000_000_000
"""A protocol buffer, which an ONNX file is, ends at 2 GiB; larger parameters go into a file beside it."""

MOST_FOLDED = 256
"""Numbers of a parameter from which nothing is computed beforehand where a graph is not to be folded. Without any such
computing the graph of ``mmrb.clean-128`` gave other bits on two threads than on one."""

KEPT_IN_FLOAT32 = (
    "Gemm",
    "MatMul",
    "ReduceSum",
    "ReduceMean",
    "Sqrt",
    "Reciprocal",
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "Softmax",
    "Resize",
)
"""Operators that stay in float32 in a float16 file: style, demodulation and norms, whose sums of squares float16 may
not hold, and resizing, which some providers have no float16 kernel for. They are few beside the convolutions. On a CPU,
which computes in float32 anyway, and with random weights they make no difference (GPEN of 512 px: an error of 0.0054
with them in float32, 0.0051 without)."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportJob:
    """What is to be written.

    Attributes:
        graph: the network as a function of tensors.
        inputs: an example of each.
        record: what the file says of itself.
        path: the file.
        half: store, and where the runtime can compute, in float16.
    """

    graph: nn.Module
    inputs: tuple[Tensor, ...]
    record: NetworkRecord
    path: Path
    half: bool


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that can be written.

    Attributes:
        write: writes it, and returns its record.
        needs: packages that it takes, to write it and to run it.
        install: the command that installs them.
        halves: it can be written in float16.
    """

    write: Callable[[ExportJob], NetworkRecord]
    needs: tuple[str, ...]
    install: str
    halves: bool


def check_packages(name: str) -> None:
    """Make sure that what a format needs is installed.

    Raises:
        ConfigError: there is no such format.
        BackendError: a package cannot be imported.
    """
    if name not in FORMATS:
        raise ConfigError(f"unknown format '{name}'; choose one of {', '.join(FORMATS)}")
    for module in FORMATS[name].needs:
        load = import_openvino if module == "openvino" else import_module
        install = FORMATS[name].install
        required_package(module, what=f"--format {name}", install=install, error=BackendError, load=load)


def write_onnx(job: ExportJob) -> NetworkRecord:
    """Write an ONNX file, parameters inside unless they are too large."""
    onnx = import_module("onnx")
    program, fixed = record_program(job.graph, job.inputs)
    model = onnx_model(program, input_names(job.inputs), [RESTORED])
    model = _halved(model) if job.half else model
    record = _finished(job, fixed, f"torch {torch.__version__}, ONNX opset {OPSET}")
    if _parameter_bytes(job.graph) // (2 if job.half else 1) > MOST_EMBEDDED_BYTES:
        data = f"{job.path.name}.data"
        onnx.save(model, str(job.path), save_as_external_data=True, location=data)
        record = replace(record, companion_sha256=sha256_of(job.path.with_name(data)))
        model = onnx.load(str(job.path), load_external_data=False)
    model.metadata_props.add(key=KEY, value=record.to_json())
    job.path.write_bytes(model.SerializeToString())
    return record


def onnx_model(program: Any, inputs: Sequence[str], outputs: Sequence[str], *, folded: bool = True) -> Any:
    """Return a recorded program as an ONNX model, which says nothing of this machine.

    Args:
        program: what ``torch.export`` recorded.
        inputs: names for its inputs.
        outputs: names for its outputs.
        folded: it holds what follows from parameters alone in their place, such as scaled weights; else the runtime
            computes that when it loads the model.
    """
    with _quiet_exporter():
        exported: Any = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            optimize=folded,
            verbose=False,
        )
        if not folded:
            import_module("onnxscript.optimizer").optimize_ir(exported.model, input_size_limit=MOST_FOLDED)
    model = exported.model_proto  # made anew each time it is asked for
    _forget_origin(model)
    return model


def write_openvino(job: ExportJob) -> NetworkRecord:
    """Write an OpenVINO file and its parameters beside it."""
    openvino = import_openvino()
    program, fixed = record_program(job.graph, job.inputs)
    with _quiet_exporter():
        model = openvino.convert_model(program)
    for port, name in zip(model.inputs, input_names(job.inputs), strict=True):
        port.get_tensor().set_names({name})
    model.outputs[0].get_tensor().set_names({RESTORED})
    batch = fixed or -1
    model.reshape({index: [batch, *value.shape[1:]] for index, value in enumerate(job.inputs)})
    record = _finished(job, fixed, f"torch {torch.__version__}, openvino {version('openvino')}")
    openvino.save_model(model, str(job.path), compress_to_fp16=job.half)
    companion = companion_of(job.path)
    record = replace(record, companion_sha256=None if companion is None else sha256_of(companion))
    model.set_rt_info(record.to_json(), [KEY])
    openvino.save_model(model, str(job.path), compress_to_fp16=job.half)
    return record


def write_torchscript(job: ExportJob) -> NetworkRecord:
    """Write a TorchScript archive."""
    module, fixed = _traced(job.graph, job.inputs), 0
    single = tuple(value[:1] for value in job.inputs)
    try:
        with torch.inference_mode():
            module(*single)
    except RuntimeError:  # a network that computes with its batch size
        module, fixed = _traced(job.graph, single), 1
    record = _finished(job, fixed, f"torch {torch.__version__}")
    with without_deprecation():
        # In memory, for torch's writer of files ends the process where the disk is full.
        job.path.write_bytes(module.save_to_buffer(_extra_files={EXTRA_FILE: record.to_json()}))
    return record


def _traced(graph: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    with without_deprecation(), warnings.catch_warnings(), torch.no_grad():
        # Of shapes that become constants: the face size is one on purpose, and the batch is tried afterwards.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return torch.jit.trace(graph, inputs, check_trace=False)  # type: ignore[no-untyped-call]


FORMATS: Mapping[str, Format] = {
    "onnx": Format(write_onnx, ("onnx", "onnxscript", "onnxruntime"), INSTALL_ONNX, halves=True),
    "openvino": Format(write_openvino, ("openvino",), INSTALL_OPENVINO, halves=True),
    "torchscript": Format(write_torchscript, (), "", halves=False),
}
"""The formats by name; each runs on the runtime of the same name."""


def _finished(job: ExportJob, fixed: int, programs: str) -> NetworkRecord:
    """Return the record with what only the writer knows."""
    return replace(
        job.record,
        max_batch=fixed,
        precision="float16" if job.half else "float32",
        exporter=f"{job.record.exporter}, {programs}",
    )


def _parameter_bytes(graph: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in graph.state_dict().values())


def _forget_origin(model: Any) -> None:
    """Take out what the exporter notes of each node: where its source stands on this machine."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for function in model.functions:
        for node in function.node:
            node.ClearField("metadata_props")


def _halved(model: Any) -> Any:
    """Return an ONNX model in float16, but for its inputs and outputs and `KEPT_IN_FLOAT32`."""
    float16: ModuleType = import_module("onnxruntime.transformers.float16")
    tools: ModuleType = import_module("onnxruntime.transformers.onnx_model")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FLOAT32]
    with warnings.catch_warnings():
        # Of parameters that float16 cannot tell from zero: the parity check says whether that matters.
        warnings.filterwarnings("ignore", message=".*will be truncated")
        halved = float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    # It casts a tensor once for each node that takes it, under one name.
    distinct = {tuple(node.output): node for node in halved.graph.node}
    nodes = list(distinct.values())
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    tools.OnnxModel(halved).topological_sort()
    return halved


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep exporters from talking of what they leave undone, such as constants that are folded at loading."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""Targets ``checkpoint`` and ``graph``: files of weights, and networks exported for other programs."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes

from facerestore.backends import backend_class, load_backend
from facerestore.backends.exported import ExportedFile, NetworkRecord, read_record
from facerestore.detection.onnx_shape import with_input_shape
from facerestore.detection.yunet import EXPORT_SHAPE
from facerestore.engines.graph import open_graph, packed_graph, unpacked_graph
from facerestore.errors import FaceRestoreError, MalformedError
from facerestore.parsing import load_parser
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, read_metadata
from facerestore.weights.files import unlike_weights
from facerestore.weights.weights_file import look_at
from fuzz.kinds import CATALOG, Kind, of_file

_RECORD = NetworkRecord(face_size=16, value_range=(-1, 1), licence="MIT", commercial_use="yes", weights="x.y")
_HEADER = {"recipe": "parse", "purpose": "parse", "backend": "parsenet", "face_size": "512"}


def checkpoint() -> tuple[Kind, ...]:
    """Return headers, and whole files of each format."""
    small = {"body.weight": torch.ones(3, 2), "body.bias": torch.zeros(3)}
    tensors = dict(backend_class("gpen").example_state_dict())
    plain = safetensors_bytes(small, {"architecture": "lite"})
    pth, legacy = (_saved({"params_ema": small, "epoch": 3}, legacy=legacy) for legacy in (False, True))
    length = int.from_bytes(plain[:8], "little")
    whole = of_file(_read_weights, "w.safetensors")
    return (
        Kind("header", (plain[8 : 8 + length],), _read_header, "json"),
        Kind("safetensors", (plain,), of_file(load_state_dict, "p.safetensors")),
        Kind("zip", (pth,), of_file(load_state_dict, "p.pth")),
        Kind("legacy", (legacy,), of_file(load_state_dict, "l.pth")),
        Kind("gpen.safetensors", (safetensors_bytes(tensors, _HEADER),), whole),
        Kind("gpen.zip", (_saved({"params_ema": tensors, "epoch": 3}),), of_file(_read_weights, "z.pth")),
        Kind("gpen.legacy", (_saved({"state_dict": tensors}, legacy=True),), of_file(_read_weights, "g.pth")),
    )


def graph() -> tuple[Kind, ...]:
    """Return ONNX in the forms that are read, what OpenVINO and TorchScript say of themselves, and packed graphs."""
    record = _RECORD.to_json().replace('"', "&quot;")
    xml = f'<net><layers/><rt_info><facerestore value="{record}"/></rt_info></net>'
    script = {"n/code/a.py": b"x", "n/extra/facerestore.json": _RECORD.to_json().encode(), "n/data.pkl": b"x"}
    onnx = _onnx()
    return (
        Kind("onnx", (onnx,), _exported("onnx", "n.onnx")),
        Kind("yunet", (onnx,), lambda data: with_input_shape(data, EXPORT_SHAPE)),
        Kind("openvino", (xml.encode(),), _exported("openvino", "n.xml")),
        Kind("torchscript", (_archive(script),), _exported("torchscript", "n.torchscript")),
        Kind("record", (_RECORD.to_json().encode(),), _read_own_record, "json"),
        Kind("packed", (packed_graph(onnx).encode(),), _unpack),
        Kind("embedded", (_identity(),), _open_embedded),
    )


def _saved(value: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _with_header(text: bytes, body: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + body


def _read_header(text: bytes) -> None:
    def read(path: Path) -> None:
        look_at(path)
        unlike_weights(path, path.name)
        load_state_dict(path)

    of_file(read, "h.safetensors")(_with_header(text, bytes(36)))


def _read_weights(path: Path) -> None:
    """Ask all that is asked of a file of weights before a face is seen."""
    unlike_weights(path, path.name)
    for ask in (load_state_dict, load_backend, load_parser, read_metadata):
        with contextlib.suppress(FaceRestoreError):
            ask(path)
    with tempfile.TemporaryDirectory() as home:
        WeightsStore(Path(home), offline=True, catalog=CATALOG).import_file("gpen.bfr-512", path)


def _exported(runtime: str, name: str) -> Callable[[bytes], None]:
    def run(path: Path) -> None:
        path.with_suffix(".bin").write_bytes(b"x")
        read_record(ExportedFile(runtime, path))

    return of_file(run, name)


def _read_own_record(text: bytes) -> None:
    entry = _field(14, _field(1, b"facerestore") + _field(2, text))
    _exported("onnx", "r.onnx")(b"\x08\x08" + _field(7, b"") + entry)


def _unpack(text: bytes) -> None:
    with contextlib.suppress(MalformedError):  # which whoever reads a file turns into one of ours
        unpacked_graph(text.decode("latin-1"))


def _open_embedded(model: bytes) -> None:
    """Let ONNX Runtime make a network of a model in the header of weights."""
    text = base64.b64encode(zlib.compress(model, 1)).decode()
    header = {"__metadata__": {"onnx": text, "onnx_tensors": '["w"]'}}
    header["w"] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    of_file(lambda path: open_graph(look_at(path)), "e.safetensors")(
        _with_header(json.dumps(header).encode(), bytes(4))
    )


def _number(value: int) -> bytes:
    head = b""
    while value > 0x7F:
        head, value = head + bytes([value & 0x7F | 0x80]), value >> 7
    return head + bytes([value])


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(value)) + value


def _value_info(name: bytes) -> bytes:
    dims = b"".join(_field(1, b"\x08" + _number(size)) for size in (1, 3, 64, 64))
    return _field(1, name) + _field(2, _field(1, b"\x08\x01" + _field(2, dims)))


def _onnx() -> bytes:
    """Return a model with an input and our record, and no nodes."""
    entry = _field(14, _field(1, b"facerestore") + _field(2, _RECORD.to_json().encode()))
    return b"\x08\x08" + _field(7, _field(11, _value_info(b"x"))) + entry


def _identity() -> bytes:
    """Return a model that ONNX Runtime takes: x times w, a tensor that the file of weights holds."""
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"Mul")
    outside = _field(13, _field(1, b"location") + _field(2, b"parameters")) + b"\x70\x01"
    weights = b"\x08\x01\x10\x01" + _field(8, b"w") + outside
    parts = _field(1, node) + _field(2, b"g") + _field(5, weights)
    inner = parts + _field(11, _value_info(b"x")) + _field(12, _value_info(b"y"))
    return b"\x08\x08" + _field(7, inner) + _field(8, b"\x10\x11")


def _archive(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()

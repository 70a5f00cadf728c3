"""Reads what an exported file says of itself, without the program that runs it and without reading its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from facerestore.backends.exported.record import KEY
from facerestore.errors import MOST_DEPTH, CheckpointError, MalformedError, refusing
from facerestore.weights.protobuf import fields

# Fields of the protocol buffers of ONNX (onnx.proto3): ModelProto.graph and .metadata_props, StringStringEntryProto.
_GRAPH, _METADATA, _ENTRY_KEY, _ENTRY_VALUE = 7, 14, 1, 2

MOST_RECORD_BYTES = 1 << 20
"""Far above what a record needs: a damaged length is not read into memory."""

CHUNK_BYTES = 1 << 16

REMEDY = "export or download it again"

EXTRA_FILE = f"{KEY}.json"
"""Name of the record within a TorchScript archive."""


def companion_of(path: Path) -> Path | None:
    """Return the file that holds the parameters of another one; None where they are in the file itself."""
    if path.suffix == ".xml":
        return path.with_suffix(".bin")
    beside = path.with_name(f"{path.name}.data")
    return beside if path.suffix == ".onnx" and beside.is_file() else None


def embedded_record(path: Path, runtime: str) -> str | None:
    """Return the JSON that ``facerestore export`` wrote into a file; None where there is none.

    Args:
        path: the file.
        runtime: what it is for: ``onnx``, ``openvino`` or ``torchscript``.

    Raises:
        CheckpointError: it cannot be read, is cut short, or is of another kind.
    """
    with refusing(
        lambda why: CheckpointError(f"'{path}' is {_KINDS[runtime]}, or is cut short ({why}); {REMEDY}")
    ):
        return _READERS[runtime](path)


def _read_onnx(path: Path) -> str | None:
    """Walk over the fields of the outermost message; the graph itself is stepped over."""
    found, has_graph = None, False
    size = path.stat().st_size
    with path.open("rb") as stream:
        for number, length in fields(stream, size):
            has_graph = has_graph or number == _GRAPH
            if number == _METADATA and length <= MOST_RECORD_BYTES:
                found = _entry(stream, length) or found
            else:
                stream.seek(length, 1)
    if not has_graph:
        raise CheckpointError(f"'{path}' is no ONNX file: it holds no graph; {REMEDY}")
    return found


def _entry(stream: BinaryIO, length: int) -> str | None:
    """Return the value of an entry of the metadata whose key is ours."""
    end = stream.tell() + length
    parts = {number: stream.read(size) for number, size in fields(stream, end)}
    return parts.get(_ENTRY_VALUE, b"").decode("utf-8") if parts.get(_ENTRY_KEY) == KEY.encode() else None


def _read_openvino(path: Path) -> str | None:
    root, own = _net(path)
    if root != "net":
        raise CheckpointError(
            f"'{path}' is no OpenVINO file: it begins with <{root[:80]}>, not <net>; give the .xml of a network"
        )
    if not path.with_suffix(".bin").is_file():
        raise CheckpointError(
            f"'{path.with_suffix('.bin')}' is missing, which holds the parameters of '{path.name}'; keep both together"
        )
    return own


def _net(path: Path) -> tuple[str, str | None]:
    """Return the name of the outermost element of an XML file, and the record in it if there is one."""
    from xml.etree import ElementTree

    root, own = "", None
    inside: list[str] = []
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    with path.open("rb") as stream:
        while data := stream.read(CHUNK_BYTES):
            parser.feed(data)
            for event, element in parser.read_events():
                if event == "end":
                    own = element.get("value") if inside == ["net", "rt_info", KEY] else own
                    element.clear()
                    inside.pop()
                    continue
                inside.append(element.tag)
                root = root or element.tag
                if len(inside) > MOST_DEPTH:
                    raise MalformedError(f"it is nested more than {MOST_DEPTH} deep")
    parser.close()
    return root, own


def _read_torchscript(path: Path) -> str | None:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if not any("/code/" in name for name in names):
            raise CheckpointError(
                f"'{path}' is no TorchScript file: it holds no code; weights are given with --weights"
            )
        own = next((name for name in names if name.endswith(f"/extra/{EXTRA_FILE}")), None)
        if own is None:
            return None
        with archive.open(own) as stream:  # what its directory says of its size may be a lie
            data = stream.read(MOST_RECORD_BYTES + 1)
        if len(data) > MOST_RECORD_BYTES:
            raise MalformedError(f"its record is larger than {MOST_RECORD_BYTES} bytes")
        return data.decode("utf-8")


_READERS: Mapping[str, Callable[[Path], str | None]] = {
    "onnx": _read_onnx,
    "openvino": _read_openvino,
    "torchscript": _read_torchscript,
}

_KINDS: Mapping[str, str] = {
    "onnx": "no ONNX file",
    "openvino": "no OpenVINO file",
    "torchscript": "no TorchScript file",
}

"""What is read from outside beside pictures: records, settings, journals, manifests, networks; and what reads each."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes

from facerestore.backends import backend_class, load_backend
from facerestore.backends.exported import ExportedFile, NetworkRecord
from facerestore.backends.exported import read_record as read_exported
from facerestore.backends.exported.record import record_beside
from facerestore.config import load_config
from facerestore.detection.onnx_shape import with_input_shape
from facerestore.detection.yunet import EXPORT_SHAPE
from facerestore.errors import FaceRestoreError
from facerestore.evaluation.cases import CaseFiles
from facerestore.evaluation.comparison import Named, merge
from facerestore.evaluation.groups import GroupWish, group_faces
from facerestore.evaluation.metrics import SPECS
from facerestore.evaluation.result import Evaluation, FaceResult, MethodFacts, MetricFacts, read_evaluation
from facerestore.evaluation.tables import markdown
from facerestore.parsing import load_parser
from facerestore.training.data.prepared import Journal
from facerestore.training.engine.curves import panels_of
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import EngineSettings, make_settings, read_settings
from facerestore.training.export import export_run
from facerestore.training.recipes.landmarks.data import by_labels
from facerestore.weights import WeightsStore, load_catalog, parse_catalog
from facerestore.weights.checkpoint import load_state_dict, read_metadata
from facerestore.weights.files import unlike_weights
from facerestore.weights.own import record_path
from facerestore.weights.records import pin_path, read_pin, stamp_path, stamped_sha256, stamped_use

SHA256 = "0" * 64


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: an example, and what reads it.

    Attributes:
        suffix: of its name.
        example: a right one.
        read: reads a file of that kind; may raise nothing but a FaceRestoreError.
    """

    suffix: str
    example: bytes
    read: Callable[[Path], object]


def _torch(value: Any, *, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _lines(*values: Any) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@cache
def _example(backend: str) -> Mapping[str, torch.Tensor]:
    return MappingProxyType(backend_class(backend).example_state_dict())


def _read_weights(path: Path) -> None:
    """Ask all that is asked of a file of weights before a face is seen."""
    if path.is_file():
        unlike_weights(path, path.name)
    for ask in (load_state_dict, load_backend, load_parser, read_metadata):
        with contextlib.suppress(FaceRestoreError):
            ask(path)
    with tempfile.TemporaryDirectory() as home:
        WeightsStore(Path(home), offline=True).import_file("gpen.bfr-512", path)


def _in_home(place: Callable[[Path], Path], read: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what reads a file where a store of weights keeps it."""

    def run(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            target = place(Path(folder))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            read(Path(folder))

    return run


def _read_stamp(home: Path) -> None:
    weights = home / "w.pth"
    stamped_sha256(weights)
    stamped_use(weights)


def _stamp(home: Path) -> Path:
    (home / "w.pth").write_bytes(b"x")
    return stamp_path(home / "w.pth")


def _read_own(home: Path) -> None:
    WeightsStore(home, offline=True).entry("lite.mine")


def _read_run(home: Path) -> None:
    folder = RunFolder(home, main=False)
    panels_of(folder.records())
    folder.judgements()


def _settle(home: Path) -> None:
    RunFolder(home, main=False).settle({"recipe": "lite", "engine": {"steps": 4}})


def _export(home: Path) -> None:
    export_run(home, home / "out.safetensors", licence="MIT", data="none")


def _prepare(path: Path) -> None:
    Journal(path, {"size": 64})


def _labels(path: Path) -> None:
    by_labels(path)


def _evaluation() -> bytes:
    facts = MetricFacts.of(SPECS["psnr"], {"implementation": "by hand"})
    faces = tuple(
        FaceResult(
            name=f"a/{n}",
            set_name="a",
            sha256="0",
            groups={"yaw": "low"},
            values={"lite": {"psnr": 20.0 + n}},
        )
        for n in range(3)
    )
    protocol = {"source": {"kind": "degradation", "preset": "gfpgan", "seed": 7}, "face_size": 64, "faces": 3}
    return (
        Evaluation(
            protocol=protocol,
            metrics=(facts,),
            unavailable={"niqe": "not here"},
            methods=(MethodFacts(name="lite", facts={"kind": "lite"}),),
            faces=faces,
        )
        .to_json()
        .encode()
    )


def _read_evaluation(path: Path) -> None:
    """Do as ``facerestore evaluate compare`` does with a result and a right one."""
    right = path.with_name("right.json")
    right.write_bytes(_evaluation())
    found = Named("found", read_evaluation(path))
    merged, notes = merge(found, Named("right", read_evaluation(right)))
    if merged.methods:
        markdown(merged, against=merged.methods[0].name, notes=notes)


def _group(path: Path) -> None:
    faces = [CaseFiles(name=f"a/{n}", set_name="a", lq=None, hq=None, position=n) for n in range(3)]
    group_faces(faces, path, [GroupWish("yaw"), GroupWish("light", (0.5,))])


def _catalog(path: Path) -> None:
    parse_catalog(path.read_text(encoding="utf-8", errors="surrogateescape"), folder=path.parent)


def _train(path: Path) -> None:
    make_settings(EngineSettings, read_settings(path).get("engine", {}))


def _sidecar(path: Path) -> None:
    record_beside(path.with_suffix(""))


def _field(number: int, value: bytes) -> bytes:
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + value


def _onnx() -> bytes:
    dims = _field(1, b"\x08\x01") + _field(1, b"\x08\x03") + _field(1, b"\x08\x40") + _field(1, b"\x08\x40")
    own_input = _field(11, _field(1, b"x") + _field(2, _field(1, b"\x08\x01" + _field(2, dims))))
    entry = _field(14, _field(1, b"facerestore") + _field(2, _RECORD.to_json().encode()))
    return b"\x08\x08" + _field(7, own_input) + entry


def _exported(runtime: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        path.with_suffix(".bin").write_bytes(b"x")
        read_exported(ExportedFile(runtime, path))

    return run


def _read_yunet(path: Path) -> None:
    with_input_shape(path.read_bytes(), EXPORT_SHAPE)


def _archive(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


_RECORD = NetworkRecord(face_size=16, value_range=(-1, 1), licence="MIT", commercial_use="yes", weights="x.y")

_FACE = {
    "split": "train", "set_name": "a", "name": "0", "reason": "", "detail": "", "photo": "a.jpg", "index": 0,
    "measures": {
        "side_px": 64, "resolved_px": 60.0, "eye_distance_px": 20.0, "turn": 0.1, "outside": 0.0, "blur_px": 1.0,
        "noise": 2.0, "blockiness": 1.0, "fingerprint": "0" * 64,
    },
}  # fmt: skip

_SETTINGS = {
    "recipe": "lite", "lite": {}, "data": {"face_size": 64}, "engine": {"steps": 4, "seed": 3}, "faces": ["/x"],
}  # fmt: skip

_OWN = {
    "weights": {
        "file": "lite.mine.safetensors", "licence": "MIT", "commercial_use": "yes", "training_data": "drawn",
        "source": "here", "paper": "none", "purpose": "restore", "face_size": 64, "sha256": SHA256,
    },
    "licences": {"Mine": {"name": "Mine", "url": "none", "notice": "none"}},
}  # fmt: skip


@cache
def kinds() -> Mapping[str, Kind]:
    """Return every kind by its name, which ends the names of its files in the corpus."""
    tensors = dict(_example("gpen"))
    catalog = (load_catalog().folder / "catalog.toml").read_bytes()[:6000].rpartition(b"\n\n")[0]
    log = [
        *({"step": n, "rate": 1e-4, "seconds": 0.5, "pixel": 0.1} for n in (1, 2)),
        {"step": 2, "psnr": 20.5},
    ]
    pin = {"sha256": SHA256, "origin": "https://example.org/x", "pinned_at": "2026-01-01T00:00:00+00:00"}
    csv = b"set,name,yaw,light\na,0,0.1,0.2\na,1,0.4,0.9\na,2,x,0.3\n"
    record = _RECORD.to_json().replace('"', "&quot;")
    xml = f'<net><layers/><rt_info><facerestore value="{record}"/></rt_info></net>'
    script = {"n/code/a.py": b"x", "n/extra/facerestore.json": _RECORD.to_json().encode(), "n/data.pkl": b"x"}
    toml = (
        b'[restore]\nstrength = 0.7\nfaces = "0,2"\nmin_face = 3\n\n[output]\nformat = "png"\nquality = 90\n'
    )
    header = {"recipe": "parse", "purpose": "parse", "backend": "parsenet", "face_size": "512"}
    return MappingProxyType(
        {
            "config": Kind(".toml", toml, load_config),
            "catalog": Kind(".toml", catalog, _catalog),
            "train": Kind(".toml", b'[engine]\nsteps = 5\nprecision = "no"\nema_decay = 0.99\n', _train),
            "sidecar": Kind(".onnx.toml", b"face_size = 512\nvalue_range = [-1, 1]\nmax_batch = 4\n", _sidecar),
            "pin": Kind(".json", _json(pin), _in_home(lambda h: pin_path(h, "a.b"), lambda h: read_pin(h, "a.b"))),
            "stamp": Kind(
                ".json", _json({"sha256": SHA256, "size_bytes": 1, "mtime_ns": 1, "use": "x"}),
                _in_home(_stamp, _read_stamp),
            ),
            "own": Kind(".json", _json(_OWN), _in_home(lambda h: record_path(h, "lite.mine"), _read_own)),
            "log": Kind(".jsonl", _lines(*log), _in_home(lambda h: h / "log.jsonl", _read_run)),
            "settled": Kind(".json", _json(_SETTINGS), _in_home(lambda h: h / "settings.json", _settle)),
            "settings": Kind(".json", _json(_SETTINGS), _in_home(lambda h: h / "settings.json", _export)),
            "journal": Kind(
                ".jsonl", _lines({"size": 64}, {"photo": "a.jpg", "error": "", "faces": [_FACE]}), _prepare
            ),
            "labels": Kind(".json", _json({"a/0": [[0.3, 0.4]] * 5}), _labels),
            "evaluation": Kind(".json", _evaluation(), _read_evaluation),
            "manifest": Kind(".csv", csv, _group),
            "onnx": Kind(".onnx", _onnx(), _exported("onnx")),
            "yunet": Kind(".onnx", _onnx(), _read_yunet),
            "openvino": Kind(".xml", xml.encode(), _exported("openvino")),
            "torchscript": Kind(".torchscript", _archive(script), _exported("torchscript")),
            "weights": Kind(".safetensors", safetensors_bytes(tensors, header), _read_weights),
            "zip": Kind(".pth", _torch({"params_ema": tensors, "epoch": 3}), _read_weights),
            "legacy": Kind(".pth", _torch({"state_dict": tensors}, legacy=True), _read_weights),
        }
    )  # fmt: skip


def read_record(name: str, data: bytes) -> None:
    """Read a mutant of a kind as the program would."""
    kind = kinds()[name]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"mutant{kind.suffix}"
        path.write_bytes(data)
        kind.read(path)

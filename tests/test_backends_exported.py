"""Exported networks as backends: what files say of themselves, what is refused, and what runs them."""

import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from facerestore.backends.exported import (
    ExportedFile,
    ExportedRestorer,
    NetworkRecord,
    Place,
    check_companion,
    exported_file,
    load_exported,
    read_record,
    refuse_exported,
)
from facerestore.backends.exported.record import record_from_json, sidecar_of
from facerestore.config import RestoreConfig
from facerestore.engines.onnx import OnnxEngine
from facerestore.engines.openvino import OpenVinoEngine, import_openvino
from facerestore.engines.torchscript import without_deprecation
from facerestore.errors import BackendError, CheckpointError, ConfigError, WeightsError
from facerestore.pipeline.choose import choose
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.weights import WeightsStore

RECORD = NetworkRecord(
    face_size=16, value_range=(-1, 1), licence="CC-BY-NC-4.0", commercial_use="no", weights="x.y"
)


def field(number, value):
    """Return a field of a protocol buffer that holds bytes; lengths below 128 alone, or below 16,384."""
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + value


def onnx_bytes(record=RECORD, *, graph=b"\x0a\x00"):
    entries = (
        b"" if record is None else field(14, field(1, b"facerestore") + field(2, record.to_json().encode()))
    )
    other = field(14, field(1, b"author") + field(2, b"someone"))
    return b"\x08\x08" + field(7, graph) + other + entries


def onnx_file(tmp_path, content=None):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes() if content is None else content)
    return ExportedFile("onnx", path)


def openvino_file(tmp_path, *, record=RECORD, text=None):
    path = tmp_path / "net.xml"
    (tmp_path / "net.bin").write_bytes(b"parameters")
    value = "" if record is None else record.to_json().replace('"', "&quot;")
    own = f'<facerestore value="{value}"/>' if value else ""
    path.write_text(text or f"<net><layers/><rt_info>{own}</rt_info></net>", encoding="utf-8")
    return ExportedFile("openvino", path)


class Doubler(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def torchscript_file(tmp_path, module=None, *, record=None, size=16):
    path = tmp_path / "net.torchscript"
    extra = {} if record is None else {"facerestore.json": record.to_json()}
    with without_deprecation():
        traced = torch.jit.trace(module or Doubler(), torch.zeros(2, 3, size, size))
    traced.save(str(path), _extra_files=extra)
    return ExportedFile("torchscript", path)


class FakeEngine:
    """Gives what a function makes of faces; remembers the batches."""

    place, accelerated = "cpu (fake)", False

    def __init__(self, make=lambda x, labels: x, *, fixed_batch=0, inputs=("float32",)):
        self.make, self.fixed_batch, self.batches, self.inputs = make, fixed_batch, [], inputs

    def run(self, x, labels=None):
        self.batches.append(len(x))
        return [self.make(x, labels)]


def restorer(tmp_path, engine=None, **stated):
    record = NetworkRecord(**{"face_size": 16, "value_range": (-1, 1), **stated})
    return ExportedRestorer(tmp_path / "net.onnx", "onnx", record, engine or FakeEngine())


# --- names ---------------------------------------------------------------------------------------------------------


def test_a_name_with_a_runtime_means_a_file():
    assert exported_file("onnx:a/b.onnx") == ("onnx", Path("a/b.onnx"))
    assert exported_file("openvino:net.XML").runtime == "openvino"
    assert exported_file("torchscript:net.pt").name == "torchscript:net.pt"
    assert exported_file("gpen") is None
    assert exported_file("auto") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onnx", "needs a file: --backend onnx:FILE.onnx"),
        ("openvino:", "needs a file: --backend openvino:FILE.xml"),
        ("onnx:net.pth", "ends in .onnx, not '.pth'"),
        ("torchscript:net.onnx", "ends in .torchscript or .ts or .pt"),
    ],
)
def test_a_name_without_a_fit_file_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        exported_file(name)


def test_an_exported_network_is_a_choice_on_the_terms_of_its_weights(tmp_path):
    file, store = onnx_file(tmp_path), WeightsStore(tmp_path / "home", offline=True)
    chosen = choose("restore", RestoreConfig(backend=file.name), store)
    assert (chosen.backend, chosen.name, chosen.commercial_use) == ("onnx", file.name, "no")
    assert (len(chosen.sha256), chosen.record) == (64, RECORD)
    assert choose("restore", RestoreConfig(backend="lite"), store).record is None
    with pytest.raises(ConfigError, match="holds its weights itself"):
        choose("restore", RestoreConfig(backend=file.name, weights="lite.clean-256"), store)


def test_exported_networks_are_no_weights():
    with pytest.raises(ConfigError, match=r"give it as --backend onnx:net\.onnx"):
        refuse_exported(Path("net.onnx"))
    refuse_exported(Path("net.pt"))  # weights end so, too


# --- records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [onnx_file, openvino_file])
def test_a_record_is_read_without_the_program_that_runs_it(tmp_path, make):
    assert read_record(make(tmp_path)) == RECORD
    assert RECORD.input_size == 16


def test_a_record_is_read_from_a_torchscript_archive(tmp_path):
    assert read_record(torchscript_file(tmp_path, record=RECORD)) == RECORD


def test_what_later_versions_add_to_a_record_is_left_out(tmp_path):
    text = RECORD.to_json()[:-1] + ', "colours": "all"}'
    assert record_from_json(text, tmp_path) == RECORD


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"face_size": 4}', '{"face_size": "4", "value_range": [0, 1]}']
)
def test_a_damaged_record_is_told(tmp_path, text):
    with pytest.raises(CheckpointError, match="is damaged"):
        record_from_json(text, tmp_path)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"face_size": 0}, "face_size is 0, not a positive number of pixels"),
        ({"face_size": True}, "face_size is True"),
        ({"value_range": (1, 0)}, "the lower first"),
        ({"value_range": (0, 0.5, 1)}, "two numbers"),
        ({"needs_parsing": 1}, "true or false"),
        ({"commercial_use": "maybe"}, "'yes', 'no' or 'unclear'"),
        ({"max_batch": -1}, "0 for any"),
    ],
)
def test_values_that_cannot_be_are_named(stated, message):
    with pytest.raises(ValueError, match=message):
        NetworkRecord(**{"face_size": 16, "value_range": (0, 1), **stated})


def test_terms_are_told_in_words():
    assert RECORD.origin == "x.y; licence CC-BY-NC-4.0, non-commercial"
    assert (
        NetworkRecord(face_size=1, value_range=(0, 1)).origin
        == "unknown weights; licence unstated, commercial use unstated"
    )


# --- files that are not what they should be ------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 3, 5, 60, 200, 400])
def test_a_truncated_onnx_file_is_told_from_a_foreign_one(tmp_path, cut):
    with pytest.raises(CheckpointError, match=r"cut short|holds no graph|was not written by"):
        read_record(onnx_file(tmp_path, onnx_bytes()[:cut]))
    with pytest.raises(CheckpointError, match="cut short"):
        read_record(onnx_file(tmp_path, onnx_bytes()[:-1]))


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"PK\x03\x04 and so on", b"\x00" * 40])
def test_what_is_no_onnx_file_is_told(tmp_path, content):
    with pytest.raises(CheckpointError, match="is no ONNX file"):
        read_record(onnx_file(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [("<net><layers>", "is no OpenVINO file, or is cut short"), ("<svg/>", "begins with <svg>")],
)
def test_what_is_no_openvino_file_is_told(tmp_path, text, message):
    with pytest.raises(CheckpointError, match=message):
        read_record(openvino_file(tmp_path, text=text))


def test_openvino_without_its_parameters_is_told(tmp_path):
    file = openvino_file(tmp_path)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(CheckpointError, match=r"net\.bin' is missing"):
        read_record(file)


def test_weights_are_no_torchscript(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="weights are given with --weights"):
        read_record(ExportedFile("torchscript", path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        read_record(ExportedFile("torchscript", path))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(WeightsError, match="does not exist; write it with 'facerestore export'"):
        read_record(ExportedFile("onnx", tmp_path / "net.onnx"))


def test_parameters_of_another_file_are_refused(tmp_path):
    file = openvino_file(
        tmp_path, record=NetworkRecord(face_size=1, value_range=(0, 1), companion_sha256="0" * 64)
    )
    with pytest.raises(CheckpointError, match=r"is not what 'net\.xml' was written with"):
        check_companion(file.path, read_record(file))
    (tmp_path / "net.bin").unlink()
    with pytest.raises(CheckpointError, match="are missing"):
        check_companion(file.path, NetworkRecord(face_size=1, value_range=(0, 1), companion_sha256="0" * 64))


# --- files of other programs ---------------------------------------------------------------------------------------


def test_a_foreign_file_says_what_is_missing_and_where_to_write_it(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_record(onnx_file(tmp_path, onnx_bytes(None)))
    told = str(caught.value)
    assert "net.onnx.toml'" in told
    assert "face_size = 512 and value_range = [-1, 1]" in told


def test_a_foreign_file_with_a_sidecar_restores(tmp_path):
    file = torchscript_file(tmp_path)
    sidecar_of(file.path).write_text('face_size = 16\nvalue_range = [0, 255]\ncommercial_use = "unclear"\n')
    found = load_exported(file)
    assert found.record.commercial_use == "unclear"
    face = trial_faces(16)[0]
    assert np.allclose(found.restore([face])[0], np.clip(2 * face.lq, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("face_size = 16\n", "lacks value_range"),
        ("", "lacks face_size and value_range"),
        ("facesize = 16\n", "states 'facesize', which is unknown; did you mean 'face_size'"),
        ("zebra = 16\n", "known are face_size"),
        ('face_size = "big"\nvalue_range = [0, 1]\n', "face_size is 'big'"),
        ("face_size = \n", "cannot be read"),
    ],
)
def test_a_sidecar_that_cannot_be_used_is_told(tmp_path, text, message):
    file = onnx_file(tmp_path, onnx_bytes(None))
    sidecar_of(file.path).write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_record(file)


def test_a_sidecar_cannot_change_what_a_file_says_of_itself(tmp_path):
    file = onnx_file(tmp_path)
    sidecar_of(file.path).write_text('face_size = 16\nvalue_range = [0, 1]\ncommercial_use = "yes"\n')
    with pytest.raises(ConfigError, match=r"remove 'net\.onnx\.toml'"):
        read_record(file)


# --- restoring -----------------------------------------------------------------------------------------------------


def test_values_are_brought_to_the_range_of_the_network_and_back(tmp_path):
    seen = []
    engine = FakeEngine(lambda x, labels: seen.append((x.min(), x.max(), x.dtype)) or -x)
    face = trial_faces(16)[0]
    (result,) = restorer(tmp_path, engine).restore([face])
    assert np.allclose(result, 1 - face.lq, atol=1e-6)
    assert result.dtype == np.float32
    low, high, dtype = seen[0]
    assert (low, high) == pytest.approx((2 * face.lq.min() - 1, 2 * face.lq.max() - 1), abs=1e-6)
    assert dtype == np.float32


@pytest.mark.parametrize(
    ("fixed", "limit", "batches"), [(0, 0, [3]), (0, 1, [1, 1, 1]), (2, 0, [2, 2]), (1, 0, [1] * 3)]
)
def test_batches_are_those_that_the_file_allows(tmp_path, fixed, limit, batches):
    engine = FakeEngine(fixed_batch=fixed)
    faces = trial_faces(16)
    results = restorer(tmp_path, engine, max_batch=limit).restore(faces)
    assert engine.batches == batches
    assert np.allclose(np.stack(results), np.stack([face.lq for face in faces]), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, labels: x[:, :, :8], r"gave shape \(1, 3, 8, 16\)"),
        (lambda x, labels: x * np.nan, "not finite"),
        (lambda x, labels: 1 / 0, "failed on cpu .fake. with 1 face: division by zero"),
    ],
)
def test_what_an_engine_does_wrong_is_told(tmp_path, make, message):
    with pytest.raises(BackendError, match=message):
        restorer(tmp_path, FakeEngine(make)).restore(trial_faces(16)[:1])


def test_maps_are_given_to_networks_that_take_them(tmp_path):
    seen = []
    engine = FakeEngine(lambda x, labels: seen.append(labels) or x, inputs=("float32", "uint8"))
    faces, parsing_map = trial_faces(16)[:1], trial_map(32)
    needing = restorer(tmp_path, engine, needs_parsing=True)
    needing.restore(faces, [parsing_map])
    assert (seen[0].shape, seen[0].dtype) == ((1, 16, 16), np.uint8)
    assert needing.restore([]) == []
    with pytest.raises(BackendError, match="needs a parsing map"):
        needing.restore(faces)
    with pytest.raises(BackendError, match="2 parsing maps for 1 face"):
        needing.restore(faces, [parsing_map] * 2)
    unneeded = FakeEngine(lambda x, labels: seen.append(labels) or x)
    restorer(tmp_path, unneeded).restore(faces, [parsing_map])
    assert seen[1] is None


def test_what_was_fixed_at_the_export_cannot_be_changed(tmp_path):
    with pytest.raises(ConfigError, match=r"fixed at 0\.5 when it was exported"):
        restorer(tmp_path, fidelity=0.5).with_fidelity(0.7)
    with pytest.raises(ConfigError, match="has no fidelity weight"):
        restorer(tmp_path).with_fidelity(0.7)
    with pytest.raises(ConfigError, match="computes in the number format of its file, float32"):
        restorer(tmp_path).with_precision("bf16")
    coloriser = restorer(tmp_path, purpose="colorize")
    assert coloriser.for_task("colorize") is coloriser
    with pytest.raises(ConfigError, match="a network for 'colorize', not for 'restore'"):
        coloriser.for_task("restore")


# --- packages and providers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "module", "package"),
    [(OnnxEngine, "onnxruntime", "onnxruntime"), (OpenVinoEngine, "openvino", r'"facerestore\[openvino\]"')],
)
def test_a_missing_package_is_told_with_the_line_that_installs_it(
    tmp_path, monkeypatch, engine, module, package
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=f"needs the package {module}, .* run: pip install {package}"):
        engine(tmp_path / "net", Place())


@pytest.fixture
def onnxruntime(monkeypatch):
    """Return a stand-in whose sessions start on the providers that it is told; ``asked`` holds the last request."""
    module = ModuleType("onnxruntime")
    module.__version__, module.starting, module.failing, module.asked = "0", None, None, []
    module.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    module.disable_telemetry_events = lambda: None
    module.SessionOptions = lambda: SimpleNamespace(add_session_config_entry=lambda key, value: None)
    module.inputs = [SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 3, 16, 16])]

    def session(path, options, *, providers, enable_fallback):
        assert not enable_fallback  # it prints, and takes another provider
        if module.failing is not None:
            raise module.failing
        module.asked, module.options = providers, options
        names = [name for name, _ in [p if isinstance(p, tuple) else (p, {}) for p in providers]]
        return SimpleNamespace(
            get_providers=lambda: module.starting or names,
            get_inputs=lambda: module.inputs,
            get_outputs=lambda: [SimpleNamespace(name="y")],
            run=lambda outputs, values: [values["x"]],
        )

    module.InferenceSession = session
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    return module


@pytest.mark.parametrize(
    ("place", "asked", "told"),
    [
        (Place(), [("CPUExecutionProvider", {})], "cpu (onnxruntime 0)"),
        (
            Place("cuda:1"),
            [("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"],
            "cuda (onnx",
        ),
        (Place("cuda", "cpu"), [("CPUExecutionProvider", {})], "cpu (onnx"),
    ],
)
def test_the_provider_follows_the_device_unless_it_is_named(tmp_path, onnxruntime, place, asked, told):
    engine = OnnxEngine(tmp_path / "net.onnx", place)
    assert onnxruntime.asked == asked
    assert engine.place.startswith(told)
    assert engine.accelerated == (told[:3] != "cpu")


def test_threads_reach_onnx_runtime(tmp_path, onnxruntime):
    OnnxEngine(tmp_path / "net.onnx", Place(threads=3))
    assert onnxruntime.options.intra_op_num_threads == 3


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            Place(provider="abacus"),
            "unknown provider 'abacus'; choose one of cpu, cuda, directml, coreml, openvino",
        ),
        (
            Place(provider="directml"),
            "'directml' is not available here .there is: cpu, cuda.; .*onnxruntime-directml",
        ),
        (Place("mps"), "'coreml' is not available here.* because the device is mps.* give --provider cpu"),
    ],
)
def test_a_provider_that_is_not_there_is_told_with_those_that_are(tmp_path, onnxruntime, place, message):
    with pytest.raises(ConfigError, match=message):
        OnnxEngine(tmp_path / "net.onnx", place)


def test_a_provider_that_does_not_start_is_not_replaced(tmp_path, onnxruntime):
    onnxruntime.starting = ["CPUExecutionProvider"]
    with pytest.raises(ConfigError, match="provider 'cuda' is installed but does not start here"):
        OnnxEngine(tmp_path / "net.onnx", Place("cuda"))
    onnxruntime.failing = RuntimeError("CUDA failure 100\nat cuda_call.cc")
    with pytest.raises(
        ConfigError, match=r"'cuda' is installed but does not start here \(CUDA failure 100\)"
    ):
        OnnxEngine(tmp_path / "net.onnx", Place("cuda"))


def test_a_model_that_onnx_runtime_cannot_name_is_damaged_and_said_once(tmp_path, capfd):
    pytest.importorskip("onnxruntime")
    with pytest.raises(CheckpointError, match="cannot load 'net' on cpu"):
        OnnxEngine(
            b'\x08\x08:\x10\n\x0b\n\x01\xf0\x12\x01y"\x03Abs\x12\x01gB\x02\x10\x11', Place(), name="net"
        )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [("x", "tensor(float)"), ("w", "tensor(double)")],
            "takes 2 inputs, but its record speaks of .* a face alone",
        ),
        ([("x", "tensor(uint8)")], r"takes faces as uint8"),
    ],
)
def test_a_network_that_takes_something_else_is_refused(tmp_path, onnxruntime, inputs, message):
    onnxruntime.inputs = [SimpleNamespace(name=n, type=t, shape=[1, 3, 16, 16]) for n, t in inputs]
    with pytest.raises(BackendError, match=message):
        restorer(tmp_path, OnnxEngine(tmp_path / "net.onnx", Place()))


def test_a_half_precision_network_is_given_half_precision(tmp_path, onnxruntime):
    onnxruntime.inputs = [SimpleNamespace(name="x", type="tensor(float16)", shape=[1, 3, 16, 16])]
    engine = OnnxEngine(tmp_path / "net.onnx", Place())
    assert engine.fixed_batch == 1
    assert engine.run(np.full((1, 3, 16, 16), 0.1, np.float32))[0][0, 0, 0, 0] == np.float32(np.float16(0.1))


def test_torchscript_has_devices_but_no_providers(tmp_path):
    file = torchscript_file(tmp_path, record=RECORD)
    with pytest.raises(ConfigError, match="give --device instead"):
        load_exported(file, Place(provider="cuda"))


def test_a_damaged_torchscript_archive_is_told(tmp_path):
    file = torchscript_file(tmp_path, record=RECORD)
    other = tmp_path / "other.torchscript"
    with zipfile.ZipFile(file.path) as whole, zipfile.ZipFile(other, "w") as part:
        for name in whole.namelist():
            if "data.pkl" not in name:
                part.writestr(name, whole.read(name))
    with pytest.raises(CheckpointError, match="torch cannot load"):
        load_exported(ExportedFile("torchscript", other))


def test_openvino_is_loaded_without_what_reports_its_use(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    import_openvino()
    with pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    del sys.modules["openvino_telemetry"]

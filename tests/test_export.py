"""``facerestore export``: what is written, compared, refused and used again."""

import json
import re
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import photo
from torch import nn

import facerestore.backends
import facerestore.export.parity
from facerestore.archs.exporting import exporting
from facerestore.archs.stylegan2 import modulated_conv2d, modulated_conv2d_ref
from facerestore.backends import backend_class
from facerestore.backends.base import TensorRestorer
from facerestore.backends.exported import ExportedFile, load_exported, read_record
from facerestore.backends.restorer import Descriptor
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError, WeightsError
from facerestore.export import Wanted, check_target, export_network, format_of, open_export
from facerestore.export.graph import graph_of
from facerestore.export.writers import MOST_EMBEDDED_BYTES
from facerestore.io import write_image
from facerestore.pipeline.build import build_pipeline
from facerestore.testing.contract import Verdict, check_restorer
from facerestore.testing.drawn_faces import trial_faces
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict

OWN = ("lite", "gpen", "psfr", "mmrb", "codeformer")
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "torchscript": ()}
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".torchscript"}


def need(format):
    for package in PACKAGES[format]:
        if find_spec(package) is None:  # importing openvino to find out would report its use
            pytest.skip(f"{package} is not installed")


def export(tmp_path, name="lite", *, format="torchscript", half=False, wanted=None):
    subject = open_export(wanted or Wanted(name=name, random=True))
    return export_network(subject, tmp_path / f"net{SUFFIXES[format]}", format=format, half=half)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function from a network and a format to its file, which is written once for all tests of this module."""

    @cache
    def once(name, format):
        need(format)
        return export(tmp_path_factory.mktemp(f"{name}-{format}"), name, format=format)

    return once


def trace(function, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript's end, and of constants
        return torch.jit.trace(function, inputs, check_trace=False)


def run(capsys, *words):
    code = main(["export", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("name", OWN)
def test_every_network_gives_the_same_as_a_file(exported, name, format):
    done = exported(name, format)
    assert done.parity.passed
    assert done.parity.error < 1e-4, "random weights of this size are good for a few millionths"
    assert done.record.max_batch == 0, "any number of faces at once"
    assert sorted(done.path.parent.iterdir()) == sorted(done.files)
    original = backend_class(name)
    assert (done.record.backend, done.record.value_range) == (name, original.descriptor.network_range)
    assert done.record.needs_parsing == original.descriptor.needs_parsing


@pytest.mark.parametrize("format", SUFFIXES)
@pytest.mark.parametrize("name", ["gpen", "psfr"])
def test_a_file_keeps_the_contract_of_backends(exported, name, format):
    again = load_exported(ExportedFile(format, exported(name, format).path))
    findings = check_restorer(again, random_weights=True)
    assert not [found for found in findings if found.verdict is Verdict.FAILED]


@pytest.mark.parametrize("name", ["gfpgan", "restoreformer"])
def test_networks_of_spandrel_are_exported_too(tmp_path, name):
    pytest.importorskip("spandrel")
    assert export(tmp_path, name).parity.passed


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_half_precision_is_smaller_and_close(exported, tmp_path, format):
    whole = exported("codeformer", format)
    half = export(tmp_path, "codeformer", format=format, half=True)
    assert half.size_bytes < 0.6 * whole.size_bytes
    assert (half.record.precision, half.parity.tolerance) == ("float16", 0.02)
    assert 1e-5 < half.parity.error < 0.02


def test_large_parameters_lie_beside_the_graph_and_are_told_from_others(tmp_path, monkeypatch):
    need("onnx")
    assert MOST_EMBEDDED_BYTES < 2**31
    monkeypatch.setattr("facerestore.export.writers.MOST_EMBEDDED_BYTES", 1000)
    done = export(tmp_path, format="onnx")
    assert [path.name for path in done.files] == ["net.onnx", "net.onnx.data"]
    data = done.files[1]
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"is not what 'net\.onnx' was written with"):
        load_exported(ExportedFile("onnx", done.path))


def test_an_onnx_file_does_not_tell_where_it_was_made(tmp_path):
    need("onnx")
    done = export(tmp_path, format="onnx")
    assert str(Path(facerestore.backends.__file__).parent.parent).encode() not in done.path.read_bytes()


def test_a_larger_face_than_is_taken_keeps_its_noise(tmp_path):
    from facerestore.archs.gpen import GPENConfig, GPENGenerator

    torch.manual_seed(0)
    network = GPENGenerator(GPENConfig(32, input_size=16, style_dim=8, mapping_layers=2, narrow=1 / 64))
    with torch.no_grad():
        for key, value in network.named_parameters():
            if key.endswith("noise.weight"):
                value.fill_(0.5)
    save_state_dict(tmp_path / "enlarging.safetensors", network.state_dict())
    wanted = Wanted(name="gpen", weights=str(tmp_path / "enlarging.safetensors"))
    done = export(tmp_path, wanted=wanted)
    assert (done.record.input_size, done.record.face_size) == (16, 32)


# --- what recording a network asks of it ---------------------------------------------------------------------------


def test_a_network_knows_when_it_is_recorded():
    class Teller(nn.Module):
        def forward(self, x):
            return x + 1 if exporting() else x

    x = torch.zeros(2)
    assert not exporting()
    assert Teller()(x).sum() == 0
    assert trace(Teller(), x)(x).sum() == 2
    assert torch.export.export(Teller(), (x,), strict=False).module()(x).sum() == 2


def test_modulation_is_recorded_for_every_batch_even_from_one_face():
    torch.manual_seed(0)
    x, style, weight = torch.randn(3, 4, 8, 8), torch.randn(3, 4), torch.randn(6, 4, 3, 3)
    traced = trace(lambda x, s: modulated_conv2d(x, weight, s), (x[:1], style[:1]))
    assert torch.allclose(traced(x, style), modulated_conv2d_ref(x, weight, style), atol=1e-5)


# --- terms ---------------------------------------------------------------------------------------------------------


def test_a_non_commercial_network_stays_so_through_its_file_to_the_report(tmp_path, capsys):
    store = WeightsStore(offline=True)
    path = store.path_of(
        "psfr.ffhq-512"
    )  # its publisher states no hash, so that any file of that name will do
    path.parent.mkdir(parents=True)
    torch.save(backend_class("psfr").example_state_dict(), path)
    code, out, _ = run(capsys, "psfr.ffhq-512", "-o", tmp_path / "psfr.torchscript")
    assert code == 0
    assert (
        "terms: psfr.ffhq-512; licence CC-BY-NC-SA-4.0, non-commercial; source https://github.com/chaofengc"
        in out
    )
    record = read_record(ExportedFile("torchscript", tmp_path / "psfr.torchscript"))
    assert (record.licence, record.commercial_use) == ("CC-BY-NC-SA-4.0", "no")
    assert "FFHQ" in record.training_data
    assert record.weights_sha256 == store.pin("psfr.ffhq-512").sha256
    backend = f"torchscript:{tmp_path / 'psfr.torchscript'}"
    line = build_pipeline(RestoreConfig(backend=backend, parser="landmarks", aligned=True, device="cpu"))
    assert (line.facts.commercial_use, line.facts.weights) == ("no", backend)
    assert len(line.facts.sha256) == 64
    assert "exported from psfr.ffhq-512; licence CC-BY-NC-SA-4.0, non-commercial" in line.description
    report = line.run(photo(64, 64)).report
    assert report["weights"]["origin"] == record.origin
    assert report["backend"] == "torchscript:psfr.torchscript"


def test_what_the_header_of_ones_own_weights_says_goes_into_the_file(tmp_path):
    weights = tmp_path / "mine.safetensors"
    save_state_dict(
        weights, backend_class("lite").example_state_dict(), {"licence": "CC0-1.0", "data": "my own photos"}
    )
    record = open_export(Wanted(name="lite", weights=str(weights))).record
    assert (record.licence, record.commercial_use, record.training_data) == (
        "CC0-1.0",
        "yes",
        "my own photos",
    )
    save_state_dict(weights, backend_class("lite").example_state_dict())
    record = open_export(Wanted(name="lite", weights=str(weights))).record
    assert (record.licence, record.commercial_use) == ("unstated", "unclear")


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_tells_file_terms_parity_and_use(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "lite", "--random", "--format", "torchscript")
    assert (code, err) == (0, "")
    assert re.search(
        r"wrote lite-random\.torchscript, \d+ kB: 256 px faces, float32, any number of faces at once", out
    )
    assert (
        "of the output's standard deviation on 4 fixed faces, alone and in a batch of 2; within 0.001" in out
    )
    assert "seconds a face, median of calls in turn: " in out
    assert "facerestore enhance photo.jpg --backend torchscript:lite-random.torchscript" in out
    assert [path.name for path in tmp_path.iterdir()] == ["lite-random.torchscript"]


def test_the_command_as_json(tmp_path, capsys):
    code, out, err = run(
        capsys, "codeformer", "--random", "--fidelity", 0.25, "-o", tmp_path / "c.ts", "--json"
    )
    facts = json.loads(out)
    assert code == 0
    assert "parity: " in err
    assert facts["backend"] == f"torchscript:{tmp_path / 'c.ts'}"
    assert facts["record"]["fidelity"] == 0.25
    assert facts["parity"]["passed"] is True
    assert facts["size_bytes"] == (tmp_path / "c.ts").stat().st_size


def test_what_does_not_fit_its_network_leaves_no_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(facerestore.export.parity.TOLERANCES, "float32", 1e-12)
    (tmp_path / "old.torchscript").write_bytes(b"old")
    code, out, err = run(capsys, "gpen", "--random", "-o", tmp_path / "old.torchscript", "--overwrite")
    assert code == 1
    assert "does not give what its network gives" in err
    assert "ABOVE 1e-12" in err
    assert "No file was written" in err
    assert "wrote" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["old.torchscript"]
    assert (tmp_path / "old.torchscript").read_bytes() == b"old"


def test_values_that_are_not_finite_leave_no_file(tmp_path, capsys):
    state_dict = backend_class("lite").example_state_dict()
    state_dict["head.weight"][0] = float("nan")
    save_state_dict(tmp_path / "bad.safetensors", state_dict)
    code, _, err = run(capsys, "lite", "--weights", tmp_path / "bad.safetensors", "-o", tmp_path / "net.ts")
    assert code == 1
    assert "not finite" in err
    assert not (tmp_path / "net.ts").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lite", "-o", "net.xyz"), "does not tell the format; end it in .onnx, .xml, .torchscript"),
        (("lite", "-o", "net.onnx", "--format", "torchscript"), "call it 'net.torchscript'"),
        (
            ("lite", "--format", "tflite"),
            "unknown format 'tflite'; choose one of onnx, openvino, torchscript",
        ),
        (("lite", "--format", "torchscript", "--half"), "--half is for onnx and openvino"),
        (("lite", "-o", "no/such/folder/net.ts"), "the folder of 'no/such/folder/net.ts' does not exist"),
        (("nothing", "--format", "torchscript"), "unknown backend 'nothing'"),
        (("onnx:net.onnx", "--format", "torchscript"), "is exported already"),
        (
            ("lite.clean-256", "--weights", "x.pth", "-o", "n.ts"),
            "'lite.clean-256' are weights, and 'x.pth' too",
        ),
        (("lite", "--weights", "x", "--random", "-o", "n.ts"), "random weights were asked for and 'x' too"),
        (("retinaface.resnet50", "-o", "n.ts"), "only networks that give faces are exported"),
        (("lite", "--random", "--fidelity", "0.5", "-o", "n.ts"), "has no fidelity weight"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *words)
    assert code == 2, err
    assert message in err
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept_unless_told_otherwise(tmp_path, capsys):
    for name in ("net.ts", "net.bin"):
        (tmp_path / name).write_bytes(b"mine")
    code, _, err = run(capsys, "lite", "--random", "-o", tmp_path / "net.ts")
    assert code == 2
    assert "exists; give --overwrite to replace it" in err
    code, _, _ = run(capsys, "lite", "--random", "-o", tmp_path / "net.ts", "--overwrite", "-q")
    assert code == 0
    assert (tmp_path / "net.ts").stat().st_size > 1000


def test_the_parameters_of_an_openvino_file_are_not_overwritten_either(tmp_path):
    (tmp_path / "net.bin").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"net\.bin' exists"):
        check_target(tmp_path / "net.xml", format="openvino")


@pytest.mark.parametrize(
    ("path", "given", "format"),
    [
        (None, None, "onnx"),
        ("a.XML", None, "openvino"),
        ("a.pt", None, "torchscript"),
        (None, "openvino", "openvino"),
    ],
)
def test_the_format_is_told_by_the_name(path, given, format):
    assert format_of(None if path is None else Path(path), given) == format


def test_a_missing_package_is_told_before_anything_is_loaded(tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", sys)
    code, _, err = run(capsys, "lite", "-o", tmp_path / "net.onnx")
    assert code == 1
    assert "--format onnx needs the package onnxscript" in err
    assert 'pip install "facerestore[onnx]"' in err


def test_a_network_whose_maps_only_its_adapter_knows_is_refused():
    class Mapped(TensorRestorer):
        descriptor = Descriptor(name="mapped", network_range=(0.0, 1.0), needs_parsing=True)

    with pytest.raises(ConfigError, match=r"backend 'mapped' takes parsing maps.*cannot be exported"):
        graph_of(Mapped(nn.Conv2d(3, 3, 1), face_size=16))


# --- the file as a backend -----------------------------------------------------------------------------------------


def test_enhance_takes_the_file_and_reports_it(tmp_path, capsys):
    done = export(tmp_path)
    write_image(tmp_path / "face.png", photo(64, 64))
    name = f"torchscript:{done.path}"
    words = ["--backend", name, "--aligned", "--device", "cpu", "--report", str(tmp_path / "r.json")]
    code = main(["enhance", str(tmp_path / "face.png"), *words])
    assert code == 0, capsys.readouterr().err
    weights = json.loads((tmp_path / "r.json").read_text())["weights"]
    assert weights["weights"] == name
    assert weights["sha256"] == done.sha256
    assert weights["origin"].startswith("random weights; licence CC0-1.0")
    assert "torch" in weights["device"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("--backend", "torchscript:gone.ts"),
            4,
            "'gone.ts' does not exist; write it with 'facerestore export'",
        ),
        (("--backend", "onnx"), 2, "needs a file: --backend onnx:FILE.onnx"),
        (("--weights", "net.onnx"), 2, "give it as --backend onnx:net.onnx"),
        (("--provider", "cuda"), 2, "provider 'cuda' is not available here"),
    ],
)
def test_enhance_tells_what_is_wrong_with_the_name(tmp_path, capsys, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "face.png", photo(64, 64))
    (tmp_path / "net.onnx").touch()
    assert main(["enhance", "face.png", "--device", "cpu", "--aligned", *words]) == code
    assert message in capsys.readouterr().err


def test_backends_info_and_check_take_the_file(tmp_path, capsys):
    name = f"torchscript:{export(tmp_path, 'gpen').path}"
    assert main(["backends", "info", name]) == 0
    out = capsys.readouterr().out
    assert "network           gpen" in out
    assert "commercial use    yes" in out
    assert main(["backends", "info", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["value_range"] == [-1.0, 1.0]
    assert main(["backends", "check", name, "--device", "cpu"]) == 0
    assert "??  colour" in capsys.readouterr().out, "random weights draw any picture"
    assert main(["backends", "check", "torchscript:gone.ts"]) == 4


def test_a_sheet_compares_a_file_with_others(tmp_path, monkeypatch):
    from facerestore.evaluation.sheet import sheet_configs

    name = f"torchscript:{export(tmp_path).path}"
    found = sheet_configs(RestoreConfig(backend=f"lite,{name}"), store=WeightsStore(offline=True))
    assert [config.backend for config in found] == ["lite", name]


def test_a_graph_fixed_to_one_face_restores_several(tmp_path):
    class Counting(nn.Module):
        def forward(self, x):
            return x / len(x)  # torch takes the length for a constant

    class Counter(TensorRestorer):
        descriptor = Descriptor(name="counter", network_range=(0.0, 1.0))

    from facerestore.export.graph import record_program, sample_inputs

    restorer = Counter(Counting(), face_size=8)
    program, fixed = record_program(graph_of(restorer), sample_inputs(restorer))
    assert fixed == 1
    assert np.allclose(program.module()(torch.ones(1, 3, 8, 8)).numpy(), 1)
    assert len(trial_faces(8)) == 3


def test_a_traced_network_that_depends_on_its_batch_is_not_written(tmp_path):
    from facerestore.backends.exported import NetworkRecord
    from facerestore.export import ExportSubject

    class Counting(nn.Module):
        def forward(self, x):
            return x / len(x)

    class Counter(TensorRestorer):
        descriptor = Descriptor(name="counter", network_range=(0.0, 1.0))

    restorer = Counter(Counting(), face_size=8)
    subject = ExportSubject(restorer, restorer, NetworkRecord(face_size=8, value_range=(0, 1)))
    with pytest.raises(BackendError, match="ABOVE"):
        export_network(subject, tmp_path / "net.ts", format="torchscript")
    assert not list(tmp_path.iterdir())


def test_what_ships_is_exported_though_its_file_holds_a_graph():
    subject = open_export(Wanted(name="psfr.clean-128"))
    assert subject.record.weights == "psfr.clean-128"

"""Number formats: what auto stands for, what is refused, and faces that fp16 cannot hold."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FACE_SIZE, Brightener, face_at, flat_face, photo, pipeline
from typer.testing import CliRunner

from facerestore.backends import backend_class
from facerestore.backends.base import TensorRestorer
from facerestore.backends.calling import restore_faces, with_precision
from facerestore.backends.restorer import Descriptor
from facerestore.cli.app import app
from facerestore.config import RestoreConfig, load_config
from facerestore.engines.device import automatic_precision, known_precisions
from facerestore.errors import BackendError, ConfigError
from facerestore.io import write_image
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.parts import PipelineFacts
from facerestore.testing.drawn_faces import trial_faces, trial_map

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


class Overflowing(TensorRestorer):
    """Brightens faces; in half precision bright ones leave the range. Counts its calls by batch and format."""

    descriptor = Descriptor(name="overflowing", network_range=(0.0, 1.0), takes_half=True)

    def __init__(self, *, always=False):
        super().__init__(torch.nn.Identity(), face_size=FACE_SIZE, max_batch=4)
        self.always = always
        self.calls = []

    detect = config_from_state_dict = build = classmethod(lambda cls, *_, **__: None)

    def forward(self, x, parsing_maps):
        half = torch.is_autocast_enabled("cpu")
        self.calls.append((len(x), half))
        y = x * 0.5 + 0.5
        if half or self.always:
            y[x.amax(dim=(1, 2, 3)) > 0.9] = torch.inf
        return y


@pytest.fixture
def any_format(monkeypatch):
    """Let this CPU compute in every format, however slowly."""
    every = {"avx512_fp16": True, "avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: every, raising=False)


def test_auto_is_float32_but_on_cuda_devices_that_multiply_float16(monkeypatch):
    assert automatic_precision(CPU) == "float32"
    assert automatic_precision(torch.device("mps")) == "float32"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (6, 1))
    assert automatic_precision(CUDA) == "float32"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 9))
    assert automatic_precision(CUDA) == "fp16"


def test_auto_leaves_restorers_alone_that_nobody_compared_in_fp16(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    restorer = Overflowing()
    restorer.device = CUDA
    assert with_precision(restorer, "auto", CUDA).descriptor.precision == "fp16"
    assert with_precision(restorer, "float32", CUDA).descriptor.precision == "float32"
    restorer = restorer.redeclared(takes_half=False)
    assert with_precision(restorer, "auto", CUDA) is restorer
    plain = Brightener()
    assert with_precision(plain, "auto", CUDA) is plain
    assert with_precision(plain, "float32", CUDA) is plain


def test_a_restorer_that_knows_no_formats_refuses_them():
    with pytest.raises(ConfigError, match="'brightener' computes in a format of its own, and precision bf16"):
        with_precision(Brightener(), "bf16", CPU)
    broken = Brightener()
    broken.with_precision = lambda precision: None
    with pytest.raises(BackendError, match="cannot take the precision fp16: TypeError"):
        with_precision(broken, "fp16", CPU)


def test_a_format_is_named_in_the_configuration_and_its_file(tmp_path):
    with pytest.raises(ConfigError, match="precision is 'half'; choose one of auto, float32, fp16, bf16"):
        RestoreConfig(precision="half")
    file = tmp_path / "config.toml"
    file.write_text('[restore]\nprecision = "bf16"\n')
    assert load_config(file)[0].precision == "bf16"
    assert load_config(file, restore={"precision": "float32"})[0].precision == "float32"


def test_a_cpu_without_arithmetic_for_a_format_refuses_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert known_precisions(CPU) == ["float32"]
    with pytest.raises(ConfigError, match="no arithmetic for fp16"):
        build_pipeline(RestoreConfig(backend="lite", precision="fp16", device="cpu"))


def test_a_face_that_fp16_cannot_hold_is_computed_again_in_float32(any_format):
    plain = Overflowing()
    half = plain.with_precision("fp16")
    faces = [flat_face(0.5), flat_face(1.0), flat_face(0.25), flat_face(0.95), flat_face(0.75)]
    restored = restore_faces(half, faces, None)
    assert restored.precisions == ["fp16", "float32", "fp16", "float32", "fp16"]
    assert half.calls == [(4, True), (1, False), (1, False), (1, True)]
    for given, wanted in zip(restored, plain.restore(faces), strict=True):
        assert np.array_equal(given, wanted)


@pytest.mark.parametrize("name", ["lite", "gpen", "mmrb", "psfr"])
def test_networks_that_auto_gives_fp16_give_the_same_pictures_in_it(name, any_format):
    found = backend_class(name)
    restorer = found.build(found.example_state_dict())  # small: few CPUs compute in fp16 quickly
    assert restorer.descriptor.takes_half
    size = 32 if name == "lite" else restorer.face_size
    restorer = restorer.redeclared(face_size=size, input_size=size)
    faces = trial_faces(size)[:2]
    maps = [trial_map(size)] * 2 if restorer.needs_parsing else None
    half = restorer.with_precision("fp16").restore(faces, maps)
    assert half.precisions == ["fp16", "fp16"]
    difference = 255 * np.abs(np.stack(half) - np.stack(restorer.restore(faces, maps)))
    assert 0 < difference.mean() < 0.2  # of 255 levels; 0.007 to 0.02 with trained weights on faces of photos


def test_what_float32_cannot_hold_either_is_an_error(any_format):
    with pytest.raises(BackendError, match="not finite"):
        Overflowing(always=True).with_precision("fp16").restore([flat_face(1.0)])
    with pytest.raises(BackendError, match="not finite"):
        Overflowing(always=True).restore([flat_face(0.5), flat_face(1.0)])


def test_the_report_tells_the_format_of_each_face_and_why_it_is_another(any_format):
    bright, dark = face_at(10, 20), face_at(110, 20)
    image = photo()
    image.pixels[20:84, 10:74] = 250
    line = pipeline(
        bright, dark, config=RestoreConfig(force=True), restorer=Overflowing().with_precision("fp16")
    )
    line = replace(line, facts=PipelineFacts(precision="fp16"))
    assert ", on cpu in fp16; detector fake" in line.description
    report = line.run(image).report
    assert report["weights"]["precision"] == "fp16"
    assert [face["precision"] for face in report["faces"]] == ["float32", "fp16"]
    notes = [note for note in report["notes"] if "range of fp16" in note]
    assert len(notes) == 1
    assert notes[0].startswith(
        "face 0: its values left the range of fp16, so it was computed again in float32"
    )


def test_the_command_takes_a_format_and_reports_it(tmp_path):
    source = write_image(tmp_path / "face.png", photo(256, 256))
    arguments = [
        "enhance",
        str(source),
        "--aligned",
        "--force",
        "--no-guard",
        "--device",
        "cpu",
        "--backend",
        "lite",
        "--json",
    ]
    result = CliRunner().invoke(app, [*arguments, "--precision", "float32", "--overwrite"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)["photos"][0]
    assert facts["weights"]["precision"] == "float32"
    assert facts["faces"][0]["precision"] == "float32"
    refused = CliRunner().invoke(app, [*arguments, "--precision", "half"])
    assert refused.exit_code != 0


def test_the_report_tells_what_a_restorer_remarks():
    class Remarking(Brightener):
        remarks = ("it runs kernel by kernel",)

    line = pipeline(face_at(10, 20), config=RestoreConfig(force=True), restorer=Remarking())
    assert line.run(photo()).report["notes"][0] == "it runs kernel by kernel"

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fakes import FACE_SIZE, Brightener, FakeDetector, pipeline

from facerestore.archs.rrdb import RRDBNet
from facerestore.config import RestoreConfig
from facerestore.errors import WeightsError
from facerestore.pipeline.installed import ChosenWeights
from facerestore.testing.doctor import TRIAL_FACE_PX, TRIAL_MARGIN_PX, Makers, State, diagnose
from facerestore.testing.line import trial_photo
from facerestore.weights import WeightsStore
from facerestore.weights import store as stores

CPU = RestoreConfig(device="cpu")


def makers(restorer=None, **others):
    """Return what makes a fake in place of the restorer and the detectors."""
    usual = {
        "choose": lambda *_: ChosenWeights(name="w.x", source=Path("w.safetensors")),
        "detector": lambda *_: FakeDetector(),
        "pipeline": lambda config, store: pipeline(config=config, restorer=restorer or Brightener()),
    }
    return Makers(**{**usual, **others})


def line_check(made=None, config=CPU):
    (check,) = [check for check in diagnose(config, makers=made or makers()) if check.topic == "line"]
    return check


def test_a_sound_machine_has_nothing_broken():
    checks = diagnose(CPU, makers=makers())
    assert [check for check in checks if check.state is State.BROKEN] == []
    topics = {"program", "device", "weights", "detector", "parser", "background", "line"}
    assert {check.topic for check in checks} == topics
    assert line_check().detail.startswith("w.x restores a face on cpu in")


def test_weights_that_are_not_here_are_no_fault():
    checks = diagnose(makers=makers())
    absent = {check.name for check in checks if check.topic == "detector" and check.state is State.ABSENT}
    assert "yunet" in absent


def test_backgrounds_and_extras_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "packaged", lambda file: None)
    store = WeightsStore(tmp_path / "home", offline=True)
    torch.save(RRDBNet(scale=2, width=8, blocks=1, growth=4).state_dict(), tmp_path / "network.pth")
    store.import_file("realesrnet.x2", tmp_path / "network.pth")
    made = makers(extras=(("no-such-package", "for trying", "pip install it"),))
    checks = {(check.topic, check.name): check for check in diagnose(store=store, makers=made)}
    assert checks["background", "realesrnet.x2"].detail == "works, enlarges 2 times"
    assert checks["background", "lite.photo-x1"].detail == "works, cleans photos at their own size"
    extra = checks["program", "no-such-package"]
    assert (extra.state, extra.detail) == (State.ABSENT, "for trying: pip install it")


def test_a_network_that_fails_or_never_repeats_is_broken():
    class Moody(Brightener):
        def restore(self, faces, parsing_maps=None):
            self.calls.append(1)
            noise = np.random.default_rng(len(self.calls)).random((FACE_SIZE, FACE_SIZE, 3), np.float32)
            return [noise for _ in faces]

    for broken, said in (
        (Brightener(fails=True), "failed"),
        (Moody(), "two runs"),
    ):
        check = line_check(makers(broken))
        assert check.state is State.BROKEN
        assert said in check.detail


def test_missing_weights_are_told_with_their_remedy():
    def missing(*_):
        raise WeightsError("no weights are installed; run 'facerestore weights download w.x'")

    assert "download" in line_check(makers(choose=missing)).detail


def test_what_is_broken_beneath_us_is_a_row_and_not_the_end():
    def unloadable(*_):
        raise ImportError("libGL.so.1: cannot open shared object file")

    checks = {check.name: check for check in diagnose(CPU, makers=makers(detector=unloadable))}
    assert checks["embedded"].state is State.BROKEN
    assert "libGL.so.1" in checks["embedded"].detail
    assert "pip install opencv-python-headless" in checks["embedded"].detail
    assert checks["restore"].state is State.OK


def test_a_torch_that_cannot_be_imported_is_a_row(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    checks = {check.name: check for check in diagnose(CPU, makers=makers())}
    assert (checks["torch"].state, checks["torch"].topic) == (State.OK, "program")
    assert checks["import torch"].state is State.BROKEN
    assert "install torch again" in checks["import torch"].detail


def test_the_trial_photo_holds_its_face():
    image, face, margin = trial_photo(TRIAL_FACE_PX)
    assert image.pixels.shape == (320, 320, 3)
    assert image.pixels.dtype == np.uint8
    assert margin > TRIAL_MARGIN_PX
    assert margin < face.landmarks.min() < face.landmarks.max() < 320 - margin


def test_on_a_gpu_the_line_is_run_until_the_network_is_recorded_and_compared_with_the_cpu():
    class Recording(Brightener):
        """Brightens; from its fourth call on otherwise, as a wrong recording would. Its reference comes behind."""

        remarks = ("it runs kernel by kernel",)
        wrong = False

        def restore(self, faces, parsing_maps=None):
            restored = super().restore(faces, parsing_maps)
            return [face * 0.5 for face in restored] if self.wrong and len(self.calls) == 4 else restored

    def check_on_gpu(restorer):
        def on_gpu(config, store):
            line = pipeline(config=config, restorer=restorer)
            facts = replace(line.facts, device="cpu" if config.device == "cpu" else "cuda", precision="fp16")
            return replace(line, facts=facts)

        return line_check(makers(pipeline=on_gpu), RestoreConfig(device="auto", precision="fp16"))

    recording = Recording()
    check = check_on_gpu(recording)
    assert check.state is State.OK
    assert "on cuda in fp16" in check.detail
    assert check.detail.endswith("; it runs kernel by kernel")
    assert len(recording.calls) == 5
    recording = Recording()
    recording.wrong = True
    check = check_on_gpu(recording)
    assert check.state is State.BROKEN
    assert "the recorded network gives another picture on cuda" in check.detail

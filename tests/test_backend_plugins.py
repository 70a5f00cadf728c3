"""Backends of other packages: found, used, and harmless when they are broken."""

import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, photo
from torch import nn

import facerestore.backends
from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.backends import (
    backend_class,
    backend_names,
    backend_sources,
    create_backend,
    identify,
    load_backend,
    needs_weights,
)
from facerestore.backends.base import TensorRestorer
from facerestore.backends.restorer import DECLARE, Descriptor, Restorer
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, CheckpointError, ConfigError, FaceRestoreError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.restore import RestorePipeline
from facerestore.testing.doctor import State, diagnose
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict

GROUP = "facerestore.backends"


class Darkener(Restorer):
    """A backend of another package that needs no weights."""

    descriptor = Descriptor(name="darkener", face_size=64, needs_weights=False)

    def restore(self, faces, parsing_maps=None):
        return [face.lq * np.float32(0.5) for face in faces]


class Foreign(TensorRestorer):
    """A backend of another package, made from weights."""

    descriptor = Descriptor(name="foreign", network_range=(-1.0, 1.0))

    @classmethod
    def detect(cls, state_dict):
        return "foreign.weight" in state_dict

    @classmethod
    def config_from_state_dict(cls, state_dict):
        return None

    @classmethod
    def build(cls, state_dict, *, device="cpu"):
        return cls(nn.Identity(), face_size=int(state_dict["foreign.weight"][0]), device=device)


class Unbuildable(Foreign):
    @classmethod
    def build(cls, state_dict, *, device="cpu"):
        raise KeyError("config")


class Unaskable(Foreign):
    @classmethod
    def detect(cls, state_dict):
        raise IndexError("no keys")


class Sizeless(Darkener):
    descriptor = Descriptor(name="sizeless", needs_weights=False)


class Undeclared:
    """A restorer by its looks: a size and a method."""

    face_size = 64

    @classmethod
    def create(cls, *, device="cpu"):
        return cls()

    restore = Darkener.restore


class Undeclaring(Darkener):
    @classmethod
    def create(cls, *, device="cpu"):
        return Undeclared()


class Uncreatable(Darkener):
    @classmethod
    def create(cls, *, device="cpu"):
        raise OSError("no libdark.so")


class Unfinished(TensorRestorer):
    descriptor = Descriptor(name="unfinished")


@pytest.fixture
def plugins(monkeypatch, install_package):
    """Return a function that installs backends: (name, location), or (name, location, package)."""
    module = ModuleType("plugin_module")
    for item in (
        Darkener,
        Foreign,
        Unbuildable,
        Unaskable,
        Sizeless,
        Undeclared,
        Undeclaring,
        Uncreatable,
        Unfinished,
    ):
        setattr(module, item.__name__, item)
    module.number = 7
    monkeypatch.setitem(sys.modules, "plugin_module", module)

    def install(*entries):
        packages = {}
        for name, location, *package in entries:
            packages.setdefault((*package, "a-package")[0], {})[name] = location
        for package, points in reversed(packages.items()):  # what is installed last is found first
            install_package(package, {GROUP: points})

    return install


def lite_state_dict():
    return LiteGenerator(LiteConfig(widths=(4, 6), blocks=(1, 1))).state_dict()


def test_backends_of_other_packages_are_listed_after_our_own(plugins):
    plugins(("darkener", "plugin_module:Darkener", "dark-arts"))
    assert backend_names() == [*facerestore.backends.BACKENDS, "darkener"]
    source = backend_sources()[-1]
    assert (source.package, source.own, source.problem) == ("dark-arts 1.2", False, None)
    assert all(source.own and source.package == "facerestore" for source in backend_sources()[:-1])
    assert backend_class("darkener") is Darkener


def test_a_package_that_is_found_twice_is_listed_once(plugins):
    for _ in range(2):
        plugins(("darkener", "plugin_module:Darkener", "dark-arts"))
    assert backend_names().count("darkener") == 1
    assert backend_class("darkener") is Darkener


def test_a_backend_without_weights_restores(plugins, tmp_path):
    plugins(("darkener", "plugin_module:Darkener"))
    assert not needs_weights("darkener")
    assert needs_weights("lite")
    built = build_pipeline(
        RestoreConfig(backend="darkener", force=True, colour_match=False), store=WeightsStore(tmp_path)
    )
    assert built.facts.weights is None
    assert built.facts.commercial_use is None
    assert built.description.startswith("darkener, 64 px faces, on cpu")
    line = RestorePipeline(FakeDetector(face_at(40, 30)), built.restorer, config=built.config)
    before = photo()
    after = line.run(before).image.pixels
    assert after[62, 72].mean() < 0.7 * before.pixels[62, 72].mean()


def test_weights_and_backends_that_take_none_do_not_go_together(plugins, tmp_path):
    plugins(("darkener", "plugin_module:Darkener"))
    with pytest.raises(
        ConfigError, match=r"backend 'darkener' takes no weights; leave out 'lite\.clean-256'"
    ):
        choose("restore", RestoreConfig(backend="darkener", weights="lite.clean-256"), WeightsStore(tmp_path))
    save_state_dict(tmp_path / "w.safetensors", lite_state_dict())
    with pytest.raises(ConfigError, match="backend 'darkener' takes no weights"):
        load_backend(tmp_path / "w.safetensors", name="darkener")
    with pytest.raises(ConfigError, match="backend 'lite' needs weights"):
        create_backend("lite")


def test_a_backend_with_weights_is_recognised_by_its_keys(plugins, tmp_path):
    plugins(("foreign", "plugin_module:Foreign"))
    save_state_dict(tmp_path / "w.safetensors", {"foreign.weight": torch.tensor([24.0])})
    config = RestoreConfig(weights=str(tmp_path / "w.safetensors"))
    built = build_pipeline(config, store=WeightsStore(tmp_path))
    assert (built.restorer.name, built.restorer.face_size) == ("foreign", 24)


def test_no_package_changes_what_our_weights_do(plugins):
    plugins(("twin", "facerestore.backends.lite:LiteRestorer"), ("gone", "no_such_package:Gone"))
    assert identify(lite_state_dict()) == "lite"


def test_two_packages_that_claim_the_same_keys_are_named(plugins):
    plugins(("one", "plugin_module:Foreign"), ("two", "plugin_module:Unbuildable"))
    with pytest.raises(CheckpointError, match="backends one and two both claim"):
        identify({"foreign.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "no_such_package:Gone",
            "cannot be imported: ModuleNotFoundError: .*; update or uninstall dark-arts 1.2",
        ),
        ("plugin_module:Gone", "cannot be imported: AttributeError: "),
        ("plugin_module:number", "is no backend: 7 is no class; update or uninstall"),
        ("plugin_module:Unfinished", "class Unfinished lacks detect, build; update"),
        ("builtins:dict", f"class dict does not say what it is; {re.escape(DECLARE)}; update"),
        ("plugin_module:Undeclared", f"class Undeclared does not say what it is; {re.escape(DECLARE)}"),
        ("facerestore:TensorRestorer", "class TensorRestorer does not say what it is"),
    ],
)
def test_a_broken_package_breaks_nothing_but_itself(plugins, tmp_path, value, message):
    plugins(("broken", value, "dark-arts"), ("foreign", "plugin_module:Foreign"))
    assert "broken" in backend_names()
    assert identify(lite_state_dict()) == "lite"
    assert identify({"foreign.weight": torch.ones(1)}) == "foreign"
    lines = build_pipeline(RestoreConfig(), store=WeightsStore(tmp_path)).restorer.lines
    assert {candidate.backend for candidate in lines.candidates} == {"lite"}
    with pytest.raises(CheckpointError, match=f"could not be asked: backend 'broken' .*{message}"):
        identify({"a": torch.ones(1)})
    with pytest.raises(BackendError, match=message):
        build_pipeline(RestoreConfig(backend="broken"), store=WeightsStore(tmp_path))


def test_a_package_that_cannot_say_whether_keys_are_its_own_is_named(plugins):
    plugins(("unaskable", "plugin_module:Unaskable"))
    with pytest.raises(CheckpointError, match="could not be asked: backend 'unaskable': IndexError"):
        identify({"a": torch.ones(1)})


def test_errors_of_other_packages_become_ours(plugins, tmp_path):
    plugins(("foreign", "plugin_module:Unbuildable"), ("dark", "plugin_module:Uncreatable"))
    save_state_dict(tmp_path / "w.safetensors", {"foreign.weight": torch.ones(1)})
    with pytest.raises(
        BackendError, match=r"backend 'foreign' cannot load '.*w\.safetensors': KeyError"
    ) as caught:
        load_backend(tmp_path / "w.safetensors")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(BackendError, match=r"backend 'dark' cannot be made: OSError: no libdark\.so"):
        create_backend("dark")


def test_a_restorer_that_does_not_say_what_it_is_is_refused(plugins):
    plugins(("sizeless", "plugin_module:Sizeless"), ("undeclaring", "plugin_module:Undeclaring"))
    with pytest.raises(BackendError, match="descriptor of 'sizeless' states no face_size; add it"):
        create_backend("sizeless")
    with pytest.raises(BackendError, match=f"^Undeclared is no restorer; {re.escape(DECLARE)}$"):
        create_backend("undeclaring")


def test_our_names_are_our_own(plugins, tmp_path):
    plugins(("lite", "plugin_module:Darkener", "dark-arts"))
    assert backend_class("lite") is not Darkener
    assert backend_names() == list(facerestore.backends.BACKENDS)
    assert "its name 'lite' is that of a backend of facerestore" in backend_sources()[-1].problem


def test_a_name_that_two_packages_have_is_neither_s(plugins, tmp_path):
    plugins(("dark", "plugin_module:Darkener", "one"), ("dark", "plugin_module:Foreign", "two"))
    assert "dark" not in backend_names()
    with pytest.raises(
        ConfigError, match=r"backend 'dark' of one 1\.2 cannot be used: two 1\.2 has a backend 'dark'"
    ):
        choose("restore", RestoreConfig(backend="dark"), WeightsStore(tmp_path))


class Faulty(Darkener):
    def __init__(self, act):
        self.restore = lambda faces, parsing_maps=None: act(faces)


def no_pixels(faces):
    raise ZeroDivisionError("no pixels")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (no_pixels, "backend 'darkener' failed with 1 face: ZeroDivisionError: no pixels; report this"),
        (lambda faces: None, "TypeError: .* report this to the backend's author"),
        (lambda faces: [], "'darkener' gave 0 results for 1 face"),
        (lambda faces: [faces[0].lq.tolist()], "gave a face as list, expected a float32 array"),
        (lambda faces: [(255 * faces[0].lq).astype(np.uint8)], "gave a face as uint8"),
        (lambda faces: [faces[0].lq[:8]], r"gave a face of shape \(8, 64, 3\)"),
        (lambda faces: [faces[0].lq * np.float32(np.nan)], "that is no image"),
    ],
)
def test_what_another_package_raises_or_gives_ends_as_a_backend_error(act, message):
    line = RestorePipeline(FakeDetector(face_at(40, 30)), Faulty(act), config=RestoreConfig(force=True))
    with pytest.raises(BackendError, match=message) as caught:
        line.run(photo())
    assert isinstance(caught.value, FaceRestoreError)
    if act is no_pixels:
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_doctor_tries_the_backends_of_other_packages(plugins):
    plugins(("darkener", "plugin_module:Darkener", "dark-arts"), ("gone", "no_such_package:Gone"))
    checks = {
        check.name: check for check in diagnose(RestoreConfig(device="cpu")) if check.topic == "backend"
    }
    assert checks["darkener"].state is State.OK
    assert checks["darkener"].detail.startswith("from dark-arts 1.2; 'facerestore backends check darkener'")
    assert checks["gone"].state is State.BROKEN
    assert "cannot be imported" in checks["gone"].detail

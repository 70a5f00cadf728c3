"""``facerestore backends``: what is listed, told and checked, with which exit code."""

import json
import re
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from facerestore.backends import BACKENDS, backend_class
from facerestore.backends.description import count_sizes, describe_backend, has_example
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.cli.app import main
from facerestore.errors import BackendError
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict


class Copier(Restorer):
    """Gives faces back."""

    descriptor = Descriptor(name="copier", face_size=32, needs_weights=False)

    def restore(self, faces, parsing_maps=None):
        return [face.lq.copy() for face in faces]


class Swapper(Copier):
    descriptor = replace(Copier.descriptor, name="swapper")

    def restore(self, faces, parsing_maps=None):
        return [face.lq[..., ::-1].copy() for face in faces]


class Raiser(Copier):
    descriptor = replace(Copier.descriptor, name="raiser")

    def restore(self, faces, parsing_maps=None):
        raise ZeroDivisionError("no pixels")


@pytest.fixture
def plugins(monkeypatch, install_package):
    """Return a function that installs backends of another package, by name and entry point value."""
    module = ModuleType("plugin_module")
    for item in (Copier, Swapper, Raiser):
        setattr(module, item.__name__, item)
    monkeypatch.setitem(sys.modules, "plugin_module", module)

    return lambda **entries: install_package("a-package", {"facerestore.backends": entries})


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def run(capsys, *words):
    code = main(["backends", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_shows_every_backend_with_terms_within_80_columns(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    starts = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert starts == [*BACKENDS, "auto"]
    assert "auto takes for nearly sharp faces lite." in out
    assert "weights here: lite.clean-256 (Apache-2.0, free to use)" in out
    flat = " ".join(out.split())
    assert (
        "gpen.clean-128 (Apache-2.0, free to use); larger ones: facerestore weights download gpen.bfr-512"
        in flat
    )
    assert "mmrb.clean-128 (Apache-2.0, free to use)" in flat
    assert "no weights here; facerestore weights download codeformer.v0.1" in flat
    assert max(map(len, out.splitlines())) <= 80


def test_list_shows_a_broken_package_with_its_reason(capsys, plugins):
    plugins(gone="no_such_package:Gone", lite="plugin_module:Copier", copier="plugin_module:Copier")
    code, out, _ = run(capsys, "list")
    flat = " ".join(out.split())
    assert code == 0
    assert "gone BROKEN, from a-package 1.2 backend 'gone'" in flat
    assert "ModuleNotFoundError: No module named 'no_such_package'" in flat
    assert "its name 'lite' is that of a backend of facerestore" in flat
    assert "copier 32 px no parsing map from a-package 1.2 Gives faces back needs no weights" in flat


def test_list_as_json(capsys, plugins):
    plugins(gone="no_such_package:Gone")
    code, out, _ = run(capsys, "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == [*BACKENDS, "gone"]
    assert "cannot be imported" in rows["gone"]["problem"]
    assert rows["lite"]["weights"][0]["state"] == "bundled"
    assert rows["lite"]["face_sizes"] == [128, 256, 512], "the smallest colours"
    assert rows["psfr"]["needs_parsing"] is True


def test_info_counts_parameters_and_operations(capsys):
    code, out, _ = run(capsys, "info", "lite")
    assert code == 0
    assert "256 px          256 px        7.72 M             7.5" in out
    assert re.search(r"lite\.clean-256 +bundled", out)
    assert "residual U-shaped network" in " ".join(out.split())


def test_info_lists_what_does_a_task_on_lines_that_fit(capsys):
    code, out, _ = run(capsys, "info", "gpen")
    assert code == 0
    assert "gpen.colorization-1024  no         colorize    LicenseRef-GPEN, non-commercial" in out
    assert "512-d" not in out, "a discriminator restores nothing"
    assert max(map(len, out.splitlines())) <= 80


def test_info_as_json(capsys):
    code, out, _ = run(capsys, "info", "psfr", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["name"] == "psfr"
    assert facts["network_range"] == [-1.0, 1.0]
    assert facts["options"] == ["--weights", "--parser", "--save-stages"]
    assert facts["sizes"][0]["parameters"] == 45_956_995
    assert facts["has_example"] is True


def test_info_of_another_package_says_what_is_not_stated(capsys, plugins):
    plugins(copier="plugin_module:Copier")
    code, out, _ = run(capsys, "info", "copier")
    assert code == 0
    assert "paper        not stated" in out
    assert "value range  not stated" in out
    assert "needs no weights" in out
    assert "--weights" not in out


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("gone", 1, "cannot be imported"), ("nothing", 2, "unknown backend 'nothing'")],
)
@pytest.mark.parametrize("command", ["info", "check"])
def test_what_cannot_be_used_is_said(capsys, plugins, command, name, code, message):
    plugins(gone="no_such_package:Gone")
    found, out, err = run(capsys, command, name)
    assert (found, out) == (code, "")
    assert message in err


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_of_ours_passes_its_check_with_random_weights(capsys, name):
    if backend_class(name).descriptor.requires:
        pytest.importorskip(backend_class(name).descriptor.requires[0])
    code, out, _ = run(capsys, "check", name, "--random", "--device", "cpu")
    assert code == 0, out
    assert out.startswith(f"{name}: random weights, on cpu\n")
    assert "the contract is kept: " in out
    assert "0 failed" in out
    assert max(map(len, out.splitlines())) <= 80


def test_check_finds_exchanged_channels(capsys, plugins):
    plugins(swapper="plugin_module:Swapper")
    code, out, _ = run(capsys, "check", "swapper")
    assert code == 1
    assert "!!  colour " in out
    assert "give the network RGB, and return RGB" in " ".join(out.split())
    assert "what is marked !! breaks the contract" in out


def test_check_as_json(capsys, plugins):
    plugins(swapper="plugin_module:Swapper", raiser="plugin_module:Raiser")
    code, out, _ = run(capsys, "check", "swapper", "--json")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["subject"]) == (1, False, "no weights needed")
    verdicts = {finding["name"]: finding["verdict"] for finding in facts["findings"]}
    assert (verdicts["colour"], verdicts["repeats"]) == ("failed", "passed")
    code, out, _ = run(capsys, "check", "raiser", "--json")
    assert code == 1
    assert json.loads(out)["findings"][-1]["measured"] == "raised ZeroDivisionError: no pixels"


def test_check_without_weights_says_how_to_get_some(capsys):
    code, out, err = run(capsys, "check", "gfpgan")
    assert (code, out) == (4, "")
    assert "run 'facerestore weights download gfpgan.v1.4'" in err


def test_check_takes_a_file(capsys, tmp_path):
    save_state_dict(tmp_path / "tiny.safetensors", backend_class("gpen").example_state_dict())
    code, out, _ = run(capsys, "check", "gpen", "--weights", str(tmp_path / "tiny.safetensors"))
    assert "on cpu" in out
    assert "??  colour" in out
    assert code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lite", "--random", "--weights", "x"), "excludes --weights"),
        (("copier", "--random"), "backend 'copier' needs no weights; leave out --random"),
        (("copier", "--weights", "lite.clean-256"), "backend 'copier' takes no weights"),
        (("lite", "--device", "abacus"), "unknown device 'abacus'"),
    ],
)
def test_check_refuses_what_does_not_go_together(capsys, plugins, words, message):
    plugins(copier="plugin_module:Copier")
    code, _, err = run(capsys, "check", *words)
    assert code == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("lite", {256: 7_722_359}),
        ("psfr", {512: 45_956_995}),
        ("mmrb", {256: 48_851_124, 512: 49_491_460}),
        ("gpen", {256: 18_879_010, 512: 71_005_223, 1024: 71_210_540, 2048: 71_294_769}),
    ],
)
def test_networks_are_counted_without_parameters(name, sizes):
    counted = {size.face_size: size for size in count_sizes(backend_class(name))}
    assert {key: size.parameters for key, size in counted.items()} == pytest.approx(sizes, abs=0)
    assert all(size.gflops > 1 for size in counted.values())


def test_operations_of_one_convolution_are_two_for_a_multiply_add():
    from torch import nn

    from facerestore.backends.base import TensorRestorer

    class OneLayer(TensorRestorer):
        descriptor = Descriptor(name="one layer", network_range=(0.0, 1.0))

        @classmethod
        def published(cls):
            yield cls(nn.Conv2d(3, 3, 3, padding=1, device="meta"), face_size=64, device="meta")

    (size,) = count_sizes(OneLayer)
    assert size.parameters == 3 * 3 * 9 + 3
    assert size.gflops * 1e9 == 2 * 64 * 64 * 3 * 3 * 9
    assert not has_example(OneLayer)


def test_a_package_whose_networks_cannot_be_counted_is_named(plugins, monkeypatch):
    class Uncountable(Copier):
        @classmethod
        def published(cls):
            raise KeyError("size")

    plugins(copier="plugin_module:Copier")
    monkeypatch.setattr(sys.modules["plugin_module"], "Copier", Uncountable)
    with pytest.raises(BackendError, match="the networks of backend 'copier' cannot be counted: KeyError"):
        describe_backend("copier", WeightsStore())


@pytest.mark.parametrize("name", BACKENDS)
def test_examples_are_the_same_at_every_call(name):
    found = backend_class(name)
    for module in found.descriptor.requires:
        pytest.importorskip(module)
    one, other = found.example_state_dict(), found.example_state_dict()
    assert all(np.array_equal(one[key].numpy(), other[key].numpy()) for key in one)
    assert found.detect(one)

"""The example of a backend in a package of its own: it is installable, keeps the contract, and restores."""

import importlib.util
import re
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facerestore.backends import backend_class, load_backend
from facerestore.cli.app import main
from facerestore.imaging.blending import whole_crop
from facerestore.io import read_image
from facerestore.testing.contract import Verdict, check_restorer
from facerestore.testing.drawn_faces import COLOURINGS, draw_face
from facerestore.weights.checkpoint import save_state_dict

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FOLDER = EXAMPLES / "custom_backend"
PACKAGE = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
((NAME, LOCATION),) = PACKAGE["project"]["entry-points"]["facerestore.backends"].items()


@pytest.fixture
def example(monkeypatch, install_package):
    """Return the example's module, installed as its package would."""
    module_name = LOCATION.partition(":")[0]
    spec = importlib.util.spec_from_file_location(module_name, FOLDER / f"{module_name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module_name, module)
    spec.loader.exec_module(module)
    install_package("an-example", PACKAGE["project"]["entry-points"])
    return module


def test_the_package_holds_the_module_that_its_entry_point_names(example):
    files = PACKAGE["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert files == [f"{LOCATION.partition(':')[0]}.py"]
    assert backend_class(NAME) is example.ClassicRestorer
    assert example.ClassicRestorer.descriptor.name == NAME


def test_it_keeps_every_clause_of_the_contract(example):
    assert {finding.verdict for finding in check_restorer(example.ClassicRestorer())} == {Verdict.PASSED}


def test_it_takes_noise_away(example):
    flat = np.full((256, 256, 3), 0.5)
    noisy = (flat + np.random.default_rng(1).normal(0, 0.03, flat.shape)).astype(np.float32)
    (restored,) = example.ClassicRestorer().restore([whole_crop(noisy)])
    assert restored.std() < 0.6 * noisy.std()
    assert abs(restored.mean() - 0.5) < 0.002


def test_it_sharpens(example):
    soft = draw_face(256, *COLOURINGS[0]).astype(np.float32)
    (sharp,) = example.ClassicRestorer().restore([whole_crop(soft)])
    slopes = [np.abs(np.diff(face, axis=0)).max() for face in (soft, sharp)]
    assert slopes[1] > 1.1 * slopes[0]


@pytest.mark.parametrize("words", [("list",), ("info", NAME), ("check", NAME)])
def test_commands_know_it(example, capsys, words):
    assert main(["backends", *words]) == 0
    assert NAME in capsys.readouterr().out


def test_enhance_uses_it(example, tmp_path, capsys):
    out = tmp_path / "out.png"
    photo = EXAMPLES / "astronaut_degraded.jpg"
    assert main(["enhance", str(photo), "--backend", NAME, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"restoring with {NAME}, 256 px faces" in said
    assert "0 kept" in said
    assert not np.array_equal(read_image(out).pixels, read_image(photo).pixels)


def test_the_route_with_weights_in_its_docstring_works(example, install_package, tmp_path):
    (code,) = re.findall(r"^    class MyRestorer.*?(?=^with )", example.__doc__, flags=re.S | re.M)

    class MyNetwork(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.my_trunk = nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, 3, 1))

        def forward(self, x):
            return self.my_trunk(x)

    names = {"MyNetwork": MyNetwork}
    exec(re.findall(r"``(from facerestore import .*)``", example.__doc__)[0], names)
    exec(textwrap.dedent(code), names)
    example.MyRestorer = names["MyRestorer"]
    install_package("mine", {"facerestore.backends": {"mine": "custom_backend:MyRestorer"}})
    torch.manual_seed(0)
    save_state_dict(tmp_path / "mine.safetensors", MyNetwork(5).state_dict())
    restorer = load_backend(tmp_path / "mine.safetensors")
    assert restorer.name == "mine"
    failed = [f for f in check_restorer(restorer, random_weights=True) if f.verdict is Verdict.FAILED]
    assert failed == []

"""The main job as a user runs it: bundled weights, bundled detector, a real photograph, no network."""

import json
from pathlib import Path

import numpy as np
import pytest

import facerestore
from facerestore.backends import identify
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.io import read_image
from facerestore.pipeline.build import build_pipeline
from facerestore.weights import WeightsStore, load_catalog
from facerestore.weights.checkpoint import load_state_dict
from facerestore.weights.mixing import DETAIL_OF
from facerestore.weights.weights_file import look_at

pytestmark = pytest.mark.usefixtures("no_network")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
COLOUR_SHIFT_LEVELS = 3.0
"""More of a mean change of a face's red, green or blue, of 255, would be seen."""
BUNDLED = [e.name for e in load_catalog().entries.values() if e.bundled and e.purpose == "restore"]


@pytest.fixture(scope="module")
def portrait():
    """Return the degraded example portrait."""
    return EXAMPLES / "astronaut_degraded.jpg"


def test_enhance_restores_the_example_offline_and_says_so(portrait, tmp_path, capsys):
    target, report = tmp_path / "out.png", tmp_path / "report.json"
    arguments = [
        "enhance",
        str(portrait),
        "-o",
        str(target),
        "--report",
        str(report),
        "--device",
        "cpu",
        "--compare",
    ]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"{BUNDLED[0]} (bundled, " in out
    assert "1 face, 1 restored, 0 kept" in out
    assert "facerestore weights download" in out
    assert (tmp_path / "out_compare.jpg").is_file()
    before, after = read_image(portrait).pixels, read_image(target).pixels
    changed = (before != after).any(axis=2)
    assert after.shape == before.shape
    assert 0 < changed.mean() < 0.9
    (photo,) = json.loads(report.read_text())["photos"]
    left, top, right, bottom = (round(value) for value in photo["faces"][0]["box"])
    assert changed[(top + bottom) // 2, (left + right) // 2]
    assert photo["weights"]["bundled"] is True
    assert [len(sha256) for sha256 in photo["auto"]["used"].values()] == [64]


def test_python_gives_the_same_as_the_command_and_the_same_each_time(portrait):
    line = build_pipeline(RestoreConfig(device="cpu"))
    image = read_image(portrait)
    first, second = line.run(image), line.run(image)
    assert np.array_equal(first.image.pixels, second.image.pixels)
    assert np.array_equal(facerestore.restore(portrait, device="cpu").image.pixels, first.image.pixels)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_network_is_claimed_by_its_backend_and_restores_the_face_in_its_colours(portrait, name):
    path, backend = WeightsStore(offline=True).require(name), name.partition(".")[0]
    if DETAIL_OF not in look_at(path).metadata:  # which holds some layers alone
        assert identify(load_state_dict(path)) == backend
    line = build_pipeline(RestoreConfig(backend=backend, weights=name, device="cpu"))
    image = read_image(portrait)
    result = line.run(image)
    (face,) = result.faces
    assert face.restored is not None
    assert np.isfinite(face.restored).all()
    shift = (face.restored.astype(float) - face.aligned.lq).mean(axis=(0, 1)) * 255
    assert np.abs(shift).max() < COLOUR_SHIFT_LEVELS
    assert (result.image.pixels != image.pixels).any()


def test_detect_finds_the_face_and_doctor_is_content(portrait, capsys):
    assert main(["detect", str(portrait), "--json", "--device", "cpu"]) == 0
    assert len(json.loads(capsys.readouterr().out)["photos"][0]["faces"]) == 1
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "all that is needed works" in capsys.readouterr().out

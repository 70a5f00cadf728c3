"""Weights are looked into before they are believed: their purpose, network and size are those of the catalog."""

import json
import sys

import pytest
import torch

from facerestore.archs.arcface import ArcFace
from facerestore.archs.gpen import GPENDiscriminator
from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.archs.rrdb import RRDBNet
from facerestore.backends import BACKENDS, backend_class
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import WeightsError
from facerestore.evaluation.sheet.choice import network_configs, passed_over, sheet_configs
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.choose import choose
from facerestore.pipeline.installed import PARSE
from facerestore.training.losses.feature_weights import find_features
from facerestore.weights import WeightsStore, load_catalog, parse_catalog
from facerestore.weights import store as stores

TINY_PARSENET = ParseNetConfig(encoder=(2, 2, 2, 2, 2), body_blocks=1, decoder=(2, 2, 2, 2))


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a network of a kind, with tiny random weights, as PyTorch would."""

    def write(kind):
        path = tmp_path / f"{kind}.pth"
        torch.save(NETWORKS[kind](), path)
        return path

    return write


NETWORKS = {
    **{name: backend_class(name).example_state_dict for name in ("gpen", "psfr", "lite")},
    "parse": lambda: ParseNet(TINY_PARSENET).state_dict(),
    "twice": lambda: RRDBNet(scale=2, width=4, blocks=1, growth=2).state_dict(),
    "discriminator": lambda: GPENDiscriminator(32, narrow=1 / 64).state_dict(),
}

RIGHT = {"parsenet.gpen": "parse", "parsenet.psfr-90000": "parse", "realesrnet.x2": "twice"}


@pytest.mark.parametrize(("name", "kind"), RIGHT.items())
def test_the_right_network_is_taken_and_pinned(store, file, name, kind):
    store.import_file(name, file(kind))
    assert store.pin(name)
    assert store.fault(name) is None


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("parsenet.gpen", "gpen", "no face parser"),
        ("gpen.bfr-256", "gpen", "its network is for faces of 32 px, and 'gpen.bfr-256' is for 256 px"),
        ("gpen.bfr-512", "psfr", "but those of 'psfr'"),
        ("gpen.bfr-512", "parse", "not those of backend 'gpen'"),
        ("gpen.colorization-1024", "gpen", "for faces of 32 px"),
        ("psfr.ffhq-512", "lite", "but those of 'lite'"),
        ("gpen.bfr-512-d", "gpen", "no discriminator of GPEN: 'convs.0.0.weight' is missing"),
        ("gpen.bfr-512-d", "discriminator", "for faces of 32 px"),
        ("realesrnet.x4", "twice", "it enlarges 2 times, and 'realesrnet.x4' does 4 times"),
        ("realesrnet.x2", "lite", "network for faces"),
        ("retinaface.resnet50-gpen", "parse", "does not fit RetinaFace resnet50"),
        ("arcface.ir-se50", "parse", "does not fit ArcFace"),
    ],
)
def test_another_network_is_neither_copied_nor_pinned(store, file, name, kind, said):
    with pytest.raises(WeightsError, match=said) as caught:
        store.import_file(name, file(kind))
    assert f"{kind}.pth cannot be the weights '{name}'" in str(caught.value)
    assert store.locate(name) is None
    assert store.pin(name) is None


def test_every_entry_without_a_hash_is_looked_into(file):
    """Nothing that the catalog has no hash of gets in unseen: a file of no network at all is refused for each."""
    catalog = load_catalog()
    bare = [entry.name for entry in catalog.entries.values() if entry.sha256 is None]
    assert len(bare) > 10
    torch.save({"w": torch.ones(3)}, path := file("lite").with_name("none.pth"))
    for name in bare:
        store = WeightsStore(path.parent / "home", offline=True)
        with pytest.raises(WeightsError, match="cannot be the weights"):
            store.import_file(name, path)


def test_identity_weights_are_told_by_their_shapes(store, tmp_path):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in ArcFace().state_dict().items()}
    zeros = {key: torch.zeros(shape, dtype=torch.float16) for key, shape in shapes.items()}
    torch.save(zeros, tmp_path / "a.pth")
    assert store.import_file("arcface.ir-se50", tmp_path / "a.pth")


ENTRY = """
[weights."{backend}.tiny"]
file = "{backend}_tiny.pth"
licence = "MIT"
commercial_use = "yes"
training_data = "none"
source = "https://example.org"
paper = "none"
purpose = "restore"
face_size = {face_size}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_knows_its_own_weights_and_their_size(tmp_path, backend):
    def store(face_size):
        text = (
            'schema = 1\n[licences.MIT]\nname = "MIT"\nurl = "https://example.org"\nnotice = "Keep it."\n'
            + ENTRY.format(backend=backend, face_size=face_size)
        )
        return WeightsStore(tmp_path / str(face_size), catalog=parse_catalog(text, folder=tmp_path))

    found = backend_class(backend)
    state_dict = found.example_state_dict()
    torch.save(state_dict, tmp_path / "w.pth")
    size = found.build(state_dict).face_size
    assert store(size).import_file(f"{backend}.tiny", tmp_path / "w.pth")
    with pytest.raises(
        WeightsError, match=f"for faces of {size} px, and '{backend}.tiny' is for {2 * size} px"
    ):
        store(2 * size).import_file(f"{backend}.tiny", tmp_path / "w.pth")


def test_a_backend_whose_package_is_missing_still_knows_its_keys(tmp_path, monkeypatch):
    text = (
        'schema = 1\n[licences.MIT]\nname = "MIT"\nurl = "https://example.org"\nnotice = "Keep it."\n'
        + ENTRY.format(backend="gfpgan", face_size=32)
    )
    torch.save(backend_class("gfpgan").example_state_dict(), tmp_path / "right.pth")
    torch.save(backend_class("lite").example_state_dict(), tmp_path / "wrong.pth")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    store = WeightsStore(tmp_path / "home", catalog=parse_catalog(text, folder=tmp_path))
    with pytest.raises(WeightsError, match="not those of backend 'gfpgan'"):
        store.import_file("gfpgan.tiny", tmp_path / "wrong.pth")
    assert store.import_file("gfpgan.tiny", tmp_path / "right.pth")


# --- what is here already ---------------------------------------------------------------------------------------------


def poison(store, file, *names):
    """Lay files into the folder that are not what their names say, as an older version would have imported them."""
    store.folder.mkdir(parents=True)
    for name in names:
        store.path_of(name).write_bytes(file("gpen").read_bytes())
        if store.entry(name).sha256 is None:
            store.verify(name)  # pins it


LITE = ("lite.clean-256", "lite.detail-256", "lite.large-512", "lite.detail-512")
POISONED = ("gpen.bfr-512", "parsenet.gpen", "yunet.2023mar", "realesrnet.x2")


def test_auto_passes_over_what_cannot_be_used_and_says_so(store, file, monkeypatch):
    monkeypatch.setattr(stores, "packaged", lambda name: None)
    poison(store, file, *POISONED)
    line = build_pipeline(RestoreConfig(device="cpu"), store=store)
    assert [c.name for c in line.restorer.lines.candidates] == list(LITE)
    assert [name for name, _ in line.restorer.lines.available.passed_over] == ["gpen.bfr-512"]
    assert [name for name, _ in line.facts.passed_over] == ["yunet.2023mar", "parsenet.gpen"]
    assert line.facts.parser.weights == "parse.clean-256"
    behind = build_pipeline(RestoreConfig(device="cpu", background="auto"), store=store)
    assert behind.background.name == "lite.photo-x1"
    assert "realesrnet.x2" in [name for name, _ in behind.facts.passed_over]
    with pytest.raises(
        WeightsError, match=r"needs a face parser, and none can be used.*parsenet\.gpen --force"
    ):
        choose(PARSE, RestoreConfig(), store, needed_by="backend 'psfr'")


def test_a_right_network_behind_an_unfit_one_is_taken(store, file):
    poison(store, file, "parsenet.psfr-90000")
    store.import_file("parsenet.gpen", file("parse"))
    line = build_pipeline(RestoreConfig(device="cpu"), store=store)
    assert line.facts.parser.weights == "parsenet.gpen"
    assert [name for name, _ in line.facts.passed_over] == ["parsenet.psfr-90000"]


def test_a_sheet_takes_what_can_be_used(store, file):
    poison(store, file, *POISONED)
    for backend, wanted in (("auto", ["lite.clean-256"]), ("gpen,auto", [None, "lite.clean-256"])):
        configs = network_configs(RestoreConfig(backend=backend, device="cpu"), store=store)
        assert [config.weights for config in configs] == wanted
    every = {c.backend: c.weights for c in sheet_configs(RestoreConfig(backend="all"), store=store)}
    assert every["gpen"] == "gpen.clean-128"
    assert every["mmrb"] is None
    assert [name for name, _ in passed_over(RestoreConfig(backend="all"), store=store)] == ["gpen.bfr-512"]
    assert passed_over(RestoreConfig(backend="gpen"), store=store) == ()


@pytest.mark.parametrize(
    "command", [["enhance", "a.png", "--device", "cpu"], ["detect", "a.png"], ["parse", "a.png"]]
)
def test_commands_go_on_with_a_warning(file, tmp_path, monkeypatch, capsys, command):
    from fakes import photo

    from facerestore.io import write_image

    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png", photo(80, 80))
    store = WeightsStore()
    poison(store, file, *POISONED)
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "warning: auto passes over yunet.2023mar" in err
    assert ("warning: auto passes over parsenet.gpen" in err) == (command[0] != "detect")
    assert main(["weights", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["gpen.bfr-1024"]["fetchable"], rows["gpen.bfr-512"]["fetchable"]) == (False, True)
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert "passes over gpen.bfr-512" in out
    row = next(line for line in out.splitlines() if "gpen.bfr-1024 " in line)
    assert row.split()[:4] == ["gpen.bfr-1024", "restore", "no", "address"]
    assert "no address: no program can fetch the file" in out


def test_training_does_without_a_comparing_network_that_cannot_be_used(store, file):
    poison(store, file, "arcface.ir-se50")
    found = find_features("identity", instead="the identity loss is left out", store=store)
    assert found.name is None
    assert "cannot be used" in found.note
    assert "until then the identity loss is left out" in found.note
    with pytest.raises(WeightsError, match=r"cannot be used.*arcface\.ir-se50 --force"):
        find_features("identity", instead="nothing", wish="yes", store=store)

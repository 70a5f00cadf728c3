"""Weights of one's own: what train export wrote gets a name, and is kept, checked and removed like others."""

import json

import pytest
import torch

from facerestore.backends import backend_class
from facerestore.cli.app import main
from facerestore.errors import WeightsError
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, save_state_dict
from facerestore.weights.weights_file import look_at

HEADER = {
    "recipe": "lite",
    "backend": "lite",
    "purpose": "restore",
    "licence": "ISC",
    "data": "drawn faces",
    "step": "30",
    "face_size": "64",
}


@pytest.fixture
def exported(tmp_path):
    """Return a function that writes a file as train export does, with these changes to its header."""

    def write(name="mine.safetensors", **changes):
        header = {key: value for key, value in {**HEADER, **changes}.items() if value is not None}
        save_state_dict(tmp_path / name, backend_class("lite").example_state_dict(), metadata=header)
        return tmp_path / name

    return write


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_an_export_gets_a_name_that_every_store_of_that_home_knows(exported, home):
    source = exported()
    path = WeightsStore(home).import_file("lite.mine", source)
    assert path.read_bytes() == source.read_bytes()
    store = WeightsStore(home)
    entry = store.entry("lite.mine")
    assert store.is_own("lite.mine")
    assert (entry.backend, entry.purpose, entry.face_size, entry.training_data) == (
        "lite",
        "restore",
        64,
        "drawn faces",
    )
    assert entry.source == "facerestore train lite, 30 steps"
    assert (entry.licence, entry.permissive) == ("ISC", True)
    assert store.catalog.licence_of(entry).notice == "Stated by whoever trained these weights."
    assert store.require("lite.mine") == path
    assert store.verify("lite.mine").ok
    assert "lite.mine" not in WeightsStore(home.with_name("elsewhere")).catalog.entries


def test_own_weights_are_never_chosen_unless_named(exported, home):
    store = WeightsStore(home)
    store.import_file("lite.mine", exported())
    assert store.best("restore").name == "lite.clean-256"


def test_a_licence_that_is_not_stated_allows_nothing(exported, home):
    store = WeightsStore(home)
    store.import_file("lite.mine", exported(licence="unstated"))
    assert not store.entry("lite.mine").permissive


def test_a_name_is_taken_until_its_weights_are_removed(exported, home):
    store, source = WeightsStore(home), exported()
    installed = store.import_file("lite.mine", source)
    assert store.import_file("lite.mine", source) == installed, "the same once more, as after a kill"
    with pytest.raises(WeightsError, match=r"is taken .*facerestore weights remove lite.mine"):
        store.import_file("lite.mine", exported("other.safetensors", licence="unstated"))
    store.remove("lite.mine")
    assert not store.is_own("lite.mine")
    with pytest.raises(WeightsError, match="no weights are called"):
        WeightsStore(home).entry("lite.mine")
    store.import_file("lite.mine", source)


def test_a_file_that_was_deleted_by_hand_leaves_a_name_that_can_be_removed(exported, home):
    store = WeightsStore(home)
    store.import_file("lite.mine", exported()).unlink()
    with pytest.raises(WeightsError, match="not installed"):
        store.require("lite.mine")
    store.remove("lite.mine")
    assert "lite.mine" not in WeightsStore(home).catalog.entries


def test_a_file_that_is_cut_short_is_not_installed(exported, home):
    source = exported()
    source.write_bytes(source.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"is damaged: its header speaks of \d+ bytes"):
        WeightsStore(home).import_file("lite.mine", source)


def test_damage_is_found(exported, home):
    store = WeightsStore(home)
    path = store.import_file("lite.mine", exported())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"remove lite.mine' and import it again"):
        store.require("lite.mine")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpen.mine", {}, r"for the backend 'lite'; call it 'lite.mine'"),
        ("lite.Mine", {}, r"call it 'lite.mine'"),
        ("lite/../mine", {}, r"call it 'lite.mine'"),
        ("lite.mine", {"backend": None}, "only for a file that 'facerestore train export' wrote"),
        ("lite.mine", {"purpose": "dream"}, "only for a file that 'facerestore train export' wrote"),
        ("lite.clean-256", {}, "come with facerestore and are never replaced"),
    ],
)
def test_names_and_files_that_do_not_fit_are_refused(exported, home, name, changes, message):
    with pytest.raises(WeightsError, match=message):
        WeightsStore(home).import_file(name, exported(**changes))
    assert not (home / "own").exists()


@pytest.mark.parametrize(
    ("source", "tensors", "header", "said"),
    [
        ("lite.clean-256", {}, {"onnx": "x"}, "its graph cannot be unpacked"),
        ("lite.clean-256", {"head.weight": None}, {}, "'head.weight' is missing"),
        ("lite.clean-256", {"head.weight": torch.zeros(3, 7, 3, 3)}, {}, "dimensions do not match"),
        ("lite.clean-256", {}, {"face_size": "512"}, "for faces of 256 px, and 'lite.mine' is for 512 px"),
        ("lite.clean-256", {"head.weight": None}, {"onnx": None}, "keys are not those of backend 'lite'"),
        ("lite.photo-x1", {}, {"onnx": "x"}, "its graph cannot be unpacked"),
        ("parse.clean-256", {}, {"onnx": "x"}, "its graph cannot be unpacked"),
        ("eyes.clean-256", {}, {"onnx": "x"}, "its graph cannot be unpacked"),
        ("eyes.clean-256", {"hidden.weight": None}, {"onnx": None}, "tells no closed eyes: it lacks"),
    ],
)
def test_a_file_whose_network_cannot_be_made_is_not_installed(tmp_path, home, source, tensors, header, said):
    store, path = WeightsStore(home), tmp_path / "damaged.safetensors"
    whole = store.require(source)
    state, own = load_state_dict(whole) | tensors, {**look_at(whole).metadata, **header}
    save_state_dict(
        path,
        {key: value for key, value in state.items() if value is not None},
        metadata={key: value for key, value in own.items() if value is not None},
    )
    name = f"{own['backend']}.mine"
    with pytest.raises(WeightsError, match=rf"cannot import .*damaged\.safetensors as '{name}': .*{said}"):
        store.import_file(name, path)
    assert not [each for each in home.rglob("*") if each.is_file()]


def test_a_file_that_is_not_there_or_is_none_is_refused(tmp_path, home):
    (tmp_path / "text.safetensors").write_text("nothing")
    (tmp_path / "text.pth").write_text("nothing")
    for name, message in (
        ("absent.safetensors", "there is no such file"),
        ("text.safetensors", "does not begin like a safetensors file"),
        (
            "text.pth",
            r"no weights are called 'lite\.mine'.* only for a file that 'facerestore train export' wrote",
        ),
    ):
        with pytest.raises(WeightsError, match=message):
            WeightsStore(home).import_file("lite.mine", tmp_path / name)


def test_a_damaged_record_is_named(home):
    (home / "own").mkdir(parents=True)
    (home / "own" / "lite.mine.json").write_text(json.dumps({"weights": {"file": 3}}))
    with pytest.raises(WeightsError, match=r"lite.mine.json is damaged .*delete it"):
        WeightsStore(home)


def test_the_command_says_what_it_took_in(exported, capsys):
    assert main(["weights", "import", "lite.mine", str(exported())]) == 0
    out, err = capsys.readouterr()
    assert out.strip().endswith("lite.mine.safetensors")
    assert "weights of your own, for the purpose restore, licence ISC" in err
    assert main(["weights", "import", "lite.mine", str(exported())]) == 4
    assert main(["weights", "list", "--installed", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert "lite.mine" in names

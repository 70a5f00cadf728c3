"""From a run to a weights file: what its header says, and what is refused."""

import json

import pytest
import torch
from tiny_runs import drawn_plan, trained

from facerestore.backends import load_backend
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.training.export import export_run, halved, without_folders
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, read_metadata, save_state_dict

TINY = (
    "engine.steps=4",
    "engine.save_every=2",
    "engine.validate_every=2",
    "recipe.network={unshuffle=4, widths=[4, 4], blocks=[1, 1]}",
)
FACTS = {"licence": "MIT", "data": "drawn faces"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("lite")
    trained(drawn_plan("lite", folder, *TINY), folder / "run")
    return folder / "run"


def test_the_header_says_what_made_the_file(run, tmp_path):
    out = tmp_path / "deeper" / "lite.safetensors"
    written = export_run(run, out, **FACTS)
    assert (written.path, written.recipe, written.step, written.installable) == (out, "lite", 4, True)
    header = read_metadata(out)
    assert header["face_size"] == "64"
    assert (header["backend"], header["purpose"]) == ("lite", "restore")
    assert {"licence", "data", "facerestore"} <= header.keys()
    assert json.loads(header["training"])["faces"]["train"].startswith("4 faces")
    metrics = json.loads(header["metrics"])
    assert metrics["step"] == 4
    assert {"psnr", "psnr_input"} <= metrics.keys()
    store = WeightsStore(tmp_path / "home")
    store.import_file("lite.mine", out)
    assert store.entry("lite.mine").licence == "MIT"


def test_the_last_checkpoint_is_exported_with_the_metrics_of_its_step(run, tmp_path):
    log = run / "log.jsonl"
    before = log.read_text()
    log.write_text(before + json.dumps({"step": 6, "psnr": 99.0}) + "\n")
    export_run(run, tmp_path / "lite.safetensors", **FACTS)
    log.write_text(before)
    assert json.loads(read_metadata(tmp_path / "lite.safetensors")["metrics"])["step"] == 4


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"recipe": "parse", "purpose": "parse"}, "give it with --parser"),
        ({"recipe": "landmarks"}, "give another file"),
    ],
)
def test_what_restores_no_faces_says_what_it_is(tmp_path, facts, remedy):
    path = tmp_path / "a.safetensors"
    save_state_dict(path, {"a": torch.zeros(1)}, metadata=facts)
    with pytest.raises(CheckpointError, match=f"recipe '{facts['recipe']}' .*restores no faces; {remedy}"):
        load_backend(path)


def test_a_file_that_exists_is_replaced_only_when_asked(run, tmp_path):
    out = tmp_path / "lite.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="exists; give --overwrite"):
        export_run(run, out, **FACTS)
    assert out.read_bytes() == b"precious"
    export_run(run, out, overwrite=True, **FACTS)
    assert all(value.dtype == torch.float16 for value in load_state_dict(out).values())


def test_another_ending_is_refused_with_the_right_one(run, tmp_path):
    with pytest.raises(ConfigError, match=r"give a name such as '.*/lite.safetensors'"):
        export_run(run, tmp_path / "lite.pth", **FACTS)


def test_a_folder_that_cannot_be_made_is_told(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write .*; check the folder"):
        export_run(run, tmp_path / "file" / "lite.safetensors", **FACTS)
    export_run(run, tmp_path / "new" / "lite.safetensors", **FACTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no folder of a training run"),
        ("{", "is no folder of a training run"),
        ("[]", "names no recipe"),
        ("{}", "names no recipe"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "settings.json").write_text(text)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        export_run(tmp_path, tmp_path / "a.safetensors", **FACTS)


def test_a_run_whose_checkpoint_does_not_fit_its_settings_is_refused(run, tmp_path):
    settings = json.loads((run / "settings.json").read_text())
    settings["lite"]["network"]["widths"] = [8, 8]
    other = tmp_path / "other"
    other.mkdir()
    (other / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        export_run(other, tmp_path / "a.safetensors", **FACTS)
    (other / "checkpoints").symlink_to(run / "checkpoints")
    with pytest.raises(CheckpointError, match="does not fit recipe 'lite'"):
        export_run(other, tmp_path / "a.safetensors", **FACTS)


def test_a_prior_is_no_weights_of_a_backend(tmp_path):
    settings = ("engine.steps=1", "recipe.stage=prior")
    trained(drawn_plan("gpen", tmp_path, *settings), tmp_path / "run")
    out = tmp_path / "prior.safetensors"
    written = export_run(tmp_path / "run", out, **FACTS)
    assert not written.installable
    assert written.starts == "gpen --set recipe.stage=restore --set recipe.prior"
    with pytest.raises(
        WeightsError, match="only for a file that 'facerestore train export' wrote for a backend"
    ):
        WeightsStore(tmp_path / "home").import_file("gpen.mine", out)


def test_half_of_the_bytes_are_enough_and_too_large_numbers_refused(run, tmp_path):
    state = {"weight": torch.tensor([1.0, 1 / 3]), "count": torch.tensor([70_000])}
    kept = halved(state)
    assert (kept["weight"].dtype, kept["count"].dtype) == (torch.float16, torch.int64)
    assert torch.allclose(kept["weight"].float(), state["weight"], rtol=1e-3)
    with pytest.raises(
        CheckpointError, match=r"'far' has numbers too large for float16; export without --half"
    ):
        halved({**state, "far": torch.tensor([1e6])})
    written = export_run(run, tmp_path / "half.safetensors", **FACTS, half=True)
    assert {value.dtype for value in load_state_dict(written.path).values()} == {torch.float16}


def test_no_folder_of_the_machine_goes_into_the_file():
    settings = {
        "recipe": {"first": "/home/me/runs/d.safetensors", "start": r"C:\Users\me\a.safetensors"},
        "data": {"parsing": "maps/val", "mix": ["gfpgan", "/faces/x"], "seed": 7, "landmarks": ""},
    }
    assert without_folders(settings) == {
        "recipe": {"first": "d.safetensors", "start": "a.safetensors"},
        "data": {"parsing": "maps/val", "mix": ["gfpgan", "x"], "seed": 7, "landmarks": ""},
    }

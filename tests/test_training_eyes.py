"""Training on closed eyes: how open eyes are, eyes that are shut, samples, and a run that learns."""

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, scene_of, trained

from facerestore.errors import ConfigError
from facerestore.export.embedding import embed_graph
from facerestore.parsing.eyes import load_eye_reader
from facerestore.training.data.closed_eyes import CLOSED, EYES, openness, shut
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.data.face_files import face_files, read_face, read_parsing_map
from facerestore.training.engine.folder import RunFolder
from facerestore.training.export import export_run
from facerestore.training.plan import samples_of, validation_of
from facerestore.weights.checkpoint import read_metadata


@pytest.fixture
def drawn(tmp_path):
    """Return a drawn face of 128 px and its map."""
    faces, maps = write_drawn_faces(tmp_path / "drawn", count=1, face_size=128)
    (file,) = face_files(faces)
    return read_face(file, 128), read_parsing_map(file, maps, 128)


def test_openness_is_the_area_of_an_eye_over_the_square_of_its_width():
    labels = np.zeros((64, 64), np.uint8)
    assert openness(labels) is None
    labels[30, 10:30] = EYES[0]
    assert openness(labels) == pytest.approx(1 / 20)
    labels[28:32, 40:60] = EYES[1]
    assert openness(labels) == pytest.approx((1 / 20 + 4 / 20) / 2)


def test_the_eyes_of_a_face_are_shut_and_nothing_else_is_touched(drawn):
    face, labels = drawn
    lids = shut(face, labels, np.random.default_rng(0))
    eyes = np.isin(labels, EYES)
    change = np.abs(lids.astype(int) - face).max(axis=2)
    assert change[eyes].mean() > 20
    rows, columns = np.nonzero(change)
    assert rows.min() > np.nonzero(eyes)[0].min() - 14
    assert rows.max() < np.nonzero(eyes)[0].max() + 10
    assert not change[:, columns.max() + 1 :].any()
    assert shut(face, np.where(labels == EYES[0], 1, labels), np.random.default_rng(0)) is None


def test_a_sample_depends_on_seed_and_position_alone(tmp_path):
    samples, again = (samples_of(drawn_plan("eyes", tmp_path)) for _ in range(2))
    other = samples_of(drawn_plan("eyes", tmp_path, "data.seed=5"))
    for position in (9, 2):
        assert torch.equal(samples[position]["lq"], again[position]["lq"])
        assert samples[position]["closed"] == again[position]["closed"]
        assert not torch.equal(samples[position]["lq"], other[position]["lq"])


@pytest.mark.parametrize(("share", "closed"), [(0.0, 0), (1.0, 8)])
def test_a_share_of_the_eyes_is_shut(tmp_path, share, closed):
    samples = samples_of(
        drawn_plan("eyes", tmp_path, f"recipe.shut={share}", "data.face_size=128", face_size=128)
    )
    assert sum(int(samples[position]["closed"]) for position in range(8)) == closed


def test_faces_with_closed_eyes_are_drawn_more_often(tmp_path, monkeypatch):
    monkeypatch.setattr("facerestore.training.data.closed_eyes.CLOSED", 1.0)  # those of all drawn faces
    samples = samples_of(drawn_plan("eyes", tmp_path, "recipe.closed=1.0"))
    assert all(samples[position]["closed"] == 1 for position in range(4))


def test_validation_is_fixed_and_of_each_face(tmp_path):
    settings = ("data.set_weights={drawn=1.0}", "data.seed=3")
    one, two = (validation_of(drawn_plan("eyes", tmp_path, *settings[:n])) for n in range(2))
    assert len(one["lq"]) == 4
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("setting", ["data.crop_size=32", "data.degrade_on='device'", "data.max_reduction=2"])
def test_eyes_are_shut_in_whole_faces_by_the_cpu(tmp_path, setting):
    with pytest.raises(ConfigError, match="eyes are shut in whole faces by the CPU"):
        samples_of(drawn_plan("eyes", tmp_path, setting))


def test_maps_are_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"seen in parsing maps; give their folder with data\.parsing"):
        samples_of(drawn_plan("eyes", tmp_path, "data.parsing=''"))


def test_gradients_reach_every_parameter(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("eyes", tmp_path)
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    assert terms.keys() == {"entropy"}
    assert all(torch.isfinite(gradient).all() and gradient.abs().sum() > 0 for gradient in found.values())


def test_a_run_learns_and_its_export_tells(tmp_path):
    settings = (
        "data.face_size=128",
        "data.mix={clean=1.0}",
        "engine.steps=60",
        "engine.batch_size=8",
        "engine.schedule='constant'",
        "recipe.shut=0.5",
    )
    trained(drawn_plan("eyes", tmp_path, *settings, face_size=128), run := tmp_path / "run")
    records = RunFolder(run).records()
    losses = [record["entropy"] for record in records if "entropy" in record]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    assert {"accuracy", "recall"} <= [record for record in records if "recall" in record][-1].keys()
    out = tmp_path / "eyes.safetensors"
    export_run(run, out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["purpose"] == "eyes"
    crop = np.random.default_rng(0).random((128, 128, 3), dtype=np.float32)
    (share,) = load_eye_reader(out).closed([crop])
    embed_graph(out)
    (by_graph,) = load_eye_reader(out).closed([crop])
    assert by_graph == pytest.approx(share, abs=1e-4)
    assert 0 < CLOSED < 1

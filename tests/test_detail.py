"""The dial of detail: weights mixed with those that they were trained from, and which faces get how much."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import trial_photo

from facerestore.backends import load_backend
from facerestore.config import RestoreConfig
from facerestore.engines import Place
from facerestore.errors import CheckpointError, ConfigError
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.candidates import available
from facerestore.pipeline.choose import choose
from facerestore.testing.drawn_faces import trial_faces
from facerestore.weights.mixing import Mix, mixed

BASE, DETAIL, LARGE, DETAIL_LARGE = "lite.clean-256", "lite.detail-256", "lite.large-512", "lite.detail-512"
WEIGHTS = Path(__file__).parents[1] / "weights"
FILES = {name: WEIGHTS / f"{name.replace('.', '_').replace('-', '_')}.safetensors" for name in (BASE, DETAIL)}


def restored(share, *, place=None):
    mix = None if share is None else Mix(FILES[BASE], share)
    return load_backend(FILES[DETAIL], place=place, mix=mix).restore(trial_faces(256)[:1])[0]


# --- mixing --------------------------------------------------------------------------------------------------------


def test_tensors_are_mixed_in_float32_and_kept_as_they_are_stored():
    base, own = ({"w": np.full(3, value, np.float16)} for value in (1.0, 2.0))
    made = mixed(base, own, 0.25, name="own")["w"]
    assert made.dtype == np.float16
    assert np.allclose(made, 1.25)
    assert mixed({}, own, 1, name="own")["w"] is own["w"]


def test_opencv_mixes_as_numpy_does_to_the_bit(monkeypatch):
    draw = np.random.default_rng(2)
    shapes = {"w": (70, 1000), "scalar": (), "b": (3,), "none": (0, 4)}
    base, own = (
        {name: draw.normal(0, 0.05, shape).astype(np.float16) for name, shape in shapes.items()} for _ in "ab"
    )
    made = mixed(base, own, 0.8, name="own")
    monkeypatch.setattr("cv2.__version__", "4.11.0")
    for name, value in mixed(base, own, 0.8, name="own").items():
        assert np.array_equal(made[name], value), name


@pytest.mark.parametrize("base", [{}, {"w": np.zeros(4, np.float16)}])
def test_weights_of_different_networks_are_not_mixed(base):
    with pytest.raises(CheckpointError, match="'own' cannot be mixed with its base: 'w'"):
        mixed(base, {"w": np.zeros(3, np.float16)}, 0.5, name="own")


def test_a_graph_whose_tensors_were_folded_is_not_mixed():
    path = WEIGHTS / "mmrb_clean_128.safetensors"
    with pytest.raises(CheckpointError, match="folded, which cannot be mixed"):
        load_backend(path, place=Place(), mix=Mix(path, 0.5))


def test_more_of_the_share_is_further_from_the_base():
    base = load_backend(FILES[BASE], place=Place()).restore(trial_faces(256)[:1])[0]
    away = [np.abs(restored(share, place=Place()) - base).mean() for share in (0.2, 0.6, 1.0)]
    assert 0 < away[0] < away[1] < away[2]


def test_torch_and_the_graph_mix_alike():
    ours, theirs = restored(0.5, place=Place()), restored(0.5)
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


# --- the dial ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "weights", "share"),
    [
        ({}, BASE, None),
        ({"detail": 0}, BASE, None),
        ({"detail": 0.3}, DETAIL, 0.3),
        ({"backend": "lite", "detail": 1}, DETAIL, 1),
        ({"weights": BASE}, BASE, None),
        ({"weights": BASE, "detail": 0.5}, DETAIL, 0.5),
        ({"weights": DETAIL}, DETAIL, 0.9),
        ({"weights": DETAIL, "detail": 0}, BASE, None),
        ({"weights": "psfr.clean-128", "detail": 0}, "psfr.clean-128", None),
    ],
)
def test_the_dial_chooses_weights_and_their_share(store, chosen, weights, share):
    found = choose("restore", RestoreConfig(**chosen), store)
    assert found.name == weights
    assert (found.mix and found.mix.share) == share


@pytest.mark.parametrize("name", [DETAIL, DETAIL_LARGE])
def test_a_copy_of_a_file_draws_as_much_detail_on_the_same_terms(store, tmp_path, name):
    copy = shutil.copy(store.require(name), tmp_path / "copy.safetensors")
    chosen = choose("restore", RestoreConfig(weights=copy), store)
    named = choose("restore", RestoreConfig(weights=name), store)
    assert chosen.mix == named.mix
    assert chosen.mix.share == store.entry(name).detail < 1
    assert chosen.base == named.base
    assert chosen.commercial_use == named.commercial_use == "yes"


def test_weights_without_detail_refuse_it(store):
    store.import_file("lite.mine", store.require(DETAIL_LARGE))
    config = RestoreConfig(weights="psfr.clean-128", detail=0.5)
    with pytest.raises(
        ConfigError, match=r"'psfr\.clean-128' have no detail.*choose one of lite\.clean-256"
    ) as told:
        choose("restore", config, store)
    assert str(told.value).count(LARGE) == 1, "though two weights draw detail over them"


@pytest.mark.parametrize(
    ("detail", "names"),
    [
        (None, [BASE, DETAIL, LARGE, DETAIL_LARGE]),
        (0, [BASE, LARGE]),
        (0.4, [DETAIL, DETAIL_LARGE]),
        (1, [DETAIL, DETAIL_LARGE]),
    ],
)
def test_the_dial_says_who_serves_the_faces(store, detail, names):
    found = available(RestoreConfig(detail=detail), store)
    assert [candidate.name for candidate in found.candidates] == names


def test_no_detail_is_the_base_to_the_bit(store):
    import cv2

    blurred = cv2.GaussianBlur(trial_photo(), (0, 0), 8)[::2, ::2]  # no large face
    none, base, most = (
        build_pipeline(RestoreConfig(**chosen), store=store).run(blurred)
        for chosen in ({"detail": 0}, {"weights": BASE}, {"detail": 1})
    )
    assert np.array_equal(none.image.pixels, base.image.pixels)
    assert not np.array_equal(most.image.pixels, base.image.pixels)
    assert most.faces[0].choice.weights == DETAIL


def test_a_report_says_how_much_detail_was_drawn(store):
    import cv2

    blurred = cv2.GaussianBlur(trial_photo(), (0, 0), 8)
    report = build_pipeline(RestoreConfig(backend="lite", detail=0.5), store=store).run(blurred).report
    assert report["detail"] == 0.5
    assert report["weights"]["weights"] == DETAIL
    assert [face["detail"] for face in report["faces"]] == [0.5]


def test_a_report_says_how_much_detail_was_drawn_into_each_face_that_chooses_its_own_network(store):
    import cv2

    blurred = cv2.GaussianBlur(trial_photo(), (0, 0), 8)
    for size, weights in ((1, DETAIL_LARGE), (2, DETAIL)):
        report = build_pipeline(RestoreConfig(), store=store).run(blurred[::size, ::size]).report
        share = store.entry(weights).detail
        assert [(face["weights"], face["detail"]) for face in report["faces"]] == [(weights, share)]

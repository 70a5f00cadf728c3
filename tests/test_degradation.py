"""Degradations: seeded, in range, as strong as they say, and repeatable from what was written down."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from facerestore.degradation import (
    PRESETS,
    STEPS,
    DegradationDraw,
    apply,
    degrade,
    draw_from_json,
    gaussian_kernel,
    preset,
)
from facerestore.degradation.ageing import Damage, Fading, Grain
from facerestore.degradation.drawing import step_from_json
from facerestore.degradation.kernels import box_kernel, motion_kernel, pillow_cubic
from facerestore.degradation.steps import (
    GaussianBlur,
    Jpeg,
    MedianBlur,
    Noise,
    Resize,
)
from facerestore.errors import ConfigError

DRAWN = [name for name in PRESETS if not name.startswith("sr-")]


@pytest.fixture
def face():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


def steps_of(name, kind, count=200, size=512):
    draws = [preset(name).draw(size, np.random.default_rng(s)) for s in range(count)]
    return [step for drawn in draws for step in drawn.steps if isinstance(step, kind)], draws


@pytest.mark.parametrize("name", DRAWN)
def test_same_seed_gives_the_same_pair_and_another_seed_another(face, name):
    first, again, other = (degrade(face, preset(name), np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert first[2] == again[2]
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("name", PRESETS)
def test_pairs_keep_size_and_type_and_lose_detail(face, name):
    for seed in range(10):
        lq, hq, drawn = degrade(face, preset(name), np.random.default_rng(seed))
        assert lq.shape == hq.shape == face.shape
        assert lq.dtype == hq.dtype == np.uint8
        assert not np.array_equal(lq, hq)
        assert np.array_equal(hq, face) or drawn.grey


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_go_to_json_and_back_and_repeat_the_pair(face, name):
    rng = np.random.default_rng([3, 1])
    drawn = preset(name).draw(128, rng)
    state = rng.bit_generator.state
    lq, hq = apply(face, drawn, rng)
    read = draw_from_json(json.loads(json.dumps(drawn.to_json())))
    assert read == drawn
    rng.bit_generator.state = state
    again = apply(face, read, rng)
    assert np.array_equal(lq, again[0])
    assert np.array_equal(hq, again[1])
    assert drawn.text


def formula(face, ranges, rng):
    """Return the pair as the formula that the bundled weights were trained and judged with gives it."""
    size = face.shape[0]
    sigma_x, sigma_y = size / 512 * rng.uniform(*ranges["sigma"], size=2)
    if rng.random() < 0.5:
        sigma_y = sigma_x
    angle = rng.uniform(-np.pi, np.pi)
    downsample, sigma = rng.uniform(*ranges["downsample"]), rng.uniform(0, 20)
    quality = int(rng.integers(ranges["quality"][0], ranges["quality"][1] + 1))
    hq, grey = face, rng.random() < 0.2
    if grey:
        hq = np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    kernel = gaussian_kernel(max(3, round(ranges["kernel"] * size / 512) | 1), sigma_x, sigma_y, angle)
    lq = cv2.filter2D(hq.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    small = max(int(size // downsample), 4)
    lq = cv2.resize(lq, (small, small), interpolation=cv2.INTER_LINEAR)
    noise = rng.standard_normal((small, small, 1 if grey else 3), dtype=np.float32)
    lq = np.clip(np.rint(lq + noise * np.float32(sigma)), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", lq[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    lq = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)
    lq = cv2.resize(lq, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(lq), 0, 255).astype(np.uint8), hq


GFPGAN = {"sigma": (0.1, 10), "downsample": (0.8, 8), "quality": (60, 100), "kernel": 41}
SEVERE = {"sigma": (1, 15), "downsample": (1, 30), "quality": (30, 90), "kernel": 91}


@pytest.mark.parametrize(("name", "ranges"), [("gfpgan", GFPGAN), ("gpen", GFPGAN), ("severe", SEVERE)])
def test_pairs_that_published_weights_were_judged_on_never_change(face, name, ranges):
    for seed in range(8):
        lq, hq, _ = degrade(face, preset(name), np.random.default_rng([7, seed]))
        expected = formula(face, ranges, np.random.default_rng([7, seed]))
        assert np.array_equal(lq, expected[0])
        assert np.array_equal(hq, expected[1])


def test_grey_pairs_are_grey_on_both_sides(face):
    greys = [
        pair for s in range(40) if (pair := degrade(face, preset("gfpgan"), np.random.default_rng(s)))[2].grey
    ]
    assert greys
    for lq, hq, _ in greys:
        assert np.ptp(hq.astype(int), axis=2).max() == 0
        assert np.ptp(lq.astype(int), axis=2).max() <= 2  # what chroma rounding of a grey JPEG leaves


def test_gfpgan_covers_its_ranges_and_scales_with_the_face():
    blurs, draws = steps_of("gfpgan", GaussianBlur, 300, size=256)
    sigma = np.array([blur.sigma_x_px for blur in blurs])
    assert 0.05 <= sigma.min() < 0.2
    assert 4.8 < sigma.max() <= 5.0
    assert {step.quality for step in steps_of("gfpgan", Jpeg, 300)[0]} >= {60, 100}
    assert 0.4 < np.mean([blur.sigma_x_px == blur.sigma_y_px for blur in blurs]) < 0.6
    assert 0.1 < np.mean([drawn.grey for drawn in draws]) < 0.3


def test_psfr_is_as_published():
    count = 1500
    _, draws = steps_of("psfr", Noise, count)
    kinds = [[type(step).__name__ for step in drawn.steps[::2]] for drawn in draws]
    order = ["Blur", "Resize", "Noise", "Jpeg", "Resize"]
    for names in kinds:
        shown = ["Blur" if name.endswith("Blur") else name for name in names]
        assert shown == [*[name for name in order[:4] if name in shown], "Resize"]
    near = 3.5 * np.sqrt(0.25 / count)
    share = lambda word: np.mean([any(word in name for name in names) for names in kinds])  # noqa: E731
    assert share("Blur") == pytest.approx(0.5, abs=near)
    for word in ("Gaussian", "Box", "Median", "Motion"):
        assert share(word) == pytest.approx(0.125, abs=near)
    assert share("Noise") == pytest.approx(0.2, abs=near)
    assert share("Jpeg") == pytest.approx(0.7, abs=near)
    assert np.mean([drawn.grey for drawn in draws]) == pytest.approx(0.3, abs=near)
    sides = [drawn.smallest_side_px for drawn in draws]
    assert (min(sides), max(sides)) == (32, 255)
    qualities = {step.quality for drawn in draws for step in drawn.steps if isinstance(step, Jpeg)}
    assert (min(qualities), max(qualities)) == (35, 90)
    resizes = [[step for step in drawn.steps if isinstance(step, Resize)] for drawn in draws]
    assert {first.interpolation for first, _ in resizes} == {"nearest", "linear", "area", "cubic"}
    assert {(last.interpolation, last.side_px) for _, last in resizes} == {("cubic", 512)}
    widths = {step.width_px for drawn in draws for step in drawn.steps if isinstance(step, MedianBlur)}
    assert widths == {3, 5, 7, 9, 11, 13, 15}


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_super_resolution_is_pillows_bicubic(face, factor):
    lq, hq, drawn = degrade(face, preset(f"sr-x{factor}"), np.random.default_rng(0))
    assert np.array_equal(hq, face)
    assert drawn.smallest_side_px == 128 // factor
    assert drawn.downsample == factor
    small = Image.fromarray(face).resize((128 // factor,) * 2, Image.Resampling.BICUBIC)
    expected = np.asarray(small.resize((128, 128), Image.Resampling.BICUBIC))
    # Pillow rounds and clips between its two passes.
    assert np.abs(lq.astype(int) - expected).max() <= 6
    assert np.abs(lq.astype(int) - expected).mean() < 0.6


def test_a_monochrome_old_photo_keeps_its_tone_in_the_target(face):
    toned = coloured = 0
    for seed in range(20):
        _, hq, drawn = degrade(face, preset("old-photo"), np.random.default_rng(seed))
        if not drawn.grey:
            coloured += 1
            assert np.array_equal(hq, face)
        elif len(drawn.target) == 2:
            toned += 1
            means = hq.reshape(-1, 3).mean(axis=0)
            assert means[0] > means[2]  # the tone is warm
    assert toned
    assert coloured


def test_fading_takes_black_and_white_where_it_says():
    picture = np.array([[[0, 0, 0], [255, 255, 255]]], np.float32)
    faded = Fading((40, 30, 20), (220, 210, 190)).apply(picture, np.random.default_rng(0))
    assert np.allclose(faded[0], [[40, 30, 20], [220, 210, 190]])


def test_grain_is_as_strong_as_it_says_at_mid_grey_and_weaker_in_black():
    grain, rng = Grain(12.0, 1.5), np.random.default_rng(0)
    mid = grain.apply(np.full((256, 256, 3), 127.5, np.float32), rng)
    black = grain.apply(np.zeros((256, 256, 3), np.float32), rng)
    assert mid.std() == pytest.approx(12, rel=0.05)
    assert black.std() == pytest.approx(4, rel=0.05)
    assert np.ptp(mid, axis=2).max() < 1e-3


def test_damage_lies_where_its_seed_says_at_every_size():
    damage = Damage(scratches=3, cracks=2, specks=20, width_px=2.0, layout_seed=4)
    opacity, level = damage.layers(256)
    assert np.array_equal(opacity, damage.layers(256)[0])
    assert 0 < (opacity > 0.1).mean() < 0.2
    assert 0 <= opacity.min() <= opacity.max() <= 1
    assert 0 <= level.min() <= level.max() <= 255
    # The same damage on a picture of half the size lies at the same places.
    half = Damage(scratches=3, cracks=2, specks=20, width_px=1.0, layout_seed=4).layers(128)[0]
    reduced = cv2.resize(opacity, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(half.ravel(), reduced.ravel())[0, 1] > 0.85
    none = Damage(scratches=0, cracks=0, specks=0, width_px=2.0, layout_seed=4)
    assert none.layers(64)[0].max() == 0


def test_kernels_sum_to_one_and_turn():
    kernel = gaussian_kernel(21, 4.0, 1.0, 0.0)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel[10, 14] > kernel[14, 10]
    assert np.allclose(gaussian_kernel(21, 4.0, 1.0, np.pi / 2), kernel.T, atol=1e-6)
    assert np.allclose(box_kernel(3), np.full((3, 3), 1 / 9))
    assert box_kernel(1).tolist() == [[1]]
    assert np.allclose(box_kernel(4)[2], np.array([0.5, 1, 1, 1, 0.5]) / 16)
    across = motion_kernel(5, 0.0, 0.0)
    assert np.allclose(across[2], 0.2)
    assert across.sum() == pytest.approx(1)
    fading = motion_kernel(5, 0.0, 1.0)[2]
    assert (np.diff(fading) < 0).all()
    assert fading[-1] == pytest.approx(0)
    assert np.allclose(motion_kernel(9, np.pi / 2, 0.0), motion_kernel(9, 0.0, 0.0).T, atol=1e-6)


def test_rows_of_the_cubic_matrix_sum_to_one():
    for sides in ((64, 16), (64, 7), (16, 64), (9, 9)):
        assert np.allclose(pillow_cubic(*sides).sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(pillow_cubic(9, 9), np.eye(9, dtype=np.float32))


def test_a_face_of_another_size_and_unfit_json_are_refused(face):
    drawn = preset("gfpgan").draw(64, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="128 x 128"):
        apply(face, drawn, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="unknown step 'blurr'; known are grey"):
        step_from_json({"step": "blurr"})
    with pytest.raises(ConfigError, match="step 'jpeg' cannot be made of"):
        step_from_json({"step": "jpeg", "qualty": 3})
    for wrong in ({}, {"preset": "x", "face_size": 3, "target": 1, "steps": []}):
        with pytest.raises(ConfigError, match="no parameters"):
            draw_from_json(wrong)


def test_every_step_has_its_own_name():
    assert len({step.word for step in STEPS.values()}) == len(STEPS)


def test_the_factor_of_a_reduction_gives_its_side_back():
    for size in (100, 256, 511, 512):
        for side in range(4, size + 1, 3):
            drawn = DegradationDraw("x", size, (), (Resize(side, "linear"), Resize(size, "linear")))
            assert int(size // drawn.downsample) == drawn.smallest_side_px == side


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="gfpgan"):
        preset("gfp-gan")

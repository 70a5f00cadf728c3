"""Degradations: seeded, in range, and as strong as they say."""

import numpy as np
import pytest

from facerestore.degradation import PRESETS, degrade, draw, gaussian_kernel, preset
from facerestore.errors import ConfigError


@pytest.fixture
def face():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))


@pytest.mark.parametrize("name", PRESETS)
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


def test_grey_pairs_are_grey_on_both_sides(face):
    greys = [
        pair for s in range(40) if (pair := degrade(face, preset("gfpgan"), np.random.default_rng(s)))[2].grey
    ]
    assert greys
    for lq, hq, _ in greys:
        assert np.ptp(hq.astype(int), axis=2).max() == 0
        assert np.ptp(lq.astype(int), axis=2).max() <= 2  # what chroma rounding of a grey JPEG leaves


def test_draws_cover_their_ranges_and_scale_with_the_face():
    ranges = preset("gfpgan")
    draws = [draw(ranges, face_size=256, rng=np.random.default_rng(s)) for s in range(300)]
    sigma = np.array([d.blur_sigma_x_px for d in draws])
    assert 0.05 <= sigma.min() < 0.2
    assert 4.8 < sigma.max() <= 5.0
    assert {d.jpeg_quality for d in draws} >= {60, 100}
    isotropic = np.mean([d.blur_sigma_x_px == d.blur_sigma_y_px for d in draws])
    assert 0.4 < isotropic < 0.6


def test_kernel_sums_to_one_and_turns():
    kernel = gaussian_kernel(21, 4.0, 1.0, 0.0)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel[10, 14] > kernel[14, 10]
    assert np.allclose(gaussian_kernel(21, 4.0, 1.0, np.pi / 2), kernel.T, atol=1e-6)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="gfpgan"):
        preset("gfp-gan")

"""Strength by region: exact inside, soft outside, and never above what the neighbour allows."""

import numpy as np
import pytest

from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_NAMES, parse_region
from facerestore.parsing import strength_map

SIZE = 200
SKIN, EYE, NOSE = (CLASS_NAMES.index(name) for name in ("skin", "left_eye", "nose"))


@pytest.fixture
def labels():
    """Skin, an eye in it, and a nose that touches the eye."""
    ids = np.full((SIZE, SIZE), SKIN, np.uint8)
    ids[80:100, 40:100] = EYE
    ids[80:140, 100:130] = NOSE
    return ids


def strengths(labels, region, base=1.0):
    return strength_map(labels, parse_region(region), base=base)


def test_a_region_has_its_strength_exactly_and_the_rest_keeps_the_base(labels):
    result = strengths(labels, "eyes=0.3")
    assert result.dtype == np.float32
    assert (result[labels == EYE] == np.float32(0.3)).all()
    assert (result[:70] == 1).all()
    assert (result[110:, :90] == 1).all()


def test_strength_0_is_exactly_0(labels):
    result = strengths(labels, "eyes=0")
    assert not result[labels == EYE].any()
    assert (result[labels != EYE] > 0).all()


def test_the_transition_is_smooth(labels):
    for region, base in (("eyes=0", 1), ("eyes=1", 0), ("eyes=0.3,nose=1", 0.6), ("eyes=0,nose=1", 1)):
        result = strengths(labels, region, base)
        steepest = max(np.abs(np.diff(result, axis=axis)).max() for axis in (0, 1))
        assert steepest < 0.3  # smoothstep over 6 px has at most 1.5 / 6


def test_a_region_may_be_raised_above_the_base(labels):
    result = strengths(labels, "eyes=1", 0.2)
    assert result[labels == EYE] == pytest.approx(1)
    assert result[:70] == pytest.approx(0.2)
    assert result.max() <= 1


def test_where_regions_touch_the_lower_holds_exactly(labels):
    result = strengths(labels, "eyes=0,nose=1", 0.5)
    assert not result[labels == EYE].any()
    assert result[90, 100] < 0.2
    assert result[90, 112] == pytest.approx(1)
    assert result[130, 115] == pytest.approx(1)


def test_a_region_that_does_not_occur_changes_nothing(labels):
    assert (strengths(labels, "glasses=0") == 1).all()


@pytest.mark.parametrize("size", [16, 64])
def test_small_crops_are_no_trouble(size):
    labels = np.full((size, size), EYE, np.uint8)
    assert (strengths(labels, "eyes=0.5") == 0.5).all()


def test_maps_and_strengths_that_cannot_be_are_refused(labels):
    with pytest.raises(ConfigError, match="id 19"):
        strength_map(np.full((8, 8), 19, np.uint8), {}, base=1)
    with pytest.raises(ConfigError, match=r"strength of skin is 2"):
        strength_map(labels, {"skin": 2}, base=1)
    with pytest.raises(ConfigError, match="the base"):
        strength_map(labels, {}, base=float("nan"))
    with pytest.raises(ConfigError, match="wig"):
        strength_map(labels, {"wig": 1}, base=1)

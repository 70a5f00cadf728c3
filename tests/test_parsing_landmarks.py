"""The map that is drawn from five points: where it must be right, and what it must not claim."""

import numpy as np
import pytest
from test_parsing import aligned

from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.alignment import template
from facerestore.parsing import LANDMARK_CLASSES, LandmarkParser, class_shares

POINTS = ("left_eye", "right_eye", "nose")


def drawn(points, size=256):
    return LandmarkParser().parse([aligned(points, size)])[0]


def name_at(labels, point):
    x, y = np.round(point).astype(int)
    return CLASS_NAMES[labels[y, x]]


@pytest.mark.parametrize("size", [128, 256, 512])
def test_parts_lie_on_their_landmarks(size):
    points = template(size)
    labels = drawn(points, size)
    assert labels.dtype == np.uint8
    assert labels.shape == (size, size)
    assert [name_at(labels, point) for point in points[:3]] == list(POINTS)
    middle = points[3:].mean(axis=0)
    assert name_at(labels, middle - (0, 0.01 * size)) == "upper_lip"
    assert name_at(labels, middle - (0, -0.02 * size)) == "lower_lip"
    assert name_at(labels, points[0] - (0, 0.08 * size)) == "left_brow"
    assert name_at(labels, points[1] - (0, 0.08 * size)) == "right_brow"
    assert name_at(labels, (size / 2, 0.88 * size)) == "skin"
    assert name_at(labels, (0.02 * size, 0.02 * size)) == "background"


def test_it_claims_only_what_it_can_know():
    assert set(class_shares(drawn(template(256)))) == LANDMARK_CLASSES


def test_parts_turn_with_the_head():
    points = template(256)
    centre, angle = points.mean(axis=0), np.deg2rad(25)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = (points - centre) @ rotation.T + centre
    labels = drawn(turned)
    assert [name_at(labels, point) for point in turned[:3]] == list(POINTS)
    brow = (points[0] - (0, 0.08 * 256) - centre) @ rotation.T + centre
    assert name_at(labels, brow) == "left_brow"


def test_wild_landmarks_still_give_a_map():
    points = template(256)
    for wild in (points * 4 - 300, np.full((5, 2), 128.0), points[[1, 0, 2, 4, 3]]):
        assert drawn(wild).max() < 19


def test_landmarks_that_are_not_finite_are_refused():
    points = template(256)
    points[2] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        drawn(points)


def test_no_face_gives_no_map():
    assert LandmarkParser().parse([]) == []

"""The soft mask: where the face is, and that nothing but the face is pasted."""

import numpy as np
import pytest

from facerestore.errors import BackendError, ConfigError
from facerestore.imaging.alignment import estimate_similarity, template
from facerestore.parsing import (
    CLASS_NAMES,
    FACE_CLASSES,
    PALETTE,
    colour_map,
    face_is_parsed,
    face_mask,
    geometric_mask,
    whole_mask,
)
from facerestore.types import AlignedFace, DetectedFace


def aligned(points, size):
    """Return a face whose landmarks lie at ``points`` of the crop, found in a turned, enlarged photo."""
    to_crop = estimate_similarity([(10.0, 20.0), (90.0, 50.0)], [(0.0, 0.0), (size, size)])
    linear = np.linalg.inv(to_crop[:, :2])
    landmarks = ((np.asarray(points) - to_crop[:, 2]) @ linear.T).astype(np.float32)
    detected = DetectedFace((0.0, 0.0, 100.0, 100.0), landmarks, 1.0)
    return AlignedFace(detected, to_crop, np.zeros((size, size, 3), np.float32))


def ids(size, **boxes):
    """Return a parsing map with classes in boxes of (top, bottom, left, right), shares of the crop."""
    labels = np.zeros((size, size), np.uint8)
    for name, box in boxes.items():
        top, bottom, left, right = (round(share * size) for share in box)
        labels[top:bottom, left:right] = CLASS_NAMES.index(name)
    return labels


def test_classes_and_palette_are_those_of_celebamask():
    assert len(CLASS_NAMES) == 19
    assert PALETTE.shape == (19, 3)
    assert len({tuple(colour) for colour in PALETTE}) == 19
    assert CLASS_NAMES.index("hair") == 13
    assert tuple(PALETTE[13]) == (0, 0, 204)
    assert FACE_CLASSES.isdisjoint({"hair", "hat", "neck", "cloth", "background", "necklace", "earring"})
    assert set(CLASS_NAMES) >= FACE_CLASSES


@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_mean_face_is_covered_from_brows_to_chin_and_the_border_is_zero(size):
    mask = geometric_mask(size)
    assert mask.shape == (size, size)
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask.max() == pytest.approx(1)
    for x, y in np.round(template(size)).astype(int):
        assert mask[y, x] > 0.97
    assert mask[int(0.39 * size), int(0.37 * size)] > 0.9  # brow
    assert mask[int(0.88 * size), size // 2] > 0.5  # chin
    assert mask[int(0.08 * size), size // 2] < 0.05  # hair
    edge = int(0.02 * size)
    assert not mask[:edge].any()
    assert not mask[-edge:].any()
    assert not mask[:, :edge].any()
    assert not mask[:, -edge:].any()


@pytest.mark.parametrize("size", [64, 256, 512])
def test_the_feather_scales_with_the_face(size):
    """No step is steeper than a ramp over a share of the crop, so neither seam nor rectangle can show."""
    mask = geometric_mask(size)
    steps = max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max())
    assert steps < 18 / size
    small = geometric_mask(size // 2)
    reduced = mask.reshape(size // 2, 2, size // 2, 2).mean(axis=(1, 3))
    assert np.abs(small - reduced).max() < 0.05


def test_without_a_map_the_face_mask_of_a_mean_face_is_the_geometric_mask():
    assert np.abs(face_mask(aligned(template(256), 256)) - geometric_mask(256)).max() < 1e-3


def test_the_oval_follows_the_turn_of_the_head():
    points = template(256)
    turned = points.copy()
    turned[2, 0] += 20  # the nose points right: the right cheek is the far one
    mask, mean = face_mask(aligned(turned, 256)), geometric_mask(256)
    row = 145
    assert np.flatnonzero(mask[row] > 0.5)[-1] < np.flatnonzero(mean[row] > 0.5)[-1] - 8
    assert np.flatnonzero(mask[row] > 0.5)[0] < np.flatnonzero(mean[row] > 0.5)[0] - 8


def test_the_oval_follows_tilt_and_length_of_the_face():
    points = template(256)
    centre = points.mean(axis=0)
    angle = np.deg2rad(20)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilted = face_mask(aligned((points - centre) @ rotation.T + centre, 256))
    y, x = np.nonzero(tilted > 0.5)
    cov = np.cov(np.stack([x, y]))
    axis = np.linalg.eigh(cov)[1][:, 1]
    assert np.rad2deg(np.arctan2(-axis[0], axis[1])) % 180 == pytest.approx(20, abs=4)
    laughing = points.copy()
    laughing[3:, 1] += 15
    assert np.flatnonzero(face_mask(aligned(laughing, 256))[:, 128])[-1] > 240


@pytest.mark.parametrize("nose", [-300.0, 300.0])
def test_wild_landmarks_still_give_a_sound_mask(nose):
    points = template(256)
    points[2, 0] += nose
    for wild in (points, np.full((5, 2), 128.0), points * 4 - 300):
        mask = face_mask(aligned(wild, 256))
        assert np.isfinite(mask).all()
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert not mask[0].any()
        assert not mask[:, -1].any()


def test_landmarks_that_are_not_finite_are_refused():
    points = template(256)
    points[0, 0] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        face_mask(aligned(points, 256))


def test_a_parsing_map_lets_the_face_in_and_hair_and_cloth_out():
    labels = ids(
        256,
        skin=(0.2, 0.92, 0.25, 0.75),
        eyeglasses=(0.42, 0.52, 0.3, 0.7),
        hair=(0.05, 0.2, 0.1, 0.9),
        left_ear=(0.45, 0.6, 0.18, 0.25),
        cloth=(0.94, 1.0, 0.0, 1.0),
    )
    mask = face_mask(aligned(template(256), 256), labels)
    assert mask.dtype == np.float32
    assert mask[120, 128] > 0.99
    assert mask[135, 56] > 0.4  # ear
    assert mask[20, 128] < 0.01  # hair
    assert mask[248, 128] < 0.01  # cloth
    assert np.abs(np.diff(mask, axis=0)).max() < 0.12
    assert not mask[:5].any()


def test_the_classes_can_be_chosen():
    labels = ids(128, skin=(0.3, 0.9, 0.25, 0.75), hair=(0.1, 0.3, 0.2, 0.8))
    face = aligned(template(128), 128)
    with_hair = face_mask(face, labels, classes=FACE_CLASSES | {"hair"})
    assert with_hair[26, 64] > 0.5 > face_mask(face, labels)[26, 64]
    with pytest.raises(ConfigError, match="wig"):
        face_mask(face, labels, classes=frozenset({"wig"}))


def test_a_neighbour_in_the_crop_is_left_out():
    labels = ids(256, skin=(0.2, 0.92, 0.25, 0.75))
    labels[:, 232:] = CLASS_NAMES.index("skin")
    assert face_mask(aligned(template(256), 256), labels)[60, 240] < 0.05


def test_a_map_without_a_face_or_of_another_size_is_refused():
    face = aligned(template(128), 128)
    with pytest.raises(BackendError, match="0% of the face"):
        face_mask(face, np.full((128, 128), 13, np.uint8))
    with pytest.raises(ConfigError, match=r"\(128, 128\)"):
        face_mask(face, np.ones((64, 64), np.uint8))
    with pytest.raises(ConfigError, match="int64"):
        face_mask(face, np.ones((128, 128), np.int64))


@pytest.mark.parametrize("size", [64, 256])
def test_the_whole_mask_is_1_but_for_a_soft_border(size):
    mask = whole_mask(size)
    edge = int(0.1 * size)
    assert (mask[edge:-edge, edge:-edge] == 1).all()
    assert not mask[0].any()
    assert not mask[:, -1].any()
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 40 / size
    with pytest.raises(ConfigError, match="face size is 0"):
        whole_mask(0)


def test_a_map_has_found_the_face_when_there_is_face_in_its_oval():
    face = aligned(template(128), 128)
    assert face_is_parsed(face, ids(128, skin=(0.3, 0.9, 0.25, 0.75)))
    assert not face_is_parsed(face, ids(128, hair=(0.3, 0.9, 0.25, 0.75)))
    assert not face_is_parsed(face, ids(128, skin=(0.3, 0.9, 0.0, 0.1)))


def test_a_mask_of_hair_alone_asks_for_a_face_beside_it():
    face = aligned(template(128), 128)
    hair = ids(128, skin=(0.3, 0.9, 0.25, 0.75), hair=(0.1, 0.3, 0.2, 0.8))
    mask = face_mask(face, hair, classes=frozenset({"hair"}))
    assert mask[26, 64] > 0.9
    assert mask[80, 64] < 0.01


def test_ids_that_no_class_has_are_refused():
    with pytest.raises(ConfigError, match="id 200"):
        colour_map(np.full((8, 8), 200, np.uint8))
    assert (colour_map(np.full((8, 8), 13, np.uint8)) == PALETTE[13]).all()

"""The recipe of the landmark network: seeded samples, points that stay on the face, a network that learns."""

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from facerestore.alignment import template
from facerestore.archs import landmarks as archs
from facerestore.checkpoint import read_metadata
from facerestore.detection.embedded import EmbeddedDetector
from facerestore.detection.landmark_frame import CROP_SIZE, crop_template, from_units, to_units
from facerestore.errors import ConfigError
from facerestore.training.landmark_data import (
    LandmarkData,
    fractal_noise,
    make_sample,
    mine_negatives,
    mirror_points,
    prepare,
    teacher_landmarks,
)
from facerestore.training.landmarks import LandmarkTraining, landmark_loss, save_landmarks, train_landmarks
from facerestore.types import DetectedFace

SIDE = 256


class TemplateTeacher:
    """Finds the one face of a padded FFHQ crop at the template, which is symmetric to less than a pixel."""

    name = "template"

    def detect(self, image):
        side = round(image.shape[0] / 1.5)
        points = template(side) + round(side * 0.25)
        return [DetectedFace((0.0, 0.0, 1.0, 1.0), points.astype(np.float32), 1.0)]


class BlindTeacher:
    name = "blind"

    def detect(self, image):
        return []


@pytest.fixture(scope="module")
def data():
    """Pictures with a bright square at each point of the template: what is to be found is where it should be."""
    rng = np.random.default_rng(0)
    faces = np.stack([np.repeat(fractal_noise(SIDE, rng)[..., None] // 3, 3, axis=2) for _ in range(4)])
    for x, y in template(SIDE).round().astype(int):
        faces[:, y - 6 : y + 7, x - 6 : x + 7] = 255
    negatives = np.stack([fractal_noise(96, rng) for _ in range(3)])
    return LandmarkData(faces, np.repeat(template(SIDE)[None], 4, axis=0), negatives)


def test_a_sample_is_a_function_of_seed_epoch_and_index(data):
    first, again = make_sample(data, 1, 2, 3), make_sample(data, 1, 2, 3)
    assert np.array_equal(first.crop, again.crop)
    assert np.array_equal(first.points, again.points)
    others = [make_sample(data, *key) for key in ((2, 2, 3), (1, 3, 3), (1, 2, 7))]
    assert all(not np.array_equal(first.crop, other.crop) for other in others)


def test_samples_are_crops_with_points_on_the_face(data):
    samples = [make_sample(data, 0, 0, index) for index in range(80)]
    faces = [sample for sample in samples if sample.is_face]
    assert 30 < len(faces) < 66
    for sample in samples:
        assert sample.crop.shape == (CROP_SIZE, CROP_SIZE)
        assert sample.crop.dtype == np.float32
        assert 0 <= sample.crop.min() <= sample.crop.max() <= 1
    brighter = 0
    for sample in faces:
        points = from_units(sample.points).round().astype(int).clip(0, CROP_SIZE - 1)
        brighter += np.median(sample.crop[points[:, 1], points[:, 0]]) > sample.crop.mean()
        assert sample.points[0, 0] < sample.points[1, 0]
    assert brighter > 0.9 * len(faces)


def test_network_and_frame_agree_on_the_crop():
    assert archs.CROP_SIZE == CROP_SIZE


def test_mirroring_twice_changes_nothing_and_once_keeps_the_order():
    points = crop_template()
    mirrored = mirror_points(points, CROP_SIZE)
    assert mirrored[0, 0] < mirrored[1, 0]
    assert mirrored[3, 0] < mirrored[4, 0]
    assert np.allclose(mirror_points(mirrored, CROP_SIZE), points)
    assert np.allclose(from_units(to_units(points)), points, atol=1e-4)


def test_teacher_landmarks_are_averaged_in_the_frame_of_the_face(data):
    assert np.allclose(teacher_landmarks(data.faces[0], TemplateTeacher()), template(SIDE), atol=1)
    assert teacher_landmarks(data.faces[0], BlindTeacher()) is None


def test_prepare_reads_a_folder_and_refuses_one_without_faces(tmp_path, data):
    PillowImage.fromarray(data.faces[0]).save(tmp_path / "a.png")
    prepared = prepare(tmp_path, TemplateTeacher())
    assert prepared.faces.shape == (1, SIDE, SIDE, 3)
    assert np.allclose(prepared.landmarks[0], template(SIDE), atol=1)
    with pytest.raises(ConfigError, match="no face"):
        prepare(tmp_path, BlindTeacher())


def test_mined_negatives_are_square_crops_and_seeded(data):
    once, again = (mine_negatives(data.faces, np.random.default_rng(5)) for _ in range(2))
    assert once.shape[1:] == (96, 96)
    assert np.array_equal(once, again)


def test_training_learns_repeats_itself_and_its_weights_load(data, tmp_path):
    config = LandmarkTraining(steps=12, batch_size=16, warmup_steps=3, ema_decay=0.5)
    network, again = train_landmarks(config, data), train_landmarks(config, data)
    for one, other in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    torch.manual_seed(config.seed)
    samples = [make_sample(data, 99, 0, index) for index in range(32)]
    with torch.inference_mode():
        _, after, _ = landmark_loss(network, samples, config)
        _, before, _ = landmark_loss(type(network)().eval(), samples, config)
    assert after < 0.8 * before
    save_landmarks(network, tmp_path / "landmarks.safetensors", config)
    assert read_metadata(tmp_path / "landmarks.safetensors")["arch"] == "landmarks"
    assert EmbeddedDetector(tmp_path / "landmarks.safetensors").detect(np.zeros((80, 80, 3), np.uint8)) == []


def test_a_training_without_steps_is_refused():
    with pytest.raises(ConfigError, match="steps"):
        LandmarkTraining(steps=0)

"""The recipe of the landmark network: seeded samples, points that stay on the face, a network that learns."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from tiny_runs import drawn_plan, first_batch, gradients, scene_of, trained

from facerestore.archs import landmarks as archs
from facerestore.detection import DETECTORS
from facerestore.detection.embedded import EmbeddedDetector
from facerestore.detection.landmark_frame import CROP_SIZE, crop_template, from_units, to_units
from facerestore.errors import ConfigError, WeightsError
from facerestore.imaging.alignment import template
from facerestore.training.data.datasets import DataSettings
from facerestore.training.data.drawn import landmarks_file, write_drawn_faces
from facerestore.training.data.face_files import face_files
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import make_settings
from facerestore.training.export import export_run
from facerestore.training.plan import make_plan, samples_of
from facerestore.training.recipes.landmarks.data import (
    LandmarkData,
    by_labels,
    by_teacher,
    fractal_noise,
    make_sample,
    mine_negatives,
    mirror_points,
    prepare,
    teacher_landmarks,
)
from facerestore.types import DetectedFace
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import read_metadata

SIDE = 256


class TemplateTeacher:
    """Finds the one face of a padded FFHQ crop at the template, which is symmetric to less than a pixel."""

    name = "template"

    def detect(self, image):
        side = round(image.shape[0] / 1.5)
        points = template(side) + round(side * 0.25)
        return [DetectedFace((0.0, 0.0, 1.0, 1.0), points.astype(np.float32), 1.0)]


def propose(picture):
    """The template, half of it beside the face, and points that say nothing."""
    points = template(picture.shape[0])
    return np.stack([points, points / 3, np.zeros((5, 2))])


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


def test_faces_get_landmarks_of_a_teacher_or_of_a_file(tmp_path, data):
    files = picture_files(tmp_path, data)
    settings = make_settings(DataSettings, {"face_size": SIDE})
    prepared = prepare(files, settings, by_teacher(TemplateTeacher()), propose=propose)
    assert prepared.faces.shape == (2, SIDE, SIDE, 3)
    assert np.allclose(prepared.landmarks[0], template(SIDE), atol=1)
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"set/b": ((template(SIDE) + 0.5) / SIDE).tolist()}))
    labelled = prepare(
        files, make_settings(DataSettings, {"face_size": 128}), by_labels(labels), propose=propose
    )
    assert labelled.faces.shape == (1, 128, 128, 3)
    assert np.allclose(labelled.landmarks[0], template(128))


def test_faces_without_landmarks_are_refused(tmp_path, data):
    files, settings = picture_files(tmp_path, data), make_settings(DataSettings, {"face_size": SIDE})
    with pytest.raises(ConfigError, match="no landmarks for any of 2 faces"):
        prepare(files, settings, by_teacher(BlindTeacher()), propose=propose)


@pytest.mark.parametrize("text", ["{", "[]", '{"set/a": [[0.1, 0.2]]}', '{"set/a": "here"}', '{"set/a": 3}'])
def test_labels_that_are_none_are_named(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"labels.json' cannot be read"):
        by_labels(path)


def test_mined_negatives_are_square_crops_and_seeded(data):
    once, again = (mine_negatives(data.faces, np.random.default_rng(5), propose) for _ in range(2))
    # Two of each of two pictures without a face, and of each face the one proposal that is beside it.
    assert once.shape == (5 * len(data.faces), 96, 96)
    assert np.array_equal(once, again)


def test_training_learns_and_the_detector_takes_its_export(tmp_path):
    plan = landmarks_plan(tmp_path, "engine.steps=10", "engine.schedule='constant'")
    run = tmp_path / "run"
    trained(plan, run)
    judged = [record for record in RunFolder(run).records() if "points_error" in record]
    assert judged[-1]["points_error"] < 0.9 * judged[0]["points_error"]
    assert 0 <= judged[-1]["score_accuracy"] <= 1
    assert (run / "samples" / "step_00000010.png").exists()
    out = tmp_path / "landmarks.safetensors"
    export_run(run, out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["arch"] == "landmarks"
    detector = WeightsStore().require(DETECTORS["embedded"])
    assert EmbeddedDetector(detector, out).detect(np.zeros((80, 80, 3), np.uint8)) == []


def test_the_loss_reaches_every_parameter_and_asks_no_points_of_what_is_no_face(tmp_path):
    torch.manual_seed(0)
    plan = landmarks_plan(tmp_path)
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    batch = first_batch(plan, size=8)
    terms, found = gradients(plan, networks, scene_of(plan, networks, batch), phase)
    assert terms.keys() == {"points", "score"}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    assert all(gradient.abs().sum() > 0 for gradient in found.values())
    faceless = {**batch, "is_face": torch.zeros(8)}
    terms, found = gradients(plan, networks, scene_of(plan, networks, faceless), phase)
    assert terms["points"] == 0
    assert found["detector.points.weight"].abs().sum() == 0


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        ("nowhere.onnx", ConfigError, "'nowhere.onnx' is not there"),
        ("retinaface", ConfigError, "neither 'yunet.2023mar' nor an ONNX file"),
        ("yunet.2023mar", WeightsError, "facerestore weights download yunet.2023mar"),
    ],
)
def test_a_teacher_that_is_not_there_is_named(tmp_path, teacher, error, message):
    faces, _ = write_drawn_faces(tmp_path, count=2, face_size=64)
    plan = make_plan("landmarks", faces=faces, assignments=[f"recipe.teacher={teacher}"], smoke=True)
    with pytest.raises(error, match=message):
        samples_of(plan)


def landmarks_plan(folder, *assignments):
    """Return a tiny run on drawn faces, whose landmarks are known."""
    labels = landmarks_file(folder / "drawn")
    given = (
        "engine.validate_every=5",
        "engine.batch_size=8",
        f"data.landmarks={str(labels)!r}",
        *assignments,
    )
    return drawn_plan("landmarks", folder, *given)


def picture_files(folder, data):
    """Write two faces and return them as files."""
    (folder / "set").mkdir()
    for name, face in zip("ab", data.faces, strict=False):
        PillowImage.fromarray(face).save(folder / "set" / f"{name}.png")
    return face_files(folder)

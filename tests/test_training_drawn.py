"""Drawn faces: their maps and landmarks are where their parts are."""

import json

import numpy as np
import pytest
from PIL import Image

from facerestore.face_parts import CLASS_NAMES
from facerestore.training.data.drawn import drawn_face, drawn_landmarks, landmarks_file, write_drawn_faces

IDS = {name: index for index, name in enumerate(CLASS_NAMES)}


@pytest.mark.parametrize("size", [64, 256])
def test_landmarks_lie_on_the_drawn_parts(size):
    for seed in range(5):
        face, labels = drawn_face(size, np.random.default_rng(seed))
        assert face.shape == (size, size, 3)
        points = drawn_landmarks(size, np.random.default_rng(seed)).round().astype(int)
        left, right, nose, *corners = (labels[y, x] for x, y in points)
        assert (left, right, nose) == (IDS["left_eye"], IDS["right_eye"], IDS["nose"])
        assert all(corner in {IDS["upper_lip"], IDS["lower_lip"], IDS["skin"]} for corner in corners)
        lips = np.isin(labels, [IDS["upper_lip"], IDS["lower_lip"]]).nonzero()[1]
        assert abs(points[3, 0] - lips.min()) <= size / 100 + 1
        assert abs(points[4, 0] - lips.max()) <= size / 100 + 1


def test_files_are_whole_and_the_same_every_time(tmp_path):
    faces, maps = write_drawn_faces(tmp_path, count=2, face_size=32)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_drawn_faces(tmp_path, count=2, face_size=32)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in faces.rglob("*.png")) == ["0000.png", "0001.png"]
    with Image.open(maps / "drawn" / "0001.png") as picture:
        assert picture.mode == "L"
    labels = json.loads(landmarks_file(tmp_path).read_text())
    assert labels.keys() == {"drawn/0000", "drawn/0001"}
    assert np.shape(labels["drawn/0000"]) == (5, 2)
    assert 0 < np.min(labels["drawn/0000"]) < np.max(labels["drawn/0000"]) < 1

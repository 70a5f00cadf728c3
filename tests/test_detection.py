"""Detection: anchors and suppression, ONNX shapes, the three detectors on photographs, or on drawn ones without any."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import BUNDLED_DETECTOR, YUNET, shared_root
from fakes import trial_photo
from golden import golden_arrays
from PIL import Image as PillowImage

from facerestore.detection import DETECTORS, create_detector
from facerestore.detection.anchors import anchors, decode_boxes, decode_points
from facerestore.detection.candidates import candidates
from facerestore.detection.frames import reduce_for_detection, suppress_overlaps, to_image_frame
from facerestore.detection.onnx_shape import with_input_shape
from facerestore.detection.retinaface import (
    FACEXLIB_MIN_SIZES,
    RetinaFaceConfig,
)
from facerestore.errors import CheckpointError, ConfigError, ImageError, WeightsError
from facerestore.imaging.alignment import invert_affine


def read(path):
    with PillowImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def pictures_in(folder, drawn):
    """Return photographs of the shared fixtures; those that are drawn where the folder is absent."""
    there = shared_root() / folder
    return {path.name: read(path) for path in sorted(there.iterdir())} if there.is_dir() else drawn


def drawn_faces(size=200):
    """Return faces on larger canvases."""
    faces = {f"drawn {which}": trial_photo(which, size) for which in range(3)}
    return {name: np.pad(face, ((40, 60), (80, 20), (0, 0)), mode="edge") for name, face in faces.items()}


def test_retinaface_post_processing_matches_the_official_one():
    golden = golden_arrays("retinaface_post")
    priors = anchors(70, 90, FACEXLIB_MIN_SIZES)
    boxes = decode_boxes(golden["in.loc"], priors)
    assert np.allclose(priors, golden["priors_h70_w90"], atol=1e-5)
    assert np.allclose(boxes, golden["out.boxes_norm"], atol=1e-5)
    assert np.allclose(
        decode_points(golden["in.landm"], priors).reshape(-1, 10), golden["out.landm_norm"], atol=1e-5
    )
    kept = suppress_overlaps(boxes * (90, 70, 90, 70), golden["in.score"], 0.4, pixel=1.0)
    assert kept.tolist() == golden["out.nms_keep_0.4"].tolist()


def test_suppression_keeps_the_best_of_an_overlap_and_all_apart():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]], dtype=float)
    assert suppress_overlaps(boxes, np.array([0.5, 0.9, 0.7]), 0.3).tolist() == [1, 2]
    assert suppress_overlaps(np.empty((0, 4)), np.empty(0), 0.3).tolist() == []


def test_faces_return_to_the_image_by_pixel_centres():
    image = np.zeros((300, 600, 3), np.uint8)
    image[120:130, 400:410] = 255
    reduced = reduce_for_detection(image, 60)
    assert reduced.pixels.shape == (30, 60, 3)
    y, x = (axis.mean() for axis in np.nonzero(reduced.pixels[..., 0]))
    to_image = invert_affine(reduced.affine)
    face = to_image_frame(np.array([x, y, x, y]), np.full((5, 2), (x, y)), 1.2, to_image)
    assert np.allclose(face.landmarks, (404.5, 124.5))
    assert np.allclose(face.box, (404.5, 124.5, 404.5, 124.5))
    assert face.score == 1.0


def test_small_images_are_not_enlarged_and_16_bit_becomes_8():
    image = np.full((3, 5), 65535, dtype=np.uint16)
    reduced = reduce_for_detection(image, 60)
    assert reduced.scale == (1.0, 1.0)
    assert reduced.pixels.shape == (3, 5, 3)
    assert (reduced.pixels == 255).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ImageError):
        reduce_for_detection(image, 60)


def test_onnx_input_shape_is_replaced(shared):
    model = shared(YUNET).read_bytes()
    once = with_input_shape(model, (1, 3, 64, 96))
    assert once != model
    assert with_input_shape(once, (1, 3, 64, 96)) == once


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 40])
def test_foreign_and_cut_onnx_files_are_refused(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        create_detector("yunet", weights_for=lambda name: path)


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match="absent"):
        create_detector("yunet", weights_for=lambda name: tmp_path / "absent.onnx")
    for name in ("embedded", "retinaface-mobile0.25"):
        with pytest.raises(WeightsError, match="absent"):
            create_detector(name, weights_for=lambda _: tmp_path / "absent.safetensors")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="embedded, yunet"):
        create_detector("mtcnn", weights_for=lambda name: Path(name))
    with pytest.raises(ConfigError, match="resnet50"):
        RetinaFaceConfig("resnet18")


def test_foreign_checkpoint_does_not_fit(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    for name in ("embedded", "retinaface-mobile0.25"):
        with pytest.raises(CheckpointError, match="missing"):
            create_detector(name, weights_for=lambda _: path)


def test_every_detector_names_its_weights():
    assert set(DETECTORS) == {"embedded", "yunet", "retinaface-resnet50", "retinaface-mobile0.25"}


def test_faces_are_found_with_landmarks_in_place(detector):
    for name, image in pictures_in("photos/cropped", drawn_faces()).items():
        faces = detector.detect(image)
        assert len(faces) == 1, name
        eyes, nose, mouth = faces[0].landmarks[:2], faces[0].landmarks[2], faces[0].landmarks[3:]
        assert eyes[0, 0] < nose[0] < eyes[1, 0]
        assert mouth[0, 0] < mouth[1, 0]
        assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
        left, top, right, bottom = faces[0].box
        assert left < eyes[0, 0] < eyes[1, 0] < right
        assert top < nose[1] < bottom
        assert 0 < faces[0].score <= 1


def test_depth_grey_and_repetition_change_nothing(detector):
    image = pictures_in("photos/small", {"anna.jpg": drawn_faces()["drawn 0"]})["anna.jpg"]
    first, again = detector.detect(image), detector.detect(image)
    assert len(first) == 1
    assert np.array_equal(first[0].landmarks, again[0].landmarks)
    deep = detector.detect(image.astype(np.uint16) * 257)
    assert np.allclose(deep[0].landmarks, first[0].landmarks, atol=0.05)
    grey = detector.detect(image.mean(axis=2).astype(np.uint8))
    assert np.abs(grey[0].landmarks - first[0].landmarks).max() < 0.1 * first[0].eye_distance_px


def test_tiny_and_thin_images_hold_no_face(detector):
    for shape in ((1, 1, 3), (7, 5, 3), (1, 300, 3), (300, 2, 3)):
        assert detector.detect(np.full(shape, 90, np.uint8)) == [], shape


def test_threads_share_a_detector(detector):
    images = list(pictures_in("photos/small", drawn_faces()).values())[:4]
    alone = [detector.detect(image) for image in images]
    found = [None] * len(images)

    def work(i):
        found[i] = detector.detect(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, found, strict=True):
        assert [face.landmarks.tolist() for face in one] == [face.landmarks.tolist() for face in other]


def test_no_face_is_reported_where_there_is_none(detector):
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    stripes = np.repeat(np.uint8(127 + 80 * np.sin(x / 9) * np.cos(y / 13))[..., None], 3, axis=2)
    noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    for name, image in pictures_in("photos/no_face", {"stripes": stripes, "noise": noise}).items():
        assert detector.detect(image) == [], name


def test_the_file_of_a_trained_network_is_a_detector(embedded):
    image = trial_photo()
    path = str(BUNDLED_DETECTOR["finder.five-point"])
    named = create_detector(path, weights_for=BUNDLED_DETECTOR.__getitem__)
    assert named.detect(image)[0].box == embedded.detect(image)[0].box


def test_a_landmark_network_is_no_detector():
    path = str(BUNDLED_DETECTOR["landmarks.five-point"])
    with pytest.raises(
        CheckpointError, match=r"landmarks_five_point.*landmark network.*facerestore train finder"
    ):
        create_detector(path, weights_for=BUNDLED_DETECTOR.__getitem__)


def test_a_face_is_found_whether_it_fills_the_photo_or_is_small_in_it(embedded):
    image = trial_photo()
    (face,) = embedded.detect(image)
    for side, canvas_side in ((48, 1000), (1500, 1500)):
        scaled = cv2.resize(
            image, (side, side), interpolation=cv2.INTER_AREA if side < 512 else cv2.INTER_CUBIC
        )
        canvas = np.full((canvas_side, canvas_side, 3), 128, np.uint8)
        canvas[:side, :side] = scaled
        (found,) = embedded.detect(canvas)
        away = np.abs(found.landmarks - face.landmarks * (side / 512)).max()
        assert away < 0.2 * found.eye_distance_px


def test_of_cells_below_the_bar_the_best_are_taken_and_of_equal_ones_the_first():
    cells = np.random.default_rng(0).normal(-3, 1, (16 * 16 + 8 * 8 + 4 * 4 + 2 * 2, 15)).astype(np.float32)
    cells[[40, 77], 0] = cells[:, 0].max() + 1
    one, three = (candidates(cells, (128, 128), 0.99, at_least=count) for count in (1, 3))
    assert len(one.scores) == 1
    assert np.array_equal(one.boxes[0], three.boxes[0])
    assert np.array_equal(one.points[0], three.points[0])

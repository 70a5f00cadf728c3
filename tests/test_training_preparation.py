"""From photos to faces: cut in the right size, screened with reasons, split for good, and never done twice."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from facerestore.errors import ConfigError, ImageError, WeightsError
from facerestore.imaging.alignment import template
from facerestore.pictures.contact_sheet import Group, Tile, contact_sheet
from facerestore.training.data.datasets import face_files
from facerestore.training.data.drawn import drawn_face
from facerestore.training.data.preparation import FacePreparation, Preparation, pack_faces, split_of
from facerestore.training.data.screening import Screening, Seen, fault, fingerprint, measure, sides_of, turn
from facerestore.training.engine.settings import make_settings
from facerestore.types import DecodedImage, DetectedFace, Metadata

MARGIN = 40


def photo_of(*faces, margin=MARGIN):
    """Return a photo with square faces side by side in grey."""
    height = max(face.shape[0] for face in faces) + 2 * margin
    padded = [
        cv2.copyMakeBorder(f, margin, height - margin - f.shape[0], margin, margin, cv2.BORDER_REPLICATE)
        for f in faces
    ]
    return np.concatenate(padded, axis=1)


def face_of(seed, side=160):
    return drawn_face(side, np.random.default_rng(seed))[0]


class Places:
    """A detector that knows the faces of photos by the photos' width."""

    name = "places"

    def __init__(self):
        self.known = {}
        self.seen = 0

    def add(self, photo, *sides, margin=MARGIN):
        """Say which faces a photo has, left to right."""
        found, left = [], 0
        for side in sides:
            points = template(side) + np.array([left + margin, margin])
            found.append(DetectedFace((left, 0.0, left + side, float(side)), points.astype(np.float32), 0.9))
            left += side + 2 * margin
        self.known[photo.shape[1]] = found
        return photo

    def detect(self, image):
        self.seen += 1
        if image.shape[1] == 666:
            raise RuntimeError("out of luck")
        return list(self.known.get(image.shape[1], []))


def settings(**screening):
    values = {
        "smallest_px": 64,
        "largest_px": 128,
        "max_blur_px": 9.0,
        "max_noise": 99.0,
        "max_blockiness": 9.0,
        "duplicate_bits": 0,
    }
    return make_settings(Preparation, {"screening": {**values, **screening}, "val_share": 0.3})


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def run(photos, out, detector, chosen=None):
    work = FacePreparation(photos, out, detector, chosen or settings())
    for photo in work.todo:
        work.do(photo)
    return work.finish()


def album(root):
    """Return a detector, after writing photos of every kind below ``root``."""
    detector = Places()
    save(root / "a" / "one.png", detector.add(photo_of(face_of(1)), 160))
    save(root / "a" / "two.png", detector.add(photo_of(face_of(2), face_of(3, 100)), 160, 100))
    save(root / "b" / "deep" / "three.png", detector.add(photo_of(face_of(4, 90)), 90))
    save(root / "top.png", detector.add(photo_of(face_of(5, 200)), 200))
    save(root / "b" / "small.png", detector.add(photo_of(face_of(6, 50)), 50))
    save(root / "empty.png", np.zeros((50, 333, 3), np.uint8))
    (root / "a" / "broken.png").write_bytes(b"no picture")
    save(root / "a" / "unlucky.png", np.zeros((50, 666, 3), np.uint8))
    return detector


def test_an_album_becomes_faces_and_says_what_became_of_every_photo(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    detector = album(photos)
    prepared = run(photos, out, detector)
    kept = {(face.set_name, face.name): face.measures.side_px for face in prepared.kept}
    assert kept == {
        ("a", "one"): 128,
        ("a", "two_face0"): 128,
        ("a", "two_face1"): 64,
        ("b", "deep_three"): 64,
        ("photos", "top"): 128,
    }
    assert prepared.dropped == {"small": 1}
    assert {row.photo: row.error for row in prepared.failed}.keys() == {"a/broken.png", "a/unlucky.png"}
    assert any(row.error == "RuntimeError: out of luck" for row in prepared.failed)
    for face in prepared.kept:
        pixels = np.asarray(Image.open(out / face.split / face.set_name / f"{face.name}.png"))
        assert pixels.shape == (face.measures.side_px, face.measures.side_px, 3)
        assert face.split == split_of(face.set_name, face.name.split("_face")[0], 0.3)
    # The crop is the face that was drawn, in its frame.
    crop = np.asarray(Image.open(next(out.glob("*/photos/top.png")))).astype(float)
    expected = cv2.resize(face_of(5, 200), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(crop - expected).mean() < 3


def test_the_manifest_and_the_sheet_say_why(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    prepared = run(photos, out, album(photos))
    rows = list(csv.DictReader(io.StringIO((out / "manifest.csv").read_text())))
    assert len(rows) == 6 + 1 + 2  # faces, the photo without one, and those that failed
    reasons = {row["photo"]: row["reason"] for row in rows}
    assert reasons["b/small.png"] == "small"
    assert reasons["empty.png"] == "no face"
    assert reasons["a/broken.png"] == "error"
    small = next(row for row in rows if row["reason"] == "small")
    assert small["detail"] == "50.0 px of 64"
    assert small["side_px"] == "0"
    assert prepared.sheet == out / "dropped.jpg"
    assert (out / "dropped" / "small" / "b" / "small.jpg").exists()
    assert not (out / "train" / "b" / "small.png").exists()


def test_work_that_was_broken_off_ends_as_if_it_had_not_been(tmp_path):
    photos = tmp_path / "photos"
    detector = album(photos)
    run(photos, tmp_path / "whole", detector)
    work = FacePreparation(photos, tmp_path / "broken", detector, settings())
    for photo in work.todo[:3]:
        work.do(photo)
    journal = tmp_path / "broken" / "prepare.jsonl"
    with journal.open("a") as stream:
        stream.write('{"photo": "torn off in the mid')
    before = detector.seen
    run(photos, tmp_path / "broken", detector)
    assert detector.seen - before < 7  # photos that are done are not looked at again
    names = [
        sorted(str(p.relative_to(tmp_path / run_)) for p in (tmp_path / run_).rglob("*.*"))
        for run_ in ("whole", "broken")
    ]
    assert names[0] == names[1]
    manifests = [(tmp_path / name / "manifest.csv").read_text() for name in ("whole", "broken")]
    assert manifests[0] == manifests[1]


def test_photos_that_failed_are_tried_again_and_new_ones_are_added(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    detector = album(photos)
    before = {face.name: face.split for face in run(photos, out, detector).kept}
    save(photos / "a" / "broken.png", detector.add(photo_of(face_of(9, 170)), 170))
    save(photos / "c" / "new.png", detector.add(photo_of(face_of(8, 150)), 150))
    work = FacePreparation(photos, out, detector, settings())
    assert set(work.todo) == {"a/broken.png", "a/unlucky.png", "c/new.png"}
    after = {face.name: face.split for face in run(photos, out, detector).kept}
    assert after.items() >= before.items()
    assert {"broken", "new"} <= after.keys()


def test_other_settings_and_a_foreign_journal_are_refused(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    detector = album(photos)
    run(photos, out, detector)
    with pytest.raises(ConfigError, match=r"other settings \(max_turn was 0.4 and is 0.2\)"):
        run(photos, out, detector, settings(max_turn=0.2))
    (out / "prepare.jsonl").write_text("nothing of ours\n")
    with pytest.raises(ConfigError, match=r"cannot be read .* remove it to begin anew"):
        run(photos, out, detector)


def test_missing_weights_stop_the_work(tmp_path):
    class Without(Places):
        def detect(self, image):
            raise WeightsError("not installed")

    save(tmp_path / "p" / "a.png", photo_of(face_of(1)))
    with pytest.raises(WeightsError):
        run(tmp_path / "p", tmp_path / "o", Without())


def test_photos_within_the_output_are_refused(tmp_path):
    save(tmp_path / "a.png", photo_of(face_of(1)))
    with pytest.raises(ConfigError, match=r"lie in the folder of the faces .* give another OUT"):
        FacePreparation(tmp_path, tmp_path, Places(), settings())


def test_a_folder_without_photos_is_refused_and_the_output_is_not_taken_for_input(tmp_path):
    with pytest.raises(ConfigError, match="no photo in"):
        FacePreparation(tmp_path, tmp_path / "out", Places(), settings())
    with pytest.raises(ImageError, match="no such folder"):
        FacePreparation(tmp_path / "nowhere", tmp_path / "out", Places(), settings())
    detector = Places()
    save(tmp_path / "one.png", detector.add(photo_of(face_of(1)), 160))
    run(tmp_path, tmp_path / "out", detector)
    assert FacePreparation(tmp_path, tmp_path / "out", detector, settings()).todo == []


def test_names_stay_apart(tmp_path):
    detector = Places()
    photo = detector.add(photo_of(face_of(1), face_of(2)), 160, 160)
    single = detector.add(photo_of(face_of(3, 130)), 130)
    save(tmp_path / "p" / "s" / "a.png", photo)
    save(tmp_path / "p" / "s" / "a.bmp", detector.add(photo_of(face_of(4, 140)), 140))
    save(tmp_path / "p" / "s" / "a_face0.png", single)
    save(tmp_path / "p" / "s" / "b.c.png", detector.add(photo_of(face_of(5, 150)), 150))
    prepared = run(tmp_path / "p", tmp_path / "o", detector)
    names = [face.name for face in prepared.kept]
    assert len(names) == len(set(names)) == 5
    assert "b_c" in names  # names in shards end at their first dot


def test_faces_move_into_shards_and_stay_the_same(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    detector = album(photos)
    prepared = run(photos, out, detector)
    loose = {(f.set_name, f.name): f.path.read_bytes() for s in ("train", "val") for f in face_files(out / s)}
    shards = list(pack_faces(out, prepared, max_bytes=30_000))
    assert len(shards) > 2
    assert {path.suffix for path in out.glob("train/*")} == {".tar"}
    packed = [f for s in ("train", "val") for f in face_files(out / s)]
    assert {(f.set_name, f.name): f.in_shard.face.read(f.path) for f in packed} == loose
    # Broken off between a shard and the removal of its pictures: nothing is packed twice.
    first = packed[0]
    save(out / first.path.parent.name / first.set_name / f"{first.name}.png", np.zeros((64, 64, 3), np.uint8))
    assert list(pack_faces(out, run(photos, out, detector), max_bytes=30_000)) == []
    assert not list(out.glob("*/*/*.png"))


def measured(face, side=160, *, chosen=None, points=None, image=None):
    photo = photo_of(face)
    points = template(side) + MARGIN if points is None else points
    detected = DetectedFace((0.0, 0.0, 1.0, 1.0), points.astype(np.float32), 1.0)
    return measure(image or DecodedImage(photo), detected, chosen or settings().screening)


def test_crops_are_as_large_as_the_photo_allows_and_never_enlarged():
    chosen = Screening(largest_px=512, smallest_px=128)
    assert sides_of(chosen) == (512, 384, 288, 256, 192, 128)
    for side, expected in ((160, 128), (192, 192), (300, 288), (600, 512), (120, 0)):
        measures, crop = measured(face_of(1, side), side, chosen=chosen)
        assert measures.side_px == expected
        assert measures.resolved_px == pytest.approx(side, rel=0.002)
        assert crop.shape[0] == (expected or 128)
    with pytest.raises(ConfigError, match="turn them round"):
        sides_of(Screening(largest_px=128, smallest_px=256))


def test_each_fault_is_found():
    screening = Screening(largest_px=128, smallest_px=64)
    rng = np.random.default_rng(0)
    face = cv2.GaussianBlur(face_of(1, 128), (0, 0), 0.5)
    noisy = np.clip(face + rng.normal(0, 25, face.shape), 0, 255).astype(np.uint8)
    cases = {
        "": face,
        "blurred": cv2.GaussianBlur(face, (0, 0), 4),
        "noisy": noisy,
    }
    for reason, picture in cases.items():
        measures, _ = measured(picture, 128)
        assert fault(measures, screening, Seen(0))[0] == reason, (reason, measures)
    points = template(128) + MARGIN
    beside = points + np.array([60, 0])
    assert fault(measured(face, 128, points=beside)[0], screening, Seen(0))[0] == "cut"
    points[2] += np.array([25, 0])
    assert fault(measured(face, 128, points=points)[0], screening, Seen(0))[0] == "turned"


def test_turn_is_measured_along_the_eyes():
    points = np.array([[10, 10], [30, 10], [24, 22], [12, 30], [28, 30]], np.float32)
    turned = turn(DetectedFace((0, 0, 1, 1), points, 1.0))
    assert turned == pytest.approx(4 / 20)
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert turn(DetectedFace((0, 0, 1, 1), (points @ rotation.T).astype(np.float32), 1.0)) == pytest.approx(
        turned
    )


def test_the_same_picture_again_is_a_duplicate_and_another_face_is_not(tmp_path):
    detector = Places()
    face = face_of(1)
    again = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    dimmed = (cv2.resize(again, (140, 140), interpolation=cv2.INTER_AREA) * 0.9).astype(np.uint8)
    save(tmp_path / "p" / "1.png", detector.add(photo_of(face), 160))
    save(tmp_path / "p" / "2.png", detector.add(photo_of(dimmed), 140))
    save(tmp_path / "p" / "3.png", detector.add(photo_of(face_of(2, 130)), 130))
    prepared = run(tmp_path / "p", tmp_path / "o", detector, settings(duplicate_bits=30))
    assert [face.name for face in prepared.kept] == ["1", "3"]
    assert prepared.dropped == {"duplicate": 1}
    assert prepared.photos[1].faces[0].detail == "of p/1"


def test_many_faces_are_remembered():
    seen = Seen(0)
    prints = [np.random.default_rng(k).bytes(32).hex() for k in range(1500)]
    for number, own in enumerate(prints):
        assert seen.same_as(own) is None
        seen.add(str(number), own)
    assert seen.same_as(prints[1400]) == "1400"
    assert len(fingerprint(face_of(1))) == 64


def test_crops_come_in_srgb():
    profile = ImageCms.createProfile("LAB")  # none that fits RGB: the crop stays as it is
    face = face_of(1)
    plain = measured(face)[1]
    for icc in (b"no profile", ImageCms.ImageCmsProfile(profile).tobytes()):
        image = DecodedImage(photo_of(face), metadata=Metadata(icc=icc))
        assert np.array_equal(measured(face, image=image)[1], plain)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = DecodedImage(photo_of(face), metadata=Metadata(icc=srgb))
    assert np.abs(measured(face, image=image)[1].astype(int) - plain).max() <= 1


def test_splits_are_by_name_and_in_proportion():
    splits = [split_of("a", str(number), 0.2) for number in range(2000)]
    assert splits == [split_of("a", str(number), 0.2) for number in range(2000)]
    assert 0.17 < np.mean([split == "val" for split in splits]) < 0.23
    assert {split_of("a", str(number), 0.0) for number in range(50)} == {"train"}
    assert {split_of("a", str(number), 1.0) for number in range(50)} == {"val"}


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    photos, out = tmp_path / "photos", tmp_path / "out"
    detector = album(photos)
    work = FacePreparation(photos, out, detector, settings())
    import facerestore.io as files

    def full(*_, **__):
        raise ImageError("x.png: cannot be written (No space left on device); choose another place")

    monkeypatch.setattr(files, "write_parts", full)
    with pytest.raises(ImageError, match="No space left"):
        work.do("a/one.png")


def test_a_sheet_holds_every_tile_and_wraps_long_names():
    tile = Tile(np.full((20, 20, 3), 7, np.uint8), "a rather long line of words\n" + "x" * 80)
    sheet = contact_sheet([Group("one", [tile] * 5), Group("Zoë", [tile])], columns=3, tile_px=64)
    assert sheet.shape[1] == 3 * (64 + 12) + 12
    assert (sheet == 7).all(axis=2).sum() == 6 * 64 * 64


def test_the_journal_is_plain_json(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    run(photos, out, album(photos))
    lines = [json.loads(line) for line in (out / "prepare.jsonl").read_text().splitlines()]
    assert lines[0]["detector"] == "places"
    assert len(lines) == 1 + 8

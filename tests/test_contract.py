"""The contract finds each fault that it is meant to find, and names no fault where there is none."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from facerestore.backends.base import TensorRestorer, checked_crop
from facerestore.blending import whole_face
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError
from facerestore.face_parts import CLASS_NAMES
from facerestore.pipeline.choose import choose
from facerestore.pipeline.load import load_restorer
from facerestore.pixels import resize_face
from facerestore.testing.contract import CHECKS, Verdict, check_restorer
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.weights import WeightsStore

PASSED, FAILED, UNCLEAR = Verdict.PASSED, Verdict.FAILED, Verdict.UNCLEAR


class Plain:
    """A restorer of no base class that keeps the contract: it adds a little contrast."""

    name = "plain"
    face_size = 48
    needs_parsing = False

    def restore(self, faces, parsing_maps=None):
        crops = [resize_face(checked_crop(face, self.name), self.face_size) for face in faces]
        return [self.change(crop) for crop in crops]

    def change(self, crop):
        return np.clip(1.1 * crop - 0.05, 0, 1).astype(np.float32)


def changed(change):
    """Return a restorer that makes ``change(crop)`` of a crop."""
    restorer = Plain()
    restorer.change = change
    return restorer


def verdicts(restorer, **options):
    return {found.name: found.verdict for found in check_restorer(restorer, **options)}


def faults(restorer, **options):
    return {f.name: f for f in check_restorer(restorer, **options) if f.verdict is FAILED}


def test_a_sound_restorer_passes_every_clause():
    found = verdicts(Plain())
    assert set(found) == {"protocol", "restores", "form", *CHECKS}
    assert set(found.values()) == {PASSED}


def test_every_failure_says_what_was_measured_and_what_to_do():
    for restorer in (changed(lambda crop: crop[..., ::-1]), changed(lambda crop: crop * 255), object()):
        failures = faults(restorer).values()
        assert failures
        assert all(failure.measured and failure.remedy for failure in failures)


CHANGES = {
    "double precision": (lambda crop: crop.astype(np.float64), {"form"}),
    "8-bit": (lambda crop: np.rint(255 * crop).astype(np.uint8), {"form"}),
    "another size": (lambda crop: crop[:24, :24], {"form"}),
    "channels first": (lambda crop: crop.transpose(2, 0, 1), {"form"}),
    "a list": (lambda crop: crop.tolist(), {"form"}),
    "0 to 255": (lambda crop: crop * np.float32(255), {"values", "tone"}),
    "beyond the range": (lambda crop: np.float32(1.2) * crop - np.float32(0.1), {"values"}),
    "blue first": (lambda crop: crop[..., ::-1].copy(), {"colour"}),
    "green first": (lambda crop: crop[..., [1, 0, 2]], {"colour"}),
    "output taken for [0, 1]": (lambda crop: np.clip(2 * crop - 1, 0, 1), {"tone"}),
    "input taken for [-1, 1]": (lambda crop: (crop + 1) / 2, {"tone"}),
    "divided by 255": (lambda crop: crop / np.float32(255), {"tone"}),
    "negative": (lambda crop: 1 - crop, {"tone"}),
    "black": (np.zeros_like, {"tone"}),
    "mirrored": (lambda crop: crop[:, ::-1].copy(), {"place"}),
    "transposed": (lambda crop: crop.transpose(1, 0, 2).copy(), {"place"}),
    "a view of the crop": (lambda crop: crop, set()),  # checked_crop gives a copy
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_picture_is_found(name):
    change, expected = CHANGES[name]
    assert set(faults(changed(change))) == expected


def test_exchanged_channels_are_named():
    finding = faults(changed(lambda crop: crop[..., ::-1].copy()))["colour"]
    assert finding.measured.endswith("1.00 as BGR")
    assert finding.remedy == "give the network RGB, and return RGB"


def test_a_picture_that_does_not_follow_the_crop_tells_nothing():
    noise = np.random.default_rng(0).random((48, 48, 3), dtype=np.float32)
    found = verdicts(changed(lambda crop: noise.copy()))
    assert [found[name] for name in ("tone", "place", "colour")] == [UNCLEAR] * 3
    assert FAILED not in found.values()


def test_a_grey_result_does_not_tell_the_order_of_channels():
    found = verdicts(changed(lambda crop: np.repeat(crop.mean(axis=2, keepdims=True), 3, axis=2)))
    assert found["colour"] is UNCLEAR
    assert found["tone"] is PASSED


def test_random_weights_are_not_blamed_for_their_picture():
    black = changed(np.zeros_like)
    assert verdicts(black)["tone"] is FAILED
    assert verdicts(black, random_weights=True)["tone"] is UNCLEAR
    wrong = changed(lambda crop: crop - np.float32(1))
    assert verdicts(wrong, random_weights=True)["values"] is FAILED


class Noisy(Plain):
    def __init__(self):
        self.random = np.random.default_rng(0)

    def change(self, crop):
        return np.clip(crop + self.random.normal(0, 0.02, crop.shape), 0, 1).astype(np.float32)


class BatchMean(Plain):
    """Takes the mean of its batch, as a normalisation left in training mode does."""

    def restore(self, faces, parsing_maps=None):
        crops = super().restore(faces)
        return [np.clip(crop - np.mean(crops) + 0.4, 0, 1).astype(np.float32) for crop in crops]


class Reversed(Plain):
    def restore(self, faces, parsing_maps=None):
        return super().restore(faces)[::-1]


class InPlace(Plain):
    def restore(self, faces, parsing_maps=None):
        restored = super().restore(faces)
        for face in faces:
            face.lq[:] *= 0.999
        return restored


class OwnCrop(Plain):
    def restore(self, faces, parsing_maps=None):
        super().restore(faces)
        return [face.lq if len(face.lq) == self.face_size else resize_face(face.lq, 48) for face in faces]


class Careless(Plain):
    """Checks nothing, as most code found in the wild."""

    def restore(self, faces, parsing_maps=None):
        return [np.clip(face.lq, 0, 1).astype(np.float32) for face in faces]


class NoneForNone(Plain):
    def restore(self, faces, parsing_maps=None):
        return super().restore(faces) if faces else [np.zeros((48, 48, 3), np.float32)]


class NoMaps(Plain):
    def restore(self, faces, parsing_maps=None):
        if parsing_maps is not None:
            raise TypeError("no maps, please")
        return super().restore(faces)


class Failing(Plain):
    def restore(self, faces, parsing_maps=None):
        raise ZeroDivisionError("no pixels")


class Forgetful(Plain):
    """Keeps the crop of a call on itself, where another thread puts its own."""

    def __init__(self):
        self.both_are_here = threading.Barrier(2, timeout=60)

    def change(self, crop):
        self.crop = crop
        if threading.current_thread() is not threading.main_thread():
            self.both_are_here.wait()
        return np.clip(self.crop, 0, 1)


@pytest.mark.parametrize(
    ("restorer", "expected"),
    [
        (Noisy(), {"repeats", "batch", "threads"}),
        (BatchMean(), {"batch"}),
        (Reversed(), {"batch", "colour"}),
        (InPlace(), {"repeats", "threads", "inputs kept"}),
        (OwnCrop(), {"inputs kept"}),
        (Careless(), {"sizes", "bad inputs"}),
        (NoneForNone(), {"no faces"}),
        (NoMaps(), {"parsing"}),
        (Failing(), {"restores"}),
        (Forgetful(), {"threads"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Plain) else "",
)
def test_wrong_behaviour_is_found(restorer, expected):
    assert set(faults(restorer)) == expected


class Unlabelled(Plain):
    face_size = "48"
    needs_parsing = None


def test_nothing_is_tried_without_the_protocol():
    (protocol,) = check_restorer(Unlabelled())
    assert (
        protocol.measured
        == "face_size is '48', not a number of pixels; needs_parsing is None, not True or False"
    )
    (protocol,) = check_restorer(object())
    assert "there is no method restore" in protocol.measured


def test_what_restore_raises_is_said():
    protocol, restores = check_restorer(Failing())
    assert protocol.verdict is PASSED
    assert restores.measured == "raised ZeroDivisionError: no pixels"


class Parsing(Plain):
    """Darkens what is not face."""

    needs_parsing = True

    def restore(self, faces, parsing_maps=None):
        if parsing_maps is None or len(parsing_maps) != len(faces):
            raise BackendError("give one map for each face")
        crops = super().restore(faces)
        masks = [resize_face((m > 0).astype(np.float32)[..., None].repeat(3, 2), 48) for m in parsing_maps]
        return [crop * (0.8 + 0.2 * mask) for crop, mask in zip(crops, masks, strict=True)]


class Undemanding(Parsing):
    def restore(self, faces, parsing_maps=None):
        return super().restore(faces, parsing_maps or [trial_map(48)] * len(faces))


class Indifferent(Parsing):
    def restore(self, faces, parsing_maps=None):
        super().restore(faces, parsing_maps)
        return Plain.restore(self, faces)


@pytest.mark.parametrize(
    ("restorer", "verdict", "measured"),
    [
        (Parsing(), PASSED, "maps are asked for; a blank one changes up to"),
        (Undemanding(), FAILED, "it works without maps"),
        (Indifferent(), UNCLEAR, "a blank map gives the same face"),
    ],
)
def test_parsing_maps_are_asked_for_and_used(restorer, verdict, measured):
    found = {finding.name: finding for finding in check_restorer(restorer)}
    assert found["parsing"].verdict is verdict
    assert found["parsing"].measured.startswith(measured)
    assert found["pipeline"].verdict is PASSED


def test_the_refusal_must_be_of_our_tree():
    class Wrong(Plain):
        def restore(self, faces, parsing_maps=None):
            if any(face.lq.dtype != np.float32 for face in faces):
                raise TypeError("float32 only")
            return super().restore(faces)

    finding = faults(Wrong())["bad inputs"]
    assert finding.measured == (
        "an 8-bit crop raises TypeError, not BackendError; a bare array raises AttributeError, not BackendError"
    )


class Sharing(TensorRestorer):
    """The smallest network backend."""

    name = "sharing"
    detect = config_from_state_dict = build = None


def test_the_base_class_keeps_the_contract_for_its_adapters():
    restorer = Sharing(nn.Identity(), face_size=40, max_batch=2)
    assert set(verdicts(restorer).values()) == {PASSED}
    restorer.network_range = (0.0, 255.0)
    restorer.network = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        restorer.network.weight.copy_(torch.eye(3).flip(0)[..., None, None])
        restorer.network.bias.zero_()
    assert set(faults(restorer)) == {"colour"}


def test_the_bundled_restorer_keeps_every_clause():
    restorer = load_restorer(choose("restore", RestoreConfig(), WeightsStore()))
    assert set(verdicts(restorer).values()) == {PASSED}


@pytest.mark.parametrize("size", [8, 33, 256])
def test_trial_faces_are_faces(size):
    faces = trial_faces(size)
    for face in faces:
        assert face.lq.shape == (size, size, 3)
        assert face.lq.dtype == np.float32
        assert 0 <= face.lq.min() < face.lq.max() <= 1
        np.testing.assert_array_equal(face.detected.landmarks, whole_face(face.lq).landmarks)
    assert all(np.array_equal(a.lq, b.lq) for a, b in zip(faces, trial_faces(size), strict=True))


def test_trial_maps_have_the_parts_where_the_template_has_them():
    parsing_map = trial_map(256)
    points = whole_face(np.zeros((256, 256, 3))).landmarks.round().astype(int)
    names = [CLASS_NAMES[parsing_map[y, x]] for x, y in points[:3]]
    assert names == ["left_eye", "right_eye", "nose"]

"""The contract finds each fault that it is meant to find, and names no fault where there is none."""

import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import FakeDetector
from torch import nn

from facerestore.backends.base import TensorRestorer
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.blending import whole_face
from facerestore.imaging.pixels import resize_face
from facerestore.pipeline.choose import choose
from facerestore.pipeline.load import load_restorer
from facerestore.pipeline.restore import RestorePipeline
from facerestore.testing.contract import CHECKS, Verdict, check_restorer
from facerestore.testing.drawn_faces import trial_faces, trial_map
from facerestore.weights import WeightsStore

PASSED, FAILED, UNCLEAR = Verdict.PASSED, Verdict.FAILED, Verdict.UNCLEAR


class Plain(Restorer):
    """The smallest restorer that keeps the contract: it adds a little contrast."""

    descriptor = Descriptor(name="plain", face_size=48)

    def restore(self, faces, parsing_maps=None):
        return [self.change(crop) for crop in self.crops(faces)]

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
    assert set(found) == {"descriptor", "restores", "form", *CHECKS}
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


def test_what_cannot_be_is_found_in_a_descriptor_and_nothing_else_is_tried():
    misstated = Plain().redeclared(
        name="",
        face_size="48",
        input_size=-1,
        tasks=("dream",),
        network_range=(1.0,),
        needs_parsing=None,
        fidelity=2,
        has_stages=True,
        max_batch=None,
    )
    (finding,) = check_restorer(misstated)
    assert finding.measured == (
        "name is '', not a text; face_size is '48', not a number of pixels; input_size is -1, not a number of pixels;"
        " tasks is ('dream',), not a tuple of tasks; network_range is (1.0,), not a low and a high value;"
        " needs_parsing is None, not True or False; fidelity is 2, not a number from 0 to 1;"
        " max_batch is None, not a number of faces; has_stages is True, and there is no method stages"
    )


class Undeclared:
    """A restorer by its looks: a size and a method."""

    face_size = 48
    restore = Plain.restore


def test_a_restorer_that_declares_nothing_is_told_in_one_line_what_to_add():
    remedy = "derive it from facerestore.Restorer, and add descriptor = facerestore.Descriptor(name=..., face_size=...)"
    (finding,) = check_restorer(Undeclared())
    assert (finding.measured, finding.remedy) == ("Undeclared is no restorer", remedy)
    with pytest.raises(BackendError, match=f"^Undeclared is no restorer; {re.escape(remedy)}$"):
        RestorePipeline(FakeDetector(), Undeclared())


def test_the_descriptor_is_printed():
    finding = check_restorer(Plain().redeclared(fidelity=0.5, max_batch=1))[0]
    assert finding.measured == (
        "'plain'; faces 48 px; value range not stated; parsing map not needed; tasks restore; fidelity 0 to 1, 0.5"
        " unless given; stages none to show; half floats not compared; batch up to 1 face in a call"
    )


class Turning(Plain):
    """Has a dial, which turns."""

    descriptor = replace(Plain.descriptor, fidelity=0.5)

    def with_fidelity(self, value):
        if not 0 <= value <= 1:
            raise ConfigError("0 to 1, please")
        return self.redeclared(fidelity=value)


class Endless(Turning):
    def with_fidelity(self, value):
        return self.redeclared(fidelity=value)


class Stuck(Turning):
    def with_fidelity(self, value):
        return self


class Secret(Turning):
    descriptor = Plain.descriptor


@pytest.mark.parametrize(
    ("restorer", "verdict", "measured"),
    [
        (Plain(), PASSED, "no dial, and a value is refused"),
        (Turning(), PASSED, "from 0 to 1, and no further"),
        (Endless(), FAILED, "-1 is taken and gives -1"),
        (Stuck(), FAILED, "1 is taken and gives 0.5"),
        (Secret(), FAILED, "1 is taken and gives 1"),
        (Plain().redeclared(fidelity=0.5), FAILED, "1 is refused"),
    ],
)
def test_the_dial_is_what_the_descriptor_says(restorer, verdict, measured):
    found = {finding.name: finding for finding in check_restorer(restorer)}["fidelity"]
    assert found.verdict is verdict
    assert found.measured.startswith(measured)


def test_what_restore_raises_is_said():
    declared, restores = check_restorer(Failing())
    assert declared.verdict is PASSED
    assert restores.measured == "raised ZeroDivisionError: no pixels"


class Parsing(Plain):
    """Darkens what is not face."""

    descriptor = replace(Plain.descriptor, needs_parsing=True)

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

    descriptor = Descriptor(name="sharing", network_range=(-1.0, 1.0))


def test_the_base_class_keeps_the_contract_for_its_adapters():
    restorer = Sharing(nn.Identity(), face_size=40, max_batch=2)
    assert set(verdicts(restorer).values()) == {PASSED}
    restorer = restorer.redeclared(network_range=(0.0, 255.0))
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

"""The guard: a face that is no longer the one in the photo is used in part, or kept, and both are told."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, face_at, photo, trial_photo

from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.batch.settings import settings_of
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError
from facerestore.pipeline import guard as guards
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.guard import LEAST_SHARE, LIMITS, Guard, Limits, limits_of, mixed
from facerestore.pipeline.restore import RestorePipeline
from facerestore.quality.agreement import agreement
from facerestore.quality.judge import assess
from facerestore.testing.drawn_faces import trial_faces
from facerestore.types import Decision, Outcome, RestoredFace
from facerestore.weights import WeightsStore
from facerestore.weights import store as stores

SIZE = 256
BLUR_PX = 2.5


def drawn(which=0):
    return trial_photo(which, SIZE).astype(np.float32) / 255


def blurred(face, sigma_px=BLUR_PX):
    return cv2.GaussianBlur(face, (0, 0), sigma_px)


def judged(guard, lq, restored):
    """Return a face after the guard, whose input and restored picture are these."""
    aligned = replace(trial_faces(SIZE)[0], lq=lq)
    decision = Decision(Outcome.RESTORED, "restored", "blurred")
    face = RestoredFace(aligned.detected, decision, aligned, restored=restored)
    return guard.judge([face], [replace(assess(aligned), blur_px=BLUR_PX)])[0]


class Nearness:
    """Describes a face by one number: how far it is from another picture, on the way from the first it was given."""

    def __init__(self, other):
        self.other, self.calls = other, 0

    def describe(self, faces):
        self.calls += len(faces)
        return np.array([[np.abs(face - self.other).mean()] for face in faces]) / np.abs(self.other).mean()

    def likeness(self, one, other):
        return 1 - float(np.linalg.norm(one - other))


def test_the_undamaged_face_agrees_with_its_blurred_picture():
    found = agreement(blurred(drawn()), drawn(), blur_px=BLUR_PX)
    assert found.structure < 0.05
    assert found.colour < 2
    assert found.shift < 4


def test_another_face_another_colour_and_a_moved_feature_are_seen():
    lq, face = blurred(drawn()), drawn()
    assert agreement(lq, drawn()[::-1], blur_px=BLUR_PX).structure > LIMITS[1].structure
    tinted = np.clip(face * np.float32([1.2, 1, 0.8]), 0, 1)
    assert agreement(lq, tinted, blur_px=BLUR_PX).colour > LIMITS[1].colour
    moved = np.roll(face, 16, axis=0)
    assert agreement(lq, moved, blur_px=BLUR_PX).shift > LIMITS[1].shift


@pytest.mark.parametrize("change", [lambda face: face * 0.7, lambda face: face * 0.6 + 0.3])
def test_light_and_contrast_are_no_disagreement(change):
    found = agreement(blurred(drawn()), change(drawn()), blur_px=BLUR_PX)
    assert found.structure < 0.05


def test_a_flat_picture_agrees_with_nothing_and_is_no_failure():
    flat = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    assert agreement(flat, drawn(), blur_px=BLUR_PX).structure == 1
    assert agreement(drawn(), flat, blur_px=BLUR_PX).structure == 1
    assert agreement(drawn(), 1 - drawn(), blur_px=BLUR_PX).structure == 1


def test_a_face_that_agrees_passes_whole():
    face = judged(Guard(), blurred(drawn()), drawn())
    assert face.decision.outcome is Outcome.RESTORED
    assert np.array_equal(face.restored, drawn())
    assert (face.guard.share, face.guard.reason, face.guard.identity) == (1, None, None)


def test_a_wholly_other_face_is_kept_and_the_reason_has_the_numbers():
    face = judged(Guard(), blurred(drawn()), 1 - drawn()[::-1])
    assert face.restored is None
    assert (face.decision.outcome, face.decision.code) == (Outcome.KEPT, "unlike")
    assert "it would not be the face in the photo" in face.decision.reason
    assert f"over {LIMITS[1].structure:.0%}" in face.decision.reason
    assert face.guard.share == 0


def test_the_largest_share_that_passes_is_found():
    lq, other = blurred(drawn()), drawn()
    network = Nearness(lq)
    whole = float(network.describe([other])[0, 0])
    face = judged(Guard(lambda: network, least_identity=1 - 0.6 * whole), lq, other)
    assert 0.6 - 1 / 32 <= face.guard.share <= 0.6
    assert face.restored == pytest.approx(mixed(lq, other, face.guard.share))
    assert face.guard.identity >= face.guard.least_identity
    assert "its identity is" in face.guard.reason


def test_below_the_least_share_a_face_is_kept():
    lq, other = blurred(drawn()), drawn()
    network = Nearness(lq)
    whole = float(network.describe([other])[0, 0])
    face = judged(Guard(lambda: network, least_identity=1 - 0.9 * LEAST_SHARE * whole), lq, other)
    assert face.decision.code == "unlike"


def test_what_input_degrades_more_needs_be_less_alike():
    quality = assess(trial_faces(SIZE)[0])
    found = [limits_of(replace(quality, blur_px=blur), SIZE) for blur in (0.5, 2.5, 4, 6, 10, 30)]
    identities = [limits.identity for limits in found]
    assert identities == sorted(identities, reverse=True)
    assert 0 < identities[-1] < identities[0] < 1
    assert limits_of(replace(quality, blur_px=4), 2 * SIZE) == limits_of(replace(quality, blur_px=2), SIZE)


class Stranger(Restorer):
    """Draws the same face whatever it is given."""

    descriptor = Descriptor(name="stranger", face_size=SIZE)

    def restore(self, faces, parsing_maps=None):
        return [1 - drawn(1)[::-1] for _ in faces]


def test_a_photo_keeps_a_face_that_a_network_made_another_and_reports_why():
    image = photo()
    line = RestorePipeline(FakeDetector(face_at(10, 20)), Stranger(), config=RestoreConfig(force=True))
    assert not np.array_equal(line.run(image).image.pixels, image.pixels)
    result = replace(line, guard=Guard()).run(image)
    assert result.image is image
    assert result.report["kept"] == {"unlike": 1}
    (face,) = result.report["faces"]
    assert face["guard"]["share"] == 0
    assert "guard" in result.report["stage_seconds"]


def test_a_face_used_in_part_is_a_note(monkeypatch):
    monkeypatch.setattr(guards, "LIMITS", [Limits(float("inf"), 0.5, 255, 100, 0)])
    image = photo()

    class Half(Stranger):
        def restore(self, faces, parsing_maps=None):
            return [0.35 * face.lq + 0.65 * (1 - face.lq) for face in faces]

    line = RestorePipeline(
        FakeDetector(face_at(10, 20)), Half(), config=RestoreConfig(force=True), guard=Guard()
    )
    result = line.run(image)
    share = result.faces[0].guard.share
    assert LEAST_SHARE <= share < 1
    assert f"face 0: only {share:.0%} of the restored face is used" in result.report["notes"][0]


def test_the_guard_is_built_unless_it_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "packaged", lambda file: None)
    store = WeightsStore(tmp_path)
    on, off = RestoreConfig(device="cpu"), RestoreConfig(device="cpu", guard=False)
    assert build_pipeline(on, store=store).guard is not None
    assert build_pipeline(off, store=store).guard is None
    assert build_pipeline(replace(on, backend="lite"), store=store).guard is not None
    with pytest.raises(
        ConfigError, match=r"min_identity is 0\.4, but no identity.*pip install \"facerestore\[id"
    ):
        build_pipeline(replace(on, min_identity=0.4), store=store)
    with pytest.raises(ConfigError, match=r"min_identity is 0\.4, but there is no guard; give one of both"):
        replace(off, min_identity=0.4)


def test_a_journal_knows_by_which_network_faces_were_guarded(tmp_path, monkeypatch):
    def networks(**chosen):
        return settings_of(RestoreConfig(**chosen), OutputConfig(), WeightsStore(tmp_path))["networks"]

    monkeypatch.setattr(stores, "packaged", lambda file: None)
    assert not any("dlib" in name for name in networks())
    assert any(name.startswith("eyes.clean-256 ") for name in networks())
    assert not any("eyes" in name for name in networks(guard=False))
    if WeightsStore(tmp_path / "other").locate("dlib.resnet-v1") is None:
        monkeypatch.undo()
    if WeightsStore(tmp_path).locate("dlib.resnet-v1") is None:
        pytest.skip("face-recognition-models is not installed")
    assert any(name.startswith("dlib.resnet-v1 55533b28") for name in networks())
    assert not any("dlib" in name for name in networks(guard=False))

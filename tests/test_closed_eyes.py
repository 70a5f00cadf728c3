"""Closed eyes: told by a tiny network, left as far as the photo shows them, and said."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import trial_photo

from facerestore.config import RestoreConfig
from facerestore.degradation import degrade, preset
from facerestore.engines import Place
from facerestore.engines.graph import TORCH
from facerestore.errors import BackendError, CheckpointError
from facerestore.imaging.alignment import template
from facerestore.imaging.blending import whole_crop
from facerestore.parsing.eyes import EyeReader, load_eye_reader
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.closed_eyes import CLOSED, LOOKED_AT_PX, eye_zones, is_looked_at, with_soft_eyes
from facerestore.pipeline.guard import Guard
from facerestore.pipeline.report import guard_notes
from facerestore.quality.judge import assess
from facerestore.testing.drawn_faces import trial_faces
from facerestore.training.data.face_files import FaceFile, face_files, read_face
from facerestore.types import Decision, Outcome, RestoredFace
from facerestore.weights import WeightsStore

SIZE = 256
WEIGHTS = "eyes.clean-256"


class Told:
    """Says of every face what it was told, and counts the faces."""

    def __init__(self, likelihood):
        self.likelihood, self.faces = likelihood, 0

    def closed(self, crops):
        self.faces += len(crops)
        return [self.likelihood] * len(crops)


def judged(reader, *, blur_px=3.0):
    """Return a face after the guard, restored sharp, whose input is as blurred as that."""
    sharp = trial_photo(0, SIZE).astype(np.float32) / 255
    aligned = replace(trial_faces(SIZE)[0], lq=cv2.GaussianBlur(sharp, (0, 0), blur_px))
    decision = Decision(Outcome.RESTORED, "restored", "blurred")
    face = RestoredFace(aligned.detected, decision, aligned, restored=sharp)
    quality = replace(assess(aligned), blur_px=blur_px)
    return sharp, Guard(open_eyes=lambda: reader).judge([face], [quality])[0]


def fine(face, zone):
    """Return how much fine detail a face has within a zone."""
    return float(np.abs(face - cv2.GaussianBlur(face, (0, 0), 1.5))[zone].mean())


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_soft_oval_lies_around_each_eye(size):
    zones, (left, right, nose, *_) = eye_zones(size), np.rint(template(size)).astype(int)
    assert zones.shape == (size, size)
    assert 0 <= zones.min() <= zones.max() <= 1
    assert all(zones[y, x] > 0.95 for x, y in (left, right))
    assert zones[nose[1], nose[0]] < 0.05
    assert zones[:, size // 2].max() < 0.5, "the bridge of the nose is between them"
    assert np.abs(np.diff(zones, axis=0)).max() < 0.15 * 256 / size, "no edge"


def test_nothing_but_the_surroundings_of_the_eyes_is_softened():
    face, zones = trial_photo(0, SIZE).astype(np.float32) / 255, eye_zones(SIZE)
    soft = with_soft_eyes(face, blur_px=3.0)
    assert soft.dtype == np.float32
    assert np.array_equal(soft[zones == 0], face[zones == 0])
    assert fine(soft, zones > 0.9) < 0.5 * fine(face, zones > 0.9)
    assert abs(float(soft.mean() - face.mean())) < 1e-3, "light and shade stay"


def test_closed_eyes_are_softened_and_said():
    sharp, face = judged(Told(CLOSED))
    assert np.array_equal(face.restored, with_soft_eyes(sharp, blur_px=3.0))
    assert (face.guard.eyes_closed, face.guard.eyes_softened, face.guard.share) == (CLOSED, True, 1.0)
    (note,) = guard_notes(2, face)
    assert note.startswith("face 2: its eyes look closed, so nothing finer")
    assert "--no-guard" in note


def test_open_eyes_keep_every_bit():
    sharp, face = judged(Told(CLOSED - 0.01))
    assert face.restored is sharp
    assert (face.guard.eyes_closed, face.guard.eyes_softened) == (CLOSED - 0.01, False)
    assert not guard_notes(0, face)


def test_eyes_of_sharp_inputs_are_not_looked_at():
    sharp, face = judged(reader := Told(1.0), blur_px=LOOKED_AT_PX)
    assert face.restored is sharp
    assert face.guard.eyes_closed is None
    assert reader.faces == 0


def test_a_face_that_is_kept_has_no_eyes_to_soften():
    aligned = trial_faces(SIZE)[0]
    decision = Decision(Outcome.RESTORED, "restored", "blurred")
    other = RestoredFace(aligned.detected, decision, aligned, restored=1 - aligned.lq[::-1])
    quality = replace(assess(aligned), blur_px=3.0)
    (face,) = Guard(open_eyes=lambda: Told(1.0)).judge([other], [quality])
    assert face.restored is None
    assert face.guard.eyes_closed is None


def test_a_network_that_fails_is_told():
    class Failing:
        place = "cpu"

        def __init__(self, found):
            self.found = found

        def run(self, faces):
            if self.found is None:
                raise RuntimeError("no room\nfor more")
            return [np.full((len(faces), 2), self.found, np.float32)]

    crop = trial_faces(SIZE)[0].lq
    with pytest.raises(BackendError, match="closed eyes failed on cpu: no room; see 'facerestore doctor'"):
        EyeReader(Failing(None)).closed([crop])
    with pytest.raises(BackendError, match="not finite; verify its weights"):
        EyeReader(Failing(np.nan)).closed([crop])
    for place in (None, Place(provider=TORCH)):
        with pytest.raises(CheckpointError, match="tells no closed eyes: it lacks"):
            load_eye_reader(WeightsStore().require("damage.clean-256"), place=place)


def test_drawn_faces_have_open_eyes():
    reader = load_eye_reader(WeightsStore().require(WEIGHTS))
    assert max(reader.closed([face.lq for face in trial_faces(SIZE)])) < CLOSED


def test_the_graph_gives_what_torch_gives_at_any_size():
    path, faces = WeightsStore().require(WEIGHTS), [face.lq for face in trial_faces(SIZE)]
    ours, theirs = (load_eye_reader(path, place=Place(provider=provider)) for provider in (None, TORCH))
    assert ours.closed(faces) == pytest.approx(theirs.closed(faces), abs=1e-4)
    larger = [cv2.resize(face, (512, 512), interpolation=cv2.INTER_CUBIC) for face in faces]
    assert ours.closed(larger) == pytest.approx(ours.closed(faces), abs=0.1)


def seen(file, seed, reader):
    """Return a degraded face, as a line sees it, and whether its eyes count as closed."""
    lq, *_ = degrade(read_face(file, SIZE), preset("gfpgan"), np.random.default_rng(seed))
    crop = whole_crop(lq.astype(np.float32) / 255)
    if not is_looked_at(assess(crop), SIZE):
        return lq, False
    return lq, reader.closed([crop.lq])[0] >= CLOSED


CLOSED_FACES = (
    "val/sfhq_t2i/2_Makeup_0_2.jpg",
    "train/sfhq_t2i/2_Eye-Gaze_3_5.jpg",
    "train/sfhq_t2i/2_Eye-Gaze_4_5.jpg",
)
"""Faces with closed eyes that the network was not trained on: the last two have no labels."""


def test_closed_eyes_of_degraded_faces_are_told(shared):
    reader = load_eye_reader(WeightsStore().require(WEIGHTS))
    files = [FaceFile("sfhq_t2i", shared(f"faces/{name}")) for name in CLOSED_FACES]
    told = [seen(file, seed, reader)[1] for file in files for seed in range(1, 5)]
    assert sum(told) >= 7, "8 of 12 as it ships"


def test_open_eyes_of_degraded_faces_are_left_alone(shared):
    reader = load_eye_reader(WeightsStore().require(WEIGHTS))
    files = [file for file in face_files(shared("faces/val")) if file.name not in LOWERED][::2]
    assert len(files) >= 40
    assert sum(seen(file, 3, reader)[1] for file in files) <= 1


LOWERED = ("2_Makeup_0_2", "2_Expression_2_1", "2_Expression_3_0", "2_Expression_3_8")
"""Validation faces whose eyes are closed, or lowered nearly so far."""


def test_a_photo_with_closed_eyes_is_restored_without_new_ones_and_says_so(shared):
    file = FaceFile("sfhq_t2i", shared(f"faces/{CLOSED_FACES[0]}"))
    reader = load_eye_reader(WeightsStore().require(WEIGHTS))
    lq = next(lq for lq, told in (seen(file, seed, reader) for seed in range(1, 9)) if told)
    config = RestoreConfig(aligned=True, force=True, grain=False)
    guarded, free = (build_pipeline(each).run(lq) for each in (config, replace(config, guard=False)))
    assert any("its eyes look closed" in note for note in guarded.report["notes"])
    assert guarded.report["faces"][0]["guard"]["eyes_softened"] is True
    ours, theirs = (result.image.pixels.astype(np.float32) / 255 for result in (guarded, free))
    zones = eye_zones(SIZE)
    assert fine(ours, zones > 0.9) < 0.6 * fine(theirs, zones > 0.9)
    assert np.array_equal(ours[zones == 0], theirs[zones == 0])

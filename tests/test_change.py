"""How much of a face was changed: measured, put in a word, told in line, report and result."""

import numpy as np
import pytest
from fakes import face_at, photo, pipeline

from facerestore.batch.report import done_words
from facerestore.config import RestoreConfig
from facerestore.pipeline.change import BARELY_LEVELS, RESTORED_LEVELS, effect_of
from facerestore.pipeline.report import advice_without_faces
from facerestore.types import DecodedImage, Effect

FACE = face_at(10, 20)


def grey(level=100, dtype=np.uint8):
    return DecodedImage(np.full((120, 200, 3), level, dtype))


def changed(image=None, **config):
    config = RestoreConfig(**{"colour_match": False, "force": True, **config})
    return pipeline(FACE, config=config).run(grey() if image is None else image)


def test_change_is_the_mean_difference_in_levels_at_the_strength_that_was_asked_for():
    # The restorer of the tests makes x of x / 2 + 1/2: from 100 to 177.5 levels, in the middle of the mask.
    (full,), (half,) = changed().faces, changed(strength=0.5).faces
    assert full.change == pytest.approx(70, abs=7.5)
    assert half.change == pytest.approx(full.change / 2, abs=0.5)


def test_change_does_not_depend_on_depth_and_size_of_the_result():
    (eight,) = changed().faces
    (sixteen,) = changed(grey(100 * 257, np.uint16)).faces
    (larger,) = changed(upscale=2).faces
    assert sixteen.change == pytest.approx(eight.change, abs=0.5)
    assert larger.change == pytest.approx(eight.change, abs=1)


def test_kept_face_has_no_change():
    result = changed(faces="largest", strength=0)
    assert [(face.change, face.effect) for face in result.faces] == [(None, None)]
    assert result.report["effects"] == {}


@pytest.mark.parametrize(
    ("levels", "effect"),
    [
        (0, Effect.BARELY_CHANGED),
        (BARELY_LEVELS - 0.01, Effect.BARELY_CHANGED),
        (BARELY_LEVELS, Effect.CLEANED),
        (RESTORED_LEVELS - 0.01, Effect.CLEANED),
        (RESTORED_LEVELS, Effect.RESTORED),
    ],
)
def test_word_follows_the_levels(levels, effect):
    assert effect_of(levels) is effect


def test_report_has_change_and_word_of_each_face():
    report = changed(strength=0.03).report
    assert report["faces"][0]["effect"] == "cleaned"
    assert BARELY_LEVELS <= report["faces"][0]["change"] < RESTORED_LEVELS
    assert report["effects"] == {"cleaned": 1}


def test_words_for_faces_name_what_was_measured_and_otherwise_what_was_done():
    assert done_words(4, {"cleaned": 1, "restored": 2, "barely-changed": 1}, "restored") == (
        "2 restored, 1 cleaned, 1 barely changed"
    )
    assert done_words(3, {}, "coloured") == "3 coloured"


SEARCHED = {"sizes": [[2000, 1500]], "turned_sizes": [[1000, 750]], "best_rejected": 0.31}


def test_what_to_try_without_a_face_is_what_was_not_tried():
    first = advice_without_faces([2000, 1500], SEARCHED, RestoreConfig(detect_size=640))
    for option in ("--detect-size", "--rotations", "--detector"):
        assert option in first
    square = advice_without_faces([64, 64], SEARCHED, RestoreConfig(rotations=True, detector="yunet"))
    assert square == "no face found; to try: --aligned where the photo is a face cut out already"
    assert advice_without_faces([2, 3], None, RestoreConfig(rotations=True, detector="yunet")) is None


def test_advice_stands_in_the_report_of_a_photo_without_a_face():
    assert "--detector" in pipeline().run(photo()).report["advice"]
    assert changed().report["advice"] is None

"""Single faces with settings of their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import Brightener, face_at, photo, pipeline

from facerestore import RestoreConfig, build_pipeline
from facerestore.errors import ConfigError
from facerestore.face_parts import Dial, parse_dial
from facerestore.parsing import LandmarkParser
from facerestore.pipeline.dials import dialled

GROUP = Path(__file__).parents[1] / "docs" / "pictures" / "small_faces.jpg"
LEFT, RIGHT = face_at(10, 20), face_at(110, 20)


def run(dial, image=None, **options):
    """Restore two faces with a dial; return the result and the restorers by detail."""
    restorers = {}

    def line_for(config):
        own = restorers.setdefault(config.detail, Brightener())
        line = replace(pipeline(LEFT, RIGHT, restorer=own), parser=LandmarkParser())
        return replace(line, config=replace(config, dial=""))

    config = RestoreConfig(dial=dial, **options)
    base = line_for(config)
    return dialled(base, config, line_for).run(image or photo()), restorers


def changed(result, image, left):
    return np.abs(result.image.pixels.astype(int) - image.pixels)[:, left : left + 64].mean()


def test_one_face_has_its_own_strength_and_the_other_that_of_all():
    image = photo()
    (plain, _), (found, restorers) = run("", image), run("1:strength=0.5", image)
    assert np.array_equal(found.image.pixels[:, :100], plain.image.pixels[:, :100])
    assert 0.4 < changed(found, image, 110) / changed(plain, image, 110) < 0.6
    assert [face["strength"] for face in found.report["faces"]] == [1.0, 0.5]
    assert restorers[None].calls == [2]


def test_dial_that_says_what_holds_for_all_changes_no_bit():
    image = photo()
    plain, found = (
        run("", image, strength=0.7)[0],
        run("0:strength=0.7;1:strength=0.7", image, strength=0.7)[0],
    )
    assert np.array_equal(found.image.pixels, plain.image.pixels)


def test_line_with_a_dial_may_be_asked_for_something_else():
    """A sheet asks one line for several strengths."""
    image, config = photo(), RestoreConfig(dial="1:detail=0.5")

    def line_for(single):
        line = replace(pipeline(LEFT, RIGHT, restorer=Brightener()), parser=LandmarkParser())
        return replace(line, config=replace(single, dial=""))

    line = dialled(line_for(config), config, line_for)
    full, half, one = (
        replace(line, config=replace(config, **asked)).run(image)
        for asked in ({}, {"strength": 0.5}, {"faces": "1"})
    )
    for left in (10, 110):
        assert 0.4 < changed(half, image, left) / changed(full, image, left) < 0.6
    assert [face["strength"] for face in half.report["faces"]] == [0.5, 0.5]
    assert [face["code"] for face in one.report["faces"]] == ["not-selected", "restored"]


def test_face_at_strength_0_is_kept_and_says_so():
    image = photo()
    found, _ = run("0:strength=0", image)
    assert [face["code"] for face in found.report["faces"]] == ["strength-0", "restored"]
    assert np.array_equal(found.image.pixels[:, :100], image.pixels[:, :100])


def test_face_may_be_restored_alone_where_the_rest_is_at_0():
    found, _ = run("1:strength=1", strength=0)
    assert [face["code"] for face in found.report["faces"]] == ["strength-0", "restored"]


def test_parts_of_one_face_have_their_own_strength():
    image = photo()
    plain, found = run("", image)[0], run("0:eyes=0", image)[0]
    assert found.report["faces"][0]["regions"]["eyes"] > 0
    assert found.report["faces"][1]["regions"] == {}
    assert changed(found, image, 10) < changed(plain, image, 10)


def test_detail_of_one_face_is_drawn_by_networks_of_its_own():
    found, restorers = run("0:detail=0.25")
    assert {detail: one.calls for detail, one in restorers.items()} == {None: [1], 0.25: [1]}
    assert [face["detail"] for face in found.report["faces"]] == [0.25, None]


def test_face_that_was_not_chosen_or_is_not_there_stays():
    found, _ = run("0:strength=0.5;7:strength=1", faces="1")
    assert [face["code"] for face in found.report["faces"]] == ["not-selected", "restored"]
    assert found.report["absent_indices"] == [7]


def test_written_dials():
    assert parse_dial("0:strength=0.5,eyes=0.3; 2:detail=0,mouth=1,nose=.5") == {
        0: Dial(0.5, None, "eyes=0.3"),
        2: Dial(None, 0.0, "mouth=1,nose=.5"),
    }
    assert parse_dial(" ") == {}


@pytest.mark.parametrize(
    ("dial", "why"),
    [
        ("0", "'0' has no settings"),
        ("0:", "'0:' has no settings"),
        ("first:strength=1", "'first' is no whole number"),
        ("0:strength=2", "strength is 2, not a number from 0 to 1"),
        ("0:strength=nan", "strength is nan, not a number from 0 to 1"),
        ("0:strength=", "could not convert"),
        ("0:strength=1,strength=1", "strength is given twice"),
        ("0:strength=1;0:detail=1", "face 0 is named twice"),
        ("0:elbow=1", "'elbow' is no part of a face"),
        ("0:hair=1", "'hair' lies outside the mask 'face'"),
    ],
)
def test_dial_that_is_not_written_so_is_refused(dial, why):
    with pytest.raises(ConfigError, match=why):
        RestoreConfig(dial=dial)


def test_dial_and_official_exclude_each_other():
    with pytest.raises(ConfigError, match=r"dial is '0:strength=1'; leave one out"):
        build_pipeline(RestoreConfig(dial="0:strength=1", backend="gpen", official=True))


def test_with_what_ships_each_face_is_that_of_its_own_settings():
    whole = {detail: build_pipeline(RestoreConfig(detail=detail)).run(GROUP) for detail in (None, 0)}
    found = build_pipeline(RestoreConfig(dial="0:detail=0,eyes=1;1:strength=0")).run(GROUP)
    first, second = (tuple(round(value) for value in face.detected.box) for face in found.faces)
    cut = np.s_[first[1] : first[3], first[0] : first[2]]
    assert np.array_equal(found.image.pixels[cut], whole[0].image.pixels[cut])
    assert not np.array_equal(found.image.pixels[cut], whole[None].image.pixels[cut])
    assert found.report["faces"][1]["code"] == "strength-0"
    assert [face["detail"] for face in found.report["faces"]] == [0, None]
    assert found.report["auto"]["used"]
    assert second[0] > first[0]

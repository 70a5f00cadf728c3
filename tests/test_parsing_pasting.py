"""Masks and strengths by part, through the whole line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import FACE_SIZE, Brightener, FakeDetector, face_at, photo

from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError
from facerestore.face_parts import CLASS_NAMES
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.parsing import FacePasting, LandmarkParser
from facerestore.pipeline.restore import RestorePipeline
from facerestore.types import DecodedImage, Outcome

LEFT, RIGHT = face_at(10, 20), face_at(120, 30)
OVERLAPPING = face_at(40, 20)


class MapParser:
    """Labels every face with the same map."""

    name = "maps"

    def __init__(self, labels):
        self.labels = labels
        self.calls = 0

    def parse(self, faces):
        self.calls += 1
        return [self.labels.copy() for _ in faces]


def labels(**boxes):
    """Return a map of skin from 0.2 to 0.9, with classes in boxes of (top, bottom, left, right) shares."""
    ids = np.zeros((FACE_SIZE, FACE_SIZE), np.uint8)
    for name, box in {"skin": (0.2, 0.9, 0.2, 0.8), **boxes}.items():
        top, bottom, left, right = (round(share * FACE_SIZE) for share in box)
        ids[top:bottom, left:right] = CLASS_NAMES.index(name)
    return ids


def run(image, *faces, parser=None, **options):
    config = RestoreConfig(force=True, colour_match=False, **options)
    return RestorePipeline(FakeDetector(*faces), Brightener(), config=config, parser=parser).run(image)


def at(face, x, y):
    """Return the photo's pixel (row, column) under a point of the face's 64 px square, in shares."""
    left, top, right, _ = face.box
    inner = (right - left) / 0.6 * 0.2
    return round(top - inner + y * 64 - 0.5), round(left - inner + x * 64 - 0.5)


def changed(image, result):
    return (image.pixels != result.image.pixels).any(axis=2)


def test_whole_pastes_the_crop_but_for_its_soft_border():
    image = photo()
    result = run(image, LEFT, mask="whole")
    touched = changed(image, result)
    assert touched[at(LEFT, 0.12, 0.12)]
    assert touched[at(LEFT, 0.5, 0.9)]
    assert not touched[at(LEFT, 0.01, 0.5)]
    assert result.report["faces"][0]["mask"] == "whole"


def test_hair_is_pasted_only_where_it_is_asked_for():
    image, parser = photo(), MapParser(labels(hair=(0.05, 0.2, 0.1, 0.9)))
    hair = at(LEFT, 0.5, 0.12)
    before = image.pixels[hair].astype(int)
    alone = run(image, LEFT, parser=parser).image.pixels[hair].astype(int)
    together = run(image, LEFT, parser=parser, mask="face,hair").image.pixels[hair].astype(int)
    assert np.abs(together - before).min() > 30
    assert np.abs(alone - before).max() < np.abs(together - before).min() / 3


def test_thin_parts_are_pasted_whole():
    image = photo()
    result = run(image, LEFT, parser=MapParser(labels(left_eye=(0.45, 0.5, 0.3, 0.42))), mask="eyes")
    full = run(image, LEFT, mask="whole")
    eye = at(LEFT, 0.36, 0.47)
    assert np.array_equal(result.image.pixels[eye], full.image.pixels[eye])
    assert not changed(image, result)[at(LEFT, 0.5, 0.8)]


def test_hair_far_from_the_face_is_still_hair_but_a_neighbours_face_is_not():
    long_hair = labels(hair=(0.1, 0.95, 0.05, 0.15))
    touched = changed(photo(), run(photo(), LEFT, parser=MapParser(long_hair), mask="face,hair"))
    assert touched[at(LEFT, 0.1, 0.85)]
    touched = changed(photo(), run(photo(), LEFT, parser=MapParser(labels(nose=(0.1, 0.95, 0.9, 0.97)))))
    assert not touched[at(LEFT, 0.94, 0.85)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mask", ["face", "whole"])
def test_a_region_of_strength_0_keeps_its_very_pixels(dtype, mask):
    image = photo(dtype=dtype)
    parser = MapParser(labels(left_eye=(0.4, 0.55, 0.3, 0.45)))
    touched = changed(image, run(image, LEFT, parser=parser, region="eyes=0", mask=mask))
    row, column = at(LEFT, 0.375, 0.475)
    assert not touched[row - 2 : row + 3, column - 2 : column + 3].any()
    assert touched[at(LEFT, 0.5, 0.7)]


def test_a_region_has_its_share_in_place_of_the_global_one():
    image, parser = photo(), MapParser(labels(left_eye=(0.4, 0.55, 0.3, 0.45)))
    inside, outside = at(LEFT, 0.375, 0.475), at(LEFT, 0.5, 0.75)
    full = run(image, LEFT, parser=parser, mask="whole").image.pixels.astype(float)
    mixed = run(image, LEFT, parser=parser, mask="whole", strength=0.5, region="eyes=0.25").image.pixels
    for pixel, share in ((inside, 0.25), (outside, 0.5)):
        before = image.pixels[pixel].astype(float)
        assert mixed[pixel] == pytest.approx(before + share * (full[pixel] - before), abs=1)


def test_a_region_may_be_all_that_is_restored():
    image, parser = photo(), MapParser(labels(left_eye=(0.4, 0.55, 0.3, 0.45)))
    result = run(image, LEFT, parser=parser, strength=0.0, region="eyes=1")
    touched = changed(image, result)
    assert touched[at(LEFT, 0.375, 0.475)]
    assert not touched[at(LEFT, 0.5, 0.75)]
    nothing = run(image, LEFT, parser=parser, strength=0.0, region="eyes=0")
    assert nothing.image is image
    assert nothing.faces[0].decision.code == "strength-0"


def test_overlapping_faces_each_keep_their_regions_order_does_not_matter():
    image, parser = photo(), MapParser(labels(left_eye=(0.4, 0.55, 0.3, 0.45)))
    one = run(image, LEFT, OVERLAPPING, parser=parser, region="eyes=0,skin=0.8").image.pixels
    other = run(image, OVERLAPPING, LEFT, parser=parser, region="eyes=0,skin=0.8").image.pixels
    assert np.array_equal(one, other)
    alone = at(LEFT, 0.33, 0.475)  # the other face's mask does not reach here
    assert np.array_equal(one[alone], image.pixels[alone])


def test_aligned_crops_take_regions_and_parts_too():
    image = photo(64, 64)
    parser = MapParser(labels(left_eye=(0.4, 0.55, 0.3, 0.45)))
    eye, corner = (slice(28, 33), slice(22, 26)), (0, 0)
    touched = changed(image, run(image, parser=parser, aligned=True, region="eyes=0"))
    assert not touched[eye].any()
    assert touched[corner]
    touched = changed(image, run(image, parser=parser, aligned=True, mask="eyes"))
    assert touched[eye].all()
    assert not touched[corner]
    doubled = run(image, parser=parser, aligned=True, region="eyes=0", upscale=2).image.pixels
    assert doubled.shape == (128, 128, 3)


def test_landmarks_serve_regions_and_leave_the_mask_alone():
    image = photo()
    plain = changed(image, run(image, LEFT))
    result = run(image, LEFT, parser=LandmarkParser(), region="eyes=0.5")
    assert not (changed(image, result) & ~plain).any()
    report = json.loads(json.dumps(result.report))
    assert (report["parser"], report["mask"], report["region"]) == ("landmarks", "face", "eyes=0.5")
    assert report["faces"][0]["mask"] == "oval"
    assert report["faces"][0]["regions"]["eyes"] > 0
    assert result.faces[0].parsing_map is not None


def test_the_description_says_who_labels():
    config = RestoreConfig(region="eyes=0.5")
    line = RestorePipeline(FakeDetector(LEFT), Brightener(), config=config, parser=LandmarkParser())
    assert line.description.endswith("parts drawn from the five landmarks")
    line = RestorePipeline(FakeDetector(LEFT), Brightener(), parser=MapParser(labels()))
    assert line.description.endswith("parser maps")


def test_a_face_that_the_parser_misses_is_pasted_with_an_oval_and_that_is_told():
    image = photo()
    missed = run(image, LEFT, parser=MapParser(np.zeros((FACE_SIZE, FACE_SIZE), np.uint8)))
    assert np.array_equal(missed.image.pixels, run(image, LEFT).image.pixels)
    assert missed.report["faces"][0]["mask"] == "oval"
    assert missed.report["notes"] == ["face 0: the parser found no face there, so an oval was pasted"]
    assert run(image, LEFT, parser=MapParser(labels())).report["notes"] == []


def test_a_face_whose_chosen_parts_are_unknown_is_kept_and_the_others_are_not():
    image, parser = photo(), MapParser(np.zeros((FACE_SIZE, FACE_SIZE), np.uint8))
    result = run(image, LEFT, RIGHT, parser=parser, mask="face,hair")
    assert result.image is image
    assert [face.decision.code for face in result.faces] == ["not-parsed"] * 2
    assert result.faces[0].decision.outcome is Outcome.KEPT
    assert result.report["kept"] == {"not-parsed": 2}


def test_a_region_that_is_not_there_is_told():
    result = run(photo(), LEFT, parser=MapParser(labels()), region="glasses=0.2,skin=0.5")
    assert result.report["notes"] == ["face 0: no glasses found, so that region changed nothing"]
    assert result.report["faces"][0]["regions"]["glasses"] == 0


@pytest.mark.parametrize("options", [{"mask": "face,hair"}, {"region": "eyes=0.3"}])
def test_parts_without_a_parser_are_refused_with_the_remedy(options):
    with pytest.raises(ConfigError, match="and there is none; leave out --parser none, or name one"):
        RestorePipeline(FakeDetector(), Brightener(), config=RestoreConfig(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"mask": "face,hair"},
        {"mask": "face,-ears"},
        {"mask": "whole", "region": "hair=0.3"},
        {"region": "glasses=0"},
    ],
)
def test_what_landmarks_cannot_know_is_refused(options):
    with pytest.raises(ConfigError, match="cannot be told from five landmarks"):
        FacePasting.of(RestoreConfig(**options), LandmarkParser())


def test_a_strength_for_each_pixel_is_checked():
    size = FACE_SIZE
    face = np.full((size, size, 3), 0.5, np.float32)
    paste = Paste(np.eye(2, 3), face, face, np.ones((size, size), np.float32))
    image = np.zeros((80, 80, 3), np.uint8)
    each, all_alike = (replace(paste, strength=s) for s in (np.full((size, size), 0.5, np.float32), 0.5))
    assert np.array_equal(paste_faces(image, [each]), paste_faces(image, [all_alike]))
    for wrong in (np.full((size, size), 1.5), np.full((size, size), np.nan), -0.1):
        with pytest.raises(ConfigError, match="strength is"):
            replace(paste, strength=wrong)
    with pytest.raises(ConfigError, match=r"the strength is \(8, 8\)"):
        replace(paste, strength=np.ones((8, 8), np.float32))


def test_maps_are_made_only_of_faces_that_are_restored():
    parser = MapParser(labels())
    line = RestorePipeline(FakeDetector(), Brightener(), parser=parser)
    line.run(DecodedImage(photo().pixels))
    assert parser.calls == 0

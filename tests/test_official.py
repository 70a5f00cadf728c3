import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Brightener, FakeDetector, face_at, photo
from golden import golden_arrays
from PIL import Image as PillowImage

from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.psfr import PSFRConfig, PSFRGenerator
from facerestore.backends.restorer import Descriptor, Restorer
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError
from facerestore.imaging.alignment import (
    compose_affine,
    estimate_similarity,
    gpen_template,
    invert_affine,
    resize_affine,
    template,
)
from facerestore.io import _icc, decode_image, encode_image, read_image
from facerestore.pipeline.build import assemble, build_pipeline
from facerestore.pipeline.official import GPEN, PROGRAMS, PSFR, official_program
from facerestore.pipeline.official.base import truncated
from facerestore.pipeline.official.cubic import cubic_warp
from facerestore.pipeline.official.gpen import feathered, front, paste_mask, warp_linear
from facerestore.pipeline.official.psfr import paste_hard
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.colorize import COLORIZING
from facerestore.types import DecodedImage, DetectedFace, Metadata, Outcome
from facerestore.weights.checkpoint import save_state_dict

PORTRAIT = Path(__file__).resolve().parent.parent / "examples" / "astronaut_degraded.jpg"
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class Network(Restorer):
    """Restores to what it is told, by default to its input; remembers what it was given."""

    def __init__(self, name="gpen", face_size=512, change=lambda lq: lq) -> None:
        self.descriptor = Descriptor(name=name, face_size=face_size, needs_parsing=name == "psfr")
        self.change = change
        self.given = []

    def restore(self, faces, parsing_maps=None):
        self.given += [face.lq for face in faces]
        return [np.asarray(self.change(face.lq), dtype=np.float32) for face in faces]


class AllSkin:
    """Labels every pixel as skin; remembers what it was given."""

    name = "all-skin"

    def __init__(self) -> None:
        self.given = []

    def parse(self, faces):
        self.given += list(faces)
        return [np.ones(face.lq.shape[:2], dtype=np.uint8) for face in faces]


def gpen(*faces, network=None, parser=None, **options):
    config = RestoreConfig(official=True, **options)
    detector = None if config.aligned else FakeDetector(*faces)
    parts = {"config": config, "parser": parser or AllSkin(), "procedure": GPEN.procedure}
    return RestorePipeline(detector, network or Network(), **parts)


def psfr(*faces, network=None, **options):
    config = RestoreConfig(official=True, **options)
    detector = None if config.aligned else FakeDetector(*faces)
    parts = {"config": config, "parser": AllSkin(), "procedure": PSFR.procedure}
    return RestorePipeline(detector, network or Network("psfr", 128), **parts)


def smooth_photo(height=200, width=260, *, low=40, high=200):
    """Return a photo without steps, so that any shift or seam shows, and nothing else does."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17 + c) * np.cos(y / 23 - c) for c in range(3)]
    levels = (np.stack(waves, axis=2) + 1) / 2 * (high - low) + low
    return DecodedImage(np.rint(levels).astype(np.uint8))


def sure(x, y, *, size, score=0.95):
    return face_at(x, y, size=size, score=score)


# --- GPEN: what the official code gave -----------------------------------------------------------------------------


def test_gpen_mask_is_feathered_as_in_the_official_code():
    golden = golden_arrays("gpen_align")
    y, x = np.mgrid[:512, :512]
    disc = ((x - 256) ** 2 + (y - 260) ** 2 <= 170**2).astype(np.float32)
    assert np.array_equal(disc[256], golden["mask.in_disc_centre256_260_r170_row256"])
    mask = feathered(disc)
    assert np.abs(mask[256] - golden["mask.out_row256"]).max() < 1e-6
    assert np.abs(mask[:, 256] - golden["mask.out_col256"]).max() < 1e-6


def test_gpen_pastes_all_classes_but_background_hat_and_cloth():
    for name in range(19):
        middle = paste_mask(np.full((512, 512), name, dtype=np.uint8))[256, 256]
        assert middle == pytest.approx(0 if name in (0, 14, 18) else 1, abs=1e-5)
    with pytest.raises(BackendError, match="512"):
        paste_mask(np.ones((256, 256), dtype=np.uint8))


def test_gpen_mask_is_zero_along_the_border_before_it_is_blurred():
    mask = paste_mask(np.ones((512, 512), dtype=np.uint8))
    assert mask[0, 256] < 1e-4
    assert mask[26, 256] == pytest.approx(0.5, abs=0.05)  # the blur is symmetric about the cut at 25.5
    assert mask[60, 256] == pytest.approx(1, abs=1e-5)


# --- GPEN: the line --------------------------------------------------------------------------------------------------


def test_gpen_network_that_changes_nothing_gives_back_nearly_the_photo():
    image = smooth_photo()
    result = gpen(sure(40, 20, size=160)).run(image)
    difference = np.abs(result.image.pixels.astype(int) - image.pixels)
    assert difference.max() <= 2
    assert result.report["official"] is True
    assert result.report["restored"] == 1


def test_gpen_cuts_faces_out_of_the_enlargement_and_pastes_them_on_the_background_network():
    class Grey:
        name, scale = "grey", 2

        def upsample(self, pixels, size, *, on_tile=None):
            return np.full((size[1], size[0], 3), 77, dtype=np.uint8)

    image, face = smooth_photo(), sure(40, 20, size=160)
    doubled = DetectedFace(tuple(2 * v for v in face.box), face.landmarks * 2, 0.95)
    config = RestoreConfig(official=True, upscale=2, background="auto")
    networks = Network(), Network()
    parts = {"config": config, "parser": AllSkin(), "procedure": GPEN.procedure}
    on_grey = RestorePipeline(FakeDetector(doubled), networks[0], background=Grey(), **parts).run(image)
    alone = RestorePipeline(FakeDetector(doubled), networks[1], **parts).run(image)
    assert np.array_equal(networks[0].given[0], networks[1].given[0])
    changed = (on_grey.image.pixels != 77).any(axis=2)
    assert not changed[:, :60].any()
    middle = (slice(180, 220), slice(220, 260))
    assert np.abs(on_grey.image.pixels[middle].astype(int) - alone.image.pixels[middle]).max() <= 1
    assert on_grey.report["background"]["name"] == "grey"


@pytest.mark.parametrize("upscale", [2.0, 1.7])
def test_gpen_enlarges_linearly_and_finds_and_pastes_in_the_enlargement(upscale):
    import cv2

    image = smooth_photo()
    face = sure(40, 20, size=160)

    class Enlarged:
        name = "fake"

        def detect(self, pixels):
            ratio = pixels.shape[1] / image.pixels.shape[1]
            points = (face.landmarks + 0.5) * ratio - 0.5
            box = tuple((value + 0.5) * ratio - 0.5 for value in face.box)
            return [DetectedFace(box, points.astype(np.float32), 0.95)]

    result = replace(gpen(upscale=upscale), detector=Enlarged()).run(image)
    size = (round(260 * upscale), round(200 * upscale))
    expected = cv2.resize(image.pixels, size, interpolation=cv2.INTER_LINEAR)
    assert np.abs(result.image.pixels.astype(int) - expected).max() <= 2
    assert np.allclose(result.faces[0].detected.landmarks, face.landmarks, atol=1e-2)
    assert np.allclose(result.faces[0].detected.box, face.box, atol=1e-2)


def test_gpen_looks_at_large_photos_in_a_small_copy():
    seen = []

    class Watcher:
        name = "fake"

        def detect(self, pixels):
            seen.append(pixels.shape)
            return [sure(100, 100, size=300)]

    image = DecodedImage(np.full((800, 1600, 3), 90, dtype=np.uint8))
    result = replace(gpen(), detector=Watcher()).run(image)
    assert seen == [(500, 1000, 3)]
    expected = sure(100, 100, size=300).landmarks * 1.6  # divided by the factor, without half a pixel
    assert np.allclose(result.faces[0].detected.landmarks, expected, atol=1e-3)


def test_gpen_network_gets_the_linear_8_bit_crop_in_its_own_frame_black_beyond_the_photo():
    image, network = photo(height=200, width=260), Network()
    face = sure(-30, 20, size=160)
    face = DetectedFace((0.0, 20.0, 150.0, 150.0), face.landmarks, 0.95)
    gpen(face, network=network).run(image)
    affine = estimate_similarity(face.landmarks, gpen_template(512))
    expected = warp_linear(image.pixels, affine, (512, 512))
    assert np.array_equal(np.rint(network.given[0] * 255), expected)
    assert (expected[:, 0] == 0).all()


def test_gpen_parses_the_restored_face_at_512_px():
    parser = AllSkin()
    network = Network(face_size=256, change=lambda lq: np.full_like(lq, 0.5))
    result = gpen(sure(40, 20, size=160), network=network, parser=parser).run(smooth_photo())
    (given,) = parser.given
    assert given.lq.shape == (512, 512, 3)
    assert np.allclose(given.lq, 127 / 255)  # 127.5, truncated
    assert np.allclose(given.affine, compose_affine(resize_affine(2), result.faces[0].aligned.affine))
    assert result.faces[0].parsing_map.shape == (512, 512)


def test_output_is_truncated_where_the_normal_line_rounds():
    assert np.array_equal(
        truncated(np.float32([0.0, 0.999, 127.9 / 255, 1.0, 1.2])) * 255, [0, 254, 127, 255, 255]
    )
    face = truncated(np.arange(256, dtype=np.float32) / np.float32(255))
    assert np.abs(face * 255 - np.arange(256)).max() < 1.001
    bright = Network(change=lambda lq: np.full_like(lq, 200.9 / 255))
    result = gpen(sure(40, 20, size=160), network=bright).run(smooth_photo())
    assert (result.image.pixels[100, 120] == 200).all()


@pytest.mark.parametrize(("size", "levels"), [(170, {0, 255}), (160, {0, 64, 191, 255})])
def test_gpen_smooths_small_faces_only(size, levels):
    # The boxes are 102 and 96 px; a straight edge leaves 1/4 and 3/4 after the binomial kernel.
    edge = np.repeat((np.arange(512) >= 256).astype(np.float32)[None, :, None], 512, axis=0).repeat(3, axis=2)
    result = gpen(sure(10, 10, size=size), network=Network(change=lambda _: edge)).run(smooth_photo())
    pasted, _, _ = front(result.faces[0], (1.0, 1.0), strength=1.0)
    assert set(np.unique(pasted)) == levels


def test_gpen_strength_mixes_with_the_crop():
    white = Network(change=np.ones_like)
    image = DecodedImage(np.full((200, 260, 3), 100, dtype=np.uint8))
    result = gpen(sure(40, 20, size=160), network=white, strength=0.6).run(image)
    assert (result.image.pixels[100, 120] == round(0.6 * 255 + 0.4 * 100)).all()


def test_gpen_winner_takes_all_where_faces_overlap():
    left, right = sure(20, 20, size=160, score=0.92), sure(80, 20, size=160, score=0.99)
    calls = iter((0.2, 0.8))
    network = Network(change=lambda lq: np.full_like(lq, next(calls)))
    pixels = gpen(left, right, network=network).run(smooth_photo()).image.pixels
    line = pixels[100, :, 0]
    assert line[60] == 51
    assert line[180] == 204
    # In both masks each pixel is of one face alone: the larger mask wins, and where both are 1, which is so by a hair.
    assert np.isin(line[90:140], (51, 204)).all()


def test_gpen_tie_goes_to_the_surer_face():
    faces = sure(20, 20, size=160, score=0.92), sure(20, 20, size=160, score=0.99)
    calls = iter((0.2, 0.8))
    network = Network(change=lambda lq: np.full_like(lq, next(calls)))
    result = gpen(*faces, network=network).run(smooth_photo())
    winner = 51 if result.faces[0].detected.score == 0.99 else 204
    assert (result.image.pixels[100, 100] == winner).all()


def test_gpen_leaves_out_faces_that_are_not_sure():
    faces = [sure(10, 10, size=100, score=0.9), sure(130, 10, size=100, score=0.91)]
    result = gpen(*faces).run(smooth_photo())
    assert [face.decision.code for face in result.faces] == ["low-score", "restored"]
    assert "0.90" in result.faces[0].decision.reason
    assert result.report["kept"] == {"low-score": 1}


def test_gpen_restores_faces_that_the_normal_line_would_keep():
    tiny = sure(10, 10, size=24)
    assert gpen(tiny).run(smooth_photo()).faces[0].decision.outcome is Outcome.RESTORED
    assert RestorePipeline(FakeDetector(tiny), Brightener()).run(smooth_photo()).report["restored"] == 0


def test_gpen_aligned_face_goes_through_whole_without_a_parser_at_the_size_of_the_network():
    network = Network(face_size=64, change=lambda lq: np.full_like(lq, 100.9 / 255))
    line = replace(gpen(aligned=True, network=network), parser=None)
    alpha = np.full((32, 32), 77, dtype=np.uint8)
    image = DecodedImage(smooth_photo(32, 32).pixels, alpha)
    result = line.run(image)
    assert result.image.pixels.shape == (64, 64, 3)
    assert (result.image.pixels == 100).all()
    assert (result.image.alpha == 77).all()
    assert result.image.alpha.shape == (64, 64)
    with pytest.raises(ImageError, match="square"):
        line.run(smooth_photo())


# --- the cubic warp --------------------------------------------------------------------------------------------------


def keys(x, a=-0.5):
    """Return Keys' kernel as it stands in the paper, in pieces."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def test_cubic_warp_is_the_convolution_with_keys_kernel_zero_outside():
    pixels = np.random.default_rng(1).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    pixels[0, 0] = 0
    pixels[0, 1] = 255
    affine = np.array([[0.83, 0.31, -3.2], [-0.29, 0.9, 1.7]])
    result = cubic_warp(pixels, affine, (14, 13), origin=(-1, 2))
    for row, column in product(range(13), range(14)):
        x, y = affine @ (column - 1, row + 2, 1)
        expected = np.zeros(3)
        for j, i in product(range(12), range(9)):
            expected += pixels[j, i] * keys(x - i) * keys(y - j)
        assert np.allclose(result[row, column], np.clip(expected, 0, 255), atol=1e-9)


def test_cubic_warp_keeps_parabolas_which_no_other_cubic_convolution_does():
    _, x = np.mgrid[:20, :20]
    pixels = np.repeat((x**2)[..., None], 3, axis=2).astype(np.uint16)
    warped = cubic_warp(pixels, np.array([[1.0, 0.0, 0.37], [0.0, 1.0, 0.61]]), (16, 16), origin=(2, 2))
    assert np.allclose(warped[..., 0], (np.arange(2, 18) + 0.37) ** 2)


def test_cubic_warp_keeps_flat_areas_exactly_and_zero_beyond_the_picture():
    pixels = np.full((30, 30, 3), 101, dtype=np.uint8)
    warped = cubic_warp(pixels, np.array([[0.7, 0.2, -4.1], [-0.2, 0.7, 6.3]]), (60, 50))
    # Beyond the picture all is 0; its rim is in between and clipped to the range of the picture, which is one value.
    assert set(np.unique(warped)) == {0.0, 101.0}
    far = cubic_warp(pixels, np.array([[1.0, 0.0, 1e6], [0.0, 1.0, -1e6]]), (5, 5))
    assert (far == 0).all()


def test_cubic_warp_does_not_depend_on_the_bands():
    pixels = photo(height=40, width=50).pixels
    affine = np.array([[0.9, 0.1, 2.0], [-0.1, 0.9, 5.0]])
    whole = cubic_warp(pixels, affine, (45, 37))
    assert np.array_equal(cubic_warp(pixels, affine, (45, 37), band_pixels=100), whole)


# --- PSFR-GAN: the line ----------------------------------------------------------------------------------------------


def test_psfr_network_that_changes_nothing_gives_back_nearly_the_photo():
    image = smooth_photo()
    result = psfr(sure(40, 20, size=140)).run(image)
    difference = result.image.pixels.astype(int) - image.pixels
    assert np.abs(difference[26:154, 46:174]).max() <= 3
    assert -1.5 < difference[26:154, 46:174].mean() < -0.7  # truncated twice, half a level each
    assert np.abs(difference).max() > 5  # the rim is mixed with the black beyond the crop
    assert not difference[:20].any()


def test_psfr_network_gets_the_cubic_crop_unrounded():
    image, network = photo(height=200, width=260), Network("psfr", 128)
    face = sure(40, 20, size=140)
    psfr(face, network=network).run(image)
    affine = invert_affine(estimate_similarity(face.landmarks, template(128)))
    expected = cubic_warp(image.pixels, affine, (128, 128)) / 255
    assert np.array_equal(network.given[0], expected.astype(np.float32))
    assert np.abs(expected * 255 - np.rint(expected * 255)).max() > 0.3


def test_psfr_black_pixels_in_the_face_become_holes_of_5_px_in_their_channel():
    canvas = np.full((60, 60, 3), 50, dtype=np.uint8)
    restored = np.full((40, 40, 3), 200, dtype=np.uint8)
    restored[20, 20, 1] = 0
    paste_hard(canvas, restored, IDENTITY - [[0, 0, 10], [0, 0, 10]])
    hole = canvas[..., 1] == 50
    assert hole[28:33, 28:33].all()
    assert hole[20:40, 20:40].sum() == 25
    assert (canvas[28:33, 28:33, [0, 2]] == 200).all()


def test_psfr_pastes_hard_less_2_px_all_around():
    canvas = np.full((60, 60, 3), 50, dtype=np.uint8)
    paste_hard(canvas, np.full((40, 40, 3), 200, dtype=np.uint8), IDENTITY - [[0, 0, 10], [0, 0, 10]])
    expected = np.full((60, 60), 50)
    expected[12:48, 12:48] = 200
    assert np.array_equal(canvas[..., 0], expected)
    before = canvas.copy()
    paste_hard(canvas, np.full((40, 40, 3), 9, dtype=np.uint8), IDENTITY - [[0, 0, 500], [0, 0, 0]])
    assert np.array_equal(canvas, before)


def test_psfr_region_is_that_of_the_whole_canvas_blurred_with_a_5_px_box():
    import cv2

    rng = np.random.default_rng(3)
    canvas, restored = photo(height=70, width=80).pixels, rng.integers(0, 3, (40, 40, 3), dtype=np.uint8) * 90
    angle = 0.4
    to_crop = 0.8 * np.array(
        [[math.cos(angle), -math.sin(angle), -12.3], [math.sin(angle), math.cos(angle), -30.1]]
    )
    warped = cubic_warp(restored, to_crop, (80, 70))
    outside = cv2.blur((warped == 0).astype(np.float64), (5, 5)) > 1e-9
    expected = np.where(outside, canvas, warped).astype(np.uint8)
    paste_hard(canvas, restored, to_crop)
    assert np.array_equal(canvas, expected)


def test_psfr_enlarges_cubically_and_forgets_the_half_pixel():
    import cv2

    image = smooth_photo()
    result = psfr(sure(40, 20, size=140), upscale=2).run(image)
    enlarged = cv2.resize(image.pixels, (520, 400), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(result.image.pixels[:30], enlarged[:30])
    # Pixel X of the result shows what lies at X / 2 of the crop's photo, and not at X / 2 - 1 / 4.
    affine = result.faces[0].aligned.affine
    halved = np.column_stack([affine[:, :2] / 2, affine[:, 2]])
    front = np.rint(result.faces[0].restored * 255).astype(np.uint8)
    expected = cubic_warp(front, halved, (200, 200), origin=(120, 80)).astype(np.uint8)
    assert np.array_equal(result.image.pixels[80:280, 120:320], expected)


def test_psfr_stops_at_the_first_face_above_999_px():
    small, later = sure(10, 10, size=100, score=0.99), sure(30, 300, size=100, score=0.7)
    huge = sure(0, 0, size=1700, score=0.8)
    image = DecodedImage(np.full((1700, 1700, 3), 90, dtype=np.uint8))
    result = psfr(small, huge, later).run(image)
    codes = {face.detected.score: face.decision.code for face in result.faces}
    assert codes == {0.99: "restored", 0.8: "over-999-px", 0.7: "over-999-px"}


def test_psfr_pastes_the_less_sure_face_over_the_surer_one():
    left, right = sure(20, 20, size=140, score=0.7), sure(80, 20, size=140, score=0.9)
    calls = iter((0.2, 0.8))
    network = Network("psfr", 128, change=lambda lq: np.full_like(lq, next(calls)))
    pixels = psfr(left, right, network=network).run(smooth_photo()).image.pixels
    assert (pixels[90, 120] == 51).all()
    assert (pixels[90, 190] == 204).all()


def test_psfr_aligned_face_goes_through_whole():
    network = Network("psfr", 64, change=lambda lq: np.full_like(lq, 0.5))
    result = psfr(network=network, aligned=True).run(smooth_photo(100, 100))
    assert result.image.pixels.shape == (64, 64, 3)
    assert (result.image.pixels == 127).all()
    assert network.given[0].shape == (64, 64, 3)


# --- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gpen, psfr])
def test_without_a_face_or_with_strength_0_the_photo_is_untouched(make):
    image = smooth_photo()
    assert make().run(image).image is image
    result = make(sure(40, 20, size=140), strength=0).run(image)
    assert result.image is image
    assert result.faces[0].decision.code == "strength-0"
    image = DecodedImage(image.pixels, np.full((200, 260), 9, dtype=np.uint8))
    enlarged = make(upscale=1.5).run(image).image
    assert enlarged.pixels.shape == (300, 390, 3)
    assert enlarged.alpha.shape == (300, 390)


@pytest.mark.parametrize("make", [gpen, psfr])
def test_faces_can_be_chosen_and_results_repeat(make):
    faces = (sure(10, 10, size=100), sure(130, 60, size=100))
    image = photo(height=200, width=260)
    first, second = make(*faces, faces="1").run(image), make(*faces, faces="1").run(image)
    assert [face.decision.code for face in first.faces] == ["not-selected", "restored"]
    assert np.array_equal(first.image.pixels, second.image.pixels)
    assert np.array_equal(first.image.pixels[:, :100], image.pixels[:, :100])


@pytest.mark.parametrize("make", [gpen, psfr])
def test_grey_photos_become_colour_with_a_profile_of_the_same_tones(make):
    grey = _icc.grey_profile("grey", _icc.of_gamma(1.8))
    pixels = np.repeat(smooth_photo().pixels[..., :1], 3, axis=2)
    image = DecodedImage(pixels, grey=True, metadata=Metadata(icc=grey, xmp=b"x"))
    result = make(sure(40, 20, size=140)).run(image).image
    assert not result.grey
    written = decode_image(encode_image(result, format="PNG")).metadata
    assert (_icc.space_of(written.icc), written.xmp) == (b"RGB ", b"x")
    assert make(upscale=2).run(image).image.grey


def test_16_bit_photos_are_refused():
    with pytest.raises(ImageError, match="8 bits"):
        gpen(sure(40, 20, size=140)).run(photo(dtype=np.uint16))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (gpen, {"min_face": 10.0}, "min-face"),
        (gpen, {"mask": "whole"}, "--mask"),
        (psfr, {"region": "eyes=0.3"}, "--region"),
        (gpen, {"aligned": True, "upscale": 2.0}, "--upscale"),
        (gpen, {"aligned": True, "strength": 0.5}, "--strength"),
        (psfr, {"strength": 0.5}, "--strength"),
        (psfr, {"background": "auto"}, "--background"),
        (gpen, {"aligned": True, "background": "auto"}, "--background"),
    ],
)
def test_options_that_the_original_does_not_know_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_official_pipelines_exist_for_gpen_and_psfr_with_their_own_networks():
    assert official_program("gpen") is GPEN
    assert official_program("psfr") is PSFR
    with pytest.raises(ConfigError, match="gpen and psfr"):
        official_program("lite")
    with pytest.raises(ConfigError, match="brightener"):
        gpen(network=Brightener())
    with pytest.raises(BackendError, match=r"weights download parsenet\.gpen"):
        replace(gpen(), parser=None)


def test_the_normal_line_refuses_to_be_official_and_the_reverse():
    with pytest.raises(ConfigError, match="official"):
        RestorePipeline(FakeDetector(), Brightener(), config=RestoreConfig(official=True))
    with pytest.raises(ConfigError, match="official"):
        replace(gpen(), config=RestoreConfig())
    assert gpen().description.startswith("official gpen test pipeline: gpen, 512 px faces")


def test_other_backends_and_tasks_have_no_official_pipeline():
    with pytest.raises(ConfigError, match="'lite', only for gpen and psfr"):
        build_pipeline(RestoreConfig(official=True, backend="lite", device="cpu"))

    with pytest.raises(ConfigError, match="--min-face"):
        GPEN.completed(RestoreConfig(official=True, min_face=3))


def test_another_task_than_restoring_has_no_official_pipeline(gpen_weights):
    config = RestoreConfig(official=True, weights=str(gpen_weights), device="cpu")
    with pytest.raises(ConfigError, match="facerestore colorize"):
        assemble(config, COLORIZING)


@pytest.mark.parametrize(
    ("backend", "options", "parser"),
    [
        ("gpen", {}, "parsenet.gpen"),
        ("gpen", {"aligned": True}, "none"),
        ("gpen", {"parser": "landmarks"}, "landmarks"),
        ("psfr", {"aligned": True}, "parsenet.psfr-90000"),
    ],
)
def test_the_parser_is_that_of_the_program_unless_another_is_named(backend, options, parser):
    assert PROGRAMS[backend].completed(RestoreConfig(official=True, **options)).parser == parser


# --- as a user runs it -----------------------------------------------------------------------------------------------


@pytest.fixture
def gpen_weights(tmp_path):
    """Return a small random GPEN under the official key names."""
    torch.manual_seed(0)
    network = GPENGenerator(GPENConfig(64, style_dim=8, mapping_layers=2, narrow=1 / 64))
    torch.save(network.state_dict(), tmp_path / "gpen.pth")
    return tmp_path / "gpen.pth"


def test_enhance_official_says_what_it_is_and_repeats(gpen_weights, tmp_path, capsys):
    arguments = ["enhance", str(PORTRAIT), "--official", "--weights", str(gpen_weights), "--device", "cpu"]
    arguments += ["--parser", "landmarks", "--report", str(tmp_path / "report.json")]
    for name in ("one.png", "two.png"):
        assert main([*arguments, "-o", str(tmp_path / name), "--overwrite"]) == 0
    assert "restoring with official gpen test pipeline: " in capsys.readouterr().out
    before, one, two = (
        read_image(path).pixels for path in (PORTRAIT, tmp_path / "one.png", tmp_path / "two.png")
    )
    assert np.array_equal(one, two)
    assert 0.01 < (before != one).any(axis=2).mean() < 0.2
    (report,) = json.loads((tmp_path / "report.json").read_text())["photos"]
    assert report["official"] is True
    assert report["restored"] == 1
    assert report["faces"][0]["reason"] == "like every face in the official gpen pipeline"
    assert report["faces"][0]["quality"] is None


def test_enhance_official_runs_psfr(tmp_path, capsys):
    torch.manual_seed(0)
    save_state_dict(
        tmp_path / "psfr.safetensors", PSFRGenerator(PSFRConfig(64, 16, ch_range=(4, 8))).state_dict()
    )
    arguments = ["enhance", str(PORTRAIT), "--official", "--weights", str(tmp_path / "psfr.safetensors")]
    arguments += ["--device", "cpu", "--parser", "landmarks", "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 0
    assert "official psfr test pipeline: " in capsys.readouterr().out
    before, after = read_image(PORTRAIT).pixels, read_image(tmp_path / "out.png").pixels
    rows, columns = np.nonzero((before != after).any(axis=2))
    assert 100 < rows.max() - rows.min() < 260
    assert 100 < columns.max() - columns.min() < 260


def test_enhance_official_names_the_parser_that_is_missing(gpen_weights, tmp_path, capsys):
    arguments = ["enhance", str(PORTRAIT), "--official", "--weights", str(gpen_weights), "--device", "cpu"]
    arguments += ["-o", str(tmp_path / "one.png")]
    assert main(arguments) == 4
    assert "weights download parsenet.gpen" in capsys.readouterr().err
    assert main([*arguments, "--parser", "none"]) == 2
    assert "the official gpen test pipeline needs a face parser" in capsys.readouterr().err
    assert main([*arguments, "--backend", "lite"]) != 0
    assert not (tmp_path / "one.png").exists()


def test_enhance_official_takes_an_aligned_face_whole(gpen_weights, tmp_path):
    PillowImage.fromarray(smooth_photo(96, 96).pixels).save(tmp_path / "face.png")
    arguments = ["enhance", str(tmp_path / "face.png"), "--official", "--aligned", "--device", "cpu"]
    assert main([*arguments, "--weights", str(gpen_weights), "-o", str(tmp_path / "out.png")]) == 0
    assert read_image(tmp_path / "out.png").pixels.shape == (64, 64, 3)

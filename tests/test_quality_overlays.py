"""The judge under what lies over a photo: creases, scratches, interlace, scan lines, halftone, watermarks."""

import re
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from benchmarks.overlays import OVERLAYS
from facerestore.config import RestoreConfig
from facerestore.degradation.screens import Halftone
from facerestore.detection import create_detector
from facerestore.imaging.alignment import align_face, template
from facerestore.io import read_image
from facerestore.pipeline.build import build_pipeline
from facerestore.quality.judge import assess, decide
from facerestore.quality.overlays import long_lines, without_screens
from facerestore.testing.drawn_faces import COLOURINGS, draw_face
from facerestore.types import DecodedImage, DetectedFace, Outcome
from facerestore.weights import WeightsStore

SIZE = 256
PORES = 1.5
SEEDS = (
    1,
    2,
)  # of 0, a watermark tiled all over a drawn face, which has little of its own, is still taken for the face
WHOLE = (slice(40, 216), slice(40, 216))


@cache
def crisp(colouring, size):
    return draw_face(size, *COLOURINGS[colouring]) * 255


def drawn(colouring, blur=0.0, *, size=SIZE, pores=PORES):
    """Return a drawn uint8 face with pores, blurred by ``blur`` px of a face of 256 px."""
    face = crisp(colouring, size)
    face = face + np.random.default_rng(colouring).normal(0, pores, face.shape)
    if blur:
        face = cv2.GaussianBlur(face, (0, 0), blur * size / SIZE)
    return np.clip(np.rint(face), 0, 255).astype(np.uint8)


def found_in(photo, turn=0.0, share=1.0):
    """Return the face that fills ``share`` of a square photo, turned by some degrees."""
    side = len(photo)
    points = template(512) / 511 - 0.5
    angle = np.deg2rad(turn)
    points = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    landmarks = (points * share + 0.5) * (side - 1)
    return DetectedFace((0.0, 0.0, float(side), float(side)), landmarks.astype(np.float32), 1.0)


def judge(photo, size=SIZE, **place):
    return assess(align_face(photo, found_in(photo, **place), size))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_makes_no_blurred_face_sharp_and_no_sharp_face_blurred(overlay):
    draw = OVERLAYS[overlay]
    clean, degraded = [], []
    for colouring in range(len(COLOURINGS)):
        for seed in SEEDS:
            clean.append(judge(draw(drawn(colouring), np.random.default_rng(seed))).sharp)
            for blur in (1.5, 3):
                worse = draw(drawn(colouring, blur), np.random.default_rng(seed))
                degraded.append(judge(worse).sharp)
    assert not any(degraded)
    assert np.mean(clean) > 0.75


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_width_of_edges_is_that_of_the_face_below_the_overlay(overlay):
    """What is measured decides by whom a face is restored, and whether it would lose by it: sharp or not is not all."""
    below = judge(drawn(0, 2.5)).blur_px
    over = [judge(OVERLAYS[overlay](drawn(0, 2.5), np.random.default_rng(seed))).blur_px for seed in SEEDS]
    assert np.median(over) == pytest.approx(below, rel=0.35)


@pytest.mark.parametrize(("side", "turn"), [(208, 0.0), (300, 8.0), (500, -5.0)])
def test_overlays_are_seen_through_in_a_photo_that_is_larger_smaller_or_turned(side, turn):
    for name, draw in OVERLAYS.items():
        worse = draw(drawn(1, 2, size=side), np.random.default_rng(1))
        assert not judge(worse, turn=turn).sharp, name


def test_a_face_that_is_moved_along_one_axis_is_not_sharp():
    face = drawn(0).astype(np.float32)
    for size in ((9, 1), (1, 9)):
        assert not judge(np.rint(cv2.blur(face, size)).astype(np.uint8)).sharp


def test_a_little_enlarged_or_turned_a_sharp_face_stays_sharp():
    """Interpolation takes detail from the skin, which is allowed for."""
    assert judge(drawn(0)).sharp
    assert judge(drawn(0, size=205)).sharp
    assert judge(drawn(0, size=320, pores=2.5), turn=4.0).sharp
    soft = drawn(0, 1.5, size=205)
    assert judge(soft).skin_detail < 0.62 < judge(drawn(0, size=205)).skin_detail


def test_large_faces_are_judged_as_the_network_sees_them():
    assert judge(drawn(0, size=1000, pores=6)).sharp
    soft = drawn(0, 2, size=1000)
    assert not judge(soft).sharp
    assert not judge(soft, size=512).sharp


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_tiny_crops_are_measured_and_never_sharp_by_an_overlay(size):
    for draw in OVERLAYS.values():
        quality = judge(draw(drawn(0, 2, size=48), np.random.default_rng(0)), size=size)
        assert np.isfinite([quality.blur_px, quality.noise_sigma, quality.skin_detail]).all()
    assert not judge(draw(drawn(0, 2, size=48), np.random.default_rng(0))).sharp


@pytest.mark.parametrize("period", [(0, 2.0), (4.3, 0), (3.0, 3.0), (-7.1, 5.2)])
def test_a_screen_is_taken_out_and_nothing_else(period):
    y, x = np.mgrid[:SIZE, :SIZE]
    face = cv2.cvtColor(drawn(0), cv2.COLOR_RGB2GRAY).astype(np.float32)
    phase = sum(place / each for place, each in zip((x, y), period, strict=True) if each)
    screened = (face + 25 * np.cos(2 * np.pi * phase)).astype(np.float32)
    left = without_screens(screened, WHOLE) - face[WHOLE]
    assert np.abs(left).mean() < 1.5
    assert np.array_equal(without_screens(face, WHOLE), face[WHOLE])


def test_long_lines_are_found_and_short_ones_are_left():
    ground = np.full((SIZE, SIZE), 128, np.uint8)
    scratched = cv2.line(ground.copy(), (60, 60), (190, 170), 255, 2)
    mask = long_lines(scratched.astype(np.float32), SIZE)
    line = cv2.line(np.zeros_like(ground), (64, 64), (186, 166), 1, 2) > 0
    assert mask[line].all()
    assert mask.mean() < 0.05
    short = cv2.line(ground.copy(), (120, 120), (132, 130), 255, 2)
    assert not long_lines(short.astype(np.float32), SIZE).any()
    assert not long_lines(ground.astype(np.float32), SIZE).any()


def test_a_blurred_face_under_a_crease_is_restored(shared):
    """A face blurred by 2 px with a crease of 4 px over it, in a photo of 240 px."""
    photo = read_image(shared("cases/crease.jpg")).pixels
    (face,) = create_detector("embedded", weights_for=WeightsStore(offline=True).require).detect(photo)
    decision = decide(face, assess(align_face(photo, face, SIZE)))
    assert decision.outcome is Outcome.RESTORED
    assert "edges" in decision.reason


def printed(period_px, degrees, *, colours, size=SIZE):
    """Return a drawn face, printed in dots."""
    dots = Halftone(period_px, np.deg2rad(degrees), colours, 1.0, 0.05, 0.8, 7)
    return np.clip(dots.apply(drawn(1, size=size).astype(np.float32), None), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("period_px", [3.2, 4.4, 6.0])
@pytest.mark.parametrize("degrees", [0, 11])
def test_printed_dots_are_known_and_how_far_they_are_apart(colours, period_px, degrees):
    assert judge(printed(period_px, degrees, colours=colours)).dots_px == pytest.approx(period_px, rel=0.06)


def test_dots_are_measured_in_pixels_of_the_photo():
    photo = printed(6.0, 5, colours=False, size=512)
    assert judge(photo, size=512).dots_px == pytest.approx(6, rel=0.06)
    assert judge(photo, size=512, turn=30).dots_px == pytest.approx(6, rel=0.06)


def test_a_photo_says_which_faces_are_printed_in_dots_and_what_to_try():
    line = build_pipeline(RestoreConfig(aligned=True, force=True, guard=False, device="cpu"))
    report = line.run(DecodedImage(printed(4.4, 11, colours=True))).report
    assert report["faces"][0]["quality"]["dots_px"] == pytest.approx(4.4, rel=0.06)
    (note,) = [note for note in report["notes"] if "dots" in note]
    assert re.match(r"face 0: printed in dots, 4\.\d px apart, .*scan the print with descreening", note)
    clean = line.run(DecodedImage(drawn(0, 2.0))).report
    assert clean["faces"][0]["quality"]["dots_px"] is None
    assert not any("dots" in note for note in clean["notes"])


def test_a_noisy_photo_says_what_cleans_the_whole_of_it():
    noisy = drawn(0, 2.0).astype(float) + np.random.default_rng(1).normal(0, 9, (SIZE, SIZE, 3))
    photo = DecodedImage(np.clip(noisy, 0, 255).astype(np.uint8))
    config = RestoreConfig(aligned=True, force=True, guard=False, device="cpu")

    def notes(config):
        return [note for note in build_pipeline(config).run(photo).report["notes"] if "--photo" in note]

    (note,) = notes(config)
    assert re.fullmatch(r"the photo is noisy, by \d+\.\d levels; --photo cleans the whole of it", note)
    assert not notes(replace(config, photo=True))
    assert not notes(replace(config, grain=False))


def on_a_screen(period_px, *, down=True, size=SIZE):
    """Return a drawn face with every line of a screen a third darker, rows or columns."""
    place = np.arange(size) * 2 * np.pi / period_px
    shade = 1 - 0.15 * (1 + np.sin(place))
    face = drawn(1, size=size) * (shade[:, None, None] if down else shade[None, :, None])
    return np.clip(face, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("period_px", [2.4, 4.0, 7.3])
def test_lines_of_a_screen_are_known_and_how_far_they_are_apart(period_px, down):
    quality = judge(on_a_screen(period_px, down=down))
    assert quality.lines_px == pytest.approx(period_px, rel=0.05)
    assert quality.dots_px is None


def test_lines_are_measured_in_pixels_of_the_photo():
    photo = on_a_screen(6.0, size=512)
    assert judge(photo, size=512).lines_px == pytest.approx(6, rel=0.05)
    assert judge(photo, size=512, turn=30).lines_px == pytest.approx(6, rel=0.05)


def test_a_photo_says_which_faces_are_under_the_lines_of_a_screen():
    line = build_pipeline(RestoreConfig(aligned=True, force=True, guard=False, device="cpu"))
    report = line.run(DecodedImage(on_a_screen(5.0))).report
    assert report["faces"][0]["quality"]["lines_px"] == pytest.approx(5, rel=0.05)
    (note,) = [note for note in report["notes"] if "screen" in note]
    assert re.match(r"face 0: under the lines of a screen, 5\.\d px apart, .*take the picture itself", note)


@pytest.mark.parametrize("blur", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("quality", [None, 60, 25])
def test_faces_and_their_jpeg_blocks_have_no_dots_and_no_lines(blur, quality):
    for colouring in range(len(COLOURINGS)):
        photo = drawn(colouring, blur)
        if quality is not None:
            photo = cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
        measured = judge(photo)
        assert (measured.dots_px, measured.lines_px) == (None, None)


def test_lines_and_flat_pictures_have_no_dots():
    photo = drawn(0).astype(np.float32)
    photo += 25 * np.sin(np.arange(SIZE) * 1.7)[:, None, None]
    assert judge(np.clip(photo, 0, 255).astype(np.uint8)).dots_px is None
    assert judge(np.full((SIZE, SIZE, 3), 90, np.uint8)).dots_px is None


def test_real_portraits_have_no_dots_and_no_lines(shared):
    for path in sorted(shared("faces/val").rglob("*.jpg"))[::6]:
        face = cv2.resize(cv2.imread(str(path)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        measured = judge(face)
        assert (measured.dots_px, measured.lines_px) == (None, None), path.name

"""The judge: what it measures, and whom it keeps."""

from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from facerestore.degradation import degrade, preset
from facerestore.imaging.alignment import align_face, template
from facerestore.quality.judge import MIN_EYE_DISTANCE_PX, FaceQuality, assess, decide, too_small
from facerestore.quality.resolution import median_of
from facerestore.types import AlignedFace, DetectedFace, Outcome

SIZE = 256


def detected(photo_size, scale=1.0):
    landmarks = (template(photo_size) * scale).astype(np.float32)
    return DetectedFace((0.0, 0.0, float(photo_size), float(photo_size)), landmarks, 1.0)


def judge(photo, face_size=SIZE):
    """Assess an FFHQ-framed uint8 photo of any size."""
    return assess(align_face(photo, detected(len(photo)), face_size))


def pattern(seed=0, size=SIZE, *, pores=1.3):
    """Return a picture with crisp edges on ground with a little detail, as a face has."""
    rng = np.random.default_rng(seed)
    picture = np.full((size * 4, size * 4, 3), 170, np.uint8)
    for _ in range(90):
        centre = tuple(int(v) for v in rng.integers(size, size * 3, 2))
        axes = tuple(int(v) for v in rng.integers(10, 90, 2))
        colour = tuple(int(v) for v in rng.integers(40, 230, 3))
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    crisp = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(crisp + rng.normal(0, pores, crisp.shape)), 0, 255).astype(np.uint8)


def jpeg(picture, quality):
    return cv2.imdecode(
        cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
    )


def test_crisp_edges_are_sharp_and_every_fault_is_not():
    clean = pattern()
    noisy = np.clip(np.rint(clean + np.random.default_rng(1).normal(0, 6, clean.shape)), 0, 255).astype(
        np.uint8
    )
    assert judge(clean).sharp
    assert not judge(cv2.GaussianBlur(clean, (0, 0), 1.5)).sharp
    assert not judge(noisy).sharp
    assert not judge(jpeg(clean, 20)).sharp


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_blur_is_measured_in_pixels_and_noise_does_not_pass_for_detail(sigma):
    blurred = cv2.GaussianBlur(pattern(), (0, 0), sigma)
    noise = np.random.default_rng(2).normal(0, 5, blurred.shape)
    expected = np.hypot(sigma, judge(pattern()).blur_px)
    assert judge(blurred).blur_px == pytest.approx(expected, rel=0.25)
    noisy = np.clip(np.rint(blurred + noise), 0, 255).astype(np.uint8)
    assert judge(noisy).blur_px == pytest.approx(expected, rel=0.5)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_noise_is_measured_in_levels(sigma):
    flat = np.full((SIZE, SIZE, 1), 128.0)
    noise = np.random.default_rng(3).normal(0, sigma, flat.shape)
    photo = np.repeat(np.rint(flat + noise).astype(np.uint8), 3, axis=2)
    assert judge(photo).noise_sigma == pytest.approx(sigma, rel=0.06)


def test_coarse_noise_is_seen_too():
    noise = np.random.default_rng(4).normal(0, 24, (SIZE // 2, SIZE // 2))
    photo = np.clip(np.rint(cv2.resize(noise, (SIZE, SIZE)) + 128), 0, 255).astype(np.uint8)
    assert judge(np.repeat(photo[..., None], 3, axis=2)).noise_sigma > 3.5


def test_jpeg_blocks_are_found_on_the_grid_of_the_photo():
    photo = cv2.GaussianBlur(pattern(size=320), (0, 0), 2)
    assert judge(photo).blockiness < 1.1
    assert judge(jpeg(photo, 20)).blockiness > 1.3
    # A face much larger than the crop: the blocks are finer than it can show.
    assert judge(jpeg(pattern(size=1024), 20)).blockiness == 1.0


def test_an_enlarged_face_is_never_sharp():
    """A crop enlarged with hard pixel edges fools any edge measure; the photo's resolution decides."""
    small = pattern(size=100)
    quality = judge(small)
    assert quality.enlargement == pytest.approx(2.56, rel=1e-3)
    assert not quality.sharp
    blocky = align_face(small, detected(100), SIZE)
    crisp = AlignedFace(blocky.detected, blocky.affine, (pattern() / 255).astype(np.float32))
    assert assess(crisp).blur_px < 1.5
    assert not assess(crisp).sharp


def test_a_face_larger_than_the_model_is_judged_at_the_resolution_of_the_model():
    large = pattern(size=1024, pores=8)
    assert judge(cv2.GaussianBlur(large, (0, 0), 1.5)).sharp
    assert not judge(cv2.GaussianBlur(large, (0, 0), 8)).sharp


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_crop_is_measured_without_a_fault(level):
    quality = judge(np.full((SIZE, SIZE, 3), level, np.uint8))
    measured = asdict(quality)
    assert measured.pop("dots_px") is None
    assert measured.pop("lines_px") is None
    assert np.isfinite(list(measured.values())).all()
    assert not quality.sharp


def test_a_tiny_crop_is_measured_too():
    assert np.isfinite(judge(pattern(size=64), face_size=32).blur_px)


def test_too_small_is_kept_with_its_number():
    tiny = detected(28)
    assert tiny.eye_distance_px < MIN_EYE_DISTANCE_PX
    decision = too_small(tiny)
    assert decision.outcome is Outcome.KEPT
    assert decision.code == "too-small"
    assert "6.9 px between the eyes" in decision.reason
    assert "invented" in decision.reason
    assert too_small(tiny, min_eye_distance_px=5) is None
    assert too_small(detected(256)) is None


def test_decisions_and_their_reasons():
    face = detected(256)
    sharp = FaceQuality(63.0, 1.0, 1.1, 0.8, 1.0, 1.2, sharp=True)
    soft = FaceQuality(63.0, 2.2, 3.4, 7.5, 1.6, 0.34, sharp=False)
    kept, restored = decide(face, sharp), decide(face, soft)
    assert (kept.outcome, kept.code) == (Outcome.KEPT, "sharp")
    assert kept.reason.startswith("already sharp: edges 1.1 px wide")
    reduced = decide(face, replace(sharp, enlargement=0.14))
    assert reduced.code == "sharp"
    assert reduced.reason.startswith("sharp as the network sees it, reduced 7.1 times: edges 1.1 px wide")
    assert (restored.outcome, restored.code) == (Outcome.RESTORED, "restored")
    for number in ("2.20 times", "3.4 px", "7.5 levels", "1.60", "0.34 levels"):
        assert number in restored.reason
    assert decide(face, sharp, min_eye_distance_px=100).code == "too-small"


def test_degraded_portraits_are_almost_never_kept(shared):
    """The operating point: most clean portraits are kept, and next to no degraded one."""
    paths = sorted(shared("faces/val").glob("*/*.jpg"))[::3]
    rng = np.random.default_rng(5)
    clean, degraded = [], []
    for path in paths:
        face = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        face = cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        clean.append(judge(face).sharp)
        degraded += [judge(degrade(face, preset("gfpgan"), rng)[0]).sharp for _ in range(4)]
    assert np.mean(clean) > 0.7
    assert np.mean(degraded) < 0.02


@pytest.mark.parametrize("size", [1, 2, 3, 10, 501, 502])
def test_medians_are_those_of_numpy_to_the_bit(size):
    values = np.random.default_rng(size).normal(0, 30, size).astype(np.float32)
    assert median_of(values) == np.median(values)
    assert median_of(values).dtype == np.median(values).dtype

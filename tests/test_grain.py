"""Grain: measured around a face, given back to it, and nothing where a photo has none."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerestore.config import RestoreConfig
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.grain import with_grain
from facerestore.quality.grain import (
    LOW_SHARE,
    MEAN_OVER_LOW,
    PATCH_PX,
    _window,
    drawn,
    grain_of,
    grains_of,
    quantile_of,
    ring_powers,
    white_noise,
)
from facerestore.weights import WeightsStore

SIDE, FACE = 560, 256
EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)
BANDS = ((0.09, 0.18), (0.18, 0.3), (0.3, 0.42), (0.42, 0.75))
"""Of frequencies, cycles per pixel: what is below is light and shade."""


def film(sigma, *, size_px=0.8, seed=0, grey=False):
    """Return (SIDE, SIDE, 3) grain."""
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    if grey:
        white = white[..., :1].repeat(3, axis=2)
    soft = cv2.GaussianBlur(white, (0, 0), size_px)
    return soft / soft.std() * sigma


def sensor(sigma, *, jpeg_quality):
    """Return (SIDE, SIDE, 3) noise of a sensor that was compressed."""
    noise = np.random.default_rng(3).normal(0, sigma, (SIDE, SIDE, 3))
    picture = np.rint(np.clip(120 + noise, 0, 255)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32) - 120


def scene(noise, *, dtype=np.uint8, strength=1.0, on_face=True):
    """Return a grainy photo, a smooth face to be pasted into it, and where that is."""
    scale = np.iinfo(dtype).max / 255
    ramp = np.linspace(90, 150, SIDE, dtype=np.float32)[:, None, None] * np.ones((1, SIDE, 3), np.float32)
    mask = np.zeros((FACE, FACE), np.float32)
    cv2.circle(mask, (FACE // 2, FACE // 2), 110, 1.0, -1)
    place = (SIDE - FACE) // 2
    where = np.zeros((SIDE, SIDE), dtype=bool)
    where[place : place + FACE, place : place + FACE] = mask > 0
    if not on_face:
        noise = noise * ~where[..., None]
    photo = np.rint(np.clip(ramp + noise, 0, 255) * scale).astype(dtype)
    affine = np.array([[1.0, 0, -place], [0, 1, -place]])
    face = np.full((FACE, FACE, 3), 120 / 255, np.float32)
    return photo, Paste(affine=affine, restored=face, lq=face, mask=mask, strength=strength), where


def pasted(photo, paste):
    """Return the photo with the face, and the same with grain."""
    give = with_grain(photo, [paste], size=(SIDE, SIDE))
    pixels = paste_faces(photo, [paste], colour_match=False)
    return pixels, give(pixels.copy())


def bands(grain, plane=0):
    along = np.fft.fftfreq(PATCH_PX)
    radius = np.hypot(along[:, None], along[None])
    return np.array([grain.spectra[plane][(radius > low) & (radius <= high)].sum() for low, high in BANDS])


def test_the_grain_of_white_noise_is_its_standard_deviation_in_luma():
    noise = np.random.default_rng(1).normal(0, 6, (SIDE, SIDE, 1)).astype(np.float32).repeat(3, axis=2)
    found = grain_of(128 + noise, EVERYWHERE)
    assert found.alike
    assert found.levels == pytest.approx(6, rel=0.12)


def test_too_little_says_nothing_and_texture_is_not_alike():
    corner = np.zeros_like(EVERYWHERE)
    corner[:20, :20] = True
    assert grain_of(film(5), corner) is None
    half = film(1)
    half[:, : SIDE // 6] = film(12)[:, : SIDE // 6]
    half[: SIDE // 6] *= 0.1
    assert not grain_of(half, EVERYWHERE).alike


def test_content_of_some_patches_is_no_part_of_the_spectrum():
    noise = film(6)
    lines = noise.copy()
    lines[::24] += 60 * (np.arange(SIDE) % 140 < 50)[None, :, None]
    clean, found = grain_of(128 + noise, EVERYWHERE), grain_of(128 + lines, EVERYWHERE)
    assert bands(found) == pytest.approx(bands(clean), rel=0.2)


def test_drawn_grain_has_the_spectrum_that_was_measured():
    wanted = grain_of(128 + film(7), EVERYWHERE)
    noise = drawn(wanted.spectra, white_noise((SIDE, SIDE), seed=5))
    found = grain_of(noise, EVERYWHERE)
    for plane in range(3):
        assert bands(found, plane) == pytest.approx(bands(wanted, plane), rel=0.15)
    assert np.array_equal(noise, drawn(wanted.spectra, white_noise((SIDE, SIDE), seed=5)))


def test_noise_has_more_power_on_the_mean_than_three_quarters_of_its_patches_by_what_is_stated():
    noise = np.random.default_rng(0).standard_normal((4000, 1, PATCH_PX, PATCH_PX), dtype=np.float32)
    noise -= noise.mean(axis=(2, 3), keepdims=True)
    powers = ring_powers(noise * _window().astype(np.float32))[:, 0]
    assert powers.mean(axis=0) / np.quantile(powers, LOW_SHARE, axis=0) == pytest.approx(MEAN_OVER_LOW)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 37, 240])
def test_a_quantile_is_numpys(count):
    values = np.random.default_rng(count).random((count, 3, 12))
    for share in (LOW_SHARE, 0.75):
        assert np.array_equal(quantile_of(values, share), np.quantile(values, share, axis=0))


def test_parts_of_a_picture_have_the_grain_that_each_has_alone():
    half = EVERYWHERE.copy()
    half[: SIDE // 2] = False
    levels, corner = 128 + film(6), np.zeros_like(EVERYWHERE)
    one, nothing, other = grains_of(levels, [half, corner, ~half])
    assert nothing is None
    for found, where in ((one, half), (other, ~half)):
        assert np.array_equal(found.spectra, grain_of(levels, where).spectra)
    assert [found is None for found in grains_of(levels, [half, ~half], least_levels=20)] == [False, True]


GRAINS = {
    "fine film": film(7, size_px=0.5),
    "film": film(7),
    "coarse film": film(7, size_px=1.2),
    "sensor and JPEG": sensor(7, jpeg_quality=90),
    "sensor and coarse JPEG": sensor(8, jpeg_quality=75),
    "grey scan": film(7, size_px=1.0, grey=True),
}


@pytest.mark.parametrize("kind", GRAINS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_face_gets_the_grain_of_its_surroundings_in_every_band_and_nothing_else_changes(kind, dtype):
    photo, paste, where = scene(GRAINS[kind], dtype=dtype)
    before, after = pasted(photo, paste)
    assert np.array_equal(after[~where], before[~where])
    levels = after.astype(np.float32) * np.float32(255 / np.iinfo(dtype).max)
    outside, inside = grain_of(levels, ~where), grain_of(levels, where)
    assert bands(inside) == pytest.approx(bands(outside), rel=0.2)
    assert inside.levels == pytest.approx(outside.levels, rel=0.1)
    if kind in ("fine film", "film"):  # of others, the finest colour is less than rounding
        for plane in (1, 2):
            assert bands(inside, plane) == pytest.approx(bands(outside, plane), rel=0.25)


def test_a_grey_photo_stays_grey():
    _, after = pasted(*(made := scene(GRAINS["grey scan"]))[:2])
    assert (after == after[..., :1]).all()
    assert after[made[2]].std() > 5


@pytest.mark.parametrize("noise", [film(0.5), np.zeros((SIDE, SIDE, 3), np.float32)])
def test_without_grain_no_pixel_changes(noise):
    before, after = pasted(*scene(noise)[:2])
    assert np.array_equal(after, before)


def test_texture_around_a_face_that_has_none_is_no_grain():
    before, after = pasted(*scene(film(7), on_face=False)[:2])
    assert np.array_equal(after, before)


def test_a_face_with_its_own_grain_gets_none():
    before, after = pasted(*scene(film(7), strength=0.05)[:2])
    assert np.array_equal(after, before)


def test_restoring_gives_grain_unless_told_not_to(tmp_path):
    store, config = WeightsStore(tmp_path), RestoreConfig(device="cpu")
    assert build_pipeline(config, store=store).grain is with_grain
    assert build_pipeline(replace(config, backend="lite"), store=store).grain is with_grain
    assert build_pipeline(replace(config, grain=False), store=store).grain is None

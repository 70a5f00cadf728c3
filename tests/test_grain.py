"""Grain: measured around a face, given back to it, and nothing where a photo has none."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerestore.config import RestoreConfig
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.grain import with_grain
from facerestore.quality.grain import PATCH_PX, drawn, grain_of, missing
from facerestore.weights import WeightsStore

SIDE, FACE = 360, 128
EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)
BANDS = ((0.15, 0.25), (0.25, 0.35), (0.35, 0.5))
"""Of frequencies, cycles per pixel: what is below is light and shade."""


def film(sigma, *, size_px=0.8, seed=0, grey=False):
    """Return (SIDE, SIDE, 3) grain."""
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    if grey:
        white = white[..., :1].repeat(3, axis=2)
    soft = cv2.GaussianBlur(white, (0, 0), size_px)
    return soft / soft.std() * sigma


def pasted(noise, *, dtype=np.uint8, strength=1.0):
    """Return a grainy photo with a smooth face in it, its paste, and where the face is."""
    scale = np.iinfo(dtype).max / 255
    ramp = np.linspace(90, 150, SIDE, dtype=np.float32)[:, None, None] * np.ones((1, SIDE, 3), np.float32)
    photo = np.rint(np.clip(ramp + noise, 0, 255) * scale).astype(dtype)
    mask = np.zeros((FACE, FACE), np.float32)
    cv2.circle(mask, (FACE // 2, FACE // 2), 52, 1.0, -1)
    place = (SIDE - FACE) / 2
    affine = np.array([[1.0, 0, -place], [0, 1, -place]])
    face = np.full((FACE, FACE, 3), 120 / 255, np.float32)
    paste = Paste(affine=affine, restored=face, lq=face, mask=mask, strength=strength)
    pixels = paste_faces(photo, [paste], colour_match=False)
    where = np.zeros((SIDE, SIDE), dtype=bool)
    where[116 : 116 + FACE, 116 : 116 + FACE] = mask > 0
    return pixels, paste, where


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


def test_drawn_grain_has_the_spectrum_that_was_measured():
    wanted = grain_of(128 + film(7), EVERYWHERE)
    noise = drawn(wanted.spectra, (SIDE, SIDE), seed=5)
    found = grain_of(noise, EVERYWHERE)
    for plane in range(3):
        assert bands(found, plane) == pytest.approx(bands(wanted, plane), rel=0.2)
    assert np.array_equal(noise, drawn(wanted.spectra, (SIDE, SIDE), seed=5))
    assert missing(wanted, wanted).max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_face_gets_the_grain_of_its_surroundings_and_nothing_else_changes(dtype):
    pixels, paste, where = pasted(film(7), dtype=dtype)
    before = pixels.copy()
    after = with_grain(pixels, [paste], size=(SIDE, SIDE))
    assert np.array_equal(after[~where], before[~where])
    levels = after.astype(np.float32) * np.float32(255 / np.iinfo(dtype).max)
    outside, inside = grain_of(levels, ~where), grain_of(levels, where)
    for plane in range(3):
        assert bands(inside, plane) == pytest.approx(bands(outside, plane), rel=0.2)
    assert inside.levels == pytest.approx(outside.levels, rel=0.1)


def test_a_grey_photo_stays_grey():
    pixels, paste, where = pasted(film(7, grey=True))
    after = with_grain(pixels, [paste], size=(SIDE, SIDE))
    assert (after == after[..., :1]).all()
    assert after[where].std() > 5


@pytest.mark.parametrize("noise", [film(0.5), np.zeros((SIDE, SIDE, 3), np.float32)])
def test_without_grain_no_pixel_changes(noise):
    pixels, paste, _ = pasted(noise)
    assert np.array_equal(with_grain(pixels.copy(), [paste], size=(SIDE, SIDE)), pixels)


def test_a_face_with_its_own_grain_gets_none():
    pixels, paste, _ = pasted(film(7), strength=0.05)
    assert np.array_equal(with_grain(pixels.copy(), [paste], size=(SIDE, SIDE)), pixels)


def test_restoring_gives_grain_unless_told_not_to(tmp_path):
    store, config = WeightsStore(tmp_path), RestoreConfig(device="cpu")
    assert build_pipeline(config, store=store).grain is with_grain
    assert build_pipeline(replace(config, backend="lite"), store=store).grain is with_grain
    assert build_pipeline(replace(config, grain=False), store=store).grain is None

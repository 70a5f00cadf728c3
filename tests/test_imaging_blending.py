"""Pasting: exact where it must be, seamless where faces meet, and true in colour."""

import itertools

import cv2
import numpy as np
import pytest

from facerestore.errors import BackendError, ConfigError
from facerestore.imaging.alignment import align_face, invert_affine, transform_points
from facerestore.imaging.blending import Paste, paste_faces
from facerestore.imaging.pixels import match_colour, resize_image
from facerestore.parsing import face_mask, geometric_mask
from facerestore.types import DetectedFace

SIZE = 64


def similarity(scale, degrees, x, y, size=SIZE):
    """Return the affine of a crop of ``size`` px, seen at ``scale`` and turned, centred on image pixel (x, y)."""
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, centre - linear @ np.array([x, y], dtype=float)])


def smooth(height, width, dtype=np.uint8, seed=0):
    """Return a smooth random RGB photo."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.2, 0.8, (height // 16 + 2, width // 16 + 2, 3))
    photo = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint(np.clip(photo, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def flat_paste(affine, level, *, mask=None, strength=1.0, size=SIZE):
    face = np.full((size, size, 3), level, np.float32)
    return Paste(affine, face, face, geometric_mask(size) if mask is None else mask, strength)


def crop(photo, affine, size=SIZE):
    """Return the float [0, 1] crop of a photo."""
    scaled = photo.astype(np.float32) / np.iinfo(photo.dtype).max
    return cv2.warpAffine(
        scaled, affine, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_outside_the_masks_every_pixel_is_the_input(dtype):
    rng = np.random.default_rng(1)
    photo = rng.integers(0, np.iinfo(dtype).max + 1, (120, 160, 3)).astype(dtype)
    before = photo.copy()
    affine = similarity(0.9, 25, 80, 60)
    mask = geometric_mask(SIZE)
    result = paste_faces(photo, [flat_paste(affine, 0.5, mask=mask)])
    assert result.dtype == dtype
    assert np.array_equal(photo, before)
    y, x = np.mgrid[:120, :160]
    crop_xy = transform_points(affine, np.stack([x.ravel(), y.ravel()], axis=1)).reshape(120, 160, 2)
    xi, yi = np.floor(crop_xy[..., 0]).astype(int), np.floor(crop_xy[..., 1]).astype(int)
    padded = np.pad(mask, 2)
    inside = (xi >= -1) & (yi >= -1) & (xi < SIZE) & (yi < SIZE)
    reach = np.zeros((120, 160))
    for dx, dy in itertools.product((0, 1), (0, 1)):
        reach[inside] += padded[yi[inside] + 2 + dy, xi[inside] + 2 + dx]
    outside = reach == 0
    assert outside.mean() > 0.5
    assert np.array_equal(result[outside], photo[outside])
    changed = (result != photo).any(axis=2)
    assert changed[reach > 2].mean() > 0.99


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_0_returns_the_pixels_of_the_input(dtype):
    photo = np.random.default_rng(2).integers(0, np.iinfo(dtype).max + 1, (90, 90, 3)).astype(dtype)
    result = paste_faces(photo, [flat_paste(similarity(1, 0, 45, 45), 0.9, strength=0.0)])
    assert np.array_equal(result, photo)
    assert not np.shares_memory(result, photo)


def test_strength_is_the_share_of_the_restored_face():
    photo = np.full((90, 90, 3), 100, np.uint8)
    for strength, centre in ((0.25, 125), (0.5, 150), (1, 200)):
        paste = flat_paste(similarity(1, 0, 45, 45), 200 / 255, strength=strength)
        assert paste_faces(photo, [paste], colour_match=False)[45, 45, 0] == centre


def test_rounding_is_to_nearest_and_saturates():
    photo = np.zeros((90, 90, 3), np.uint8)
    affine = similarity(1, 0, 45, 45)
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[8:-8, 8:-8] = 1
    for level, expected in ((100.6, 101), (100.4, 100), (300.0, 255), (-20.0, 0)):
        result = paste_faces(photo, [flat_paste(affine, level / 255, mask=mask)], colour_match=False)
        assert result[45, 45, 0] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.3])
def test_pasting_the_crop_back_changes_nothing_to_speak_of(dtype, scale):
    """The inverse is sub-pixel exact: a smooth photo survives its own crop."""
    photo = smooth(200, 220, dtype)
    affine = similarity(scale, 17, 108.3, 97.6, 128)
    lq = crop(photo, affine, 128)
    result = paste_faces(photo, [Paste(affine, lq, lq, geometric_mask(128))])
    error = np.abs(result.astype(float) - photo) / np.iinfo(dtype).max
    assert error.max() < 2.5 / 255


@pytest.mark.parametrize("upscale", [2.0, 3.0, 1.5, 0.5])
def test_at_every_upscale_the_face_lies_exactly_on_the_background(upscale):
    """A face that holds the photo itself must agree with the resized background: no half-pixel shift."""
    x = np.linspace(0, 3 * np.pi, 181)
    wave = np.rint(127 + 100 * np.sin(x)[None, :] * np.cos(np.linspace(0, 2 * np.pi, 141))[:, None])
    photo = np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)
    affine = similarity(1.0, 0, 90, 70, 128)
    lq = crop(photo, affine, 128)
    pasted = paste_faces(photo, [Paste(affine, lq, lq, geometric_mask(128))], upscale=upscale)
    background = resize_image(photo, upscale)
    assert pasted.shape == background.shape == (round(141 * upscale), round(181 * upscale), 3)
    assert not np.array_equal(pasted, background)
    # The slope is 5.2 levels a pixel: a shift of half an input pixel would show as 2.6 levels.
    assert np.abs(pasted.astype(float) - background).max() <= 1
    assert abs((pasted.astype(float) - background).mean()) < 0.02


def test_a_mark_in_the_face_lands_on_the_exact_pixel_of_the_canvas():
    photo = np.zeros((100, 100, 3), np.uint8)
    affine = similarity(2.0, 30, 50, 50, 128)
    face = np.zeros((128, 128, 3), np.float32)
    y, x = np.mgrid[:128, :128]
    face[...] = np.exp(-((x - 70.0) ** 2 + (y - 58.0) ** 2) / (2 * 4.0**2))[..., None]
    paste = Paste(affine, face, face, np.pad(np.ones((124, 124), np.float32), 2))
    for upscale in (1, 2, 4):
        result = paste_faces(photo, [paste], upscale=upscale, colour_match=False)[..., 0].astype(float)
        y, x = np.mgrid[: result.shape[0], : result.shape[1]]
        found = np.array([(result * x).sum(), (result * y).sum()]) / result.sum()
        expected = transform_points(invert_affine(affine), [(70.0, 58.0)])[0] * upscale + (upscale - 1) / 2
        assert np.abs(found - expected).max() < 0.03 * upscale


def test_a_face_pasted_smaller_is_averaged_not_sampled():
    """A fine checkerboard, which point sampling turns into moire, becomes its mean."""
    photo = np.full((60, 60, 3), 128, np.uint8)
    y, x = np.mgrid[:256, :256]
    board = np.repeat(((x + y) % 2).astype(np.float32)[..., None], 3, axis=2)
    mask = np.pad(np.ones((200, 200), np.float32), 28)
    paste = Paste(similarity(7.3, 11, 30, 30, 256), board, board, mask)
    result = paste_faces(photo, [paste], colour_match=False)
    assert np.abs(result.astype(int) - 128).max() <= 6


def test_overlapping_faces_do_not_depend_on_their_order():
    photo = smooth(150, 200)
    rng = np.random.default_rng(3)
    pastes = []
    for x, y, degrees in ((80, 70, 0), (105, 75, 20), (92, 95, -15)):
        face = rng.uniform(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
        pastes.append(Paste(similarity(0.8, degrees, x, y), face, face, geometric_mask(SIZE)))
    results = [paste_faces(photo, order) for order in itertools.permutations(pastes)]
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_overlapping_faces_fade_into_each_other_without_a_seam():
    photo = np.full((120, 200, 3), 128, np.uint8)
    left, right = similarity(0.6, 0, 75, 60), similarity(0.6, 0, 115, 60)
    pastes = [flat_paste(left, 90 / 255), flat_paste(right, 166 / 255)]
    alone = [paste_faces(photo, [paste], colour_match=False).astype(int) for paste in pastes]
    both = paste_faces(photo, pastes, colour_match=False).astype(int)
    steepest = max(np.abs(np.diff(result, axis=1)).max() for result in alone)
    assert np.abs(np.diff(both, axis=1)).max() <= 2 * steepest
    assert both.min() == 90
    assert both.max() == 166
    same = paste_faces(photo, [flat_paste(left, 0.25), flat_paste(right, 0.25)], colour_match=False)
    covered = np.abs(same[60, 75:116, 0].astype(int) - 64)
    assert covered.max() <= 40  # where both masks are half, together they cover three quarters


def test_faces_that_do_not_touch_are_pasted_alone():
    photo = smooth(100, 300)
    pastes = [flat_paste(similarity(1, 0, x, 50), 0.5) for x in (50, 240)]
    both = paste_faces(photo, pastes)
    assert np.array_equal(both[:, :150], paste_faces(photo, pastes[:1])[:, :150])
    assert np.array_equal(both[:, 150:], paste_faces(photo, pastes[1:])[:, 150:])


def test_memory_is_set_by_the_face_and_not_by_the_canvas(monkeypatch):
    """Every warp stays within the face's own rectangle, and large ones are cut into bands."""
    sizes = []
    warp = cv2.warpAffine

    def recorded(source, matrix, size, **options):
        sizes.append(size)
        return warp(source, matrix, size, **options)

    monkeypatch.setattr(cv2, "warpAffine", recorded)
    photo = np.zeros((1000, 1400, 3), np.uint8)
    paste_faces(photo, [flat_paste(similarity(1, 0, 300, 300), 0.5)])
    assert max(width * height for width, height in sizes) < 1.2 * SIZE**2
    sizes.clear()
    paste_faces(photo, [flat_paste(similarity(0.05, 0, 700, 500), 0.5)])
    assert len(sizes) > 2
    assert max(width * height for width, height in sizes) <= 2**19


def test_bands_join_without_a_trace():
    photo = smooth(900, 1000)
    affine = similarity(0.075, 10, 500, 450)
    lq = crop(photo, affine)
    result = paste_faces(photo, [Paste(affine, lq, lq, geometric_mask(SIZE))], colour_match=False)
    steps = np.abs(np.diff(result.astype(int), axis=0)).max(axis=(1, 2))
    assert steps.max() <= np.abs(np.diff(photo.astype(int), axis=0)).max() + 3


def test_a_face_over_the_border_or_outside_the_photo():
    photo = smooth(80, 80)
    result = paste_faces(photo, [flat_paste(similarity(1, 0, 2, 78), 0.5)], colour_match=False)
    assert not np.array_equal(result, photo)
    assert np.array_equal(result[:30], photo[:30])
    assert np.array_equal(paste_faces(photo, [flat_paste(similarity(1, 0, 500, 40), 0.5)]), photo)


def test_the_restored_face_takes_the_colours_of_the_photo():
    """A cast, a wrong exposure and a wrong shading are undone; the new detail stays."""
    rng = np.random.default_rng(4)
    base = crop(smooth(128, 128), similarity(1, 0, 64, 64, 128), 128)
    detail = rng.normal(0, 0.04, base.shape).astype(np.float32)
    detail -= cv2.GaussianBlur(detail, (0, 0), 4)
    shading = np.linspace(-0.1, 0.1, 128, dtype=np.float32)[None, :, None]
    cast = np.array([0.08, 0.0, -0.1], np.float32)
    restored = np.clip(base + detail + cast + shading, 0, 1).astype(np.float32)
    mask = geometric_mask(128)
    matched = match_colour(restored, base, mask)
    inside = mask > 0.5
    assert np.abs((matched - base)[inside].mean(axis=0)).max() < 0.004
    assert np.abs(cv2.GaussianBlur(matched - base, (0, 0), 8)[inside]).max() < 0.02
    assert np.corrcoef((matched - base)[inside].ravel(), detail[inside].ravel())[0, 1] > 0.95


def test_what_lies_outside_the_mask_does_not_bleed_into_the_colours():
    lq = np.full((128, 128, 3), 0.5, np.float32)
    mask = geometric_mask(128)
    lq[mask == 0] = 1.0
    matched = match_colour(np.full_like(lq, 0.5), lq, mask)
    assert np.abs(matched[mask > 0.5] - 0.5).max() < 0.01


def test_on_a_flat_photo_a_cast_leaves_no_visible_patch():
    """The seam test: a face that is the photo but for a colour cast vanishes into a flat photo."""
    photo = np.full((200, 200, 3), (180, 140, 110), np.uint8)
    affine = similarity(1, 8, 100, 100, 128)
    lq = crop(photo, affine, 128)
    restored = np.clip(lq + np.array([0.06, -0.05, 0.08], np.float32), 0, 1)
    result = paste_faces(photo, [Paste(affine, restored, lq, geometric_mask(128))])
    assert np.abs(result.astype(int) - photo).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_photo_stays_grey(dtype):
    photo = np.repeat(smooth(150, 150, dtype)[..., :1], 3, axis=2)
    face = DetectedFace(
        (30, 30, 120, 120),
        np.array([(58, 62), (95, 66), (74, 88), (57, 103), (88, 106)], np.float32),
        1.0,
    )
    aligned = align_face(photo, face, 128)
    colourful = np.random.default_rng(5).uniform(0, 1, (128, 128, 3)).astype(np.float32)
    paste = Paste(aligned.affine, colourful, aligned.lq, face_mask(aligned), 0.8)
    for upscale in (1, 1.7):
        result = paste_faces(photo, [paste], upscale=upscale)
        assert np.array_equal(result[..., 0], result[..., 1])
        assert np.array_equal(result[..., 0], result[..., 2])


def test_a_sepia_photo_stays_sepia_and_a_colour_photo_keeps_its_new_colours():
    tint = np.array([0.08, 0.0, -0.12], np.float32)
    grey = crop(smooth(128, 128), similarity(1, 0, 64, 64, 128), 128).mean(axis=2, keepdims=True)
    noise = np.random.default_rng(6).normal(0, 0.05, (128, 128, 3)).astype(np.float32)
    mask = geometric_mask(128)
    inside = mask > 0.5
    sepia = (grey + tint * (1 - grey)).astype(np.float32)
    matched = match_colour(np.clip(grey + noise, 0, 1).astype(np.float32), sepia, mask)
    luma = (matched @ np.array([0.299, 0.587, 0.114], np.float32))[inside]
    chroma = matched[..., 0][inside] - luma
    assert chroma.mean() == pytest.approx(0.06, abs=0.03)
    assert (chroma - np.polyval(np.polyfit(luma, chroma, 1), luma)).std() < 0.004
    assert luma.std() > 0.03
    colour = crop(smooth(128, 128, seed=7), similarity(1, 0, 64, 64, 128), 128)
    matched = match_colour(np.clip(colour + noise, 0, 1).astype(np.float32), colour, mask)
    red_green = (matched[..., 0] - matched[..., 1]) - (colour[..., 0] - colour[..., 1])
    assert red_green[inside].std() > 0.05


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(31, 47), (31, 47, 3)])
def test_resize_keeps_layout_dtype_and_position(dtype, shape):
    pixels = smooth(31, 47, dtype)[..., : shape[-1] if len(shape) == 3 else 1].reshape(shape)
    assert np.array_equal(resize_image(pixels, 1), pixels)
    large = resize_image(pixels, 2)
    assert large.dtype == dtype
    assert large.shape == (62, 94, *shape[2:])
    back = large.reshape(31, 2, 47, 2, -1).mean(axis=(1, 3)).reshape(shape)
    assert np.abs(back - pixels).max() / np.iinfo(dtype).max < 0.01
    assert resize_image(pixels, 0.25).shape == (8, 12, *shape[2:])
    assert resize_image(pixels, 0.001).shape == (1, 1, *shape[2:])


def test_a_reduced_background_is_averaged():
    y, x = np.mgrid[:64, :64]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    assert np.abs(resize_image(board, 0.25).astype(int) - 128).max() <= 1


def test_no_faces_gives_the_photo():
    photo = smooth(40, 50)
    assert np.array_equal(paste_faces(photo, []), photo)
    assert paste_faces(photo, [], upscale=2).shape == (80, 100, 3)


def test_bad_input_is_refused():
    affine, face, mask = similarity(1, 0, 32, 32), np.zeros((64, 64, 3), np.float32), geometric_mask(64)
    with pytest.raises(ConfigError, match="differ"):
        Paste(affine, face, face[:32, :32], mask)
    with pytest.raises(ConfigError, match="mask"):
        Paste(affine, face, face, geometric_mask(32))
    with pytest.raises(ConfigError, match="no inverse"):
        Paste(np.zeros((2, 3)), face, face, mask)
    with pytest.raises(ConfigError, match=r"strength is 1\.5"):
        Paste(affine, face, face, mask, 1.5)
    with pytest.raises(BackendError, match="finite"):
        Paste(affine, face + np.float32(np.nan), face, mask)
    photo = smooth(40, 40)
    for upscale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="upscale"):
            paste_faces(photo, [], upscale=upscale)
    with pytest.raises(ConfigError, match="float32"):
        resize_image(photo.astype(np.float32), 2)

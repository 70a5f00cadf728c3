"""Alignment: templates, the similarity, and the crop's way there and back."""

import numpy as np
import pytest
from golden import golden_arrays

from facerestore.errors import ConfigError, ImageError
from facerestore.imaging.alignment import (
    FFHQ_TEMPLATE,
    affine_scale,
    align_face,
    compose_affine,
    estimate_similarity,
    gpen_template,
    invert_affine,
    resize_affine,
    template,
    transform_points,
    upscale_affine,
    warp_to_crop,
)
from facerestore.types import DetectedFace


def similarity(scale, degrees, shift):
    angle = np.deg2rad(degrees)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def face_at(affine_from_template, size=512):
    landmarks = transform_points(affine_from_template, template(size)).astype(np.float32)
    return DetectedFace(box=(0.0, 0.0, 1.0, 1.0), landmarks=landmarks, score=1.0)


def gradient(height, width, dtype=np.uint16):
    """Red encodes x, green encodes y, blue their sum: a crop's colour says where it was read."""
    top = np.iinfo(dtype).max
    y, x = np.mgrid[:height, :width]
    planes = [x / (width - 1), y / (height - 1), (x / (width - 1) + y / (height - 1)) / 2]
    return np.rint(np.stack(planes, axis=-1) * top).astype(dtype)


@pytest.mark.parametrize("size", [64, 256, 512, 1024])
def test_template_scales_about_pixel_centres(size):
    scale = size / 512
    assert np.allclose(template(size), transform_points(resize_affine(scale), FFHQ_TEMPLATE))
    assert np.allclose(template(512), FFHQ_TEMPLATE)


def test_gpen_alignment_matches_the_official_one():
    golden = golden_arrays("gpen_align")
    for size in (256, 512, 1024, 2048):
        assert np.allclose(gpen_template(size), golden[f"ref5.{size}"], atol=1e-9)
    for j in range(3):
        affine = estimate_similarity(golden[f"align.{j}.landmarks"], gpen_template(512))
        assert np.allclose(affine, golden[f"align.{j}.tfm"], atol=1e-4)
        assert np.allclose(invert_affine(affine), golden[f"align.{j}.tfm_inv"], atol=1e-4)


@pytest.mark.parametrize(("scale", "degrees"), [(0.1, 0), (1, 37), (3.7, -120), (12, 180)])
def test_similarity_is_recovered_exactly(scale, degrees):
    truth = similarity(scale, degrees, (-31.25, 77.5))
    found = estimate_similarity(FFHQ_TEMPLATE, transform_points(truth, FFHQ_TEMPLATE))
    assert np.allclose(found, truth, atol=1e-9)
    assert affine_scale(found) == pytest.approx(scale)


def test_similarity_never_mirrors():
    mirrored = FFHQ_TEMPLATE * (-1, 1)
    assert np.linalg.det(estimate_similarity(mirrored, FFHQ_TEMPLATE)[:, :2]) > 0


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 3.0),
        np.full((5, 2), np.nan),
        np.array([[0, 0], [1, 0], [2, 0], [3, 0], [np.inf, 0]]),
        np.zeros((5, 3)),
        np.zeros((1, 2)),
        FFHQ_TEMPLATE[:4],
    ],
)
def test_unusable_points_are_refused(points):
    with pytest.raises(ConfigError):
        estimate_similarity(points, FFHQ_TEMPLATE)


def test_singular_affine_and_bad_sizes_are_refused():
    with pytest.raises(ConfigError, match="no inverse"):
        invert_affine(np.zeros((2, 3)))
    for upscale in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="upscale"):
            upscale_affine(resize_affine(1), upscale)
    for size in (0, -4):
        with pytest.raises(ConfigError, match="face size"):
            template(size)


@pytest.mark.parametrize("upscale", [1, 1.5, 2, 3, 4])
def test_upscaled_inverse_lands_on_the_pixel_centres_of_the_enlarged_image(upscale):
    affine = similarity(0.83, 21, (-40.3, 12.9))
    points = np.array([[0.0, 0.0], [17.25, 3.5], [511.0, 511.0]])
    in_photo = transform_points(invert_affine(affine), points)
    in_enlarged = transform_points(invert_affine(upscale_affine(affine, upscale)), points)
    assert np.allclose(in_enlarged, upscale * in_photo + (upscale - 1) / 2, atol=1e-9)


def test_each_axis_has_the_ratio_and_the_offset_of_its_own_rounding():
    affine = upscale_affine(resize_affine(1), (1.5, 2.0))
    assert np.allclose(transform_points(invert_affine(affine), [(10, 20)]), [(15.25, 40.5)])
    with pytest.raises(ConfigError, match="upscale"):
        upscale_affine(resize_affine(1), (1.5, 0.0))


def test_upscale_offset_is_that_of_a_real_resize():
    """A spot of the photo, enlarged by an exact 2x block copy, is found where the upscaled affine says."""
    photo = np.zeros((40, 40, 3), dtype=np.uint8)
    photo[21, 13] = 255
    enlarged = photo.repeat(2, axis=0).repeat(2, axis=1)
    y, x = (axis.mean() for axis in np.nonzero(enlarged[..., 0]))
    identity = resize_affine(1)
    assert np.allclose(transform_points(upscale_affine(identity, 2), [(x, y)]), [(13, 21)])


def test_landmarks_land_on_the_template():
    face = face_at(similarity(0.6, 15, (300, 200)))
    aligned = align_face(gradient(800, 900), face, 256)
    assert aligned.lq.shape == (256, 256, 3)
    assert aligned.lq.dtype == np.float32
    assert np.allclose(transform_points(aligned.affine, face.landmarks), template(256), atol=1e-4)
    assert aligned.detected is face


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [0.3, 0.9, 1.0, 1.7, 2.6, 4.4, 7.3])
def test_crop_colours_tell_their_place_within_a_fraction_of_a_pixel(scale, dtype):
    """``scale`` photo pixels per crop pixel: from enlarging threefold to reducing sevenfold."""
    height, width, size = 1203, 1310, 96
    affine = invert_affine(similarity(scale, 25, (300.3, 150.7)))
    crop = warp_to_crop(gradient(height, width, dtype), affine, size)
    y, x = np.mgrid[:size, :size]
    expected = transform_points(invert_affine(affine), np.stack([x, y], axis=-1).reshape(-1, 2))
    found = crop[..., :2].reshape(-1, 2) * (width - 1, height - 1)
    inside = ((expected > 8) & (expected < (width - 9, height - 9))).all(axis=1)
    assert inside.mean() > 0.6
    # OpenCV reads at multiples of 1/32 px; an 8-bit level of this gradient is 5 px wide.
    tolerance = 0.1 if dtype == np.uint16 else 3.5
    assert np.abs(found - expected)[inside].max() < tolerance
    assert np.abs((found - expected)[inside].mean(axis=0)).max() < tolerance / 4


def test_crop_goes_back_to_its_place():
    """A crop warped back with the inverse affine meets the photo it came from, to a small part of a pixel."""
    import cv2

    photo = gradient(600, 700)
    aligned = align_face(photo, face_at(similarity(0.5, -20, (250, 150))), 512)
    back = cv2.warpAffine(aligned.lq, invert_affine(aligned.affine), (700, 600), flags=cv2.INTER_LINEAR)
    inside = (
        cv2.warpAffine(np.ones((512, 512), np.float32), invert_affine(aligned.affine), (700, 600)) > 0.999
    )
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)
    error_px = np.abs(back[..., :2] - photo[..., :2] / 65535) * (699, 599)
    assert inside.sum() > 10_000
    assert error_px[inside].max() < 0.1


def test_reducing_averages_and_does_not_alias():
    """A one-pixel checkerboard has no detail left at a quarter of its size: only its mean."""
    y, x = np.mgrid[:512, :512]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = warp_to_crop(board, similarity(0.21, 10, (3.3, -2.1)), 64)
    assert np.abs(crop - 0.5).max() < 0.03


def test_photo_is_reflected_beyond_its_border():
    crop = warp_to_crop(np.full((30, 30, 3), 200, np.uint8), similarity(1, 0, (40, 40)), 100)
    assert np.allclose(crop, 200 / 255, atol=1e-5)


def test_face_outside_the_photo_and_bad_pictures_are_refused():
    photo = np.zeros((30, 30, 3), np.uint8)
    with pytest.raises(ImageError, match="outside"):
        warp_to_crop(photo, similarity(1, 0, (400, 0)), 64)
    for bad in (
        np.zeros((30, 30), np.uint8),
        np.zeros((30, 30, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(ImageError):
            warp_to_crop(bad, resize_affine(1), 64)


def test_memory_follows_the_crop_not_the_photo():
    import tracemalloc

    photo = np.zeros((4000, 5000, 3), np.uint8)
    affine = invert_affine(similarity(30, 0, (10, 10)))
    tracemalloc.start()
    warp_to_crop(photo, affine, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6, "float bands of the region, never a float photo of 240 MB"


def test_composition_applies_the_inner_first():
    outer, inner = similarity(2, 30, (1, 2)), similarity(0.5, -70, (9, -4))
    points = np.array([[1.0, 2.0], [-3.0, 8.0]])
    expected = transform_points(outer, transform_points(inner, points))
    assert np.allclose(transform_points(compose_affine(outer, inner), points), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_photos_of_one_row_or_column_are_cut_and_judged(shape):
    """OpenCV does not come to an end of reflecting those."""
    image = np.full((*shape, 3), 200, np.uint8)
    affine = resize_affine(64 / max(shape))
    crop = warp_to_crop(image, affine, 64)
    np.testing.assert_allclose(crop, 200 / 255, atol=1e-6)

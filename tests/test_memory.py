"""What a photo takes of memory from file to file: counted in copies of its pixels, as Python's allocator sees them."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from PIL import Image

from facerestore.batch import PhotoJob, Work, do_job
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.io import DEFAULT_MAX_PIXELS, encode_image, read_image, write_image
from facerestore.pipeline.tasks.colorize import COLORIZING
from facerestore.types import DecodedImage, Metadata

WIDTH, HEIGHT = 4000, 3000
PIXEL_BYTES = WIDTH * HEIGHT * 3
ROTATED_EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
BESIDE = 0.7
"""What may be there beside the pixels, in copies of them: files, and the band in which a face is blended (20 MB)."""


def soft_photo(**facts):
    """Return 12 megapixels that compress well, so that the files hardly count."""
    rows = np.linspace(0, 200, HEIGHT, dtype=np.uint8)[:, None, None]
    columns = np.linspace(0, 50, WIDTH, dtype=np.uint8)[None, :, None]
    return DecodedImage(rows + columns + np.zeros(3, np.uint8), **facts)


def copies_held(tmp_path, suffix, image, *, stored=False, **options):
    """Return the most memory that a photo takes on its way through a job, in copies of its pixels."""
    source, target = tmp_path / f"photo{suffix}", tmp_path / f"result{suffix}"
    if stored:
        Image.fromarray(image.pixels).save(source)
    else:
        write_image(source, image)
    line = pipeline(face_at(400, 300), face_at(1000, 2000, size=700), config=RestoreConfig(force=True))
    job = PhotoJob(source, target, target)
    do_job(job, Work(line, OutputConfig(overwrite=True)))  # what is made only once
    tracemalloc.start()
    try:
        assert do_job(job, Work(line, OutputConfig(overwrite=True, **options))).error is None
        return tracemalloc.get_traced_memory()[1] / PIXEL_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photo_is_held_once_from_file_to_file(tmp_path, suffix):
    assert copies_held(tmp_path, suffix, soft_photo()) < 1 + BESIDE


def test_an_uncompressed_photo_is_held_as_file_and_pixels(tmp_path):
    assert copies_held(tmp_path, ".tif", soft_photo(), stored=True) < 2 + BESIDE


def test_a_grey_photo_is_held_in_three_channels_and_one(tmp_path):
    assert copies_held(tmp_path, ".jpg", soft_photo(grey=True)) < 4 / 3 + BESIDE


def test_a_photo_with_alpha_is_held_once_and_its_alpha_once_and_where_it_came_from(tmp_path):
    alpha = np.full((HEIGHT, WIDTH), 200, np.uint8)
    assert copies_held(tmp_path, ".png", soft_photo(alpha=alpha)) < 5 / 3 + BESIDE


def test_a_photo_that_lies_on_its_side_is_held_twice_while_it_is_turned(tmp_path):
    image = soft_photo(metadata=Metadata(exif=ROTATED_EXIF))
    source = tmp_path / "photo.png"
    # Written as cameras do: pixels as they lie, and how to turn them.
    source.write_bytes(encode_image(image, format="PNG"))
    tracemalloc.start()
    try:
        turned = read_image(source)
        assert tracemalloc.get_traced_memory()[1] / PIXEL_BYTES < 2 + BESIDE
    finally:
        tracemalloc.stop()
    assert turned.pixels.shape == (WIDTH, HEIGHT, 3)


def test_a_comparison_needs_the_photo_as_it_was(tmp_path):
    assert copies_held(tmp_path, ".jpg", soft_photo(), compare=True) < 2 + BESIDE


@pytest.mark.parametrize("upscale", [1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, np.full((120, 200), 7, np.uint8)])
def test_a_spent_photo_has_the_result_of_any_other(upscale, alpha):
    image = photo(alpha=alpha)
    before = image.pixels.copy()
    line = pipeline(face_at(30, 20), config=RestoreConfig(force=True, upscale=upscale))
    kept = line.run(image).image
    np.testing.assert_array_equal(image.pixels, before)
    assert not np.shares_memory(kept.pixels, image.pixels)
    spent = line.run(image, spent=True).image
    np.testing.assert_array_equal(spent.pixels, kept.pixels)
    if alpha is not None:
        np.testing.assert_array_equal(spent.alpha, kept.alpha)
    assert spent is not image
    assert np.shares_memory(spent.pixels, image.pixels) == (upscale == 1)


def test_a_spent_photo_in_which_nothing_is_restored_is_returned_as_it_is():
    image = photo()
    assert pipeline().run(image, spent=True).image is image


def test_a_line_that_spent_a_photo_leaves_the_next_one_alone():
    image = photo()
    line = pipeline(face_at(30, 20), config=RestoreConfig(force=True))
    line.run(photo(), spent=True)
    assert not np.shares_memory(line.run(image).image.pixels, image.pixels)


def test_colouring_keeps_the_luma_of_a_spent_photo():
    line = pipeline(face_at(30, 20), config=RestoreConfig(force=True))
    colorizer = replace(line, procedure=COLORIZING)
    np.testing.assert_array_equal(
        colorizer.run(photo(), spent=True).image.pixels, colorizer.run(photo()).image.pixels
    )


def test_the_largest_photo_that_is_read_by_default_fits_into_a_gigabyte():
    assert DEFAULT_MAX_PIXELS * 3 < 2**30

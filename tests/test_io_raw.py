"""Camera raw: a DNG of our own making, developed, turned, and written as TIFF or JPEG."""

import numpy as np
import pytest
from picture_files import dng, reread

from facerestore.batch import plan_jobs
from facerestore.batch.photo import result_format
from facerestore.config import OutputConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    decode_image,
    encode_image,
    fitted,
    lacking,
    page_count,
    picture_size,
    resolve_format,
    write_image,
)
from facerestore.io._formats import needed

HERE = pytest.mark.skipif(lacking("RAW") is not None, reason="rawpy is not installed")


def scene(height=64, width=96):
    """Return linear light: a red field above a grey one, with white below it."""
    pixels = np.full((height, width, 3), 9000, np.uint16)
    pixels[: height // 2] = (20000, 4000, 3000)
    pixels[-8:] = 65535
    return pixels


@HERE
def test_raw_is_developed_to_16_bits_of_srgb():
    image = decode_image(dng(scene()))
    assert repr(image) == "<DecodedImage 96 x 64 px, 16-bit RGB, RAW>"
    assert image.stored_as == "camera raw"
    red, grey = image.pixels[10, 40].astype(int), image.pixels[44, 40].astype(int)
    assert red[0] > 1.8 * red[1] > 1.8 * red[2]
    assert np.ptp(grey) < 300
    assert reread(image.metadata.exif)[0x0110] == "Filter camera"
    assert picture_size(dng(scene())) == (96, 64)
    assert page_count(dng(scene())) == 1


@HERE
@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))]
)
def test_raw_is_turned_upright(orientation, turned):
    plain = decode_image(dng(scene())).pixels
    np.testing.assert_array_equal(decode_image(dng(scene(), orientation=orientation)).pixels, turned(plain))


@HERE
def test_formats_of_8_bits_take_raw_and_others_keep_16(tmp_path):
    image = decode_image(dng(scene()))
    assert decode_image(encode_image(image, format="TIFF")).pixels.dtype == np.uint16
    small = decode_image(encode_image(image, format="JPEG", quality=100))
    assert small.pixels.dtype == np.uint8
    assert np.abs(small.pixels.astype(int) - np.rint(image.pixels / 257)).max() < 12
    np.testing.assert_array_equal(
        fitted(image, format="JPEG").pixels, np.rint(image.pixels / 257).astype(np.uint8)
    )
    assert fitted(image, format="PNG") is image
    assert write_image(tmp_path / "a.jpg", image).is_file()
    with pytest.raises(
        ImageError, match=r"the suffix '.dng' names no format that is written; use one of .jpg"
    ):
        write_image(tmp_path / "a.dng", image)


def test_results_of_raw_are_tiff_unless_another_is_asked_for(tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "a.DNG"
    source.write_bytes(dng(scene()))
    targets = [
        plan_jobs([source.parent], output=tmp_path / "out", options=OutputConfig(format=format))
        .jobs[0]
        .target.name
        for format in (None, "jpeg")
    ]
    assert targets == ["a.tif", "a.jpg"]
    with pytest.raises(ConfigError, match=r"'out.dng' ends in no picture format"):
        plan_jobs([source], output=tmp_path.joinpath("out.dng").relative_to(tmp_path), options=OutputConfig())
    with pytest.raises(ConfigError, match="unknown image format 'dng'; choose one of JPEG"):
        resolve_format("dng")


@HERE
def test_the_format_of_a_result_of_raw(tmp_path):
    image = decode_image(dng(scene()))
    assert result_format(tmp_path / "a", image) == "TIFF"
    assert result_format(tmp_path / "a.png", image) == "PNG"


@HERE
def test_raw_too_large_or_cut_short_is_refused():
    data = dng(scene())
    with pytest.raises(ImageError, match=r"96x64 = 6144 pixels.*--max-pixels 6144"):
        decode_image(data, max_pixels=6143)
    with pytest.raises(ImageError, match=r"photo: (damaged or truncated|raw of this camera is not handled)"):
        decode_image(b"FUJIFILMCCD-RAW " + bytes(200), name="photo")


def test_what_raw_needs_is_named_where_it_is_wanting(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    with pytest.raises(
        ImageError, match=r'photo: camera raw needs the package rawpy, .*"facerestore\[raw\]"'
    ):
        needed("RAW", name="photo")

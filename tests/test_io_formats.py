"""Every format, depth, palette and kind of colours, read back by Pillow and OpenCV."""

import io
import struct

import cv2
import numpy as np
import pytest
from picture_files import HERE, LOSSLESS, cmyk_profile, noisy, png_chunk, saved, smooth
from PIL import Image

from facerestore import io as fio
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    decode_image,
    encode_image,
)
from facerestore.types import DecodedImage

# --- formats, depth, grey and alpha -------------------------------------------------------------------------------


@pytest.mark.parametrize("format", HERE)
def test_decode_agrees_with_pillow(format):
    data = saved(Image.fromarray(smooth()), format)
    decoded = decode_image(data)
    assert decoded.format == format
    assert not decoded.grey
    assert decoded.alpha is None
    assert decoded.pixels.flags.c_contiguous
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_grey_stays_grey(format):
    grey = smooth(channels=1)[..., 0]
    decoded = decode_image(saved(Image.fromarray(grey), format))
    assert decoded.grey
    assert (decoded.pixels == decoded.pixels[..., :1]).all()
    written = encode_image(decoded, format=format)
    assert Image.open(io.BytesIO(written)).mode == "L"
    np.testing.assert_allclose(
        decode_image(written).pixels[..., 0].astype(int), grey, atol=8 if format == "JPEG" else 0
    )


def test_grey_goes_to_webp_without_a_tint():
    """WebP knows no grey; what its YUV conversion rounds away is a level."""
    decoded = DecodedImage(np.repeat(smooth(channels=1), 3, axis=2), grey=True)
    pixels = decode_image(encode_image(decoded, format="WEBP")).pixels
    assert np.ptp(pixels, axis=2).max() <= 2


def test_grey_of_unequal_channels_is_their_rounded_mean():
    pixels = np.array([[[10, 10, 11], [10, 11, 11], [7, 7, 7], [255, 255, 254]]], np.uint8)
    back = decode_image(encode_image(DecodedImage(pixels, grey=True), format="PNG"))
    assert back.pixels[0, :, 0].tolist() == [10, 11, 7, 255]


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_round_trip_is_bit_exact(format, dtype, grey, alpha):
    # 70 rows cross the boundary between blocks of rows.
    pixels = noisy((70, 13, 1 if grey else 3), dtype)
    pixels = np.repeat(pixels, 3, axis=2) if grey else pixels
    carried = noisy((70, 13), dtype, seed=2) if alpha else None
    data = encode_image(DecodedImage(pixels, carried, grey=grey), format=format)
    back = decode_image(data)
    assert back.pixels.dtype == dtype
    assert back.grey is grey
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.alpha is None) is (carried is None)
    if carried is not None:
        np.testing.assert_array_equal(back.alpha, carried)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_others_read_what_is_written(format, dtype):
    pixels, alpha = noisy((70, 13, 3), dtype), noisy((70, 13), dtype, seed=2)
    data = encode_image(DecodedImage(pixels, alpha), format=format)
    if dtype == np.uint8:
        other = np.asarray(Image.open(io.BytesIO(data)))
    else:
        bgra = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        other = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
    np.testing.assert_array_equal(other, np.dstack((pixels, alpha)))
    grey = encode_image(DecodedImage(np.repeat(pixels[..., :1], 3, axis=2), grey=True), format=format)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(grey))), pixels[..., 0])


def test_webp_keeps_alpha_exactly():
    pixels, alpha = smooth(), noisy((23, 37))
    back = decode_image(encode_image(DecodedImage(pixels, alpha), format="WEBP"))
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize(("format", "limit"), [("JPEG", 3.0), ("WEBP", 6.0)])
def test_lossy_formats_stay_close(format, limit):
    pixels = smooth(64, 64)
    back = decode_image(encode_image(DecodedImage(pixels), format=format)).pixels
    assert np.abs(back.astype(int) - pixels).mean() < limit
    small = encode_image(DecodedImage(pixels), format=format, quality=20)
    assert len(small) < len(encode_image(DecodedImage(pixels), format=format))


def test_jpeg_keeps_full_colour_resolution():
    data = encode_image(DecodedImage(smooth()), format="JPEG")
    assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == [(1, 1)] * 3


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP"])
def test_16_bit_is_refused_where_it_would_be_lost(format):
    with pytest.raises(ImageError, match=rf"{format} cannot hold 16-bit.*PNG or TIFF"):
        encode_image(DecodedImage(smooth(dtype=np.uint16)), format=format)


def test_alpha_is_refused_where_it_would_be_lost():
    picture = DecodedImage(smooth(), noisy((23, 37)))
    with pytest.raises(ImageError, match=r"JPEG cannot hold transparency.*PNG or WEBP or TIFF or BMP"):
        encode_image(picture, format="JPEG")


def test_sides_beyond_a_format_are_refused():
    with pytest.raises(ImageError, match="WEBP cannot hold 20000x1"):
        encode_image(DecodedImage(np.zeros((1, 20000, 3), np.uint8)), format="webp")


@pytest.mark.parametrize(
    "picture",
    [
        DecodedImage(np.zeros((2, 2, 3), np.float32)),
        DecodedImage(np.zeros((2, 2), np.uint8)),
        DecodedImage(np.zeros((0, 2, 3), np.uint8)),
        DecodedImage(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)),
        DecodedImage(np.zeros((2, 2, 3), np.uint16), np.zeros((2, 2), np.uint8)),
    ],
)
def test_malformed_pictures_are_refused(picture):
    with pytest.raises(ImageError, match=r"give uint8 or uint16|resize and convert alpha"):
        encode_image(picture, format="PNG")


@pytest.mark.parametrize(
    ("name", "format"), [("jpg", "JPEG"), (".TIF", "TIFF"), ("Png", "PNG"), ("webp", "WEBP")]
)
def test_format_names(name, format):
    assert fio.resolve_format(name) == format


def test_unknown_format_and_quality_are_config_errors():
    with pytest.raises(ConfigError, match=r"'gif'.*JPEG, PNG"):
        fio.resolve_format("gif")
    with pytest.raises(ConfigError, match="quality 0"):
        encode_image(DecodedImage(smooth()), format="JPEG", quality=0)


# --- palettes, keys, 1 bit, CMYK ----------------------------------------------------------------------------------


def test_palette_becomes_rgb_and_its_transparency_alpha():
    palette = Image.fromarray(smooth()).quantize(16)
    decoded = decode_image(saved(palette, "PNG"))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(palette.convert("RGB")))
    assert decoded.alpha is None
    transparent = decode_image(saved(palette, "PNG", transparency=bytes([0, 128])))
    indices = np.asarray(palette)
    np.testing.assert_array_equal(transparent.alpha, np.select([indices == 0, indices == 1], [0, 128], 255))
    np.testing.assert_array_equal(transparent.pixels, decoded.pixels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_grey(format):
    bits = noisy((9, 11)) > 127
    decoded = decode_image(saved(Image.fromarray(bits), format))
    assert decoded.grey
    np.testing.assert_array_equal(decoded.pixels[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 8, 9))])
def test_colour_key_becomes_alpha(mode, key):
    picture = Image.new(mode, (3, 2), 100 if mode == "L" else (100, 100, 100))
    picture.putpixel((1, 0), key)
    decoded = decode_image(saved(picture, "PNG", transparency=key))
    assert decoded.grey is (mode == "L")
    assert decoded.alpha.tolist() == [[255, 0, 255], [255, 255, 255]]
    assert decoded.pixels[0, 1].tolist() == list(np.broadcast_to(key, 3))


def test_16_bit_colour_key_becomes_alpha():
    pixels = np.full((2, 3, 3), 1000, np.uint16)
    pixels[0, 1] = (1, 2, 3)
    data = encode_image(DecodedImage(pixels), format="PNG")
    decoded = decode_image(data[:33] + png_chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)) + data[33:])
    assert decoded.alpha.tolist() == [[65535, 0, 65535], [65535] * 3]
    np.testing.assert_array_equal(decoded.pixels, pixels)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_without_profile_becomes_rgb(format):
    # Pillow writes CMYK JPEG inverted, with the Adobe marker, as photo editors do.
    cmyk = Image.new("CMYK", (16, 16), (0, 200, 200, 0))
    decoded = decode_image(saved(cmyk, format))
    assert decoded.pixels.shape == (16, 16, 3)
    red, green, blue = decoded.pixels[8, 8].astype(int)
    assert red > 240
    assert green < 70
    assert blue < 70


def test_unusable_cmyk_profile_is_an_error():
    data = saved(Image.new("CMYK", (4, 4)), "TIFF", icc_profile=b"not a profile at all" * 10)
    with pytest.raises(ImageError, match="CMYK profile cannot be used"):
        decode_image(data)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_which_is_then_dropped(format):
    profile = cmyk_profile()
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    decoded = decode_image(saved(cmyk, format, icc_profile=profile))
    assert decoded.metadata.icc is None
    # This profile calls full cyan a green of L* 67, a* -60; the plain complement would be (0, 255, 255).
    red, green, blue = decoded.pixels[8, 8].astype(int)
    assert green > red + 60
    assert green > blue + 30
    assert blue < 200

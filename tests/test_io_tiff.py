"""TIFF in every arrangement."""

import io
import struct

import cv2
import numpy as np
import pytest
from picture_files import (
    noisy,
    saved,
    smooth,
    tiff,
)
from PIL import Image

from facerestore import io as fio
from facerestore.errors import ImageError
from facerestore.io import (
    _exif,
    decode_image,
)

# --- TIFF in every arrangement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "arrangement",
    [
        {"order": ">"},
        {"planar": 2},
        {"compression": 8},
        {"compression": 8, "predictor": 2},
        {"compression": 8, "predictor": 2, "order": ">"},
        {"compression": 8, "planar": 2, "tile": 16},
        {"compression": 8, "predictor": 2, "tile": 16},
    ],
    ids=str,
)
def test_tiff_arrangements(dtype, count, arrangement):
    samples = noisy((21, 37, count), dtype)
    decoded = decode_image(tiff(samples, extra=2 if count in (2, 4) else None, **arrangement))
    colour = samples[..., : 1 if count < 3 else 3]
    np.testing.assert_array_equal(decoded.pixels, np.broadcast_to(colour, (21, 37, 3)))
    assert decoded.pixels.dtype == dtype
    assert decoded.grey is (count < 3)
    if count in (2, 4):
        np.testing.assert_array_equal(decoded.alpha, samples[..., -1])


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg", "group4"])
def test_tiff_compressions_of_pillow(compression):
    picture = Image.fromarray(noisy((9, 11)) > 127) if compression == "group4" else Image.fromarray(smooth())
    data = saved(picture, "TIFF", compression=compression)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data).pixels, expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_big_tiff(order, dtype):
    samples = smooth(dtype=dtype)
    raw = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    numbers = {256: 37, 257: 23, 259: 1, 262: 2, 273: 16, 277: 3, 278: 23, 279: len(raw)}
    entries = {tag: struct.pack(order + "HHQQ", tag, 16, 1, value) for tag, value in numbers.items()}
    bits = struct.pack(order + "HHQ", 258, 3, 3) + struct.pack(order + "HHHH", *[dtype().itemsize * 8] * 3, 0)
    table = b"".join(entry for _, entry in sorted((entries | {258: bits}).items()))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, 16 + len(raw))
    data = head + raw + struct.pack(order + "Q", 9) + table + bytes(8)
    np.testing.assert_array_equal(decode_image(data).pixels, samples)


def test_lzw_16_bit_tiff_of_opencv():
    pixels = smooth(dtype=np.uint16)
    data = cv2.imencode(".tif", pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(dtype):
    samples = noisy((5, 7, 1), dtype)
    np.testing.assert_array_equal(decode_image(tiff(samples, photometric=0)).pixels[..., :1], ~samples)


def test_associated_alpha_is_divided_out():
    samples = np.array([[[1000, 2000, 30000, 32768], [0, 0, 0, 0], [5, 6, 7, 65535]]], np.uint16)
    decoded = decode_image(tiff(samples, extra=1))
    assert decoded.alpha.tolist() == [[32768, 0, 65535]]
    assert decoded.pixels.tolist() == [[[2000, 4000, 59999], [0, 0, 0], [5, 6, 7]]]


@pytest.mark.parametrize(("count", "photometric"), [(5, 2), (3, 1), (5, 5)])
def test_more_channels_than_are_carried_are_refused(count, photometric):
    kind = {1: "grey", 2: "RGB", 5: "CMYK"}[photometric]
    with pytest.raises(ImageError, match=f"an 8-bit {kind} TIFF of {count} channels, .*is not handled"):
        decode_image(tiff(smooth(channels=count), photometric=photometric, extra=0))


def test_16_bit_cmyk_is_refused():
    with pytest.raises(ImageError, match=r"a 16-bit CMYK TIFF of 4 channels, .*is not handled"):
        decode_image(tiff(smooth(channels=4, dtype=np.uint16), photometric=5))


def with_second_page(data, subfile_type):
    """Return a little-endian TIFF with a second page, of the same pixels."""
    layout, offset = _exif.read_layout(data)
    page = _exif.read_directory(data, offset, layout)
    place = page.next_position
    page.fields[254] = _exif.field_of(4, (subfile_type,), "<")
    start = len(data) + len(data) % 2
    data = data[:place] + struct.pack("<I", start) + data[place + 4 :].ljust(start - place - 4, b"\0")
    return data + _exif.write_directory(page, start, "<")


def test_several_pages_are_refused_but_reduced_copies_are_not():
    data = tiff(smooth())
    with pytest.raises(ImageError, match="holds 2 pages"):
        decode_image(with_second_page(data, 0))
    with_copy = decode_image(with_second_page(data, 1))
    np.testing.assert_array_equal(with_copy.pixels, smooth())
    assert "thumbnails" in fio.left_out(with_copy, format="TIFF")
    assert fio.left_out(decode_image(data), format="TIFF") is None
    with pytest.raises(ImageError, match="thumbnail"):
        decode_image(tiff(smooth(), tags=[(254, (4, (1,)))]))

"""Pictures in and out: every format, depth, orientation and kind of damage, read back by Pillow and OpenCV."""

import io
import os
import re
import stat
import struct
import sys
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from facerestore import files as temporary
from facerestore import io as fio
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    _claims,
    _exif,
    _exif_edit,
    _files,
    decode_image,
    encode_image,
    find_images,
    read_image,
    write_image,
)
from facerestore.types import DecodedImage, Metadata

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>\xc3\xa9t\xc3\xa9</rdf:RDF></x:xmpmeta>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("PNG", "TIFF")
HELD = {"JPEG": True, "PNG": True, "WEBP": True, "TIFF": True, "BMP": False}


def smooth(height=23, width=37, channels=3, dtype=np.uint8, seed=0):
    """Return a smooth picture of odd size that lossy formats keep well."""
    noise = np.random.default_rng(seed).random((height, width, channels), np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4).reshape(height, width, channels)
    scaled = (blurred - blurred.min()) / np.ptp(blurred)
    return np.rint(scaled * np.iinfo(dtype).max).astype(dtype)


def noisy(shape, dtype=np.uint8, seed=1):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def saved(picture, format, **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def exif_block(orientation=1, size=(37, 23)):
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    exif[0x0112] = orientation
    exif[0x8298] = "Someone"
    exif.get_ifd(0x8769).update({0x9003: "2020:01:02 03:04:05", 0xA002: size[0], 0xA003: size[1]})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 30.0, 0.0)})
    return exif.tobytes()


def reread(exif):
    loaded = Image.Exif()
    loaded.load(exif)
    return loaded


def tiff(
    samples,
    *,
    order="<",
    photometric=None,
    planar=1,
    extra=None,
    compression=1,
    predictor=1,
    tile=None,
    tags=(),
):
    """Return a TIFF of (H, W, C) samples in the given arrangement, in two strips a plane or in tiles."""
    height, width, count = samples.shape
    blocks = []
    rows = (height + 1) // 2
    for plane in [samples] if planar == 1 else [samples[..., i : i + 1] for i in range(count)]:
        if tile is None:
            parts = [plane[top : top + rows] for top in range(0, height, rows)]
        else:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            parts = [
                padded[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        for part in parts:
            values = np.array(part)
            if predictor == 2:
                values[:, 1:] -= part[:, :-1]
            raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
            blocks.append(zlib.compress(raw) if compression == 8 else raw)
    offsets = np.cumsum([8] + [len(block) for block in blocks])
    start = int(offsets[-1]) + int(offsets[-1]) % 2
    photometric = photometric if photometric is not None else (2 if count >= 3 else 1)
    where, sizes = (324, 325) if tile else (273, 279)
    values = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, (samples.dtype.itemsize * 8,) * count),
        259: (3, (compression,)),
        262: (3, (photometric,)),
        where: (4, tuple(int(offset) for offset in offsets[:-1])),
        277: (3, (count,)),
        sizes: (4, tuple(len(block) for block in blocks)),
        284: (3, (planar,)),
        317: (3, (predictor,)),
        **dict(tags),
    }
    values |= {322: (3, (tile,)), 323: (3, (tile,))} if tile else {278: (3, (rows,))}
    if extra is not None:
        values[338] = (3, (extra,))
    fields = {tag: _exif.field_of(kind, numbers, order) for tag, (kind, numbers) in values.items()}
    body = b"".join(blocks).ljust(start - 8, b"\x00")
    return _exif.header(order, start) + body + _exif.write_directory(_exif.Directory(fields), start, order)


# --- formats, depth, grey and alpha -------------------------------------------------------------------------------


@pytest.mark.parametrize("format", fio.FORMATS)
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
    body = b"tRNS" + struct.pack(">HHH", 1, 2, 3)
    data = data[:33] + struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    decoded = decode_image(data)
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


def cmyk_profile():
    """Return a minimal CMYK output profile: an lut8 from CMYK to Lab with two grid points an axis."""

    def s15(value):
        return struct.pack(">i", round(value * 65536))

    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    light = 255 * (1 - corners[:, :3].mean(axis=1)) * (1 - corners[:, 3])
    lab = np.stack((light, 128 + 60 * (corners[:, 1] - corners[:, 0]), 128 + 0 * light), axis=1)
    ramp = bytes(range(256))
    matrix = b"".join(s15(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = (
        b"mft1\0\0\0\0"
        + bytes((4, 3, 2, 0))
        + matrix
        + ramp * 4
        + np.rint(lab).astype(np.uint8).tobytes()
        + ramp * 3
    )
    back = b"mft1\0\0\0\0" + bytes((3, 4, 2, 0)) + matrix + ramp * 3 + bytes(8 * 4) + ramp * 4
    white = b"XYZ \0\0\0\0" + s15(0.9642) + s15(1.0) + s15(0.8249)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {
        b"A2B0": lut,
        b"A2B1": lut,
        b"B2A0": back,
        b"wtpt": white,
        b"desc": text,
        b"cprt": b"text\0\0\0\0x\0",
    }
    position, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", position + len(body), len(value))
        body += padded
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        position + len(body),
        b"none",
        0x02400000,
        b"prtr",
        b"CMYK",
        b"Lab ",
        bytes(12),
        b"acsp",
    )
    head = head.ljust(68, b"\0") + s15(0.9642) + s15(1.0) + s15(0.8249)
    return head.ljust(128, b"\0") + table + body


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


# --- orientation and metadata -------------------------------------------------------------------------------------


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_and_reset(format, orientation):
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(Image.fromarray(smooth()), format, exif=exif_block(orientation), dpi=(100, 200), **options)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels, UPRIGHT[orientation](stored))
    assert reread(decoded.metadata.exif)[0x0112] == 1
    if format != "WEBP":
        expected = (200, 100) if orientation > 4 else (100, 200)
        np.testing.assert_allclose(decoded.metadata.dpi, expected, atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("compression", "dtype"), [(1, np.uint8), (1, np.uint16), (7, np.uint8)])
def test_tiff_orientation(orientation, compression, dtype):
    if compression == 7:
        picture = Image.fromarray(smooth())
        info = TiffImagePlugin.ImageFileDirectory_v2()
        plain = decode_image(saved(picture, "TIFF", compression="jpeg")).pixels
        info[274] = orientation
        data = saved(picture, "TIFF", compression="jpeg", tiffinfo=info)
    else:
        plain = smooth(dtype=dtype)
        data = tiff(plain, tags=[(274, (3, (orientation,)))])
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels, UPRIGHT[orientation](plain))
    again = decode_image(encode_image(decoded, format="TIFF"))
    np.testing.assert_array_equal(again.pixels, decoded.pixels)


def test_alpha_turns_with_the_pixels():
    picture = Image.fromarray(noisy((5, 7, 4)))
    decoded = decode_image(saved(picture, "PNG", exif=exif_block(6)))
    np.testing.assert_array_equal(decoded.alpha, np.rot90(np.asarray(picture)[..., 3], -1))


@pytest.mark.parametrize("target", fio.FORMATS)
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_goes_through_every_format(source, target):
    picture = DecodedImage(smooth(), metadata=Metadata(exif_block(), XMP, ICC, (300.0, 150.0)))
    first = decode_image(encode_image(picture, format=source))
    data = encode_image(first, format=target)
    second = decode_image(data)
    if not HELD[target]:
        assert second.metadata.exif is None
        np.testing.assert_allclose(
            second.metadata.dpi or (0, 0), (300, 150) if source != "WEBP" else (0, 0), atol=0.02
        )
        return
    assert second.metadata.xmp == XMP
    assert second.metadata.icc == ICC
    exif = reread(second.metadata.exif)
    assert exif[0x010F] == "Camera maker"
    assert exif[0x8298] == "Someone"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert [float(v) for v in exif.get_ifd(0x8825)[2]] == [51.0, 30.0, 0.0]
    if "WEBP" not in (source, target):
        np.testing.assert_allclose(second.metadata.dpi, (300, 150), atol=0.02)
    # Pillow, which knows nothing of this code, finds the same.
    other = Image.open(io.BytesIO(data))
    assert other.info["icc_profile"] == ICC
    assert other.getexif()[0x010F] == "Camera maker"
    assert other.getexif().get_ifd(0x8825)[1] == "N"
    assert other.info["xmp"] == XMP


def test_metadata_of_16_bit_files_is_carried():
    metadata = Metadata(exif_block(), XMP, ICC, (300.0, 300.0))
    for format in LOSSLESS:
        back = decode_image(
            encode_image(DecodedImage(smooth(dtype=np.uint16), metadata=metadata), format=format)
        )
        assert (back.metadata.xmp, back.metadata.icc) == (XMP, ICC)
        assert reread(back.metadata.exif)[0x8298] == "Someone"


def test_exif_bytes_are_carried_unchanged_but_for_the_orientation():
    before = exif_block(1).removeprefix(b"Exif\0\0")
    assert decode_image(saved(Image.fromarray(smooth()), "JPEG", exif=exif_block(1))).metadata.exif == before
    after = decode_image(saved(Image.fromarray(smooth()), "JPEG", exif=exif_block(6))).metadata.exif
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, exif_block(6).removeprefix(b"Exif\0\0"), strict=True)) == 1


def test_exif_states_the_size_that_is_written():
    metadata = Metadata(exif=exif_block(size=(37, 23)))
    large = DecodedImage(smooth(46, 74), metadata=metadata)
    exif = reread(decode_image(encode_image(large, format="JPEG")).metadata.exif).get_ifd(0x8769)
    assert (exif[0xA002], exif[0xA003]) == (74, 46)


@pytest.mark.parametrize("order", "<>")
def test_the_old_thumbnail_is_gone(order):
    fields = {0x010F: _exif.Field(2, 6, b"Maker\0"), 0x0112: _exif.field_of(3, (6,), order)}
    block = _exif.pack(_exif.Directory(fields), order)
    thumbnail = b"\xff\xd8\xff\xe0 old face \xff\xd9"
    second = len(block) + 2 + 12 * 2 + 4
    places = {
        0x0201: _exif.field_of(4, (second,), order),
        0x0202: _exif.field_of(4, (len(thumbnail),), order),
    }
    linked = bytearray(block + _exif.write_directory(_exif.Directory(places), len(block), order) + thumbnail)
    struct.pack_into(order + "I", linked, _exif.first_directory(block)[0].next_position, len(block))
    assert _exif.first_directory(bytes(linked))[0].next_offset == len(block)
    assert _exif_edit.orientation_of(bytes(linked)) == 6
    settled, words = _exif_edit.settled(bytes(linked), 6)
    assert words == [_claims.PREVIEWS]
    assert _exif_edit.orientation_of(settled) == 1
    directory = _exif.first_directory(settled)[0]
    assert directory.next_offset == 0
    assert directory.fields[0x010F].value == b"Maker\0"
    assert b"old face" not in settled


def test_xmp_orientation_is_reset_with_the_exif():
    for packet in (b'<d tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"):
        data = saved(Image.fromarray(smooth()), "JPEG", exif=exif_block(6), xmp=packet)
        assert decode_image(data).metadata.xmp == packet.replace(b"6", b"1")


@pytest.mark.parametrize(
    "block", [b"", b"nonsense", b"II*\0\xff\xff\xff\xff" + bytes(20), b"MM\0*\0\0\0\x08\xff\xff" + bytes(12)]
)
def test_damaged_exif_does_not_stop_the_decoding(block):
    data = saved(Image.fromarray(smooth()), "PNG", exif=b"Exif\0\0" + block)
    assert decode_image(data).pixels.shape == (23, 37, 3)


def test_damaged_exif_cannot_go_into_tiff_and_says_so():
    picture = DecodedImage(smooth(), metadata=Metadata(exif=b"nonsense"))
    assert fio.left_out(picture, format="TIFF") == "not carried over: damaged EXIF"
    assert decode_image(encode_image(picture, format="TIFF")).metadata.exif is None
    assert fio.left_out(picture, format="PNG") is None


def test_exif_directories_that_point_at_themselves_end():
    block = _exif.header("<", 8) + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(4)
    assert _exif_edit.settled(block, 1) == (block, [])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("text", [b"x", b"II*\0"])
def test_exif_too_long_for_one_segment_of_jpeg_is_carried(format, text):
    # Wherever it is cut, no piece but the first looks like the start of a block.
    value = text * (150_000 // len(text))
    large = Metadata(exif=_exif.pack(_exif.Directory({0x010E: _exif.Field(2, len(value), value)}), "<"))
    back = decode_image(encode_image(DecodedImage(smooth(), metadata=large), format=format))
    assert _exif.first_directory(back.metadata.exif)[0].fields[0x010E].value == value


def test_exif_as_text_of_older_png_is_read():
    exif = exif_block(6)
    text = f"\nexif\n{len(exif):8d}\n" + exif.hex()
    info = PngInfo()
    info.add_text("Raw profile type exif", text, zip=True)
    decoded = decode_image(saved(Image.fromarray(smooth()), "PNG", pnginfo=info))
    assert decoded.pixels.shape == (37, 23, 3)
    assert reread(decoded.metadata.exif)[0x010F] == "Camera maker"


def test_resolution_alone_goes_through_webp():
    data = encode_image(DecodedImage(smooth(), metadata=Metadata(dpi=(72.5, 300.0))), format="WEBP")
    np.testing.assert_allclose(decode_image(data).metadata.dpi, (72.5, 300.0))


def with_segments(jpeg, *segments):
    """Return a JPEG with more (marker, body) segments after its first marker."""
    return jpeg[:2] + b"".join(struct.pack(">BBH", 255, m, len(b) + 2) + b for m, b in segments) + jpeg[2:]


def test_long_profiles_and_exif_of_jpeg_span_segments():
    icc = ICC + bytes(100_000)
    picture = DecodedImage(smooth(), metadata=Metadata(icc=icc))
    assert decode_image(encode_image(picture, format="JPEG")).metadata.icc == icc
    block = exif_block()
    halves = [(0xE1, b"Exif\0\0" + half) for half in (block[6:60], block[60:])]
    jpeg = encode_image(DecodedImage(smooth()), format="JPEG")
    assert decode_image(with_segments(jpeg, *halves)).metadata.exif == block[6:]


def test_resolution_of_jpeg_in_centimetres():
    plain = encode_image(DecodedImage(smooth()), format="JPEG")
    assert decode_image(plain).metadata.dpi is None
    place = plain.index(b"JFIF\0") + 7
    metric = plain[:place] + struct.pack(">BHH", 2, 100, 200) + plain[place + 5 :]
    np.testing.assert_allclose(decode_image(metric).metadata.dpi, (254.0, 508.0))


def test_fill_bytes_before_jpeg_markers_are_skipped():
    jpeg = encode_image(DecodedImage(smooth()), format="JPEG")
    filled = jpeg[:2] + b"\xff\xff" + jpeg[2:]
    np.testing.assert_array_equal(decode_image(filled).pixels, decode_image(jpeg).pixels)


def test_jpeg_of_12_bits_is_named():
    jpeg = bytearray(encode_image(DecodedImage(smooth()), format="JPEG"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match=r"JPEG of 12 bits and 3 components is not handled"):
        decode_image(bytes(jpeg))


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("quality", [1, 50, 95, 100])
def test_jpegs_are_those_of_pillow_alone_byte_for_byte(grey, quality):
    pixels = smooth(123, 77, channels=1 if grey else 3)
    metadata = Metadata(exif=exif_block(), xmp=XMP, icc=ICC * 30, dpi=(72.0, 300.0))
    image = DecodedImage(np.broadcast_to(pixels, (123, 77, 3)).copy(), grey=grey, metadata=metadata)
    jpeg = encode_image(image, format="JPEG", quality=quality)
    exif = b"Exif\0\0" + _exif_edit.with_size(exif_block().removeprefix(b"Exif\0\0"), 77, 123)
    picture = Image.fromarray(pixels[..., 0] if grey else pixels)
    expected = saved(
        picture,
        "JPEG",
        quality=quality,
        subsampling=0,
        exif=exif,
        xmp=XMP,
        icc_profile=ICC * 30,
        dpi=(72, 300),
    )
    assert jpeg == expected


@pytest.mark.parametrize("format", fio.FORMATS)
def test_a_spent_picture_is_written_like_any_other(format, tmp_path):
    image = DecodedImage(smooth(300, 4000))  # more than one band
    kept = image.pixels.copy()
    suffix = fio.FORMATS[format].suffix
    written = write_image(tmp_path / f"kept{suffix}", image).read_bytes()
    np.testing.assert_array_equal(image.pixels, kept)
    assert write_image(tmp_path / f"spent{suffix}", image, spent=True).read_bytes() == written


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pngs_are_decoded_as_by_pillow(mode):
    pixels = noisy((1500, 1001, len(mode)))  # more than one band
    data = saved(Image.fromarray(pixels[..., 0] if mode == "L" else pixels), "PNG")
    image = decode_image(data)
    colours = np.broadcast_to(pixels[..., :1], (1500, 1001, 3)) if mode in ("L", "LA") else pixels[..., :3]
    np.testing.assert_array_equal(image.pixels, colours)
    assert image.grey == (mode in ("L", "LA"))
    assert (image.alpha is None) == (mode in ("L", "RGB"))
    if image.alpha is not None:
        np.testing.assert_array_equal(image.alpha, pixels[..., -1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("rows", [1, 4, 23, 1000])
def test_uncompressed_strips_are_read_where_they_lie(order, depth, rows, monkeypatch):
    pixels = noisy((23, 37, 3), np.uint8 if depth == 1 else np.uint16)
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strips = [(8 + top * 37 * 3 * depth, min(rows, 23 - top) * 37 * 3 * depth) for top in range(0, 23, rows)]
    entries = {256: 37, 257: 23, 258: (8 * depth,) * 3, 259: 1, 262: 2, 277: 3, 278: rows}
    entries |= {273: tuple(at for at, _ in strips), 279: tuple(size for _, size in strips)}
    fields = {
        tag: _exif.field_of(_exif.LONG, value if isinstance(value, tuple) else (value,), order)
        for tag, value in sorted(entries.items())
    }
    end = 8 + len(stored) + len(stored) % 2
    directory = _exif.write_directory(_exif.Directory(fields), end, order)
    data = _exif.header(order, end) + stored.ljust(end - 8, b"\0") + directory
    expected = decode_image(data).pixels
    np.testing.assert_array_equal(expected, pixels)
    monkeypatch.setattr("facerestore.io._tiff_samples._plain", lambda *_: None)
    np.testing.assert_array_equal(decode_image(data).pixels, pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_systems_without_files_in_memory_decode_the_same(format, monkeypatch):
    data = saved(Image.fromarray(smooth()), format)
    expected = decode_image(data).pixels
    monkeypatch.setattr("facerestore.io._opencv.MEMORY_FILES", Path("/nowhere"))
    np.testing.assert_array_equal(decode_image(data).pixels, expected)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    np.testing.assert_array_equal(decode_image(data).pixels, expected)


@pytest.mark.parametrize(
    "dpi", [(0.0, 72.0), (-1.0, 1.0), (float("nan"), 72.0), (float("inf"), 72.0), (1e9, 1e9)]
)
@pytest.mark.parametrize("format", fio.FORMATS)
def test_senseless_resolutions_are_dropped(format, dpi):
    data = encode_image(DecodedImage(smooth(), metadata=Metadata(dpi=dpi)), format=format)
    assert decode_image(data).metadata.dpi is None


def test_empty_exif_directory_is_whole():
    empty = _exif.header("<", 8) + bytes(6)
    back = decode_image(encode_image(DecodedImage(smooth(), metadata=Metadata(exif=empty)), format="TIFF"))
    assert back.metadata.exif is None


# --- what is no picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", fio.FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97])
def test_truncated_files_are_errors_or_told(format, kept):
    data = saved(Image.fromarray(noisy((64, 64, 3))), format)
    try:
        decoded = decode_image(data[: int(len(data) * kept)], name="photo")
    except ImageError as error:
        assert re.match(r"photo: .*(damaged|truncated|not an image)", str(error))  # noqa: PT017
    else:
        assert kept > 0.1
        assert decoded.damage.startswith(("from row ", "in rows 0 to "))


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.97])
def test_truncated_16_bit_files_are_errors_or_told(format, kept, capfd):
    data = encode_image(DecodedImage(noisy((64, 64, 3), np.uint16)), format=format)
    try:
        decoded = decode_image(data[: int(len(data) * kept)])
    except ImageError as error:
        assert "damaged or truncated" in str(error)  # noqa: PT017
    else:
        assert kept > 0.1
        assert decoded.damage.startswith("from row ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"plain text, no picture", "not an image"),
        (b"GIF89a" + bytes(20), "a GIF"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "AVIF"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"II*\0", "damaged"),
        (b"BM", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "damaged"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(data)


def test_random_damage_is_an_image_error_or_a_picture():
    """No other exception leaves the decoder, whatever a file holds."""
    rng = np.random.default_rng(5)
    picture = DecodedImage(smooth(), metadata=Metadata(exif_block(), XMP, ICC, (72.0, 72.0)))
    files = [encode_image(picture, format=format) for format in fio.FORMATS]
    files += [
        saved(Image.fromarray(smooth()), "TIFF", compression="jpeg"),
        tiff(smooth(dtype=np.uint16), tile=16),
    ]
    files += [saved(Image.new("CMYK", (9, 9)), "JPEG", icc_profile=cmyk_profile())]
    for data in files:
        for number in range(40):
            damaged = np.array(np.frombuffer(data, np.uint8))
            places = rng.integers(4, min(len(data), 700), 6)
            # A TIFF keeps its directory at the end.
            places = len(data) - places if data[:2] == b"II" and number % 2 else places
            damaged[places] = rng.integers(0, 256, 6)
            try:
                decode_image(damaged.tobytes(), max_pixels=10_000)
            except ImageError:
                continue


@pytest.mark.parametrize("format", fio.FORMATS)
def test_too_many_pixels_are_refused_before_decoding(format, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("pixels were decoded")

    data = saved(Image.fromarray(smooth()), format)
    monkeypatch.setattr(cv2, "imdecode", fail)
    monkeypatch.setattr(cv2, "imread", fail)
    monkeypatch.setattr("facerestore.io._pillow.to_array", fail)
    with pytest.raises(ImageError, match=r"37x23 = 851 pixels.*--max-pixels 851"):
        decode_image(data, max_pixels=850)


def test_limit_holds_for_16_bit_and_at_the_limit_is_fine():
    for format in LOSSLESS:
        data = encode_image(DecodedImage(smooth(dtype=np.uint16)), format=format)
        assert decode_image(data, max_pixels=851).pixels.dtype == np.uint16
        with pytest.raises(ImageError, match="--max-pixels"):
            decode_image(data, max_pixels=850)


def test_a_hundred_megapixels_are_allowed_and_pillow_does_not_warn():
    """A header of 200 megapixels passes the default limit, and its missing data are the error."""
    head = struct.pack(">IIBBBBB", 16320, 12240, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    assert fio.DEFAULT_MAX_PIXELS >= 16320 * 12240
    with pytest.raises(ImageError, match="--max-pixels 199756800"):
        decode_image(b"\x89PNG\r\n\x1a\n" + chunks, max_pixels=100_000_000)


@pytest.mark.parametrize("format", fio.FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "1"])
def test_the_limit_of_pillow_does_not_matter(format, mode, monkeypatch):
    """Pillow warns (here: fails) over one limit for the whole process, and refuses over twice that."""
    if mode == "CMYK" and format not in ("JPEG", "TIFF"):
        mode = "RGB"
    data = saved(Image.new(mode, (40, 3000)), format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert decode_image(data).pixels.shape == (3000, 40, 3)


def test_animations_are_refused():
    frames = [Image.fromarray(smooth(seed=seed)) for seed in (0, 1, 2)]
    for format in ("PNG", "WEBP"):
        with pytest.raises(ImageError, match="holds 3 animation frames"):
            decode_image(saved(frames[0], format, save_all=True, append_images=frames[1:]))


def test_first_picture_of_an_mpo_is_read():
    frames = [Image.fromarray(smooth(seed=seed)) for seed in (0, 1)]
    decoded = decode_image(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert decoded.format == "JPEG"
    assert np.abs(decoded.pixels.astype(int) - smooth()).mean() < 8


# --- files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def picture():
    return DecodedImage(smooth())


def test_write_and_read_with_a_foreign_name(tmp_path, picture):
    path = tmp_path / "Ünï" / "фото 写真.PNG"
    assert write_image(path, picture) == path
    np.testing.assert_array_equal(read_image(str(path)).pixels, picture.pixels)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_existing_files_are_kept_unless_told(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(ImageError, match=r"already exists.*--overwrite"):
        write_image(path, picture)
    assert path.read_bytes() == b"precious"
    write_image(path, picture, overwrite=True)
    assert read_image(path).format == "PNG"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_in_place_of_the_folder_is_told(tmp_path, picture):
    (tmp_path / "notes").write_bytes(b"precious")
    for path in (tmp_path / "notes" / "a.png", tmp_path / "notes" / "deep" / "a.png"):
        with pytest.raises(ImageError, match="cannot be written"):
            write_image(path, picture)
    assert (tmp_path / "notes").read_bytes() == b"precious"


@pytest.mark.parametrize("links", [True, False])
def test_a_race_has_one_winner(tmp_path, monkeypatch, links):
    if not links:

        def no_links(*_args):
            raise OSError(22, "no hard links here")  # what Windows answers on exFAT

        monkeypatch.setattr(os, "link", no_links)
    # Both are past the first look at the name before either writes.
    monkeypatch.setattr(os.path, "lexists", lambda _path: False)
    path, outcomes, refusals, barrier = tmp_path / "a.bin", [], [], threading.Barrier(4)

    def write(number):
        barrier.wait()
        try:
            _files.write_bytes(path, [bytes([number]) * 1000], overwrite=False)
            outcomes.append(number)
        except ImageError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert sum("already exists" in refusal for refusal in refusals) == 3
    assert path.read_bytes() == bytes(outcomes) * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_links_and_renames_fail(tmp_path, monkeypatch, picture):
    def fail(*_args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ImageError, match="Input/output error"):
        write_image(tmp_path / "a.png", picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_after_a_failure(tmp_path, monkeypatch, picture, overwrite, error):
    path = tmp_path / "a.png"
    if overwrite:
        path.write_bytes(b"precious")

    def fail(_descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = ImageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_image(path, picture, overwrite=overwrite)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([b"precious"] if overwrite else [])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path, picture):
    before = os.umask(0o027)
    try:
        path = write_image(tmp_path / "a.png", picture)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_image(path, picture, overwrite=True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_links_keep_pointing(tmp_path, picture):
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with pytest.raises(ImageError, match="already exists"):
        write_image(link, picture)
    write_image(link, picture, overwrite=True)
    assert link.is_symlink()
    assert read_image(real).format == "PNG"
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="already exists"):
        write_image(dangling, picture)


def test_bad_places_are_clear_errors(tmp_path, picture):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a directory"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / "file" / "a.png")
    with pytest.raises(ImageError, match="file: not an image"):
        read_image(tmp_path / "file")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("nul\0byte.png")
    with pytest.raises(ImageError, match=r"cannot be written|already exists"):
        write_image(tmp_path / "file" / "a.png", picture)
    with pytest.raises(ImageError, match="is a directory"):
        write_image(tmp_path, picture, format="PNG", overwrite=True)
    with pytest.raises(ImageError, match=r"suffix '.gif' names no format"):
        write_image(tmp_path / "a.gif", picture)


def test_format_given_wins_over_the_suffix(tmp_path, picture):
    assert read_image(write_image(tmp_path / "a.png", picture, format="tif")).format == "TIFF"


class Pipe:
    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)


def test_standard_streams(monkeypatch, picture):
    monkeypatch.setattr(sys, "stdin", Pipe(encode_image(picture, format="WEBP")))
    decoded = read_image("-")
    out = Pipe()
    monkeypatch.setattr(sys, "stdout", out)
    assert write_image("-", decoded) == Path("-")
    assert decode_image(out.buffer.getvalue()).format == "WEBP"
    with pytest.raises(ImageError, match="give a format"):
        write_image("-", picture)
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    with pytest.raises(ImageError, match="standard input: the file is empty"):
        read_image(Path("-"))


def test_find_images(tmp_path):
    for name in ("b.JPG", "a.png", "z.txt", ".hidden.png", "sub/c.TiFf", "sub/.git/d.png", "sub/deep/e.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / f".0123{temporary.SUFFIX}").write_bytes(b"")
    relative = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path, recursive=False)]
    assert relative == ["a.png", "b.JPG"]
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path, recursive=True)]
    assert found == ["a.png", "b.JPG", "sub/c.TiFf", "sub/deep/e.webp"]
    with pytest.raises(ImageError, match="no such folder"):
        find_images(tmp_path / "absent", recursive=True)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_find_images_follows_links_but_no_loops(tmp_path):
    root, album = tmp_path / "root", tmp_path / "album"
    (root / "sub").mkdir(parents=True)
    album.mkdir()
    (root / "sub" / "a.png").write_bytes(b"")
    (album / "b.png").write_bytes(b"")
    (root / "again").symlink_to(root)
    (root / "another").symlink_to(root / "sub")
    (root / "outside").symlink_to(album)
    (album / "back").symlink_to(root)
    found = [path.relative_to(root).as_posix() for path in find_images(root, recursive=True)]
    assert found == ["outside/b.png", "sub/a.png"]


# --- Python objects -----------------------------------------------------------------------------------------------


def test_as_decoded_takes_paths_and_bytes(tmp_path, picture):
    path = write_image(tmp_path / "a.png", picture)
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), picture):
        np.testing.assert_array_equal(fio.as_decoded(source).pixels, picture.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_as_decoded_takes_arrays(dtype):
    rgba = noisy((5, 7, 4), dtype)
    decoded = fio.as_decoded(rgba)
    np.testing.assert_array_equal(decoded.pixels, rgba[..., :3])
    np.testing.assert_array_equal(decoded.alpha, rgba[..., 3])
    np.testing.assert_array_equal(fio.as_decoded(rgba[..., :3], channels="bgr").pixels, rgba[..., 2::-1])
    np.testing.assert_array_equal(fio.as_decoded(rgba, channels="bgr").alpha, rgba[..., 3])
    for grey in (rgba[..., 0], rgba[..., :1]):
        assert fio.as_decoded(grey).grey
        np.testing.assert_array_equal(fio.as_decoded(grey).pixels, np.repeat(rgba[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    "source",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), 7, None],
)
def test_as_decoded_refuses_the_rest(source):
    with pytest.raises(ImageError, match="is no picture"):
        fio.as_decoded(source)


def test_as_decoded_refuses_unknown_channels(picture):
    with pytest.raises(ConfigError, match="'grb'"):
        fio.as_decoded(picture.pixels, channels="grb")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_as_decoded_takes_pillow_pictures_with_their_metadata(format):
    pixels = smooth()
    source = DecodedImage(pixels, metadata=Metadata(exif_block(), XMP, ICC, (300.0, 300.0)))
    opened = Image.open(io.BytesIO(encode_image(source, format=format)))
    decoded = fio.as_decoded(opened)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(opened))
    assert (decoded.metadata.xmp, decoded.metadata.icc) == (XMP, ICC)
    assert reread(decoded.metadata.exif)[0x010F] == "Camera maker"
    assert reread(decoded.metadata.exif).get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_as_decoded_turns_pillow_pictures():
    opened = Image.open(io.BytesIO(saved(Image.fromarray(smooth()), "PNG", exif=exif_block(8))))
    np.testing.assert_array_equal(fio.as_decoded(opened).pixels, np.rot90(smooth(), 1))
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[274] = 6
    opened = Image.open(io.BytesIO(saved(Image.fromarray(smooth()), "TIFF", tiffinfo=turned)))
    np.testing.assert_array_equal(fio.as_decoded(opened).pixels, np.rot90(smooth(), -1))


# --- real photos --------------------------------------------------------------------------------------------------


def test_real_photos_decode_as_pillow_does(shared):
    root = shared("photos")
    paths = [path for path in find_images(root, recursive=True) if path.stat().st_size < 400_000]
    assert len(paths) > 20
    for path in paths:
        decoded = read_image(path)
        with Image.open(path) as other:
            upright = np.asarray(other.convert("RGB"))
        np.testing.assert_array_equal(decoded.pixels, upright, err_msg=path.name)
        assert decoded.grey is (other.mode in ("L", "LA", "1"))


def test_real_photo_round_trips(shared):
    decoded = read_image(shared("photos/whole/Blake_Lively.jpg"))
    for format in LOSSLESS:
        back = decode_image(encode_image(decoded, format=format))
        np.testing.assert_array_equal(back.pixels, decoded.pixels)
        assert back.metadata.icc == decoded.metadata.icc

"""Whole files of rare kinds: read as what they are, or named; and what is said of what comes back."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from picture_files import saved
from PIL import Image, ImageCms

from facerestore.errors import ImageError
from facerestore.io import _exif, as_decoded, decode_image, encode_image, picture_size
from facerestore.pipeline.report import storage_note
from facerestore.types import DecodedImage

HEIGHT, WIDTH = 23, 37


def smooth(channels=3, seed=0):
    """Return (HEIGHT, WIDTH, C) float64 in [0, 1] that fills its range."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, channels), np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 4).reshape(HEIGHT, WIDTH, channels)
    return ((blurred - blurred.min()) / np.ptp(blurred)).astype(np.float64)


def packed(samples, bits):
    """Return the bytes of (H, W, C) integers of so many bits, each row from a byte of its own on."""
    rows = []
    for row in samples.reshape(len(samples), -1).astype(np.uint64):
        single = (row[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & np.uint64(1)
        rows.append(np.packbits(single.astype(np.uint8).reshape(-1)).tobytes())
    return rows


def tiff(rows, *, bits, channels, photometric=None, form=1, order="<", compression=1, predictor=1, strip=8):
    """Return a TIFF of rows of bytes, in strips."""
    pieces = [b"".join(rows[top : top + strip]) for top in range(0, len(rows), strip)]
    if compression == 8:
        pieces = [zlib.compress(piece) for piece in pieces]
    offsets = np.cumsum([8, *(len(piece) for piece in pieces)]).tolist()
    end = offsets.pop()
    end += end % 2
    entries = {
        256: (WIDTH,),
        257: (len(rows),),
        258: (bits,) * channels,
        259: (compression,),
        277: (channels,),
    }
    entries |= {262: (photometric if photometric is not None else (2 if channels > 2 else 1),), 278: (strip,)}
    entries |= {273: tuple(offsets), 279: tuple(map(len, pieces)), 317: (predictor,), 339: (form,) * channels}
    fields = {tag: _exif.field_of(_exif.LONG, value, order) for tag, value in sorted(entries.items())}
    body = b"".join(pieces).ljust(end - 8, b"\0")
    return _exif.header(order, end) + body + _exif.write_directory(_exif.Directory(fields), end, order)


# --- TIFF samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
def test_tiff_samples_of_any_number_of_bits_are_read(bits, channels, compression, order):
    top = 2**bits - 1
    values = np.rint(smooth(channels) * top)
    data = tiff(packed(values, bits), bits=bits, channels=channels, compression=compression, order=order)
    decoded = decode_image(data)
    white = 255 if bits < 8 else 65535
    assert decoded.pixels.dtype == (np.uint8 if bits < 8 else np.uint16)
    np.testing.assert_array_equal(
        decoded.pixels, np.broadcast_to(np.rint(values * (white / top)), (HEIGHT, WIDTH, 3))
    )
    assert decoded.stored_as == f"{bits}-bit samples"
    assert decoded.grey == (channels == 1)
    assert decode_image(encode_image(decoded, format="TIFF")).stored_as is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_float_tiff_is_read_from_black_at_0_to_white_at_1(size, channels, order):
    values = smooth(channels).astype(f"{order}f{size}")
    rows = [row.tobytes() for row in values.reshape(HEIGHT, -1)]
    decoded = decode_image(tiff(rows, bits=8 * size, channels=channels, form=3, order=order))
    expected = np.rint(values.astype(np.float64) * 65535)
    np.testing.assert_array_equal(decoded.pixels, np.broadcast_to(expected[..., :3], (HEIGHT, WIDTH, 3)))
    assert decoded.stored_as == f"{8 * size}-bit float"
    assert storage_note(decoded).startswith(f"stored as {8 * size}-bit float, it comes back as 16-bit ")
    assert decoded.notes == ()


def test_float_tiff_with_differences_of_bytes_is_read():
    values = smooth(3).astype(">f4")
    rows = []
    for row in values.reshape(HEIGHT, -1):
        ranks = np.frombuffer(row.tobytes(), np.uint8).reshape(-1, 4).T.reshape(-1, 3)
        rows.append(np.diff(ranks, axis=0, prepend=np.uint8(0)).astype(np.uint8).tobytes())
    data = tiff(rows, bits=32, channels=3, form=3, compression=8, predictor=3)
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint(values.astype(np.float64) * 65535))


def test_pillow_and_we_agree_on_float_and_wide_tiff():
    for mode, values in (("F", smooth(1)[..., 0]), ("I", smooth(1)[..., 0] * (2**31 - 1))):
        stream = io.BytesIO()
        Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32)).save(stream, "TIFF")
        decoded = decode_image(stream.getvalue())
        np.testing.assert_allclose(decoded.pixels[..., 0], smooth(1)[..., 0] * 65535, atol=1)
        assert decoded.grey


def test_floats_beyond_the_range_are_cut_off_and_told():
    values = smooth(3) * 1.5 - 0.25
    values[0, 0] = (np.nan, np.inf, -np.inf)
    rows = [row.tobytes() for row in values.astype("<f4").reshape(HEIGHT, -1)]
    decoded = decode_image(tiff(rows, bits=32, channels=3, form=3))
    assert decoded.pixels[0, 0].tolist() == [0, 65535, 0]
    assert "what is not within 0 to 1 was cut off" in decoded.notes[0]
    rows = [row.tobytes() for row in (smooth(3) * 255).astype("<f4").reshape(HEIGHT, -1)]
    with pytest.raises(ImageError, match="of its float samples are above 1"):
        decode_image(tiff(rows, bits=32, channels=3, form=3))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_signed_tiff_is_read_from_black_at_0(size):
    top = 2 ** (8 * size - 1) - 1
    values = np.rint(smooth(3) * top).astype(f"<i{size}")
    white = 255 if size == 1 else 65535
    decoded = decode_image(tiff([row.tobytes() for row in values], bits=8 * size, channels=3, form=2))
    np.testing.assert_array_equal(decoded.pixels, np.rint(values * (white / top)))
    assert decoded.stored_as == f"signed {8 * size}-bit samples"
    values[0, 0, 0] = -5
    decoded = decode_image(tiff([row.tobytes() for row in values], bits=8 * size, channels=3, form=2))
    assert decoded.pixels[0, 0, 0] == 0
    assert decoded.notes == ("1 samples below 0 were taken for black",)


def test_signed_tiff_of_the_whole_range_has_its_lowest_number_for_black():
    plain = np.rint(smooth(3) * 65535)
    values = (plain - 32768).astype("<i2")
    decoded = decode_image(tiff([row.tobytes() for row in values], bits=16, channels=3, form=2))
    np.testing.assert_array_equal(decoded.pixels, plain)
    assert decoded.notes == ("many samples are below 0, so -32768 was taken for black",)


def lab_of(rgb):
    """Return (H, W, 3) L, a, b under D50 of sRGB in [0, 1], by the textbook (Lindbloom)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = (
        (0.4360747, 0.3850649, 0.1430804),
        (0.2225045, 0.7168786, 0.0606169),
        (0.0139322, 0.0971045, 0.7141733),
    )
    xyz = linear @ np.array(to_xyz).T / (0.9642, 1.0, 0.8249)
    bent = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


@pytest.mark.parametrize(("photometric", "bits"), [(8, 8), (8, 16), (9, 8), (9, 16)])
def test_lab_tiff_becomes_srgb(photometric, bits):
    rgb = smooth(3)
    light, tint = np.split(lab_of(rgb), [1], axis=2)
    unit = 2 ** (bits - 8)
    if photometric == 8:
        values = np.concatenate((light / 100 * (2**bits - 1), np.rint(tint * unit) % 2**bits), axis=2)
    else:
        values = np.concatenate((light / 100 * 255 * unit, (tint + 128) * unit), axis=2)
    stored = np.rint(values).astype(f"<u{bits // 8}")
    data = tiff([row.tobytes() for row in stored], bits=bits, channels=3, photometric=photometric)
    decoded = decode_image(data)
    white = 2**bits - 1
    assert decoded.stored_as == f"{bits}-bit CIELAB"
    assert np.abs(decoded.pixels / white - rgb).max() < (0.05 if bits == 8 else 0.0004)
    assert np.abs(decoded.pixels / white - rgb).mean() < (0.005 if bits == 8 else 0.0001)


def test_lab_of_pillow_is_what_its_colour_management_says():
    picture = Image.fromarray(np.rint(smooth(3) * 255).astype(np.uint8))
    lab = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    stream = io.BytesIO()
    lab.save(stream, "TIFF")
    for decoded in (decode_image(stream.getvalue()), as_decoded(lab)):
        assert decoded.stored_as == "8-bit CIELAB"
        difference = np.abs(decoded.pixels.astype(int) - np.asarray(picture))
        assert difference.max() < 24
        assert difference.mean() < 1.5


# --- what is named ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "name"),
    [(50002, "JPEG XL"), (34712, "JPEG 2000"), (34887, "LERC"), (34661, "JBIG"), (60000, "of no known name")],
)
def test_compressions_that_are_not_handled_are_named(compression, name):
    data = tiff([bytes(WIDTH * 3)] * HEIGHT, bits=8, channels=3, compression=compression)
    with pytest.raises(
        ImageError, match=rf"photo: TIFF compression {compression} \({name}\) is not handled; save"
    ):
        decode_image(data, name="photo")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photometric": 32845}, "an 8-bit CIE LogLuv TIFF"),
        ({"photometric": 10}, "an 8-bit ITU LAB TIFF"),
        ({"form": 6, "bits": 64}, "a 64-bit complex float RGB TIFF"),
        ({"form": 3, "bits": 24}, "a 24-bit float RGB TIFF"),
        ({"bits": 64}, "a 64-bit RGB TIFF"),
        ({"bits": 11, "compression": 8, "predictor": 2}, "TIFF predictor 2 with 11 bits"),
    ],
)
def test_kinds_of_tiff_that_are_not_handled_are_named_and_not_called_damaged(changes, words):
    options = {"bits": 8, "channels": 3} | changes
    row = bytes(-(-WIDTH * options["channels"] * options["bits"] // 8))
    with pytest.raises(ImageError, match=f"{words}.* is not handled") as caught:
        decode_image(tiff([row] * HEIGHT, **options))
    assert "damaged" not in str(caught.value)


# --- BMP ----------------------------------------------------------------------------------------------------------


def bmp(rows, bits, fields, *, header=40, compression=3, downwards=False):
    """Return a BMP of rows of integers, with masks behind its header or in it."""
    masks = struct.pack(f"<{len(fields)}I", *fields)
    start = 14 + max(header, 40 + len(masks))
    body = b""
    for row in rows if downwards else rows[::-1]:
        stored = row.astype(f"<u{bits // 8}").tobytes()
        body += stored + bytes(-len(stored) % 4)
    height = -len(rows) if downwards else len(rows)
    info = struct.pack(
        "<IiiHHIIiiII", header, rows.shape[1], height, 1, bits, compression, len(body), 2835, 5669, 0, 0
    )
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + info + masks
    return head.ljust(start, b"\0") + body


FIELDS = {
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
    "444": (16, (0xF00, 0xF0, 0xF)),
    "332": (16, (0xE0, 0x1C, 0x3)),
    "1010102": (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    "rgbx": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "odd": (32, (0x1FF, 0x3FE00, 0x1FFC0000)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "bgra": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "alpha2": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
}


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("header", [40, 124])
@pytest.mark.parametrize("kind", FIELDS)
def test_bmp_of_bit_fields_is_read(kind, header, downwards):
    bits, fields = FIELDS[kind]
    values = smooth(len(fields))
    rows, expected = np.zeros((HEIGHT, WIDTH), np.uint64), []
    for number, field in enumerate(fields):
        shift = (field & -field).bit_length() - 1
        levels = np.rint(values[..., number] * (field >> shift)).astype(np.uint64)
        rows |= levels << np.uint64(shift)
        expected.append(np.rint(levels * (255 / (field >> shift))))
    compression = 6 if header == 40 and len(fields) == 4 else 3
    data = bmp(rows, bits, fields, header=header, compression=compression, downwards=downwards)
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels, np.stack(expected[:3], axis=2))
    assert (decoded.alpha is not None) == (len(fields) == 4)
    if decoded.alpha is not None:
        np.testing.assert_array_equal(decoded.alpha, expected[3])
    np.testing.assert_allclose(decoded.metadata.dpi, (72.0, 144.0), atol=0.01)
    widths = [field.bit_count() for field in fields]
    assert decoded.stored_as == (None if set(widths) == {8} else f"{'-'.join(map(str, widths))}-bit samples")
    assert picture_size(data) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("fields", [(0xF00F, 0xF0, 0xF), (0, 0, 0), (0x10000, 0xF0, 0xF)])
def test_senseless_bit_fields_are_damage(fields):
    with pytest.raises(ImageError, match=r"damaged or truncated .bit fields"):
        decode_image(bmp(np.zeros((2, 2), np.uint64), 16, fields))


@pytest.mark.parametrize(("compression", "words"), [(4, "a JPEG"), (5, "a PNG")])
def test_a_picture_inside_a_bmp_is_named(compression, words):
    data = bmp(np.zeros((2, 2), np.uint64), 32, (), compression=compression)
    with pytest.raises(ImageError, match=f"a BMP with {words} inside is not handled"):
        decode_image(data)


# --- what comes back ----------------------------------------------------------------------------------------------


def plain(mode):
    return Image.fromarray(np.rint(smooth(3) * 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "format", "options", "words"),
    [
        ("CMYK", "JPEG", {}, "stored as CMYK, it comes back as 8-bit RGB"),
        ("CMYK", "TIFF", {}, "stored as CMYK, it comes back as 8-bit RGB"),
        (
            "1",
            "TIFF",
            {"compression": "group4"},
            "stored as 1-bit black and white, it comes back as 8-bit grey",
        ),
        ("1", "PNG", {}, "stored as 1-bit black and white, it comes back as 8-bit grey"),
        ("1", "BMP", {}, "stored as 1-bit black and white, it comes back as 8-bit grey"),
        ("P", "TIFF", {}, "stored as a palette of 256 colours, it comes back as 8-bit RGB"),
        (
            "P",
            "PNG",
            {"transparency": 3},
            "stored as a palette of",
        ),
        ("P", "BMP", {}, "stored as a palette of"),
        ("L", "PNG", {"bits": 8}, None),
        ("RGB", "TIFF", {}, None),
        ("RGB", "WEBP", {}, None),
        ("L", "BMP", {}, None),
    ],
)
def test_what_comes_back_is_told_where_it_is_something_else(mode, format, options, words):
    decoded = decode_image(saved(plain(mode), format, **options))
    assert (storage_note(decoded) or "None").startswith(str(words))
    again = decode_image(encode_image(decoded, format="PNG" if format == "BMP" else format))
    assert storage_note(again) is None


def test_a_picture_of_arrays_comes_back_as_it_is():
    assert storage_note(DecodedImage(np.zeros((2, 2, 3), np.uint8))) is None

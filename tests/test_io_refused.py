"""What is no picture, too large, animated or cut off."""

import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from picture_files import (
    HERE,
    ICC,
    LOSSLESS,
    XMP,
    cmyk_profile,
    exif_block,
    noisy,
    png_chunk,
    saved,
    smooth,
    tiff,
)
from PIL import Image

from facerestore import io as fio
from facerestore.errors import ImageError
from facerestore.io import (
    decode_image,
    encode_image,
)
from facerestore.types import DecodedImage, Metadata

# --- what is no picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", HERE)
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
        (b"GIF89a" + bytes(20), "0x0 pixels"),
        (b"GIF8", "damaged"),
        (b"%PDF-1.7" + bytes(20), "a PDF"),
        (b"\0\0\0\x0cJXL " + bytes(20), "a JPEG XL"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "damaged"),
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
    files = [encode_image(picture, format=format) for format in HERE]
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


@pytest.mark.parametrize("format", HERE)
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
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND")
    assert fio.DEFAULT_MAX_PIXELS >= 16320 * 12240
    with pytest.raises(ImageError, match="--max-pixels 199756800"):
        decode_image(b"\x89PNG\r\n\x1a\n" + chunks, max_pixels=100_000_000)


@pytest.mark.parametrize("format", HERE)
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

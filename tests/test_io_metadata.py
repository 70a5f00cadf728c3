"""Orientation, EXIF, XMP, profiles and resolution on their way through a format."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from picture_files import (
    HELD,
    HERE,
    ICC,
    LOSSLESS,
    XMP,
    exif_block,
    noisy,
    reread,
    saved,
    smooth,
    tiff,
)
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from facerestore import io as fio
from facerestore.errors import ImageError
from facerestore.io import (
    _claims,
    _exif,
    _exif_edit,
    decode_image,
    encode_image,
    write_image,
)
from facerestore.types import DecodedImage, Metadata

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


@pytest.mark.parametrize("target", HERE)
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
    if {"WEBP", "AVIF", "HEIF"}.isdisjoint((source, target)):
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
    struct.pack_into(order + "I", linked, _exif.first_directory(block).next_position, len(block))
    assert _exif.first_directory(bytes(linked)).next_offset == len(block)
    assert _exif_edit.opened(bytes(linked)).orientation == 6
    words: list[str] = []
    settled = _exif_edit.settled(bytes(linked), 6, words)
    assert words == [_claims.PREVIEWS]
    assert _exif_edit.opened(settled).orientation == 1
    directory = _exif.first_directory(settled)
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
    words: list[str] = []
    assert (_exif_edit.settled(block, 1, words), words) == (block, [])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("text", [b"x", b"II*\0"])
def test_exif_too_long_for_one_segment_of_jpeg_is_carried(format, text):
    # Wherever it is cut, no piece but the first looks like the start of a block.
    value = text * (150_000 // len(text))
    large = Metadata(exif=_exif.pack(_exif.Directory({0x010E: _exif.Field(2, len(value), value)}), "<"))
    back = decode_image(encode_image(DecodedImage(smooth(), metadata=large), format=format))
    assert _exif.first_directory(back.metadata.exif).fields[0x010E].value == value


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


@pytest.mark.parametrize("format", HERE)
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
@pytest.mark.parametrize("format", HERE)
def test_senseless_resolutions_are_dropped(format, dpi):
    data = encode_image(DecodedImage(smooth(), metadata=Metadata(dpi=dpi)), format=format)
    assert decode_image(data).metadata.dpi is None


def test_empty_exif_directory_is_whole():
    empty = _exif.header("<", 8) + bytes(6)
    back = decode_image(encode_image(DecodedImage(smooth(), metadata=Metadata(exif=empty)), format="TIFF"))
    assert back.metadata.exif is None

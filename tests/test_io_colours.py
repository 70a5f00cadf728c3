"""Colours, and what each format holds of its own, when a file is written again."""

import io
import struct
import zlib

import numpy as np
import pytest
from carried_files import (
    ICC,
    NAMESPACES,
    again,
    bmp,
    doubles,
    exif,
    jfif,
    jpeg,
    jpeg_segments,
    numbers,
    photo_exif,
    png,
    png_chunks,
    ratios,
    scene,
    text,
    tiff,
    tiff_tags,
    webp,
    xmp,
)
from PIL import Image, ImageCms

from facerestore.io import (
    _exif,
    _icc,
    _xmp,
    decode_image,
    encode_image,
    left_out,
)
from facerestore.types import DecodedImage, Metadata

# --- colours --------------------------------------------------------------------------------------------------------

P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def seen_as(pixels, icc):
    """Return (H, W, 3) RGB as a colour-managed viewer shows it on an sRGB screen."""
    picture = Image.fromarray(pixels)
    if icc is None:
        return np.asarray(picture.convert("RGB")).astype(int)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    shown = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(shown).astype(int)


@pytest.mark.parametrize("target", ["JPEG", "WEBP", "TIFF", "BMP"])
def test_colours_of_png_become_a_profile_elsewhere(target):
    gamma, primaries = (b"gAMA", struct.pack(">I", 100_000)), (b"cHRM", struct.pack(">8I", *P3))
    image, written = again(png(scene(), gamma, primaries), target)
    assert left_out(image, format=target) is None
    icc = decode_image(written).metadata.icc
    # Linear light of P3: a middle grey is shown as bright as its 16-fold light, and pure red beyond sRGB's.
    grey = seen_as(np.full((1, 1, 3), 55, np.uint8), icc)
    assert np.abs(grey - 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)).max() <= 1.5
    red, green, blue = seen_as(np.array([[[200, 100, 100]]], np.uint8), icc)[0, 0]
    plain = 255 * (1.055 * (np.array((200, 100)) / 255) ** (1 / 2.4) - 0.055)
    assert red > plain[0] + 3
    assert max(green, blue) < plain[1] + 1


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", struct.pack(">8I", *SRGB))],
        [(b"gAMA", struct.pack(">I", 45455))],
        [(b"cICP", bytes((1, 13, 0, 1)))],
        [(b"gAMA", bytes(4)), (b"cHRM", bytes(32))],
    ],
)
def test_what_is_srgb_anyhow_needs_no_profile(chunks):
    _, written = again(png(scene(), *chunks), "JPEG")
    assert decode_image(written).metadata.icc is None


def test_cicp_counts_before_a_profile_and_a_profile_before_gamma():
    profile = (b"iCCP", b"x\0\0" + zlib.compress(ICC))
    p3, gamma = (b"cICP", bytes((12, 13, 0, 1))), (b"gAMA", struct.pack(">I", 100_000))
    assert decode_image(again(png(scene(), profile, gamma), "JPEG")[1]).metadata.icc == ICC
    icc = decode_image(again(png(scene(), p3, profile), "JPEG")[1]).metadata.icc
    assert icc != ICC
    # sRGB's red lies within P3: in P3 it is (234, 51, 35), by the primaries of both.
    assert np.abs(seen_as(np.array([[[234, 51, 35]]], np.uint8), icc)[0, 0] - (255, 0, 0)).max() <= 6
    image, _ = again(png(scene(), (b"cICP", bytes((9, 16, 0, 1))), (b"mDCV", bytes(24))), "JPEG")
    line = left_out(image, format="JPEG")
    assert "chunk cICP" in line
    assert "chunk mDCV" in line
    # In PNG all stay beside each other.
    kept = dict(png_chunks(again(png(scene(), p3, profile, gamma))[1]))
    assert {b"cICP", b"iCCP", b"gAMA"} <= set(kept)


@pytest.mark.parametrize("target", ["WEBP", "PNG"])
def test_a_grey_profile_is_one_of_colours_where_colours_are_written(target):
    icc = _icc.grey_profile("grey", _icc.of_gamma(1.5))
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = DecodedImage(ramp, grey=target == "WEBP", metadata=Metadata(icc=icc), format="PNG")
    stored = decode_image(encode_image(image, format=target)).metadata.icc
    assert _icc.space_of(stored) == b"RGB "
    light = (ramp / 255) ** 1.5
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(seen_as(ramp, stored) - shown).max() <= 1
    grey = DecodedImage(ramp, grey=True, metadata=Metadata(icc=icc), format="PNG")
    assert decode_image(encode_image(grey, format="PNG")).metadata.icc == icc
    broken = DecodedImage(ramp, metadata=Metadata(icc=icc[:130]), format="PNG")
    assert decode_image(encode_image(broken, format="PNG")).metadata.icc is None
    assert "profile of grey" in left_out(broken, format="PNG")


@pytest.mark.parametrize(
    ("channels", "dtype", "stored", "grey", "alpha", "expected"),
    [
        (3, np.uint8, b"\5\6\5", False, False, b"\5\6\5"),
        (3, np.uint8, b"\5\6\5", False, True, b"\5\6\5\x08"),
        (1, np.uint8, b"\4", True, False, b"\4"),
        (1, np.uint8, b"\4", False, False, b"\4\4\4"),
        (4, np.uint16, b"\x0c\x0c\x0c\x0a", False, True, b"\x0c\x0c\x0c\x0a"),
        (3, np.uint8, b"\5\0\5", False, False, None),
        (3, np.uint8, b"\5\x0c\5", False, False, None),
    ],
)
def test_significant_bits_are_those_of_the_channels_written(channels, dtype, stored, grey, alpha, expected):
    image = decode_image(png(scene(channels=channels, dtype=dtype), (b"sBIT", stored)))
    plane = np.zeros(image.pixels.shape[:2], dtype) if alpha else None
    written = encode_image(
        DecodedImage(image.pixels, plane, grey=grey, metadata=image.metadata, format="PNG"), format="PNG"
    )
    assert dict(png_chunks(written)).get(b"sBIT") == expected


def test_cmyk_becomes_srgb_and_nothing_says_otherwise():
    packet = xmp(
        'photoshop:ColorMode="4" photoshop:ICCProfile="SWOP" exif:ColorSpace="65535" '
        'tiff:PhotometricInterpretation="5" tiff:SamplesPerPixel="4" xmp:Rating="4"'
    )
    block = exif({}, camera={0xA001: numbers(3, 65535)})
    stream = io.BytesIO()
    Image.new("CMYK", (16, 16), (9, 99, 9, 9)).save(stream, "JPEG", exif=b"Exif\0\0" + block, xmp=packet)
    image = decode_image(stream.getvalue())
    camera = _exif.first_directory(image.metadata.exif).children[_exif.EXIF_POINTER].fields
    assert camera[0xA001].value == b"\1\0"
    found = _xmp.properties(image.metadata.xmp)
    assert found[NAMESPACES["photoshop"], "ColorMode"] == b"3"
    assert found[NAMESPACES["exif"], "ColorSpace"] == b"1"
    assert found[NAMESPACES["xmp"], "Rating"] == b"4"
    assert not {"ICCProfile", "PhotometricInterpretation", "SamplesPerPixel"} & {name for _, name in found}


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4])
def test_a_lossless_webp_comes_back_lossless(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, channels), dtype=np.uint8)
    image, written = again(webp(pixels, (b"EXIF", photo_exif()), (b"abcd", b"odd")))
    back = decode_image(written)
    np.testing.assert_array_equal(back.pixels, pixels[..., :3])
    assert b"VP8L" in written
    assert b"abcd\3\0\0\0odd\0" in written
    lossy = encode_image(image, format="WEBP", quality=80)
    assert b"VP8L" not in lossy
    assert b"VP8L" not in again(webp(pixels[..., :3], lossless=False))[1]
    with Image.open(io.BytesIO(written)) as picture:
        assert picture.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("width", [1, 5, 64])
def test_bmp_holds_transparency_and_colour(channels, width):
    pixels = scene(70, width, 3 if channels == 1 else channels)
    alpha = np.ascontiguousarray(pixels[..., 3]) if channels == 4 else None
    colours = np.ascontiguousarray(pixels[..., :1].repeat(3, axis=2) if channels == 1 else pixels[..., :3])
    picture = DecodedImage(
        colours, alpha, grey=channels == 1, metadata=Metadata(icc=ICC, dpi=(72.009, 300.0))
    )
    written = encode_image(picture, format="BMP")
    assert struct.unpack_from("<I", written, 2)[0] == len(written)
    back = decode_image(written)
    np.testing.assert_array_equal(back.pixels, colours)
    assert (back.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(back.alpha, alpha)
    assert back.metadata.icc == ICC
    np.testing.assert_allclose(back.metadata.dpi, (72.009, 300.0), atol=0.02)
    with Image.open(io.BytesIO(written)) as other:
        np.testing.assert_array_equal(np.asarray(other.convert("RGBA"))[..., :3], colours)


def test_bmp_of_version_5_comes_back_so():
    image, written = again(bmp(scene(channels=4), intent=2))
    np.testing.assert_array_equal(image.alpha, scene(channels=4)[..., 3])
    assert written == bmp(scene(channels=4), intent=2)
    linked = bmp(scene(), space=b"KNIL")
    assert "only the name" in left_out(decode_image(linked), format="BMP")


def test_jpegs_keep_their_scans_and_are_quantised_no_more_coarsely():
    for quality in (50, 90, 97, 100):
        plain = jpeg(scene(), jfif(), quality=quality, progressive=True)
        with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(again(plain)[1])) as after:
            assert sum(after.quantization[0]) <= sum(before.quantization[0])
            assert after.info["progressive"]
    table = Image.open(io.BytesIO(again(jpeg(scene(), jfif(), quality=50))[1])).quantization
    assert table == Image.open(io.BytesIO(jpeg(scene(), quality=95))).quantization
    image = decode_image(jpeg(scene(), quality=100))
    asked = Image.open(io.BytesIO(encode_image(image, format="JPEG", quality=80))).quantization
    assert asked == Image.open(io.BytesIO(jpeg(scene(), quality=80))).quantization


@pytest.mark.parametrize(
    ("segment", "stated"),
    [(jfif(2, 100, 200), (254, 508)), (jfif(0, 1, 2), None), (jfif(1, 300, 72), (300, 72))],
)
def test_the_density_of_jfif_stays_in_its_unit(segment, stated):
    image, written = again(jpeg(scene(), segment, (0xE1, b"Exif\0\0" + photo_exif())))
    assert jpeg_segments(written)[0][1] == segment[1]
    np.testing.assert_allclose(image.metadata.dpi, stated or (72, 96))
    new = DecodedImage(
        image.pixels, metadata=Metadata(dpi=(50.0, 60.0), parts=image.metadata.parts), format="JPEG"
    )
    assert jpeg_segments(encode_image(new, format="JPEG"))[0][1][7:12] == struct.pack(">BHH", 1, 50, 60)


def test_resolutions_of_tiff_stay_in_their_unit():
    for unit, scale in ((3, 2.54), (2, 1)):
        fields = {282: ratios(100.5), 283: ratios(200), 296: numbers(3, unit)}
        image, written = again(tiff(scene(), fields))
        np.testing.assert_allclose(image.metadata.dpi, (100.5 * scale, 200 * scale))
        assert {tag: tiff_tags(written)[tag].value for tag in fields} == {
            tag: v for tag, (_, v) in fields.items()
        }
    fields = {282: ratios(1), 283: ratios(2), 296: numbers(3, 1)}  # a shape of pixels, no size
    assert tiff_tags(again(tiff(scene(), fields))[1])[296].value == b"\1\0"


@pytest.mark.parametrize("order", "<>")
def test_private_tags_of_tiff_come_back(order):
    tags = {65000: numbers(4, 1, 2, 3, order=order), 65001: doubles(0.5, order=order), 42112: text("<GDAL/>")}
    image, written = again(tiff(scene(), tags, order=order))
    assert written[:2] == {"<": b"II", ">": b"MM"}[order]
    assert {tag: tiff_tags(written)[tag].value for tag in tags} == {
        tag: value for tag, (_, value) in tags.items()
    }
    assert left_out(image, format="TIFF") is None
    line = left_out(image, format="PNG")
    assert "TIFF tag 65000, TIFF tag 65001" in line
    # Beside an EXIF block of the other byte order they are turned round.
    other = Metadata(exif=photo_exif(order="<>".replace(order, "")), parts=image.metadata.parts)
    mixed = encode_image(DecodedImage(image.pixels, metadata=other, format="TIFF"), format="TIFF")
    layout, first = _exif.read_layout(mixed)
    field = _exif.read_directory(mixed, first, layout).fields[65000]
    assert field.integers() == (1, 2, 3)


def test_layers_and_reduced_copies_in_tiff_are_said():
    image = decode_image(tiff(scene(), {37724: (7, b"Adobe Photoshop Document Data Block\0layers")}))
    assert "layers" in left_out(image, format="TIFF")
    assert 37724 not in tiff_tags(encode_image(image, format="TIFF"))


def test_chunks_that_png_calls_safe_to_copy_are_and_others_are_said():
    image, written = again(
        png(scene(), (b"saFe", b"1"), (b"unSA", b"2"), (b"iDOT", b"3"), (b"caBX", b"jumb"))
    )
    kept = dict(png_chunks(written))
    assert kept[b"saFe"] == b"1"
    assert not {b"unSA", b"iDOT", b"caBX"} & set(kept)
    line = left_out(image, format="PNG")
    assert "chunk unSA" in line
    assert "credentials" in line
    assert "iDOT" not in line

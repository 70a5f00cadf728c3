"""HEIC and AVIF: depth, transparency, what is carried, which way is up, and what is said where they cannot be read."""

import io
import struct

import numpy as np
import pytest
from picture_files import HERE, ICC, exif_block, noisy, reread, saved, smooth
from PIL import Image

from facerestore.errors import ImageError
from facerestore.io import _boxes, decode_image, encode_image, lacking, left_out, picture_size, search_folder
from facerestore.io._formats import needed, sniff
from facerestore.types import DecodedImage, Metadata, Part

FAMILY = [name for name in ("AVIF", "HEIF") if name in HERE]
REGIONS = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" '
    b'xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"><mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList>'
    b'<rdf:Bag><rdf:li><rdf:Description><mwg-rs:Area stArea:x="0.25" stArea:y="0.1" stArea:w="0.2" stArea:h="0.1"/>'
    b"</rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def difference(one, other):
    top = np.iinfo(one.dtype).max
    return np.abs(one.astype(float) - other).max() / top


@pytest.mark.parametrize("format", FAMILY)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_depth_colours_and_transparency_come_back(format, dtype, grey, alpha):
    pixels = np.repeat(smooth(64, 96, 1 if grey else 3, dtype), 3 if grey else 1, axis=2)
    carried = smooth(64, 96, 1, dtype, seed=3)[..., 0] if alpha else None
    back = decode_image(encode_image(DecodedImage(pixels, carried, grey=grey), format=format))
    assert (back.format, back.pixels.dtype, back.alpha is None) == (format, dtype, not alpha)
    assert back.grey == (grey and not alpha)
    assert difference(back.pixels, pixels) < 0.08
    assert not alpha or difference(back.alpha, carried) < 0.015


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_the_best_quality_of_avif_is_without_loss(bits):
    pixels = noisy((32, 48, 3), np.uint8 if bits == 8 else np.uint16)
    if bits > 8:
        pixels = _boxes.widened(_boxes.narrowed(pixels, bits), bits)
    metadata = Metadata(parts=(Part("HEIF", b"depth", bytes([bits])),) if bits > 8 else ())
    back = decode_image(encode_image(DecodedImage(pixels, metadata=metadata), format="AVIF", quality=100))
    np.testing.assert_array_equal(back.pixels, pixels)


@pytest.mark.parametrize("format", FAMILY)
def test_ten_bits_stay_ten_and_what_16_lose_is_said(format):
    deep = DecodedImage(smooth(64, 96, dtype=np.uint16))
    lost = {"AVIF": 4, "HEIF": 6}[format]
    assert f"the last {lost} of 16 bits of a sample" in left_out(deep, format=format)
    ten = decode_image(
        encode_image(
            DecodedImage(deep.pixels, metadata=Metadata(parts=(Part("HEIF", b"depth", b"\x0a"),))),
            format=format,
        )
    )
    assert ten.metadata.body_of(b"depth") == b"\x0a"
    assert left_out(ten, format=format) is None
    again = decode_image(encode_image(ten, format=format))
    assert again.metadata.body_of(b"depth") == b"\x0a"
    with pytest.raises(ImageError, match="JPEG cannot hold 16-bit pixels; write PNG or TIFF or AVIF or HEIF"):
        encode_image(ten, format="JPEG")


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_samples_of_few_bits_reach_white_and_come_back(bits):
    samples = np.arange(2**bits, dtype=np.uint16)
    wide = _boxes.widened(samples, bits)
    assert wide[-1] == 65535
    np.testing.assert_array_equal(_boxes.narrowed(wide, bits), samples)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", FAMILY)
def test_a_turned_file_is_read_upright_and_its_regions_turn_with_it(format, orientation):
    upright = smooth(64, 96)
    expected = decode_image(saved(Image.fromarray(upright), "PNG", exif=exif_block(orientation)))
    data = saved(Image.fromarray(upright), format, exif=exif_block(orientation), xmp=REGIONS, quality=95)
    decoded = decode_image(data)
    assert difference(decoded.pixels, expected.pixels) < 0.1
    assert reread(decoded.metadata.exif).get(0x0112, 1) == 1
    if orientation == 6:
        assert b'stArea:x="0.9" stArea:y="0.25" stArea:w="0.1" stArea:h="0.2"' in decoded.metadata.xmp


@pytest.mark.parametrize("format", FAMILY)
def test_primaries_stay_numbers_in_the_family_and_become_a_profile_elsewhere(format):
    display_p3 = struct.pack(">HH", 12, 13)
    image = DecodedImage(
        smooth(64, 96), format=format, metadata=Metadata(parts=(Part("HEIF", b"nclx", display_p3),))
    )
    back = decode_image(encode_image(image, format=format))
    assert back.metadata.body_of(b"nclx") == display_p3
    assert back.metadata.icc is None
    png = decode_image(encode_image(back, format="PNG"))
    assert png.metadata.icc[16:20] == b"RGB "
    assert left_out(back, format="PNG") is None
    with_profile = DecodedImage(smooth(64, 96), metadata=Metadata(icc=ICC))
    assert decode_image(encode_image(with_profile, format=format)).metadata.body_of(b"nclx") is None


@pytest.mark.skipif("HEIF" not in HERE, reason="pillow-heif is not installed")
def test_of_several_pictures_the_primary_is_read_and_the_others_are_told():
    import pillow_heif

    file = pillow_heif.HeifFile()
    for value in (40, 200):
        file.add_frombytes("RGB", (64, 48), bytes([value]) * (64 * 48 * 3))
    stream = io.BytesIO()
    file.save(stream, primary_index=1, quality=90, thumbnails=[32])
    decoded = decode_image(stream.getvalue())
    assert abs(int(decoded.pixels.mean()) - 200) < 3
    assert "further pictures after the first" in decoded.metadata.dropped
    assert abs(int(decode_image(stream.getvalue(), page=1).pixels.mean()) - 40) < 3
    with pytest.raises(ImageError, match="there is no picture 3; it holds 2 pictures"):
        decode_image(stream.getvalue(), page=3)


@pytest.mark.skipif("HEIF" not in HERE, reason="pillow-heif is not installed")
def test_chroma_of_a_heic_is_kept_and_else_what_phones_read():
    import pillow_heif

    def chroma(data):
        return pillow_heif.open_heif(io.BytesIO(data))[0].info["chroma"]

    full = saved(Image.fromarray(smooth(64, 96)), "HEIF", quality=90, chroma=444)
    assert chroma(encode_image(decode_image(full), format="HEIF")) == 444
    assert chroma(encode_image(DecodedImage(smooth(64, 96)), format="HEIF")) == 420


def test_moving_avif_asks_for_a_frame():
    frames = [Image.fromarray(smooth(64, 96, seed=seed)) for seed in (1, 2)]
    data = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=95)
    with pytest.raises(ImageError, match=r"holds 2 animation frames.*--page 1 to 2"):
        decode_image(data)
    assert difference(decode_image(data, page=2).pixels, np.asarray(frames[1])) < 0.1


@pytest.mark.parametrize("format", FAMILY)
def test_size_is_known_before_pixels_and_limited(format):
    data = saved(Image.fromarray(smooth(64, 96)), format)
    assert picture_size(data) == (96, 64)
    with pytest.raises(ImageError, match=r"96x64 = 6144 pixels.*--max-pixels 6144"):
        decode_image(data, max_pixels=6143)


@pytest.mark.parametrize(
    ("brands", "format"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIF"),
        (b"mif1\0\0\0\0mif1heic", "HEIF"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"avif\0\0\0\0avifmif1", "AVIF"),
        (b"crx \0\0\0\1crx isom", "RAW"),
    ],
)
def test_brands_tell_what_a_file_of_boxes_is(brands, format):
    assert sniff(b"\0\0\0\x1cftyp" + brands, "photo") == format


def test_what_is_needed_is_named_where_it_is_wanting(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(
        ImageError, match=r'photo: HEIC needs the package pillow-heif, .*pip install "facerestore\[heif\]"'
    ):
        needed("HEIF", name="photo")
    assert lacking("JPEG") is None
    for name in ("a.heic", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    found = search_folder(tmp_path, recursive=False, lacks=lambda format: "x" if format == "HEIF" else None)
    assert ([path.name for path in found.images], [path.name for path in found.others]) == (
        ["b.png"],
        ["a.heic"],
    )


@pytest.mark.parametrize("format", FAMILY)
def test_what_has_signed_the_file_is_told(format):
    data = saved(Image.fromarray(smooth(64, 96)), format)
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    signed = data + struct.pack(">I4s", 8 + 16 + 4, b"uuid") + uuid + b"jumb"
    assert "content credentials, which sign the file as it was" in decode_image(signed).metadata.dropped

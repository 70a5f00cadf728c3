"""Orientations and sizes that a file states, when it is written again."""

import struct

import numpy as np
import pytest
from carried_files import (
    NAMESPACES,
    XMP_PREFIX,
    again,
    doubles,
    exif,
    jfif,
    jpeg,
    jpeg_segments,
    numbers,
    photo_exif,
    photoshop,
    png,
    png_chunks,
    raw_profile,
    scene,
    text,
    text_chunk,
    tiff,
    tiff_tags,
    webp,
    with_xmp,
    xmp,
)

from facerestore.io import (
    _exif,
    _exif_edit,
    _photoshop,
    _xmp,
    decode_image,
    encode_image,
    left_out,
)
from facerestore.types import DecodedImage

# --- orientation ----------------------------------------------------------------------------------------------------

ATTRIBUTE, ELEMENT = 'tiff:Orientation="6"', "<tiff:Orientation>6</tiff:Orientation>"
# Where an orientation of 6 may stand.
TURNED = {
    "jpeg exif": lambda: jpeg(scene(), jfif(), (0xE1, b"Exif\0\0" + photo_exif(6))),
    "jpeg exif motorola": lambda: jpeg(scene(), jfif(), (0xE1, b"Exif\0\0" + photo_exif(6, order=">"))),
    "jpeg xmp attribute": lambda: with_xmp(xmp(ATTRIBUTE)),
    "jpeg xmp element": lambda: with_xmp(xmp(elements=ELEMENT)),
    "jpeg both": lambda: with_xmp(xmp(ATTRIBUTE), (0xE1, b"Exif\0\0" + photo_exif(6))),
    "jpeg exif, where XMP says otherwise": lambda: with_xmp(
        xmp('tiff:Orientation="3"'), (0xE1, b"Exif\0\0" + photo_exif(6))
    ),
    "jpeg photoshop": lambda: with_xmp(
        xmp(ATTRIBUTE),
        (0xED, b"Photoshop 3.0\0" + photoshop((0x0424, xmp(ATTRIBUTE)), (0x0422, photo_exif(6)))),
    ),
    "png exif": lambda: png(scene(), (b"eXIf", photo_exif(6))),
    "png exif with its prefix": lambda: png(scene(), (b"eXIf", b"Exif\0\0" + photo_exif(6))),
    "png xmp": lambda: png(scene(), text_chunk(b"iTXz", "XML:com.adobe.xmp", xmp(ATTRIBUTE))),
    "webp exif": lambda: webp(scene(), (b"EXIF", b"Exif\0\0" + photo_exif(6))),
    "webp xmp": lambda: webp(scene(), (b"XMP ", xmp(elements=ELEMENT))),
    "tiff tag": lambda: tiff(scene(), {274: numbers(3, 6)}),
    "tiff xmp": lambda: tiff(scene(), {700: (1, xmp(ATTRIBUTE))}),
    **{
        f"png {kind.decode()} {name}": lambda kind=kind, name=name, block=block: png(
            scene(), text_chunk(kind, f"Raw profile type {name}", raw_profile(name, block))
        )
        for kind in (b"tEXt", b"zTXt", b"iTXt", b"iTXz")
        for name, block in (
            ("exif", b"Exif\0\0" + photo_exif(6)),
            ("APP1", b"Exif\0\0" + photo_exif(6)),
            ("xmp", xmp(ATTRIBUTE)),
        )
    },
    "png APP1 of xmp": lambda: png(
        scene(),
        text_chunk(b"zTXt", "Raw profile type APP1", raw_profile("APP1", XMP_PREFIX + xmp(ATTRIBUTE))),
    ),
}


def orientations(image):
    """Return every orientation that the metadata of a picture state."""
    stated = [_exif_edit.opened(image.metadata.exif).orientation] if image.metadata.exif else []
    packets = [image.metadata.xmp] if image.metadata.xmp else []
    packets += [r.data for r in _photoshop.resources(image.metadata.photoshop or b"") if r.number == 0x0424]
    stated += [
        int(_xmp.properties(packet).get((NAMESPACES["tiff"], "Orientation"), b"1")) for packet in packets
    ]
    return stated


@pytest.mark.parametrize("case", TURNED)
def test_an_orientation_is_applied_once_wherever_it_stands(case):
    data = TURNED[case]()
    image, written = again(data)
    assert image.pixels.shape == (64, 48, 3)
    if not case.startswith("jpeg"):
        np.testing.assert_array_equal(image.pixels, np.rot90(scene(), -1))
    assert set(orientations(image)) <= {1}
    assert decode_image(written).pixels.shape == (64, 48, 3)
    # No place in the file but one that is blanked out says 6.
    assert b'Orientation="6"' not in written
    assert b"Orientation>6" not in written
    for target in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert decode_image(encode_image(image, format=target)).pixels.shape == (64, 48, 3)


def test_an_orientation_of_exif_counts_before_that_of_xmp():
    image = decode_image(with_xmp(xmp(ATTRIBUTE), (0xE1, b"Exif\0\0" + photo_exif(1))))
    assert image.pixels.shape == (48, 64, 3)
    assert orientations(image) == [1, 1]
    silent = exif({0x010F: text("Maker")})
    assert decode_image(with_xmp(xmp(ATTRIBUTE), (0xE1, b"Exif\0\0" + silent))).pixels.shape == (64, 48, 3)


def test_only_the_picture_s_own_orientation_counts():
    ingredient = '<xmp:Ingredients><rdf:Bag><rdf:li tiff:Orientation="6"/></rdf:Bag></xmp:Ingredients>'
    image = decode_image(with_xmp(xmp(elements=ingredient)))
    assert image.pixels.shape == (48, 64, 3)
    assert b'tiff:Orientation="6"' in image.metadata.xmp


def test_what_lies_on_the_picture_as_it_was_stored_turns_or_goes_with_its_turn():
    block = photo_exif(6)
    image, written = again(jpeg(scene(), jfif(1, 100, 200), (0xE1, b"Exif\0\0" + block)))
    assert image.metadata.dpi == (200, 100)
    assert _exif_edit.opened(image.metadata.exif).resolution == (96, 72)
    assert jpeg_segments(written)[0][1][7:12] == struct.pack(">BHH", 1, 200, 100)
    paths = photoshop((0x07D0, b"path"), (0x040B, b"url"), (0x03ED, bytes(range(16))))
    image = decode_image(jpeg(scene(), (0xE1, b"Exif\0\0" + block), (0xED, b"Photoshop 3.0\0" + paths)))
    kept = {item.number: item.data for item in _photoshop.resources(image.metadata.photoshop)}
    assert kept == {0x040B: b"url", 0x03ED: bytes((*range(8, 16), *range(8)))}
    assert "paths" in left_out(image, format="JPEG")
    image, written = again(png(scene(), (b"pHYs", struct.pack(">IIB", 3, 4, 0)), (b"eXIf", block)))
    assert dict(png_chunks(written))[b"pHYs"] == struct.pack(">IIB", 4, 3, 0)


def test_pictures_are_the_same_when_written_twice():
    for case in TURNED.values():
        first = again(case())[1]
        image, second = again(first)
        assert left_out(image, format=image.format) is None
        assert decode_image(second).metadata.exif == image.metadata.exif
        assert decode_image(second).metadata.xmp == image.metadata.xmp


def test_utf_16_packets_are_read():
    packet = xmp(ATTRIBUTE, wrapper=False).decode().encode("utf-16-le")
    image = decode_image(tiff(scene(), {700: (1, packet)}))
    assert image.pixels.shape == (64, 48, 3)
    assert orientations(image) == [1]


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", "<>")
def test_every_width_and_height_is_that_of_the_pixels(order):
    packet = xmp(
        'tiff:ImageWidth="64" exif:PixelXDimension="64"', "<exif:PixelYDimension>48</exif:PixelYDimension>"
    )
    image = decode_image(with_xmp(packet, (0xE1, b"Exif\0\0" + photo_exif(order=order))))
    large = DecodedImage(np.zeros((70_001, 3, 3), np.uint8), metadata=image.metadata, format="JPEG")
    for target in ("PNG", "TIFF"):
        stored = decode_image(encode_image(large, format=target)).metadata
        layout, first = _exif.read_layout(stored.exif)
        camera = _exif.read_directory(stored.exif, first, layout).children[_exif.EXIF_POINTER].fields
        # A short number gives way to a long one, where it has to.
        assert [camera[tag].integers() for tag in (0xA002, 0xA003)] == [(3,), (70_001,)]
        found = _xmp.properties(stored.xmp)
        assert found[NAMESPACES["tiff"], "ImageWidth"] == b"3"
        assert found[NAMESPACES["exif"], "PixelXDimension"] == b"3"
        assert found[NAMESPACES["exif"], "PixelYDimension"] == b"70001"
    short = _exif_edit.with_size(photo_exif(order=order), 70_001, 3)
    layout, first = _exif.read_layout(short)
    camera = _exif.read_directory(short, first, layout).children[_exif.EXIF_POINTER].fields
    assert [camera[tag].integers() for tag in (0xA002, 0xA003)] == [(70_001,), (3,)]


def test_places_in_pixels_go_with_another_size_and_are_said():
    first = {0x010F: text("Maker")}
    block = exif(first, camera={0x9003: text("2020:01:02 03:04:05"), 0x9214: numbers(3, 10, 20, 5, 5)})
    panorama = 'GPano:FullPanoWidthPixels="640" GPano:ProjectionType="equirectangular"'
    resources = photoshop((0x041A, b"slices"), (0x040B, b"url"))
    image = decode_image(
        with_xmp(xmp(panorama), (0xE1, b"Exif\0\0" + block), (0xED, b"Photoshop 3.0\0" + resources))
    )
    assert left_out(image, format="JPEG") is None
    large = DecodedImage(np.zeros((96, 128, 3), np.uint8), metadata=image.metadata, format="JPEG")
    line = left_out(large, format="JPEG")
    assert all(word in line for word in ("subject area", "panorama", "guides"))
    stored = decode_image(encode_image(large, format="JPEG")).metadata
    assert list(_exif.first_directory(stored.exif).children[_exif.EXIF_POINTER].fields) == [0x9003]
    assert b"FullPano" not in stored.xmp
    assert b"ProjectionType" in stored.xmp
    assert [item.number for item in _photoshop.resources(stored.photoshop)] == [0x040B]
    geography = {33550: doubles(1, 1, 0), 33922: doubles(*range(6)), 65000: numbers(4, 7)}
    image = decode_image(tiff(scene(), geography))
    large = DecodedImage(np.zeros((96, 128, 3), np.uint8), metadata=image.metadata, format="TIFF")
    assert "earth" in left_out(large, format="TIFF")
    tags = tiff_tags(encode_image(large, format="TIFF"))
    assert 65000 in tags
    assert not {33550, 33922} & set(tags)

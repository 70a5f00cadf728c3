"""What a file carries when it is written again: what holds, what goes with its claim, and what is said of it."""

import io
import struct
import zlib
from hashlib import md5

import numpy as np
import pytest
from carried_files import (
    CAPTION,
    ICC,
    NAMESPACES,
    RATING,
    THUMBNAIL,
    TITLE,
    bmp,
    directory,
    doubles,
    exif,
    extended_xmp,
    head,
    in_segments,
    iptc,
    jfif,
    jpeg,
    jpeg_segments,
    mpf,
    numbers,
    photo_exif,
    photoshop,
    png,
    png_chunks,
    ratios,
    raw_profile,
    scene,
    small_jpeg,
    text,
    text_chunk,
    tiff,
    webp,
    with_digest,
    xmp,
)
from PIL import Image, ImageCms

from facerestore import io as fio
from facerestore.io import (
    _exif,
    _exif_edit,
    _icc,
    _makernote,
    _photoshop,
    _xmp,
    decode_image,
    encode_image,
    left_out,
)
from facerestore.types import DecodedImage, Metadata

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
TIFF_NAMES = {name: (NAMESPACES["tiff"], name) for name in ("Orientation", "ImageWidth", "ImageLength")}


def again(data, format=None):
    """Return the picture of a file, and the bytes that it is written back to."""
    image = decode_image(data)
    return image, encode_image(image, format=format or image.format)


def with_xmp(packet, *segments, **options):
    """Return a JPEG with an XMP packet."""
    return jpeg(scene(), jfif(), (0xE1, XMP_PREFIX + packet), *segments, **options)


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
    stated = [_exif_edit.orientation_of(image.metadata.exif)] if image.metadata.exif else []
    packets = [image.metadata.xmp] if image.metadata.xmp else []
    packets += [r.data for r in _photoshop.resources(image.metadata.photoshop or b"") if r.number == 0x0424]
    stated += [int(_xmp.properties(packet).get(TIFF_NAMES["Orientation"], b"1")) for packet in packets]
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
    assert _exif_edit.resolution_of(image.metadata.exif) == (96, 72)
    assert jpeg_segments(written)[0][1][7:12] == struct.pack(">BHH", 1, 200, 100)
    paths = photoshop((0x07D0, b"path"), (0x040B, b"url"), (0x03ED, bytes(range(16))))
    image = decode_image(jpeg(scene(), (0xE1, b"Exif\0\0" + block), (0xED, b"Photoshop 3.0\0" + paths)))
    kept = {item.number: item.data for item in _photoshop.resources(image.metadata.photoshop)}
    assert kept == {0x040B: b"url", 0x03ED: bytes((*range(8, 16), *range(8)))}
    assert "paths" in left_out(image, format="JPEG")
    image, written = again(png(scene(), (b"pHYs", struct.pack(">IIB", 3, 4, 0)), (b"eXIf", block)))
    assert dict(png_chunks(written))[b"pHYs"] == struct.pack(">IIB", 4, 3, 0)


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
        assert [_exif.integers(camera[tag], layout) for tag in (0xA002, 0xA003)] == [(3,), (70_001,)]
        found = _xmp.properties(stored.xmp)
        assert found[NAMESPACES["tiff"], "ImageWidth"] == b"3"
        assert found[NAMESPACES["exif"], "PixelXDimension"] == b"3"
        assert found[NAMESPACES["exif"], "PixelYDimension"] == b"70001"
    short = _exif_edit.with_size(photo_exif(order=order), 70_001, 3)
    layout, first = _exif.read_layout(short)
    camera = _exif.read_directory(short, first, layout).children[_exif.EXIF_POINTER].fields
    assert [_exif.integers(camera[tag], layout) for tag in (0xA002, 0xA003)] == [(70_001,), (3,)]


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
    assert list(_exif.first_directory(stored.exif)[0].children[_exif.EXIF_POINTER].fields) == [0x9003]
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


def tiff_tags(data):
    """Return the entries of the first directory of a TIFF."""
    layout, first = _exif.read_layout(data)
    return _exif.read_directory(data, first, layout).fields


# --- what goes, with its claim --------------------------------------------------------------------------------------

CONTAINER = (
    "<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>"
    '<Container:Item Item:Semantic="GainMap" Item:Length="331"/></rdf:li></rdf:Seq></Container:Directory>'
)
CLAIMS = {
    "HDR gain map": ('hdrgm:Version="1.0" hdrgm:GainMapMax="2"', ""),
    "further pictures": ("", CONTAINER),
    "motion photo": ('GCamera:MotionPhoto="1" GCamera:MotionPhotoPresentationTimestampUs="5"', ""),
    "motion  photo": (
        'GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="9"',
        "",
    ),
    "thumbnails": (
        "",
        "<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType='Resource'><xmpGImg:image>AAAA</xmpGImg:image>"
        "</rdf:li></rdf:Alt></xmp:Thumbnails>",
    ),
    "previews": ('GImage:Mime="image/jpeg"', "<GImage:Data>AAAA</GImage:Data>"),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("word", CLAIMS)
def test_a_claim_goes_with_what_it_is_about_and_is_said(word, format):
    attributes, elements = CLAIMS[word]
    packet = xmp(f"{attributes} {RATING}", TITLE + elements)
    data = {
        "JPEG": lambda: with_xmp(packet),
        "PNG": lambda: png(scene(), text_chunk(b"iTXt", "XML:com.adobe.xmp", packet)),
        "WEBP": lambda: webp(scene(), (b"XMP ", packet)),
        "TIFF": lambda: tiff(scene(), {700: (1, packet)}),
    }[format]()
    image, written = again(data)
    assert " ".join(word.split()) in left_out(image, format=format)
    for claim in (b"hdrgm", b"Container:", b"MotionPhoto", b"MicroVideo", b"Thumbnails", b"GImage"):
        assert claim not in image.metadata.xmp.replace(b"xmlns:Container", b"").replace(
            b"xmlns:hdrgm", b""
        ).replace(b"xmlns:GImage", b"")
    assert image.metadata.xmp in written or format == "JPEG"
    found = _xmp.properties(image.metadata.xmp)
    assert found[NAMESPACES["xmp"], "Rating"] == b"4"
    assert b"A title" in found[NAMESPACES["dc"], "title"]


def test_a_claim_is_known_by_its_namespace_whatever_the_prefix():
    packet = (
        xmp(RATING)
        .replace(b"xmlns:hdrgm=", b"xmlns:other=")
        .replace(b"xmp:Rating", b"other:Version='1' xmp:Rating")
    )
    packet = packet.replace(b"xmlns:GCamera=", b"xmlns:Camera=").replace(
        b"xmp:Rating", b"Camera:MotionPhoto='1' xmp:Rating"
    )
    image = decode_image(with_xmp(packet))
    assert b"other:Version" not in image.metadata.xmp
    assert b"Camera:MotionPhoto" not in image.metadata.xmp
    assert b"gain-map" not in image.metadata.xmp  # the namespace has no use any more


def test_a_packet_that_is_damaged_and_makes_claims_goes_whole():
    damaged = xmp('hdrgm:Version="1.0"')[:-30]
    image = decode_image(with_xmp(damaged))
    assert image.metadata.xmp is None
    assert "XMP, which is damaged" in left_out(image, format="JPEG")
    harmless = xmp(RATING, prefixes=("xmp", "photoshop"))[:-30]
    assert decode_image(with_xmp(harmless)).metadata.xmp == harmless


@pytest.mark.parametrize(
    "packet",
    [
        b"<!DOCTYPE x [<!ENTITY a 'aa'>]><x>&a; Orientation</x>",
        b"<Orientation>" * 300_000,
        b"<x>" + b"<Orientation/>" * 20_000 + b"</x>",
    ],
)
def test_packets_made_to_be_slow_are_not_read(packet):
    image = decode_image(png(scene(), text_chunk(b"iTXt", "XML:com.adobe.xmp", packet)))
    assert image.metadata.xmp is None
    assert "XMP, which is damaged" in left_out(image, format="PNG")


def test_pictures_behind_the_first_go_with_their_index():
    second = small_jpeg()
    iso = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4))
    data = jpeg(scene(), jfif(), mpf(len(second)), iso, trailer=second)
    image, written = again(data)
    line = left_out(image, format="JPEG")
    assert "further pictures" in line
    assert "HDR gain map" in line
    assert not [body for marker, body in jpeg_segments(written) if body.startswith((b"MPF", b"urn:iso"))]
    assert second not in written
    assert written.count(b"\xff\xd8\xff") == 1


@pytest.mark.parametrize(
    ("trailer", "word"),
    [
        (b"\0\0\0\x18ftypmp42" + bytes(99), "motion photo"),
        (bytes(24) + b"MotionPhoto_Data" + b"\0\0\0\x18ftypisom" + b"SEFT", "motion photo"),
        (b"SEFHe" + bytes(20) + b"SEFT", "behind the picture"),
        (b"\0\0" + small_jpeg(), "further pictures"),
        (bytes(4096), None),
    ],
)
def test_what_stands_behind_the_picture_is_said(trailer, word):
    image = decode_image(jpeg(scene(), jfif(), trailer=trailer))
    line = left_out(image, format="JPEG")
    assert (line is None) if word is None else (word in line)


@pytest.mark.parametrize(
    ("segments", "word"),
    [
        ([(0xE0, b"JFXX\0\x10" + THUMBNAIL)], "thumbnails"),
        ([(0xE3, b"\xff\xd8\xff\xdb" + bytes(99)), (0xE3, bytes(99))], "thumbnails"),
        ([(0xE2, b"FPXR\0\0\2" + THUMBNAIL), (0xE2, b"FPXR\0\0\2" + bytes(9))], "thumbnails"),
        ([(0xEB, b"JP\0\1\0\0\0\1" + bytes(20) + b"jumbc2pa")], "credentials"),
        ([(0xEB, b"HDR_RI ver=11")], "gain map"),
        ([(0xE1, b"Exif\0\0" + photo_exif()), (0xE1, b"Exif\0\0" + photo_exif())], "second EXIF"),
        ([(0xE1, XMP_PREFIX + xmp(RATING)), (0xE1, XMP_PREFIX + xmp())], "second XMP"),
        ([*in_segments(ICC), *in_segments(ICC)], "second colour profile"),
        (in_segments(ICC)[:2], "incomplete colour profile"),
        ([jfif(thumbnail=bytes(27))], "thumbnails"),
        ([(0xED, b"Photoshop 3.0\0" + photoshop((0x040C, bytes(28) + THUMBNAIL)))], "thumbnails"),
        ([(0xED, b"Photoshop 3.0\0" + photoshop((0x0406, bytes(7))))], "compressed"),
    ],
)
def test_segments_that_no_longer_hold_go_and_are_said(segments, word):
    image, written = again(jpeg(scene(), *segments))
    assert word in left_out(image, format="JPEG")
    assert b"old face" not in written
    kept = jpeg_segments(written)
    assert not [
        body for _, body in kept if body.startswith((b"JFXX", b"FPXR", b"\xff\xd8\xff", b"JP\0", b"HDR_RI"))
    ]
    assert sum(body.startswith(b"Exif") for _, body in kept) <= 1
    # What is said once is not said again.
    assert left_out(decode_image(written), format="JPEG") is None


def test_how_the_old_file_was_packed_goes_without_a_word():
    segments = [(0xEE, b"Adobe\0\x64\0\0\0\0\1"), (0xE8, b"SPIFF\0"), (0xE4, b"SCALADO\0"), (0xEF, b"Q 80\0")]
    image, written = again(jpeg(scene(), jfif(), *segments))
    assert left_out(image, format="JPEG") is None
    assert {marker for marker, _ in jpeg_segments(written)} & {0xEE, 0xE8, 0xE4, 0xEF} == set()


def test_iptc_loses_its_preview_and_keeps_its_digest_true():
    records = iptc(
        *CAPTION, (2, 200, b"\0\x01"), (2, 201, b"\0\x01"), (2, 202, THUMBNAIL), (2, 55, b"20200102")
    )
    image = decode_image(jpeg(scene(), (0xED, b"Photoshop 3.0\0" + with_digest(records))))
    kept = {item.number: item.data for item in _photoshop.resources(image.metadata.photoshop)}
    assert kept[0x0404] == iptc(*CAPTION, (2, 55, b"20200102"))
    assert kept[0x0425] == md5(kept[0x0404]).digest()
    assert "thumbnails" in left_out(image, format="JPEG")
    wrong = photoshop((0x0404, records), (0x0425, bytes(16)))
    image = decode_image(jpeg(scene(), (0xED, b"Photoshop 3.0\0" + wrong)))
    assert {r.number: r.data for r in _photoshop.resources(image.metadata.photoshop)}[0x0425] == bytes(16)


def test_long_photoshop_blocks_and_many_comments_span_segments():
    block = with_digest(iptc(*CAPTION), (0x0BB8, bytes(range(256)) * 600))
    cut = [(0xED, b"Photoshop 3.0\0" + block[at : at + 60_000]) for at in range(0, len(block), 60_000)]
    image, written = again(jpeg(scene(), *cut, (0xFE, b"one"), (0xFE, b"\xfctwo")))
    assert image.metadata.photoshop == block
    assert decode_image(written).metadata.photoshop == block
    assert [body for marker, body in jpeg_segments(written) if marker == 0xFE] == [b"one", b"\xfctwo"]


# --- maker notes ----------------------------------------------------------------------------------------------------

ORDERS = {"<": b"II", ">": b"MM"}
# How a note starts, and whether its offsets count from it (else from the start of the block).
MAKERS = {
    "Nikon": lambda order: (b"Nikon\0\2\x11\0\0", True),
    "Olympus": lambda order: (b"OLYMPUS\0" + ORDERS[order] + b"\3\0", True),
    "Pentax": lambda order: (b"PENTAX \0" + ORDERS[order], True),
    "Sony": lambda order: (b"SONY DSC \0\0\0", False),
    "Panasonic": lambda order: (b"Panasonic\0\0\0", False),
    "Canon": lambda order: (b"", False),
}
NOTE_PLACE = (
    8 + 2 + 12 * 2 + 4
)  # of a camera's directory of two entries, of which the note's value is the first


def note_with_preview(maker, order):
    """Return a maker note with a lens, a preview within, and one that a directory of its own leads to."""
    start, own = MAKERS[maker](order)
    base = (10 if maker == "Nikon" else 0) if own else -NOTE_PLACE
    lead = start + (head(order) if maker == "Nikon" else b"")
    at = len(lead) - base

    def entries(child, preview):
        return {
            0x0082: text("A lens of some length"),
            0x2001: (7, THUMBNAIL),
            0x3000: numbers(4, child, order=order),
            0x3001: numbers(4, preview, order=order),
            0x3002: numbers(4, len(THUMBNAIL), order=order),
        }

    child = at + len(directory(entries(0, 0), at, order))
    pair = {0x0103: numbers(3, 6, order=order)}
    pair |= {0x0201: numbers(4, 0, order=order), 0x0202: numbers(4, len(THUMBNAIL), order=order)}
    first = child + len(directory(pair, child, order))
    pair[0x0201] = numbers(4, first, order=order)
    second = first + len(THUMBNAIL)
    body = directory(entries(child, second), at, order) + directory(pair, child, order)
    return lead + body + THUMBNAIL * 2


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("maker", MAKERS)
def test_previews_in_maker_notes_go_with_their_entries(maker, order):
    note = note_with_preview(maker, order)
    block = exif({0x010F: text(maker)}, camera={0x927C: (7, note), 0xA434: text("A lens")}, order=order)
    assert block[NOTE_PLACE : NOTE_PLACE + len(note)] == note
    assert block.count(b"old face") == 3
    settled, words = _exif_edit.settled(block, 1)
    assert len(settled) == len(block)
    assert len(words) == 1
    assert b"old face" not in settled
    assert b"A lens of some length" in settled
    base = (NOTE_PLACE + (10 if maker == "Nikon" else 0)) if MAKERS[maker](order)[1] else 0
    start = NOTE_PLACE + len(MAKERS[maker](order)[0]) + (8 if maker == "Nikon" else 0) - base
    fields = _exif.read_directory(settled[base:], start, _exif.Layout(order)).fields
    assert set(fields) == {0x0082, 0x3000}
    assert fields[0x0082].value == b"A lens of some length\0"
    child = _exif.integers(fields[0x3000], _exif.Layout(order))[0]
    assert set(_exif.read_directory(settled[base:], child, _exif.Layout(order)).fields) == {0x0103}


def test_a_note_with_a_preview_in_no_known_place_goes_whole():
    note = b"UNKNOWN" + bytes(9) + THUMBNAIL
    block = exif({}, camera={0x927C: (7, note), 0xA434: text("A lens")})
    settled, words = _exif_edit.settled(block, 1)
    assert len(words) == 1
    assert b"old face" not in settled
    fields = _exif.first_directory(settled)[0].children[_exif.EXIF_POINTER].fields
    assert set(fields) == {0xA434}


def test_a_preview_behind_the_block_loses_its_entries():
    def settings(at):
        return directory({0x0100: numbers(4, 1), 0x0101: numbers(4, 70_000), 0x0102: numbers(4, 9000)}, at)

    at = 12 + len(directory({0x2020: numbers(4, 0)}, 12))
    note = b"OLYMPUS\0II\3\0" + directory({0x2020: numbers(4, at)}, 12) + settings(at)
    block = exif({}, camera={0x927C: (7, note)})
    settled, words = _exif_edit.settled(block, 1)
    assert len(words) == 1
    start = settled.index(b"OLYMPUS")
    assert _exif.read_directory(settled[start:], at, _exif.Layout("<")).fields == {}


def test_notes_without_previews_and_in_the_wrong_byte_order_stay_as_they_are():
    for note in (
        b"\0" * 40,
        b"\xff" * 300,
        note_with_preview("Canon", ">").replace(b"\xff\xd8", b"\0\0"),
        b"Nikon\0\2",
    ):
        block = exif({}, camera={0x927C: (7, note)})
        settled, _ = _exif_edit.settled(block, 1)
        assert note in settled


@pytest.mark.parametrize("maker", ["Sony", "Canon", "Nikon"])
def test_offsets_of_maker_notes_lead_to_the_same_bytes_through_tiff(maker):
    start, own = MAKERS[maker]("<")
    lens = text("A lens of some length")

    def note(place):
        lead = start + (head("<") if maker == "Nikon" else b"")
        base = 0 if not own else place + 10
        return lead + directory({0x0082: lens, 0x0083: text("Another one")}, place + len(lead) - base)

    def lens_of(data):
        layout, first = _exif.read_layout(data)
        camera = _exif.read_directory(data, first, layout).children[_exif.EXIF_POINTER]
        place = camera.fields[0x927C].position
        base = place + 10 if own else 0
        at = place + len(start) + (8 if maker == "Nikon" else 0) - base
        return _exif.read_directory(data[base:], at, layout).fields[0x0082].value

    at = 20_000
    data = tiff(scene(), {}, camera={0x927C: (7, note(at + 2 + 12 + 4))}, note_at=at)
    assert lens_of(data) == lens[1]
    image = decode_image(data)
    assert lens_of(image.metadata.exif) == lens[1]
    assert lens_of(encode_image(image, format="TIFF")) == lens[1]
    from_jpeg = decode_image(
        jpeg(scene(), (0xE1, b"Exif\0\0" + exif({}, camera={0x927C: (7, note(8 + 2 + 12 + 4))})))
    )
    assert lens_of(from_jpeg.metadata.exif) == lens[1]
    assert lens_of(encode_image(from_jpeg, format="TIFF")) == lens[1]


# --- extended XMP ---------------------------------------------------------------------------------------------------


def long_packet():
    extension = xmp(elements=f"<dc:source>{'y' * 90_000}</dc:source>", wrapper=False)
    name = md5(extension).hexdigest().upper()
    return xmp(f'xmpNote:HasExtendedXMP="{name}" {RATING}', TITLE), extension


@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_an_extension_comes_along_in_whatever_the_format_has_for_it(target, shuffled):
    main, extension = long_packet()
    pieces = extended_xmp(extension)
    image = decode_image(with_xmp(main, *(reversed(pieces) if shuffled else pieces)))
    assert left_out(image, format=target) is None
    written = encode_image(image, format=target)
    stored = decode_image(written).metadata.xmp
    found = _xmp.properties(stored)
    assert found[NAMESPACES["dc"], "source"] == b"y" * 90_000
    assert found[NAMESPACES["xmp"], "Rating"] == b"4"
    assert b"A title" in found[NAMESPACES["dc"], "title"]
    assert b"HasExtendedXMP" not in stored
    if target == "JPEG":
        segments = [body for marker, body in jpeg_segments(written) if marker == 0xE1]
        claim = _xmp.properties(segments[0].removeprefix(XMP_PREFIX))[_xmp.EXTENDED]
        parts = [body.removeprefix(b"http://ns.adobe.com/xmp/extension/\0") for body in segments[1:]]
        assert {part[:32] for part in parts} == {claim}
        whole = b"".join(part[40:] for part in parts)
        assert md5(whole).hexdigest().upper().encode() == claim
        assert {struct.unpack_from(">I", part, 32)[0] for part in parts} == {len(whole)}


@pytest.mark.parametrize("fault", ["missing", "digest", "absent"])
def test_an_extension_that_is_not_whole_goes_with_its_claim(fault):
    main, extension = long_packet()
    pieces = extended_xmp(extension)
    if fault == "missing":
        pieces = pieces[:-1]
    elif fault == "digest":
        pieces = extended_xmp(extension.replace(b"yy", b"zz"), md5(extension).hexdigest().upper())
    else:
        pieces = []
    image, written = again(with_xmp(main, *pieces))
    assert "incomplete extension" in left_out(image, format="JPEG")
    assert b"HasExtendedXMP" not in written
    assert b"xmp/extension" not in written
    assert _xmp.properties(image.metadata.xmp)[NAMESPACES["xmp"], "Rating"] == b"4"


def test_long_xmp_of_another_format_goes_into_jpeg_as_an_extension():
    packet = xmp(RATING, f"<dc:source>{'ü' * 60_000}</dc:source>")
    _, written = again(png(scene(), text_chunk(b"iTXt", "XML:com.adobe.xmp", packet)), "JPEG")
    found = _xmp.properties(decode_image(written).metadata.xmp)
    assert found[NAMESPACES["dc"], "source"].decode() == "ü" * 60_000
    assert found[NAMESPACES["xmp"], "Rating"] == b"4"


def test_prefixes_of_an_extension_are_declared_where_it_goes():
    main = xmp("xmp:Rating='4'", prefixes=("xmp",))
    extension = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        b'xmlns:xmp="http://other.example/"><r:Description r:about="" xmp:Thing="1"/></r:RDF></x:xmpmeta>'
    )
    found = _xmp.properties(_xmp.joined(main, extension))
    assert found[NAMESPACES["xmp"], "Rating"] == b"4"
    assert found["http://other.example/", "Thing"] == b"1"


def test_utf_16_packets_are_read():
    packet = xmp(ATTRIBUTE, wrapper=False).decode().encode("utf-16-le")
    image = decode_image(tiff(scene(), {700: (1, packet)}))
    assert image.pixels.shape == (64, 48, 3)
    assert orientations(image) == [1]


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
    camera = _exif.first_directory(image.metadata.exif)[0].children[_exif.EXIF_POINTER].fields
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
    assert _exif.integers(field, layout) == (1, 2, 3)


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


# --- texts ----------------------------------------------------------------------------------------------------------


def test_texts_go_where_another_format_has_a_place():
    chunks = [
        text_chunk(b"tEXt", "Comment", b"a comment"),
        text_chunk(b"iTXz", "Description", "Grüße".encode()),
        text_chunk(b"zTXt", "Author", b"J\xf6rg"),
        text_chunk(b"tEXt", "Copyright", b"(c)"),
        text_chunk(b"tEXt", "parameters", b"Steps: 20"),
    ]
    image = decode_image(png(scene(), *chunks))
    for target in ("JPEG", "TIFF", "WEBP"):
        written = encode_image(image, format=target)
        found = _exif.first_directory(decode_image(written).metadata.exif)[0].fields
        assert found[0x010E].value == "Grüße\0".encode()
        assert found[0x013B].value == "Jörg\0".encode()
        assert found[0x8298].value == b"(c)\0"
        assert "text 'parameters'" in left_out(image, format=target)
        if target == "JPEG":
            assert [body for marker, body in jpeg_segments(written) if marker == 0xFE] == [b"a comment"]
    assert "Comment" in left_out(image, format="BMP")
    alone = decode_image(png(scene(), chunks[0]))
    stored = decode_image(encode_image(alone, format="WEBP")).metadata
    assert _exif.first_directory(stored.exif)[0].fields[0x010E].value == b"a comment\0"
    assert left_out(alone, format="WEBP") is None


def test_texts_never_take_the_place_of_what_exif_says_and_leave_maker_notes_alone():
    note = note_with_preview("Sony", "<").replace(b"\xff\xd8", b"\0\0")
    block = exif({0x013B: text("EXIF's")}, camera={0x927C: (7, note), 0xA434: text("A lens")})
    data = png(
        scene(),
        (b"eXIf", block),
        text_chunk(b"tEXt", "Author", b"PNG's"),
        text_chunk(b"tEXt", "Title", b"A title"),
    )
    image, written = again(data, "JPEG")
    stored = decode_image(written).metadata.exif
    found = _exif.first_directory(stored)[0]
    assert found.fields[0x013B].value == b"EXIF's\0"
    assert found.fields[0x010E].value == b"A title\0"
    assert found.children[_exif.EXIF_POINTER].fields[0x927C].position == NOTE_PLACE
    assert "0x013b" in left_out(image, format="JPEG")


@pytest.mark.parametrize(
    "comment", [b"plain", "Grüße".encode(), "Gr\xfc\xdfe".encode("latin-1"), "日本".encode()]
)
def test_comments_of_jpeg_become_texts_of_png_and_come_back(comment):
    _, written = again(jpeg(scene(), (0xFE, comment)), "PNG")
    chunks = [(kind, body) for kind, body in png_chunks(written) if kind in (b"tEXt", b"iTXt")]
    assert [body.partition(b"\0")[0] for _, body in chunks] == [b"Comment"]
    back = jpeg_segments(again(written, "JPEG")[1])
    words = comment.decode("latin-1" if b"\xfc" in comment else "utf-8")
    assert [body.decode() for marker, body in back if marker == 0xFE] == [words]


@pytest.mark.parametrize(("target", "held"), [("PNG", True), ("TIFF", True), ("WEBP", False), ("BMP", False)])
def test_iptc_goes_where_there_is_a_place_for_it(target, held):
    records = iptc(*CAPTION)
    image, written = again(jpeg(scene(), (0xED, b"Photoshop 3.0\0" + with_digest(records))), target)
    stored = decode_image(written).metadata
    found = stored.iptc or _photoshop.iptc_of(stored.photoshop)
    assert found == (records if held else None)
    line = left_out(image, format=target)
    assert (line is None) if held else ("IPTC" in line)
    if held:
        back = decode_image(again(written, "JPEG")[1]).metadata
        assert _photoshop.iptc_of(back.photoshop) == records
        assert [item.number for item in _photoshop.resources(back.photoshop)].count(0x0425) == 1


def test_bmp_says_all_that_it_cannot_hold():
    packet = xmp(RATING)
    image = decode_image(
        with_xmp(packet, (0xE1, b"Exif\0\0" + photo_exif()), (0xEC, b"Other"), (0xFE, b"words"))
    )
    line = left_out(image, format="BMP")
    assert line.startswith("not carried over: ")
    assert all(
        word in line for word in ("EXIF and XMP", "segment APP12", "text 'Comment'", "BMP has no place for")
    )


def test_pictures_are_the_same_when_written_twice():
    for case in TURNED.values():
        first = again(case())[1]
        image, second = again(first)
        assert left_out(image, format=image.format) is None
        assert decode_image(second).metadata.exif == image.metadata.exif
        assert decode_image(second).metadata.xmp == image.metadata.xmp


def test_colours_of_a_photo_go_with_pictures_cut_out_of_it():
    chunks = [(b"gAMA", bytes((0, 1, 134, 160))), (b"tEXt", b"Comment\0x"), (b"eXIf", photo_exif())]
    image = decode_image(png(scene(), *chunks))
    colours = fio.colours_of(image)
    assert [part.key for part in colours.parts] == [b"gAMA"]
    crop = DecodedImage(image.pixels[:9, :9], metadata=colours, format=image.format)
    assert decode_image(encode_image(crop, format="JPEG")).metadata.icc is not None


def test_files_full_of_parts_are_read_in_one_go():
    many = [(b"saFe", b"")] * 100_000
    assert len(decode_image(png(scene(), *many)).metadata.parts) == 100_000
    bomb = text_chunk(b"zTXt", "Raw profile type exif", bytes(2**25))
    image = decode_image(png(scene(), *[bomb] * 8))
    assert image.metadata.exif is None
    assert _makernote.blot_previews(bytearray(b"\xff" * 100), 0, 100, "<") is False


def test_what_says_the_format_and_the_kind_of_colours_says_those_written():
    packet = xmp('dc:format="image/jpeg" photoshop:ColorMode="1"')
    image = decode_image(jpeg(scene(channels=1), (0xE1, XMP_PREFIX + packet)))
    for target, mode in (("JPEG", b"1"), ("PNG", b"1"), ("TIFF", b"1"), ("WEBP", b"3")):
        found = _xmp.properties(decode_image(encode_image(image, format=target)).metadata.xmp)
        assert found[NAMESPACES["dc"], "format"] == f"image/{target.lower()}".encode()
        assert found[NAMESPACES["photoshop"], "ColorMode"] == mode


def test_the_digest_of_iptc_in_xmp_stays_true():
    records = iptc(*CAPTION, (2, 202, THUMBNAIL))
    packet = xmp(f'photoshop:LegacyIPTCDigest="{md5(records).hexdigest().upper()}" xmp:Rating="4"')
    image = decode_image(with_xmp(packet, (0xED, b"Photoshop 3.0\0" + with_digest(records))))
    name = (NAMESPACES["photoshop"], "LegacyIPTCDigest")
    assert _xmp.properties(image.metadata.xmp)[name].decode() == md5(iptc(*CAPTION)).hexdigest().upper()
    assert name not in _xmp.properties(decode_image(encode_image(image, format="WEBP")).metadata.xmp)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
def test_an_orientation_is_read_and_reset_whatever_its_type_and_however_often(order, kind):
    code = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    fields = {0x0112: numbers(3, 6, order=order), 0x0113: numbers(3, 3, order=order)}
    block = bytearray(exif(fields, order=order))
    struct.pack_into(order + "HI" + code, block, 8 + 2 + 2, kind, 1, 6)
    struct.pack_into(order + "H", block, 8 + 2 + 12, 0x0112)  # the second entry is one of the same tag
    assert _exif_edit.orientation_of(bytes(block)) == 6
    settled, _ = _exif_edit.settled(bytes(block), 6)
    for slot in (10, 22):
        assert struct.unpack_from(order + "HHIH", settled, slot) == (0x0112, 3, 1, 1)


def test_exif_with_an_odd_prefix_is_read():
    image, written = again(jpeg(scene(), (0xE1, b"Exif\0\xff" + photo_exif(6))))
    assert image.pixels.shape == (64, 48, 3)
    assert sum(body.startswith(b"Exif") for _, body in jpeg_segments(written)) == 1


def test_texts_about_the_orientation_follow_the_turn():
    words = [text_chunk(kind, "exif:Orientation", b"6") for kind in (b"tEXt", b"zTXt", b"iTXt")]
    _, written = again(png(scene(), (b"eXIf", photo_exif(6)), *words))
    assert [body for kind, body in png_chunks(written) if b"Orientation" in body] == [
        b"exif:Orientation\0001"
    ] * 3


def test_a_jpeg_without_jfif_stays_so():
    _, written = again(jpeg(scene(), (0xE1, b"Exif\0\0" + photo_exif(6))))
    assert jpeg_segments(written)[0][0] == 0xE1
    # One that has neither EXIF gets it, so that every reader knows its colours.
    assert jpeg_segments(again(jpeg(scene()))[1])[0][0] == 0xE0


def test_the_quality_of_the_old_file_goes_from_what_photoshop_wrote():
    comment = struct.pack(">HHI", 2, 10, 3) + "abc".encode("utf-16-be") + bytes(4)
    image, written = again(jpeg(scene(), (0xEC, b"Ducky" + struct.pack(">HHI", 1, 4, 60) + comment)))
    assert (0xEC, b"Ducky" + comment) in jpeg_segments(written)
    assert "compressed" in left_out(image, format="JPEG")
    assert 0xEC not in dict(jpeg_segments(again(jpeg(scene(), (0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0")))[1]))


def test_the_line_is_short_and_plain_whatever_the_file_says():
    chunks = [(b"a" + bytes((97 + i, 65)) + b"a", b"") for i in range(26)]
    image = decode_image(png(scene(), *chunks, text_chunk(b"tEXt", "\x1b[31m\n", b"")))
    line = left_out(image, format="JPEG")
    assert "and 15 more" in line
    assert line.isprintable()
    assert len(line) < 400


REGIONS = (
    'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" '
    'xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" '
    'xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" '
    'xmlns:MP="http://ns.microsoft.com/photo/1.2/" xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#"'
)
AREA_FORMS = (
    '<mwg-rs:Area stArea:h="{h}" stArea:w="{w}" stArea:x="{x}" stArea:y="{y}" stArea:unit="normalized"/>',
    '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>{x}</stArea:x><stArea:y>{y}</stArea:y>'
    "<stArea:w>{w}</stArea:w><stArea:h>{h}</stArea:h></mwg-rs:Area>",
)


@pytest.mark.parametrize("turn", range(1, 9))
def test_regions_of_people_turn_with_the_picture(turn):
    # A face in a picture of 8 x 4 pixels: columns 1 and 2 of row 0.
    marked = np.zeros((4, 8), np.uint8)
    marked[0, 1:3] = 1
    areas = "".join(
        f'<rdf:li rdf:parseType="Resource"><mwg-rs:Name>A</mwg-rs:Name>{form}</rdf:li>' for form in AREA_FORMS
    ).format(x=0.25, y=0.125, w=0.25, h=0.25)
    elements = (
        '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="8" stDim:h="4"/>'
        f"<mwg-rs:RegionList><rdf:Bag>{areas}</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
        "<MP:RegionInfo><rdf:Description><MPReg:Rectangle>0.125, 0, 0.25, 0.25</MPReg:Rectangle></rdf:Description>"
        "</MP:RegionInfo>"
    )
    packet = xmp(f'tiff:Orientation="{turn}" {REGIONS}', elements)
    image = decode_image(png(np.dstack([marked] * 3), text_chunk(b"iTXt", "XML:com.adobe.xmp", packet)))
    rows, columns = np.nonzero(image.pixels[..., 0])
    height, width = image.pixels.shape[:2]
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    expected = {
        "x": (left + right) / 2 / width,
        "y": (top + bottom) / 2 / height,
        "w": (right - left) / width,
        "h": (bottom - top) / height,
    }
    text = image.metadata.xmp.decode()
    for form in AREA_FORMS:
        assert form.format(**expected) in text
    assert f'stDim:w="{width}" stDim:h="{height}"' in text
    corner = ", ".join(f"{value:g}" for value in (left / width, top / height, expected["w"], expected["h"]))
    assert f"<MPReg:Rectangle>{corner}</MPReg:Rectangle>" in text
    assert left_out(image, format="PNG") is None


def test_what_dng_says_of_raw_pixels_goes_and_what_is_by_its_side_stays():
    tags = {
        50706: (1, bytes((1, 4, 0, 0))),
        50708: text("Camera"),
        50844: doubles(1, 2),
        65000: numbers(3, 1),
    }
    image, written = again(tiff(scene(), tags))
    assert {50844, 65000} <= set(tiff_tags(written))
    assert not {50706, 50708} & set(tiff_tags(written))
    assert "DNG" in left_out(image, format="TIFF")
    assert 50844 in tiff_tags(again(tiff(scene(), {50844: doubles(1, 2)}))[1])


def test_a_damaged_end_of_photoshop_resources_is_said():
    whole = with_digest(iptc(*CAPTION))
    image = decode_image(jpeg(scene(), (0xED, b"Photoshop 3.0\0" + whole + b"8BIM\4\4\0\0\0\0\xff\xff")))
    assert image.metadata.photoshop == whole
    assert "damaged part" in left_out(image, format="JPEG")
    assert (
        left_out(decode_image(jpeg(scene(), (0xED, b"Photoshop 3.0\0" + whole + b"\0\0"))), format="JPEG")
        is None
    )


def test_application_segments_of_jfif_s_number_that_are_others_come_back():
    others = [(0xE0, b"Ocad$Rev: 14797 $"), (0xE0, b"JFIF\0\1"), jfif(1, 72, 72), jfif(1, 300, 300)]
    image, written = again(jpeg(scene(), *others))
    assert [body for marker, body in jpeg_segments(written) if marker == 0xE0] == [others[2][1], others[0][1]]
    assert image.metadata.dpi == (72, 72)


def structure(count, depth, photometric=2):
    """Return EXIF and XMP that state how the pixels of their file are stored."""
    bits = "".join(f"<rdf:li>{depth}</rdf:li>" for _ in range(count))
    packet = xmp(
        f'tiff:SamplesPerPixel="{count}" tiff:PhotometricInterpretation="{photometric}" xmp:Rating="4"',
        f"<tiff:BitsPerSample><rdf:Seq>{bits}</rdf:Seq></tiff:BitsPerSample>",
    )
    first = {0x0102: numbers(3, *[depth] * count), 0x0106: numbers(3, photometric), 0x0115: numbers(3, count)}
    return exif({**first, 0x010F: text("Maker")}), packet


@pytest.mark.parametrize(
    ("count", "depth", "true"), [(3, 8, True), (4, 8, False), (1, 8, False), (3, 16, False), (3, 12, False)]
)
def test_what_says_how_pixels_are_stored_stays_where_it_is_true(count, depth, true):
    block, packet = structure(count, depth)
    image, written = again(with_xmp(packet, (0xE1, b"Exif\0\0" + block)))
    stored = decode_image(written).metadata
    fields = _exif.first_directory(stored.exif)[0].fields
    names = {name for _, name in _xmp.properties(stored.xmp)}
    assert (0x0102 in fields, 0x0106 in fields, 0x0115 in fields, 0x010F in fields) == (
        true,
        true,
        true,
        True,
    )
    assert ("SamplesPerPixel" in names, "BitsPerSample" in names, "Rating" in names) == (true, true, True)
    # Of another number of channels it is true no longer.
    grey = DecodedImage(image.pixels, grey=True, metadata=image.metadata, format="JPEG")
    after = decode_image(encode_image(grey, format="JPEG")).metadata
    assert (0x0115 in _exif.first_directory(after.exif)[0].fields) == (count == 1 and depth == 8)


def test_cmyk_leaves_nothing_of_four_inks():
    block, packet = structure(4, 8, photometric=5)
    stream = io.BytesIO()
    Image.new("CMYK", (16, 16), (9, 99, 9, 9)).save(stream, "JPEG", exif=b"Exif\0\0" + block, xmp=packet)
    stored = decode_image(stream.getvalue()).metadata
    assert not {0x0102, 0x0106, 0x0115} & set(_exif.first_directory(stored.exif)[0].fields)
    assert b"PhotometricInterpretation" not in stored.xmp


@pytest.mark.parametrize("maker", ["Sony", "Canon", "Panasonic"])
def test_notes_in_the_other_byte_order_than_their_block_are_read(maker):
    note = note_with_preview(maker, ">")
    block = exif({0x010F: text(maker)}, camera={0x927C: (7, note), 0xA434: text("A lens")}, order="<")
    settled, words = _exif_edit.settled(block, 1)
    assert len(words) == 1
    assert b"old face" not in settled
    assert b"A lens of some length" in settled


def test_profiles_whose_segments_count_from_zero_are_whole():
    zero = [(m, body[:12] + bytes((body[12] - 1,)) + body[13:]) for m, body in in_segments(ICC)]
    assert decode_image(jpeg(scene(), *zero)).metadata.icc == ICC

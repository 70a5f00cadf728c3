"""What goes with its claim when a file is written again, and what is said of it."""

from hashlib import md5

import pytest
from carried_files import (
    CAPTION,
    ICC,
    NAMESPACES,
    RATING,
    THUMBNAIL,
    TITLE,
    XMP_PREFIX,
    again,
    in_segments,
    iptc,
    jfif,
    jpeg,
    jpeg_segments,
    mpf,
    photo_exif,
    photoshop,
    png,
    scene,
    small_jpeg,
    text_chunk,
    tiff,
    webp,
    with_digest,
    with_xmp,
    xmp,
)

from facerestore.io import (
    _photoshop,
    _xmp,
    decode_image,
    left_out,
)

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

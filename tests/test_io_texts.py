"""Texts, and rarer parts of a file, when it is written again."""

import io
import struct
from hashlib import md5

import numpy as np
import pytest
from carried_files import (
    CAPTION,
    ICC,
    NAMESPACES,
    RATING,
    THUMBNAIL,
    XMP_PREFIX,
    again,
    doubles,
    exif,
    in_segments,
    iptc,
    jfif,
    jpeg,
    jpeg_segments,
    numbers,
    photo_exif,
    png,
    png_chunks,
    scene,
    text,
    text_chunk,
    tiff,
    tiff_tags,
    with_digest,
    with_xmp,
    xmp,
)
from PIL import Image

from facerestore import io as fio
from facerestore.io import (
    _exif,
    _exif_edit,
    _makernote,
    _photoshop,
    _xmp,
    decode_image,
    encode_image,
    left_out,
)
from facerestore.types import DecodedImage

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
        found = _exif.first_directory(decode_image(written).metadata.exif).fields
        assert found[0x010E].value == "Grüße\0".encode()
        assert found[0x013B].value == "Jörg\0".encode()
        assert found[0x8298].value == b"(c)\0"
        assert "text 'parameters'" in left_out(image, format=target)
        if target == "JPEG":
            assert [body for marker, body in jpeg_segments(written) if marker == 0xFE] == [b"a comment"]
    assert "Comment" in left_out(image, format="BMP")
    alone = decode_image(png(scene(), chunks[0]))
    stored = decode_image(encode_image(alone, format="WEBP")).metadata
    assert _exif.first_directory(stored.exif).fields[0x010E].value == b"a comment\0"
    assert left_out(alone, format="WEBP") is None


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
    assert _makernote.blot_previews(bytearray(b"\xff" * 100), 0, "<") is False


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
    assert _exif_edit.opened(bytes(block)).orientation == 6
    settled = _exif_edit.settled(bytes(block), 6, [])
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
    fields = _exif.first_directory(stored.exif).fields
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
    assert (0x0115 in _exif.first_directory(after.exif).fields) == (count == 1 and depth == 8)


def test_cmyk_leaves_nothing_of_four_inks():
    block, packet = structure(4, 8, photometric=5)
    stream = io.BytesIO()
    Image.new("CMYK", (16, 16), (9, 99, 9, 9)).save(stream, "JPEG", exif=b"Exif\0\0" + block, xmp=packet)
    stored = decode_image(stream.getvalue()).metadata
    assert not {0x0102, 0x0106, 0x0115} & set(_exif.first_directory(stored.exif).fields)
    assert b"PhotometricInterpretation" not in stored.xmp


def test_profiles_whose_segments_count_from_zero_are_whole():
    zero = [(m, body[:12] + bytes((body[12] - 1,)) + body[13:]) for m, body in in_segments(ICC)]
    assert decode_image(jpeg(scene(), *zero)).metadata.icc == ICC

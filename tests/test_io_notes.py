"""Maker notes and extended XMP when a file is written again."""

import struct
from hashlib import md5

import pytest
from carried_files import (
    NAMESPACES,
    RATING,
    THUMBNAIL,
    TITLE,
    XMP_PREFIX,
    again,
    directory,
    exif,
    extended_xmp,
    head,
    jpeg,
    jpeg_segments,
    numbers,
    png,
    scene,
    text,
    text_chunk,
    tiff,
    with_xmp,
    xmp,
)

from facerestore.io import (
    _exif,
    _exif_edit,
    _xmp,
    decode_image,
    encode_image,
    left_out,
)

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
    words: list[str] = []
    settled = _exif_edit.settled(block, 1, words)
    assert len(settled) == len(block)
    assert len(words) == 1
    assert b"old face" not in settled
    assert b"A lens of some length" in settled
    base = (NOTE_PLACE + (10 if maker == "Nikon" else 0)) if MAKERS[maker](order)[1] else 0
    start = NOTE_PLACE + len(MAKERS[maker](order)[0]) + (8 if maker == "Nikon" else 0) - base
    fields = _exif.read_directory(settled[base:], start, _exif.Layout(order)).fields
    assert set(fields) == {0x0082, 0x3000}
    assert fields[0x0082].value == b"A lens of some length\0"
    child = fields[0x3000].integers()[0]
    assert set(_exif.read_directory(settled[base:], child, _exif.Layout(order)).fields) == {0x0103}


def test_a_note_with_a_preview_in_no_known_place_goes_whole():
    note = b"UNKNOWN" + bytes(9) + THUMBNAIL
    block = exif({}, camera={0x927C: (7, note), 0xA434: text("A lens")})
    words: list[str] = []
    settled = _exif_edit.settled(block, 1, words)
    assert len(words) == 1
    assert b"old face" not in settled
    fields = _exif.first_directory(settled).children[_exif.EXIF_POINTER].fields
    assert set(fields) == {0xA434}


def test_a_preview_behind_the_block_loses_its_entries():
    def settings(at):
        return directory({0x0100: numbers(4, 1), 0x0101: numbers(4, 70_000), 0x0102: numbers(4, 9000)}, at)

    at = 12 + len(directory({0x2020: numbers(4, 0)}, 12))
    note = b"OLYMPUS\0II\3\0" + directory({0x2020: numbers(4, at)}, 12) + settings(at)
    block = exif({}, camera={0x927C: (7, note)})
    words: list[str] = []
    settled = _exif_edit.settled(block, 1, words)
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
        settled = _exif_edit.settled(block, 1, [])
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
    found = _exif.first_directory(stored)
    assert found.fields[0x013B].value == b"EXIF's\0"
    assert found.fields[0x010E].value == b"A title\0"
    assert found.children[_exif.EXIF_POINTER].fields[0x927C].position == NOTE_PLACE
    assert "0x013b" in left_out(image, format="JPEG")


@pytest.mark.parametrize("maker", ["Sony", "Canon", "Panasonic"])
def test_notes_in_the_other_byte_order_than_their_block_are_read(maker):
    note = note_with_preview(maker, ">")
    block = exif({0x010F: text(maker)}, camera={0x927C: (7, note), 0xA434: text("A lens")}, order="<")
    words: list[str] = []
    settled = _exif_edit.settled(block, 1, words)
    assert len(words) == 1
    assert b"old face" not in settled
    assert b"A lens of some length" in settled


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

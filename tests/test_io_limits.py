"""Files made to take long or much: bounded by counts and bytes, and refused as what they are."""

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import png_chunk
from PIL import Image

from facerestore.errors import ImageError
from facerestore.io import _exif, _tiff_samples, decode_image

SIDE = 64


def saved(format, **options):
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (9, 99, 200)).save(stream, format, **options)
    return stream.getvalue()


def png(*chunks):
    data = saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def segment(marker, body=b""):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments, **options):
    data = saved("JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def tiff(entries, body=b""):
    fields = {tag: _exif.field_of(_exif.LONG, value, "<") for tag, value in sorted(entries.items())}
    start = 8 + len(body) + len(body) % 2
    directory = _exif.write_directory(_exif.Directory(fields), start, "<")
    return _exif.header("<", start) + body.ljust(start - 8, b"\0") + directory


def grey(width, height, compression, **tags):
    plain = {256: (width,), 257: (height,), 258: (8,), 259: (compression,), 262: (1,), 277: (1,)}
    return plain | {int(tag[1:]): value for tag, value in tags.items()}


def test_many_profiles_are_inflated_once():
    profile = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**20)))
    decoded = decode_image(png(*[profile] * 60))
    assert len(decoded.metadata.icc or b"") in (0, 2**20)


@pytest.mark.parametrize("kind", [b"saFe", b"IDAT"])
def test_a_million_empty_chunks_are_refused(kind):
    with pytest.raises(ImageError, match=r"holds more than \d+ chunks, as no picture needs"):
        decode_image(png(png_chunk(kind) * 1_000_000))
    assert decode_image(png(png_chunk(kind) * 1000)).pixels.shape == (SIDE, SIDE, 3)


def empty_scans(count):
    data = saved("JPEG", progressive=True)
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes((1, 1, 0, 1, 63, 0))
    return data[:-2] + scan * count + data[-2:]


def test_thousands_of_scans_are_refused():
    with pytest.raises(ImageError, match="holds more than 500 scans"):
        decode_image(empty_scans(2000))
    assert decode_image(empty_scans(3)).pixels.shape == (SIDE, SIDE, 3)


def test_fewer_scans_are_allowed_where_each_takes_longer(monkeypatch):
    monkeypatch.setattr("facerestore.io._jpeg._MAX_SCANNED_PIXELS", 100 * SIDE * SIDE)
    with pytest.raises(ImageError, match="holds more than 100 scans"):
        decode_image(empty_scans(120))


@pytest.mark.parametrize(
    "data",
    [jpeg(segment(0xFE) * 20_000), saved("JPEG")[:-2] + segment(0xFE) * 20_000 + b"\xff\xd9"],
    ids=["before", "after"],
)
def test_thousands_of_segments_are_refused(data):
    with pytest.raises(ImageError, match="holds more than 10000 segments"):
        decode_image(data)


def test_hundreds_of_exif_segments_are_joined_once():
    exif = b"Exif\0\0" + Image.Exif().tobytes()[6:]
    assert (
        decode_image(jpeg(segment(0xE1, exif), *[segment(0xE1, b"Exif\0\0" + bytes(60_000))] * 600)).notes
        == ()
    )


def test_fill_bytes_by_the_million_are_passed_at_once():
    data = saved("JPEG")
    filled = data[:2] + b"\xff" * 20_000_000 + data[2:]
    np.testing.assert_array_equal(decode_image(filled).pixels, decode_image(data).pixels)


def test_webp_of_too_many_chunks_is_refused():
    data = saved("WEBP")
    body = data[12:] + struct.pack("<4sI", b"junk", 0) * 70_000
    with pytest.raises(ImageError, match="holds more than 65536 chunks"):
        decode_image(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)


def test_tiff_of_too_many_pages_is_refused():
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(40_000))
    with pytest.raises(ImageError, match="holds more than 32768 pages"):
        decode_image(b"II*\0" + struct.pack("<I", 8) + chain)


def test_pages_whose_directories_overlap_are_refused():
    entries = struct.pack("<HHII", 254, 4, 1, 0) * 254
    # The second begins two bytes into the first, where a tag stands for the number of its entries.
    data = b"II*\0" + struct.pack("<IH", 8, 254) + entries + struct.pack("<II", 10, 0)
    with pytest.raises(ImageError, match="the directories of its pages overlap"):
        decode_image(data)


def test_a_directory_of_more_entries_than_there_are_tags_is_refused():
    entries = struct.pack("<HHQQ", 60000, 1, 1, 0) * 100_000
    data = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", 100_000) + entries + bytes(8)
    with pytest.raises(ImageError, match="a directory of 100000 entries"):
        decode_image(data)


def test_a_table_of_strips_longer_than_the_picture_is_read_as_far_as_it_is_wanted():
    many = 2_000_000
    data = tiff(
        grey(SIDE, SIDE, 1, t278=(SIDE,), t273=(8,) * many, t279=(SIDE * SIDE,) * many), bytes(SIDE * SIDE)
    )
    assert not decode_image(data).pixels.any()


def test_a_picture_of_many_rows_and_no_data_is_refused_at_once():
    data = tiff(grey(56, 2_771_273, 1, t278=(40,), t273=(8,), t279=(2240,)), bytes(2240))
    with pytest.raises(ImageError, match="of 2771273 rows 40 are whole"):
        decode_image(data)


def test_tiles_beyond_all_sense_are_refused():
    data = tiff(grey(SIDE, SIDE, 8, t322=(2**20,), t323=(2**14,), t324=(8,), t325=(10,)), bytes(10))
    with pytest.raises(ImageError, match="tiles of 1048576x16384 pixels is not handled"):
        decode_image(data)


def test_of_thousands_of_damaged_blocks_not_each_is_tried(monkeypatch):
    tries = []
    real = _tiff_samples._blocks
    monkeypatch.setattr(_tiff_samples, "_blocks", lambda *a: tries.append(a) or real(*a))
    count = (2048 // 16) ** 2
    tiles = {"t322": (16,), "t323": (16,), "t324": (8,) * count, "t325": (16,) * count}
    with pytest.raises(ImageError, match="of 2048 rows 0 are whole"):
        decode_image(tiff(grey(2048, 2048, 5, **tiles), b"garbage garbage "))
    assert len(tries) == _tiff_samples._MOST_TRIES


def test_strips_that_share_too_much_are_refused():
    count = 4000
    body = bytes(200_000)
    data = tiff(grey(100, count, 8, t278=(1,), t273=(8,) * count, t279=(len(body),) * count), body)
    with pytest.raises(ImageError, match="its strips or tiles overlap"):
        decode_image(data)

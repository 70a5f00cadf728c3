"""Damaged files: what of them is restored, what is said of it, and who says it."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib

import cv2
import numpy as np
import pytest
from picture_files import png_chunk
from PIL import Image

from facerestore.errors import ImageError
from facerestore.io import (
    _exif,
    _png,
    as_decoded,
    decode_image,
    encode_image,
    picture_size,
    read_encoded,
    read_image,
)
from facerestore.io._overheard import overheard
from facerestore.types import DecodedImage

ROWS = 600


def photo(width=400, seed=0):
    """Return (ROWS, W, 3): blurred noise with a grain, whose rows take about as many bytes each."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.integers(0, 256, (ROWS // 20, width // 20, 3), np.uint8), (width, ROWS))
    return np.clip(blobs + rng.integers(-8, 9, blobs.shape), 0, 255).astype(np.uint8)


def jpeg(*, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


KINDS = {
    "colour": {},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
    "full": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


# --- JPEG ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_nothing_but_its_last_marker_is_whole(kind, lost, capfd):
    data = jpeg(**KINDS[kind])
    decoded = decode_image(data[:-lost])
    np.testing.assert_array_equal(decoded.pixels, decode_image(data).pixels)
    assert decoded.damage is None
    assert decoded.notes == ("its last marker is missing, and every row is there",)
    assert decode_image(data).notes == ()
    assert picture_size(data[:-lost]) == (400, ROWS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("kind", ["colour", "grey", "cmyk", "full", "restarts"])
def test_of_a_truncated_jpeg_the_row_is_told_from_which_on_it_lacks(kind, kept, capfd):
    data = jpeg(**KINDS[kind])
    decoded = decode_image(data[: int(len(data) * kept)])
    row = int(decoded.damage.removeprefix("from row ").removesuffix(" on"))
    whole = decode_image(data).pixels
    # Colour is smoothed into the next rows of blocks.
    np.testing.assert_array_equal(decoded.pixels[: row - 2], whole[: row - 2])
    assert (decoded.pixels[row : row + 16] != whole[row : row + 16]).any()
    assert abs(row - kept * ROWS) < 0.08 * ROWS
    assert capfd.readouterr() == ("", "")


def test_of_a_jpeg_with_restarts_the_row_is_told_where_damage_begins(capfd):
    data = bytearray(jpeg(restart_marker_rows=1))
    place = data.index(b"\xff\xd4", len(data) // 2)
    data[place - 400 : place] = bytes(400)
    decoded = decode_image(bytes(data))
    row = int(decoded.damage.removeprefix("from row ").removesuffix(" on, at the latest"))
    different = (decoded.pixels != decode_image(jpeg(restart_marker_rows=1)).pixels).any(axis=(1, 2))
    assert abs(int(np.argmax(different)) - row) <= 2
    assert capfd.readouterr() == ("", "")


def test_a_truncated_progressive_jpeg_tells_what_it_lacks():
    data = jpeg(progressive=True)
    starts = [i for i in range(len(data)) if data.startswith(b"\xff\xda", i)]
    assert decode_image(data[: starts[-1]]).damage == "in all rows, since its last scans are missing"
    within = decode_image(data[: (starts[-1] + len(data)) // 2]).damage
    assert within == f"in scan {len(starts)} of {len(starts)}, which refines the detail of rows"
    assert decode_image(data[: (starts[0] + starts[1]) // 2]).damage.startswith("from row ")


def test_left_over_bytes_are_told_and_many_of_them_are_damage():
    data = jpeg()
    assert decode_image(data[:-2] + b"\1\2\3" + data[-2:]).damage is None
    many = decode_image(data[:-2] + bytes(range(1, 200)) + data[-2:])
    assert "left over after its last row" in many.damage
    assert many.damage.startswith("in a place that cannot be told")


def test_a_jpeg_without_a_whole_row_is_refused():
    data = jpeg()
    start = data.index(b"\xff\xda")
    with pytest.raises(ImageError, match="of 600 rows 0 are whole"):
        decode_image(data[: start + 40])


def test_what_looks_like_an_end_between_two_scans_is_none():
    data = jpeg()
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    assert decode_image(data[:-2] + comment).notes == ("its last marker is missing, and every row is there",)
    assert decode_image(data[:-2] + comment + b"\xff\xff\xd9").notes == ()


def test_a_height_that_follows_the_first_scan_is_read():
    """The marker DNL, by writers that do not know the height when they begin (T.81, B.2.5)."""
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 2] = bytes(2)
    late = bytes(data[:-2]) + struct.pack(">HHH", 0xFFDC, 4, ROWS) + b"\xff\xd9"
    assert picture_size(late) == (400, ROWS)
    np.testing.assert_array_equal(decode_image(late).pixels, decode_image(jpeg()).pixels)


def test_where_opencv_lacks_the_libraries_of_a_display_the_other_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(ImageError, match=r"libGL\.so\.1.*pip install opencv-python-headless"):
        decode_image(jpeg())


@pytest.mark.parametrize(
    ("marker", "words"),
    [(0xC3, "a lossless JPEG"), (0xC5, "a hierarchical JPEG"), (0xC9, "an arithmetic-coded JPEG")],
)
def test_kinds_of_jpeg_that_are_not_read_are_named(marker, words):
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 1] = marker
    with pytest.raises(ImageError, match=f"{words} of 8 bits and 3 components is not handled"):
        decode_image(bytes(data))


# --- PNG ----------------------------------------------------------------------------------------------------------


def png(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def with_chunk(data, kind, body, checksum=None):
    """Return a PNG with one more chunk behind its header."""
    made = png_chunk(kind, body)
    return data[:33] + (made if checksum is None else made[:-4] + checksum) + data[33:]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_of_a_truncated_png_the_row_is_told_from_which_on_it_lacks(kept, dtype, capfd):
    pixels = photo().astype(dtype) * (257 if dtype == np.uint16 else 1)
    data = encode_image(DecodedImage(pixels), format="PNG")
    decoded = decode_image(data[: int(len(data) * kept)])
    row = int(decoded.damage.removeprefix("from row ").removesuffix(" on"))
    assert abs(row - kept * ROWS) < 0.08 * ROWS
    np.testing.assert_array_equal(decoded.pixels[:row], pixels[:row])
    assert not decoded.pixels[row:].any()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("colours", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_of_an_altered_png_the_rows_before_are_restored(colours):
    picture = Image.fromarray(photo()).convert(colours)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=9)
    data = bytearray(stream.getvalue())
    whole = decode_image(bytes(data)).pixels
    place = len(data) // 2
    data[place : place + 40] = bytes(40)
    decoded = decode_image(bytes(data))
    row = int(decoded.damage.removeprefix("from row ").removesuffix(" on"))
    assert 0.2 * ROWS < row < 0.9 * ROWS
    np.testing.assert_array_equal(decoded.pixels[: row // 2], whole[: row // 2])


def test_pixels_whose_chunk_alone_has_a_wrong_checksum_are_whole():
    data = bytearray(png(photo()))
    place = data.index(b"IDAT")
    data[place + 4 + int.from_bytes(data[place - 4 : place], "big")] ^= 1
    decoded = decode_image(bytes(data))
    assert decoded.damage is None
    np.testing.assert_array_equal(decoded.pixels, photo())


def test_pixels_whose_own_checksum_is_wrong_are_damaged_somewhere():
    packed = bytearray(zlib.compress(b"".join(b"\0" + row.tobytes() for row in photo())))
    packed[-1] ^= 1
    head = struct.pack(">IIBBBBB", 400, ROWS, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + png_chunk(b"IDAT", bytes(packed))
        + png_chunk(b"IEND")
    )
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels, photo())
    assert decoded.damage is None or "checksum of its pixels is wrong" in decoded.damage


def test_a_png_that_lacks_nothing_but_its_last_chunk_is_whole():
    decoded = decode_image(png(photo())[:-12])
    assert decoded.damage is None
    assert decoded.notes == ("its last chunk is missing, and every row is there",)
    np.testing.assert_array_equal(decoded.pixels, photo())


def interlaced(pixels):
    """Return an interlaced PNG of (H, W, 3) uint8."""
    raw = b""
    for left, across, top, down in _png._PASSES:
        raw += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::across])
    height, width, _ = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_truncated_interlaced_png_tells_its_pass():
    data = interlaced(photo())
    np.testing.assert_array_equal(decode_image(data).pixels, photo())
    decoded = decode_image(data[: int(len(data) * 0.7)])
    assert decoded.damage == "in all rows, from pass 7 of 7 on"
    np.testing.assert_array_equal(decoded.pixels[::2], decode_image(data).pixels[::2])


@pytest.mark.parametrize("kind", [b"tEXt", b"tRNS", b"iCCP", b"zzZz"])
def test_a_wrong_checksum_of_what_is_no_pixel_is_told_and_no_damage(kind):
    data = with_chunk(png(photo()), kind, b"Comment\0words", b"oops")
    decoded = decode_image(data)
    assert decoded.damage is None
    assert decoded.notes == (f"the checksum of {kind.decode()} is wrong, so that was left out",)
    np.testing.assert_array_equal(decoded.pixels, photo())
    assert decoded.alpha is None


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_wrong_checksum_of_what_all_pixels_hang_on_is_damage(kind):
    stream = io.BytesIO()
    Image.fromarray(photo()).convert("P").save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[data.index(kind) + 6] ^= 1
    with pytest.raises(ImageError, match=f"wrong checksum in chunk {kind.decode()}"):
        decode_image(bytes(data))


def test_a_png_of_a_palette_without_one_is_damaged():
    head = struct.pack(">IIBBBBB", 4, 4, 4, 3, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(12)))
    with pytest.raises(ImageError, match="no palette"):
        decode_image(data + png_chunk(b"IEND"))


# --- TIFF and BMP -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.97])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_of_a_tiff_with_damaged_strips_the_row_is_told(compression, kept, capfd):
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, "TIFF", compression=compression)
    data = bytearray(stream.getvalue())
    with Image.open(io.BytesIO(bytes(data))) as opened:
        offsets, rows = opened.tag_v2[273], opened.tag_v2[278]
    number = int(kept * (len(offsets) - 1))
    # To the end of the strips, with what no compression takes for its own.
    last = offsets[-1]
    data[offsets[number] : last] = b"\xff" * (last - offsets[number])
    decoded = decode_image(bytes(data))
    assert decoded.damage == f"from row {number * rows} on"
    np.testing.assert_array_equal(decoded.pixels[: number * rows], photo()[: number * rows])
    assert capfd.readouterr() == ("", "")


def test_of_a_truncated_tiff_with_its_directory_first_the_row_is_told():
    row = 400 * 3
    strips = [photo()[top : top + 50].tobytes() for top in range(0, ROWS, 50)]
    entries = {256: (400,), 257: (ROWS,), 258: (8, 8, 8), 259: (1,), 262: (2,), 277: (3,), 278: (50,)}
    entries |= {273: tuple(1000 + top * row for top in range(0, ROWS, 50)), 279: (50 * row,) * len(strips)}
    fields = {tag: _exif.field_of(_exif.LONG, value, "<") for tag, value in sorted(entries.items())}
    head = _exif.header("<", 8) + _exif.write_directory(_exif.Directory(fields), 8, "<")
    data = head.ljust(1000, b"\0") + b"".join(strips)
    np.testing.assert_array_equal(decode_image(data).pixels, photo())
    decoded = decode_image(data[: 1000 + row * 321 + 7])
    assert decoded.damage == "from row 321 on"
    np.testing.assert_array_equal(decoded.pixels[:321], photo()[:321])


@pytest.mark.parametrize("upwards", [True, False])
def test_of_a_truncated_bmp_the_rows_are_told(upwards):
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, "BMP")
    data = bytearray(stream.getvalue())
    if not upwards:
        struct.pack_into("<i", data, 22, -ROWS)
    decoded = decode_image(bytes(data[: 54 + 1200 * 500 + 3]))
    assert decoded.damage == ("in rows 0 to 99" if upwards else "from row 500 on")
    with pytest.raises(ImageError, match="of 600 rows 3 are whole"):
        decode_image(bytes(data[: 54 + 1200 * 3]))


# --- who says it --------------------------------------------------------------------------------------------------


def test_what_libraries_say_is_caught_and_what_others_say_passes(capfd):
    def speak():
        os.write(2, b"Corrupt JPEG data: bad Huffman code\n")
        os.write(2, b"something of another thread\nValueError: of a traceback\nerror: of ours\n")
        os.write(2, b"[ WARN:0@0.1] global loadsave.cpp\n\nMissingRequired: a field\n_TIFFVSetField: : Bad\n")
        os.write(2, b"Fax3SetupState: Bits/sample must be 1\n")
        return 5

    value, lines = overheard(speak)
    assert value == 5
    assert [line[:7] for line in lines] == ["Corrupt", "[ WARN:", "Missing", "_TIFFVS", "Fax3Set"]
    assert (
        capfd.readouterr().err == "something of another thread\nValueError: of a traceback\nerror: of ours\n"
    )
    os.write(2, b"after it\n")
    assert capfd.readouterr().err == "after it\n"


def test_each_of_many_threads_hears_what_is_said_of_its_own_file(capfd):
    whole, torn = jpeg(), jpeg()[:-2000]
    expected = decode_image(torn).damage
    found = {}

    def decode(number):
        found[number] = [decode_image(torn if number % 2 else whole).damage for _ in range(8)]

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [expected if number % 2 else None] * 8 for number in range(6)}
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="closes a descriptor as POSIX shells do")
def test_a_closed_standard_error_is_no_hindrance():
    code = (
        "import os, sys\nos.close(2)\nfrom facerestore.io import decode_image\n"
        "print(decode_image(sys.stdin.buffer.read()).damage)\n"
        "try:\n os.fstat(2)\nexcept OSError:\n print('closed')"
    )
    done = subprocess.run([sys.executable, "-c", code], input=jpeg()[:-2000], capture_output=True, check=True)
    assert done.stdout.decode().split("\n")[0].startswith("from row ")
    assert "closed" in done.stdout.decode()


# --- one boundary -------------------------------------------------------------------------------------------------

RAISED = [AssertionError, OverflowError, struct.error, KeyError, RecursionError, UnicodeError, AttributeError]


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("call", [decode_image, picture_size])
def test_whatever_a_decoder_raises_is_an_image_error(error, call, monkeypatch):
    def fail(*_):
        raise error("deep within")

    monkeypatch.setattr("facerestore.io._jpeg._segments", fail)
    with pytest.raises(ImageError, match=r"photo: .*deep within.*; get a whole copy") as caught:
        call(jpeg(), name="photo")
    assert isinstance(caught.value.__cause__, error)


def test_too_little_memory_is_no_damage(monkeypatch, tmp_path):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("facerestore.io._jpeg._segments", fail)
    with pytest.raises(ImageError, match="photo: there is not enough memory"):
        decode_image(jpeg(), name="photo")
    (tmp_path / "photo.jpg").write_bytes(jpeg())
    monkeypatch.setattr("facerestore.io._files._head", fail)
    for read in (read_image, read_encoded):
        with pytest.raises(ImageError, match=r"photo\.jpg: there is not enough memory"):
            read(tmp_path / "photo.jpg")


def test_too_little_memory_of_opencv_is_no_damage(monkeypatch):
    class Full(cv2.error):
        code = cv2.Error.StsNoMem

    Full.__name__ = "error"
    Full.__module__ = "cv2"

    def fail(*_):
        raise Full("Insufficient memory")

    monkeypatch.setattr("facerestore.io._jpeg.opencv_pixels", fail)
    with pytest.raises(ImageError, match="photo: there is not enough memory"):
        decode_image(jpeg(), name="photo")


def test_a_damaged_pillow_picture_is_an_image_error():
    picture = Image.open(io.BytesIO(jpeg()[:-2000]))
    with pytest.raises(ImageError, match="the Pillow image: damaged or truncated"):
        as_decoded(picture)

"""TIFFs of several pages and animations: every page restored and written back, one of them, or a clear line."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDetector, face_at, photo, pipeline
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from facerestore.batch import PhotoJob, Status, run_jobs, run_report, summarise
from facerestore.batch.ahead import Ahead
from facerestore.batch.pages import merged
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.io import (
    _exif,
    as_decoded,
    decode_image,
    encode_page,
    joined,
    page_count,
    picture_size,
    read_image,
)
from facerestore.types import DecodedImage, Metadata

FACE = face_at(10, 20)
SMALL = (50, 60)  # no face fits


def pages(*pictures, **options):
    stream = io.BytesIO()
    first, *others = pictures
    first.save(stream, "TIFF", save_all=True, append_images=others, **options)
    return stream.getvalue()


def picture(seed=0, mode="RGB", size=(120, 200)):
    return Image.fromarray(photo(*size, seed=seed).pixels).convert(mode)


def run(tmp_path, data, *, name="album.tif", target=None, config=None, faces=(FACE,), **options):
    (tmp_path / name).write_bytes(data)
    job = PhotoJob(tmp_path / name, target or tmp_path / "out" / name, tmp_path / "album")
    line = pipeline(*faces, config=config)
    (outcome,) = run_jobs([job], line, options=OutputConfig(**options))
    return outcome, line


def test_every_page_is_restored_and_written_back(tmp_path):
    sources = [picture(0), picture(1, "L"), picture(2, size=SMALL), picture(3)]
    outcome, _ = run(tmp_path, pages(*sources, dpi=(300, 300), compression="tiff_lzw"))
    assert outcome.status is Status.DONE
    with Image.open(outcome.written[0]) as result:
        found = [np.asarray(frame) for frame in ImageSequence.Iterator(result)]
        result.seek(1)
        assert (result.mode, result.info["dpi"]) == ("L", (300.0, 300.0))
    assert [page.shape for page in found] == [(120, 200, 3), (120, 200), (50, 60, 3), (120, 200, 3)]
    for number in (0, 1, 3):
        before = np.asarray(sources[number])
        assert (found[number] != before).any()
        np.testing.assert_array_equal(found[number][100:], before[100:])
    np.testing.assert_array_equal(found[2], np.asarray(sources[2]))


def test_the_report_of_pages_is_one_of_a_photo(tmp_path):
    outcome, line = run(tmp_path, pages(picture(0), picture(1), picture(2, "1", SMALL)))
    report = outcome.report
    assert (report["pages"], report["found"], report["restored"]) == (3, 2, 2)
    assert [(face["page"], face["index"]) for face in report["faces"]] == [(1, 0), (2, 0)]
    assert report["damage"] is None
    assert report["notes"] == ["page 3: stored as 1-bit black and white, it comes back as 8-bit grey"]
    assert summarise([outcome]).photos == 1
    json.dumps(run_report([outcome], line))


def test_pages_none_of_which_is_changed_are_copied_as_they_are(tmp_path):
    data = pages(picture(2, size=SMALL), picture(3, "1", SMALL))
    outcome, _ = run(tmp_path, data)
    assert outcome.written[0].read_bytes() == data
    assert outcome.report["notes"] == []


def test_pages_go_into_no_other_format(tmp_path):
    outcome, line = run(tmp_path, pages(picture(0), picture(1)), target=tmp_path / "out.png")
    assert isinstance(outcome.error, ImageError)
    assert "holds 2 pages, and PNG has only one; choose one with --page 1 to 2" in str(outcome.error)
    assert line.restorer.calls == []
    outcome, _ = run(tmp_path, pages(picture(0), picture(1)), format="jpeg")
    assert "and JPEG has only one" in str(outcome.error)


def test_one_page_is_a_photo(tmp_path):
    config = RestoreConfig(page=2)
    outcome, _ = run(tmp_path, pages(picture(0), picture(1)), config=config, target=tmp_path / "out.png")
    result = read_image(outcome.written[0]).pixels
    np.testing.assert_array_equal(result[100:], photo(seed=1).pixels[100:])
    outcome, _ = run(tmp_path, pages(picture(0), picture(1)), config=RestoreConfig(page=3))
    assert "there is no page 3; it holds 2 pages, the first is 1" in str(outcome.error)
    with pytest.raises(ConfigError, match="page is 0; the first page is 1"):
        RestoreConfig(page=0)


def test_side_products_have_the_names_of_their_pages(tmp_path):
    outcome, _ = run(
        tmp_path, pages(picture(0), picture(1)), compare=True, save_faces=str(tmp_path / "faces")
    )
    names = sorted(path.name for path in outcome.written[1:])
    assert names == [
        *("album_page1_compare.jpg", "album_page1_face0_after.png", "album_page1_face0_before.png"),
        *("album_page2_compare.jpg", "album_page2_face0_after.png", "album_page2_face0_before.png"),
    ]
    assert all(path.exists() for path in outcome.written)


def test_a_fault_of_one_page_is_named_with_it(tmp_path):
    data = bytearray(pages(picture(0), picture(1)))
    layout, offset = _exif.read_layout(bytes(data))
    second = _exif.read_directory(bytes(data), offset, layout).next_offset
    entry = _exif.read_directory(bytes(data), second, layout).fields[259]
    data[entry.position : entry.position + 2] = (50002).to_bytes(2, "little")
    outcome, _ = run(tmp_path, bytes(data))
    assert "album.tif, page 2: TIFF compression 50002 (JPEG XL) is not handled" in str(outcome.error)
    assert not (tmp_path / "out").exists()


def test_reading_ahead_leaves_pages_to_their_turn(tmp_path):
    path = tmp_path / "album.tif"
    path.write_bytes(pages(picture(0), picture(1)))
    job = PhotoJob(path, tmp_path / "out.tif", tmp_path / "album")
    assert Ahead(job, RestoreConfig()).take(job) is None
    read = Ahead(job, RestoreConfig(page=2)).take(job)
    np.testing.assert_array_equal(read.image.pixels, photo(seed=1).pixels)


def test_several_pages_have_to_be_chosen_from_where_one_is_wanted():
    data = pages(picture(0), picture(1, size=SMALL))
    assert page_count(data) == 2
    for read in (decode_image, picture_size, as_decoded):
        with pytest.raises(ImageError, match="holds 2 pages; choose one with --page 1 to 2"):
            read(data)
    assert picture_size(data, page=2) == (60, 50)
    assert as_decoded(data, page=2).pixels.shape == (50, 60, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_files_of_one_picture_have_one_page(format):
    stream = io.BytesIO()
    picture().save(stream, format)
    assert page_count(stream.getvalue()) == 1
    assert decode_image(stream.getvalue(), page=1).pixels.shape == (120, 200, 3)
    with pytest.raises(ImageError, match=r"there is no (page|animation frame) 2; it holds one"):
        decode_image(stream.getvalue(), page=2)


@pytest.mark.parametrize("order", ["<", ">"])
def test_joined_pages_keep_what_each_carries_and_where_its_notes_lead(order):
    note = b"Panasonic\0\0\0" + _note(order, 200)
    fields = {0x927C: _exif.Field(7, len(note), note), 0x9003: _exif.Field(2, 20, b"2020:01:02 03:04:05\0")}
    block = _exif.pack(
        _exif.Directory({0x010F: _exif.Field(2, 6, b"Maker\0")}, {0x8769: _exif.Directory(fields)}), order
    )
    start = _exif.first_directory(block).children[0x8769].fields[0x927C].position
    block = block.replace(note, b"Panasonic\0\0\0" + _note(order, start))
    images = [DecodedImage(photo(seed=n).pixels, metadata=Metadata(exif=block, icc=b"")) for n in range(3)]
    plain = DecodedImage(photo(seed=5).pixels)
    source = _exif.header(order, 8) + bytes(6)
    file = bytes(joined([encode_page(image, source=source) for image in (*images, plain)]))
    assert page_count(file) == 4
    for number, image in enumerate((*images, plain), 1):
        decoded = decode_image(file, page=number)
        np.testing.assert_array_equal(decoded.pixels, image.pixels)
        if image is plain:
            continue
        directory = _exif.first_directory(decoded.metadata.exif)
        assert directory.fields[0x010F].value == b"Maker\0"
        found = directory.children[0x8769].fields
        assert found[0x9003].value.startswith(b"2020")
        inner = _makernote_value(decoded.metadata.exif, found[0x927C], order)
        assert inner == b"value of a note"


def _note(order, start):
    """Return a maker's directory of one entry, whose value lies behind it, for a note that stands at ``start``."""
    value = b"value of a note"
    place = start + 12 + 2 + 12 + 4
    return struct.pack(order + "HHHIII", 1, 0x51, 7, len(value), place, 0) + value


def _makernote_value(exif, note, order):
    count, place = struct.unpack_from(order + "II", exif, note.position + 12 + 2 + 4)
    return exif[place : place + count]


# --- animations ---------------------------------------------------------------------------------------------------


def moving(format, mode="RGB", **options):
    stream = io.BytesIO()
    first, *others = [picture(seed, mode) for seed in range(3)]
    first.save(stream, format, save_all=True, append_images=others, **options)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_one_frame_is_read(format):
    data = moving(format, lossless=True) if format == "WEBP" else moving(format)
    said = r"holds 3 animation frames; choose one with --page 1 to 3 .*all with facerestore.restore_video"
    for read in (decode_image, picture_size):
        with pytest.raises(ImageError, match=said):
            read(data)
    for number in (1, 2, 3):
        decoded = decode_image(data, page=number)
        np.testing.assert_array_equal(decoded.pixels, photo(seed=number - 1).pixels)
        assert decoded.format == format
    with pytest.raises(ImageError, match="there is no animation frame 4; it holds 3 animation frames"):
        decode_image(data, page=4)


def test_a_png_with_a_picture_before_its_animation_counts_the_frames_alone():
    data = moving("PNG", default_image=True)
    for number in (1, 2):
        np.testing.assert_array_equal(decode_image(data, page=number).pixels, photo(seed=number).pixels)


def test_a_frame_that_was_stored_without_loss_goes_back_so(tmp_path):
    outcome, _ = run(tmp_path, moving("WEBP", lossless=True), name="a.webp", config=RestoreConfig(page=2))
    with Image.open(outcome.written[0]) as result:
        assert getattr(result, "n_frames", 1) == 1
        np.testing.assert_array_equal(np.asarray(result)[100:], photo(seed=1).pixels[100:])


# --- the commands -------------------------------------------------------------------------------------------------


def test_reports_of_pages_are_merged():
    plain = {
        "found": 1,
        "restored": 1,
        "kept": {},
        "effects": {},
        "damage": None,
        "faces": [{"index": 0}],
        "notes": [],
    }
    plain |= {
        "stage_seconds": {"detect": 0.25},
        "absent_indices": [],
        "backend": "x",
        "search": {"least_face_px": 18},
    }
    other = plain | {"damage": "from row 5 on", "notes": ["a"], "kept": {"sharp": 2}, "absent_indices": [3]}
    found = merged([plain, other])
    assert found["damage"] == "on page 2 from row 5 on"
    assert found["notes"] == ["page 2: a"]
    assert (found["kept"], found["stage_seconds"]) == ({"sharp": 2}, {"detect": 0.5})
    assert (found["backend"], found["absent_indices"]) == ("x", [3])
    assert (found["search"], found["searches"]) == (None, [{"least_face_px": 18}] * 2)


def test_detect_and_enhance_take_a_page(tmp_path, use_detector):
    from facerestore.cli.app import app

    use_detector(FakeDetector(FACE))
    (tmp_path / "album.tif").write_bytes(pages(picture(0, size=SMALL), picture(1)))
    run = CliRunner().invoke(app, ["detect", str(tmp_path / "album.tif"), "--page", "2", "--json"])
    assert run.exit_code == 0, run.output
    assert len(json.loads(run.stdout)["photos"][0]["faces"]) == 1


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
@pytest.mark.parametrize("command", ["detect", "parse -o out.png", "enhance --sheet s.png"])
def test_what_only_looks_takes_the_first_of_several_and_says_so(
    tmp_path, use_detector, monkeypatch, capsys, name, command
):
    from facerestore.cli.app import main

    use_detector(FakeDetector(FACE))
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(moving({"a.tif": "TIFF"}.get(name, name[2:].upper())))
    unit = "pages" if name == "a.tif" else "animation frames"
    assert main([*command.split(), name]) == 0
    assert f"this is the first of 3 {unit}; --page takes another" in "".join(capsys.readouterr())
    assert main([*command.split(), name, "--page", "2", "--overwrite"]) == 0
    assert "first of" not in "".join(capsys.readouterr())


def test_a_frame_of_a_gif_is_a_photo_that_comes_back_as_png(tmp_path, use_detector):
    from facerestore.cli.app import main

    use_detector(FakeDetector(FACE))
    source = tmp_path / "a.gif"
    source.write_bytes(moving("GIF"))
    with Image.open(source) as frames:
        for number, frame in enumerate(ImageSequence.Iterator(frames), 1):
            decoded = read_image(source, page=number)
            np.testing.assert_array_equal(decoded.pixels, np.asarray(frame.convert("RGB")))
    assert main(["enhance", str(source), "--page", "3", "--strength", "0"]) == 0
    with Image.open(tmp_path / "a_restored.png") as result:
        assert result.format == "PNG"
        np.testing.assert_array_equal(np.asarray(result), decoded.pixels)
    assert main(["verify", str(source), str(tmp_path / "a_restored.png"), "--page", "3"]) == 0
    assert main(["enhance", str(source), "--page", "2", "-o", str(tmp_path / "b.gif")]) == 2

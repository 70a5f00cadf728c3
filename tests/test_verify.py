"""What a result has changed: by its mark or a report, in lossless and lossy formats, page by page, and what fails."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from picture_files import HERE, smooth
from PIL import Image

from facerestore.batch.verify import Outside, verify_pictures
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.errors import ImageError
from facerestore.io import FORMATS, decode_image, encode_image, joined, read_mark, write_image
from facerestore.types import DecodedImage, Metadata, Part

FACE = face_at(40, 30)


def smooth_photo(dtype=np.uint8, **facts):
    return DecodedImage(smooth(120, 200, dtype=dtype), **facts)


def stored(image, format):
    return decode_image(encode_image(image, format=format))


def restored(image, **config):
    result = pipeline(FACE, config=RestoreConfig(**config)).run(image)
    return result.image, [tuple(face["touched"]) for face in result.report["faces"]]


@pytest.mark.parametrize("format", HERE)
def test_results_of_every_format_hold(format):
    """Lossless ones to the bit; of a JPEG each block is what the encoder makes of the photo, of others nearly."""
    before = stored(smooth_photo(), format)
    after, areas = restored(before)
    verdict = verify_pictures(before, stored(after, format), areas)
    lossy = FORMATS[format].lossy
    assert verdict.outside is (Outside.ENCODED if lossy else Outside.SAME)
    assert verdict.holds
    ((area, changed, pixels, largest),) = verdict.regions
    assert area == areas[0]
    assert area[0] <= changed[0] < changed[2] <= area[2]
    assert 0 < pixels / (120 * 200) == pytest.approx(verdict.touched)
    assert largest > 10
    assert verdict.within == pytest.approx((area[2] - area[0]) * (area[3] - area[1]) / (120 * 200))
    assert lossy is ("lossy encoder" in verdict.words)
    assert verdict.exact is (format == "JPEG")


@pytest.mark.parametrize("format", HERE)
@pytest.mark.parametrize("levels", [40])
def test_a_pixel_changed_outside_fails_in_every_format(format, levels):
    before = stored(smooth_photo(), format)
    after, areas = restored(before)
    pixels = after.pixels.copy()
    pixels[100:110, 180:190] ^= levels
    verdict = verify_pictures(before, stored(replace(after, pixels=pixels), format), areas)
    assert not verdict.holds
    assert verdict.largest >= levels - 16
    if not FORMATS[format].lossy:
        assert (verdict.first, verdict.different) == ((180, 100), 100)
        assert verdict.words.startswith("100 other pixels differ, by at most ")
        assert verdict.words.endswith("the first at x 180, y 100")


def test_one_level_of_one_channel_of_16_bits_is_found():
    before = smooth_photo(np.uint16, format="PNG")
    after, areas = restored(before)
    pixels = after.pixels.copy()
    pixels[0, 0, 1] ^= 1
    verdict = verify_pictures(before, replace(after, pixels=pixels), areas)
    assert (verdict.holds, verdict.different, verdict.largest, verdict.first) == (False, 1, 1, (0, 0))


def test_transparency_counts():
    before = smooth_photo(alpha=np.full((120, 200), 9, np.uint8), format="PNG")
    after = replace(before, alpha=np.full((120, 200), 8, np.uint8))
    assert verify_pictures(before, after, []).different == 120 * 200


def test_a_jpeg_of_another_quality_is_held_against_that():
    before = stored(smooth_photo(), "JPEG")
    after, areas = restored(before)
    for quality in (60, 80, 99):
        result = decode_image(encode_image(after, format="JPEG", quality=quality))
        assert verify_pictures(before, result, areas).outside is Outside.ENCODED


def test_a_lossless_webp_is_held_to_the_bit():
    part = (Part("WEBP", b"VP8L", b""),)
    before = stored(smooth_photo(format="WEBP", metadata=Metadata(parts=part)), "WEBP")
    after, areas = restored(before)
    assert verify_pictures(before, stored(after, "WEBP"), areas).outside is Outside.SAME


def test_pictures_that_cannot_be_held_against_each_other_are_refused():
    before = smooth_photo()
    with pytest.raises(ImageError, match=r"the result has 400x240 pixels, the photo 200x120.*--upscale 1"):
        verify_pictures(before, restored(before, upscale=2.0)[0], [])
    with pytest.raises(
        ImageError, match="the result has 8 bits a sample, the photo 16; write a format that holds"
    ):
        verify_pictures(smooth_photo(np.uint16), before, [])


@pytest.fixture
def files(tmp_path, monkeypatch, use_pipeline):
    monkeypatch.chdir(tmp_path)
    use_pipeline(lambda config, **_: pipeline(FACE, config=config))
    write_image("a.png", photo())
    return tmp_path


def test_the_command_goes_by_the_mark_and_fails_where_a_pixel_differs(files, capsys):
    assert main(["enhance", "a.png", "-o", "b.png"]) == 0
    capsys.readouterr()
    assert main(["verify", "a.png", "b.png"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("b.png: 1 area of ")
    area = ", ".join(map(str, read_mark("b.png").areas[0]))
    assert f"% changed; all other pixels are those of the photo\n  0  {area}: " in told
    result = decode_image((files / "b.png").read_bytes())
    result.pixels[0, 0] ^= 1
    write_image("b.png", result, overwrite=True)
    assert main(["verify", "a.png", "b.png", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["holds"] is False
    (page,) = told["pages"]
    assert (page["different"], page["first"], page["areas_from"]) == (1, [0, 0], "mark")


def test_without_a_mark_a_report_tells_the_areas(files, capsys):
    assert main(["enhance", "a.png", "-o", "b.png", "--no-mark", "--report", "r.json"]) == 0
    capsys.readouterr()
    assert main(["verify", "a.png", "b.png"]) == 1
    assert (
        "says of no area that it was changed: it has no mark, and no --report was given"
        in capsys.readouterr().out
    )
    assert main(["verify", "a.png", "b.png", "--report", "r.json"]) == 0
    (files / "c.png").write_bytes((files / "b.png").read_bytes())
    assert main(["verify", "a.png", "c.png", "--report", "r.json"]) != 0
    assert "report 'r.json' tells of 0 results called 'c.png'; give its own" in capsys.readouterr().err


def test_pages_are_verified_one_by_one(files, capsys):
    page = encode_image(smooth_photo(), format="TIFF")
    (files / "book.tif").write_bytes(joined([page, page]))
    assert main(["enhance", "book.tif", "-o", "out.tif"]) == 0
    capsys.readouterr()
    assert main(["verify", "book.tif", "out.tif"]) == 0
    told = capsys.readouterr().out
    assert [line.partition(":")[0] for line in told.splitlines()[::2]] == [
        "out.tif, page 1",
        "out.tif, page 2",
    ]


def test_of_several_pages_one_is_verified(files, capsys):
    shown = smooth_photo()
    before = [
        encode_image(each, format="TIFF") for each in (shown, replace(shown, pixels=255 - shown.pixels))
    ]
    (files / "book.tif").write_bytes(joined(before))
    assert main(["enhance", "book.tif", "--page", "2", "-o", "out.tif"]) == 0
    capsys.readouterr()
    assert main(["verify", "book.tif", "out.tif", "--page", "2"]) == 0
    assert capsys.readouterr().out.startswith("out.tif, page 2: 1 area of ")
    assert main(["verify", "book.tif", "out.tif", "--page", "1"]) == 1
    assert main(["verify", "book.tif", "out.tif"]) == 1
    assert "there is no page 2; it holds one page" in capsys.readouterr().err


def test_what_moves_is_not_verified(files, capsys):
    frame = Image.fromarray(smooth_photo().pixels)
    frame.save("a.png", save_all=True, append_images=[frame.rotate(180)])
    assert main(["verify", "a.png", "a.png"]) == 2
    assert "'a.png' moves, and nothing says what was changed in which frame" in capsys.readouterr().err

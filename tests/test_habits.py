"""What users of other programs, and of Python, are used to: flags, kinds of photos, results that can be saved."""

import io
import threading

import numpy as np
import pytest
from fakes import face_at, photo, pipeline
from PIL import Image

import facerestore
from facerestore import Cancel, CancelledError, RestoreConfig
from facerestore.cli.app import main
from facerestore.config import load_config
from facerestore.errors import ConfigError, ImageError
from facerestore.io import encode_image, read_image, write_image
from facerestore.types import DecodedImage, Metadata

FACE, SECOND = face_at(10, 20), face_at(110, 30)


# --- flags --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("-i inputs -o results -v 1.3 -s 2", "--weights gfpgan.v1.3"),
        ("-i inputs -o results -s 2", "facerestore enhance PHOTO"),
        ("inputs -o results -v 1.4", "--weights gfpgan.v1.4"),
        ("inputs -v RestoreFormer", "--weights restoreformer.ffhq-512"),
        ("inputs -v 1.2", "gfpgan.v1.4 (version 1.2 is not here)"),
        ("inputs -s 2", "--upscale 2"),
        ("inputs -w 0.7", "--fidelity 0..1"),
        ("inputs --bg_upsampler realesrgan", "--background NAME"),
        ("inputs --bg_tile 400", "--tile PX"),
        ("inputs --only_center_face", "--faces center"),
        ("inputs --has_aligned", "--aligned"),
        ("inputs --face_upsample", "--upscale"),
        ("inputs --draw_box", "facerestore detect PHOTO -o"),
        ("inputs --detection_model YOLOv5l", "--detector NAME"),
        ("inputs --ext png", "--format png"),
        ("--input_path inputs", "facerestore enhance PHOTO"),
        ("inputs --output_path out", "-o OUT"),
        ("--indir inputs --outdir out --task FaceEnhancement", "facerestore enhance DIR"),
        ("inputs --use_sr", "--background NAME"),
    ],
)
def test_flags_of_gfpgan_codeformer_and_gpen_are_answered_with_ours_in_one_line(words, ours, capsys):
    assert main(["enhance", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert ours in err


def test_v_stays_what_it_is_before_a_photo_of_that_name(tmp_path, monkeypatch, use_pipeline, capsys):
    monkeypatch.chdir(tmp_path)
    use_pipeline(lambda config: pipeline(FACE, config=config))
    (tmp_path / "1.4").write_bytes(encode_image(photo(), format="PNG"))
    assert main(["enhance", "-v", "1.4", "-o", "out.png"]) == 0
    assert "face 0 " in capsys.readouterr().out


# --- results ------------------------------------------------------------------------------------------------------


def test_a_result_is_saved_with_what_the_photo_carried_and_never_over_another_file(tmp_path):
    image = photo(metadata=Metadata(dpi=(300.0, 300.0)), format="PNG")
    result = pipeline(FACE).run(image)
    path = result.save(tmp_path / "new" / "out.png")
    written = read_image(path)
    np.testing.assert_array_equal(written.pixels, result.image.pixels)
    assert written.metadata.dpi == pytest.approx((300, 300), abs=0.1)
    with pytest.raises(ImageError, match=r"out\.png: already exists; .*--overwrite"):
        result.save(path)
    assert result.save(str(path), overwrite=True) == path
    with Image.open(result.save(tmp_path / "a.result", format="jpeg", quality=50)) as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("grey", "alpha", "dtype", "mode"),
    [
        (False, False, np.uint8, "RGB"),
        (True, False, np.uint8, "L"),
        (False, True, np.uint16, "RGBA"),
        (True, True, np.uint16, "LA"),
    ],
)
def test_a_result_becomes_a_pillow_picture_of_its_kind(grey, alpha, dtype, mode):
    level = 200 * (np.iinfo(dtype).max // 255)
    image = DecodedImage(
        np.full((40, 60, 3), level, dtype),
        np.full((40, 60), level // 2, dtype) if alpha else None,
        grey=grey,
        metadata=Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
    )
    picture = pipeline().run(image).to_pil()
    assert (picture.mode, picture.size) == (mode, (60, 40))
    assert picture.getpixel((5, 5)) in (200, (200, 200, 200), (200, 100), (200, 200, 200, 100))
    assert "exif" in picture.info


def test_results_show_what_was_done_in_a_line_without_pixels():
    result = pipeline(FACE, SECOND, config=RestoreConfig(faces=[0], colour_match=False)).run(photo())
    assert repr(result) == "<RestoreResult 200 x 120 px, 2 faces: 1 restored, 1 kept>"
    first, second = map(repr, result.faces)
    assert first.startswith("<RestoredFace restored (")
    assert second.endswith("not selected: the choice of faces is '0'>")
    assert repr(result.image) == "<DecodedImage 200 x 120 px, 8-bit RGB, None>"
    assert repr(pipeline().run(photo())) == "<RestoreResult 200 x 120 px, no face>"


# --- photos -------------------------------------------------------------------------------------------------------


def test_a_pipeline_takes_all_that_restore_takes(tmp_path):
    line, image = pipeline(FACE), photo()
    path = write_image(tmp_path / "a.png", image)
    bgr = np.ascontiguousarray(image.pixels[..., ::-1])
    sources = [path, str(path), path.read_bytes(), Image.open(path), image.pixels, image]
    results = [line.run(source) for source in sources] + [line.run(bgr, channels="bgr")]
    for result in results:
        np.testing.assert_array_equal(result.image.pixels, results[0].image.pixels)
    with pytest.raises(ConfigError, match="unknown channel order 'grb'"):
        line.run(bgr, channels="grb")
    with pytest.raises(ImageError, match="a BytesIO is no picture; give a path, bytes"):
        line.run(io.BytesIO())


@pytest.mark.parametrize("faces", [[0, 2], (0, 2), "0,2"])
def test_faces_are_chosen_by_a_list_of_indices_too(faces):
    assert RestoreConfig(faces=faces) == RestoreConfig(faces="0,2")


def test_a_file_may_list_indices(tmp_path):
    (tmp_path / "a.toml").write_text("[restore]\nfaces = [0, 2]\n")
    assert load_config(tmp_path / "a.toml")[0].faces == "0,2"


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ([], r"faces is an empty list; name indices such as \[0, 2\]"),
        ([-1], "faces is '-1'; give all, largest, center, or indices such as 0,2"),
        ([0.5], "faces is '0.5'; give all"),
        ([True], "faces is 'True'; give all"),
        (1.5, "faces is 1.5; give a text"),
    ],
)
def test_other_lists_are_refused(faces, message):
    with pytest.raises(ConfigError, match=message):
        RestoreConfig(faces=faces)


# --- progress and giving up ---------------------------------------------------------------------------------------


def test_progress_names_each_stage_as_it_begins():
    told = []
    pipeline(FACE).run(photo(), on_progress=told.append)
    assert [each.stage for each in told] == ["detect", "judge", "parse", "restore", "blend"]
    assert [(each.number, each.stages) for each in told] == [(number, 5) for number in range(5)]


def test_a_photo_is_given_up_before_the_stage_after_the_one_that_was_under_way():
    cancel, line, told = Cancel(), pipeline(FACE), []

    def watch(progress):
        told.append(progress.stage)
        if progress.stage == "parse":
            asking = threading.Thread(target=cancel.cancel)
            asking.start()
            asking.join()

    with pytest.raises(CancelledError, match="cancelled before 'restore'; nothing was changed, run it again"):
        line.run(photo(), on_progress=watch, cancel=cancel)
    assert told == ["detect", "judge", "parse"]
    assert cancel.asked
    assert not line.restorer.calls
    with pytest.raises(CancelledError, match="cancelled before 'detect'"):
        line.run(photo(), cancel=cancel)


def test_restore_takes_both_as_keywords(use_pipeline):
    use_pipeline(lambda config: pipeline(FACE, config=config))
    cancel, told = Cancel(), []
    facerestore.restore(photo(), faces=[0], on_progress=told.append, cancel=cancel)
    assert [each.stage for each in told] == ["detect", "judge", "parse", "restore", "blend"]
    cancel.cancel()
    with pytest.raises(CancelledError, match="cancelled before 'detect'"):
        facerestore.restore(photo(), cancel=cancel)


def test_what_on_progress_raises_ends_the_photo():
    def fails(progress):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        pipeline(FACE).run(photo(), on_progress=fails)

import gc
import io
import json
import traceback
import unicodedata
import weakref
from pathlib import Path
from types import SimpleNamespace

import carried_files
import numpy as np
import pytest
from fakes import Brightener, Stopped, face_at, photo, pipeline
from PIL import Image

from facerestore.batch import (
    STREAM,
    PhotoJob,
    Status,
    plan_jobs,
    run_jobs,
    run_report,
    summarise,
    write_report,
)
from facerestore.batch.report import describe_error
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, ImageError, WeightsError
from facerestore.io import read_image, write_image
from facerestore.types import Metadata

FACE = face_at(10, 20)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def targets(inputs, output=None, *, recursive=False, **options):
    plan = plan_jobs(inputs, output=output, options=OutputConfig(**options), recursive=recursive)
    return {str(job.source): job.target for job in plan.jobs}


def test_results_go_beside_their_photos_with_the_suffix(tmp_path):
    touch(tmp_path, "a.jpg", "b/c.png")
    found = targets([tmp_path / "a.jpg", tmp_path / "b/c.png"])
    assert list(found.values()) == [tmp_path / "a_restored.jpg", tmp_path / "b/c_restored.png"]
    assert list(targets([tmp_path / "a.jpg"], suffix="-new", format="tiff").values()) == [
        tmp_path / "a-new.tif"
    ]


def test_a_directory_is_mirrored_under_the_names_of_its_files(tmp_path):
    touch(tmp_path / "in", "a.jpg", "x/a.jpg", "x/y/b.png", "notes.txt")
    out = tmp_path / "out"
    assert set(targets([tmp_path / "in"], out, recursive=True).values()) == {
        out / "a.jpg",
        out / "x/a.jpg",
        out / "x/y/b.png",
    }
    assert set(targets([tmp_path / "in"], out).values()) == {out / "a.jpg"}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("out.png", {"format": "jpeg"}, "name for PNG, but the format is to be JPEG"),
        ("my.album", {}, "no picture format.*make that directory first"),
    ],
)
def test_a_name_that_does_not_say_the_format_is_refused(tmp_path, name, options, said):
    with pytest.raises(ConfigError, match=said):
        targets([tmp_path / "a.jpg"], tmp_path / name, **options)


def test_a_name_may_say_the_format_that_is_asked_for_or_none(tmp_path):
    for name in ("out.jpg", "out.result"):
        assert list(targets([tmp_path / "a.png"], tmp_path / name, format="jpeg").values()) == [
            tmp_path / name
        ]


def test_two_photos_never_share_a_result(tmp_path):
    touch(tmp_path / "in", "a.jpg", "a.png", "A.bmp", "b.jpg")
    out = tmp_path / "out"
    found = targets([tmp_path / "in"], out, format="png")
    names = [path.name.casefold() for path in found.values()]
    assert len(set(names)) == 4
    assert found[str(tmp_path / "in/a.jpg")] == out / "a_jpg.png"
    assert found[str(tmp_path / "in/b.jpg")] == out / "b.png"


def test_equal_names_from_several_places_stay_apart(tmp_path):
    touch(tmp_path, "1/p/a.jpg", "2/p/a.jpg", "3/a.jpg", "4/a.jpg")
    inputs = [tmp_path / "1/p", tmp_path / "2/p", tmp_path / "3/a.jpg", tmp_path / "4/a.jpg"]
    out = tmp_path / "out"
    found = list(targets(inputs, out).values())
    assert found[:2] == [out / "p/a.jpg", out / "p-2/a.jpg"]
    assert len({str(path).casefold() for path in found}) == 4


def test_a_file_given_twice_is_restored_once(tmp_path):
    touch(tmp_path, "in/a.jpg")
    assert len(targets([tmp_path / "in", tmp_path / "in/a.jpg"], tmp_path / "out")) == 1


def test_no_result_takes_the_name_of_any_input(tmp_path):
    touch(tmp_path, "a.jpg", "a.png")
    found = targets([tmp_path], tmp_path, format="png")
    assert not {str(path) for path in found.values()} & set(found)
    assert found[str(tmp_path / "a.png")].stem.endswith("_restored")


def test_results_of_an_earlier_run_and_the_output_folder_are_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "a_restored.jpg", "a_restored_compare.jpg", "b-mine.jpg", "out/a.jpg")
    plan = plan_jobs(
        [tmp_path], output=tmp_path / "out", options=OutputConfig(suffix="-mine"), recursive=True
    )
    assert [job.source.name for job in plan.jobs] == ["a.jpg"]
    assert len(plan.left_out) == 3
    named = plan_jobs([tmp_path / "a_restored.jpg"], output=None, options=OutputConfig())
    assert [job.target.name for job in named.jobs] == ["a_restored_restored.jpg"]


def test_one_photo_goes_into_the_named_file_or_the_named_directory(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "dir.d").mkdir()
    assert list(targets([tmp_path / "a.jpg"], tmp_path / "b.png").values()) == [tmp_path / "b.png"]
    assert list(targets([tmp_path / "a.jpg"], tmp_path / "new").values()) == [tmp_path / "new/a.jpg"]
    assert list(targets([tmp_path / "a.jpg"], tmp_path / "dir.d").values()) == [tmp_path / "dir.d/a.jpg"]


def test_what_does_not_go_together_is_refused(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "file")
    both = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for inputs, output in [
        (both, tmp_path / "one.png"),
        (both, tmp_path / "file"),
        ([tmp_path], STREAM),
        ([STREAM, *both], None),
        ([STREAM], tmp_path),
        ([tmp_path / "a.jpg"], tmp_path / "a.gif"),
    ]:
        with pytest.raises(ConfigError):
            plan_jobs(inputs, output=output, options=OutputConfig())


def test_an_empty_directory_is_an_error_with_the_way_on(tmp_path):
    touch(tmp_path, "deep/a.jpg")
    with pytest.raises(ImageError, match="-r"):
        plan_jobs([tmp_path], output=None, options=OutputConfig())


def test_standard_input_goes_to_standard_output_unless_named(tmp_path):
    assert targets([STREAM]) == {"-": STREAM}
    assert targets([STREAM], tmp_path / "b.png") == {"-": tmp_path / "b.png"}


def run(tmp_path, jobs, *, config=None, restorer=None, **options):
    line = pipeline(FACE, config=config, restorer=restorer)
    return list(run_jobs(jobs, line, options=OutputConfig(**{"workers": 1} | options))), line


def jobs_for(tmp_path, *names):
    return [PhotoJob(tmp_path / name, tmp_path / "out" / name, Path(name).with_suffix("")) for name in names]


@pytest.fixture
def photos(tmp_path):
    write_image(tmp_path / "a.png", photo(seed=1))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    write_image(tmp_path / "c.png", photo(seed=2, dtype=np.uint16))
    return tmp_path


def test_a_bad_file_does_not_stop_the_rest(photos):
    outcomes, line = run(photos, jobs_for(photos, "a.png", "bad.png", "c.png"))
    assert [o.status for o in outcomes] == [Status.DONE, Status.FAILED, Status.DONE]
    assert isinstance(outcomes[1].error, ImageError)
    assert sorted(p.name for p in (photos / "out").iterdir()) == ["a.png", "c.png"]
    assert read_image(photos / "out/c.png").pixels.dtype == np.uint16
    summary = summarise(outcomes)
    assert summary.line == "3 photos: 2 faces, 2 restored, 0 kept, 1 failed"
    report = json.loads(json.dumps(run_report(outcomes, line)))
    assert [p["status"] for p in report["photos"]] == ["done", "failed", "done"]
    assert report["photos"][1]["output"] is None
    assert "bad.png" in report["photos"][1]["error"]
    assert report["summary"]["failed"] == 1


def test_a_photo_with_nothing_to_change_is_copied_byte_for_byte(tmp_path):
    write_image(tmp_path / "a.jpg", photo(), quality=70)
    nothing = RestoreConfig(strength=0)
    run(tmp_path, jobs_for(tmp_path, "a.jpg"), config=nothing)
    assert (tmp_path / "out/a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    # Asked for another quality, or another format, it is encoded.
    for target, quality in (("b.jpg", 50), ("c.png", None)):
        job = PhotoJob(tmp_path / "a.jpg", tmp_path / "out" / target, Path("a"))
        (outcome,), _ = run(tmp_path, [job], config=nothing, quality=quality)
        assert outcome.status is Status.DONE
        assert (tmp_path / "out" / target).read_bytes() != (tmp_path / "a.jpg").read_bytes()
    assert np.array_equal(read_image(tmp_path / "out/c.png").pixels, read_image(tmp_path / "a.jpg").pixels)


def test_the_summary_counts_reasons_in_words(photos):
    config = RestoreConfig(faces="1")
    outcomes, _ = run(photos, jobs_for(photos, "a.png"), config=config)
    assert summarise(outcomes).line == "1 photo: 1 face, 0 restored, 1 kept (1 not selected), 0 failed"


def test_an_existing_result_is_an_error_or_skipped_or_replaced_as_asked(photos):
    jobs = jobs_for(photos, "a.png")
    run(photos, jobs)
    before = (photos / "out/a.png").read_bytes()
    restorer = Brightener()
    outcomes, _ = run(photos, jobs, restorer=restorer)
    assert "--overwrite" in describe_error(outcomes[0].error)
    assert restorer.calls == []
    assert run(photos, jobs, skip_existing=True)[0][0].status is Status.SKIPPED
    assert (photos / "out/a.png").read_bytes() == before
    assert run(photos, jobs, overwrite=True, config=RestoreConfig(strength=0))[0][0].status is Status.DONE
    assert (photos / "out/a.png").read_bytes() != before


def test_what_the_format_cannot_hold_is_told_before_any_work(photos):
    restorer = Brightener()
    outcomes, _ = run(photos, jobs_for(photos, "c.png"), restorer=restorer, format="jpeg")
    assert "16-bit" in str(outcomes[0].error)
    assert restorer.calls == []


def test_compare_and_faces_are_written_beside_and_apart(photos):
    outcomes, _ = run(photos, jobs_for(photos, "a.png"), compare=True, save_faces=str(photos / "faces"))
    names = {str(path.relative_to(photos)) for path in outcomes[0].written}
    assert names == {"out/a.png", "out/a_compare.jpg", "faces/a_face0_before.png", "faces/a_face0_after.png"}
    assert all(path.is_file() for path in outcomes[0].written)


def test_corrupt_weights_stop_the_run(photos):
    class Corrupt(Brightener):
        def restore(self, faces, parsing_maps=None):
            raise WeightsError("weights are corrupt; fetch them again")

    with pytest.raises(WeightsError):
        run(photos, jobs_for(photos, "a.png", "c.png"), restorer=Corrupt())


def test_a_fault_of_ours_is_one_photos_outcome_with_its_kind(photos):
    class Faulty(Brightener):
        def restore(self, faces, parsing_maps=None):
            raise KeyError("eyes")

    outcomes, _ = run(photos, jobs_for(photos, "a.png", "c.png"), restorer=Faulty())
    assert [o.status for o in outcomes] == [Status.FAILED] * 2
    told = "backend 'brightener' failed with 1 face: KeyError: 'eyes'; report this to the backend's author"
    assert describe_error(outcomes[0].error) == told


def test_a_run_that_is_broken_off_leaves_whole_files_only(photos):
    with pytest.raises(KeyboardInterrupt):
        run(photos, jobs_for(photos, "a.png", "c.png"), restorer=Stopped(), workers=1)
    assert [p.name for p in (photos / "out").iterdir()] == ["a.png"]


def test_a_report_replaces_an_older_one_whole(tmp_path):
    path = tmp_path / "deep" / "report.json"
    write_report(path, {"photos": []})
    write_report(path, {"photos": ["é"]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"photos": ["é"]}
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_a_report_holds_file_names_that_are_no_unicode(tmp_path):
    path, name = tmp_path / "report.json", "caf\udce9.jpg"
    write_report(path, {"photos": [{"input": name}]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"photos": [{"input": name}]}


def test_names_that_differ_in_case_alone_are_two_photos_where_the_disk_says_so(tmp_path):
    touch(tmp_path / "in", "a.jpg", "A.jpg")
    count = len(list((tmp_path / "in").iterdir()))  # one where the file system ignores case
    found = targets([tmp_path / "in", tmp_path / "in/a.jpg"], tmp_path / "out")
    assert len(found) == len({str(path).casefold() for path in found.values()}) == count


def test_a_comparison_never_takes_the_name_of_another_result(tmp_path):
    write_image(tmp_path / "in/a.jpg", photo(seed=1))
    write_image(tmp_path / "in/a_compare.jpg", photo(seed=2))
    plan = plan_jobs([tmp_path / "in"], output=tmp_path / "out", options=OutputConfig(compare=True))
    outcomes, _ = run(tmp_path, plan.jobs, compare=True)
    assert [o.status for o in outcomes] == [Status.DONE] * 2
    assert len({path for o in outcomes for path in o.written}) == 4
    with_photo_in_the_way = plan_jobs(
        [tmp_path / "in/a.jpg", tmp_path / "in/a_compare.jpg"],
        output=None,
        options=OutputConfig(suffix="_x", compare=True),
    )
    assert [job.target.name for job in with_photo_in_the_way.jobs] == ["a_x.jpg", "a_compare_x.jpg"]


def test_a_format_that_is_asked_for_and_is_there_already_is_copied_too(tmp_path):
    write_image(tmp_path / "a.jpg", photo(), quality=70)
    run(tmp_path, jobs_for(tmp_path, "a.jpg"), config=RestoreConfig(strength=0), format="jpg")
    assert (tmp_path / "out/a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()


def test_a_photo_whose_side_products_cannot_be_written_has_no_result_either(photos):
    job = jobs_for(photos, "a.png")
    touch(photos, "faces/a_face0_before.png")
    (outcome,), _ = run(photos, job, save_faces=str(photos / "faces"))
    assert outcome.status is Status.FAILED
    assert not (photos / "out").exists()
    assert run(photos, job, save_faces=str(photos / "faces"), overwrite=True)[0][0].status is Status.DONE


def test_a_failure_does_not_keep_the_photo_in_memory(photos):
    seen = []

    class Failing(Brightener):
        def restore(self, faces, parsing_maps=None):
            seen.extend(weakref.ref(face.lq) for face in faces)
            return super().restore(faces)

    outcomes, _ = run(photos, jobs_for(photos, "a.png"), restorer=Failing(fails=True))
    assert outcomes[0].error is not None
    told = "".join(traceback.format_exception(outcomes[0].error))
    assert told.count("in restore\n") == 3  # once the stage, twice the restorer
    gc.collect()
    assert [ref() for ref in seen] == [None]


def test_standard_input_is_called_so_in_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"no picture")))
    (outcome,), _ = run(tmp_path, [PhotoJob(STREAM, tmp_path / "b.png", Path("stdin"))])
    assert str(outcome.error).startswith("standard input: ")


def test_names_that_differ_in_the_form_of_accents_alone_never_share_a_result(tmp_path):
    touch(tmp_path, "1/caf\u00e9.jpg", "2/cafe\u0301.jpg")
    found = targets([tmp_path / "1/caf\u00e9.jpg", tmp_path / "2/cafe\u0301.jpg"], tmp_path / "out")
    stems = {unicodedata.normalize("NFC", path.stem) for path in found.values()}
    assert len(stems) == 2


def test_what_does_not_come_along_is_said_in_one_line_unless_the_file_is_copied(tmp_path):
    pixels = photo().pixels
    second = carried_files.small_jpeg()
    data = carried_files.jpeg(pixels, carried_files.jfif(), carried_files.mpf(len(second)), trailer=second)
    (tmp_path / "a.jpg").write_bytes(data)
    (restored,), _ = run(tmp_path, jobs_for(tmp_path, "a.jpg"))
    assert restored.report["notes"] == ["not carried over: further pictures after the first"]
    (copied,), _ = run(
        tmp_path, jobs_for(tmp_path, "a.jpg"), config=RestoreConfig(strength=0), overwrite=True
    )
    assert copied.report["notes"] == []
    assert (tmp_path / "out/a.jpg").read_bytes() == data


def test_sizes_in_what_a_file_carries_are_those_of_the_enlarged_result(tmp_path):
    exif = carried_files.photo_exif(size=(200, 120), unsorted={0x0100: carried_files.numbers(3, 200)})
    packet = carried_files.xmp('exif:PixelXDimension="200" tiff:ImageWidth="200"')
    segments = [(0xE1, b"Exif\0\0" + exif), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)]
    (tmp_path / "a.jpg").write_bytes(carried_files.jpeg(photo().pixels, *segments))
    run(tmp_path, jobs_for(tmp_path, "a.jpg"), config=RestoreConfig(upscale=2))
    written = (tmp_path / "out/a.jpg").read_bytes()
    with Image.open(io.BytesIO(written)) as picture:
        stated = picture.getexif()
        camera = stated.get_ifd(0x8769)
        assert (picture.width, stated[0x0100], camera[0xA002], camera[0xA003]) == (400, 400, 400, 240)
    assert b'PixelXDimension="400"' in written
    assert b'tiff:ImageWidth="400"' in written


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".png", ".tif"])
def test_pixels_outside_the_face_and_transparency_stay_in_lossless_files(tmp_path, suffix):
    before = photo(alpha=np.random.default_rng(3).integers(0, 256, (120, 200), dtype=np.uint8))
    source = tmp_path / f"a{suffix}"
    if suffix == ".webp":
        source.write_bytes(carried_files.webp(np.dstack((before.pixels, before.alpha))))
    else:
        write_image(source, before)
    run(tmp_path, jobs_for(tmp_path, source.name))
    after = read_image(tmp_path / "out" / source.name)
    changed = (after.pixels != before.pixels).any(axis=2)
    assert changed.any()
    assert not changed[90:].any()
    assert not changed[:, 80:].any()
    assert np.array_equal(after.alpha, before.alpha)


def test_pictures_beside_the_result_have_its_colours(tmp_path):
    write_image(tmp_path / "a.png", photo(metadata=Metadata(icc=carried_files.ICC)))
    outcomes, _ = run(tmp_path, jobs_for(tmp_path, "a.png"), compare=True, save_faces=str(tmp_path / "faces"))
    assert len(outcomes[0].written) == 4
    for path in outcomes[0].written:
        assert read_image(path).metadata.icc == carried_files.ICC

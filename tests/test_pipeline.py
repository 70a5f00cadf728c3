import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from functools import partial

import numpy as np
import pytest
from fakes import FACE_SIZE, Brightener, FakeDetector, face_at, photo, pipeline

from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError
from facerestore.parsing import face_mask
from facerestore.pipeline.parts import StageClock
from facerestore.pipeline.restore import Procedure, RestorePipeline
from facerestore.pipeline.stages import judge, parse
from facerestore.quality.judge import assess
from facerestore.types import DecodedImage, Outcome

LEFT, RIGHT = face_at(10, 20), face_at(120, 30, score=0.95)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_faces_change_and_every_pixel_outside_of_their_squares_stays(dtype):
    image = photo(dtype=dtype)
    result = pipeline(LEFT, RIGHT).run(image)
    changed = (result.image.pixels != image.pixels).any(axis=2)
    outside = np.ones_like(changed)
    outside[20:84, 10:74] = outside[30:94, 120:184] = False
    assert result.image.pixels.dtype == dtype
    assert not changed[outside].any()
    assert changed[40:64, 30:54].mean() > 0.9
    assert changed[50:74, 140:164].mean() > 0.9


def test_faces_are_numbered_left_to_right_whatever_their_score():
    result = pipeline(RIGHT, LEFT).run(photo())
    assert [face.detected.box[0] for face in result.faces] == sorted(f.detected.box[0] for f in result.faces)
    assert [face["index"] for face in result.report["faces"]] == [0, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_0_gives_the_very_pixels_and_never_runs_the_network(dtype):
    restorer = Brightener()
    image = photo(dtype=dtype)
    result = pipeline(LEFT, config=RestoreConfig(strength=0), restorer=restorer).run(image)
    assert np.array_equal(result.image.pixels, image.pixels)
    assert result.faces[0].decision.code == "strength-0"
    assert restorer.calls == []


def test_half_strength_changes_half_as_much():
    image = photo(dtype=np.uint16)
    config = RestoreConfig(colour_match=False)
    full = pipeline(LEFT, config=config).run(image).image.pixels.astype(float)
    half = pipeline(LEFT, config=replace(config, strength=0.5)).run(image).image.pixels.astype(float)
    assert np.abs((full - image.pixels) / 2 - (half - image.pixels)).max() <= 1


def test_no_face_is_a_normal_result_with_the_very_pixels():
    image = photo(alpha=np.full((120, 200), 7, np.uint8))
    result = pipeline().run(image)
    assert result.image is image
    assert result.faces == ()
    assert result.report["found"] == 0


@pytest.mark.parametrize(
    ("choice", "restored"),
    [("all", [0, 1, 2]), ("largest", [2]), ("center", [1]), ("0,2", [0, 2]), ("7", [])],
)
def test_only_the_chosen_faces_are_restored(choice, restored):
    faces = [face_at(0, 0, size=48), face_at(70, 35, size=50), face_at(130, 0, size=64)]
    result = pipeline(*faces, config=RestoreConfig(faces=choice)).run(photo())
    codes = {i: face.decision.code for i, face in enumerate(result.faces)}
    assert [i for i, code in codes.items() if code == "restored"] == restored
    assert {code for i, code in codes.items() if i not in restored} <= {"not-selected"}
    assert result.report["absent_indices"] == ([7] if choice == "7" else [])


def test_a_small_face_is_kept_with_the_numbers_that_decided_and_restored_when_forced():
    tiny = face_at(10, 10, size=24)
    kept = pipeline(tiny).run(photo())
    assert (kept.faces[0].decision.outcome, kept.faces[0].decision.code) == (Outcome.KEPT, "too-small")
    assert "5.9 px between the eyes" in kept.faces[0].decision.reason
    assert pipeline(tiny, config=RestoreConfig(force=True)).run(photo()).faces[0].restored is not None
    assert pipeline(tiny, config=RestoreConfig(min_face=3)).run(photo()).faces[0].restored is not None
    assert (
        pipeline(LEFT, config=RestoreConfig(min_face=40)).run(photo()).faces[0].decision.code == "too-small"
    )


def measuring(**measured):
    """Return restoring where every face measures so."""
    return Procedure(judge=partial(judge, assess=lambda aligned: replace(assess(aligned), **measured)))


def test_a_sharp_face_is_kept_and_restored_when_forced():
    image, line = photo(), replace(pipeline(LEFT), procedure=measuring(sharp=True))
    kept = line.run(image)
    assert kept.faces[0].decision.code == "sharp"
    assert kept.image is image
    forced = replace(line, config=RestoreConfig(force=True)).run(image)
    assert forced.faces[0].decision.outcome is Outcome.RESTORED
    assert "forced" in forced.faces[0].decision.reason


@pytest.mark.parametrize(("enlargement", "code"), [(0.5, "would-lose-detail"), (0.51, "restored")])
def test_a_named_network_does_not_take_detail_from_a_large_nearly_sharp_face(enlargement, code):
    nearly = measuring(enlargement=enlargement, blur_px=1.5, noise_sigma=1.0, blockiness=1.0)
    line = replace(pipeline(LEFT), procedure=nearly)
    decision = line.run(photo()).faces[0].decision
    assert decision.code == code
    if code != "restored":
        assert "much larger than what this network gives" in decision.reason
        forced = replace(line, config=RestoreConfig(force=True)).run(photo()).faces[0]
        assert forced.decision.outcome is Outcome.RESTORED


def test_all_faces_of_a_photo_go_to_the_network_in_one_call():
    restorer = Brightener()
    pipeline(LEFT, RIGHT, restorer=restorer).run(photo())
    assert restorer.calls == [2]


def test_a_failed_network_is_an_error_and_not_the_input():
    with pytest.raises(BackendError, match="failed on cpu"):
        pipeline(LEFT, restorer=Brightener(fails=True)).run(photo())


@pytest.mark.parametrize("kind", ["size", "nan", "count"])
def test_a_network_that_gives_no_face_is_an_error(kind):
    class Broken(Brightener):
        def restore(self, faces, parsing_maps=None):
            good = super().restore(faces)
            if kind == "count":
                return good[1:]
            return [face[1:] if kind == "size" else face * np.float32("nan") for face in good]

    with pytest.raises(BackendError, match="brightener"):
        pipeline(LEFT, restorer=Broken()).run(photo())


def test_upscale_enlarges_photo_and_alpha_and_pastes_in_place():
    image = photo(alpha=np.full((120, 200), 9, np.uint8))
    result = pipeline(LEFT, config=RestoreConfig(upscale=2, colour_match=False)).run(image)
    assert result.image.pixels.shape == (240, 400, 3)
    assert result.image.alpha is not None
    assert result.image.alpha.shape == (240, 400)
    inside, outside = result.image.pixels[90:120, 70:100], result.image.pixels[:30]
    assert inside.mean() > 1.5 * outside.mean()
    assert result.report["result_size"] == [400, 240]


def test_an_upscaled_photo_over_the_limit_is_refused_before_any_work():
    restorer = Brightener()
    config = RestoreConfig(upscale=4, max_pixels=120 * 200 * 4)
    with pytest.raises(ImageError, match="--max-pixels"):
        pipeline(LEFT, config=config, restorer=restorer).run(photo())
    assert restorer.calls == []


def test_a_grey_photo_stays_grey():
    class Tinter(Brightener):
        def restore(self, faces, parsing_maps=None):
            return [face * np.float32([1, 0.5, 0.2]) for face in super().restore(faces)]

    grey = np.repeat(photo().pixels[..., :1], 3, axis=2)
    for match in (True, False):
        run = pipeline(LEFT, restorer=Tinter(), config=RestoreConfig(colour_match=match))
        pixels = run.run(DecodedImage(grey, grey=True)).image.pixels
        assert not np.array_equal(pixels, grey)
        assert np.ptp(pixels.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("side", [40, FACE_SIZE, 150])
def test_an_aligned_face_is_restored_whole_at_its_own_size(side):
    image = photo(side, side)
    config = RestoreConfig(aligned=True, force=True)
    result = RestorePipeline(None, Brightener(), config=config).run(image)
    assert result.image.pixels.shape == (side, side, 3)
    assert (result.image.pixels[0, 0] > image.pixels[0, 0]).all()
    doubled = RestorePipeline(None, Brightener(), config=replace(config, upscale=2)).run(image)
    assert doubled.image.pixels.shape == (2 * side, 2 * side, 3)


def test_an_aligned_face_at_the_model_size_reaches_the_network_exactly():
    seen = []

    class Watcher(Brightener):
        def restore(self, faces, parsing_maps=None):
            seen.extend(face.lq for face in faces)
            return [face.lq for face in faces]

    image = photo(FACE_SIZE, FACE_SIZE)
    result = RestorePipeline(None, Watcher(), config=RestoreConfig(aligned=True, force=True)).run(image)
    assert np.array_equal(np.rint(seen[0] * 255), image.pixels)
    assert np.array_equal(result.image.pixels, image.pixels)


def test_an_aligned_face_that_is_not_square_is_refused():
    with pytest.raises(ImageError, match="200 x 120"):
        RestorePipeline(None, Brightener(), config=RestoreConfig(aligned=True)).run(photo())


def test_a_pipeline_without_detector_needs_aligned_input():
    with pytest.raises(ConfigError, match="aligned"):
        RestorePipeline(None, Brightener())


def test_a_parser_gets_only_the_faces_to_restore_and_its_maps_reach_network_and_mask():
    class Parser:
        name = "parser"

        def __init__(self):
            self.calls = []

        def parse(self, faces):
            self.calls.append(len(faces))
            return [np.ones((FACE_SIZE, FACE_SIZE), np.uint8) for _ in faces]

    class NeedsMaps(Brightener):
        descriptor = replace(Brightener.descriptor, needs_parsing=True)

        def restore(self, faces, parsing_maps=None):
            assert len(parsing_maps) == len(faces)
            return super().restore(faces)

    detector = FakeDetector(LEFT, RIGHT)
    with pytest.raises(BackendError, match="parser"):
        RestorePipeline(detector, NeedsMaps())
    parser = Parser()
    line = RestorePipeline(detector, NeedsMaps(), parser=parser, config=RestoreConfig(faces="0"))
    result = line.run(photo())
    assert parser.calls == [1]
    assert result.faces[0].parsing_map is not None
    assert result.faces[0].aligned is not None
    assert face_mask(result.faces[0].aligned, result.faces[0].parsing_map).max() > 0.9


def test_the_report_is_plain_json_and_tells_each_face():
    result = pipeline(LEFT, RIGHT, config=RestoreConfig(faces="0")).run(photo())
    report = json.loads(json.dumps(result.report))
    assert report["weights"]["weights"] == "brightener.test"
    assert report["size"] == [200, 120]
    assert (report["found"], report["restored"], report["kept"]) == (2, 1, {"not-selected": 1})
    assert set(report["stage_seconds"]) == {"detect", "judge", "parse", "restore", "blend", "total"}
    first, second = report["faces"]
    assert first["decision"] == "restored"
    assert first["strength"] == 1.0
    assert first["quality"]["blur_px"] > 0
    assert (second["code"], second["strength"], second["quality"]) == ("not-selected", 0.0, None)


def test_threads_share_a_pipeline_and_runs_repeat():
    line = pipeline(LEFT, RIGHT)
    photos = [photo(seed=seed) for seed in range(4)]
    alone = [line.run(image).image.pixels for image in photos]
    with ThreadPoolExecutor(4) as pool:
        together = [result.image.pixels for result in pool.map(line.run, photos)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_description_says_weights_device_and_detector():
    text = pipeline(LEFT, bundled=True).description
    assert "brightener.test (bundled)" in text
    assert "cpu" in text
    assert "detector fake" in text


@pytest.mark.parametrize("call", ["run", "examine"])
def test_too_little_memory_for_a_photo_is_an_image_error(call, monkeypatch):
    line = pipeline(face_at(10, 20))

    def fail(_):
        raise MemoryError

    monkeypatch.setattr(line.detector, "detect", fail)
    with pytest.raises(ImageError, match="not enough memory to restore a photo of this size"):
        getattr(line, call)(photo())


def test_a_pipeline_is_frozen_and_has_a_stage_exchanged_in_another():
    line, seen = pipeline(LEFT), []

    def watching(parts, photo):
        seen.append(len(photo.faces))
        return parse(parts, photo)

    with pytest.raises(FrozenInstanceError):
        line.detector = None
    watched = replace(line, procedure=Procedure(parse=watching))
    np.testing.assert_array_equal(watched.run(photo()).image.pixels, line.run(photo()).image.pixels)
    assert seen == [1]


def test_a_stage_within_another_counts_for_the_outer_one_unless_told_apart():
    for apart, stages in ((False, {"judge"}), (True, {"judge", "align"})):
        clock = StageClock(apart=apart)
        report = pipeline(LEFT).run(photo(), clock=clock).report
        assert set(clock.seconds) == stages | {"detect", "parse", "restore", "blend"}
        assert report["stage_seconds"].keys() == clock.report().keys()

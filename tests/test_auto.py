"""The line where each face has its own network: who gets which, what is loaded, and what is said."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fakes import Brightener, FakeDetector, face_at
from fakes import photo as noisy

from facerestore.backends.lite import LiteRestorer
from facerestore.backends.mmrb import MMRBRestorer
from facerestore.config import RestoreConfig
from facerestore.errors import BackendError, CheckpointError, ConfigError
from facerestore.evaluation.sheet import network_configs, pipelines_of
from facerestore.parsing import LandmarkParser
from facerestore.pipeline.build import build_pipeline
from facerestore.pipeline.candidates import Available, available, usable
from facerestore.pipeline.load import build_parser
from facerestore.pipeline.parts import PipelineFacts
from facerestore.pipeline.per_face import FirstRestorer, Lines, facts_of, per_face
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.routing import Candidate
from facerestore.quality.judge import FaceQuality
from facerestore.testing.drawn_faces import trial_faces
from facerestore.weights import WeightsStore, parse_catalog
from facerestore.weights.checkpoint import save_state_dict
from facerestore.weights.files import sha256_of

LITE, DETAIL = "lite.clean-256", "lite.detail-256"
BUNDLED = [LITE, DETAIL, "lite.large-512", "lite.detail-512"]
"""The weights that are bundled and take part, in their order."""

SMALL, LARGE = face_at(10, 20, size=70), face_at(110, 10, size=100)
CAREFUL = Candidate("careful.clean-64", "careful", 64, "careful", True, "yes")
PRIOR = Candidate("prior.bfr-128", "prior", 128, "generative", False, "no")


def photo(height=120, width=220, *, seed=0):
    """Return a photo with clear edges and some noise: not sharp, and lightly degraded."""
    image = noisy(height, width, seed=seed)
    y, x = np.mgrid[:height, :width]
    checks = 128 + 60 * np.sign(np.sin(x / 3) * np.sin(y / 3))
    image.pixels[:] = checks[..., None] + 0.6 * image.pixels - 30
    return image


class Marker(Brightener):
    """Restores to one colour, so that pixels tell who restored them."""

    def __init__(self, name, face_size, value):
        super().__init__(face_size)
        self.descriptor, self.value = replace(self.descriptor, name=name), value

    def restore(self, faces, parsing_maps=None):
        self.calls.append(len(faces))
        return [np.full((self.face_size, self.face_size, 3), self.value, np.float32) for _ in faces]


class Workshop:
    """Builds lines, and remembers which."""

    def __init__(self, config, *faces):
        self.config, self.detector = config, FakeDetector(*faces)
        self.restorers = {CAREFUL.name: Marker("careful", 64, 0.9), PRIOR.name: Marker("prior", 128, 0.1)}
        self.built = []

    def build(self, name):
        self.built.append(name)
        facts = PipelineFacts(weights=name)
        return RestorePipeline(self.detector, self.restorers[name], config=self.config, facts=facts)

    def pipeline(self, *candidates, passed_over=(), **measures):
        found = Available(candidates, passed_over)
        lines = Lines(found, self.build)
        parts = {"config": self.config, "facts": facts_of(found), "procedure": per_face(lines, **measures)}
        return RestorePipeline(self.detector, FirstRestorer(lines), **parts)


def workshop(*faces, **options):
    return Workshop(RestoreConfig(colour_match=False, **options), *faces)


def test_each_face_goes_to_its_network_and_everything_outside_stays():
    shop, image = workshop(SMALL, LARGE), photo()
    result = shop.pipeline(PRIOR, CAREFUL).run(image)
    assert [face.choice.weights for face in result.faces] == [CAREFUL.name, PRIOR.name]
    assert [face.restored.shape[0] for face in result.faces] == [64, 128]
    pixels = result.image.pixels
    assert pixels[50, 40].mean() > 220
    assert pixels[60, 160].mean() < 40
    outside = np.ones(pixels.shape[:2], dtype=bool)
    outside[20:91, 10:81] = outside[10:111, 110:211] = False
    assert np.array_equal(pixels[outside], image.pixels[outside])


def test_a_network_is_loaded_when_a_face_needs_it_and_once_for_all_threads():
    shop = workshop(SMALL)
    line = shop.pipeline(PRIOR, CAREFUL)
    assert line.restorer.lines.loaded == ()
    line.run(photo(60, 60))
    assert shop.built == []
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda seed: line.run(photo(seed=seed)), [1] * 8))
    assert shop.built == [CAREFUL.name]
    assert line.restorer.lines.loaded == (CAREFUL.name,)
    assert all(np.array_equal(r.image.pixels, results[0].image.pixels) for r in results)


def test_loading_a_network_is_told_apart_and_once():
    line = workshop(SMALL).pipeline(PRIOR, CAREFUL)
    first, second = (line.run(photo()).report["stage_seconds"] for _ in range(2))
    assert "load" in first
    assert "load" not in second


def test_a_line_that_cannot_be_made_is_an_error_and_tried_again():
    shop = workshop(SMALL)
    attempts = threading.Semaphore(1)
    build = shop.build

    def once_broken(name):
        if attempts.acquire(blocking=False):
            raise BackendError("no memory")
        return build(name)

    shop.build = once_broken
    line = shop.pipeline(CAREFUL)
    with pytest.raises(BackendError, match="no memory"):
        line.run(photo())
    assert line.run(photo()).report["restored"] == 1


def test_a_file_of_another_size_than_its_name_says_is_refused():
    shop = workshop(SMALL)
    shop.restorers[CAREFUL.name] = Marker("careful", 32, 0.9)
    with pytest.raises(CheckpointError, match="faces of 32 px, and the catalog says 64"):
        shop.pipeline(CAREFUL).run(photo())


def test_faces_of_one_network_go_to_it_in_one_call():
    shop = workshop(SMALL, face_at(120, 30, size=72))
    shop.pipeline(PRIOR, CAREFUL).run(photo())
    assert shop.restorers[CAREFUL.name].calls == [2]
    assert shop.restorers[PRIOR.name].calls == []


def test_the_report_says_who_restored_each_face_and_why():
    faces = (SMALL, LARGE)
    shop = workshop(*faces, faces="0,1")
    line = shop.pipeline(PRIOR, CAREFUL, passed_over=(("psfr.x", "it needs a parser"),))
    report = json.loads(json.dumps(line.run(photo()).report))
    small, large = report["faces"]
    assert (small["backend"], small["weights"], small["choice"]) == ("careful", CAREFUL.name, "light")
    assert (large["backend"], large["weights"]) == ("prior", PRIOR.name)
    assert "128 px for a face of 100 px" in large["why"]
    assert small["mask"] == "oval"
    assert report["backend"] == "auto"
    assert report["weights"]["commercial_use"] == "no"
    assert [c["name"] for c in report["auto"]["candidates"]] == [PRIOR.name, CAREFUL.name]
    assert report["auto"]["passed_over"] == {"psfr.x": "it needs a parser"}
    assert report["auto"]["used"] == {CAREFUL.name: None, PRIOR.name: None}
    assert "non-commercial" in line.description
    assert "careful.clean-64 (bundled, 64 px)" in line.description


def test_a_kept_face_has_no_network():
    shop = workshop(SMALL, LARGE, faces="1")
    report = shop.pipeline(PRIOR, CAREFUL).run(photo()).report
    assert report["faces"][0]["weights"] is None
    assert report["faces"][1]["weights"] == PRIOR.name
    assert shop.built == [PRIOR.name]


def test_examining_says_the_same_and_loads_nothing():
    shop = workshop(SMALL, LARGE)
    line = shop.pipeline(PRIOR, CAREFUL)
    told = line.examine(photo())
    assert shop.built == []
    done = line.run(photo()).report
    same = ("index", "decision", "reason", "backend", "weights", "choice", "why", "quality")
    assert told["found"] == 2
    for before, after in zip(told["faces"], done["faces"], strict=True):
        assert {key: before[key] for key in same} == {key: after[key] for key in same}


def test_with_one_network_the_pixels_are_those_of_its_own_line():
    for config in (RestoreConfig(), RestoreConfig(upscale=2, strength=0.5)):
        shop = Workshop(config, SMALL, LARGE)
        line, image = shop.pipeline(CAREFUL), photo()
        assert np.array_equal(line.run(image).image.pixels, shop.build(CAREFUL.name).run(image).image.pixels)
    assert "face by face" not in line.description


def test_a_nearly_sharp_face_far_larger_than_the_network_is_kept_unless_forced():
    measured = FaceQuality(60.0, 0.3, 1.5, 1.0, 1.0, 1.0, sharp=False)
    assess, image, face = lambda aligned: measured, noisy(260, 260), face_at(10, 10, size=240)
    kept = workshop(face).pipeline(CAREFUL, assess=assess).run(image)
    assert kept.image is image
    assert kept.report["kept"] == {"would-lose-detail": 1}
    assert workshop(face).pipeline(PRIOR, CAREFUL, assess=assess).run(image).report["restored"] == 1
    forced = workshop(face, force=True).pipeline(CAREFUL, assess=assess).run(image).report["faces"][0]
    assert (forced["decision"], forced["choice"]) == ("restored", "too-large")


def test_what_was_measured_on_a_crop_of_another_size_is_told_in_pixels_of_the_crop_that_is_restored():
    sides = []

    def assess(aligned):
        sides.append(aligned.lq.shape[0])
        return FaceQuality(60.0, 0.8, 2.0, 1.0, 1.0, 1.0, sharp=False)

    result = workshop(LARGE).pipeline(PRIOR, CAREFUL, assess=assess).run(photo())
    (face,), (told,) = result.faces, result.report["faces"]
    assert (face.choice.weights, face.aligned.lq.shape[0]) == (PRIOR.name, 128)
    assert 64 < sides[0] < 128
    assert told["quality"]["blur_px"] == pytest.approx(2.0 * 128 / sides[0], rel=0.01)
    assert told["quality"]["enlargement"] == pytest.approx(0.8 * 128 / sides[0], rel=0.01)


def test_other_parts_keep_the_networks():
    shop = workshop(SMALL, LARGE)
    line = shop.pipeline(PRIOR, CAREFUL)
    half = replace(line, detector=FakeDetector(SMALL), config=RestoreConfig(strength=0.5))
    result = half.run(photo())
    assert [face.choice.weights for face in result.faces] == [CAREFUL.name]
    assert result.report["faces"][0]["strength"] == 0.5
    assert line.restorer.restore([result.faces[0].aligned])[0].shape == (128, 128, 3)


def test_without_any_network_there_is_nothing_to_choose():
    with pytest.raises(ConfigError, match="at least one"):
        Lines(Available(()), lambda name: None)


# --- what is available ------------------------------------------------------------------------------------------------


def install(store, name, content=b"PK\x03\x04"):
    path = store.path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def names(found):
    return [candidate.name for candidate in found.candidates]


def test_what_is_bundled_is_available_and_what_comes_is_before_it(store):
    found = available(RestoreConfig(), store).candidates
    assert [(own.name, own.character, own.face_size) for own in found] == list(
        zip(BUNDLED, ("careful", "detailed") * 2, (256, 256, 512, 512), strict=True)
    )
    assert {own.backend for own in found} == {"lite"}
    for name in ("gpen.bfr-1024", "gpen.bfr-512", "gpen.bfr-512-d", "gpen.colorization-1024"):
        install(store, name)
    found = available(RestoreConfig(), store)
    assert names(found) == ["gpen.bfr-512", "gpen.bfr-1024", *BUNDLED]
    assert "for heavily degraded faces gpen.bfr-512 up to 640 px, gpen.bfr-1024 above" in found.words


def test_a_network_that_lacks_its_parser_or_package_is_passed_over_and_named(store, monkeypatch):
    install(store, "psfr.ffhq-512")
    install(store, "gfpgan.v1.4")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    found = available(RestoreConfig(), store)
    assert names(found) == BUNDLED
    assert [name for name, _ in found.passed_over] == ["psfr.ffhq-512"]
    assert "passes over psfr.ffhq-512" in found.words
    assert "parsenet.psfr-90000" in found.words
    store.remove("psfr.ffhq-512")
    (passed,) = available(RestoreConfig(), store).passed_over
    assert passed[0] == "gfpgan.v1.4"
    assert "spandrel" in passed[1]


def test_a_broken_file_is_passed_over_and_named_with_two_ways_on(store):
    install(store, "codeformer.v0.1", b"PK\x03\x04 cut short")
    install(store, "gpen.bfr-512")
    assert names(available(RestoreConfig(), store)) == ["gpen.bfr-512", *BUNDLED]
    found = usable(RestoreConfig(), store)
    assert names(found) == BUNDLED
    faults = dict(found.passed_over)
    for name in ("codeformer.v0.1", "gpen.bfr-512"):
        assert f"weights download {name} --force" in faults[name]
        assert f"weights remove {name}" in faults[name]
        assert f"passes over {name}" in found.words


# --- with real networks -----------------------------------------------------------------------------------------------

ENTRY = """
[weights."{name}"]
file = "{file}"
licence = "MIT"
commercial_use = "yes"
training_data = "none"
source = "https://example.org"
paper = "none"
purpose = "restore"
face_size = {face_size}
quality_rank = {rank}
character = "{character}"
bundled = true
size_bytes = {size_bytes}
sha256 = "{sha256}"
"""


@pytest.fixture
def tiny_store(tmp_path):
    """Return a store with two tiny networks with random weights: a careful one of 256 px and a prior of 32 px."""
    text = (
        'schema = 1\n[licences.MIT]\nname = "MIT License"\nurl = "https://example.org"\nnotice = "Keep it."\n'
    )
    wanted = ((LiteRestorer, 256, "careful"), (MMRBRestorer, 32, "generative"))
    for rank, (backend, face_size, character) in enumerate(wanted, 1):
        path = tmp_path / f"{backend.descriptor.name}.safetensors"
        save_state_dict(path, backend.example_state_dict(), {})
        text += ENTRY.format(
            name=f"{backend.descriptor.name}.tiny-{face_size}",
            file=path.name,
            face_size=face_size,
            rank=rank,
            character=character,
            size_bytes=path.stat().st_size,
            sha256=sha256_of(path),
        )
    return WeightsStore(tmp_path / "home", offline=True, catalog=parse_catalog(text, folder=tmp_path))


def test_build_pipeline_loads_each_network_when_a_face_needs_it(tiny_store):
    # Without a guard, which would keep what random weights draw.
    config = RestoreConfig(aligned=True, device="cpu", guard=False)
    line = build_pipeline(config, store=tiny_store)
    assert "face by face: lite.tiny-256 (bundled, 256 px), mmrb.tiny-32" in line.description
    assert line.restorer.lines.loaded == ()
    tiny = line.run(noisy(40, 40))
    assert tiny.report["faces"][0]["weights"] == "mmrb.tiny-32"
    assert line.restorer.lines.loaded == ("mmrb.tiny-32",)
    large = line.run(photo(200, 200))
    assert large.report["faces"][0]["weights"] == "lite.tiny-256"
    assert large.image.pixels.shape == (200, 200, 3)
    named = build_pipeline(replace(config, weights="lite.tiny-256"), store=tiny_store)
    assert np.array_equal(named.run(photo(200, 200)).image.pixels, large.image.pixels)


def test_a_comparison_of_networks_takes_the_first_for_auto(tiny_store):
    (config,) = network_configs(RestoreConfig(aligned=True, device="cpu"), store=tiny_store)
    assert config.weights == "lite.tiny-256"
    (line,) = pipelines_of([config], store=tiny_store)
    assert line.restorer.name == "lite"


def test_lines_share_the_parser_that_they_take(tiny_store):
    config = RestoreConfig(aligned=True, device="cpu", parser="landmarks", region="eyes=0.5")
    line = build_pipeline(config, store=tiny_store)
    lines = [line.restorer.lines.get(candidate.name) for candidate in line.restorer.lines.candidates]
    assert len(lines) == 2
    assert {id(one.parser) for one in lines} == {id(line.parser)}
    assert isinstance(line.parser, LandmarkParser)


def test_the_bundled_parser_is_loaded_when_a_face_needs_it(tmp_path, monkeypatch):
    parsed = []

    def load(chosen, config, *, device):
        parsed.append(chosen.name)
        return build_parser(chosen, config, device=device)

    monkeypatch.setattr("facerestore.pipeline.build.build_parser", load)
    monkeypatch.setattr(Lines, "begin_usual", lambda self: None)
    line = build_pipeline(RestoreConfig(device="cpu"), store=WeightsStore(tmp_path))
    assert line.parser.name == "parse"
    assert not parsed
    faces = trial_faces(256)
    for _ in range(2):
        assert [own.shape for own in line.parser.parse(faces)] == [(256, 256)] * len(faces)
    assert parsed == ["parse.clean-256"]

"""The stages of the line, drawn photos, and what is asked for and reported."""

import json
from dataclasses import replace

import numpy as np
import pytest
from bench_fakes import Clock, FakeRunner
from fakes import FakeDetector, face_at, photo

from facerestore.bench.line import (
    STAGES,
    GivenFaces,
    LineRequest,
    measure_line,
    open_line,
    pass_photo,
)
from facerestore.bench.parts import open_parts
from facerestore.bench.photos import Photo, draw_photo, drawn_photo
from facerestore.bench.report import write_json
from facerestore.bench.request import BenchRequest, line_requests, network_sides, pair_side, run_request
from facerestore.bench.runner import Runner
from facerestore.bench.sides import Side
from facerestore.bench.sources import find_source, published_sizes
from facerestore.bench.tables import line_table, markdown, networks_table, pair_table, seconds
from facerestore.engines.device import keep_freed_memory
from facerestore.errors import ConfigError, ImageError
from facerestore.export import Wanted, export_network, open_export
from facerestore.io import decode_image, encode_image
from facerestore.pipeline.parts import StageClock

TINY = LineRequest(megapixels=0.03, faces=2, network="psfr+parsenet", random=True, size=32, repeats=2)


def test_stages_add_up_and_inner_ones_do_not_count_twice():
    peaks = iter([10, 30, 20])
    meter = StageClock(clock=Clock(), apart=True, memory=lambda: next(peaks))
    with meter.stage("judge"):
        with meter.stage("align"):
            pass
        with meter.stage("align"):
            pass
    assert meter.seconds == {"align": 2.0, "judge": 3.0}  # five looks at the clock lie within judging
    assert meter.peaks == {"align": 30, "judge": 20}


def test_every_stage_is_timed_on_a_drawn_photo():
    result = measure_line(TINY)
    unguarded = [
        name for name in STAGES if name != "guard"
    ]  # what random networks make is held against nothing
    assert [stage.name for stage in result.stages] == unguarded
    assert result.faces == 2
    assert result.size == (200, 150)
    assert result.given
    assert all(len(stage.timing.seconds) == 2 for stage in result.stages)
    assert sum(stage.timing.seconds[0] for stage in result.stages) == pytest.approx(result.total.seconds[0])
    assert result.peak.bytes is None or result.peak.bytes > 2**20
    assert "psfr+parsenet, random weights" in result.description


def test_faces_of_a_photo_of_ones_own_are_found(tmp_path):
    path = tmp_path / "own.png"
    path.write_bytes(encode_image(photo(), format="PNG"))
    request = LineRequest(photo=path, network="gpen", random=True, size=32, repeats=1)
    result = measure_line(request)
    assert not result.given
    assert result.faces == 0  # there is none, which is no fault
    assert result.photo == "own.png"
    assert {"decode", "detect", "encode"} <= {stage.name for stage in result.stages}


def test_the_restored_photo_is_the_line_s(store):
    found = face_at(10, 10, size=64)
    line = replace(open_line(TINY), detector=GivenFaces(FakeDetector(), [found]))
    picture = Photo("p", encode_image(photo(), format="PNG"), (found,))
    size, restored = pass_photo(line, picture, StageClock(apart=True))
    assert (size, restored) == ((200, 120), 1)


def test_given_faces_are_told_after_the_detector_has_looked():
    class Looker:
        name = "looker"
        looked = 0

        def detect(self, image):
            self.looked += 1
            return []

    looker, face = Looker(), face_at(0, 0)
    given = GivenFaces(looker, [face])
    assert given.detect(np.zeros((4, 4, 3), np.uint8)) == [face]
    assert (looker.looked, given.name) == (1, "looker")


def test_a_drawn_photo_has_its_size_and_its_faces_lie_in_it():
    pixels, faces = draw_photo(0.5, 7)
    assert pixels.shape == (612, 816, 3)
    assert len(faces) == 7
    for face in faces:
        left, top, right, bottom = face.box
        assert 0 <= left < right < 816
        assert 0 <= top < bottom < 612
        x, y = face.landmarks[0].round().astype(int)
        eye, cheek = pixels[y, x].mean(), pixels[y + 20, x].mean()
        assert eye < cheek - 20
    again, _ = draw_photo(0.5, 7)
    assert np.array_equal(pixels, again)
    assert draw_photo(0.01, 0)[1] == []


@pytest.mark.parametrize(
    ("megapixels", "faces", "said"),
    [
        (0, 1, "megapixels is 0"),
        (float("nan"), 1, "megapixels is nan"),
        (1, -1, "faces is -1"),
        (0.01, 40, "do not fit"),
    ],
)
def test_photos_that_cannot_be_drawn_are_refused(megapixels, faces, said):
    with pytest.raises(ConfigError, match=said):
        draw_photo(megapixels, faces)


def test_a_drawn_photo_is_a_picture_file():
    drawn = drawn_photo(0.02, 1)
    assert decode_image(drawn.data, name="drawn").format == "JPEG"
    assert len(drawn.faces) == 1


def test_random_weights_repeat_and_hide_nothing(store):
    first = find_source("gpen", random=True, size=32, store=store).state_dict
    again = find_source("gpen", random=True, size=32, store=store).state_dict
    assert all(bool((first[key] == again[key]).all()) for key in first)
    drawn = find_source("parsenet", random=True, size=32, store=store).state_dict
    assert all(value.any() for key, value in drawn.items() if key.endswith("bias"))


@pytest.mark.parametrize(
    ("word", "size", "said"),
    [
        ("nothing", None, "'nothing' cannot be drawn; random weights need one of"),
        ("gpen", 33, "cannot be drawn at 33 px; give 256 px, 512 px"),
    ],
)
def test_what_cannot_be_drawn_is_refused(store, word, size, said):
    with pytest.raises(ConfigError, match=said):
        find_source(word, random=True, size=size, store=store)


def test_published_sizes_come_before_the_example():
    assert published_sizes("gpen") == [256, 512, 1024, 2048, 32]
    assert published_sizes("parsenet")[0] == 512


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (
            Side(network="codeformer", random=True, size=16, form="reference"),
            "has no reference form; those that",
        ),
        (Side(network="psfr+gpen", random=True, size=32), "is no restorer with its parser"),
        (Side(network="parsenet", random=False), "no weights of the parser 'parsenet' are installed"),
    ],
)
def test_networks_that_do_not_go_are_refused(store, side, said):
    import torch

    with pytest.raises(ConfigError, match=said):
        open_parts(side, device=torch.device("cpu"), store=store)


def test_an_exported_network_is_measured_like_any_other(tmp_path):
    path = tmp_path / "net.torchscript"
    export_network(open_export(Wanted(name="gpen", random=True)), path, format="torchscript")
    runner = Runner(Side(network=f"torchscript:{path}"))
    opened = runner.open()
    assert (opened.size, opened.parameters) == (32, 0)
    assert runner.run().seconds > 0
    line = open_line(LineRequest(network=f"torchscript:{path}"))
    assert line.restorer.face_size == 32


def test_all_that_is_measured_stands_in_the_report(here, tmp_path):
    request = BenchRequest(
        networks=("gpen",), random=True, sizes=(32,), megapixels=0.03, faces=1, repeats=1, home=tmp_path
    )
    told: list[str] = []
    report = run_request(request, tell=told.append)
    facts = json.loads(json.dumps(report.facts(), allow_nan=False))
    assert facts["schema"] == 2
    assert set(facts) == {
        "schema",
        "facerestore",
        "machine",
        "warnings",
        "lines",
        "networks",
        "pair",
        "failures",
    }
    assert {"processor", "processors", "torch", "load_before"} <= set(facts["machine"])
    assert facts["lines"][0]["stages"][0]["name"] == "decode"
    (network,) = facts["networks"]
    assert network["gflop"] > 0
    assert network["share_of_peak"] > 0
    assert len(network["seconds"]["runs"]) == 1
    assert network["opened"]["threads"]["torch"] >= 1
    assert network["peak"]["of"]
    assert network["opened"]["keeps_memory"] == keep_freed_memory()
    assert told[0] == "the line with gpen 32 px"
    tables = [line_table(report.lines[0]), networks_table(report.networks)]
    for table in tables:
        assert all(len(row) == len(table.headings) for row in table.rows)
        assert markdown(table).count("\n| ") == len(table.rows) + 2


def test_a_pair_compares_the_shipped_form_with_the_reference(here):
    request = BenchRequest(
        networks=("psfr+parsenet",), random=True, sizes=(32,), against="reference", repeats=1
    )
    report = run_request(request)
    assert set(report.pair.errors) == {"psfr", "parsenet"}
    assert max(report.pair.errors.values()) < 1e-4
    facts = report.facts()["pair"]
    assert facts["other"]["form"] == "reference"
    assert facts["times_as_fast"]["pairs"] == 1
    assert "times as fast" in pair_table(report.pair).title


def test_warnings_tell_of_others(here, monkeypatch):
    monkeypatch.setattr("facerestore.bench.machine.all_processors", lambda: 2)
    report = run_request(
        BenchRequest(what="networks", networks=("gpen",), random=True, sizes=(32,), repeats=1),
        open_runner=lambda side: FakeRunner("one", [1, 1], []),
    )
    assert any("others took up to 25%" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repeats": 0}, "repeats is 0"),
        ({"sizes": (32,)}, "add --random"),
        ({"batch": 4, "what": "line"}, "--batch and --precision are for networks"),
        ({"against": "reference", "what": "line"}, "takes networks in turns, not the line"),
        ({"against": "reference", "networks": ("gpen", "lite")}, "takes one network, not gpen, lite"),
        ({"against": "reference", "random": True, "sizes": (32, 64)}, "takes one size"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        BenchRequest(**options)


def test_what_is_not_said_is_chosen(store):
    bundled = [side.network.partition(".")[0] for side in network_sides(BenchRequest(), store)]
    assert sorted(bundled) == ["gpen", "lite", "lite", "mmrb", "psfr"]
    drawn = network_sides(BenchRequest(networks=("gpen", "parsenet"), random=True), store)
    assert [(side.network, side.size) for side in drawn] == [("gpen", 256), ("gpen", 512), ("parsenet", 512)]
    everything = network_sides(BenchRequest(networks=("gpen",), random=True, sizes=()), store)
    assert [side.size for side in everything] == [256, 512, 1024, 2048]
    assert pair_side(BenchRequest(against="threads=1")).network == "auto"
    with pytest.raises(ConfigError, match="--random needs a network"):
        pair_side(BenchRequest(against="reference", random=True))
    assert [line.network for line in line_requests(BenchRequest(random=True))] == ["lite"]
    lines = line_requests(BenchRequest(networks=("gpen", "bisenet", "lite"), random=True, sizes=()))
    assert [(line.network, line.size) for line in lines[-2:]] == [("gpen", 2048), ("lite", 256)]
    small = network_sides(BenchRequest(random=True, sizes=(32,)), store)
    assert {"gpen", "psfr", "parsenet"} <= {side.network for side in small}
    assert "codeformer" not in {side.network for side in small}  # its example has another size


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"networks": ("lite",), "sizes": (32, 256)}, "'lite' cannot be drawn at 32 px; give 256 px"),
        ({"sizes": (33,)}, "no network can be drawn at 33 px"),
        ({"networks": ("bisenet",), "what": "line"}, "'bisenet' restores no faces"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(here, options, said):
    with pytest.raises(ConfigError, match=said):
        run_request(BenchRequest(random=True, **options), open_runner=lambda side: pytest.fail("measured"))


def test_where_one_network_fails_the_others_are_measured(here):
    def opened(side):
        if side.network == "lite":
            raise ConfigError("no lite here")
        return FakeRunner("one", [1, 1], [])

    request = BenchRequest(what="networks", networks=("lite", "gpen"), repeats=1)
    report = run_request(request, open_runner=opened)
    assert [result.side.network for result in report.networks] == ["gpen"]
    assert report.failures == ("lite: no lite here",)
    with pytest.raises(ConfigError, match="no lite here"):
        run_request(BenchRequest(what="networks", networks=("lite",), repeats=1), open_runner=opened)


def test_json_takes_a_name_and_leaves_nothing_half_done(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        write_json(tmp_path / "report.txt", {})
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 2}
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError):
        write_json(tmp_path / "file" / "report.json", {})


def test_times_are_told_in_a_fitting_unit():
    assert [seconds(value) for value in (0.00012, 0.0123, 0.5, 12.3)] == [
        "0.12 ms",
        "12.3 ms",
        "500 ms",
        "12.3 s",
    ]

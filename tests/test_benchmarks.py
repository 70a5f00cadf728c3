"""The programs in benchmarks/, tiny and in this process: what they write, and that both forms do the same work."""

import json
import sys

import numpy as np
import pytest
from bench_fakes import Clock

from benchmarks import batch, common, engines, networks, paste, pipeline, run_all, scaling, start
from benchmarks.common import Options, Results, TimedJob, write_results
from benchmarks.plots import Line, Plot
from benchmarks.reference.gpen_photo import PublishedPhoto, anchors_in_a_loop, without_overlaps
from facerestore.bench import runner
from facerestore.bench.machine import Machine
from facerestore.bench.photos import drawn_photo
from facerestore.bench.runner import Runner
from facerestore.bench.tables import Table
from facerestore.detection.anchors import anchors
from facerestore.detection.retinaface import FACEXLIB_MIN_SIZES
from facerestore.errors import BackendError, ConfigError
from facerestore.export.writers import check_packages
from facerestore.io import decode_image


class LocalJob:
    """A job of this process."""

    def __init__(self, make, *args, label, environment=None):
        self._job = make(*args)
        self.run, self.peak, self.close = self._job.run, self._job.peak, self._job.close
        self.waiting = lambda: "as told" if environment is None else "as published"


@pytest.fixture
def here(monkeypatch):
    """Measure in this process."""
    for module in (batch, paste, pipeline):
        monkeypatch.setattr(module, "remote_job", LocalJob)
    monkeypatch.setattr(scaling, "spawned", lambda function, *args: function(*args))
    monkeypatch.setattr(runner, "product_rate", lambda *args, **named: 100.0)  # measured in test_bench.py
    real = networks.compare

    def compare(one, other, repeats):
        return real(one, other, repeats=repeats, open_runner=Runner)

    monkeypatch.setattr(networks, "compare", compare)
    monkeypatch.setattr(engines, "compare", compare)
    monkeypatch.setattr(engines, "spawned", lambda function, *args: function(*args))


@pytest.mark.parametrize("name", ["networks", "paste", "batch", "pipeline"])
def test_pairs_are_written_as_json_and_markdown(here, tmp_path, name):
    options = Options(tmp_path, quick=True)
    written = write_results(run_all.BENCHMARKS[name](options), options)
    assert [path.name for path in written] == [f"{name}.json", f"{name}.md"]
    facts = json.loads(written[0].read_text())
    assert facts["benchmark"] == name
    assert all(pair["times_as_fast"]["median"] > 0 for pair in facts["pairs"])
    assert "| ---: |" in written[1].read_text()
    text = written[1].read_text()
    if name in ("paste", "pipeline"):
        assert "plain form: threads wait by as published" in text
        assert "facerestore: threads wait by as told" in text
    if name == "networks":
        assert "the allocator is left alone" in text
        assert max(max(pair["errors"].values(), default=0) for pair in facts["pairs"]) < 1e-4
    if name == "batch":
        assert "byte for byte" in written[1].read_text()
    if name == "paste":
        assert all(pair["largest_difference_levels"] <= 2 for pair in facts["pairs"])


def test_growth_is_drawn_too(here, tmp_path, monkeypatch):
    for name, value in {"QUICK_FACES": (1,), "QUICK_MEGAPIXELS": (0.02, 0.03), "QUICK_PHOTOS": (1,)}.items():
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling, "PHOTO_MEGAPIXELS", 0.03)
    options = Options(tmp_path, quick=True)
    written = write_results(scaling.run(options), options)
    assert [path.name for path in written] == ["scaling.json", "scaling.md", "scaling.png"]
    facts = json.loads(written[0].read_text())
    assert [point["megapixels"] for point in facts["megapixels"]] == [0.02, 0.03]
    assert facts["photos"][0]["seconds"] > 0


def test_all_are_run_and_put_together(tmp_path, monkeypatch):
    machine = Machine("chip", 2, "system", "3.11", "2.15", "AVX2", None, 0.0)
    table = Table("t", ("a", "b"), (("c", "1"),))
    plot = Plot("p", "x", (Line("l", ((1.0, 1.0),)),))
    fake = {
        name: lambda options, name=name: Results(name, f"About {name}", machine, [table], {"x": 1}, [plot])
        for name in ("one", "two")
    }
    monkeypatch.setattr(run_all, "BENCHMARKS", fake)
    assert run_all.run_all(Options(tmp_path)) == []
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.index("About one") < text.index("About two")
    assert "![About one](one.png)" in text


def test_one_that_fails_leaves_the_others_and_is_run_again(tmp_path, monkeypatch, capsys):
    machine = Machine("chip", 2, "system", "3.11", "2.15", "AVX2", None, 0.0)
    ran, broken = [], {"one": ZeroDivisionError("oh"), "two": None, "three": ConfigError("no")}

    def benchmark(name, options):
        ran.append(name)
        if broken[name] is not None:
            raise broken[name]
        return Results(name, f"About {name}", machine, [], {})

    fake = {name: lambda options, name=name: benchmark(name, options) for name in broken}
    monkeypatch.setattr(run_all, "BENCHMARKS", fake)
    assert run_all.run_all(Options(tmp_path)) == ["one: ZeroDivisionError: oh", "three: no"]
    assert "About two" in (tmp_path / "RESULTS.md").read_text()
    broken["one"] = None
    assert run_all.run_all(Options(tmp_path)) == ["three: no"]
    assert ran == ["one", "two", "three", "one", "three"]
    assert "two: has results already; --again measures anew" in capsys.readouterr().err
    run_all.run_all(Options(tmp_path), names=["two"], again=True)
    run_all.run_all(Options(tmp_path, quick=True), names=["two"])  # of other sizes
    assert ran[5:] == ["two", "two"]
    assert "About one" in (tmp_path / "RESULTS.md").read_text()


def test_some_benchmarks_can_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run_all", str(tmp_path), "--only", "networks,nothing"])
    with pytest.raises(SystemExit):
        run_all.main()
    assert "no benchmark is called 'nothing'" in capsys.readouterr().err


def test_a_network_that_fails_stands_in_the_table(tmp_path, monkeypatch):
    def fails(one, other, repeats):
        raise BackendError("memory is full")

    monkeypatch.setattr(networks, "compare", fails)
    results = networks.run(Options(tmp_path, quick=True))
    assert results.failures[0] == "gpen 32 px, random, cpu, batch 2: memory is full"
    assert {len(row) for row in results.tables[0].rows} == {len(networks.HEADINGS)}
    written = write_results(results, Options(tmp_path))
    assert "**Not measured:** gpen 32 px" in written[1].read_text()


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_engines_are_measured_or_said_to_be_missing(here, tmp_path, monkeypatch, engine):
    monkeypatch.setattr(engines, "ENGINES", (engine,))
    results = engines.run(Options(tmp_path, quick=True))
    (row,) = results.tables[0].rows
    assert len(row) == len(engines.HEADINGS)
    assert "facerestore-engines-" not in json.dumps(results.facts, default=str)  # no folder of this machine
    try:
        check_packages(engine)
    except BackendError:
        assert row[1] == "not installed"
    else:
        assert float(row[2]) < 1e-3


def test_a_command_is_started_and_measured_alone(monkeypatch):
    taken, size = start.once("nothing", [sys.executable, "-c", "pass"])
    assert 0 < taken < 30
    assert size is None or size < 10**8  # not what this process has in memory
    with pytest.raises(BackendError, match="'wrong' ended with code 3: oh"):
        start.once("wrong", [sys.executable, "-c", "import sys; sys.stderr.write('oh'); sys.exit(3)"])


def test_a_busy_machine_stands_in_the_results(tmp_path):
    machine = Machine("chip", 2, "system", "3.11", "2.15", "AVX2", None, 99.0)
    written = write_results(Results("n", "N", machine, [], {}, others=0.9), Options(tmp_path))
    assert "the machine is busy" in json.loads(written[0].read_text())["warnings"][0]
    assert "**Careful:" in written[1].read_text()


def test_a_job_times_its_call(monkeypatch):
    monkeypatch.setattr(common.time, "perf_counter", Clock(0.5))
    calls: list[int] = []
    run = TimedJob(lambda: calls.append(1)).run()
    assert calls == [1]
    assert run.seconds == 0.5


def test_the_command_line_says_what_is_wrong(monkeypatch, capsys, tmp_path):
    def fails(options):
        raise ConfigError(f"threads is {options.threads}")

    monkeypatch.setattr("sys.argv", ["networks", str(tmp_path), "--quick", "--threads", "3"])
    assert common.main(fails, "d") == 1
    assert capsys.readouterr().err == "error: threads is 3\n"


def test_anchors_made_in_a_loop_are_those_of_the_detector():
    assert np.allclose(anchors_in_a_loop(40, 72), anchors(40, 72, FACEXLIB_MIN_SIZES))


def test_of_overlapping_boxes_the_best_stays():
    boxes = np.array([[0, 0, 1, 1, 0.5], [0.1, 0, 1.1, 1, 0.9], [3, 3, 4, 4, 0.7]])
    assert [box[4] for box in without_overlaps(boxes)] == [0.9, 0.7]


def test_the_published_pipeline_restores_faces_and_leaves_the_rest():
    photo = drawn_photo(0.1, 1)
    program = PublishedPhoto(32, parser_size=32, backbone="mobile0.25")
    before = decode_image(photo.data, name="before").pixels
    after = decode_image(program.restore(photo.data, photo.faces), name="after").pixels
    assert after.shape == before.shape
    left, top, right, bottom = (round(value) for value in photo.faces[0].box)
    difference = np.abs(after.astype(int) - before)
    assert difference[top:bottom, left:right].mean() > 10
    assert difference[:, -8:].mean() < 3  # JPEG's own

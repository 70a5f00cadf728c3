"""The programs in benchmarks/, tiny and in this process: what they write, and that both forms do the same work."""

import json

import numpy as np
import pytest
from bench_fakes import Clock

from benchmarks import batch, common, networks, paste, pipeline, run_all, scaling
from benchmarks.common import Options, Results, TimedJob, write_results
from benchmarks.reference.gpen_photo import PublishedPhoto, anchors_in_a_loop, without_overlaps
from facerestore.bench.machine import Machine
from facerestore.bench.photos import drawn_photo
from facerestore.bench.runner import Runner
from facerestore.bench.tables import Table
from facerestore.detection.anchors import anchors
from facerestore.detection.retinaface import FACEXLIB_MIN_SIZES
from facerestore.errors import ConfigError
from facerestore.io import decode_image
from facerestore.plots import Line, Plot


class LocalJob:
    """A job of this process."""

    def __init__(self, make, *args, label):
        self._job = make(*args)
        self.run, self.peak, self.close = self._job.run, self._job.peak, self._job.close


@pytest.fixture
def here(monkeypatch):
    """Measure in this process."""
    for module in (batch, paste, pipeline):
        monkeypatch.setattr(module, "RemoteJob", LocalJob)
    monkeypatch.setattr(scaling, "spawned", lambda function, *args: function(*args))
    real = networks.compare
    monkeypatch.setattr(
        networks, "compare", lambda one, other, repeats: real(one, other, repeats=repeats, open_runner=Runner)
    )


@pytest.mark.parametrize("name", ["networks", "paste", "batch", "pipeline"])
def test_pairs_are_written_as_json_and_markdown(here, tmp_path, name):
    results = run_all.BENCHMARKS[name](Options(tmp_path, quick=True))
    written = write_results(results, tmp_path)
    assert [path.name for path in written] == [f"{name}.json", f"{name}.md"]
    facts = json.loads(written[0].read_text())
    assert facts["benchmark"] == name
    assert all(pair["times_as_fast"]["median"] > 0 for pair in facts["pairs"])
    assert "| ---: |" in written[1].read_text()
    if name == "networks":
        assert max(max(pair["errors"].values()) for pair in facts["pairs"]) < 1e-4
    if name == "batch":
        assert "byte for byte" in written[1].read_text()
    if name == "paste":
        assert all(pair["largest_difference_levels"] <= 2 for pair in facts["pairs"])


def test_growth_is_drawn_too(here, tmp_path, monkeypatch):
    for name, value in {"QUICK_FACES": (1,), "QUICK_MEGAPIXELS": (0.02, 0.03), "QUICK_PHOTOS": (1,)}.items():
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling, "PHOTO_MEGAPIXELS", 0.03)
    written = write_results(scaling.run(Options(tmp_path, quick=True)), tmp_path)
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
    written = run_all.run_all(Options(tmp_path))
    assert written[-1].name == "RESULTS.md"
    text = written[-1].read_text()
    assert text.index("About one") < text.index("About two")
    assert "![About one](one.png)" in text


def test_a_busy_machine_stands_in_the_results(tmp_path):
    machine = Machine("chip", 2, "system", "3.11", "2.15", "AVX2", None, 99.0)
    written = write_results(Results("n", "N", machine, [], {}, others=0.9), tmp_path)
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

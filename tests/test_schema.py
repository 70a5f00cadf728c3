"""Reports are as their schema says, whatever was done, and each key is described."""

import json
from pathlib import Path

import pytest
from fakes import face_at, photo, pipeline
from PIL import Image

from facerestore.batch import plan_jobs, run_jobs, run_report
from facerestore.batch.report import REPORT_SCHEMA
from facerestore.batch.schema import report_schema
from facerestore.batch.schema_check import faults
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.io import write_image
from facerestore.pipeline.restore import RestorePipeline
from facerestore.pipeline.tasks.damage import Strokes
from facerestore.pipeline.tasks.inpaint import inpainting
from facerestore.types import FoundFaces, Search


def plain(value):
    """Return a value as it comes out of a JSON file."""
    return json.loads(json.dumps(value))


FACE, SECOND = face_at(10, 20), face_at(110, 30)
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "astronaut_degraded.jpg"


def reported(folder, line, **options):
    """Return the report of a run over all that lies in a folder."""
    options = OutputConfig(workers=1, **options)
    plan = plan_jobs([folder], output=folder / "out", options=options)
    return plain(run_report(list(run_jobs(plan.jobs, line, options=options)), line, plan=plan))


def fits(report):
    return faults(report, report_schema()) == []


@pytest.fixture
def album(tmp_path):
    for number, name in enumerate(("a.png", "b.jpg")):
        write_image(tmp_path / name, photo(seed=number))
    return tmp_path


def test_report_of_done_failed_and_skipped_photos_is_as_the_schema_says(album):
    (album / "broken.png").write_bytes(b"no picture")
    (album / "notes.txt").write_text("no photo")
    write_image(album / "out" / "b.jpg", photo())
    report = reported(album, pipeline(FACE, SECOND, config=RestoreConfig(faces="0,7")), skip_existing=True)
    assert faults(report, report_schema()) == []
    assert [one["status"] for one in report["photos"]] == ["done", "skipped", "failed"]


def test_report_without_any_photo_is_as_the_schema_says():
    assert fits(plain(run_report([], None, interrupted=True)))


def test_report_of_pages_is_as_the_schema_says(tmp_path):
    first, second = (Image.fromarray(photo(seed=seed).pixels) for seed in (0, 1))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    report = reported(tmp_path, pipeline(FACE))
    assert faults(report, report_schema()) == []
    assert report["photos"][0]["pages"] == 2


def test_report_of_another_task_is_as_the_schema_says(album):
    line = pipeline(FACE)
    filling = RestorePipeline(
        line.detector, line.restorer, config=line.config, procedure=inpainting(Strokes())
    )
    report = reported(album, filling)
    assert faults(report, report_schema()) == []
    assert report["photos"][0]["filled"]["source"]


def test_report_of_what_was_searched_is_as_the_schema_says(album):
    class Telling:
        name = "telling"

        def detect(self, image):
            search = Search(((200, 120),), 14.0, ((200, 120),), 14.0, best_rejected=0.31)
            return FoundFaces([], search=search)

    line = pipeline()
    report = reported(album, RestorePipeline(Telling(), line.restorer, config=line.config))
    assert faults(report, report_schema()) == []
    assert report["photos"][0]["search"]["best_rejected"] == 0.31
    assert "--detector" in report["photos"][0]["advice"]


def test_report_of_what_ships_is_as_the_printed_schema_says(tmp_path, capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$id"] == f"urn:facerestore:report:{REPORT_SCHEMA}"
    assert main(["enhance", str(EXAMPLE), "-o", str(tmp_path / "a.png"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert faults(report, schema) == []
    assert report["photos"][0]["auto"]["used"]


def test_key_that_is_missing_or_not_described_does_not_fit(album):
    report = reported(album, pipeline(FACE))
    face = report["photos"][0]["faces"][0]
    assert fits(report)
    face["new"] = 1
    assert faults(report, report_schema()) == ["report.photos[0].faces[0] has new, which is not described"]
    del face["new"], face["change"]
    assert faults(report, report_schema()) == ["report.photos[0].faces[0] lacks change"]


def test_what_is_declared_as_a_record_is_described_by_its_fields():
    config = report_schema()["properties"]["config"]["anyOf"][0]["properties"]
    assert config["strength"] == {
        "type": "number",
        "description": "How much of the restored face is mixed in; 0 changes nothing. 1 unless given.",
    }

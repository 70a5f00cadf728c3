"""A directory that is watched: photos are taken when they are at rest, and each once."""

import json
import os
from pathlib import Path

import pytest
from fakes import Brightener, face_at, photo, pipeline

from facerestore.batch import PhotoJob, Watch
from facerestore.batch.watch import INTERVAL_S, SHARE
from facerestore.cli.app import main
from facerestore.cli.photos import execute
from facerestore.cli.request import PhotosRequest
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.io import write_image


class Time:
    """A clock that stands still but for what is waited; at each wait, the next thing happens."""

    def __init__(self, *events):
        self.now, self.events, self.waits = 1e9, list(events), []

    def clock(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        if not self.events:
            raise KeyboardInterrupt
        self.events.pop(0)()

    def written(self, path, data, *, age_s=0.0):
        """Let a file have been written ``age_s`` ago."""
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(data)
        os.utime(path, (self.now - age_s, self.now - age_s))


@pytest.fixture
def png(tmp_path):
    return [write_image(tmp_path / f"{seed}.png", photo(seed=seed)).read_bytes() for seed in range(4)]


def test_a_photo_is_returned_once_it_is_at_rest_and_again_when_it_has_changed(tmp_path):
    time, path = Time(), tmp_path / "a.png"
    watch, job = Watch(clock=time.clock, wait=time.wait), PhotoJob(path, tmp_path / "r.png", Path("a"))
    time.written(path, b"begin")
    assert watch.fresh([job]) == []
    time.now += 1
    time.written(path, b"begin and end")
    assert watch.fresh([job]) == []
    assert watch.fresh([job]) == [job]
    assert watch.fresh([job]) == []
    time.written(path, b"another", age_s=INTERVAL_S)
    assert watch.fresh([job]) == [job]


def test_a_look_that_takes_long_is_repeated_less_often():
    time = Time(lambda: None, lambda: None)
    watch = Watch(clock=time.clock, wait=time.wait)
    watch.pause()
    time.now += 3
    watch.pause()
    assert time.waits == [INTERVAL_S, 3 * SHARE]


def test_photos_that_come_are_restored_and_the_report_has_all_of_them(tmp_path, monkeypatch, png, capsys):
    monkeypatch.chdir(tmp_path)
    restorer, built = Brightener(), []

    def build(config):
        built.append(config)
        return pipeline(face_at(10, 20), config=config, restorer=restorer)

    time = Time(
        lambda: time.written("in/half.png", png[1][:100]),
        lambda: time.written("in/half.png", png[1]),
        lambda: None,
        lambda: time.written("in/sub/b.png", png[2], age_s=9),
        lambda: time.written("in/sub/b.png", png[2], age_s=5),
    )
    time.written("in/a.png", png[0], age_s=60)
    request = PhotosRequest(
        inputs=(Path("in"),),
        output=Path("out"),
        recursive=True,
        report=Path("r.json"),
        watch=True,
        restore=RestoreConfig(),
        files=OutputConfig(workers=1),
        build=build,
        watcher=lambda: Watch(clock=time.clock, wait=time.wait),
    )
    assert execute(request) == 130
    out, err = capsys.readouterr()
    assert len(built) == 1
    assert len(restorer.calls) == 3
    results = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")}
    assert results == {"a.png", "half.png", "sub/b.png"}
    assert "interrupted after 2 of 2 photos" in err  # the one that was touched was done before by then
    assert "1 of 1 done before, nothing to do" in out
    report = json.loads(Path("r.json").read_text())
    assert [(row["output"], row["status"]) for row in report["photos"]] == [
        ("out/a.png", "done"),
        ("out/half.png", "done"),
        ("out/sub/b.png", "done"),
    ]


def test_a_directory_may_be_empty_when_its_watch_begins(tmp_path, monkeypatch, png):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    time = Time(lambda: time.written("in/a.png", png[0], age_s=60))
    request = PhotosRequest(
        inputs=(Path("in"),),
        output=Path("out"),
        watch=True,
        restore=RestoreConfig(),
        files=OutputConfig(),
        build=lambda config: pipeline(face_at(10, 20), config=config),
        watcher=lambda: Watch(clock=time.clock, wait=time.wait),
    )
    assert execute(request) == 130
    assert Path("out/a.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["in"], "--watch goes by the journal of a directory; give one with -o DIR"),
        (
            ["in/a.png", "-o", "out"],
            "--watch is for directories that grow; give one as the input, and no --files-from",
        ),
        (["in", "-o", "out", "--no-journal"], "--watch goes by the journal of a directory"),
    ],
)
def test_what_cannot_be_watched_is_refused(tmp_path, monkeypatch, png, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    Time().written("in/a.png", png[0])
    assert main(["enhance", *words, "--watch"]) == 2
    assert said in capsys.readouterr().err

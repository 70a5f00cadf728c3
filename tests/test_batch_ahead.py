import numpy as np
import pytest
from fakes import face_at, photo, pipeline

from facerestore.batch import STREAM, PhotoJob, Status, run_jobs
from facerestore.batch.ahead import Ahead, may_read
from facerestore.cli import photos
from facerestore.cli.beginning import begun
from facerestore.cli.request import PhotosRequest
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ConfigError, ImageError
from facerestore.io import read_image, write_image


@pytest.fixture
def jobs(tmp_path):
    for seed, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.png", photo(seed=seed))
    return [PhotoJob(tmp_path / f"{n}.png", tmp_path / "out" / f"{n}.png", tmp_path / n) for n in "ab"]


@pytest.fixture
def line():
    return pipeline(face_at(30, 20), config=RestoreConfig(force=True))


def results(jobs, line, *, ahead=None, workers=1):
    outcomes = list(run_jobs(jobs, line, options=OutputConfig(overwrite=True, workers=workers), ahead=ahead))
    return outcomes, [read_image(job.target).pixels for job in jobs]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_photo_that_was_read_ahead_has_the_same_result(jobs, line, workers):
    _, expected = results(jobs, line)
    outcomes, found = results(jobs, line, ahead=Ahead(jobs[0], RestoreConfig()), workers=workers)
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 2
    np.testing.assert_array_equal(found, expected)


def test_what_was_read_ahead_is_given_once_and_only_for_its_job(jobs):
    ahead = Ahead(jobs[0], RestoreConfig())
    assert ahead.take(jobs[1]) is None
    assert ahead.take(jobs[0]).data == jobs[0].source.read_bytes()
    assert ahead.take(jobs[0]) is None


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file"), (b"\xff\xd8\xff", "damaged"), (b"a", "not an")]
)
def test_what_cannot_be_read_is_its_photos_outcome_as_ever(jobs, line, content, said):
    jobs[0].source.unlink()
    if content is not None:
        jobs[0].source.write_bytes(content)
    plain, ahead = (
        list(run_jobs(jobs, line, options=OutputConfig(overwrite=True, workers=1), ahead=ahead))
        for ahead in (None, Ahead(jobs[0], RestoreConfig()))
    )
    assert [o.status for o in ahead] == [o.status for o in plain] == [Status.FAILED, Status.DONE]
    assert str(ahead[0].error) == str(plain[0].error)
    assert said in str(ahead[0].error)


def test_the_limit_on_pixels_holds_ahead_too(jobs):
    with pytest.raises(ImageError, match="over the limit of 100"):
        Ahead(jobs[0], RestoreConfig(max_pixels=100)).take(jobs[0])


def test_what_may_not_be_wanted_is_not_read(jobs):
    assert may_read(jobs[0], overwrite=False)
    assert not may_read(PhotoJob(STREAM, jobs[0].target, jobs[0].name), overwrite=True)
    assert not may_read(PhotoJob(jobs[0].source, STREAM, jobs[0].name), overwrite=True)
    write_image(jobs[0].target, photo())
    assert not may_read(jobs[0], overwrite=False)
    assert may_read(jobs[0], overwrite=True)


# --- what begins beside it -----------------------------------------------------------------------------------------


def request(*inputs, **asked):
    return PhotosRequest(inputs=inputs, restore=RestoreConfig(provider="none"), files=OutputConfig(), **asked)


def test_what_fails_meanwhile_is_told_once_the_photo_is_through(jobs):
    ahead = Ahead(jobs[0], RestoreConfig())
    with pytest.raises(ConfigError, match="'none'"):
        photos._Here(request(), ahead)
    assert ahead._found.done()  # it listens to standard error until then


def test_the_pipeline_of_one_photo_is_begun_and_its_fault_raised_where_it_is_asked_for(jobs):
    one = begun(request(jobs[0].source))
    with pytest.raises(ConfigError, match="'none'"):
        one.build(one.restore)
    several = request(jobs[0].source, jobs[1].source)
    folder, planned = request(jobs[0].source.parent), request(jobs[0].source, dry_run=True)
    for other in (several, folder, planned, request(jobs[0].source, engine="ray")):
        assert begun(other) is other

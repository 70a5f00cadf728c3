"""Several photos at a time: in order, within bounds, and with the results of one after the other."""

import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import Brightener, face_at, photo, pipeline

from facerestore.batch import PhotoJob, PhotoOutcome, Status, do_job, run_jobs
from facerestore.batch.photo import Work
from facerestore.batch.run import Threads, flow
from facerestore.batch.workers import LARGE_FILE_BYTES, PixelBudget, at_a_time, pixels_at_a_time, worker_count
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.engines.cores import available_cores
from facerestore.errors import BackendError, ConfigError, WeightsError
from facerestore.io import encode_image, picture_size, read_encoded, write_image
from facerestore.types import DecodedImage

FACE = face_at(10, 20)
FORCED = RestoreConfig(force=True)


def test_the_number_of_workers_follows_cores_photos_and_the_user():
    assert worker_count(0, photos=10_000, device="cpu") == available_cores()
    assert worker_count(0, photos=100, device="cpu", threads=6) == 6
    assert worker_count(0, photos=100, device="cuda:0", threads=6) == 6
    assert worker_count(0, photos=100, device="cuda:0", threads=64) == 16
    assert worker_count(0, photos=3, device="cpu", threads=6) == 3
    assert worker_count(2, photos=100, device="cpu", threads=6) == 2
    assert worker_count(9, photos=0, device="cpu") == 1


def test_the_budget_lets_one_photo_in_whatever_its_size_and_others_only_beside_it():
    budget = PixelBudget(limit=100)
    entered = threading.Event()

    def second():
        with budget.hold(30):
            entered.set()

    with budget.hold(1000):  # alone, larger than the limit
        pass
    with budget.hold(80):
        other = threading.Thread(target=second)
        other.start()
        assert not entered.wait(0.05)  # 110 in all: it waits
    other.join(10)
    assert entered.is_set()


def test_a_large_photo_has_its_turn_before_small_ones_that_come_behind_it():
    budget, order = PixelBudget(limit=10), []
    waiting = threading.Semaphore(0)

    def come(pixels):
        waiting.release()
        with budget.hold(pixels):
            order.append(pixels)

    threads = []
    with budget.hold(5):
        for number, pixels in enumerate((9, 4), 1):
            threads.append(threading.Thread(target=come, args=(pixels,)))
            threads[-1].start()
            while len(budget._waiting) < number:
                waiting.acquire(timeout=0.001)
        assert order == []  # the small one fits, and waits all the same
    for thread in threads:
        thread.join(10)
    assert order == [9, 4]


def test_so_many_photos_are_worked_on_as_the_memory_holds(tmp_path):
    small, large, none = (tmp_path / name for name in ("small.png", "large.png", "none.png"))
    small.write_bytes(encode_image(DecodedImage(np.zeros((4, 4, 3), np.uint8)), format="PNG"))
    with large.open("wb") as stream:
        stream.truncate(LARGE_FILE_BYTES + 1)
    jobs = {path: PhotoJob(path, tmp_path / "out.png", Path(path.stem)) for path in (small, large, none)}
    assert at_a_time(3, [jobs[small], jobs[none]]) == 3
    assert at_a_time(3, [jobs[small], jobs[large]]) == 1


def test_accelerators_have_more_photos_under_way():
    assert pixels_at_a_time("cpu") == 64_000_000
    assert pixels_at_a_time("cuda:0") == 16 * 12_000_000


def test_a_place_is_given_back_when_its_photo_fails():
    budget = PixelBudget(limit=10)
    with pytest.raises(ValueError, match="lost"), budget.hold(10):
        raise ValueError("lost")
    with budget.hold(10):
        pass


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_the_size_of_a_picture_is_known_without_decoding_it(tmp_path, suffix):
    path = write_image(tmp_path / f"a{suffix}", photo(40, 56))
    data = read_encoded(path)
    assert picture_size(data) == (56, 40)


def make_jobs(tmp_path, count):
    jobs = []
    for index in range(count):
        source = write_image(tmp_path / f"{index}.png", photo(96 + index, 120))
        jobs.append(PhotoJob(source, tmp_path / "out" / f"{index}.png", source.with_suffix("")))
    return jobs


def results(jobs, workers, do=do_job, **options):
    line = pipeline(FACE, config=FORCED)
    return list(run_jobs(jobs, line, options=OutputConfig(workers=workers, **options), do=do))


def done(job):
    return PhotoOutcome(job, Status.DONE, 0.0, report={}, written=(job.target,))


def test_results_of_several_at_a_time_equal_those_of_one_after_the_other(tmp_path):
    jobs = make_jobs(tmp_path, 7)
    alone = results(jobs, 1)
    pictures = [job.target.read_bytes() for job in jobs]
    together = results(jobs, 3, overwrite=True)
    assert [outcome.job for outcome in alone] == jobs
    assert {outcome.job for outcome in together} == set(jobs)
    assert all(outcome.report["restored"] == 1 for outcome in together)
    assert [job.target.read_bytes() for job in jobs] == pictures


def test_a_failing_photo_stops_none_of_the_others(tmp_path):
    jobs = make_jobs(tmp_path, 5)
    jobs[2].source.write_bytes(b"no picture")
    outcomes = results(jobs, 2)
    assert [outcome.status for outcome in outcomes].count(Status.FAILED) == 1
    assert [outcome.job for outcome in outcomes if outcome.error is not None] == [jobs[2]]


def test_photos_really_run_at_a_time(tmp_path):
    jobs = make_jobs(tmp_path, 2)
    both = threading.Barrier(2, timeout=20)

    def met(job, work):
        both.wait()  # breaks unless the other photo is under way too
        return done(job)

    assert {outcome.status for outcome in results(jobs, 2, met)} == {Status.DONE}


def test_unusable_networks_end_the_run(tmp_path):
    jobs = make_jobs(tmp_path, 6)
    begun = []

    def broken(job, work):
        begun.append(job)
        raise WeightsError("no weights")

    with pytest.raises(WeightsError, match="no weights"):
        results(jobs, 2, broken)


def test_photos_that_wait_are_not_begun_when_the_run_is_broken_off(tmp_path):
    jobs = make_jobs(tmp_path, 12)
    begun, go_on = [], threading.Event()

    def slow(job, work):
        begun.append(job)
        if len(begun) > 1:
            go_on.wait(20)
        return done(job)

    outcomes = run_jobs(jobs, pipeline(FACE), options=OutputConfig(workers=2), do=slow)
    next(outcomes)
    threading.Timer(0.05, go_on.set).start()
    outcomes.close()
    assert len(begun) < len(jobs)


def test_a_network_that_fails_is_that_photos_outcome(tmp_path):
    class Failing(Brightener):
        def restore(self, faces, parsing_maps=None):
            raise BackendError("it failed")

    jobs = make_jobs(tmp_path, 3)
    outcomes = list(
        run_jobs(jobs, pipeline(FACE, restorer=Failing(), config=FORCED), options=OutputConfig(workers=2))
    )
    assert [str(outcome.error) for outcome in outcomes] == ["it failed"] * 3


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ConfigError, match="workers is -1; give 0 for automatic"):
        OutputConfig(workers=-1)


def test_an_interrupted_run_tells_what_was_under_way_and_begins_nothing_more(tmp_path):
    jobs = make_jobs(tmp_path, 12)
    both = threading.Barrier(2, timeout=20)
    begun = []

    def interrupted(job, work):
        begun.append(job)
        both.wait()
        if job is jobs[0]:
            raise KeyboardInterrupt  # as Ctrl-C comes while the first is waited for
        return done(job)

    told = []
    with pytest.raises(KeyboardInterrupt):
        told.extend(run_jobs(jobs, pipeline(FACE), options=OutputConfig(workers=2), do=interrupted))
    assert jobs[1] in [outcome.job for outcome in told]
    assert len(begun) < len(jobs)


def test_what_is_through_is_told_though_the_first_photo_is_not(tmp_path):
    jobs = make_jobs(tmp_path, 6)
    go_on = threading.Event()

    def slow_first(job, work):
        if job is jobs[0]:
            assert go_on.wait(20)
        return done(job)

    outcomes = run_jobs(jobs, pipeline(FACE), options=OutputConfig(workers=2), do=slow_first)
    told = [next(outcomes).job for _ in jobs[1:]]
    assert sorted(told, key=jobs.index) == jobs[1:]
    go_on.set()
    assert next(outcomes).job is jobs[0]


def test_no_more_photos_are_looked_at_than_are_under_way(tmp_path):
    many, looked = make_jobs(tmp_path, 1) * 100, []

    def look():
        for number, job in enumerate(many):
            looked.append(number)
            yield job

    hands = Threads(Work(pipeline(FACE), OutputConfig()), 2, lambda job, work: done(job))
    outcomes = flow(look(), [hands], on_stop=lambda under_way: None)
    next(outcomes)
    assert len(looked) <= 2 * 2 + 1
    hands.close()

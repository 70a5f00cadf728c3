"""A driver and workers without Ray: the same results and journal as here, whoever dies; what waits, and for what."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import Brightener, brightening, face_at, photo, pipeline
from written import contents, facts, rows

from facerestore.batch import Asked, Journal, PhotoJob, Status, run_jobs
from facerestore.batch.cluster.crew import RayCrew
from facerestore.batch.cluster.driver import MOST_DEATHS, MOST_TRIES, Driver, LostError
from facerestore.batch.cluster.local import LocalCrew
from facerestore.batch.cluster.worker import Order, Worker
from facerestore.batch.journal_file import FILE
from facerestore.batch.settings import settings_of
from facerestore.batch.standing import own_fault
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import BackendError, ConfigError, ImageError, WeightsError
from facerestore.io import write_image
from facerestore.weights import WeightsStore

LONGEST_S = 60
"""When a test gives up; nothing waits for it."""


def order(*, files=None, build=brightening, **facts):
    files = files or OutputConfig()
    return Order(
        restore=RestoreConfig(),
        files=files,
        build=build,
        **{"settings": settings_of(RestoreConfig(), files, WeightsStore()), **facts},
    )


class ThreadHand:
    """A worker in threads of this process, to which all goes as to another one; ``die`` ends it."""

    def __init__(self, asked, on_answer):
        self._worker, self._on_answer = Worker(asked), on_answer
        self._threads = ThreadPoolExecutor(8)
        self._waited, self.calls = [], []
        self.dead = self.dismissed = False

    def _ask(self, call, *words, **more):
        answer = Future()
        self._waited.append(answer)
        self.calls.append(call.__name__)

        def run():
            try:
                found = pickle.loads(pickle.dumps(call(*pickle.loads(pickle.dumps(words)), **more)))
                self._on_answer(self, call.__name__, words)
            except Exception as error:
                found = error
            with threading.Lock():
                if answer.done():
                    return
                if self.dead:
                    answer.set_exception(LostError())
                elif isinstance(found, Exception):
                    answer.set_exception(found)
                else:
                    answer.set_result(found)

        if self.dead:
            answer.set_exception(LostError())
        else:
            self._threads.submit(run)
        return answer

    def load(self):
        return self._ask(self._worker.load)

    def begin(self, job, *, begun):
        return self._ask(self._worker.begin, job, begun=begun)

    def finish(self, job):
        return self._ask(self._worker.finish, job)

    def die(self):
        self.dead = True
        self._worker.leave()
        for answer in self._waited:
            if not answer.done():
                answer.set_exception(LostError())

    def dismiss(self):
        self.dismissed = True
        self._worker.leave()


class ThreadCrew:
    """Hires workers of this process; ``on_answer`` is told of each answer before it is sent."""

    def __init__(self, asked, places=2, on_answer=lambda hand, call, words: None):
        self.at_a_time, self.places, self.hands = asked.at_a_time, places, []
        self._order, self._on_answer = asked, on_answer

    def hire(self):
        self.hands.append(ThreadHand(self._order, self._on_answer))
        return self.hands[-1]

    def wanted(self, *, hired, working):
        return self.places


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        write_image(f"in/{number}.png", photo(seed=number))
    return [PhotoJob(Path(f"in/{n}.png"), Path(f"out/{n}.png"), Path(str(n))) for n in range(8)]


def journal(folder="out", **asked):
    opened = Journal(Path(folder), Asked(settings={}, **asked))
    opened.begin()
    return opened


def done_here(jobs, folder="here"):
    """Return what a run in this process makes of photos: its files and its journal."""
    own = [replace(job, target=Path(folder, job.target.name)) for job in jobs]
    kept = journal(folder)
    list(run_jobs(own, brightening(), options=OutputConfig(), journal=kept))
    kept.beat()
    kept.close()
    return contents(folder), facts(folder)


def done_by(crew, jobs):
    """Return the outcomes of a run with a journal, in the order of the photos."""
    kept = journal()
    outcomes = list(Driver(crew).run(jobs, journal=kept))
    kept.beat()
    kept.close()
    return sorted(outcomes, key=lambda outcome: jobs.index(outcome.job))


def test_results_and_journal_are_those_of_a_run_here(jobs):
    Path("in/3.png").write_bytes(b"no picture")
    outcomes = done_by(ThreadCrew(order()), jobs)
    assert [each.status for each in outcomes] == [Status.FAILED if n == 3 else Status.DONE for n in range(8)]
    assert str(outcomes[3].error).startswith("in/3.png: not an image of a known format")
    assert outcomes[0].report["restored"] == 1
    assert outcomes[0].written == (Path("out/0.png"),)
    assert (contents("out"), facts("out")) == done_here(jobs)


@pytest.mark.parametrize("moment", ["begin", "finish"])
def test_what_a_worker_had_that_dies_is_done_once_by_another(jobs, moment):
    deaths = []

    def on_answer(hand, call, words):
        if call == moment and words[0].name == Path("2") and not deaths:
            deaths.append(hand)
            hand.die()

    crew = ThreadCrew(order(), on_answer=on_answer)
    outcomes = done_by(crew, jobs)
    assert len(deaths) == 1
    assert len(crew.hands) == 3
    assert [(each.status, each.written) for each in outcomes] == [
        (Status.DONE, (job.target,)) for job in jobs
    ]
    assert outcomes[2].report["restored"] == 1
    assert (contents("out"), facts("out")) == done_here(jobs)


def test_a_worker_whose_driver_is_gone_writes_nothing_and_keeps_no_thread(jobs):
    worker = Worker(order())
    worker.load()
    assert worker.begin(jobs[0], begun=False).intent is not None  # its file waits to be named
    under_way = worker._under_way[jobs[0]].outcome
    worker.leave()
    assert "the driver is gone" in str(under_way.result(timeout=LONGEST_S).error)
    assert list(Path("out").rglob("*")) == []


def test_a_photo_that_costs_workers_is_given_up_and_those_beside_it_are_not(jobs):
    def on_answer(hand, call, words):
        if call == "begin" and words[0].name == Path("5"):
            hand.die()

    crew = ThreadCrew(order(), on_answer=on_answer)
    outcomes = done_by(crew, jobs)
    assert [each.status for each in outcomes] == [Status.FAILED if n == 5 else Status.DONE for n in range(8)]
    assert f"in/5.png: {MOST_TRIES} workers died with it" in str(outcomes[5].error)
    assert [state for _, state in rows("out")] == ["open" if n == 5 else "done" for n in range(8)]
    assert [path.name for path in Path("out").glob("5*")] == []


def test_a_huge_photo_holds_nobody_up_and_what_is_under_way_is_bounded(jobs):
    others = threading.Semaphore(0)
    write_image("in/0.png", photo(240, 400), overwrite=True)

    class Waiting(Brightener):
        def restore(self, faces, parsing_maps=None):
            assert faces[0].detected.score < 1 or others.acquire(timeout=LONGEST_S)
            return super().restore(faces, parsing_maps)

    class Scoring:
        name = "scoring"

        def detect(self, image):
            return [face_at(10, 20, score=1.0 if image.shape[0] == 240 else 0.5)]

    def build(config):
        return replace(pipeline(config=config, restorer=Waiting()), detector=Scoring())

    crew, came = ThreadCrew(order(build=build)), []
    for outcome in Driver(crew).run(jobs):
        came.append(outcome.job)
        begun = sum(hand.calls.count("begin") for hand in crew.hands)
        assert begun - len(came) <= len(crew.hands) * crew.at_a_time
        if len(came) == len(jobs) - 1:
            others.release()
    assert came[-1] == jobs[0]


def test_workers_are_hired_as_places_come_and_let_go_when_few_photos_are_left(jobs):
    crew = ThreadCrew(order(), places=1)
    flow = Driver(crew, look_s=0).run(jobs)
    next(flow)
    crew.places = 3
    assert len(list(flow)) == 7
    assert len(crew.hands) == 3
    assert any(hand.dismissed for hand in crew.hands)


def test_whose_fault_an_error_is_survives_the_way(jobs):
    def build(config):
        return pipeline(face_at(10, 20), config=config, restorer=Brightener(fails=True))

    outcomes = done_by(ThreadCrew(order(build=build)), jobs[:2])
    assert all(isinstance(each.error, BackendError) and not own_fault(each.error) for each in outcomes)
    Path("in/4.png").unlink()
    (missing,) = done_by(ThreadCrew(order()), jobs[4:5])
    assert isinstance(missing.error, ImageError)
    assert isinstance(missing.error.__cause__, FileNotFoundError)
    assert not own_fault(missing.error)


def test_what_another_run_has_or_what_is_there_is_left(jobs):
    write_image("out/1.png", photo(seed=1))
    first = journal()
    first.claim(jobs[0])
    kept = Journal(Path("out"), Asked(settings={}), pid=1)
    kept.begin()
    crew = ThreadCrew(order(files=OutputConfig(skip_existing=True)))
    outcomes = {each.job: each.status for each in Driver(crew).run(jobs[:3], journal=kept)}
    assert outcomes == {jobs[0]: Status.LEFT, jobs[1]: Status.SKIPPED, jobs[2]: Status.DONE}
    kept.close()
    first.close()
    assert [name for name, _ in rows("out")] == [b"0.png", b"2.png"]


def test_broken_off_it_finishes_what_is_under_way_and_begins_nothing(jobs):
    told = []
    flow = Driver(ThreadCrew(order(), places=1)).run(jobs, on_stop=told.append)
    done = [next(flow).job]
    done.append(flow.throw(KeyboardInterrupt()).job)
    with pytest.raises(KeyboardInterrupt):
        done.extend(outcome.job for outcome in flow)
    assert told[0] in (1, 2)
    assert len(done) == 1 + told[0]
    assert set(contents("out")) == {job.target.name for job in done}


def test_machines_that_would_restore_otherwise_are_refused(jobs, tmp_path):
    for other, error, said in [
        (
            order(settings={"networks": ["other 1"]}),
            WeightsError,
            r"would restore otherwise than the driver: networks",
        ),
        (order(version="0.0.1"), ConfigError, r"and the driver 0\.0\.1; install one version on all"),
        (
            order(seen=(tmp_path / "none/mark",)),
            ConfigError,
            r"does not see '.*none'; give a disk that all share",
        ),
    ]:
        with pytest.raises(error, match=said):
            Driver(ThreadCrew(other)).load()


class FakeRay:
    """What `RayCrew` asks of Ray, with machines of some CPUs and GPUs."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause):
                self.cause = cause

    def __init__(self, *machines):
        self.machines, self.made, self.killed, self.answers = machines, [], [], {}

    def nodes(self):
        return [{"Alive": True, "Resources": each} for each in self.machines] + [
            {"Alive": False, "Resources": {}}
        ]

    def cluster_resources(self):
        return {name: sum(each.get(name, 0) for each in self.machines) for name in ("CPU", "GPU")}

    def remote(self, kind):
        return self

    def options(self, **options):
        self.made.append(options)
        return type("Made", (), {"remote": lambda _, order: FakeActor(self, order)})()

    def kill(self, actor):
        self.killed.append(actor)


class FakeActor:
    def __init__(self, ray, asked):
        self.order = asked
        self.load = type("Method", (), {"remote": lambda _: self})()
        self._ray = ray

    def future(self):
        return self._ray.answers["load"]


def answered(found):
    future = Future()
    (future.set_exception if isinstance(found, Exception) else future.set_result)(found)
    return future


def test_a_crew_has_a_worker_for_each_cpu_or_gpu_and_more_where_a_cluster_grows():
    ray = FakeRay({"CPU": 4.0}, {"CPU": 2.5})
    assert RayCrew(ray, order()).wanted(hired=0, working=0) == 6
    assert RayCrew(ray, order(), limit=5).wanted(hired=0, working=0) == 5
    assert [RayCrew(ray, order(), grows=True).wanted(hired=n, working=n) for n in (0, 6)] == [6, 12]
    three = replace(order(), restore=RestoreConfig(threads=3))
    assert RayCrew(ray, three).wanted(hired=0, working=0) == 1
    gpus = FakeRay({"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0})
    assert RayCrew(gpus, order()).wanted(hired=0, working=0) == 2
    assert (
        RayCrew(gpus, replace(order(), restore=RestoreConfig(device="cpu"))).wanted(hired=0, working=0) == 24
    )


def test_a_worker_has_its_own_cpus_and_the_device_that_all_have():
    for machine, cpus, gpus, device in [
        ({"CPU": 2.0}, 1, 0, "cpu"),
        ({"CPU": 2.0, "GPU": 1.0}, 1, 1, "cuda"),
    ]:
        ray = FakeRay(machine)
        ray.answers["load"] = answered(1)
        hand = RayCrew(ray, order()).hire()
        assert (ray.made[0]["num_cpus"], ray.made[0]["num_gpus"]) == (cpus, gpus)
        assert hand.load().result() == 1
        assert hand._actor.order.restore.device == device
        assert hand._actor.order.restore.threads == 1
        hand.dismiss()
        assert ray.killed == [hand._actor]


def test_errors_of_ray_are_told_as_ours():
    ray = FakeRay({"CPU": 1.0})
    hand = RayCrew(ray, order()).hire()
    for raised, kind, said in [
        (ray.exceptions.RayError("the node died"), LostError, "the node died"),
        (ray.exceptions.RayTaskError(WeightsError("none here")), WeightsError, "none here"),
        (ray.exceptions.RayTaskError(ValueError("odd")), BackendError, "ValueError: odd"),
    ]:
        ray.answers["load"] = answered(raised)
        with pytest.raises(kind, match=said):
            hand.load().result()


def test_without_ray_the_extra_is_named(jobs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["enhance", "in", "-o", "out", "--engine", "ray"]) == 2
    assert "--engine ray needs the package ray" in (said := capsys.readouterr().err)
    assert "run: pip install 'facerestore[ray]'" in said


def test_what_does_not_go_with_an_engine_is_refused(jobs, capsys):
    for words, said in [
        (["--engine", "cloud"], "--engine is 'cloud'; give local or ray"),
        (["--address", "head:6379"], "--address is 'head:6379', which --engine ray joins"),
        (["--engine", "ray", "--report", "a.txt"], "needs a name that ends in .json"),
    ]:
        assert main(["enhance", "in", "-o", "out", *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["enhance", "in/0.png", "-o", "-", "--engine", "ray"]) == 2
    assert "--engine ray is for files" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="the examples are for bash")
def test_the_tasks_of_the_slurm_example_do_all_photos_each_once(jobs, tmp_path, monkeypatch, use_pipeline):
    use_pipeline(lambda config, **_: brightening(config))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "facerestore"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    script = Path(__file__).parent.parent / "examples" / "cluster" / "slurm_array.sh"
    done = 0
    for task in (1, 2):
        told = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
        path = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
        given = ["bash", script, "in", "out", "journals"]
        ran = subprocess.run(given, env=told | path, capture_output=True, text=True, check=True)
        assert main(ran.stdout.splitlines()) == 0
        assert Path(f"journals/{task}-of-2/{FILE}").exists()
        assert len(contents("out")) > done
        done = len(contents("out"))
    assert done == len(jobs)
    assert not Path("out", FILE).exists()


def test_workers_that_die_while_they_load_end_the_run(jobs):
    crew = ThreadCrew(order(), on_answer=lambda hand, call, words: hand.die())
    with pytest.raises(
        BackendError, match=rf"{MOST_DEATHS} workers died one after the other while they loaded"
    ):
        list(Driver(crew).run(jobs))
    assert len(crew.hands) >= MOST_DEATHS


# Processes of this machine.


def test_two_processes_share_plan_and_journal_and_make_the_files_of_one(jobs):
    list(run_jobs(jobs, brightening(RestoreConfig()), options=OutputConfig(workers=1)))
    expected = [job.target.read_bytes() for job in jobs]
    for job in jobs:
        job.target.unlink()
    crew = LocalCrew(order(at_a_time=2), ["cpu", "cpu"])
    driver, kept = Driver(crew), journal()
    try:
        assert driver.load().facts.device == "cpu"
        outcomes = list(driver.run(jobs, journal=kept))
        assert kept.look(jobs).done == jobs
    finally:
        driver.dismiss()
        kept.close()
    assert {outcome.status for outcome in outcomes} == {Status.DONE}
    assert [job.target.read_bytes() for job in jobs] == expected


def slow(config):
    """Return a pipeline whose first photo in each process waits for a file, so that there is time to kill it."""
    line = brightening(config)
    begun = Path(f"begun-{os.getpid()}")

    class Slow(Brightener):
        def restore(self, faces, parsing_maps=None):
            begun.touch()
            while not Path("go on").exists():
                threading.Event().wait(0.01)
            return super().restore(faces, parsing_maps)

    return replace(line, restorer=Slow())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_process_had_another_one_does(jobs):
    crew = LocalCrew(order(at_a_time=1, build=slow), ["cpu", "cpu"])
    driver, kept = Driver(crew), journal()

    def kill_one():
        while len(found := list(Path.cwd().glob("begun-*"))) < 2:
            threading.Event().wait(0.01)
        os.kill(int(found[0].name.removeprefix("begun-")), signal.SIGKILL)
        Path("go on").touch()

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        outcomes = list(driver.run(jobs, journal=kept))
    finally:
        driver.dismiss()
        kept.close()
    killer.join(LONGEST_S)
    assert sorted(outcome.job.name.name for outcome in outcomes) == [str(number) for number in range(8)]
    assert {outcome.status for outcome in outcomes} == {Status.DONE}
    assert all(job.target.exists() for job in jobs)


def test_several_devices_are_a_process_each(jobs, capsys):
    assert main(["enhance", "in", "-o", "out", "--device", "cpu,cpu", "--report", "r.json", "--offline"]) == 0
    assert "8 photos: " in capsys.readouterr().out
    assert main(["enhance", "in", "-o", "plain", "--device", "cpu", "--offline"]) == 0
    assert [job.target.read_bytes() for job in jobs] == [
        Path("plain", job.target.name).read_bytes() for job in jobs
    ]
    assert json.loads(Path("r.json").read_text())["config"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--device", "cpu,", "-o", "out"],
            "--device is 'cpu,'; name one device, or of 'enhance' without --engine ray",
        ),
        (
            ["--device", "cpu,cpu", "-o", "-"],
            "one photo has one device; name one for standard input and output",
        ),
        (["--device", "cpu,gpu", "-o", "out"], "unknown device 'gpu'; choose one of auto, cpu"),
    ],
)
def test_devices_that_cannot_share_are_told(jobs, capsys, words, said):
    assert main(["enhance", "in/0.png", *words]) in (1, 2)
    assert said in capsys.readouterr().err

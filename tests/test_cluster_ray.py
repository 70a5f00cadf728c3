"""Workers on Ray: the bytes and the journal of a run here, with a machine killed and one come."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import brightening, photo, trial_photo
from written import contents, facts

from facerestore.batch import Asked, Journal, PhotoJob, Status, run_jobs, settings_of
from facerestore.batch.cluster.crew import RayCrew, joined
from facerestore.batch.cluster.driver import Driver
from facerestore.batch.cluster.worker import Order
from facerestore.cli.app import main
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.io import write_image
from facerestore.weights import WeightsStore

pytest.importorskip("ray", reason="ray is not installed (extra 'ray')")

HERE = Path(__file__).parent

MACHINE = {"object_store_memory": 80 << 20}
"""With little more memory than the least that Ray takes."""

PHOTOS = 8

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Workers import the fakes, and facerestore where it is not installed.
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parent))))
        yield


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(PHOTOS):
        write_image(f"in/{number}.png", photo(seed=number))
    return tmp_path


@pytest.fixture
def machines():
    """Yield a cluster of a head without places and two machines with one each; skip where none can be started."""
    from ray.cluster_utils import Cluster

    cluster = None
    try:
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **MACHINE},
        )
        nodes = [cluster.add_node(num_cpus=1, **MACHINE) for _ in range(2)]
    except Exception as error:  # bare ones, where the machine is too busy
        if cluster is not None:
            cluster.shutdown()
        pytest.skip(f"Ray cannot be started here: {error}")
    yield cluster, nodes
    cluster.shutdown()


class Counting(RayCrew):
    """Counts the workers that it hires, and those that were lost."""

    hired = 0

    def hire(self):
        self.hired += 1
        return super().hire()


def done_by(jobs, journal, run):
    """Return the outcomes of a run with a journal, which is closed then."""
    journal.begin()
    outcomes = list(run(jobs, journal))
    journal.beat()
    journal.close()
    return outcomes


def test_a_machine_dies_and_one_comes_and_nothing_is_lost_or_done_twice(album, machines):
    cluster, nodes = machines
    settings = settings_of(RestoreConfig(), OutputConfig(), WeightsStore())
    jobs = [PhotoJob(Path(f"in/{n}.png"), Path(f"out/{n}.png"), Path(str(n))) for n in range(PHOTOS)]
    ray = joined(cluster.address)
    crew = Counting(
        ray,
        Order(
            restore=RestoreConfig(), files=OutputConfig(), settings=settings, folder=album, build=brightening
        ),
    )

    def with_a_death(jobs, journal):
        driver = Driver(crew)
        for number, outcome in enumerate(driver.run(jobs, journal=journal)):
            yield outcome
            if number == 1:
                cluster.remove_node(nodes[0], allow_graceful=False)
                cluster.add_node(num_cpus=1, **MACHINE)
        driver.dismiss()

    try:
        outcomes = done_by(jobs, Journal(Path("out"), Asked(settings={})), with_a_death)
    finally:
        ray.shutdown()
    assert {each.job: each.status for each in outcomes} == dict.fromkeys(jobs, Status.DONE)
    assert len(outcomes) == PHOTOS
    here = [replace(job, target=Path("here", job.target.name)) for job in jobs]
    options = OutputConfig()
    done_by(
        here,
        Journal(Path("here"), Asked(settings={})),
        lambda jobs, journal: run_jobs(jobs, brightening(), options=options, journal=journal),
    )
    assert contents("out") == contents("here")
    assert facts("out") == facts("here")
    assert crew.hired >= 3


def test_a_cluster_of_this_machine_does_what_a_run_here_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_image(f"in/{number}.png", trial_photo(number, 256))
    before = signal.getsignal(signal.SIGTERM)
    code = main(["enhance", "in", "-o", "out", "--engine", "ray", "--workers", "1"])
    said = capsys.readouterr()
    if "cannot be started here" in said.err:
        pytest.skip(f"Ray cannot be started here: {said.err}")
    assert code == 0
    assert "3 photos: 3 faces" in said.out
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert main(["enhance", "in", "-o", "here", "-q"]) == 0
    assert contents("out") == contents("here")
    assert facts("out") == facts("here")
    assert main(["enhance", "in", "-o", "out", "--engine", "ray"]) == 0
    assert "nothing to do" in capsys.readouterr().out

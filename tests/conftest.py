"""Fixtures that every test may use."""

import os
import signal
import socket
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# For benchmarks/, which is not installed; last, so that facerestore is still the one that is.
sys.path.append(str(REPOSITORY))

# The networks of the tests are small: a second thread waits more than it works. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start and send one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


BUNDLED_DETECTOR = {
    "finder.five-point": REPOSITORY / "weights/finder_five_point.safetensors",
    "landmarks.five-point": REPOSITORY / "weights/landmarks_five_point.safetensors",
}
YUNET = "weights/face_detection_yunet_dynamic.onnx"
MOBILE = "weights/retinaface_mobile0.25_face-detector-1mb.pth"

# What `-m fast` runs: a file or more for each room, chosen by measured durations. Without the rest, which is not even
# imported then, it ends within a minute on two cores.
# fmt: off
FAST = {
    "api", "archs_gpen", "archs_ops", "archs_parsing", "archs_psfr", "assembly", "auto",
    "backends_codeformer", "backends_exported", "batch", "bench_busy", "checkpoint",
    "cli_parse", "cli_terminal", "config", "degradation", "detection", "device", "diagnosis",
    "evaluation_metrics", "face_parts", "imaging_alignment", "imaging_blending",
    "io_formats", "io_turned", "parsing", "parsing_choice", "pipeline",
    "quality", "training_adversarial", "training_losses", "training_plan", "weights",
}
# fmt: on


def is_fast(path: Path) -> bool:
    """Say whether a file is one of the fast tests."""
    return path.stem.removeprefix("test_") in FAST


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep the other files from being imported where the fast ones alone are asked for."""
    others = collection_path.suffix == ".py" and not is_fast(collection_path)
    return True if config.option.markexpr == "fast" and others else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests."""
    for item in items:
        if is_fast(item.path):
            item.add_marker("fast")


def shared_root() -> Path:
    """Return the folder of shared fixtures: FACERESTORE_SHARED, or ``../shared`` beside the repository."""
    return Path(os.environ.get("FACERESTORE_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared():
    """Return a function from a relative path to a shared fixture; the test skips, visibly, where it is absent."""

    def locate(relative: str) -> Path:
        path = shared_root() / relative
        if not path.exists():
            pytest.skip(
                f"shared fixture {relative} is absent; set FACERESTORE_SHARED to the folder that holds it"
            )
        return path

    return locate


@pytest.fixture(scope="session")
def embedded():
    """Return the detector that comes with facerestore."""
    from facerestore.detection import create_detector

    return create_detector("embedded", weights_for=BUNDLED_DETECTOR.__getitem__)


@pytest.fixture(scope="session")
def yunet(shared):
    """Return YuNet with its published weights."""
    from facerestore.detection import create_detector

    return create_detector("yunet", weights_for=lambda name: shared(YUNET))


@pytest.fixture(scope="session")
def mobile(shared):
    """Return the small RetinaFace with its published weights."""
    from facerestore.detection.retinaface import CONFIGS, RetinaFaceDetector

    return RetinaFaceDetector(shared(MOBILE), CONFIGS["retinaface.mobile0.25-1mb"])


@pytest.fixture(params=["embedded", "yunet", "mobile"])
def detector(request):
    """Return each of the three detectors."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")  # no longer: while it is open, its thread has a loop of asyncio running
def browser():
    """Return Chromium, for modules that import ``browsing``."""
    from browsing import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def av():
    """Return PyAV; tests of videos skip where it is absent."""
    return pytest.importorskip("av", reason="videos need PyAV: pip install 'facerestore[video]'")


@pytest.fixture
def use_pipeline(monkeypatch):
    """Return a function after which commands and `restore` build their pipeline with what it is given."""
    from facerestore.pipeline import build

    return lambda make: monkeypatch.setattr(build, "build_pipeline", make)


@pytest.fixture
def use_detector(monkeypatch):
    """Return a function after which commands that only detect do so with the detector it is given."""
    from facerestore.pipeline import load

    return lambda detector: monkeypatch.setattr(load, "create_detector", lambda *_, **__: detector)


@pytest.fixture
def store(tmp_path):
    """Return a store of its own, with the real catalog and nothing installed but what is bundled."""
    from facerestore.weights import WeightsStore

    return WeightsStore(tmp_path / "home", offline=True)


@pytest.fixture
def here(monkeypatch):
    """Measure in this process."""
    from facerestore.bench import request
    from facerestore.bench.runner import Runner

    monkeypatch.setattr(request, "remote_runner", Runner)
    monkeypatch.setattr(request, "spawned", lambda function, *args: function(*args))


@pytest.fixture
def no_network(monkeypatch):
    """Fail whatever asks for the network."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def install_package(tmp_path_factory, monkeypatch):
    """Return a function that installs a package: its name, group to name to location, and file name to source."""
    before = set(sys.modules)

    def install(package, groups, files=None, version="1.2"):
        folder = tmp_path_factory.mktemp(package)
        info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [
            line
            for group, points in groups.items()
            for line in (f"[{group}]", *(f"{name} = {location}" for name, location in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for name, source in (files or {}).items():
            (folder / name).write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(folder)
        installed.extend(Path(name).stem for name in files or {})
        return folder

    installed: list[str] = []
    yield install
    for name in set(installed) - before:
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _isolated_home(tmp_path_factory, monkeypatch):
    """Keep tests out of the user's own weights, configuration and network."""
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("FACERESTORE_OFFLINE", "FACERESTORE_MIRROR"):
        monkeypatch.delenv(name, raising=False)

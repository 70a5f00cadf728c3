"""Fixtures that every test may use."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# For benchmarks/, which is not installed; last, so that facerestore is still the one that is.
sys.path.append(str(REPOSITORY))


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


@pytest.fixture(autouse=True)
def _isolated_home(tmp_path_factory, monkeypatch):
    """Keep tests out of the user's own weights, configuration and network."""
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("FACERESTORE_OFFLINE", "FACERESTORE_MIRROR"):
        monkeypatch.delenv(name, raising=False)

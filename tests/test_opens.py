"""A file of weights is looked into once: what is chosen, recognised and headed comes from that one look.

Where it holds a graph, its tensors are then mapped, which opens it a second time.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from facerestore.backends import backend_class
from facerestore.config import RestoreConfig
from facerestore.pipeline.build import build_pipeline
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import save_state_dict

_counting: list[Counter[str]] = []


def _hear(event: str, args: tuple[object, ...]) -> None:
    if _counting and event == "open" and isinstance(args[0], str | bytes | Path):
        _counting[-1][Path(str(args[0])).name] += 1


sys.addaudithook(_hear)  # stays for the life of the process, and hears nothing outside of these tests


@pytest.fixture
def opens():
    """Return a count of the files that Python opens during the test, by name."""
    _counting.append(Counter())
    yield _counting[-1]
    _counting.pop()


def weights_in(opens):
    return {name: times for name, times in opens.items() if name.endswith((".safetensors", ".pth"))}


def build(tmp_path, **options):
    return build_pipeline(RestoreConfig(device="cpu", **options), store=WeightsStore(tmp_path / "home"))


MAPPED = 2  # times that a file with a graph is opened
BUNDLED_DETECTOR = {"finder_five_point.safetensors": MAPPED, "landmarks_five_point.safetensors": MAPPED}
BUNDLED = {**BUNDLED_DETECTOR, "parse_clean_256.safetensors": MAPPED}


@pytest.mark.parametrize("backend", ["lite", "psfr"])
def test_a_file_of_ones_own_is_opened_once(tmp_path, opens, backend):
    save_state_dict(tmp_path / "mine.safetensors", backend_class(backend).example_state_dict())
    build(tmp_path, weights=str(tmp_path / "mine.safetensors"), parser="landmarks")
    assert weights_in(opens) == {"mine.safetensors": 1, **BUNDLED_DETECTOR}


def test_torch_opens_its_own_format_a_second_time(tmp_path, opens):
    torch.save(backend_class("lite").example_state_dict(), tmp_path / "mine.pth")
    opens.clear()
    build(tmp_path, weights=str(tmp_path / "mine.pth"))
    assert weights_in(opens) == {"mine.pth": 2, **BUNDLED}


def test_what_is_bundled_is_looked_into_once(tmp_path, opens):
    line = build(tmp_path, weights="lite.clean-256")
    assert line.restorer.name == "lite"
    assert weights_in(opens) == {"lite_clean_256.safetensors": MAPPED, **BUNDLED}

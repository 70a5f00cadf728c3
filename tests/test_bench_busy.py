"""How busy a GPU is said to be, and the program that measures it, without a GPU."""

import itertools
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from benchmarks import batch, busy, networks
from benchmarks.common import Options
from benchmarks.gpu_watch import BusyWatch, driver_of, smi_share
from facerestore.bench.sides import Side, parse_against
from facerestore.errors import ConfigError


def test_the_share_is_the_mean_of_what_the_driver_says_while_the_block_runs():
    answers, asked = itertools.chain([0.5, 1.0], itertools.repeat(0.75)), threading.Event()
    count = itertools.count(1)

    def ask():
        if next(count) == 4:
            asked.set()
        return next(answers)

    with BusyWatch(ask, every=0.001) as watch:
        assert asked.wait(20)
    assert watch.share == 0.75


def test_a_driver_that_does_not_answer_is_told_and_not_taken_for_idle():
    def broken():
        raise RuntimeError("driver is gone")

    with BusyWatch(broken, every=0.001) as watch:
        watch._thread.join(20)
    with pytest.raises(ConfigError, match="cannot be told: driver is gone"):
        _ = watch.share
    with BusyWatch(lambda: 1.0, every=30) as watch:
        pass
    with pytest.raises(ConfigError, match="over before the first answer"):
        _ = watch.share


def test_the_driver_is_asked_through_its_package_or_else_its_program(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.utilization", lambda device: 80)
    assert driver_of(cuda)() == 0.8

    def no_package(device):
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr("torch.cuda.utilization", no_package)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid="12-ab"))
    assert driver_of(cuda, smi={"GPU-12-ab": 0.9}.__getitem__)() == 0.9
    with pytest.raises(ConfigError, match="only CUDA devices tell"):
        driver_of(torch.device("cpu"))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_what_the_program_says_is_read(tmp_path):
    program = tmp_path / "smi"
    program.write_text('#!/bin/sh\n[ "$1 $2" = "-i GPU-1" ] && echo 93\n')
    program.chmod(0o755)
    assert smi_share("GPU-1", program=str(program)) == 0.93
    for broken in ("GPU-2", "GPU-1"):
        with pytest.raises(ConfigError, match=f"does not tell how busy {broken} is"):
            smi_share(broken, program=str(tmp_path / "absent") if broken == "GPU-1" else str(program))


def test_photos_are_worked_off_in_both_ways_and_the_share_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(busy, "driver_of", lambda device: lambda: 0.87)
    monkeypatch.setattr(busy, "BusyWatch", lambda ask: BusyWatch(ask, every=0.001))
    results = busy.run(Options(tmp_path, quick=True))
    assert [own["photos"] for own in results.facts["passes"]] == [1, 4]
    assert [own["precision"] for own in results.facts["passes"]] == ["float32", "float32"]
    assert [row[-2] for row in results.tables[0].rows] == ["87%", "87%"]
    assert results.failures == []


def test_the_batch_on_another_device_is_this_program(tmp_path, monkeypatch):
    monkeypatch.setattr(busy, "run", lambda options: options.device)
    assert batch.run(Options(tmp_path, device="cuda")) == "cuda"


def test_where_nothing_tells_how_busy_the_gpu_is_the_rest_is_measured(tmp_path):
    results = busy.run(Options(tmp_path, quick=True))
    assert results.tables[0].rows[1][-2] == "-"
    assert "only CUDA devices" in results.failures[0]


def test_cases_for_accelerators_name_sides_that_exist(tmp_path):
    for case in networks.ACCELERATOR_CASES:
        side = case.side(Options(tmp_path, device="cuda"))
        other = parse_against(case.against, side)
        assert isinstance(other, Side)
        assert (side.batch, side.device, other.device) == (8, "cuda", "cuda")
        assert other.precision in ("float32", "tf32")

"""The engine: interruptions, processes, accumulation, divergence and full disks change nothing that they must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_recipe
from accelerate import Accelerator
from safetensors.torch import load_file
from toy_recipe import Notebook, ToyRecipe, train_toy

from facerestore.errors import CheckpointError, ConfigError, FaceRestoreError
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.settings import EngineSettings, make_settings, merged
from facerestore.training.engine.state import ExponentialAverage, checkpoints
from facerestore.training.engine.step import rate_factor


def _difference(a: Path, b: Path) -> float:
    """Return the largest difference between the networks of two checkpoints."""
    worst = 0.0
    for name in ("model.safetensors", "model_1.safetensors"):
        one, other = load_file(a / name), load_file(b / name)
        assert one.keys() == other.keys()
        worst = max(worst, *((one[key] - other[key]).abs().max().item() for key in one))
    return worst


def _log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class _StoppedError(Exception):
    pass


class _StopsAt(Notebook):
    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def step(self, record: object) -> None:
        if record["step"] == self._step:  # type: ignore[index]
            raise _StoppedError


@pytest.mark.parametrize("stopped_at", [2, 4, 7])
def test_a_run_that_is_stopped_and_resumed_equals_the_uninterrupted_one_bit_for_bit(
    tmp_path: Path, stopped_at: int
) -> None:
    whole = train_toy(tmp_path / "whole")
    with pytest.raises(_StoppedError):
        train_toy(tmp_path / "broken", listener=_StopsAt(stopped_at))
    resumed = train_toy(tmp_path / "broken")
    assert _difference(whole, resumed) == 0
    for state in ("custom_checkpoint_1.pkl", "custom_checkpoint_2.pkl", "optimizer.bin"):
        one = torch.load(whole / state, weights_only=True)
        other = torch.load(resumed / state, weights_only=True)
        assert str(one) == str(other)
    kept = ("pixel", "adversarial", "discriminator", "psnr")
    logs = [
        [{k: v for k, v in record.items() if k in kept} for record in _log(folder)]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    ]
    assert logs[0] == logs[1]


def test_accumulated_passes_equal_one_large_pass(tmp_path: Path) -> None:
    whole = train_toy(tmp_path / "whole")
    pieces = train_toy(tmp_path / "pieces", {"batch_size": 2, "accumulate": 2})
    assert _difference(whole, pieces) < 1e-5


def test_two_processes_equal_one_of_twice_the_batch(tmp_path: Path) -> None:
    whole = train_toy(tmp_path / "whole")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, toy_recipe.__file__, str(tmp_path / "two"), "2"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert _difference(whole, checkpoints(tmp_path / "two" / "checkpoints")[-1]) < 1e-5


def test_a_run_learns_and_is_judged(tmp_path: Path) -> None:
    notebook = Notebook()
    train_toy(tmp_path, {"steps": 60, "validate_every": 30, "schedule": "constant"}, listener=notebook)
    quality = [record["psnr"] for record in _log(tmp_path) if "psnr" in record]
    assert quality[-1] > quality[0]
    assert (tmp_path / "samples" / "step_00000060.png").exists()
    assert any(path.name.startswith("events") for path in (tmp_path / "tensorboard").iterdir())
    assert json.loads((tmp_path / "environment.json").read_text())["torch"] == torch.__version__
    assert {"pixel", "adversarial", "discriminator", "r1"} <= notebook.records[0].keys()
    assert "r1" not in notebook.records[1]  # lazy: every second step


def test_a_run_that_diverges_goes_back_at_half_the_rate(tmp_path: Path) -> None:
    notebook = Notebook()
    train_toy(tmp_path, recipe=ToyRecipe(faults=(6, 6)), listener=notebook)
    told = [text for text in notebook.messages if "not finite" in text]
    assert "pixel" in told[0]
    assert "back to step 4 at 0.5 of the rate" in told[0]
    assert "back to step 4 at 0.25 of the rate" in told[1]
    records = [record["step"] for record in _log(tmp_path)]
    assert records == sorted(records)


def test_a_run_that_diverges_again_and_again_stops(tmp_path: Path) -> None:
    with pytest.raises(
        FaceRestoreError, match="after 3 times back at half the rate each; lower the learning rate"
    ):
        train_toy(tmp_path, recipe=ToyRecipe(faults=(6, 6, 6, 6)))
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step_00000000", "step_00000004"]


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Accelerator.save_state
    full = ["step_00000004"]

    def save_state(self: Accelerator, folder: str) -> None:
        Path(folder).mkdir()
        if Path(folder).stem in full:
            (Path(folder) / "half").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(self, folder)

    monkeypatch.setattr(Accelerator, "save_state", save_state)
    notebook = Notebook()
    train_toy(tmp_path, listener=notebook)
    assert any(
        "step 4 could not be written" in text and "No space left" in text for text in notebook.messages
    )
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step_00000000", "step_00000008"]
    full[:] = ["step_00000012"]
    with pytest.raises(FaceRestoreError, match=r"free space in .* and resume"):
        train_toy(tmp_path, {"steps": 12})
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step_00000000", "step_00000008"]


def test_only_the_last_checkpoints_are_kept_and_half_written_ones_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step_00000002.part").mkdir(parents=True)
    train_toy(tmp_path, {"save_every": 1, "keep": 3})
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_00000006", "step_00000007", "step_00000008"]


def test_a_broken_checkpoint_is_named_with_the_remedy(tmp_path: Path) -> None:
    last = train_toy(tmp_path)
    (last / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"step_00000008' cannot be read.*remove that folder"):
        train_toy(tmp_path, {"steps": 12})


def test_a_run_goes_on_only_as_it_began(tmp_path: Path) -> None:
    train_toy(tmp_path)
    with pytest.raises(ConfigError, match=r"engine.batch_size was 4, is 3"):
        train_toy(tmp_path, {"batch_size": 3})
    train_toy(tmp_path, {"steps": 9, "save_every": 1, "log_every": 3})


def test_the_average_of_a_run_can_be_taken_out(tmp_path: Path) -> None:
    train_toy(tmp_path)
    network, step = restore_average(ToyRecipe(), tmp_path)
    assert step == 8
    assert not network.training
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        restore_average(ToyRecipe(), tmp_path / "elsewhere")


def test_the_average_starts_quickly_and_copies_buffers() -> None:
    network = torch.nn.BatchNorm2d(2)
    average = ExponentialAverage(network, 0.999)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(5.0)  # type: ignore[union-attr]
    average.update(network, 0)
    assert torch.allclose(average.network.weight, torch.tensor(0.1 * 1 + 0.9 * 3))  # type: ignore[arg-type]
    assert torch.equal(average.network.running_mean, torch.full((2,), 5.0))  # type: ignore[arg-type]


def test_draws_belong_to_samples_and_not_to_processes() -> None:
    whole = Draw((1, 2, 3), first=0, batch_size=4)
    second_half = Draw((1, 2, 3), first=2, batch_size=2)
    assert torch.equal(whole.normal(5)[2:], second_half.normal(5))
    assert torch.equal(whole.uniform(2, 2)[2:], second_half.uniform(2, 2))
    assert whole.common().integers(1 << 40) == second_half.common().integers(1 << 40)
    assert not torch.equal(whole.normal(5), whole.normal(5))
    assert not torch.equal(
        Draw((1, 3, 3), first=0, batch_size=4).normal(5), Draw((1, 2, 3), first=0, batch_size=4).normal(5)
    )


def test_rates_rise_and_fall() -> None:
    settings = make_settings(EngineSettings, {"steps": 110, "warmup_steps": 10, "schedule": "cosine"})
    assert rate_factor(settings, 0) == pytest.approx(0.1)
    assert rate_factor(settings, 9) == 1
    assert rate_factor(settings, 60) == pytest.approx(0.5)
    assert rate_factor(make_settings(EngineSettings, {"steps": 100, "schedule": "linear"}), 25) == 0.75
    assert rate_factor(make_settings(EngineSettings, {"steps": 100, "schedule": "constant"}), 99) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepps": 3}, "unknown key 'stepps'; did you mean 'steps'"),
        ({"steps": 0}, "'steps' is 0; give a whole number, 1 or more"),
        ({"precision": "fp8"}, "'precision' is 'fp8'"),
        ({"steps": "many"}, "'steps' is 'many'"),
    ],
)
def test_unfit_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(EngineSettings, values, source="[engine]")


def test_assignments_lie_over_a_file() -> None:
    base = {"engine": {"steps": 3}}
    assert merged(base, ["engine.steps=5", "data.mix={gfpgan=1}", "data.parsing=a/b"]) == {
        "engine": {"steps": 5},
        "data": {"mix": {"gfpgan": 1}, "parsing": "a/b"},
    }
    assert base == {"engine": {"steps": 3}}
    for wrong in ("steps", "=3", "engine.steps.more=1"):
        with pytest.raises(ConfigError):
            merged(base, [wrong])

"""The number format of a run."""

import pytest
import torch
from tiny_runs import drawn_plan, trained

from facerestore.engines.device import known_precisions
from facerestore.training.engine import precision


@pytest.mark.parametrize("asked", ["no", "bf16", "fp16"])
def test_what_is_asked_for_is_taken(asked):
    assert precision.mixed_precision(asked) == asked


def test_auto_never_tries_what_the_device_has_no_arithmetic_for(monkeypatch):
    monkeypatch.setattr(precision, "known_precisions", lambda device: ["float32"])
    monkeypatch.setattr(precision, "_trial_seconds", None)
    assert precision.mixed_precision("auto", torch.device("cpu")) == "no"


@pytest.mark.parametrize(("ratio", "chosen"), [(0.5, "bf16"), (1.0, "no"), (200.0, "no")])
def test_auto_takes_bf16_where_a_trial_shows_it_to_be_quicker(monkeypatch, ratio, chosen):
    monkeypatch.setattr(precision, "known_precisions", lambda device: ["float32", "bf16"])
    monkeypatch.setattr(precision, "_trial_seconds", lambda layer, device, *, half: ratio if half else 1.0)
    assert precision.mixed_precision("auto", torch.device("cpu")) == chosen


def test_auto_is_settled_on_this_machine():
    chosen = precision.mixed_precision("auto", torch.device("cpu"))
    assert chosen in ({"no", "bf16"} if "bf16" in known_precisions(torch.device("cpu")) else {"no"})


def test_runs_of_one_process_may_have_different_formats(tmp_path):
    for asked in ("no", "bf16", "no"):
        plan = drawn_plan("lite", tmp_path / "faces", "engine.steps=1", f"engine.precision={asked!r}")
        assert trained(plan, tmp_path / f"{asked}_run").exists()

"""What people's programs wrap around a network comes off, and what is missing then is named."""

import itertools

import pytest
import torch

from facerestore.backends import BACKENDS, backend_class, identify, load_backend
from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import load_state_dict
from facerestore.weights.wrapping import canonical_state_dict

NETWORK = {"stem.weight": torch.ones(2, 2), "head.bias": torch.zeros(2)}


def prefixed(prefix, state_dict):
    return {prefix + key: value for key, value in state_dict.items()}


@pytest.mark.parametrize(
    "prefix",
    ["".join(parts) for n in (1, 2, 3) for parts in itertools.product(("_orig_mod.", "module."), repeat=n)],
)
def test_prefixes_come_off_a_file_in_any_order(tmp_path, prefix):
    for wrap in (
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {"params_ema": s}},
    ):
        torch.save(wrap(prefixed(prefix, NETWORK)), tmp_path / "w.pth")
        assert list(load_state_dict(tmp_path / "w.pth")) == list(NETWORK)


LOSSES = {"net_d.x": torch.ones(1), "loss.vgg.0.weight": torch.ones(1), "step_counter": torch.tensor(3)}


@pytest.mark.parametrize(
    "contents",
    [
        {"state_dict": {**prefixed("net_g.", NETWORK), **LOSSES}, "pytorch-lightning_version": "2.1"},
        {"state_dict": {**prefixed("net_g.module._orig_mod.", NETWORK), **LOSSES}},
        {"state_dict": prefixed("module.", {**prefixed("net_g.", NETWORK), **LOSSES})},
        {"state_dict": prefixed("netG.", NETWORK)},
        {
            "state_dict": {
                **prefixed("generator.", {"stem.weight": torch.zeros(2, 2)}),
                **prefixed("generator_ema.", NETWORK),
                "discriminator.x": torch.ones(1),
            },
            "meta": {"mmagic_version": "1.0"},
        },
        {"state_dict": {**prefixed("generator.", NETWORK), "discriminator.x": torch.ones(1)}},
        {"n_averaged": torch.tensor(9), **prefixed("module.", NETWORK)},
        {"n_averaged": torch.tensor(9), **prefixed("module.module.", NETWORK)},
        {"n_averaged": torch.tensor(9), **NETWORK},
        {"checkpoint": {"weights": NETWORK, "epoch": 3}},
        {"net": NETWORK, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}},
        {"model": {"state_dict": {"generator": {"params": NETWORK}}}},
    ],
)
def test_what_training_programs_save_is_looked_through(contents):
    assert {k: v.sum() for k, v in canonical_state_dict(contents).items()} == {
        k: v.sum() for k, v in NETWORK.items()
    }


def test_a_generator_of_its_own_keeps_its_name():
    for own in ({"generator.x": torch.ones(1)}, {"generator.x": torch.ones(1), "ecd0.x": torch.ones(1)}):
        assert canonical_state_dict(own).keys() == own.keys()


def test_several_networks_under_unknown_names_are_named():
    with pytest.raises(CheckpointError, match="its entries are 'left', 'right'"):
        canonical_state_dict({"left": NETWORK, "right": NETWORK})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefix", ["_orig_mod.module.", "module._orig_mod.", "net_g."])
def test_every_backend_loads_under_prefixes(tmp_path, backend, prefix):
    state_dict = backend_class(backend).example_state_dict()
    torch.save({"state_dict": prefixed(prefix, state_dict)}, tmp_path / "w.pth")
    assert identify(load_state_dict(tmp_path / "w.pth")) == backend


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", [0, 1, -1])
def test_one_missing_key_is_named(tmp_path, backend, place):
    state_dict = dict(backend_class(backend).example_state_dict())
    missing = list(state_dict)[place]
    del state_dict[missing]
    torch.save(state_dict, tmp_path / "w.pth")
    for name in (None, backend):
        with pytest.raises(CheckpointError) as caught:
            load_backend(tmp_path / "w.pth", name=name)
        assert f"'{missing}'" in str(caught.value)


def test_advice_does_not_go_in_circles(tmp_path):
    torch.save(backend_class("lite").example_state_dict(), tmp_path / "lite.pth")
    with pytest.raises(
        CheckpointError, match="not those of backend 'gpen', but those of 'lite'; give --backend lite"
    ):
        load_backend(tmp_path / "lite.pth", name="gpen")
    torch.save(NETWORK, tmp_path / "none.pth")
    for name in (None, "gpen"):
        with pytest.raises(CheckpointError) as caught:
            load_backend(tmp_path / "none.pth", name=name)
        assert "leave the backend out" not in str(caught.value)
        assert "name the backend" not in str(caught.value)


@pytest.mark.parametrize("number", ["10000", "9" * 5000])
def test_a_key_that_counts_further_than_any_network_is_refused(tmp_path, number):
    state_dict = backend_class("lite").example_state_dict()
    state_dict[f"encoder.0.{number}.conv1.bias"] = state_dict.pop("encoder.0.0.conv1.bias")
    torch.save(state_dict, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no network counts as far"):
        load_backend(tmp_path / "w.pth")


def test_a_gap_in_the_numbers_of_blocks_is_a_missing_key(tmp_path):
    state_dict = {
        key.replace("encoder.0.0.", "encoder.0.999."): value
        for key, value in backend_class("lite").example_state_dict().items()
    }
    torch.save(state_dict, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"missing \(first 'encoder\.0\.0\."):
        load_backend(tmp_path / "w.pth")

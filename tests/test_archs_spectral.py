"""Spectral norm: conversion between the layouts both ways, and folding into plain weights."""

import warnings

import pytest
import torch
from golden import assert_near
from torch import nn

from facerestore.archs.spectral import (
    attach_spectral_norm,
    from_official,
    fuse,
    has_spectral_norm,
    official_shapes,
    to_official,
)


def plain():
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Linear(2, 2)))


def trained():
    """A module with spectral norm whose vectors have not converged."""
    torch.manual_seed(0)
    module = attach_spectral_norm(plain())
    with torch.no_grad():
        for key, buffer in module.named_buffers():
            buffer.copy_(nn.functional.normalize(buffer + 0.3 * torch.randn_like(buffer), dim=0))
            assert key.endswith(("_u", "_v"))
    return module


def test_official_keys_are_those_of_published_checkpoints():
    module = trained()
    official = to_official(module.state_dict())
    assert {key: value.shape for key, value in official.items()} == official_shapes(plain())
    assert set(official) == {
        *(f"0.{ending}" for ending in ("bias", "weight_orig", "weight_u", "weight_v")),
        *(f"1.0.{ending}" for ending in ("weight_orig", "weight_u", "weight_v")),
        "1.1.weight",
        "1.1.bias",
    }


def test_the_layouts_convert_both_ways():
    state_dict = trained().state_dict()
    there_and_back = from_official(to_official(state_dict))
    assert list(there_and_back) == list(state_dict)
    assert all(torch.equal(there_and_back[key], value) for key, value in state_dict.items())


def test_checkpoints_of_the_former_torch_function_compute_the_same():
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # later versions of torch announce its end
        former = torch.nn.utils.spectral_norm(nn.Conv2d(2, 3, 3))
    former(x)  # one power iteration
    state_dict = {key: value.clone() for key, value in former.state_dict().items()}
    expected = former.eval()(x)
    module = attach_spectral_norm(nn.Conv2d(2, 3, 3)).eval()
    module.load_state_dict(from_official(state_dict), strict=True)
    assert_near(module(x), expected, 1e-6)
    other = nn.Conv2d(2, 3, 3)
    other.load_state_dict(fuse(state_dict), strict=True)
    assert_near(other(x), expected, 1e-6)


def test_fused_weights_compute_what_the_module_does():
    module = trained().eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    other = plain()
    other.load_state_dict(fuse(to_official(module.state_dict())), strict=True)
    x = torch.randn(2, 2, 4, 4)
    assert_near(other[0](x), module[0](x), 1e-6)
    assert_near(other[1][0].weight, module[1][0].weight, 1e-6)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    # The true norm is another number: vectors that have not converged must not be iterated.
    assert float(torch.linalg.matrix_norm(other[0].weight.detach().flatten(1), ord=2)) > 1.01


def test_training_moves_the_vectors_and_use_does_not():
    module = trained()
    state_dict = to_official(module.state_dict())
    u = state_dict["0.weight_u"].clone()
    module[0].eval()(torch.zeros(1, 2, 4, 4))
    assert torch.equal(to_official(module.state_dict())["0.weight_u"], u)
    module[0].train()(torch.zeros(1, 2, 4, 4))
    assert not torch.equal(to_official(module.state_dict())["0.weight_u"], u)


def test_plain_weights_pass_unchanged():
    state_dict = plain().state_dict()
    assert not has_spectral_norm(state_dict)
    assert has_spectral_norm(to_official(trained().state_dict()))
    assert all(torch.equal(value, state_dict[key]) for key, value in fuse(state_dict).items())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_vectors_that_give_no_norm_are_refused(value):
    state_dict = to_official(trained().state_dict())
    state_dict["0.weight_u"] = torch.full((3,), value)
    with pytest.raises(
        ValueError, match=r"weight_u and weight_v beside '0\.weight_orig' give the spectral norm"
    ):
        fuse(state_dict)


def test_missing_vectors_are_named():
    state_dict = to_official(trained().state_dict())
    del state_dict["1.0.weight_v"]
    with pytest.raises(KeyError, match=r"1\.0\.weight_v"):
        fuse(state_dict)

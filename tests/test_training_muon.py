"""The orthogonalised optimiser."""

import math

import pytest
import torch
from torch import nn

from facerestore.training.engine.muon import NEWTON_SCHULZ, Muon, muon_for, orthogonalise


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_singular_values_become_nearly_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape) * 50))
    assert values.min() > 0.3
    assert values.max() < 1.5


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (12, 12)])
@pytest.mark.parametrize("smallest", [1, 1e-3, 1e-8])
def test_the_shortened_iteration_equals_that_of_jordan(shape, smallest):
    torch.manual_seed(0)
    least = min(shape)
    values = torch.logspace(0, math.log10(smallest), least)
    matrix = (torch.randn(shape[0], least) * values) @ torch.randn(least, shape[1])
    a, b, c = NEWTON_SCHULZ
    x = matrix.double() / matrix.double().norm()
    x = x.T if shape[0] > shape[1] else x
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    expected = x.T if shape[0] > shape[1] else x
    assert torch.allclose(orthogonalise(matrix).double(), expected, atol=2e-3 * expected.abs().max())


def test_a_matrix_of_zeros_stays_so():
    assert not orthogonalise(torch.zeros(4, 6)).any()


def test_a_convolution_is_fitted():
    torch.manual_seed(0)
    target, conv = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
    optimiser = Muon([conv.weight], lr=0.02)
    x = torch.randn(16, 4, 9, 9)
    losses = []
    for _ in range(60):
        loss = (conv(x) - target(x)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_state_survives_saving():
    conv = nn.Conv2d(2, 3, 3)
    optimiser = Muon([conv.weight], lr=0.1)
    conv(torch.randn(1, 2, 5, 5)).sum().backward()
    optimiser.step()
    other = Muon([conv.weight], lr=0.1)
    other.load_state_dict(optimiser.state_dict())
    assert torch.equal(other.state[conv.weight]["momentum"], optimiser.state[conv.weight]["momentum"])


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="two or more dimensions"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_what_is_no_matrix_is_stepped_by_adamw():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    mine = Muon([], ours.parameters(), **settings)
    reference = torch.optim.AdamW(theirs.parameters(), **settings)
    for step in range(30):
        x = torch.randn(8, 5)
        for network, optimiser in ((ours, mine), (theirs, reference)):
            optimiser.zero_grad()
            (network(x) - x[:, :3]).square().mean().backward()
            for group in optimiser.param_groups:
                group["lr"] = 0.01 * (1 - step / 40)
            optimiser.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def _mixed(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 1))
    matrices = [network[0].weight, network[2].weight]
    return network, Muon(matrices, [network[0].bias, network[2].bias], lr=0.05)


def _step(network, optimiser, seed):
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    optimiser.zero_grad()
    network(x).square().mean().backward()
    optimiser.step()


def test_both_halves_go_on_from_a_saved_state_as_if_never_interrupted(tmp_path):
    network, optimiser = _mixed(0)
    for seed in range(3):
        _step(network, optimiser, seed)
    torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "state")
    other, resumed = _mixed(1)
    state = torch.load(tmp_path / "state", weights_only=True)
    other.load_state_dict(state["network"])
    resumed.load_state_dict(state["optimiser"])
    for seed in range(3, 6):
        _step(network, optimiser, seed)
        _step(other, resumed, seed)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_parameter_without_a_gradient_stays():
    network, optimiser = _mixed(0)
    before = [parameter.clone() for parameter in network.parameters()]
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_the_weight_of_a_styled_convolution_is_a_matrix_of_its_outputs():
    torch.manual_seed(0)
    plain = nn.Parameter(torch.randn(6, 4, 3, 3))
    styled = nn.Parameter(plain.detach()[None].clone())
    gradient = torch.randn(6, 4, 3, 3)
    plain.grad, styled.grad = gradient, gradient[None].clone()
    Muon([plain], lr=0.1).step()
    Muon([styled], lr=0.1).step()
    assert torch.equal(plain, styled[0])


def test_layers_next_to_pixels_constants_and_vectors_are_not_for_muon():
    inner, first, last = nn.Conv2d(8, 8, 3), nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3)
    network = nn.Sequential(first, inner, last)
    network.register_parameter("constant", nn.Parameter(torch.zeros(1, 8, 4, 4)))
    matrices, others = muon_for([(network, 0.02, 0.005)], betas=(0.9, 0.99), still=[last.bias]).param_groups
    assert [id(p) for p in matrices["params"]] == [id(inner.weight)]
    assert {id(p) for p in others["params"]} == {
        id(p) for p in (first.weight, first.bias, inner.bias, last.weight, network.constant)
    }
    assert (matrices["lr"], others["lr"], others["betas"]) == (0.02, 0.005, (0.9, 0.99))

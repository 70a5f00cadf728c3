"""The orthogonalised optimiser."""

import pytest
import torch
from torch import nn

from facerestore.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_singular_values_become_nearly_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape) * 50))
    assert values.min() > 0.3
    assert values.max() < 1.5


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

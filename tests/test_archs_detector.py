"""The face detector: shapes of its maps, where its cells lie, folded norms, and decoding."""

import pytest
import torch

from facerestore.archs.detector import (
    OUTPUTS,
    SIDE_PER_STRIDE,
    STRIDES,
    DetectorNet,
    cell_centres,
    decode,
    flatten,
    without_norms,
)

SMALL = (4, 8, 8, 8, 8, 8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DetectorNet(SMALL, neck=8, depth=1)


def test_the_bundled_shape_is_small():
    assert 100_000 < sum(one.numel() for one in DetectorNet().parameters()) < 300_000


def test_every_level_has_its_map_and_every_cell_its_place(network):
    maps = network(torch.rand(2, 3, 64, 128))
    assert [tuple(one.shape) for one in maps] == [(2, OUTPUTS, 64 // s, 128 // s) for s in STRIDES]
    centres, strides = cell_centres(64, 128)
    assert flatten(maps).shape == (2, len(centres), OUTPUTS)
    assert centres[0].tolist() == [3.5, 3.5]
    assert centres[1].tolist() == [11.5, 3.5]
    assert centres[-1].tolist() == [95.5, 31.5]
    assert strides[-1] == 64
    # The order of cells is that of the maps: column after column, row after row, level after level.
    assert torch.equal(flatten(maps)[0, 16 * 2 + 5], maps[0][0, :, 2, 5])


def test_it_finds_nothing_before_it_has_learnt(network):
    scores = torch.sigmoid(flatten(network.eval()(torch.rand(1, 3, 64, 64)))[..., 0])
    assert scores.max() < 0.1


def test_every_parameter_has_a_gradient(network):
    flatten(network(torch.rand(2, 3, 64, 64))).square().mean().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


def test_folded_norms_change_nothing(network):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
    pictures = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = flatten(network.eval()(pictures))
        folded = without_norms(network)
        assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in folded.modules())
        assert torch.allclose(flatten(folded(pictures)), before, atol=1e-4)


def test_a_cell_says_box_and_points_in_its_own_strides():
    outputs = torch.zeros(1, OUTPUTS)
    outputs[0, 1:3] = torch.tensor([1.0, -1.0])
    outputs[0, 5:7] = torch.tensor([0.5, 0.25])
    boxes, points = decode(outputs, torch.tensor([[10.0, 20.0]]), torch.tensor([16.0]))
    half = 16 * SIDE_PER_STRIDE / 2
    assert boxes[0].tolist() == [26 - half, 4 - half, 26 + half, 4 + half]
    assert points[0, 0].tolist() == [10 + 0.5 * 48, 20 + 0.25 * 48]
    assert points[0, 1].tolist() == [10, 20]

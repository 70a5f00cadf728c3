"""The background upscaler."""

import pytest
import torch
from golden import Golden, assert_near, listed_keys

from facerestore.archs.rrdb import RRDBNet


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rrdbnet_gives_the_official_result(scale):
    golden = Golden(f"gpen_rrdb_x{scale}")
    network = RRDBNet(scale=scale, width=8, blocks=2, growth=4)
    network.load_state_dict(golden.under("sd."), strict=True)
    with torch.no_grad():
        assert_near(network(golden["in"]), golden["out"], 2e-5)


def test_keys_and_shapes_are_those_of_realesrnet():
    with torch.device("meta"):
        network = RRDBNet(scale=2)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == listed_keys("realesrnet_x2_keys")
    assert sum(p.numel() for p in network.parameters()) == 9_590_947


def test_every_parameter_has_a_gradient():
    network = RRDBNet(scale=2, width=8, blocks=1, growth=4)
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_an_impossible_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be 1, 2 or 4, got 3"):
        RRDBNet(scale=3)

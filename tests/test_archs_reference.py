"""The reference forms: the plain maths gives what the shipped networks give."""

import pytest
import torch
from golden import Golden, assert_near

from facerestore.archs import ops, stylegan2
from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.archs.psfr import PSFRConfig, PSFRGenerator, one_hot
from facerestore.archs.reference import REFERENCES, Parameters, ReferenceNetwork, upfirdn2d

LARGEST_ERROR = 1e-4
"""Largest difference over the standard deviation: rounding stays a hundred times below."""

GPEN = {
    "concat": GPENConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "add": GPENConfig(16, style_dim=8, mapping_layers=2, narrow=1 / 64, noise_mode="add"),
    "enlarging": GPENConfig(16, 8, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "reducing": GPENConfig(8, 16, style_dim=8, mapping_layers=2, narrow=1 / 64),
}


def awake(make, *arguments):
    """Return a network none of whose parameters is zero, and whose statistics are not those of the start."""
    torch.manual_seed(0)
    network = make(*arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                buffer.uniform_(-0.1, 0.1)
    return network.eval()


def assert_same(name, network, *inputs, shipped=None):
    with torch.no_grad():
        expected = (shipped or network)(*inputs)
        found = ReferenceNetwork(REFERENCES[name], network.state_dict())(*inputs)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.std()) < LARGEST_ERROR


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", GPEN)
def test_gpen(variant, batch):
    config = GPEN[variant]
    faces = torch.rand(batch, 3, config.input_size, config.input_size) * 2 - 1
    assert_same("gpen", awake(GPENGenerator, config), faces)


@pytest.mark.parametrize("size", [32, 64])
def test_psfr_takes_faces_of_its_own_and_other_sizes(size):
    parsing = one_hot(torch.randint(0, 19, (2, size, size), generator=torch.Generator().manual_seed(0)))
    assert_same(
        "psfr", awake(PSFRGenerator, PSFRConfig(32, 8, (6, 8))), torch.rand(2, 3, size, size), parsing
    )


def test_parsenet():
    network = awake(ParseNet, ParseNetConfig((4, 6, 8), 2, (6, 4)))
    assert_same("parsenet", network, torch.rand(2, 3, 32, 32), shipped=network.logits)


def test_bisenet():
    network = awake(BiSeNet, BiSeNetConfig((4, 6, 8, 10), 6, 4, 4))
    assert_same("bisenet", network, torch.rand(2, 3, 64, 64), shipped=network.logits)


@pytest.mark.parametrize("fine", [{}, {"fine_widths": (5, 3), "fine_blocks": (2, 1)}])
def test_lite(fine):
    network = awake(LiteGenerator, LiteConfig(widths=(4, 6), blocks=(1, 2), **fine))
    assert_same("lite", network, torch.rand(2, 3, 32, 32))


def test_parse():
    network = awake(PartsNet, PartsConfig(widths=(4, 6), blocks=(1, 2)))
    assert_same("parse", network, torch.rand(2, 3, 32, 32) * 2 - 1)


@pytest.mark.parametrize(("name", "atol"), [("gpen_full_64_cm1", 1e-4), ("gpen_full_64_noconcat", 2e-4)])
def test_gpen_gives_the_official_result(shared, name, atol):
    golden = Golden(shared(f"golden/{name}.safetensors"))
    with torch.no_grad():
        found = ReferenceNetwork(REFERENCES["gpen"], golden.under("sd."))(golden["in"])
    assert_near(found, golden["out"], atol)


def test_its_pieces_are_those_of_the_definitions():
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 3, 6, 5), ops.fir_kernel()
    for up, down, padding in ((1, 1, (2, 1)), (2, 1, (2, 1)), (1, 2, (1, 1))):
        expected = ops.upfirdn2d_reference(x, kernel, up=up, down=down, padding=padding)
        assert_near(upfirdn2d(x, kernel, up=up, down=down, padding=padding), expected, 1e-6)
    layer = stylegan2.ModulatedConv2d(3, 4, 3, style_dim=5)
    latent = torch.randn(2, 5)
    style = layer.modulation(latent) * layer.scale
    expected = stylegan2.modulated_conv2d_reference(x, layer.weight[0], style)
    from facerestore.archs.reference import modulated_conv2d

    with torch.no_grad():
        found = modulated_conv2d(Parameters(layer.state_dict()), x, latent)
        assert_near(found, expected, 1e-6)


def test_parameters_are_shared_and_not_copied():
    network = awake(LiteGenerator, LiteConfig(widths=(4, 6), blocks=(1, 1)))
    reference = ReferenceNetwork(REFERENCES["lite"], network.state_dict())
    assert reference.tensors["stem.weight"].data_ptr() == network.stem.weight.data_ptr()

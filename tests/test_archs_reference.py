"""The reference forms: the plain maths gives what the shipped networks give."""

from copy import deepcopy

import pytest
import torch
from golden import Golden, assert_near

from facerestore.archs import ops, stylegan2
from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig, for_inference
from facerestore.archs.convolution import quicken
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.gpen_fused import FusedGPEN
from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.archs.parsenet import ParseNet, ParseNetConfig, fuse_parsenet
from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.archs.psfr import PSFRConfig, PSFRGenerator, fuse_psfr, one_hot
from facerestore.archs.reference import REFERENCES, ReferenceNetwork
from facerestore.bench.parts import reference_network

LARGEST_ERROR = 1e-4
"""Largest difference over the standard deviation: rounding stays a hundred times below."""

GPEN = {
    "concat": GPENConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "add": GPENConfig(16, style_dim=8, mapping_layers=2, narrow=1 / 64, noise_mode="add"),
    "enlarging": GPENConfig(16, input_size=8, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "reducing": GPENConfig(8, input_size=16, style_dim=8, mapping_layers=2, narrow=1 / 64),
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


def assert_same(network, *inputs, shipped=None):
    """The reference gives what the network, and the form of it that is shipped, give."""
    reference = ReferenceNetwork(deepcopy(network))
    assert set(reference.network.state_dict()) == set(network.state_dict())
    with torch.no_grad():
        found = reference(*inputs)
        forms = [network] if shipped is None else [network, shipped(deepcopy(network))]
        for form in forms:
            expected = getattr(form, "logits", form)(*inputs)
            assert found.shape == expected.shape
            assert float((found - expected).abs().max() / expected.std()) < LARGEST_ERROR


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("variant", GPEN)
def test_gpen(variant, batch):
    config = GPEN[variant]
    faces = torch.rand(batch, 3, config.input_size, config.input_size) * 2 - 1
    assert_same(awake(GPENGenerator, config), faces, shipped=FusedGPEN)


@pytest.mark.parametrize("size", [32, 64])
def test_psfr_takes_faces_of_its_own_and_other_sizes(size):
    parsing = one_hot(torch.randint(0, 19, (2, size, size), generator=torch.Generator().manual_seed(0)))
    network = awake(PSFRGenerator, PSFRConfig(32, 8, (6, 8)))
    assert_same(network, torch.rand(2, 3, size, size), parsing, shipped=fuse_psfr)


def test_parsenet():
    network = awake(ParseNet, ParseNetConfig((4, 6, 8), 2, (6, 4)))
    assert_same(network, torch.rand(2, 3, 32, 32), shipped=lambda own: fuse_parsenet(own, side=32))


def test_bisenet():
    network = awake(BiSeNet, BiSeNetConfig((4, 6, 8, 10), 6, 4, 4))
    assert_same(network, torch.rand(2, 3, 64, 64), shipped=for_inference)


@pytest.mark.parametrize("fine", [{}, {"fine_widths": (5, 3), "fine_blocks": (2, 1)}])
def test_lite(fine):
    network = awake(LiteGenerator, LiteConfig(widths=(4, 6), blocks=(1, 2), **fine))
    assert_same(network, torch.rand(2, 3, 32, 32), shipped=quicken)


def test_parse():
    network = awake(PartsNet, PartsConfig(widths=(4, 6), blocks=(1, 2)))
    assert_same(network, torch.rand(2, 3, 32, 32) * 2 - 1, shipped=quicken)


@pytest.mark.parametrize(("name", "atol"), [("gpen_full_64_cm1", 1e-4), ("gpen_full_64_noconcat", 2e-4)])
def test_gpen_gives_the_official_result(name, atol):
    golden = Golden(name)
    with torch.no_grad():
        found = reference_network("gpen", golden.under("sd."), torch.device("cpu"))(golden["in"])
    assert_near(found, golden["out"], atol)


def test_its_pieces_are_those_of_the_definitions():
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 3, 6, 5), ops.fir_kernel()
    taps = [(i, j) for i in range(4) for j in range(4)]
    padded = torch.nn.functional.pad(x, (2, 1, 2, 1))
    blurred = sum(kernel[3 - i, 3 - j] * padded[:, :, i : i + 6, j : j + 5] for i, j in taps)
    assert_near(ops.upfirdn2d_ref(x, kernel, padding=(2, 1)), blurred, 1e-6)
    layer = stylegan2.ModulatedConv2d(3, 4, 3, style_dim=5).requires_grad_(False)
    latent = torch.randn(2, 5)
    style = layer.modulation(latent) * layer.scale
    for sample, scales, found in zip(
        x, style, stylegan2.modulated_conv2d_ref(x, layer.weight[0], style), strict=True
    ):
        own = layer.weight[0] * scales[None, :, None, None]
        own = own / torch.sqrt(own.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        assert_near(found[None], torch.nn.functional.conv2d(sample[None], own, padding=1), 1e-6)


def test_every_quick_operation_is_put_back():
    network = ReferenceNetwork(awake(GPENGenerator, GPEN["concat"]))
    kinds = {type(module) for module in network.modules()}
    assert not kinds & {ops.Filter, stylegan2.ModulatedConv2d}
    assert kinds >= {ops.FilterRef, stylegan2.ModulatedConv2dRef}
    assert {"gpen", "psfr", "parsenet", "bisenet"} <= set(REFERENCES)


def test_parameters_are_shared_and_not_copied():
    network = awake(GPENGenerator, GPEN["concat"])
    reference = reference_network("gpen", network.state_dict(), torch.device("cpu"))
    assert reference.network.generator.input.input.data_ptr() == network.generator.input.input.data_ptr()

"""The forms that networks take for inference: the sums that they stand for, where they apply, and where not."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facerestore.archs import convolution, gpen_fused, parsenet, psfr
from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig, for_inference
from facerestore.archs.convolution import (
    QuickConv2d,
    convolve,
    convolved_strips,
    has_winograd,
    published_forms,
    quicken,
)
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.gpen_fused import FusedGPEN, polyphase_weight
from facerestore.archs.ops import blur_after_transpose
from facerestore.archs.parsenet import ParseNet, ParseNetConfig, fuse_parsenet
from facerestore.archs.psfr import PSFRConfig, PSFRGenerator, fuse_psfr, one_hot
from facerestore.backends.gpen import GPENRestorer
from facerestore.backends.psfr import PSFRRestorer
from facerestore.parsing.networks import ParseNetParser

LARGEST_ERROR = 1e-3
"""Of the output's standard deviation: what an inference form may differ by."""


def error(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).abs().max() / expected.std())


def random_gpen(config: GPENConfig) -> GPENGenerator:
    """Return a generator in which every parameter counts: noise and biases start at zero."""
    torch.manual_seed(0)
    network = GPENGenerator(config).eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if name.endswith(("noise.weight", "bias")):
            value.normal_(std=0.3)
    return network


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_wide_convolutions_are_the_sum_that_torch_computes(padding: int, biased: bool) -> None:
    x, weight = torch.randn(2, 24, 50, 49), torch.randn(30, 24, 3, 3)
    bias = torch.randn(30) if biased else None
    with torch.inference_mode():
        result = convolve(x, weight, bias, padding=padding)
    assert error(result, functional.conv2d(x, weight, bias, padding=padding)) < 1e-4


@pytest.mark.parametrize(("height", "width"), [(64, 64), (300, 48), (301, 53)])
def test_strips_make_up_the_whole_convolution(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "STRIP_BYTES", 2**21)
    x, weight, bias = torch.randn(1, 24, height, width), torch.randn(24, 24, 3, 3), torch.randn(24)
    with torch.inference_mode():
        strips = list(convolved_strips(x, weight, bias))
        whole = functional.conv2d(x, weight, bias, padding=1)
    rows = [row for own, _ in strips for row in range(own.start, own.stop)]
    assert rows == list(range(height))
    assert has_winograd() is False or height < 100 or len(strips) > 1
    assert error(torch.cat([strip for _, strip in strips], dim=2), whole) < 1e-4


def test_the_fused_gpen_keeps_nothing_of_the_file_that_its_parameters_are_mapped_from() -> None:
    network = random_gpen(GPENConfig(64, style_dim=16, mapping_layers=2, narrow=1 / 16))
    own = {value.untyped_storage().data_ptr() for value in network.state_dict().values()}
    kept = {buffer.untyped_storage().data_ptr() for buffer in FusedGPEN(network).buffers()}
    assert not own & kept


def test_winograd_is_taken_only_where_it_is_quicker_and_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, ...]] = []

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        taken.append(tuple(x.shape))
        return functional.conv2d(x, weight, bias, padding=padding)

    monkeypatch.setattr(convolution, "_winograd", watched)
    monkeypatch.setattr(convolution, "has_winograd", lambda: True)
    wide, narrow = torch.randn(128, 128, 3, 3), torch.randn(24, 20, 3, 3)
    with torch.inference_mode():
        convolve(torch.randn(1, 18, 64, 64), narrow[:, :18], padding=1)  # too narrow
        convolve(torch.randn(1, 20, 47, 64), narrow, padding=1)  # too small for so few channels
        convolve(torch.randn(1, 128, 31, 64), wide, padding=1)  # too small
        convolve(torch.randn(1, 64, 64, 64), torch.randn(64, 64, 1, 1))  # no 3x3
        convolve(torch.randn(1, 128, 32, 32).bfloat16(), wide.bfloat16(), padding=1)  # another format
    convolve(torch.randn(1, 128, 32, 32), wide, padding=1)  # gradients may be wanted
    assert taken == []
    with torch.no_grad():
        convolve(torch.randn(1, 20, 48, 48), narrow, padding=1)
        convolve(torch.randn(1, 128, 32, 32), wide, padding=1)
        monkeypatch.setattr(convolution, "exporting", lambda: True)
        convolve(torch.randn(1, 128, 32, 32), wide, padding=1)
    assert taken == [(1, 20, 48, 48), (1, 128, 32, 32)]


def test_without_the_operator_all_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_nnpack_spatial_convolution", raising=False)
    has_winograd.cache_clear()
    try:
        x, weight = torch.randn(1, 64, 32, 32), torch.randn(64, 64, 3, 3)
        with torch.inference_mode():
            assert not has_winograd()
            assert torch.equal(convolve(x, weight, padding=1), functional.conv2d(x, weight, padding=1))
    finally:
        has_winograd.cache_clear()


def test_an_operator_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        return functional.conv2d(x, weight, bias, padding=padding) * 1.01

    monkeypatch.setattr(convolution, "_winograd", broken)
    has_winograd.cache_clear()
    try:
        assert not has_winograd()
    finally:
        has_winograd.cache_clear()


def test_quickened_networks_keep_their_keys_and_all_but_wide_plain_convolutions() -> None:
    network = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Conv2d(64, 64, 3, padding=1, stride=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 18, 3, padding=1),
    )
    keys = list(network.state_dict())
    assert [type(layer) is QuickConv2d for layer in quicken(network)] == [True, *[False] * 5]
    assert list(network.state_dict()) == keys


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "config",
    [
        GPENConfig(64, style_dim=16, mapping_layers=2, narrow=1 / 16),
        GPENConfig(32, style_dim=16, mapping_layers=2, narrow=1 / 16, noise_mode="add"),
        GPENConfig(64, input_size=32, style_dim=16, mapping_layers=2, narrow=1 / 16),
        GPENConfig(32, input_size=64, style_dim=16, mapping_layers=2, narrow=1 / 16),
    ],
    ids=["concat", "add", "enlarging", "reducing"],
)
@pytest.mark.parametrize(
    ("polyphase_side", "streamed_side"),
    [(16, 16), (16, 1024), (1024, 1024)],
    ids=["streamed", "phases", "plain"],
)
def test_the_fused_gpen_computes_what_the_network_does(
    config: GPENConfig, batch: int, polyphase_side: int, streamed_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpen_fused, "LEAST_POLYPHASE_SIDE", polyphase_side)
    monkeypatch.setattr(gpen_fused, "LEAST_STREAMED_SIDE", streamed_side)
    monkeypatch.setattr(gpen_fused, "STREAMED_ROWS", 12)  # so that the last strip is a smaller one
    monkeypatch.setattr(gpen_fused, "PIECE_VALUES", 2**11)
    network = random_gpen(config)
    x = torch.rand(batch, 3, config.input_size, config.input_size) * 2 - 1
    with torch.inference_mode():
        expected = network(x)
        fused = FusedGPEN(network)
        assert error(fused(x), expected) < 1e-4
        assert error(fused._restored_together(x), expected) < 1e-4  # the batch in one, as on an accelerator
        assert error(network(x), expected) == 0  # what it was made from is as it was


def test_the_polyphase_weight_is_the_filter_behind_the_transposed_convolution() -> None:
    weight, x = torch.randn(5, 4, 3, 3), torch.randn(2, 4, 7, 9)
    blur = blur_after_transpose(3)
    expected = blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
    phases = functional.conv2d(x, polyphase_weight(weight, blur.kernel), padding=1)
    assert torch.allclose(functional.pixel_shuffle(phases, 2), expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("polyphase_side", [32, 1024])
def test_the_fused_psfr_computes_what_the_network_does(
    batch: int, polyphase_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psfr, "LEAST_POLYPHASE_SIDE", polyphase_side)
    torch.manual_seed(0)
    network = PSFRGenerator(PSFRConfig(64, 16, (8, 32))).eval().requires_grad_(False)
    x = torch.rand(batch, 3, 64, 64) * 2 - 1
    parsing = one_hot(torch.randint(0, 19, (batch, 64, 64)))
    with torch.inference_mode():
        expected = network.pictures(network.features(x, parsing))
        fused = fuse_psfr(network)
        result = fused.pictures(fused.features(x, parsing))
        assert all(error(*pair) < LARGEST_ERROR for pair in zip(result, expected, strict=True))
        assert error(fused(x, parsing), expected[-1]) < LARGEST_ERROR


@pytest.mark.parametrize("polyphase_side", [16, 1024])
def test_the_fused_parsenet_computes_what_the_network_does(
    polyphase_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsenet, "LEAST_POLYPHASE_SIDE", polyphase_side)
    torch.manual_seed(0)
    network = ParseNet(ParseNetConfig((8, 16, 24), 1, (16, 8))).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        expected = network(x)
        result = fuse_parsenet(network, side=32)(x)
        assert all(error(*pair) < 1e-4 for pair in zip(result, expected, strict=True))


def test_a_bisenet_for_inference_computes_what_the_network_does() -> None:
    torch.manual_seed(0)
    network = BiSeNet(BiSeNetConfig((8, 12, 16, 20), 12, 8, 8)).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        expected = network.logits(x)
        quick = for_inference(network)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
        assert error(quick.logits(x), expected) < 1e-4


def test_restorers_and_parsers_take_the_published_forms_on_demand() -> None:
    parameters = ParseNet(ParseNetConfig((8, 16), 1, (8,))).state_dict()
    with published_forms():
        gpen = GPENRestorer.build(GPENRestorer.example_state_dict())
        psfr = PSFRRestorer.build(PSFRRestorer.example_state_dict())
        parser = ParseNetParser.build(parameters)
    assert isinstance(gpen.network, GPENGenerator)
    assert set(psfr.network.state_dict()) == set(PSFRRestorer.example_state_dict())
    assert set(parser.network.state_dict()) == set(parameters)
    assert isinstance(GPENRestorer.build(GPENRestorer.example_state_dict()).network, FusedGPEN)

"""Styled layers of StyleGAN2."""

import pytest
import torch
from golden import Golden, assert_near

from facerestore.archs import stylegan2

PIECE_ATOL = 1e-5  # golden/README.md


@pytest.fixture(scope="module")
def pieces():
    return Golden("stylegan2_pieces")


def _modulated(out_channels, kernel_size, **options):
    return stylegan2.ModulatedConv2d(6, out_channels, kernel_size, style_dim=10, **options)


def _styled(noise_mode, resample="same"):
    return stylegan2.StyledConv(6, 5, style_dim=10, noise_mode=noise_mode, resample=resample)


LAYERS = {
    "modconv.plain3": lambda: _modulated(5, 3),
    "modconv.plain1_nodemod": lambda: _modulated(3, 1, demodulate=False),
    "modconv.up3": lambda: _modulated(5, 3, resample="up"),
    "modconv.down3": lambda: _modulated(5, 3, resample="down"),
    "modconv.up3_k3": lambda: _modulated(5, 3, resample="up", taps=(1, 2, 1)),
    "styledconv.concat": lambda: _styled("concat"),
    "styledconv.concat_up": lambda: _styled("concat", "up"),
    "styledconv.add": lambda: _styled("add"),
    "torgb.noskip": lambda: stylegan2.ToRGB(6, style_dim=10, upsample=False),
    "torgb.skip": lambda: stylegan2.ToRGB(6, style_dim=10, upsample=True),
}


def _inputs(pieces, name):
    found = pieces.under(f"{name}.in")
    return [found[key] for key in ("0", "1", "_noise", "_skip") if key in found]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gives_the_official_result_batched_and_singly(pieces, name):
    layer = LAYERS[name]()
    own_filters = {key: value.clone() for key, value in layer.named_buffers()}
    layer.load_state_dict(pieces.under(f"{name}.sd."), strict=True)
    for key, value in layer.named_buffers():
        assert_near(own_filters[key], value, 1e-7)
    inputs, expected = _inputs(pieces, name), pieces[f"{name}.out"]
    with torch.no_grad():
        assert_near(layer(*inputs), expected, PIECE_ATOL)
        singly = [layer(*(value[i : i + 1] for value in inputs)) for i in range(len(expected))]
        assert_near(torch.cat(singly), expected, PIECE_ATOL)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("resample", ["same", "up", "down"])
def test_modulated_conv2d_equals_its_reference(batch, demodulate, resample):
    source = torch.Generator().manual_seed(3)
    x = torch.randn(batch, 4, 9, 7, generator=source, dtype=torch.float64)
    weight = torch.randn(5, 4, 3, 3, generator=source, dtype=torch.float64)
    style = torch.randn(batch, 4, generator=source, dtype=torch.float64)
    options = {"demodulate": demodulate, "resample": resample}
    fast = stylegan2.modulated_conv2d(x, weight, style, **options)
    assert_near(fast, stylegan2.modulated_conv2d_ref(x, weight, style, **options), 1e-12)


def test_demodulated_filters_ignore_the_scale_of_the_style():
    x, weight, style = torch.randn(2, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.rand(2, 4) + 0.5
    once = stylegan2.modulated_conv2d(x, weight, style)
    assert_near(stylegan2.modulated_conv2d(x, weight, 10 * style), once, 1e-4)


def test_concatenated_noise_starts_at_zero_and_doubles_the_channels():
    x, noise = torch.randn(2, 3, 4, 4), torch.randn(1, 3, 4, 4)
    y = stylegan2.ConcatNoise()(x, noise)
    assert torch.equal(y, torch.cat([x, torch.zeros_like(x)], dim=1))


def test_added_noise_may_be_one_plane_for_all_channels():
    layer = stylegan2.AddNoise()
    torch.nn.init.constant_(layer.weight, 0.5)
    x, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 1, 4, 4)
    assert_near(layer(x, noise), x + 0.5 * noise, 0)

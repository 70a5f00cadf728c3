"""Filters, equalised layers and activations of StyleGAN2."""

import itertools

import pytest
import torch
from golden import Golden, assert_near

from facerestore.archs import ops

PIECE_ATOL = 1e-5  # golden/README.md


@pytest.fixture(scope="module")
def pieces():
    return Golden("stylegan2_pieces")


LAYERS = {
    "equalconv.plain": lambda: ops.EqualConv2d(6, 4, 3, padding=1),
    "convlayer.plain": lambda: ops.ConvLayer(6, 4, 3),
    "convlayer.down3": lambda: ops.ConvLayer(6, 4, 3, downsample=True),
    "convlayer.down1_noact_nobias": lambda: ops.ConvLayer(6, 4, 1, downsample=True, activate=False),
    "resblock": lambda: ops.DownsamplingBlock(6, 8),
    "equallinear.act_lr001": lambda: ops.ActivatedEqualLinear(10, 7, lr_multiplier=0.01),
    "equallinear.plain": lambda: ops.EqualLinear(10, 7),
    "pixelnorm": ops.PixelNorm,
    "fusedlrelu.4d": lambda: ops.FusedLeakyReLU(6),
    "fusedlrelu.2d": lambda: ops.FusedLeakyReLU(10),
    "upsample2": ops.upsampler,
    "downsample2": lambda: ops.Filter(down=2, padding=(1, 1)),
    "blur.pad21": lambda: ops.Filter(padding=(2, 1)),
    "blur.pad11_up2": lambda: ops.Filter(padding=(1, 1), gain=4.0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_gives_the_official_result(pieces, name):
    layer = LAYERS[name]()
    own_filters = {key: value.clone() for key, value in layer.named_buffers()}
    layer.load_state_dict(pieces.under(f"{name}.sd."), strict=True)
    for key, value in layer.named_buffers():
        assert_near(own_filters[key], value, 1e-7)
    with torch.no_grad():
        assert_near(layer(pieces[f"{name}.in0"]), pieces[f"{name}.out"], PIECE_ATOL)


UPFIRDN = [
    (1, 1, (-1, 2)),
    (1, 1, (0, 0)),
    (1, 1, (2, 1)),
    (1, 2, (1, 1)),
    (2, 1, (2, 1)),
    (2, 2, (3, 0)),
    (3, 2, (0, 2)),
]


@pytest.mark.parametrize(("up", "down", "padding"), UPFIRDN)
@pytest.mark.parametrize("function", [ops.upfirdn2d, ops.upfirdn2d_ref])
def test_upfirdn2d_gives_the_official_result(pieces, function, up, down, padding):
    expected = pieces[f"upfirdn.out.up{up}_down{down}_pad{padding[0]}_{padding[1]}"]
    actual = function(pieces["upfirdn.in"], pieces["upfirdn.kernel_2x3"], up=up, down=down, padding=padding)
    assert_near(actual, expected, PIECE_ATOL)


def test_upfirdn2d_equals_its_reference_on_every_combination():
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for up, down, padding in itertools.product(
        (1, 2, 3), (1, 2), ((0, 0), (2, 2), (3, 1), (-1, 0), (-1, -1))
    ):
        fast = ops.upfirdn2d(x, kernel, up=up, down=down, padding=padding)
        assert_near(fast, ops.upfirdn2d_ref(x, kernel, up=up, down=down, padding=padding), 1e-12)


def test_fir_kernel_is_the_published_constant(pieces):
    assert_near(ops.fir_kernel(), pieces["upfirdn.make_kernel_1331"], 1e-8)
    assert float(ops.fir_kernel(gain=4.0).sum()) == pytest.approx(4.0)


@pytest.mark.parametrize("size", [8, 10])
def test_resampling_keeps_a_constant_away_from_the_border(size):
    x = torch.ones(1, 1, size, size)
    assert_near(ops.upsampler()(x)[..., 2:-2, 2:-2], torch.ones(1, 1, 2 * size - 4, 2 * size - 4), 1e-6)
    assert_near(
        ops.Filter(down=2, padding=(1, 1))(x)[..., 1:-1, 1:-1],
        torch.ones(1, 1, size // 2 - 2, size // 2 - 2),
        1e-6,
    )


def test_upfirdn2d_has_a_second_derivative():
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    kernel = ops.fir_kernel().double()
    assert torch.autograd.gradgradcheck(lambda t: ops.upfirdn2d(t, kernel, up=2, padding=(2, 1)), x)


def test_equalised_weights_start_at_unit_variance_of_the_output():
    torch.manual_seed(0)
    with torch.no_grad():
        y = ops.EqualLinear(512, 512, lr_multiplier=0.01)(torch.randn(256, 512))
    assert float(y.std()) == pytest.approx(1.0, rel=0.05)

"""PSFR-GAN: parity with the official networks, what the picture is made of, and how it trains."""

import pytest
import torch
from golden import Golden, assert_near, listed_keys
from torch.nn import functional

from facerestore.archs import psfr
from facerestore.archs.psfr import (
    PSFRConfig,
    PSFRDiscriminator,
    PSFRGenerator,
    one_hot,
    resized_condition,
)
from facerestore.archs.spectral import attach_spectral_norm, from_official, fuse, official_shapes

GOLDEN_CONFIG = PSFRConfig(128, ch_range=(8, 32))  # constructor and tolerances from golden/README.md
ATOL = 1e-4
DISCRIMINATOR_ATOL = 5e-5
TINY = PSFRConfig(32, 8, ch_range=(4, 8))
DEAD = "conv_0.bias"  # removed by the instance norm behind it


def example(config=TINY, count=3, seed=0):
    torch.manual_seed(seed)
    side = config.face_size
    return torch.rand(count, 3, side, side) * 2 - 1, one_hot(torch.randint(0, 19, (count, side, side)))


@pytest.fixture
def golden():
    return Golden("psfr_generator")


@pytest.fixture
def fused(golden):
    network = PSFRGenerator(GOLDEN_CONFIG).eval()
    network.load_state_dict(fuse(golden.under("sd.")), strict=True)
    return network


@pytest.fixture
def spectral(golden):
    network = attach_spectral_norm(PSFRGenerator(GOLDEN_CONFIG)).eval()
    network.load_state_dict(from_official(golden.under("sd.")), strict=True)
    return network


@pytest.mark.parametrize("kind", ["fused", "spectral"])
def test_generator_gives_the_official_results_and_activations(kind, golden, request):
    network = request.getfixturevalue(kind)
    seen = {}
    with torch.no_grad():
        reduced = network(golden["in2.lq"], one_hot(golden["in2.parse_label"]))
        for name, module in network.named_modules():
            module.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, output))
        restored = network(golden["in.lq"], one_hot(golden["in.parse_label"]))
    assert_near(restored, golden["out"], ATOL)
    assert_near(reduced, golden["out2"], ATOL)
    activations = golden.under("act.")
    assert len(activations) == 6
    for name, expected in activations.items():
        assert_near(seen[name], expected, ATOL)


@pytest.mark.parametrize("kind", ["fused", "spectral"])
def test_weights_are_normalised_with_the_stored_vectors(kind, golden, request):
    network = request.getfixturevalue(kind)
    weights = golden.under("effective_weight.")
    assert len(weights) == 3
    for name, expected in weights.items():
        assert_near(network.get_submodule(name).weight, expected, 1e-6)


def test_keys_shapes_and_size_are_the_official_ones():
    with torch.device("meta"):
        network = PSFRGenerator(PSFRConfig())
    own = {key: tuple(shape) for key, shape in official_shapes(network).items()}
    listed = listed_keys("psfr_keys")
    assert own == listed
    assert len(listed) == 221
    assert sum(p.numel() for p in network.parameters()) == 45_956_995


def test_discriminator_keys_shapes_and_size_are_the_official_ones():
    with torch.device("meta"):
        network = PSFRDiscriminator()
    own = {key: tuple(shape) for key, shape in official_shapes(network).items()}
    assert own == listed_keys("psfr_disc_keys")
    assert sum(p.numel() for p in network.parameters()) == 18_872_259


@pytest.mark.parametrize("kind", ["fused", "spectral"])
def test_discriminator_gives_the_official_judgement(kind):
    golden = Golden("psfr_discriminator")
    network = PSFRDiscriminator(8).eval()
    state_dict = golden.under("sd.")
    if kind == "fused":
        network.load_state_dict(fuse(state_dict), strict=True)
    else:
        attach_spectral_norm(network).load_state_dict(from_official(state_dict), strict=True)
    with torch.no_grad():
        judgements = network(golden["in.img"], one_hot(golden["in.parse_label"]))
    assert len(judgements) == 3
    for scale, judgement in enumerate(judgements):
        assert len(judgement.features) == 5
        assert_near(judgement.score, golden[f"out.{scale}.score"], DISCRIMINATOR_ATOL)
        for layer, expected in golden.under(f"out.{scale}.feat.").items():
            assert_near(judgement.features[int(layer)], expected, DISCRIMINATOR_ATOL)


def test_widths_are_halved_within_their_range():
    assert PSFRConfig().sizes == (16, 32, 64, 128, 256, 512)
    assert PSFRConfig().widths == (1024, 512, 256, 128, 64, 32)
    assert GOLDEN_CONFIG.widths == (32, 16, 8, 8)


@pytest.mark.parametrize(("face_size", "least_size"), [(48, 16), (8, 16), (0, 16), (16, 0), (512, 1)])
def test_sizes_that_do_not_double_are_refused(face_size, least_size):
    with pytest.raises(ValueError, match="power of two times"):
        PSFRConfig(face_size, least_size)


def test_ranges_of_channels_that_descend_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        PSFRConfig(32, ch_range=(32, 16))


def test_forward_is_finite_repeats_and_does_not_depend_on_the_batch():
    network = PSFRGenerator(TINY).eval()
    faces, parsing = example()
    with torch.no_grad():
        restored = network(faces, parsing)
        assert restored.shape == (3, 3, 32, 32)
        assert torch.isfinite(restored).all()
        assert torch.equal(network(faces, parsing), restored)
        singly = [network(faces[i : i + 1], parsing[i : i + 1]) for i in range(3)]
    assert_near(torch.cat(singly), restored, 1e-5)
    assert float((restored[0] - restored[1]).abs().mean()) > 1e-3


def test_the_parsing_map_matters_at_every_scale():
    network = PSFRGenerator(TINY).eval()
    faces, parsing = example(count=1)
    with torch.no_grad():
        pairs = zip(network.features(faces, parsing), network.features(faces, parsing.flip(1)), strict=True)
    assert all(float((one - other).abs().max()) > 1e-3 for one, other in pairs)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_generator_parameter_has_a_gradient(spectral_norm, batch):
    torch.manual_seed(0)
    network = PSFRGenerator(TINY)
    if spectral_norm:
        attach_spectral_norm(network)
    network(*example(count=batch)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        assert key.endswith(DEAD) or parameter.grad.abs().sum() > 1e-9, key


def test_the_biases_without_gradient_have_no_effect():
    network = PSFRGenerator(TINY).eval()
    faces, parsing = example()
    with torch.no_grad():
        restored = network(faces, parsing)
        dead = [parameter for key, parameter in network.named_parameters() if key.endswith(DEAD)]
        assert len(dead) == len(TINY.sizes)
        for parameter in dead:
            parameter.add_(1)
        assert_near(network(faces, parsing), restored, 1e-5)


def test_every_discriminator_parameter_has_a_gradient():
    torch.manual_seed(0)
    network = attach_spectral_norm(PSFRDiscriminator(4, layers=2, scales=2))
    faces, parsing = example(PSFRConfig(64, 16), count=2)
    sum(j.score.square().mean() for j in network(faces, parsing)).backward()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        dead = key.endswith("bias") and not key.endswith(("model.0.conv2d.bias", "score_out.conv2d.bias"))
        assert dead or parameter.grad.abs().sum() > 0, key


def test_the_discriminator_starts_as_the_recipe_says():
    torch.manual_seed(0)
    parameters = dict(PSFRDiscriminator(16).named_parameters())
    assert all(not p.any() for key, p in parameters.items() if key.endswith("bias"))
    weight = parameters["D_pool.1.model.3.conv2d.weight"]
    assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_pictures_lead_from_the_constant_to_the_result():
    torch.manual_seed(0)
    network = PSFRGenerator(TINY).eval()
    faces, parsing = example()
    with torch.no_grad():
        features = network.features(faces, parsing)
        pictures = network.pictures(features)
        assert [tuple(x.shape[2:]) for x in features] == [(8, 8), (16, 16), (32, 32)]
        assert [x.shape[0] for x in pictures] == [1, 3, 3, 3]
        assert torch.equal(pictures[-1], network(faces, parsing))
        # Without the finest style block the network is what the picture before the last one says.
        block = network.body[-1][2]
        block.conv_1.weight.zero_()
        block.conv_1.bias.zero_()
        assert_near(network(faces, parsing), pictures[-2], 1e-6)


def test_a_condition_that_fits_is_not_resized_and_one_that_does_not_is_bicubic():
    condition = torch.rand(2, 22, 16, 16)
    halved, same, doubled = (resized_condition(condition, size) for size in (8, 16, 32))
    assert same is condition
    assert torch.equal(halved, functional.interpolate(condition, size=(8, 8), mode="bicubic"))
    assert doubled.shape == (2, 22, 32, 32)
    assert float(resized_condition(one_hot(torch.eye(16).long()[None]), 32).min()) < 0


@pytest.mark.parametrize("size", [32, 16, 8, 12])
def test_a_condition_is_reduced_alike_in_a_graph(monkeypatch, size):
    torch.manual_seed(0)
    condition = torch.rand(2, 22, 64, 64)
    alone = resized_condition(condition, size)
    monkeypatch.setattr(psfr, "exporting", lambda: True)
    assert torch.allclose(resized_condition(condition, size), alone, atol=1e-6)


def test_labels_become_one_plane_each():
    planes = one_hot(torch.tensor([[[0, 18], [3, 3]]], dtype=torch.uint8))
    assert planes.shape == (1, 19, 2, 2)
    assert torch.equal(planes.sum(dim=1), torch.ones(1, 2, 2))
    assert torch.equal(planes.argmax(dim=1), torch.tensor([[[0, 18], [3, 3]]]))


def test_half_precision_stays_near():
    """Measured: 0.6 % of the largest value here, 0.8 % at full size with random weights."""
    torch.manual_seed(0)
    network = PSFRGenerator(TINY).eval()
    faces, parsing = example()
    with torch.no_grad():
        exact = network(faces, parsing)
        halved = network.bfloat16()(faces.bfloat16(), parsing.bfloat16()).float()
    assert float((halved - exact).abs().max()) < 0.03 * float(exact.abs().max())

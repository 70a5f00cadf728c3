"""GPEN: parity with the official network, every variant, and its discriminator."""

import pytest
import torch
from golden import Golden, assert_near, listed_keys

from facerestore.archs.gpen import (
    GPENConfig,
    GPENDiscriminator,
    GPENGenerator,
    PriorGenerator,
    minibatch_stddev,
)

GOLDEN = {  # constructor and tolerance from golden/README.md
    "gpen_full_64_cm1": (
        GPENConfig(64, style_dim=64, mapping_layers=8, channel_multiplier=1, narrow=0.125),
        1e-4,
    ),
    "gpen_full_64_noconcat": (
        GPENConfig(64, style_dim=32, mapping_layers=4, narrow=0.125, noise_mode="add"),
        2e-4,
    ),
    "gpen_full_sr_32to64": (
        GPENConfig(64, input_size=32, style_dim=32, mapping_layers=4, narrow=0.0625),
        1e-4,
    ),
}
FULL_SIZE = {
    "gpen256": (GPENConfig(256, channel_multiplier=1, narrow=0.5), 18_879_010),
    "gpen512": (GPENConfig(512), 71_005_223),
    "gpen1024": (GPENConfig(1024), 71_210_540),
    "gpen2048": (GPENConfig(2048), 71_294_769),
}
FULL_SIZE_DISCRIMINATORS = {
    "gpen512_disc": ((512, 2), 28_982_849),
    "gpen256_disc_cm1_n1": ((256, 1), 24_001_089),
    "gpen256_disc_cm2_n1": ((256, 2), 28_864_129),
}
TINY = {
    "concat": GPENConfig(16, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "add": GPENConfig(16, style_dim=8, mapping_layers=2, narrow=1 / 64, noise_mode="add"),
    "enlarging": GPENConfig(16, input_size=8, style_dim=8, mapping_layers=2, narrow=1 / 64),
    "reducing": GPENConfig(8, input_size=16, style_dim=8, mapping_layers=2, narrow=1 / 64),
}


def randomise_noise_strengths(network):
    """Noise strengths start at zero, which would hide the features behind them."""
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):
            torch.nn.init.constant_(parameter, 0.5)


@pytest.fixture(params=GOLDEN)
def official(request):
    config, atol = GOLDEN[request.param]
    golden = Golden(request.param)
    network = GPENGenerator(config).eval()
    network.load_state_dict(golden.under("sd."), strict=True)
    noise = list(golden.under("noise.").values()) or None
    return network, golden, noise, atol


def test_generator_gives_the_official_result_and_activations(official):
    network, golden, noise, atol = official
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        assert_near(network(golden["in"], noise=noise), golden["out"], atol)
        assert_near(network.encode(golden["in"])[0], golden["out.latent"], atol)
    activations = golden.under("act.")
    assert activations
    for name, expected in activations.items():
        assert_near(seen[name], expected, atol)


def test_single_faces_give_the_official_result(official):
    network, golden, noise, atol = official
    with torch.no_grad():
        singly = torch.cat([network(face[None], noise=noise) for face in golden["in"]])
    assert_near(singly, golden["out"], atol)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_keys_shapes_and_size_are_the_official_ones(name):
    config, parameters = FULL_SIZE[name]
    with torch.device("meta"):
        network = GPENGenerator(config)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == listed_keys(f"{name}_keys")
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", FULL_SIZE_DISCRIMINATORS)
def test_discriminator_keys_and_shapes_are_the_official_ones(name):
    (size, multiplier), parameters = FULL_SIZE_DISCRIMINATORS[name]
    with torch.device("meta"):
        network = GPENDiscriminator(size, channel_multiplier=multiplier)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == listed_keys(f"{name}_keys")
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_discriminator_gives_the_official_scores():
    golden = Golden("gpen_discriminator_64")
    network = GPENDiscriminator(64, narrow=0.125)
    network.load_state_dict(golden.under("sd."), strict=True)
    with torch.no_grad():
        assert_near(network.convs(golden["in.real"]), golden["act.convs"], 1e-5)
        for batch in (4, 2, 1):
            assert_near(network(golden["in.real"][:batch]), golden[f"out.real.b{batch}"], 1e-5)
        assert_near(network(golden["in.fake"]), golden["out.fake.b4"], 1e-5)


@pytest.mark.parametrize("name", TINY)
def test_forward_is_finite_repeats_and_does_not_depend_on_the_batch(name):
    torch.manual_seed(0)
    network = GPENGenerator(TINY[name]).eval()
    randomise_noise_strengths(network)
    config = TINY[name]
    faces = torch.rand(3, 3, config.input_size, config.input_size) * 2 - 1
    with torch.no_grad():
        restored = network(faces)
        assert restored.shape == (3, 3, config.face_size, config.face_size)
        assert torch.isfinite(restored).all()
        assert torch.equal(network(faces), restored)
        assert_near(torch.cat([network(face[None]) for face in faces]), restored, 1e-4)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_generator_parameter_has_a_gradient(name, batch):
    torch.manual_seed(0)
    config = TINY[name]
    network = GPENGenerator(config)
    randomise_noise_strengths(network)
    network(torch.rand(batch, 3, config.input_size, config.input_size)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_every_discriminator_parameter_has_a_gradient():
    torch.manual_seed(0)
    network = GPENDiscriminator(16, narrow=1 / 64)
    network(torch.randn(2, 3, 16, 16)).sum().backward()
    for key, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_extra_noise_is_taken_where_the_encoder_has_no_feature():
    network = GPENGenerator(TINY["enlarging"]).eval()
    randomise_noise_strengths(network)
    assert network.extra_noise_shapes() == [(8, 16, 16)] * 2
    face = torch.rand(1, 3, 8, 8)
    silence = [torch.zeros(1, *shape) for shape in network.extra_noise_shapes()]
    with torch.no_grad():
        assert not torch.equal(network(face, noise=silence), network(face))
    with pytest.raises(ValueError, match="4 noise tensors for 5 styled convolutions"):
        network(face, noise=silence[:1])


@pytest.mark.parametrize("mode", ["concat", "add"])
def test_the_prior_generates_from_latent_codes_alone(mode):
    torch.manual_seed(0)
    network = PriorGenerator(TINY[mode])
    randomise_noise_strengths(network)
    z = torch.randn(2, 8)
    faces = network(z)
    assert faces.shape == (2, 3, 16, 16)
    assert torch.equal(network(z), faces)
    faces.square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())
    silence = [torch.zeros(1, *shape) for shape in network.noise_shapes()]
    assert not torch.equal(network(z, noise=silence), faces)


def test_a_face_of_another_size_is_refused():
    network = GPENGenerator(TINY["concat"])
    with pytest.raises(ValueError, match=r"takes \(B, 3, 16, 16\)"):
        network(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("size", [0, 4, 100])
def test_sizes_that_are_no_power_of_two_are_refused(size):
    with pytest.raises(ValueError, match="powers of two"):
        GPENConfig(size)


def test_stddev_plane_of_equal_samples_is_the_epsilon():
    plane = minibatch_stddev(torch.ones(3, 2, 4, 4))[:, 2]
    assert_near(plane, torch.full((3, 4, 4), 1e-4), 1e-9)


def test_stddev_in_groups_is_that_of_each_group():
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    grouped = minibatch_stddev(x, group=2)
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        assert torch.equal(grouped[part], minibatch_stddev(x[part]))
    assert torch.equal(minibatch_stddev(x, group=8), minibatch_stddev(x))

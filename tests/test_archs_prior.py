"""The StyleGAN2 prior: the published layers in the published order, both ways of upsampling, and its noise."""

from dataclasses import replace

import pytest
import torch
from golden import Golden, assert_near
from torch.utils.flop_counter import FlopCounterMode

from facerestore.archs.gpen import GPENConfig, PriorGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig, enlarge_bilinear

TINY = {
    upsampling: GeneratorConfig(32, style_dim=8, mapping_layers=2, narrow=1 / 64, upsampling=upsampling)
    for upsampling in ("fir", "bilinear")
}
# face size and multiplier: parameters of mapping and synthesis, GMAC of a bilinear synthesis (design table, c.2)
TOTALS = {
    (512, 1): (2_101_248, 22_759_687, 35.4),
    (512, 2): (2_101_248, 28_175_335, 112.8),
    (256, 1): (2_101_248, 22_666_210, 28.2),
    (256, 2): (2_101_248, 27_933_090, 83.7),
    (128, 1): (2_101_248, 22_423_965, 20.9),
}


def loud(network):
    """Noise strengths start at zero, which would hide the noise."""
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):
            torch.nn.init.constant_(parameter, 0.5)
    return network


@pytest.fixture(params=TINY)
def prior(request):
    torch.manual_seed(0)
    return loud(StyleGAN2Prior(TINY[request.param])).eval()


@pytest.mark.parametrize(("size", "multiplier"), TOTALS)
def test_sizes_are_those_of_the_design(size, multiplier):
    with torch.device("meta"):
        network = StyleGAN2Prior(
            GeneratorConfig(size, channel_multiplier=multiplier, upsampling="bilinear")
        ).eval()
        latents = torch.empty(1, network.config.latent_count, 512)
    mapping, synthesis, gmac = TOTALS[size, multiplier]
    in_mapping = sum(p.numel() for p in network.style.parameters())
    assert in_mapping == mapping
    assert sum(p.numel() for p in network.parameters()) - in_mapping == synthesis
    with FlopCounterMode(display=False) as counter:
        network.synthesise(latents)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.06)


def test_keys_are_those_of_the_published_generators():
    """GPEN's generator without concatenation is a plain StyleGAN2; its official listing proves our names."""
    golden = Golden("gpen_full_64_noconcat")
    official = {key: tuple(value.shape) for key, value in golden.under("sd.generator.").items()}
    config = GeneratorConfig(64, style_dim=32, mapping_layers=4, channel_multiplier=2, narrow=0.125)
    own = {key: tuple(value.shape) for key, value in StyleGAN2Prior(config).state_dict().items()}
    extra = {key for key in own if key == "w_avg" or key.startswith("noises.")}
    assert {key: shape for key, shape in own.items() if key not in extra} == official
    assert [own[f"noises.noise_{i}"][2] for i in range(9)] == [4, 8, 8, 16, 16, 32, 32, 64, 64]


def test_filtered_synthesis_gives_the_official_result():
    """The network that GPEN steers, with encoder features as its noise, on the official weights."""
    golden = Golden("gpen_full_64_noconcat")
    prior = StyleGAN2Prior(
        GeneratorConfig(64, style_dim=32, mapping_layers=4, channel_multiplier=2, narrow=0.125)
    ).eval()
    prior.load_state_dict(golden.under("sd.generator."), strict=False)
    reference = PriorGenerator(
        GPENConfig(64, style_dim=32, mapping_layers=4, narrow=0.125, noise_mode="add")
    ).eval()
    reference.load_state_dict(golden.under("sd.generator."), strict=True)
    noise = [torch.randn(2, *shape) for shape in reference.noise_shapes()]
    with torch.no_grad():
        expected = reference.synthesise(golden["out.latent"], noise)
        assert_near(prior.synthesise(golden["out.latent"], noise=noise), expected, 1e-6)
        assert_near(prior.style(torch.ones(1, 32)), reference.style(torch.ones(1, 32)), 0)


def test_bilinear_synthesis_is_as_written_out(prior):
    """One level by hand: enlarge, two plain styled convolutions, RGB added to the enlarged RGB."""
    torch.manual_seed(1)
    config = GeneratorConfig(8, style_dim=8, mapping_layers=0, narrow=1 / 64, upsampling="bilinear")
    small = loud(StyleGAN2Prior(config)).eval()
    w = torch.randn(2, 4, 8)
    noise = small.draw_noise(2)
    with torch.no_grad():
        x = small.conv1(small.input(2), w[:, 0], noise[0])
        image = small.to_rgb1(x, w[:, 1])
        x = small.convs[0](enlarge_bilinear(x), w[:, 1], noise[1])
        x = small.convs[1](x, w[:, 2], noise[2])
        image = enlarge_bilinear(image) + small.to_rgbs[0](x, w[:, 3])
        assert torch.equal(small.synthesise(w), image)


def test_the_two_upsamplings_agree_inside_a_flat_region():
    """[1, 3, 3, 1] behind zero insertion is bilinear interpolation, but for the border."""
    from facerestore.archs.ops import upsampler

    x = torch.randn(1, 2, 6, 6)
    assert_near(upsampler()(x)[..., 1:-1, 1:-1], enlarge_bilinear(x)[..., 1:-1, 1:-1], 1e-6)


def test_faces_are_finite_repeat_and_do_not_depend_on_the_batch(prior):
    z = torch.randn(3, 8)
    with torch.no_grad():
        faces = prior(z)
        assert faces.shape == (3, 3, 32, 32)
        assert torch.isfinite(faces).all()
        assert torch.equal(prior(z), faces)
        assert_near(torch.cat([prior(one[None]) for one in z]), faces, 1e-5)


def test_noise_is_new_in_training_and_stored_otherwise(prior):
    z = torch.randn(1, 8)
    stored = prior(z)
    prior.train()
    assert not torch.equal(prior(z), prior(z))
    shapes = [tuple(noise.shape) for noise in prior.draw_noise(3)]
    assert shapes[0] == (3, 1, 4, 4)
    assert shapes[-1] == (3, 1, 32, 32)
    assert torch.equal(prior.eval()(z), stored)


def test_new_generators_have_the_same_noise():
    torch.manual_seed(3)
    first = StyleGAN2Prior(TINY["fir"]).noises.get_buffer("noise_6")
    second = StyleGAN2Prior(TINY["bilinear"]).noises.get_buffer("noise_6")
    assert torch.equal(first, second)
    assert 0.9 < float(first.std()) < 1.1


@pytest.mark.parametrize("batch", [1, 2])
def test_every_parameter_has_a_gradient(prior, batch):
    prior(torch.randn(batch, 8)).square().mean().backward()
    for key, parameter in prior.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_the_mean_style_is_the_mean_of_many(prior):
    prior.set_mean_latent()
    again = prior.w_avg.clone()
    prior.set_mean_latent()
    assert torch.equal(prior.w_avg, again)
    with torch.no_grad():
        other = prior.style(torch.randn(20_000, 8)).mean(dim=0)
        spread = prior.style(torch.randn(1000, 8)).std(dim=0)
    assert ((prior.w_avg - other).abs() < 0.1 * spread).all()


def test_without_mapping_network_styles_are_drawn_from_directly(prior):
    bare = StyleGAN2Prior(replace(prior.config, mapping_layers=0)).eval()
    assert not any(key.startswith("style") for key in bare.state_dict())
    bare.load_state_dict(
        {key: value for key, value in prior.state_dict().items() if not key.startswith("style.")}
    )
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert torch.equal(bare(prior.style(z)), prior(z))
    with pytest.raises(ValueError, match="without mapping network"):
        bare.set_mean_latent()


def test_steering_sees_each_resolution_once(prior):
    seen = []

    def steer(x, size):
        seen.append((size, tuple(x.shape[2:])))
        return x

    latents = prior.expand_latents(torch.randn(1, 8))
    with torch.no_grad():
        assert torch.equal(prior.synthesise(latents, steer=steer), prior.synthesise(latents))
        assert not torch.equal(
            prior.synthesise(latents, steer=lambda x, size: x + 1), prior.synthesise(latents)
        )
    assert seen == [(size, (size, size)) for size in (8, 16, 32)]


def test_wrong_noise_and_sizes_are_refused(prior):
    with pytest.raises(ValueError, match="2 noise tensors for 7 styled convolutions"):
        prior.synthesise(prior.expand_latents(torch.randn(1, 8)), noise=prior.draw_noise(1)[:2])
    for size in (0, 4, 100):
        with pytest.raises(ValueError, match="power of two from 8"):
            GeneratorConfig(size)

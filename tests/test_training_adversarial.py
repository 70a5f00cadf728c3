"""Adversarial losses and regularisers."""

import torch
from golden import Golden, assert_near

from facerestore.archs.gpen import GPENConfig, GPENDiscriminator, GPENGenerator
from facerestore.training.adversarial import (
    discriminator_logistic_loss,
    generator_nonsaturating_loss,
    path_length_penalty,
    r1_penalty,
)


def test_losses_and_r1_give_the_official_values(shared):
    golden = Golden(shared("golden/gpen_discriminator_64.safetensors"))
    network = GPENDiscriminator(64, narrow=0.125)
    network.load_state_dict(golden.under("sd."), strict=True)
    real = golden["in.real"].requires_grad_()
    real_scores, fake_scores = network(real), network(golden["in.fake"])
    assert_near(discriminator_logistic_loss(real_scores, fake_scores), golden["out.d_logistic"], 1e-5)
    assert_near(generator_nonsaturating_loss(fake_scores), golden["out.g_nonsat"], 1e-5)
    penalty = r1_penalty(real_scores, real)
    assert_near(penalty, golden["out.r1"], 1e-4 * float(golden["out.r1"]))
    penalty.backward()  # the second derivative exists
    assert network.convs[0][0].weight.grad.abs().sum() > 0


def test_path_length_penalty_gives_the_official_value(shared):
    golden = Golden(shared("golden/gpen_full_64_cm1.safetensors"))
    pieces = Golden(shared("golden/stylegan2_pieces.safetensors"))
    network = GPENGenerator(
        GPENConfig(64, style_dim=64, mapping_layers=8, channel_multiplier=1, narrow=0.125)
    )
    network.load_state_dict(golden.under("sd."), strict=True)
    latents, features = network.encode(golden["in"])
    image = network.generator.synthesise(latents, network.layer_noise(features, []))
    penalty, mean, lengths = path_length_penalty(
        image, latents, torch.tensor(1.7), noise=pieces["path.noise_scaled"]
    )
    for actual, name in ((penalty, "penalty"), (mean, "mean"), (lengths, "lengths")):
        expected = pieces[f"path.{name}"]
        assert_near(actual, expected, 1e-5 * float(expected.max().clamp(min=1)))
    penalty.backward()
    assert network.generator.convs[0].conv.weight.grad.abs().sum() > 0

"""Adversarial losses and regularisers."""

import torch
from golden import Golden, assert_near

from facerestore.archs.gpen import GPENConfig, GPENDiscriminator, GPENGenerator
from facerestore.training.losses.common import (
    discriminator_score_loss,
    generator_score_loss,
    path_length_penalty,
    r1_penalty,
)


def test_losses_and_r1_give_the_official_values():
    golden = Golden("gpen_discriminator_64")
    network = GPENDiscriminator(64, narrow=0.125)
    network.load_state_dict(golden.under("sd."), strict=True)
    real = golden["in.real"].requires_grad_()
    real_scores, fake_scores = network(real), network(golden["in.fake"])
    assert_near(discriminator_score_loss(real_scores, fake_scores, "vanilla"), golden["out.d_logistic"], 1e-5)
    assert_near(generator_score_loss(fake_scores, "vanilla"), golden["out.g_nonsat"], 1e-5)
    penalty = r1_penalty(real_scores, real)
    assert_near(penalty, golden["out.r1"], 1e-4 * float(golden["out.r1"]))
    penalty.backward()  # the second derivative exists
    assert network.convs[0][0].weight.grad.abs().sum() > 0


def test_path_length_penalty_gives_the_official_value():
    golden = Golden("gpen_full_64_cm1")
    pieces = Golden("stylegan2_pieces")
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


def test_path_length_penalties_of_two_processes_have_the_gradient_of_one_batch():
    torch.manual_seed(0)
    weight = torch.randn(6, 12, requires_grad=True)
    latents, noise = torch.randn(4, 2, 3, requires_grad=True), torch.randn(4, 3, 2, 2)
    before, decay = torch.tensor(0.7), 0.3

    def drawn(part):
        return torch.tanh(part.flatten(1) @ weight).unflatten(1, (3, 2, 2))

    (gradient,) = torch.autograd.grad((drawn(latents) * noise).sum(), latents, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    mean = before + decay * (lengths.mean() - before)
    penalty = (lengths - mean).square().mean()
    (expected,) = torch.autograd.grad(penalty, weight)

    overall = lengths.detach().mean()
    penalties = []
    for part in (slice(0, 2), slice(2, 4)):
        own = latents[part].detach().requires_grad_()
        value, after, _ = path_length_penalty(
            drawn(own), own, before, noise=noise[part], decay=decay, mean_over=lambda _: overall
        )
        assert torch.isclose(after, mean)
        penalties.append(value / 2)
    assert torch.isclose(sum(penalties), penalty)
    (gradient,) = torch.autograd.grad(sum(penalties), weight)
    assert torch.allclose(gradient, expected, atol=1e-6)

"""Losses: parity with the official ones, and what each of them must see."""

import pytest
import torch
from golden import Golden, assert_near
from torch.nn import functional

from facerestore.archs.psfr import Judgement, one_hot
from facerestore.training.losses import common as losses
from facerestore.training.recipes.psfr import losses as psfr_losses


@pytest.fixture
def golden():
    return Golden("psfr_losses")


def pyramid_of(golden, name):
    return [golden[f"in.{name}.{level}"] for level in range(5)]


def near(actual, expected):
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)


def test_region_style_and_its_gradients_are_the_official_ones(golden):
    x, y = pyramid_of(golden, "x"), pyramid_of(golden, "y")
    tapped = [level.requires_grad_() for level in x[psfr_losses.STYLE_LEVELS]]
    labels = golden["in.parse_label"]
    loss = psfr_losses.region_style(tapped, y[psfr_losses.STYLE_LEVELS], labels)
    near(loss, golden["out.style"])
    loss.backward()
    for level, tap in enumerate(tapped, start=2):
        expected = golden[f"grad.x.{level}"]
        assert_near(tap.grad, expected, 1e-5 * float(expected.abs().max()))
    assert_near(psfr_losses.class_grams(x[2], labels).detach(), golden["out.gram.x.level2"], 1e-6)


def test_perceptual_and_feature_matching_are_the_official_ones(golden):
    x, y = pyramid_of(golden, "x"), pyramid_of(golden, "y")
    near(
        losses.perceptual(x, y, weights=psfr_losses.PERCEPTUAL_WEIGHTS, distance=functional.mse_loss),
        golden["out.pcp"],
    )
    near(losses.feature_matching(x, y), golden["out.fm"])


@pytest.mark.parametrize("mode", ["hinge", "lsgan", "vanilla", "wgangp"])
def test_adversarial_losses_are_the_official_ones(golden, mode):
    scores = golden["in.pred"]
    near(losses.real_score_loss(scores, mode), golden[f"out.gan.{mode}.d_real"])
    near(losses.fake_score_loss(scores, mode), golden[f"out.gan.{mode}.d_fake"])
    near(losses.generator_score_loss(scores, mode), golden[f"out.gan.{mode}.g"])


def test_grams_of_sorted_pixels_are_those_of_masks():
    features, labels = torch.rand(2, 4, 8, 8), torch.randint(0, 19, (2, 16, 16), dtype=torch.uint8)
    labels[0, :6] = 255  # of no class
    masks = functional.interpolate(one_hot(labels), size=(8, 8), mode="nearest").flatten(2)
    masked = features.flatten(2).unsqueeze(1) * masks.unsqueeze(2)
    slow = masked @ masked.transpose(2, 3) / (4 * (masks.sum(dim=2) + 1e-8))[..., None, None]
    assert_near(psfr_losses.class_grams(features, labels), slow, 1e-6)


def test_style_knows_parts_and_nothing_of_places_within_them():
    torch.manual_seed(0)
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[:, :4] = 1
    hq = torch.rand(1, 3, 8, 8)
    within = torch.cat((hq[:, :, :4].flip(3), hq[:, :, 4:].flip(2)), dim=2)
    assert psfr_losses.region_style([within], [hq], labels).item() == pytest.approx(0, abs=1e-12)
    assert psfr_losses.region_style([hq.flip(2)], [hq], labels).item() > 1e-5


def judgements(*scores):
    return [Judgement(torch.full((2, 1, 3, 3), score), [torch.full((2, 4, 6, 6), score)]) for score in scores]


def test_scales_count_alike():
    fake, real = judgements(-3.0, 0.5), judgements(0.0, 2.0)
    assert psfr_losses.scale_adversarial(fake, "hinge").item() == pytest.approx(1.25)
    # (0 + 1) / 2 and (1.5 + 0) / 2
    assert psfr_losses.scale_discrimination(fake, real, "hinge").item() == pytest.approx(0.625)
    assert psfr_losses.scale_feature_matching(fake, real).item() == pytest.approx((9 + 2.25) / 2)


def test_no_gradient_flows_to_the_real_face():
    x, y = ([torch.rand(1, 3, 8, 8, requires_grad=True) for _ in range(5)] for _ in range(2))
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    latents, theirs = (torch.rand(1, 2, 4, requires_grad=True) for _ in range(2))
    total = (
        psfr_losses.region_style(x, y, labels)
        + losses.perceptual(x, y, weights=psfr_losses.PERCEPTUAL_WEIGHTS, distance=functional.mse_loss)
        + losses.feature_matching(x, y)
        + losses.perceptual(x, y)
        + losses.consistency(x, y, latents, theirs)
        + losses.identity(x[0].flatten(1), y[0].flatten(1))
    )
    total.backward()
    assert all(level.grad is not None for level in (*x, latents))
    assert all(level.grad is None for level in (*y, theirs))


def test_perceptual_distance_weighs_its_levels():
    x, y = [torch.zeros(1, 1, 2, 2)] * 5, [torch.full((1, 1, 2, 2), value) for value in (1.0, 2, 3, 4, 5)]
    assert losses.perceptual(x, y).item() == pytest.approx(0.1 + 0.2 + 3 + 4 + 5)


def test_identity_is_an_angle():
    a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert losses.identity(a, a).item() == 0
    assert losses.identity(a, b).item() == pytest.approx(0.5)


def test_pyramid_compares_with_the_face_reduced_by_area():
    hq = torch.rand(2, 3, 8, 8)
    heads = {4: functional.avg_pool2d(hq, 2), 8: hq}
    assert losses.pyramid(heads, hq).item() == pytest.approx(0, abs=1e-6)
    assert losses.pyramid({4: heads[4] + 0.25, 8: hq - 0.5}, hq).item() == pytest.approx(0.75)


def test_consistency_ignores_scale_and_shift_of_channels_but_not_latents():
    features = [torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)]
    theirs = [3 * level + 1 for level in features]
    latents = torch.rand(2, 6, 8)
    assert losses.consistency(features, theirs, latents, latents).item() == pytest.approx(0, abs=1e-3)
    assert losses.consistency(features, features, latents, latents + 2).item() == pytest.approx(0.4)
    assert losses.consistency(features, [-x for x in features], latents, latents).item() > 0.5
    assert losses.latent(latents + 2).item() > losses.latent(latents).item()

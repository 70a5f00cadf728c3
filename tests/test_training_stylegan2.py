"""The recipe of the StyleGAN2 prior, and what recipes of its family share."""

from __future__ import annotations

import gan_scene
import pytest
import torch
from gan_scene import assert_same_checkpoints, awake, faces, run, take, without_gradient
from torch.nn.functional import softplus

from facerestore.backends.priors import prior_from_state_dict
from facerestore.errors import ConfigError
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.settings import make_settings
from facerestore.training.plan import make_plan, preview, run_plan
from facerestore.training.recipes import recipe_class, style_gan
from facerestore.training.recipes.style_gan import (
    diversity,
    draw_codes,
    spectrum_distance_db,
)
from facerestore.training.recipes.stylegan2 import StyleGAN2Recipe, StyleGAN2Settings
from facerestore.weights.checkpoint import load_state_dict, save_state_dict

SIZE = 32
TINY = {
    "generator": {"style_dim": 8, "mapping_layers": 2, "narrow": 1 / 64},
    "discriminator": {"narrow": 1 / 64},
}


def recipe_of(*, face_size=SIZE, **more):
    settings = make_settings(StyleGAN2Settings, {**TINY, **more})
    return StyleGAN2Recipe(settings, face_size=face_size)


def made(recipe, seed=0):
    torch.manual_seed(seed)
    return awake(recipe.networks())


@pytest.mark.parametrize("upsampling", ["fir", "bilinear"])
def test_every_trained_parameter_gets_a_gradient_in_every_phase_and_no_other_does(upsampling):
    recipe = recipe_of(upsampling=upsampling)
    networks = made(recipe)
    assert [phase.name for phase in recipe.phases] == ["discriminator", "r1", "generator", "path_length"]
    for phase in recipe.phases:
        terms = take(recipe, networks, faces(2, SIZE), phase.name)
        assert all(torch.isfinite(term.value) for term in terms)
        for name, network in networks.items():
            silent = without_gradient(network)
            assert silent == ([] if name in phase.trains else [n for n, _ in network.named_parameters()])


def test_the_generator_minimises_the_logistic_loss_and_the_factors_of_the_lazy_terms_are_80_and_8():
    recipe = recipe_of()
    networks, batch = made(recipe), faces(2, SIZE)
    (adversarial,) = take(recipe, networks, batch, "generator")
    fake, _ = recipe.faces(gan_scene.scene(networks, batch, phase=2))
    expected = softplus(-networks["discriminator"].network(fake)).mean()
    assert torch.isclose(gan_scene.total([adversarial]), expected, rtol=1e-5)
    assert [t.weight for t in take(recipe, networks, batch, "r1")] == [80]
    assert [t.weight for t in take(recipe, networks, batch, "path_length")] == [8, 0]


def test_the_path_length_is_that_of_the_faces_along_the_styles_and_its_mean_moves():
    recipe = recipe_of()
    networks, batch = made(recipe), faces(2, SIZE)
    penalty, mean = take(recipe, networks, batch, "path_length")
    scene = gan_scene.scene(networks, batch, phase=3)
    image, latents = recipe.faces(scene)
    noise = scene.draw.normal(3, SIZE, SIZE) / SIZE
    (gradient,) = torch.autograd.grad((image * noise).sum(), latents)
    lengths = (gradient**2).sum(dim=2).mean(dim=1).sqrt()
    assert torch.isclose(mean.value, 0.01 * lengths.mean(), rtol=1e-4)
    assert torch.isclose(penalty.value, ((lengths - 0.01 * lengths.mean()) ** 2).mean(), rtol=1e-4)
    again = take(recipe, networks, batch, "path_length")[1].value
    assert torch.isclose(again, 0.0199 * lengths.mean(), rtol=1e-4)


def test_a_run_that_goes_on_equals_the_uninterrupted_one_and_carries_the_path_length(tmp_path):
    lazy = {"regularisers": {"r1_every": 2, "path_every": 1}}
    whole = run(recipe_of(**lazy), tmp_path / "whole", face_size=SIZE, steps=4)
    run(recipe_of(**lazy), tmp_path / "broken", face_size=SIZE, steps=2)
    resumed = run(recipe_of(**lazy), tmp_path / "broken", face_size=SIZE, steps=4)
    assert_same_checkpoints(whole, resumed)
    state = torch.load(resumed / "custom_checkpoint_2.pkl", weights_only=True)
    assert float(state["mean_path_length"]) > 0


@pytest.mark.parametrize("upsampling", ["fir", "bilinear"])
def test_an_export_is_a_prior_with_its_mean_style(tmp_path, upsampling):
    recipe = recipe_of(upsampling=upsampling)
    run(recipe, tmp_path / "run", face_size=SIZE, steps=1)
    average, _ = restore_average(recipe, tmp_path / "run")
    exported = recipe.export(average)
    save_state_dict(tmp_path / "prior.safetensors", exported.state_dict, metadata=exported.metadata)
    prior = prior_from_state_dict(load_state_dict(tmp_path / "prior.safetensors"))
    assert prior.config.upsampling == upsampling
    assert prior.w_avg.abs().sum() > 0
    kept = prior.w_avg.clone()
    prior.set_mean_latent()
    assert torch.allclose(prior.w_avg, kept, atol=1e-6)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(prior.eval()(z), average.network(z))


def test_faces_change_style_at_the_crossover():
    recipe = recipe_of()
    generator = made(recipe)["generator"]
    z = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(2))
    noise = generator.network.eval().draw_noise(3)
    image, latents = generator(z, torch.tensor([8, 3, 1]), noise)
    first, second = generator.network.style(z[:, 0]), generator.network.style(z[:, 1])
    for face, crossover in enumerate((8, 3, 1)):
        for layer in range(8):
            expected = (first if layer < crossover else second)[face]
            assert torch.allclose(latents[face, layer], expected, atol=1e-6)
    assert torch.allclose(image[0], generator.network(z[:1, 0])[0], atol=1e-5)


def test_nine_faces_of_ten_have_two_styles_whoever_draws_them():
    draw = Draw((5,), first=0, batch_size=400)
    z, crossover = draw_codes(draw, style_dim=4, latent_count=8, mixing_probability=0.9)
    assert z.shape == (400, 2, 4)
    assert 0.84 < float((crossover < 8).float().mean()) < 0.95
    assert set(crossover.tolist()) == set(range(1, 9))
    half = Draw((5,), first=200, batch_size=200)
    other, later = draw_codes(half, style_dim=4, latent_count=8, mixing_probability=0.9)
    assert torch.equal(z[200:], other)
    assert torch.equal(crossover[200:], later)


def test_groups_of_the_discriminator_make_two_batches_equal_one():
    recipe = recipe_of(discriminator={"narrow": 1 / 64, "stddev_group": 2})
    discriminator = made(recipe)["discriminator"]
    x = faces(4, SIZE)["hq"]
    whole, _ = discriminator(x)
    assert torch.allclose(whole, torch.cat([discriminator(x[:2])[0], discriminator(x[2:])[0]]), atol=1e-6)
    alone = made(recipe_of())["discriminator"]
    assert not torch.allclose(alone(x)[0][:2], alone(x[:2])[0], atol=1e-6)


def test_validation_shows_the_same_faces_every_time_and_sees_a_collapse():
    recipe = recipe_of()
    generator, batch = made(recipe)["generator"].eval(), faces(3, SIZE)
    with torch.no_grad():
        one, other = (recipe.validate(generator, batch) for _ in range(2))
        few = recipe.validate(generator, {"hq": batch["hq"][:1]})
    assert one.metrics == other.metrics
    assert [row.shape for row in one.rows] == [(3, 3, SIZE, SIZE)] * 2
    assert torch.allclose(few.rows[0], one.rows[0][:1], atol=1e-5)
    assert few.metrics["diversity"] > 0
    same = torch.rand(1, 3, 8, 8).expand(4, -1, -1, -1)
    assert diversity(same) == pytest.approx(0, abs=1e-6)
    assert diversity(torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5)])) == pytest.approx(0.5)


def test_spectra_are_compared_in_decibels():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    assert spectrum_distance_db(x, x) == 0
    assert spectrum_distance_db(10 * x, x) == pytest.approx(20, abs=1e-3)


def test_sizes_that_are_no_power_of_two_are_refused():
    for face_size in (16, 96, 2048):
        with pytest.raises(ConfigError, match="power of two from 32 to 1024"):
            recipe_of(face_size=face_size)


def test_the_mean_path_length_is_that_of_all_processes(monkeypatch):
    monkeypatch.setattr(style_gan.torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(style_gan.torch.distributed, "all_reduce", lambda value: value.add_(3.0))
    monkeypatch.setattr(style_gan.torch.distributed, "get_world_size", lambda: 2)
    assert style_gan._mean_over_processes(torch.tensor(1.0)) == 2


def test_smoke(tmp_path):
    faces_, _ = write_drawn_faces(tmp_path, count=4, face_size=64)
    assignments = ["engine.steps=2", "recipe.regularisers.r1_every=1"]
    plan = make_plan("stylegan2", faces=faces_, validation_faces=faces_, assignments=assignments, smoke=True)
    assert set(preview(plan).networks) == {"generator", "discriminator"}
    assert run_plan(plan, tmp_path / "run", device=torch.device("cpu")).exists()
    assert list((tmp_path / "run/samples").glob("*.png"))
    assert recipe_class("stylegan2") is StyleGAN2Recipe

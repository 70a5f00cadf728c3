"""The recipe of GPEN: what each stage minimises, what it starts from, and what it gives."""

from __future__ import annotations

import os
import subprocess
import sys

import gan_scene
import gpen_process
import pytest
import torch
from gan_scene import assert_same_checkpoints, awake, faces, run, take, without_gradient
from safetensors.torch import load_file
from torch.nn import functional
from torch.nn.functional import softplus

from facerestore.archs.gpen import GPENConfig, GPENDiscriminator, GPENGenerator
from facerestore.backends.gpen import GPENRestorer
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.settings import make_settings
from facerestore.training.losses.feature_weights import FeatureWeights
from facerestore.training.plan import make_plan, preview, run_plan
from facerestore.training.recipes import recipe_class
from facerestore.training.recipes.gpen import recipe as gpen
from facerestore.training.recipes.gpen.recipe import GPENRecipe, GPENSettings
from facerestore.training.recipes.style_gan import EMA_DECAY
from facerestore.weights.checkpoint import save_state_dict

SIZE = 32
TINY = {
    "generator": {"style_dim": 8, "mapping_layers": 2, "narrow": 1 / 64},
    "discriminator": {"narrow": 1 / 64},
}
PHASES = {
    "prior": ["discriminator", "r1", "generator", "path_length"],
    "single": ["discriminator", "r1", "generator", "path_length"],
    "restore": ["discriminator", "r1", "generator"],
}


def recipe_of(stage, *, face_size=SIZE, **more):
    return GPENRecipe(make_settings(GPENSettings, {**TINY, "stage": stage, **more}), face_size=face_size)


def made(recipe, seed=0):
    torch.manual_seed(seed)
    return awake(recipe.networks())


@pytest.mark.parametrize("stage", PHASES)
def test_every_trained_parameter_gets_a_gradient_in_every_phase_and_no_other_does(stage):
    recipe = recipe_of(stage)
    networks = made(recipe)
    assert [phase.name for phase in recipe.phases] == PHASES[stage]
    for phase in recipe.phases:
        terms = take(recipe, networks, faces(2, SIZE), phase.name)
        assert all(torch.isfinite(term.value) for term in terms)
        for name, network in networks.items():
            if name in phase.trains:
                assert without_gradient(network) == []
            else:
                assert len(without_gradient(network)) == len(list(network.parameters()))


def test_phases_and_factors_are_those_of_the_public_script():
    recipe = recipe_of("single")
    networks = made(recipe)
    assert [(p.name, p.every) for p in recipe.phases] == [
        ("discriminator", 1),
        ("r1", 16),
        ("generator", 1),
        ("path_length", 4),
    ]
    weights = {
        t.name: t.weight for p in recipe.phases for t in take(recipe, networks, faces(2, SIZE), p.name)
    }
    assert weights == {
        "discriminator": 1,
        "r1": 80,
        "adversarial": 1,
        "pixel": 1,
        "path_length": 8,
        "path_length_mean": 0,
    }
    optimisers = recipe.optimisers(networks)
    (generator,), (discriminator,) = (optimisers[name].param_groups for name in networks)
    assert (generator["lr"], generator["betas"]) == (pytest.approx(0.0016), (0, pytest.approx(0.99**0.8)))
    assert discriminator["lr"] == pytest.approx(0.001882, abs=1e-6)
    assert discriminator["betas"] == (0, pytest.approx(0.99 ** (16 / 17)))
    assert pytest.approx(0.997784, abs=1e-6) == EMA_DECAY


def test_the_single_stage_minimises_smooth_l1_and_the_logistic_loss():
    recipe = recipe_of("single", pixel_weight=3.0, adversarial_weight=0.5)
    networks, batch = made(recipe), faces(2, SIZE)
    terms = take(recipe, networks, batch, "generator")
    restorer, discriminator = networks["generator"].network, networks["discriminator"].network
    fake, real = restorer(batch["lq"] * 2 - 1), batch["hq"] * 2 - 1
    difference = (fake - real).abs()
    pixel = torch.where(difference < 1, 0.5 * difference**2, difference - 0.5).mean()
    expected = 3 * pixel + 0.5 * softplus(-discriminator(fake)).mean()
    assert torch.isclose(gan_scene.total(terms), expected, rtol=1e-5)


def test_restoring_minimises_l1_discriminator_features_and_the_logistic_loss():
    recipe = recipe_of("restore")
    networks, batch = made(recipe), faces(2, SIZE)
    terms = take(recipe, networks, batch, "generator")
    restorer, discriminator = networks["generator"].network, networks["discriminator"].network
    fake, real = restorer(batch["lq"] * 2 - 1), batch["hq"] * 2 - 1
    distances = [
        (f - r).norm() / f.numel() ** 0.5
        for f, r in zip(discriminator.features(fake), discriminator.features(real), strict=True)
    ]
    assert len(distances) == 4  # 32, 16, 8 and 4 px
    expected = softplus(-discriminator(fake)).mean() + (fake - real).abs().mean() + 0.02 * sum(distances)
    assert torch.isclose(gan_scene.total(terms), expected, rtol=1e-5)


def test_discriminator_and_r1_are_as_specified():
    recipe = recipe_of("single")
    networks, batch = made(recipe), faces(2, SIZE)
    discriminator = networks["discriminator"].network
    (term,) = take(recipe, networks, batch, "discriminator")
    fake, real = networks["generator"].network(batch["lq"] * 2 - 1), batch["hq"] * 2 - 1
    expected = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
    assert torch.isclose(term.value, expected, rtol=1e-5)
    (r1,) = take(recipe, networks, batch, "r1")
    real.requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real)
    assert torch.isclose(r1.value, (gradient**2).sum() / 2, rtol=1e-5)


def test_equal_features_have_a_finite_gradient():
    x = torch.ones(1, 2, requires_grad=True)
    gpen.feature_distance([x], [torch.ones(1, 2)]).backward()
    assert torch.equal(x.grad, torch.zeros(1, 2))


def test_the_rates_of_encoder_decoder_and_discriminator_are_100_to_10_to_1():
    recipe = recipe_of("restore")
    networks = made(recipe)
    optimisers = recipe.optimisers(networks)
    encoder, decoder = optimisers["generator"].param_groups
    assert encoder["lr"] == pytest.approx(0.002)
    assert decoder["lr"] == pytest.approx(0.0002)
    correction = 16 / 17  # of the lazy R1
    assert optimisers["discriminator"].param_groups[0]["lr"] == pytest.approx(0.00002 * correction)
    names = {id(p): name for name, p in networks["generator"].network.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in decoder["params"]} == {"generator"}
    assert {names[id(p)].split(".")[0] for p in encoder["params"]} == {
        "ecd0",
        "ecd1",
        "ecd2",
        "ecd3",
        "final_linear",
    }


@pytest.mark.parametrize("stage", ["prior", "single"])
def test_a_run_that_goes_on_equals_the_uninterrupted_one_and_carries_the_path_length(tmp_path, stage):
    lazy = {"regularisers": {"r1_every": 2, "path_every": 1}}
    whole = run(recipe_of(stage, **lazy), tmp_path / "whole", face_size=SIZE, steps=4)
    run(recipe_of(stage, **lazy), tmp_path / "broken", face_size=SIZE, steps=2)
    resumed = run(recipe_of(stage, **lazy), tmp_path / "broken", face_size=SIZE, steps=4)
    assert_same_checkpoints(whole, resumed)
    state = torch.load(resumed / "custom_checkpoint_2.pkl", weights_only=True)
    assert float(state["mean_path_length"]) > 0


def test_two_processes_equal_one_of_twice_the_batch_where_faces_are_compared_in_groups(tmp_path):
    whole = gpen_process.train_tiny(tmp_path / "whole", 4)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, gpen_process.__file__, str(tmp_path / "two"), "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("model.safetensors", "model_1.safetensors"):
        one, other = (
            load_file(folder / name) for folder in (whole, tmp_path / "two/checkpoints" / whole.name)
        )
        assert max((one[key] - other[key]).abs().max().item() for key in one) < 1e-5


@pytest.mark.parametrize("source", ["run", "file"])
def test_the_restorer_takes_up_the_prior_that_was_trained(tmp_path, source):
    run(recipe_of("prior"), tmp_path / "prior", face_size=SIZE, steps=2)
    average, _ = restore_average(recipe_of("prior"), tmp_path / "prior")
    place = tmp_path / "prior"
    if source == "file":
        exported = recipe_of("prior").export(average)
        assert exported.metadata["arch"] == "gpen-prior"
        place = tmp_path / "prior.safetensors"
        save_state_dict(place, exported.state_dict)
    recipe = recipe_of("restore", prior=str(place))
    torch.manual_seed(3)
    networks = recipe.networks()
    before = {name: network.network.state_dict() for name, network in networks.items()}
    before = {name: {k: v.clone() for k, v in state.items()} for name, state in before.items()}
    recipe.start(networks)
    taken = networks["generator"].network.state_dict()
    for key, value in average.network.state_dict().items():
        assert torch.equal(taken[f"generator.{key}"], value)
    assert all(
        torch.equal(taken[key], before["generator"][key]) for key in taken if not key.startswith("generator.")
    )
    changed = not torch.equal(
        networks["discriminator"].network.convs[0][0].weight,
        before["discriminator"]["convs.0.0.weight"],
    )
    assert changed == (source == "run")
    assert bool(recipe.notes) == (source == "file")


def test_a_whole_gpen_brings_its_encoder_and_a_discriminator_its_own_file(tmp_path):
    config = GPENConfig(SIZE, style_dim=8, mapping_layers=2, narrow=1 / 64)
    torch.manual_seed(8)
    restorer, discriminator = GPENGenerator(config), GPENDiscriminator(SIZE, narrow=1 / 64)
    save_state_dict(tmp_path / "gpen.safetensors", restorer.state_dict())
    save_state_dict(tmp_path / "gpen-D.safetensors", discriminator.state_dict())
    recipe = recipe_of(
        "single",
        prior=str(tmp_path / "gpen.safetensors"),
        discriminator_weights=str(tmp_path / "gpen-D.safetensors"),
    )
    networks = made(recipe)
    recipe.start(networks)
    for ours, theirs in zip(networks.values(), (restorer, discriminator), strict=True):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.network.state_dict()[key], value)


def test_a_prior_that_does_not_fit_is_refused(tmp_path):
    save_state_dict(tmp_path / "other.safetensors", {"weight": torch.zeros(2)})
    for place, told in (
        (tmp_path / "other.safetensors", "neither a prior of GPEN"),
        (tmp_path / "absent", "is not a file"),
        (tmp_path, "has no checkpoint"),
    ):
        recipe = recipe_of("restore", prior=str(place))
        with pytest.raises(CheckpointError, match=told):
            recipe.start(recipe.networks())
    run(recipe_of("prior"), tmp_path / "prior", face_size=SIZE, steps=1)
    wider = recipe_of(
        "restore", prior=str(tmp_path / "prior"), generator={**TINY["generator"], "narrow": 1 / 32}
    )
    with pytest.raises(CheckpointError, match="does not fit"):
        wider.start(wider.networks())


def test_an_export_is_a_gpen_that_restores(tmp_path):
    recipe = recipe_of("single")
    last = run(recipe, tmp_path / "run", face_size=SIZE, steps=1)
    average, step = restore_average(recipe, tmp_path / "run")
    exported = recipe.export(average)
    assert (last.name, step) == ("step_00000001", 1)
    restorer = GPENRestorer.build(exported.state_dict)
    assert (restorer.name, restorer.face_size, exported.metadata) == ("gpen", SIZE, {"arch": "gpen"})
    x = faces(1, SIZE)["lq"] * 2 - 1
    with torch.no_grad():
        assert torch.allclose(restorer.network(x), average(x)[0], atol=1e-5)
        assert set(recipe.validate(average, faces(2, SIZE)).metrics) == {"psnr_input", "psnr"}


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="face_size is 48; this recipe takes a power of two"):
        recipe_of("single", face_size=48)
    with pytest.raises(ConfigError, match="starts from nothing"):
        recipe_of("prior", prior="somewhere")
    with pytest.raises(ConfigError, match="three numbers above 0"):
        recipe_of("restore", rate_ratio=[100, 10, 0])
    with pytest.raises(ConfigError, match="did you mean 'narrow'"):
        recipe_of("single", generator={"narow": 1})


def test_a_regulariser_of_weight_zero_has_no_phase():
    recipe = recipe_of("single", regularisers={"r1_weight": 0, "path_weight": 0})
    assert [phase.name for phase in recipe.phases] == ["discriminator", "generator"]
    groups = [optimiser.param_groups[0] for optimiser in recipe.optimisers(made(recipe)).values()]
    assert [group["lr"] for group in groups] == [0.002, 0.002]


def test_what_a_run_does_without_is_said(monkeypatch):
    assert "below 256 px: the identity loss is left out" in recipe_of("single").notes[0]
    assert "random numbers" in recipe_of("restore").notes[0]
    monkeypatch.setattr(
        gpen, "find_features", lambda purpose, *, instead, wish: FeatureWeights(purpose, None, instead)
    )
    recipe = recipe_of("single", face_size=256)
    assert recipe.notes == ("the identity loss is left out",)
    assert recipe.frozen() == {}


class FakeArcFace(torch.nn.Module):
    def of_aligned(self, x):
        return functional.normalize(x.mean(dim=(2, 3)), dim=1)


def test_identity_is_compared_where_arcface_is_there_and_a_run_keeps_to_it(monkeypatch):
    def find(purpose, *, instead, wish):
        if wish == "yes":
            raise WeightsError("none")
        return FeatureWeights(purpose, "arcface", "ArcFace: weights 'arcface'")

    monkeypatch.setattr(gpen, "find_features", find)
    monkeypatch.setattr(gpen, "load_arcface", lambda name: FakeArcFace())
    monkeypatch.setattr(gpen, "SMALLEST_IDENTITY_FACE", SIZE)
    recipe = recipe_of("single", identity_weight=2.0)
    networks, batch = made(recipe) | recipe.frozen(), faces(2, SIZE)
    term = next(t for t in take(recipe, networks, batch, "generator") if t.name == "identity")
    fake, real = networks["generator"](batch["lq"] * 2 - 1)[0], batch["hq"] * 2 - 1
    cosines = functional.cosine_similarity(fake.mean(dim=(2, 3)), real.mean(dim=(2, 3)))
    assert torch.isclose(term.value, (1 - cosines).mean(), atol=1e-6)
    assert term.weight == 2
    state = recipe.state_dict()
    with pytest.raises(ConfigError, match="ArcFace"):
        recipe_of("single", identity_weight=0).load_state_dict(state)
    with pytest.raises(WeightsError):
        recipe_of("single", identity="yes")


@pytest.mark.parametrize("stage", PHASES)
def test_mixed_precision_reaches_every_phase(stage):
    recipe = recipe_of(stage)
    networks = made(recipe)
    for number, phase in enumerate(recipe.phases):
        with torch.autocast("cpu", torch.bfloat16):
            scene = gan_scene.scene(networks, faces(2, SIZE), phase=number)
            terms = recipe.losses(phase.name, scene)
            # What is given to the engine must be what the faces were made from, not a copy in another precision.
            assert recipe.faces(scene)[1].dtype == torch.float32
        gan_scene.total(terms).backward()
        assert all(torch.isfinite(term.value) for term in terms)


@pytest.mark.parametrize("stage", PHASES)
def test_smoke(tmp_path, stage):
    faces_, _ = write_drawn_faces(tmp_path, count=4, face_size=64)
    assignments = [f"recipe.stage={stage}", "engine.steps=2", "recipe.regularisers.r1_every=1"]
    plan = make_plan("gpen", faces=faces_, validation_faces=faces_, assignments=assignments, smoke=True)
    assert set(preview(plan).networks) == {"generator", "discriminator"}
    assert run_plan(plan, tmp_path / "run", device=torch.device("cpu")).exists()
    assert list((tmp_path / "run/samples").glob("*.png"))


def test_the_recipe_is_found_and_its_defaults_are_settings():
    assert recipe_class("gpen") is GPENRecipe
    defaults = GPENRecipe.defaults()
    assert defaults["engine"]["ema_decay"] == EMA_DECAY
    assert make_settings(GPENSettings, {}).stage == "single"


def test_without_an_adversary_the_single_stage_learns_from_pixels_alone():
    recipe = recipe_of("single", adversarial_weight=0.0)
    assert [phase.name for phase in recipe.phases] == ["generator", "path_length"]
    terms = take(recipe, made(recipe), faces(2, SIZE), "generator")
    assert [term.name for term in terms] == ["pixel"]
    assert [phase.name for phase in recipe_of("prior", adversarial_weight=0.0).phases] == PHASES["prior"]


def test_muon_takes_the_inner_convolutions_of_the_generator():
    recipe = recipe_of("single", muon_rate=0.02, beta1=0.9)
    networks = made(recipe)
    matrices, others = recipe.optimisers(networks)["generator"].param_groups
    assert (matrices["lr"], others["lr"]) == (0.02, recipe.settings.learning_rate)
    chosen = {id(p) for p in matrices["params"]}
    names = {key for key, p in networks["generator"].named_parameters() if id(p) in chosen}
    assert {"network.ecd1.0.1.weight", "network.generator.convs.0.conv.weight"} <= names
    assert not any("to_rgb" in name or "ecd0" in name or "input" in name for name in names)


def test_the_face_reaches_a_restorer_from_the_first_step_where_asked():
    for strength in (0.0, 1.0):
        recipe = recipe_of("single", feature_strength=strength)
        torch.manual_seed(0)
        restorer = recipe.networks()["generator"].network
        found = {p.item() for name, p in restorer.named_parameters() if name.endswith("noise.weight")}
        assert found == {strength}

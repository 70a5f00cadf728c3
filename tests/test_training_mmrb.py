"""Training MMRB: gradients everywhere, terms and weights as designed, the self-supervised parts, exact resumption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gan_scene import total
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

from facerestore.archs.mmrb import MMRBConfig
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig
from facerestore.backends import load_backend
from facerestore.cli.app import app
from facerestore.degradation import preset
from facerestore.errors import CheckpointError, ConfigError
from facerestore.training.data.datasets import PositionsOnly
from facerestore.training.data.samples import Samples
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.loop import train
from facerestore.training.engine.settings import EngineSettings, make_settings, resolved
from facerestore.training.engine.step import rate_factor
from facerestore.training.export import export_run
from facerestore.training.losses.common import consistency
from facerestore.training.losses.feature_weights import FeatureWeights
from facerestore.training.recipes.base import Scene
from facerestore.training.recipes.mmrb import parts as mmrb_parts
from facerestore.training.recipes.mmrb import recipe as module
from facerestore.training.recipes.mmrb.parts import Teacher, TrainedMMRB, draw_labelled, draw_noise
from facerestore.training.recipes.mmrb.recipe import MMRBRecipe
from facerestore.training.recipes.mmrb.settings import MMRBSettings
from facerestore.weights.checkpoint import save_state_dict

NETWORK = {"style_dim": 8, "narrow": 1 / 32, "block_counts": [1, 1, 1]}
SIZE = 16
PRIOR = GeneratorConfig(SIZE, style_dim=8, mapping_layers=2, narrow=1 / 32)


def recipe_of(**settings):
    values = {"network": NETWORK, "consistency_ramp_steps": 4, "r1_every": 2, **settings}
    return MMRBRecipe(make_settings(MMRBSettings, values), face_size=SIZE)


def pairs(number=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hq = torch.rand(number, 3, SIZE, SIZE, generator=generator)
    return {"hq": hq, "lq": functional.avg_pool2d(hq, 3, 1, 1)}


class Pairs(Samples):
    def __getitem__(self, position):
        return {name: faces[0] for name, faces in pairs(1, seed=position).items()}


def networks_of(recipe, seed=0):
    torch.manual_seed(seed)
    networks = recipe.networks()
    recipe.start(networks)
    return networks


def wake(network):
    """Give the parts that start at zero values, as training would."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".heads." in name or ".offsets." in name or name.endswith("noise.weight"):
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


def scene_of(recipe, networks, phase, *, step=0, steps=100, batch=None, first=0):
    """Return what the engine shows in one phase of a step, with gradients on as it switches them."""
    number, found = next((n, p) for n, p in enumerate(recipe.phases) if p.name == phase)
    for name, network in networks.items():
        network.requires_grad_(name in found.trains)
        network.zero_grad(set_to_none=True)
    frozen = {name: network.eval().requires_grad_(False) for name, network in recipe.frozen().items()}
    batch = pairs() if batch is None else batch
    seen = {**networks, **frozen}
    draw = Draw((1, step, number), first=first, batch_size=len(next(iter(batch.values()))))
    return Scene(networks=seen, bare=seen, batch=batch, draw=draw, step=step, progress=step / steps)


def by_name(terms):
    return {term.name: term for term in terms}


def write_prior(folder, config=PRIOR):
    torch.manual_seed(3)
    prior = StyleGAN2Prior(config)
    prior.set_mean_latent()
    save_state_dict(folder / "prior.safetensors", prior.state_dict())
    return str(folder / "prior.safetensors")


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_every_trained_parameter_gets_a_gradient_in_every_phase(tmp_path, stage, with_prior):
    recipe = recipe_of(stage=stage, prior=write_prior(tmp_path) if with_prior else "")
    networks = networks_of(recipe)
    wake(networks["generator"])
    batch = {"position": torch.arange(4)} if stage == 0 else pairs()
    optimisers = recipe.optimisers(networks)
    for phase in recipe.phases:
        scene = scene_of(recipe, networks, phase.name, batch=batch, step=50)
        total(recipe.losses(phase.name, scene)).backward()
        stepped = [p for group in optimisers[phase.optimiser].param_groups for p in group["params"]]
        trained = [p for name in phase.trains for p in networks[name].parameters() if p.requires_grad]
        assert {id(p) for p in trained} == {id(p) for p in stepped}
        assert all(p.grad is not None for p in trained)
        frozen = [p for net in networks.values() for p in net.parameters() if not p.requires_grad]
        assert all(p.grad is None for p in frozen)
    is_trained = stage == 2 or (stage == 1 and not with_prior)
    assert is_trained == (recipe.synthesis_rate is not None)


def test_synthesis_learns_at_a_tenth_of_the_rate_in_stage_2_and_not_at_all_in_stage_1(tmp_path):
    prior = write_prior(tmp_path)
    rates = {}
    for stage in (1, 2):
        recipe = recipe_of(stage=stage, prior=prior)
        groups = recipe.optimisers(networks_of(recipe))["generator"].param_groups
        rates[stage] = [group["lr"] for group in groups]
    assert rates == {1: [2e-4], 2: [2e-4, 2e-5]}
    assert recipe_of(stage=2, prior=prior, finetune=False).synthesis_rate is None


def test_terms_of_stage_1_without_published_weights_and_their_total_by_hand():
    recipe = recipe_of(self_reconstruction=0.0)
    networks = networks_of(recipe)
    generator, judge = networks["generator"], networks["discriminator"]
    wake(generator)
    scene = scene_of(recipe, networks, "generator", step=2)
    terms = recipe.losses("generator", scene)

    draw = Draw((1, 2, 0), first=0, batch_size=4)
    draw.uniform(1, 1, 1)  # who is shown as he is: nobody
    lq, hq = pairs()["lq"] * 2 - 1, pairs()["hq"] * 2 - 1
    with torch.no_grad():
        drawn = generator(lq, draw_noise(PRIOR, draw))
        pyramid = sum(
            (drawn.heads[r] - functional.avg_pool2d(hq, SIZE // r)).abs().mean() for r in drawn.heads
        )
        matching = sum(
            (a - b).square().mean()
            for a, b in zip(judge.features(drawn.faces), judge.features(hq), strict=True)
        )
        real = generator.codec(hq)  # at its first look the teacher is the codec itself
        aligned = consistency(drawn.features, list(real.features.values()), drawn.offsets, real.offsets)
        expected = (
            1.0 * (drawn.faces - hq).abs().mean()
            + 1.0 * pyramid
            + 10.0 * matching
            + 1e-3 * drawn.offsets.square().mean()
            + 0.1 * (2 / 4) * aligned
        )
    assert set(by_name(terms)) == {"pixel", "pyramid", "feature_matching", "latent", "consistency"}
    assert total(terms).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_pyramid_counts_in_the_first_part_of_the_run_alone():
    recipe = recipe_of()
    networks = networks_of(recipe)
    weights = [
        by_name(recipe.losses("generator", scene_of(recipe, networks, "generator", step=step)))[
            "pyramid"
        ].weight
        for step in (0, 5, 6, 99)
    ]
    assert weights == [1.0, 1.0, 0.0, 0.0]


class Eyes(nn.Module):
    """Stands for VGG19: the pooled picture, five times."""

    def forward(self, x):
        return [functional.avg_pool2d(x, 2) * k for k in range(1, 6)]


def installed(purpose, *, instead, wish):
    return FeatureWeights(purpose, "net.of-tests", f"{purpose}: weights 'net.of-tests'")


def test_with_published_weights_pixels_count_less_and_perception_more(monkeypatch):
    monkeypatch.setattr(module, "find_features", installed)
    monkeypatch.setattr(module, "load_vgg19", lambda name: Eyes())
    arcface = nn.Identity()
    monkeypatch.setattr(module, "ArcFace", nn.Identity)
    arcface.of_aligned = lambda x: functional.normalize(x.flatten(1)[:, :7])
    monkeypatch.setattr(module, "load_arcface", lambda name: arcface)
    recipe = recipe_of(stage=1)
    networks = networks_of(recipe)
    assert networks.keys() == {"generator"}
    terms = by_name(recipe.losses("generator", scene_of(recipe, networks, "generator")))
    weights = {name: term.weight for name, term in terms.items()}
    assert weights == {
        "pixel": 0.1,
        "pyramid": 1.0,
        "perceptual": 1.0,
        "identity": 10.0,
        "latent": 1e-3,
        "consistency": 0.0,  # its ramp begins
    }
    assert [phase.name for phase in recipe.phases] == ["generator"]
    recipe = recipe_of(stage=2)
    networks = networks_of(recipe)
    terms = by_name(recipe.losses("generator", scene_of(recipe, networks, "generator", step=8)))
    assert terms["adversarial"].weight == 0.1
    assert terms["consistency"].weight == 0.1
    assert "feature_matching" not in terms


def test_fallbacks_are_said_and_a_run_goes_on_only_as_it_began(monkeypatch):
    recipe = recipe_of()
    text = " ".join(recipe.notes)
    assert "with weight 10, and pixels count 1" in text
    assert "identity loss is left out" in text
    assert "no prior is given" in text
    assert "is left out, and pixels count 1;" in recipe_of(weights={"feature_matching": 0.0}).notes[0]
    state = recipe.state_dict()
    monkeypatch.setattr(module, "find_features", installed)
    with pytest.raises(ConfigError, match="this run began with VGG19 without weights"):
        recipe_of().load_state_dict(state)


def test_realism_has_adversary_and_lazy_penalty():
    recipe = recipe_of(stage=2)
    networks = networks_of(recipe)
    assert [(phase.name, phase.every) for phase in recipe.phases] == [
        ("generator", 1),
        ("discriminator", 1),
        ("r1", 2),
    ]
    (term,) = recipe.losses("r1", scene_of(recipe, networks, "r1"))
    assert term.weight == 10 / 2 * 2
    real = (pairs()["hq"] * 2 - 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(networks["discriminator"](real).sum(), real)
    assert term.value.item() == pytest.approx(gradient.square().sum().item() / 4, rel=1e-4)
    adversarial = by_name(recipe.losses("generator", scene_of(recipe, networks, "generator")))["adversarial"]
    assert adversarial.weight == 0.1


def test_a_share_of_the_faces_is_shown_as_it_is():
    recipe = recipe_of(self_reconstruction=0.25)
    networks = networks_of(recipe)
    batch = pairs(200)
    faces = recipe._faces_of(scene_of(recipe, networks, "generator", batch=batch))
    is_shown = (faces.lq == faces.hq).flatten(1).all(dim=1)
    assert 0.15 < is_shown.float().mean() < 0.35
    assert torch.equal(faces.lq[~is_shown], batch["lq"][~is_shown] * 2 - 1)
    none = recipe_of(self_reconstruction=0.0)
    faces = none._faces_of(scene_of(none, networks, "generator", batch=batch))
    assert torch.equal(faces.lq, batch["lq"] * 2 - 1)


def test_alignment_can_be_switched_off_and_does_not_reward_collapse():
    recipe = recipe_of(weights={"consistency": 0.0})
    networks = networks_of(recipe)
    assert "consistency" not in by_name(recipe.losses("generator", scene_of(recipe, networks, "generator")))
    # Features that shrink toward nothing agree no better: each channel is normalised before it is compared.
    torch.manual_seed(0)
    ours, theirs, latents = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8), torch.zeros(2, 4, 5)
    apart = consistency([ours], [theirs], latents, latents)
    shrunk = consistency([0.05 * ours], [0.05 * theirs], latents, latents)
    assert shrunk.item() == pytest.approx(apart.item(), rel=0.02)


def test_the_teacher_is_an_average_that_moves_once_a_step():
    codec = nn.Linear(1, 1, bias=False)
    nn.init.constant_(codec.weight, 1.0)
    teacher = Teacher(0.9)
    teacher.follow(codec, 0)
    nn.init.constant_(codec.weight, 2.0)
    teacher.follow(codec, 0)  # a further pass of the same step
    assert teacher.look(codec, torch.ones(1, 1)).item() == 1.0
    teacher.follow(codec, 1)
    assert teacher.look(codec, torch.ones(1, 1)).item() == pytest.approx(1.1)
    other = Teacher(0.9)
    other.load_state_dict(teacher.state_dict())
    teacher.follow(codec, 2)
    assert other.look(codec, torch.ones(1, 1)).item() == pytest.approx(1.1)


def test_labelled_faces_are_what_the_prior_draws_and_samples_do_not_see_each_other(tmp_path):
    prior = mmrb_parts.labelling_prior(replace(PRIOR, mapping_layers=0), Path(write_prior(tmp_path))).eval()
    whole = draw_labelled(prior, preset("gfpgan"), Draw((1,), first=0, batch_size=6))
    part = draw_labelled(prior, preset("gfpgan"), Draw((1,), first=4, batch_size=2))
    for a, b in zip(whole, part, strict=True):
        assert torch.allclose(a[4:], b, atol=1e-5)
    assert whole.latents.shape == (6, PRIOR.latent_count, 8)
    assert torch.allclose(prior.synthesise(whole.latents).clamp(-1, 1), whole.hq)
    assert (whole.lq != whole.hq).any()
    many = draw_labelled(prior, preset("gfpgan"), Draw((2,), first=0, batch_size=64)).latents
    is_mixed = (many[:, :1] != many).any(dim=(1, 2))
    assert 0.3 < is_mixed.float().mean() < 0.7
    z = Draw((2,), first=0, batch_size=64).normal(2, 8)
    reach = (many[:, 0] - prior.w_avg).norm(dim=1) / (prior.style(z[:, 0]) - prior.w_avg).norm(dim=1)
    assert 0.5 <= reach.min() < 0.65
    assert 0.85 < reach.max() <= 1.0 + 1e-5


def test_stage_0_needs_no_faces_and_learns_the_styles(tmp_path):
    recipe = recipe_of(stage=0, prior=write_prior(tmp_path), weights={"label": 3.0})
    assert recipe.needs == frozenset()
    assert MMRBRecipe.needs == frozenset({"lq", "hq"})
    networks = networks_of(recipe)
    scene = scene_of(recipe, networks, "generator", batch={"position": torch.arange(4)})
    terms = by_name(recipe.losses("generator", scene))
    weights = {name: term.weight for name, term in terms.items()}
    assert weights == {"label": 3.0, "pixel": 1.0, "pyramid": 0.0, "feature_matching": 10.0}
    labelled = recipe._faces_of(scene_of(recipe, networks, "generator", batch={"position": torch.arange(4)}))
    mean = networks["generator"].prior.w_avg
    assert terms["label"].value.item() == pytest.approx(  # at first the codec tells the mean style
        (labelled.latents - mean).square().mean().item(), rel=1e-5
    )


def test_noise_and_mixed_precision_leave_the_synthesis_in_float32():
    recipe = recipe_of()
    network = networks_of(recipe)["generator"]
    seen = []
    network.prior.convs[0].conv.modulation.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawn = network(pairs()["lq"], draw_noise(PRIOR, Draw((1,), first=0, batch_size=4)))
    assert seen == [torch.float32]
    assert drawn.faces.dtype == torch.float32
    assert drawn.features[0].dtype == torch.bfloat16
    noise = draw_noise(PRIOR, Draw((1,), first=0, batch_size=2))
    assert [tuple(n.shape) for n in noise] == [(2, 1, 4, 4), *[(2, 1, 8, 8)] * 2, *[(2, 1, 16, 16)] * 2]


ENGINE = {"steps": 4, "batch_size": 2, "save_every": 2, "validate_every": 4, "log_every": 1}


def go(folder, *, stop=None, **settings):
    """Train a tiny run, up to ``stop`` steps of it, and return its last checkpoint."""
    recipe = recipe_of(**settings)
    engine = make_settings(EngineSettings, {**ENGINE, "schedule": "constant", "steps": stop or 4})
    described = {
        "recipe": "mmrb",
        "engine": resolved(engine),
        "data": {"face_size": SIZE},
        "mmrb": resolved(recipe.settings),
    }
    return train(
        recipe,
        engine,
        samples=Pairs() if recipe.needs else PositionsOnly(),
        validation=pairs(3) if recipe.needs else {},
        folder=folder,
        described=described,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("stage", [0, 2])
def test_two_steps_and_two_more_are_four_bit_for_bit(tmp_path, stage):
    whole = go(tmp_path / "whole", stage=stage)
    go(tmp_path / "broken", stage=stage, stop=2)
    resumed = go(tmp_path / "broken", stage=stage)
    for name in ("model.safetensors", "model_1.safetensors"):
        one, other = load_file(whole / name), load_file(resumed / name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    one, other = (torch.load(p / "custom_checkpoint_2.pkl", weights_only=True) for p in (whole, resumed))
    assert one["teacher"]["step"] == other["teacher"]["step"] == (3 if stage else -1)
    assert len(one["teacher"]["parameters"]) == (
        len(list(recipe_of().networks()["generator"].codec.parameters())) if stage else 0
    )
    for key, value in one["teacher"]["parameters"].items():
        assert torch.equal(value, other["teacher"]["parameters"][key])


def test_a_stage_goes_on_from_another_and_its_export_is_what_the_backend_loads(tmp_path):
    prior = write_prior(tmp_path)
    first = tmp_path / "first"
    go(first, stage=1, prior=prior)
    recipe = recipe_of(stage=2, start=str(first))
    networks = networks_of(recipe)
    average, step = restore_average(recipe_of(stage=1), first)
    assert step == 4
    for key, value in average.state_dict().items():
        assert torch.equal(value, networks["generator"].state_dict()[key])
    learnt = load_file(first / "checkpoints/step_00000004/model_1.safetensors")
    assert all(torch.equal(v, learnt[k]) for k, v in networks["discriminator"].state_dict().items())

    (tmp_path / "prior.safetensors").unlink()  # a run that has begun no longer needs it
    out = export_run(first, tmp_path / "out.safetensors", licence="CC0-1.0", data="noise").path
    restorer = load_backend(out)
    faces = pairs(2)["lq"] * 2 - 1
    with torch.no_grad():
        assert torch.allclose(restorer.network(faces), average.restore(faces), atol=1e-6)
    again = networks_of(recipe_of(stage=2, start=str(out)))["generator"]
    assert torch.equal(again.codec.stem.weight, average.codec.stem.weight)


def test_a_prior_that_does_not_fit_says_which_settings_do(tmp_path):
    prior = write_prior(tmp_path, replace(PRIOR, style_dim=16))
    with pytest.raises(ConfigError, match=r"set recipe\.network\.style_dim=16$"):
        networks_of(recipe_of(prior=prior))
    with pytest.raises(CheckpointError, match="is not a file"):
        networks_of(recipe_of(prior=str(tmp_path / "nothing.pth")))
    with pytest.raises(ConfigError, match="'noise_concat' goes with 'concat'"):
        networks_of(recipe_of(prior=write_prior(tmp_path), network={**NETWORK, "inject": "noise_concat"}))
    with pytest.raises(ConfigError, match="no mapping network"):
        networks_of(
            recipe_of(
                stage=0, prior=write_prior(tmp_path, replace(PRIOR, mapping_layers=2)) and mapless(tmp_path)
            )
        )


def mapless(folder):
    torch.manual_seed(3)
    prior = StyleGAN2Prior(replace(PRIOR, mapping_layers=0))
    save_state_dict(folder / "mapless.safetensors", prior.state_dict())
    return str(folder / "mapless.safetensors")


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ConfigError, match="brings its own prior"):
        recipe_of(stage=1, prior="a", start="b")
    with pytest.raises(ConfigError, match=r"give one with recipe\.prior"):
        recipe_of(stage=0, start="b")
    with pytest.raises(ConfigError, match="cannot have this network at 16 px"):
        recipe_of(network={**NETWORK, "narrow": 1 / 300})
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        networks_of(recipe_of(stage=2, start=str(Path(__file__).parent)))


def test_a_run_of_recipe_stylegan2_is_a_prior(tmp_path):
    """Its average lies a name deeper and has no mean style yet."""
    checkpoint = tmp_path / "run/checkpoints/step_00000001"
    checkpoint.mkdir(parents=True)
    torch.manual_seed(3)
    state = StyleGAN2Prior(PRIOR).state_dict()
    torch.save(
        {f"network.{key}": value for key, value in state.items()}, checkpoint / "custom_checkpoint_1.pkl"
    )
    network = networks_of(recipe_of(prior=str(tmp_path / "run")))["generator"]
    assert torch.equal(network.prior.input.input, state["input.input"])
    assert network.prior.w_avg.abs().sum() > 0


def test_rates_are_halved_twice():
    settings = make_settings(EngineSettings, {"steps": 100, "schedule": "halving"})
    assert [rate_factor(settings, step) for step in (0, 69, 70, 84, 85, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert MMRBRecipe.defaults()["engine"]["schedule"] == "halving"


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_smoke(tmp_path, stage):
    arguments = [
        "--set",
        f"recipe.stage={stage}",
        "--steps",
        "2",
        "--device",
        "cpu",
        "--run",
        str(tmp_path / "run"),
    ]
    result = CliRunner().invoke(app, ["train", "mmrb", "--smoke", *arguments])
    assert result.exit_code == 0, result.output
    assert "done:" in result.output
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert {"psnr", "psnr_input"} <= last.keys()


def test_a_prior_that_is_not_trained_stays_without_gradients():
    network = TrainedMMRB(MMRBConfig(SIZE, style_dim=8, narrow=1 / 32), synthesis_trained=False)
    network.requires_grad_(True)
    assert all(p.requires_grad for p in network.codec.parameters())
    assert not any(p.requires_grad for p in network.prior.parameters())


def test_muon_takes_the_inner_convolutions_of_codec_and_synthesis():
    recipe = recipe_of(stage=1, muon_rate=(1e-3, 2e-2))
    networks = networks_of(recipe)
    groups = recipe.optimisers(networks)["generator"].param_groups
    rates = [(group["kind"], group["lr"]) for group in groups]
    settings = recipe.settings
    codec, synthesis = settings.codec_rate, settings.scratch_rate
    assert rates == [("muon", 1e-3), ("adamw", codec), ("muon", 2e-2), ("adamw", synthesis)]
    with pytest.raises(ConfigError, match="muon_rate"):
        recipe_of(stage=1, muon_rate=(1e-3, 0.0))

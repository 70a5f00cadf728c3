"""Training of the bundled restorer: what is stepped by what, a run that learns, an export that restores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, same_networks, scene_of, trained

from facerestore.alignment import template
from facerestore.archs.lite import BUNDLED, LiteConfig
from facerestore.backends import load_backend
from facerestore.errors import CheckpointError, ConfigError, FaceRestoreError, WeightsError
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import make_settings
from facerestore.training.export import export_run
from facerestore.training.losses.common import charbonnier
from facerestore.training.plan import make_plan
from facerestore.training.recipes import lite
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, read_metadata, save_state_dict

TINY = (
    "data.face_size=32",
    "recipe.network={unshuffle=4, widths=[8, 8], blocks=[1, 1]}",
    "engine.steps=6",
    "engine.save_every=3",
    "engine.validate_every=3",
    "engine.warmup_steps=2",
)


def test_gradients_reach_every_parameter(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("lite", tmp_path, *TINY)
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    with torch.no_grad():  # the head starts from zeros, and lets no gradient through
        networks["generator"].head.weight.normal_()
    batch = first_batch(plan)
    terms, found = gradients(plan, networks, scene_of(plan, networks, batch), phase)
    assert terms.keys() == {"pixel", "frequency"}
    restored = networks["generator"](batch["lq"])
    assert terms["pixel"] == pytest.approx(charbonnier(restored, batch["hq"]).item(), rel=1e-5)
    assert all(gradient.abs().sum() > 0 for gradient in found.values())


def test_muon_steps_inner_convolutions_and_adamw_the_rest(tmp_path):
    plan = drawn_plan("lite", tmp_path, *TINY)
    networks = plan.recipe.networks()
    kinds = {
        id(parameter): group["kind"]
        for group in plan.recipe.optimisers(networks)["generator"].param_groups
        for parameter in group["params"]
    }
    named = dict(networks["generator"].named_parameters())
    assert len(kinds) == len(named)
    for name, parameter in named.items():
        outer = name.startswith(("stem.", "head."))
        assert kinds[id(parameter)] == ("muon" if parameter.ndim == 4 and not outer else "adamw"), name


ADVERSARY = (*TINY, "recipe.adversary={weight=0.1, width=4}")


def test_an_adversary_adds_what_it_sees_and_learns_from_the_same_faces(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("lite", tmp_path, *ADVERSARY)
    networks, (generator, discriminator) = plan.recipe.networks(), plan.recipe.phases
    with torch.no_grad():
        networks["generator"].head.weight.normal_()
    scene = scene_of(plan, networks, first_batch(plan))
    terms, found = gradients(plan, networks, scene, generator)
    assert terms.keys() == {"pixel", "frequency", "matching", "adversarial"}
    assert all(key.startswith("generator.") and gradient.abs().sum() > 0 for key, gradient in found.items())
    expected = networks["generator"](scene.batch["lq"])
    assert torch.allclose(scene.batch["restored"], expected, atol=1e-4)  # laid out differently in memory
    terms, found = gradients(plan, networks, scene, discriminator)
    assert terms.keys() == {"discriminator"}
    moved = {key for key, gradient in found.items() if gradient.abs().sum() > 0}
    assert found.keys() - moved <= {"discriminator.score.bias"}  # pulled both ways alike within the hinge
    assert all(key.startswith("discriminator.") for key in found)


def test_a_discriminator_that_tells_faces_apart_pulls_the_generator_towards_the_real_ones(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("lite", tmp_path, *ADVERSARY, "recipe.adversary.learning_rate=0.01")
    networks, discriminator = plan.recipe.networks(), plan.recipe.phases[1]
    batch = first_batch(plan)
    optimiser = plan.recipe.optimisers(networks)["discriminator"]
    networks["generator"].requires_grad_(False)
    for _ in range(40):
        scene = scene_of(plan, networks, {**batch, "restored": networks["generator"](batch["lq"])})
        (term,) = plan.recipe.losses(discriminator.name, scene)
        optimiser.zero_grad()
        term.value.backward()
        optimiser.step()
    judge, blurred = networks["discriminator"], batch["lq"].clone().requires_grad_(True)
    judge(blurred, batch["lq"])[0].mean().backward()
    stepped = blurred.detach() + 1e-2 * blurred.grad / blurred.grad.abs().max()
    with torch.no_grad():
        scores = [judge(face, batch["lq"])[0].mean() for face in (blurred, stepped, batch["hq"])]
    assert scores[0] < scores[1]
    assert scores[0] < scores[2]


def test_a_run_with_an_adversary_goes_on_as_if_never_interrupted_and_exports_the_generator_alone(tmp_path):
    constant = (*ADVERSARY, "engine.schedule='constant'")
    whole = trained(drawn_plan("lite", tmp_path, *constant), tmp_path / "whole")
    trained(drawn_plan("lite", tmp_path, *constant, "engine.steps=3"), tmp_path / "pieces")
    resumed = trained(drawn_plan("lite", tmp_path, *constant), tmp_path / "pieces")
    assert same_networks(whole, resumed)
    out = tmp_path / "lite.safetensors"
    export_run(tmp_path / "whole", out, licence="CC0-1.0", data="drawn faces")
    assert load_backend(out).name == "lite"


def test_a_faded_face_keeps_its_tone_and_others_theirs():
    torch.manual_seed(0)
    hq = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), size=64)
    line = torch.tensor([0.5, 0.6, 0.7])[:, None, None], torch.tensor([0.2, 0.1, 0.0])[:, None, None]
    faded = hq[:1] * line[0] + line[1] + 0.02 * torch.randn(1, 3, 64, 64)
    lq = torch.cat((faded, hq[1:] * 0.95))
    found = lite.in_tone_of(lq, hq, faded_below=0.82)
    assert torch.allclose(found[0], hq[0] * line[0] + line[1], atol=0.02)
    assert torch.equal(found[1], hq[1])


def test_a_face_without_contrast_has_a_finite_tone():
    assert torch.isfinite(
        lite.in_tone_of(torch.rand(1, 3, 16, 16), torch.ones(1, 3, 16, 16), faded_below=1)
    ).all()


def test_what_has_faded_is_compared_with_a_face_of_its_tone(tmp_path):
    plan = drawn_plan("lite", tmp_path, *TINY, "recipe.faded_below=0.82")
    networks, batch = plan.recipe.networks(), first_batch(plan)
    batch["lq"] = batch["hq"] * 0.5 + 0.2
    terms = plan.recipe.losses("generator", scene_of(plan, networks, batch))
    assert terms[0].value < 0.05
    assert torch.allclose(batch["hq"], batch["lq"], atol=0.02)


def test_a_run_starts_from_a_file(tmp_path):
    plan = drawn_plan("lite", tmp_path, *TINY)
    torch.manual_seed(1)
    given = plan.recipe.networks()["generator"].state_dict()
    save_state_dict(tmp_path / "given.safetensors", {key: value.half() for key, value in given.items()})
    start = f"recipe.start={str(tmp_path / 'given.safetensors')!r}"
    networks = plan.recipe.networks()
    drawn_plan("lite", tmp_path, *TINY, start).recipe.start(networks)
    taken = networks["generator"].state_dict()
    assert all(torch.equal(taken[key], value.half().float()) for key, value in given.items())
    assert all(value.dtype == torch.float32 for value in taken.values())


def test_a_run_starts_from_a_file_without_the_head_that_it_grows(tmp_path):
    small = drawn_plan("lite", tmp_path, *TINY).recipe.networks()["generator"]
    save_state_dict(tmp_path / "small.safetensors", small.state_dict(), {})
    grown = drawn_plan(
        "lite",
        tmp_path,
        TINY[0],
        "recipe.network={widths=[8, 8], blocks=[1, 1], fine_widths=[6, 4], fine_blocks=[1, 1]}",
        f"recipe.start='{tmp_path / 'small.safetensors'}'",
    ).recipe
    networks = grown.networks()
    grown.start(networks)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(networks["generator"](x), small(x), atol=1e-6)


def test_a_run_starts_from_the_bundled_weights():
    recipe = lite.LiteRecipe(lite.LiteSettings(start="lite.clean-256"), face_size=32)
    networks = recipe.networks()
    recipe.start(networks)
    bundled = load_state_dict(WeightsStore().require("lite.clean-256"))
    assert torch.equal(networks["generator"].head.weight, bundled["head.weight"].float())


@pytest.mark.parametrize(
    ("start", "error", "fault"),
    [
        ("missing.safetensors", CheckpointError, "'missing.safetensors' is not a file"),
        ("lite.nothing", WeightsError, "lite.nothing"),
        ("landmarks.five-point", ConfigError, "are for the purpose 'landmarks', not 'restore'"),
        (
            "lite.clean-256",
            CheckpointError,
            r"does not fit the network of this run \(to start from 'lite.clean-256'\)",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused(tmp_path, start, error, fault):
    recipe = drawn_plan("lite", tmp_path, *TINY, f"recipe.start={start}").recipe
    with pytest.raises(error, match=fault):
        recipe.start(recipe.networks())


def test_a_run_learns(tmp_path):
    settings = (
        *TINY,
        "engine.steps=40",
        "engine.validate_every=20",
        "engine.ema_decay=0.8",
        "data.mix={sr-x4=1}",
    )
    run = tmp_path / "run"
    trained(drawn_plan("lite", tmp_path, *settings, "recipe.learning_rate=3e-3"), run)
    judged = [record for record in RunFolder(run).records() if "psnr" in record]
    assert judged[-1]["psnr"] > judged[0]["psnr"]
    assert len({record["psnr_input"] for record in judged}) == 1


def test_two_short_runs_equal_a_long_one(tmp_path):
    # The schedule depends on the length of the run, so that the first leg must end elsewhere.
    constant = (*TINY, "engine.schedule='constant'")
    whole = trained(drawn_plan("lite", tmp_path, *constant), tmp_path / "whole")
    trained(drawn_plan("lite", tmp_path, *constant, "engine.steps=3"), tmp_path / "pieces")
    resumed = trained(drawn_plan("lite", tmp_path, *constant), tmp_path / "pieces")
    assert same_networks(whole, resumed)


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_the_first_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(lite, "charbonnier", lambda a, b: (a - b).mean() * float("nan"))
    with pytest.raises(FaceRestoreError, match=r"pixel.* of phase 'generator' is not finite at step 0"):
        trained(drawn_plan("lite", tmp_path, *TINY), tmp_path / "run")
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names == ["step_00000000"]


def test_the_export_restores_and_says_what_made_it(tmp_path):
    run, out = tmp_path / "run", tmp_path / "lite.safetensors"
    last = trained(drawn_plan("lite", tmp_path, *TINY), run)
    export_run(run, out, licence="CC0-1.0", data="drawn faces")
    header = read_metadata(out)
    assert (header["arch"], header["licence"], header["data"], header["step"]) == (
        "lite",
        "CC0-1.0",
        "drawn faces",
        "6",
    )
    assert json.loads(header["training"])["lite"]["network"]["widths"] == [8, 8]
    average = torch.load(last / "custom_checkpoint_1.pkl", weights_only=True)
    exported = load_state_dict(out)
    assert exported.keys() == average.keys()
    assert all(torch.equal(value, average[key].half()) for key, value in exported.items())
    restorer = load_backend(out)
    assert (restorer.name, restorer.face_size) == ("lite", 32)
    side = restorer.face_size
    lq = np.full((side, side, 3), 0.5, np.float32)
    face = AlignedFace(DetectedFace((0, 0, side, side), template(side), 1.0), np.eye(2, 3), lq)
    assert restorer.restore([face], [None])[0].shape == lq.shape


@pytest.mark.parametrize(
    ("network", "size", "fault"),
    [
        ({"widths": [8, 8, 8]}, 64, "3 widths and 4 blocks"),
        ({"widths": [8], "blocks": [1]}, 64, "2 or more levels"),
        ({"widths": [8, 0], "blocks": [1, 1]}, 64, "are 1 and more"),
        ({"widths": [8, 8], "blocks": [1, 1]}, 60, "multiple of 8 px"),
    ],
)
def test_networks_that_cannot_be_are_refused(network, size, fault):
    with pytest.raises(ConfigError, match=fault):
        lite.LiteRecipe(make_settings(lite.LiteSettings, {"network": network}), face_size=size)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_the_runs_that_made_the_bundled_weights_are_understood(tmp_path, number):
    faces, _ = write_drawn_faces(tmp_path, count=3, face_size=256)
    sets = "data.set_weights={}"  # those of the drawn faces are others
    config = Path(__file__).parent.parent / f"examples/train_lite_{number}.toml"
    plan = make_plan("lite", faces=faces, config=config, assignments=[sets])
    assert plan.engine.steps == {1: 3000, 2: 2200, 3: 300, 4: 700, 5: 1150}[number]
    assert plan.recipe.settings.start == ("" if number == 1 else f"runs/lite_{number - 1}.safetensors")
    assert plan.recipe.settings.faded_below == (0.82 if number >= 3 else 0)
    assert plan.recipe.settings.network == (LiteConfig() if number <= 3 else BUNDLED)


def test_a_typo_within_the_network_is_named():
    with pytest.raises(ConfigError, match=r"unknown key 'network.widthss'; did you mean 'widths'"):
        make_settings(lite.LiteSettings, {"network": {"widthss": [8, 8]}})

"""Training of the bundled restorer: what is stepped by what, a run that learns, an export that restores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, same_networks, scene_of, trained

from facerestore.archs.lite import BUNDLED, LiteConfig, LiteGenerator
from facerestore.backends import load_backend
from facerestore.engines import Place
from facerestore.errors import CheckpointError, ConfigError, FaceRestoreError, WeightsError
from facerestore.imaging.alignment import template
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.data.samples import CORNER
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import make_settings
from facerestore.training.export import export_run
from facerestore.training.losses.common import charbonnier
from facerestore.training.losses.detail import cut_places, lattice_loss, quality_weights, spectrum_loss
from facerestore.training.plan import make_plan, samples_of
from facerestore.training.recipes.lite import recipe as lite
from facerestore.training.recipes.lite.colour import chroma_distance, greyed
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import load_state_dict, read_metadata, save_state_dict

WEIGHTS = Path(__file__).parents[1] / "weights"

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


DETAIL = (
    "data.face_size=64",
    "recipe.network={unshuffle=4, widths=[8, 8], blocks=[1, 1], fine_widths=[4, 4], fine_blocks=[1, 1]}",
    "recipe.adversary={weight=0.4, width=4, cut_size=32, cuts=2, alone_steps=1, ramp_steps=2, none_db=5, full_db=9,"
    " spectrum_weight=0.5}",
    "engine.steps=6",
    "engine.save_every=3",
    "engine.validate_every=3",
    "engine.warmup_steps=2",
)


def adversary_plan(tmp_path, *more):
    """Return a plan that begins with a file of random weights."""
    given = tmp_path / "given.safetensors"
    if not given.exists():
        torch.manual_seed(3)
        network = LiteGenerator(LiteConfig(4, (8, 8), (1, 1), (4, 4), (1, 1)))
        torch.nn.init.normal_(network.fine.draw.weight, std=0.1)
        save_state_dict(given, network.state_dict())
    return drawn_plan("lite", tmp_path, *DETAIL, f"recipe.start={str(given)!r}", *more)


@pytest.fixture
def adversarial(tmp_path):
    """Return a plan with an adversary, its networks and a batch."""
    torch.manual_seed(0)
    plan = adversary_plan(tmp_path)
    networks = plan.recipe.networks()
    plan.recipe.start(networks)
    return plan, networks, first_batch(plan)


def test_every_term_of_an_adversary_pulls_at_the_generator_alone(adversarial):
    plan, networks, batch = adversarial
    generator, judges = plan.recipe.phases
    scene = scene_of(plan, networks, batch, step=9)
    terms, found = gradients(plan, networks, scene, generator)
    distances = {"coarse", "fine", "chroma", "lattice", "spectrum", "feature"}
    assert terms.keys() == distances | {"matching", "adversarial", "projected"}
    assert all(key.startswith("generator.") and gradient.abs().sum() > 0 for key, gradient in found.items())
    terms, found = gradients(plan, networks, scene, judges)
    assert terms.keys() == {"pixels", "features", "penalty"}
    assert all(key.startswith("judges.") for key in found)
    still = {key for key, gradient in found.items() if gradient.abs().sum() == 0}
    assert all(key.endswith("bias") for key in still)  # of the last layers: pairs know differences only


def test_the_rest_of_photos_is_judged_as_faces_are(tmp_path):
    small = ("data.crop_size=32", "data.reduced_share=1.0", "data.mix={web=1.0}", "data.parsing=''")
    plan = adversary_plan(tmp_path, "recipe.task='background'", "recipe.layers=['head.', 'fine.']", *small)
    trained(plan, tmp_path / "run")
    out = tmp_path / "photo.safetensors"
    export_run(tmp_path / "run", out, licence="CC0-1.0", data="drawn pictures")
    assert read_metadata(out)["purpose"] == "background"
    made, begun = load_state_dict(out), load_state_dict(tmp_path / "given.safetensors")
    changed = {key for key, value in begun.items() if not value.half().equal(made[key].half())}
    assert changed
    assert all(key.startswith(("head.", "fine.")) for key in changed)


def test_faces_left_at_sizes_of_their_own_are_cut_where_they_lie(tmp_path):
    small = ("data.crop_size=32", "data.reduced_share=1.0", "data.mix={gfpgan=1.0}", "data.parsing=''")
    samples = samples_of(adversary_plan(tmp_path, *small))
    sizes, furthest = set(), []
    for position in range(150):
        sizes.add(len(samples.pair(position)[0]))
        furthest.append(samples[position][CORNER].max().item())
    assert min(sizes) < 64 < max(sizes)  # this preset enlarges some
    assert 24 < max(furthest) <= 64 - 32


def test_the_judges_learn_alone_at_first_and_then_their_say_grows(adversarial):
    plan, networks, batch = adversarial
    said = []
    for step in (0, 1, 2, 3):
        terms = plan.recipe.losses("generator", scene_of(plan, networks, batch, step=step))
        weights = {term.name: term.weight for term in terms}
        said.append((weights["coarse"], weights["adversarial"]))
    assert said == [(0, 0), (30, 0), (30, 0.2), (30, 0.4)]


def test_judges_see_no_colour(adversarial):
    plan, networks, batch = adversarial
    tint = torch.tensor([0.587, -0.299, 0.0])[:, None, None] * 0.1  # changes no luma
    found = []
    for change in (0.0, tint):
        scene = scene_of(plan, networks, {**batch, "restored": batch["lq"] + change})
        found.append([term.value.item() for term in plan.recipe.losses("judges", scene)])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_judges_that_tell_faces_apart_pull_the_generator_towards_the_real_ones(tmp_path):
    torch.manual_seed(0)
    plan = adversary_plan(tmp_path, "recipe.adversary.learning_rate=0.01")
    networks, batch = plan.recipe.networks(), first_batch(plan)
    optimiser = plan.recipe.optimisers(networks)["judges"]
    networks["generator"].requires_grad_(False)
    for step in range(60):
        terms = plan.recipe.losses(
            "judges", scene_of(plan, networks, {**batch, "restored": batch["lq"]}, step)
        )
        optimiser.zero_grad()
        torch.stack([term.weight * term.value for term in terms]).sum().backward()
        optimiser.step()

    def adversarial(restored):
        scene = scene_of(plan, networks, dict(batch), step=9)
        terms = plan.recipe.adversary.generator_terms(scene, restored)
        return sum(term.value for term in terms if term.name in ("adversarial", "projected"))

    blurred = batch["lq"].clone().requires_grad_(True)
    before = adversarial(blurred)
    before.backward()
    stepped = blurred.detach() - 1e-2 * blurred.grad / blurred.grad.abs().max()
    with torch.no_grad():
        assert adversarial(stepped) < before
        assert adversarial(batch["hq"]) < before


def test_a_run_with_an_adversary_goes_on_as_if_never_interrupted_and_exports_the_generator_alone(tmp_path):
    constant = "engine.schedule='constant'"
    whole = trained(adversary_plan(tmp_path, constant), tmp_path / "whole")
    trained(adversary_plan(tmp_path, constant, "engine.steps=3"), tmp_path / "pieces")
    resumed = trained(adversary_plan(tmp_path, constant), tmp_path / "pieces")
    assert same_networks(whole, resumed)
    out = tmp_path / "lite.safetensors"
    export_run(tmp_path / "whole", out, licence="CC0-1.0", data="drawn faces")
    assert load_backend(out).name == "lite"


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("recipe.start=''", r"recipe\.start"),
        ("recipe.adversary.cut_size=80", "80 px"),
        ("data.face_size=72", "not 72"),
        ("recipe.adversary.none_db=9", "none_db is 9"),
    ],
)
def test_an_adversary_says_what_it_lacks(tmp_path, assignment, told):
    with pytest.raises(ConfigError, match=told):
        adversary_plan(tmp_path, assignment)


def test_a_lattice_is_seen_and_an_edge_is_not():
    hq = torch.zeros(1, 1, 64, 64)
    comb = hq.clone()
    comb[..., ::4] = 0.1
    edge = hq.clone()
    edge[..., 20:] = 0.1
    assert lattice_loss(comb, hq) > 0.02
    assert lattice_loss(edge, hq) < 0.005


def test_a_weave_on_smooth_skin_weighs_in_spectra_and_the_place_of_detail_does_not():
    torch.manual_seed(0)
    texture, other = 0.02 * torch.randn(2, 1, 1, 128, 128)
    flat = torch.full((1, 1, 128, 128), 0.5)
    weave = 0.004 * torch.cos(2 * np.pi * 0.31 * torch.arange(128))  # one level
    assert spectrum_loss(flat + texture, flat + texture) == 0
    assert spectrum_loss(flat + texture, flat + other) < 0.7  # what chance leaves
    assert spectrum_loss(flat + 0.3 * texture, flat + other) > 2
    assert spectrum_loss(flat, flat + other) > spectrum_loss(flat + 0.3 * texture, flat + other)
    on_texture = spectrum_loss(flat + texture + weave, flat + texture)
    assert spectrum_loss(flat + weave, flat) > 5 * on_texture


def test_what_nobody_sees_does_not_weigh_in_spectra():
    flat, wave = torch.full((1, 1, 64, 64), 0.5), torch.cos(np.pi * torch.arange(64) / 2)
    assert spectrum_loss(flat + 1e-5 * wave, flat) < 1e-4  # 0.003 levels
    assert spectrum_loss(flat + 1e-2 * wave, flat) > 0.2


def test_cuts_lie_within_the_face_and_about_eyes_and_mouth():
    rng = np.random.default_rng(0)
    where = cut_places(rng, torch.zeros(50, 2), side=256, cuts=4, size=64, face_size=256)
    boxes = [(s[2 * k], s[2 * k + 1]) for s in where for k in range(4)]
    assert all(a.start >= 0 and a.stop <= 256 and a.stop - a.start == 64 for box in boxes for a in box)
    eyes = template(256)[:2]
    over = [any(r.start <= y < r.stop and c.start <= x < c.stop for x, y in eyes) for r, c in boxes]
    assert 0.4 < np.mean(over) < 0.75


def test_cuts_of_a_square_lie_within_it_and_about_the_parts_that_it_shows():
    rng, corner = np.random.default_rng(0), (40, 60)
    where = cut_places(rng, torch.tensor([corner] * 50), side=128, cuts=4, size=32, face_size=256)
    boxes = [(s[2 * k], s[2 * k + 1]) for s in where for k in range(4)]
    assert all(a.start >= 0 and a.stop <= 128 and a.stop - a.start == 32 for box in boxes for a in box)
    eyes = template(256)[:2] - corner
    over = [any(r.start <= y < r.stop and c.start <= x < c.stop for x, y in eyes) for r, c in boxes]
    assert 0.1 < np.mean(over) < 0.75


def test_judges_are_told_where_in_the_face_a_square_lies(tmp_path):
    torch.manual_seed(0)
    plan = adversary_plan(tmp_path, "data.crop_size=32")
    networks, batch = plan.recipe.networks(), first_batch(plan)
    assert batch[CORNER].shape == (len(batch["lq"]), 2)
    assert batch["lq"].shape[-1] == 32
    seen = []
    networks["judges"].pixels.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    plan.recipe.losses("generator", scene_of(plan, networks, batch, step=9))
    across, down = seen[0][:, 2], seen[0][:, 3]  # B S S each, of 2 cuts of each square
    assert torch.allclose(across[:, 0, 1] - across[:, 0, 0], torch.tensor(2 / 63), atol=1e-6)
    first = batch[CORNER].repeat_interleave(2, dim=0)
    for place, least in ((across, first[:, 0]), (down, first[:, 1])):
        pixels = (place.flatten(1) + 1) / 2 * 63
        assert torch.all(pixels.min(dim=1).values >= least - 1e-3)
        assert torch.all(pixels.max(dim=1).values <= least + 31 + 1e-3)


def test_squares_smaller_than_what_is_cut_from_them_are_refused(tmp_path):
    plan = adversary_plan(tmp_path, "data.crop_size=32", "recipe.adversary.cut_size=48")
    networks = plan.recipe.networks()
    with pytest.raises(ConfigError, match=r"cut_size is 48 px.*32 px.*data\.crop_size"):
        plan.recipe.losses("generator", scene_of(plan, networks, first_batch(plan), step=9))


def test_large_faces_are_judged_with_the_detail_of_what_is_refined(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan(
        "lite",
        tmp_path,
        *DETAIL,
        "recipe.task='refine'",
        "recipe.start='lite.large-512'",
        "recipe.base='lite.detail-256'",
        "recipe.network={inputs=6, blocks=[1, 1, 1, 1], fine_widths=[32, 12], fine_blocks=[1, 1]}",
    )
    networks, (generator, judges) = plan.recipe.networks(), plan.recipe.phases
    plan.recipe.start(networks)
    scene = scene_of(plan, networks, first_batch(plan), step=9)
    own = load_state_dict(WEIGHTS / "lite_detail_256.safetensors")["head.weight"].float()
    assert not torch.equal(plan.recipe.base.head.weight, own)  # mixed by 0.9, as it is used
    assert (plan.recipe.base.head.weight - own).abs().max() < 0.01
    terms, found = gradients(plan, networks, scene, generator)
    assert {"adversarial", "projected", "matching"} <= terms.keys()
    assert all(key.startswith("generator.") for key in found)
    terms, found = gradients(plan, networks, scene, judges)
    assert all(key.startswith("judges.") for key in found)


def test_severe_damage_counts_nothing_and_a_good_input_fully():
    hq = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    lq = torch.stack((hq[0] * 0.2, hq[1] * 0.99))
    assert quality_weights(lq, hq, none_db=18, full_db=24).tolist() == [0, 1]


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


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_the_runs_that_made_the_bundled_weights_are_understood(tmp_path, number):
    faces, _ = write_drawn_faces(tmp_path, count=3, face_size=256)
    sets = "data.set_weights={}"  # those of the drawn faces are others
    config = Path(__file__).parent.parent / f"examples/train_lite_{number}.toml"
    plan = make_plan("lite", faces=faces, config=config, assignments=[sets])
    assert plan.engine.steps == {1: 3000, 2: 2200, 3: 300, 4: 700, 5: 1150, 6: 3800}[number]
    assert plan.recipe.settings.start == ("" if number == 1 else f"runs/lite_{number - 1}.safetensors")
    assert plan.recipe.settings.faded_below == (0.82 if number >= 3 else 0)
    assert plan.recipe.settings.network == (LiteConfig() if number <= 3 else BUNDLED)


def test_a_typo_within_the_network_is_named():
    with pytest.raises(ConfigError, match=r"unknown key 'network.widthss'; did you mean 'widths'"):
        make_settings(lite.LiteSettings, {"network": {"widthss": [8, 8]}})


COLOUR = (*TINY, "recipe.task='colorize'")


def test_colouring_sees_luma_and_is_judged_by_chroma_alone(tmp_path):
    plan = drawn_plan("lite", tmp_path, *COLOUR)
    networks, batch = plan.recipe.networks(), first_batch(plan)
    batch["hq"] = batch["lq"] * torch.tensor([1.0, 0.7, 0.5]).reshape(1, 3, 1, 1)
    batch["hq"][0] = batch["hq"][0].mean(dim=0, keepdim=True)  # a face without colours teaches none
    seen = []
    networks["generator"].register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    scene = scene_of(plan, networks, batch)
    (term,) = plan.recipe.losses("generator", scene)
    assert torch.allclose(seen[0][:, :1], seen[0], atol=1e-6)
    real = batch["hq"][1:]
    coloured = networks["generator"](greyed(batch["lq"][1:]))
    assert term.value.item() == pytest.approx(chroma_distance(coloured, real).item(), rel=1e-4)
    assert term.value.item() > 0.01
    lighter = (real + 0.2).contiguous()  # another luma, the same chroma
    assert chroma_distance(lighter, real).item() < 2e-3
    assert chroma_distance(greyed(real), greyed(real)).item() == 0
    metrics = plan.recipe.validate(networks["generator"], batch).metrics
    assert metrics["chroma"] == pytest.approx(
        metrics["chroma_input"], rel=0.02
    )  # it begins by adding next to nothing


def test_colouring_starts_from_colours_and_has_no_adversary(tmp_path):
    plan = drawn_plan("lite", tmp_path, *COLOUR, "recipe.start='lite.clean-256'")
    networks = plan.recipe.networks()
    with pytest.raises(ConfigError, match=r"'lite\.clean-256'.*restore"):
        plan.recipe.start(networks)
    with pytest.raises(ConfigError, match=r"weight 0\.4 .*'colorize'.*recipe\.adversary\.weight=0"):
        adversary_plan(tmp_path, "recipe.task='colorize'")


def test_an_export_of_colours_colours_and_restores_nothing(tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "colour.safetensors"
    trained(drawn_plan("lite", tmp_path, *COLOUR), run)
    export_run(run, out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["purpose"] == "colorize"
    for place in (None, Place()):  # in torch, and by the graph that the file holds
        restorer = load_backend(out, place=place)
        assert restorer.for_task("colorize").descriptor.tasks == ("colorize",)
        with pytest.raises(ConfigError, match=r"can colorize faces, and not restore them.*weights list"):
            restorer.for_task("restore")
    with pytest.raises(ConfigError, match=r"can restore faces, and not colorize them"):
        load_backend(WeightsStore().require("lite.clean-256"), place=Place()).for_task("colorize")

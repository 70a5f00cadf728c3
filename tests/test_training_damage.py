"""Training on damage: what samples hold, what is found and filled, runs that learn, exports that work."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, scene_of, trained

from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.backends import load_backend
from facerestore.config import RestoreConfig
from facerestore.degradation import DegradationDraw, damaged, preset
from facerestore.errors import ConfigError
from facerestore.export.embedding import embed_graph
from facerestore.parsing.damage import load_damage_finder
from facerestore.pipeline.tasks.build import build_inpainter
from facerestore.training.data.damaged_faces import damage_of, opaque_damage, visible_damage, worn
from facerestore.training.engine.folder import RunFolder
from facerestore.training.export import export_run
from facerestore.training.plan import samples_of, validation_of
from facerestore.training.recipes.damage import binary_dice
from facerestore.training.recipes.lite.inpaint import mean_over, psnr_inside
from facerestore.weights.checkpoint import read_metadata, save_state_dict

FINDER = ("recipe.network={widths=[6, 8], blocks=[1, 1]}", "engine.precision='no'")
FILLER = (
    "data.face_size=32",
    "recipe.network={unshuffle=4, widths=[8, 8], blocks=[1, 1]}",
    "engine.steps=6",
    "engine.save_every=3",
    "engine.validate_every=3",
    "engine.warmup_steps=2",
)


@pytest.mark.parametrize("recipe", ["damage", "inpaint"])
def test_a_sample_depends_on_seed_and_position_alone(tmp_path, recipe):
    samples, again = (samples_of(drawn_plan(recipe, tmp_path)) for _ in range(2))
    other = samples_of(drawn_plan(recipe, tmp_path, "data.seed=5"))
    for position in (9, 2):
        one, two = samples[position], again[position]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[position][name]) for name in one)


def test_a_share_of_the_samples_is_damaged_and_the_others_have_an_empty_mask(tmp_path):
    sound, worn_out = (
        samples_of(drawn_plan("damage", tmp_path, "data.mix={clean=1.0}", f"recipe.damaged={share}"))
        for share in (0.0, 1.0)
    )
    assert not any(sound[position]["damage"].any() for position in range(8))
    pairs = [(sound[position]["lq"], worn_out[position]) for position in range(8)]
    assert sum(bool(sample["damage"].any()) for _, sample in pairs) >= 6
    for whole, sample in pairs:
        change = (sample["lq"] - whole).abs().amax(dim=0)
        mask = sample["damage"] > 0
        if mask.any():
            assert change[mask].mean() > 4 * change[~mask].mean()


def test_damage_that_nobody_sees_is_none():
    face, rng = np.full((64, 64, 3), 255, np.uint8), np.random.default_rng(1)
    dust = next(
        step
        for n in range(50)
        for step in damage_of("damage", 64, np.random.default_rng(n))
        if step.word == "dust"
    )
    drawn = DegradationDraw("damage", 64, (), (replace(dust, count=40, paper=(1.0, 1.0, 1.0)),))
    seen = visible_damage(damaged(face, drawn, rng), drawn)
    light = opaque_damage(drawn) & ~seen
    assert light.any(), "white dust on white"


def test_a_scan_comes_after_the_damage():
    rng = np.random.default_rng(0)
    drawn, damage = preset("gfpgan").draw(64, rng), damage_of("damage", 64, rng)
    words = [step.word for step in worn(drawn, damage, rng).steps]
    assert max(words.index(step.word) for step in damage) < words.index("resize")


def test_holes_are_filled_from_their_rims_and_the_rest_is_the_target(tmp_path):
    samples = samples_of(drawn_plan("inpaint", tmp_path, "data.mix={clean=1.0}"))
    shares = []
    for position in range(8):
        sample = samples[position]
        inside = sample["holes"] > 0
        assert torch.equal(sample["lq"][:, ~inside], sample["hq"][:, ~inside])
        shares.append(inside.float().mean().item())
    assert 0.01 < np.mean(shares) < 0.5


@pytest.mark.parametrize("recipe", ["damage", "inpaint"])
def test_validation_is_fixed_and_of_each_face(tmp_path, recipe):
    settings = ("data.set_weights={drawn=1.0}", "data.seed=3")
    one, two = (validation_of(drawn_plan(recipe, tmp_path, *settings[:n])) for n in range(2))
    assert len(one["lq"]) == 4
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("recipe", ["damage", "inpaint"])
@pytest.mark.parametrize("setting", ["data.crop_size=32", "data.degrade_on='device'", "data.max_reduction=2"])
def test_damage_is_drawn_on_whole_faces_by_the_cpu(tmp_path, recipe, setting):
    with pytest.raises(ConfigError, match="damage is drawn on whole faces by the CPU"):
        samples_of(drawn_plan(recipe, tmp_path, setting))


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="give a multiple of 32 px"):
        drawn_plan(
            "damage", tmp_path, "data.face_size=72", "recipe.network={widths=[4,4,4,4,4], blocks=[1,1,1,1,1]}"
        )


@pytest.mark.parametrize(("recipe", "settings"), [("damage", FINDER), ("inpaint", FILLER)])
def test_gradients_reach_every_parameter(tmp_path, recipe, settings):
    torch.manual_seed(0)
    plan = drawn_plan(recipe, tmp_path, *settings)
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    if recipe == "inpaint":
        with torch.no_grad():  # the head starts from zeros, and lets no gradient through
            networks["generator"].head.weight.normal_()
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    assert terms.keys() == ({"entropy", "dice"} if recipe == "damage" else {"inside", "outside"})
    assert all(torch.isfinite(gradient).all() and gradient.abs().sum() > 0 for gradient in found.values())


def test_dice_is_0_for_the_target_itself_and_near_1_for_its_opposite():
    target = torch.zeros(2, 8, 8)
    target[0, :4] = 1
    assert binary_dice(target, target) == 0
    assert binary_dice(1 - target, target) > 0.95
    assert binary_dice(0 * target, 0 * target) == 0


def test_what_is_inside_alone_counts():
    values, mask = torch.tensor([[[1.0, 5.0], [3.0, 100.0]]]), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert mean_over(values, mask) == 3
    assert mean_over(values, 0 * mask) == 0
    real, inside = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    inside[0, 0, 0, 0] = 1  # the second face has no hole, and does not count
    off = torch.full_like(real, 0.5)
    off[0, :, 0, 0] = 0.1
    assert psnr_inside(off, real, inside) == pytest.approx(20, abs=1e-4)


def test_a_finder_learns_and_its_export_finds(tmp_path):
    settings = (*FINDER, "engine.steps=40", "engine.schedule='constant'", "data.mix={clean=1.0}")
    trained(drawn_plan("damage", tmp_path, *settings), run := tmp_path / "run")
    records = RunFolder(run).records()
    losses = [record["entropy"] for record in records if "entropy" in record]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    judged = [record for record in records if "iou" in record]
    assert {"recall", "precision", "false_share"} <= judged[-1].keys()
    out = tmp_path / "damage.safetensors"
    export_run(run, out, licence="CC0-1.0", data="drawn")
    line = build_inpainter(config=RestoreConfig(damage_finder=str(out), weights="telea", aligned=True))
    result = line.run(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    assert result.report["filled"]["source"] == f"found by {out}"
    finder = load_damage_finder(out)
    assert finder.face_size == 64
    (share,) = finder.find([np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)])
    assert share.shape == (64, 64)
    assert 0 <= share.min() <= share.max() <= 1
    embed_graph(out)
    (by_graph,) = load_damage_finder(out).find(
        [np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)]
    )
    assert np.abs(by_graph - share).max() < 1e-4


def test_a_filler_begins_with_a_restorer_that_has_more_blocks(tmp_path):
    torch.manual_seed(0)
    larger = LiteGenerator(LiteConfig(widths=(8, 8), blocks=(1, 2)))
    save_state_dict(tmp_path / "start.safetensors", larger.state_dict(), metadata={"arch": "lite"})
    plan = drawn_plan("inpaint", tmp_path, *FILLER, f"recipe.start={str(tmp_path / 'start.safetensors')!r}")
    networks = plan.recipe.networks()
    plan.recipe.start(networks)
    own, given = networks["generator"].state_dict(), larger.state_dict()
    assert "encoder.1.1.conv1.weight" in given.keys() - own.keys()
    assert all(torch.equal(own[key], given[key]) for key in own)


def test_a_filler_runs_and_its_export_is_for_inpainting(tmp_path):
    trained(drawn_plan("inpaint", tmp_path, *FILLER), run := tmp_path / "run")
    judged = [record for record in RunFolder(run).records() if "psnr" in record]
    assert all(math.isfinite(record["psnr"] + record["psnr_rims"]) for record in judged)
    out = tmp_path / "filler.safetensors"
    export_run(run, out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["purpose"] == "inpaint"
    assert load_backend(out).for_task("inpaint").descriptor.sees_filled

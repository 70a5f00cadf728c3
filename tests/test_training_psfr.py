"""Training of PSFR-GAN: what each phase sees and moves, which maps it gets, and what comes out of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import check_resuming, drawn_plan, first_batch, gradients, scene_of

from facerestore.archs.parts import PartsConfig, PartsNet
from facerestore.archs.psfr import PSFRDiscriminator, one_hot
from facerestore.archs.vgg import VGG19
from facerestore.backends import load_backend
from facerestore.errors import ConfigError
from facerestore.imaging.alignment import template
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.data.maps import coloured, landmark_maps, parsed_maps
from facerestore.training.engine.checkpoints import restore_average
from facerestore.training.engine.draw import Draw
from facerestore.training.engine.settings import make_settings
from facerestore.training.export import export_run
from facerestore.training.losses.feature_weights import FeatureWeights
from facerestore.training.plan import make_plan
from facerestore.training.recipes import parsenet as parsenet_recipe
from facerestore.training.recipes.psfr import recipe as psfr
from facerestore.training.recipes.psfr.recipe import PSFRRecipe, PSFRSettings, fitting_scales
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights.checkpoint import load_state_dict, read_metadata, save_state_dict

TINY = ("recipe.ch_range=[4, 8]", "recipe.discriminator_width=4", "engine.schedule='constant'")


def tiny(**settings):
    return PSFRRecipe(make_settings(PSFRSettings, {"ch_range": [4, 8], **settings}), face_size=64)


@pytest.fixture
def plan(tmp_path):
    return drawn_plan("psfr", tmp_path, *TINY)


@pytest.mark.parametrize("index", [0, 1])
def test_gradients_reach_every_parameter_of_a_phase(plan, index):
    torch.manual_seed(0)
    networks = plan.recipe.networks()
    phase = plan.recipe.phases[index]
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    expected = [{"pixel", "matching", "adversarial", "judged_style"}, {"discriminator"}][index]
    assert terms.keys() == expected
    for key, gradient in found.items():
        assert gradient is not None, key
        assert torch.isfinite(gradient).all(), key
        largest = float(gradient.abs().max())
        if psfr.WITHOUT_EFFECT.search(key):
            assert largest < 1e-4 * max(float(g.abs().max()) for g in found.values()), key
        else:
            assert largest > 0, key


def test_every_term_pulls_at_the_generator(plan):
    torch.manual_seed(0)
    networks, batch = plan.recipe.networks(), first_batch(plan)
    networks["discriminator"].requires_grad_(False)
    for term in plan.recipe.losses("generator", scene_of(plan, networks, batch)):
        (pull,) = torch.autograd.grad(term.value, networks["generator"].img_out.bias, retain_graph=True)
        assert float(pull.abs().sum()) > 0, term.name


def test_the_discriminators_judge_the_faces_of_the_same_step(plan):
    networks, batch = plan.recipe.networks(), first_batch(plan)
    scene = scene_of(plan, networks, batch)
    networks["discriminator"].requires_grad_(False)
    plan.recipe.losses("generator", scene)
    kept = batch[psfr.RESTORED]
    assert not kept.requires_grad
    seen = []
    networks["discriminator"].register_forward_pre_hook(lambda _module, given: seen.append(given))
    plan.recipe.losses("discriminator", scene)
    ((faces, planes),) = seen
    assert torch.equal(faces, torch.cat((kept, batch["hq"] * 2 - 1)))
    assert torch.equal(planes, one_hot(batch["parsing"]).repeat(2, 1, 1, 1))


def test_with_vgg_style_is_compared_in_its_features(tmp_path, monkeypatch):
    found = FeatureWeights("features", "vgg19.imagenet", "VGG19: weights 'vgg19.imagenet'")
    monkeypatch.setattr(psfr, "find_features", lambda *_, **__: found)
    monkeypatch.setattr(psfr, "load_vgg19", lambda name, taps: VGG19(taps, least_size=0))
    plan = drawn_plan("psfr", tmp_path, *TINY, "recipe.perceptual_weight=1")
    assert found.note in plan.recipe.notes
    networks = plan.recipe.networks()
    phase = plan.recipe.phases[0]
    terms, kept = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    assert terms.keys() == {"pixel", "matching", "adversarial", "style", "perceptual"}
    assert terms["style"] > 0
    assert all(gradient is not None for gradient in kept.values())
    with pytest.raises(ConfigError, match="began with VGG19 without weights"):
        plan.recipe.load_state_dict({"features": None})


def test_missing_vgg_and_maps_that_nobody_has_are_said():
    notes = tiny(condition="hq-map").notes
    assert "facerestore weights download vgg19.imagenet" in notes[0]
    assert "1 of 3 scales" in notes[1]
    assert "flatters" in notes[2]
    assert "the perceptual loss is left out" in tiny(perceptual_weight=1.0).notes[0]


@pytest.mark.parametrize(("size", "scales"), [(48, 1), (94, 1), (96, 2), (188, 2), (192, 3), (512, 3)])
def test_small_faces_are_judged_at_fewer_scales(size, scales):
    assert fitting_scales(size, 4, 3) == scales
    if size < 192:
        faces, planes = torch.zeros(1, 3, size, size), torch.zeros(1, 19, size, size)
        assert len(PSFRDiscriminator(1, scales=scales)(faces, planes)) == scales
        with pytest.raises((RuntimeError, ValueError)):  # no pixel is left to score, or one to normalise
            PSFRDiscriminator(1, scales=scales + 1)(faces, planes)


def test_faces_that_suit_no_network_are_refused():
    with pytest.raises(ConfigError, match=r"faces of 32 px are too small .* which need 48 px"):
        PSFRRecipe(PSFRSettings(), face_size=32)
    with pytest.raises(ConfigError, match="power of two times the least size"):
        PSFRRecipe(PSFRSettings(), face_size=96)


def test_landmark_maps_vary_in_training_alone():
    recipe, lq = tiny(condition="landmarks"), torch.zeros(2, 3, 64, 64)
    fixed = recipe._seen_maps({"lq": lq})
    assert torch.equal(fixed[0], fixed[1])
    eye_x, eye_y = template(64)[0].round().astype(int)
    assert fixed[0, eye_y, eye_x] == 4
    drawn = [recipe._seen_maps({"lq": lq}, Draw((1, 2), first=0, batch_size=2)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert float((drawn[0] == fixed).float().mean()) > 0.9
    assert not torch.equal(landmark_maps(lq, torch.full((2, 5, 2), 0.1)), fixed)


PARSERS = {
    "parsenet": parsenet_recipe.ParseNet(
        parsenet_recipe.ParseNetConfig(encoder=(4, 4), body_blocks=1, decoder=(4,))
    ),
    "parse": PartsNet(PartsConfig(widths=(4, 6), blocks=(1, 1))),
}


@pytest.mark.parametrize("network", PARSERS.values(), ids=PARSERS)
def test_a_trained_parser_labels_the_degraded_faces(tmp_path, network):
    recipe = tiny(condition="parser", parser="gone.pth")
    assert any("'gone.pth' is not there" in note for note in recipe.notes)
    with pytest.raises(ConfigError, match=r"'gone\.pth' is not there"):
        recipe.frozen()
    assert tiny(condition="parser").notes[-1].endswith("parse_clean_256.safetensors'")
    network = network.eval()
    path = tmp_path / "parse.safetensors"
    save_state_dict(path, network.state_dict(), {"face_size": "32"})
    recipe = tiny(condition="parser", parser=str(path))
    assert recipe.frozen()["parser"] is recipe._parser.network
    lq = torch.rand(2, 3, 64, 64)
    labels = recipe._seen_maps({"lq": lq})
    crops = [
        AlignedFace(
            DetectedFace((0, 0, 64, 64), template(64), 1.0),
            np.eye(2, 3),
            face.permute(1, 2, 0).contiguous().numpy(),
        )
        for face in lq
    ]
    at_test_time = torch.from_numpy(np.stack(recipe._parser.parse(crops))).long()
    assert labels.shape == (2, 64, 64)
    assert float((labels == at_test_time).float().mean()) > 0.99
    enlarged = parsed_maps(lq[..., ::4, ::4], recipe._parser)
    assert enlarged.shape == (2, 16, 16)


def test_the_settings_of_the_example_are_known(tmp_path):
    faces, maps = write_drawn_faces(tmp_path, count=1, face_size=64)
    config = Path(__file__).parent.parent / "examples/train_psfr_64.toml"
    plan = make_plan("psfr", faces=faces, config=config, assignments=[f"data.parsing={str(maps)!r}"])
    assert plan.recipe.settings.condition == "landmarks"


def test_maps_are_shown_in_their_colours():
    assert torch.equal(coloured(torch.tensor([[[0, 1]]]))[0, :, 0, 1] * 255, torch.tensor([204.0, 0, 0]))


def test_two_short_runs_equal_a_long_one_and_the_export_restores(tmp_path):
    check_resuming("psfr", tmp_path, *TINY)
    first, last = (
        load_file(tmp_path / f"whole/checkpoints/step_{step:08d}/model_1.safetensors") for step in (0, 4)
    )
    for key in first:
        if not key.endswith(("._u", "._v")):
            assert torch.equal(first[key], last[key]) == bool(psfr.WITHOUT_EFFECT.search(key)), key
    assert next((tmp_path / "whole/samples").glob("*.png"))

    out = tmp_path / "psfr.safetensors"
    export_run(tmp_path / "whole", out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["condition"] == "landmarks"
    assert "head.0.weight" in load_state_dict(out)  # its spectral norm is folded in
    restorer = load_backend(out)
    assert (restorer.name, restorer.face_size) == ("psfr", 64)
    # The exported network is the averaged one, and says the same.
    plan = drawn_plan("psfr", tmp_path, *TINY)
    network, step = restore_average(plan.recipe, tmp_path / "whole")
    assert step == 4
    lq, labels = torch.rand(1, 3, 64, 64), landmark_maps(torch.zeros(1, 3, 64, 64))
    with torch.no_grad():
        ours = network(lq * 2 - 1, one_hot(labels))
        theirs = restorer.forward(lq * 2 - 1, [labels[0].byte().numpy()])
    assert float((ours - theirs).abs().max()) < 1e-4


def test_without_a_term_that_asks_for_them_no_discriminators_are_trained_and_no_maps_needed(tmp_path):
    weights = [f"recipe.{name}_weight=0" for name in ("matching", "adversarial", "judged_style")]
    plan = drawn_plan("psfr", tmp_path, *TINY, "data.parsing=''", "recipe.muon_rate=0.001", *weights)
    assert [phase.name for phase in plan.recipe.phases] == ["generator"]
    batch = first_batch(plan)
    assert "parsing" not in batch
    terms, _ = gradients(plan, (n := plan.recipe.networks()), scene_of(plan, n, batch), plan.recipe.phases[0])
    assert terms.keys() == {"pixel"}
    assert "parsing" in tiny(condition="hq-map", matching_weight=0.0).needs


def test_style_by_face_part_in_what_the_parser_sees_pulls_at_the_generator(tmp_path):
    path = tmp_path / "parse.safetensors"
    save_state_dict(path, PARSERS["parse"].state_dict(), {"face_size": "32"})
    alone = [f"recipe.{name}_weight=0" for name in ("matching", "adversarial", "judged_style")]
    chosen = ("recipe.condition='parser'", f"recipe.parser='{path}'", "recipe.parsed_style_weight=2")
    plan = drawn_plan("psfr", tmp_path, *TINY, *alone, *chosen)
    assert [phase.name for phase in plan.recipe.phases] == ["generator"]
    torch.manual_seed(0)
    networks, batch = plan.recipe.networks(), first_batch(plan)
    pixel, style = plan.recipe.losses("generator", scene_of(plan, networks, batch))
    assert (pixel.name, style.name, style.weight) == ("pixel", "parsed_style", 2)
    (pull,) = torch.autograd.grad(style.value, networks["generator"].img_out.bias)
    assert float(pull.abs().sum()) > 0
    plan.recipe._restored_by = lambda scene: scene.batch["hq"] * 2 - 1
    _, style = plan.recipe.losses("generator", scene_of(plan, networks, batch))
    assert float(style.value) < 1e-9


def test_style_in_what_a_parser_sees_needs_a_parser_of_ours(tmp_path):
    with pytest.raises(
        ConfigError, match=r"parsed_style_weight 2\.0 .*'landmarks'.*recipe\.condition=parser"
    ):
        tiny(condition="landmarks", parsed_style_weight=2.0)
    path = tmp_path / "parse.safetensors"
    save_state_dict(path, PARSERS["parsenet"].state_dict(), {"face_size": "32"})
    with pytest.raises(ConfigError, match=r"parse\.safetensors' is a parsenet.*parse\.clean-256"):
        tiny(condition="parser", parser=str(path), parsed_style_weight=2.0).frozen()


def test_muon_leaves_the_biases_without_effect_alone():
    recipe = tiny(muon_rate=0.001)
    networks = recipe.networks()
    optimiser = recipe.optimisers(networks)["generator"]
    assert [(group["kind"], group["lr"]) for group in optimiser.param_groups] == [
        ("muon", 0.001),
        ("adamw", recipe.settings.generator_rate),
    ]
    stepped = {id(p) for group in optimiser.param_groups for p in group["params"]}
    left = {key for key, p in networks["generator"].named_parameters() if id(p) not in stepped}
    assert left
    assert all(psfr.WITHOUT_EFFECT.search(key) for key in left)

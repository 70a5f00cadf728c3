"""Large faces: a network that refines what another makes of half the size, in torch, as a graph, in a line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, scene_of, trained
from torch.nn import functional

from facerestore.archs.lite import (
    BUNDLED,
    LiteConfig,
    LiteGenerator,
    RefiningGenerator,
    config_from_shapes,
    seen_with,
)
from facerestore.archs.resizing import doubled
from facerestore.backends import load_backend
from facerestore.batch.settings import settings_of
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.engines import Place
from facerestore.errors import CheckpointError, ConfigError, WeightsError
from facerestore.export.embedding import embed_graph
from facerestore.pipeline.choose import choose
from facerestore.pipeline.load import load_restorer
from facerestore.testing.drawn_faces import trial_faces
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.export import export_run
from facerestore.training.plan import make_plan
from facerestore.training.recipes.lite.refine import shortened, widened
from facerestore.weights.checkpoint import load_state_dict, save_state_dict, shapes_of
from facerestore.weights.mixing import DETAIL_OF, REFINES, Base, Mix
from facerestore.weights.weights_file import look_at

CLEAN, DETAIL = "lite.clean-256", "lite.detail-256"
LARGE, DETAIL_LARGE = "lite.large-512", "lite.detail-512"
WEIGHTS = Path(__file__).parents[1] / "weights"
FILES = {
    name: WEIGHTS / f"{name.replace('.', '_').replace('-', '_')}.safetensors" for name in (CLEAN, DETAIL)
}
WIDENED = replace(BUNDLED, inputs=6)
SMALL = LiteConfig(widths=(8, 12), blocks=(1, 1), fine_widths=(6, 4), fine_blocks=(1, 1))
REFINER = LiteConfig(widths=(8, 12), blocks=(1, 1), fine_widths=(6, 4), fine_blocks=(1, 1), inputs=6)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory):
    """Return a file of a network that was widened from the bundled one, and hardly trained any further."""
    network = LiteGenerator(WIDENED)
    state = widened(load_state_dict(FILES[CLEAN]), network.state_dict())
    header = {"backend": "lite", "purpose": "restore", "face_size": "512", "licence": "MIT", REFINES: CLEAN}
    path = tmp_path_factory.mktemp("refiner") / "large.safetensors"
    save_state_dict(path, {key: (1.01 * value).half() for key, value in state.items()}, metadata=header)
    embed_graph(path)
    return path


# --- the network -----------------------------------------------------------------------------------------------------


def test_a_network_that_adds_nothing_gives_the_mean_of_the_face_and_the_enlarged_result_of_the_other():
    torch.manual_seed(0)
    network = RefiningGenerator(REFINER, SMALL)
    for layer in (network.head, network.fine.draw):
        torch.nn.init.zeros_(layer.weight)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        half = network.base(functional.interpolate(x, scale_factor=0.5, mode="area")).clamp(0, 1)
        enlarged = functional.interpolate(half, scale_factor=2.0, mode="bicubic").clamp(0, 1)
        assert torch.allclose(network(x), (x + enlarged) / 2, atol=1e-6)
        seen = seen_with(network.base, x)
    assert torch.equal(seen[:, :3], x)
    assert torch.allclose(seen[:, 3:], enlarged, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 3, 1, 1), (1, 3, 5, 12)])
def test_pictures_are_doubled_as_torch_does_it(shape):
    torch.manual_seed(0)
    x = torch.rand(*shape)
    theirs = functional.interpolate(x, scale_factor=2.0, mode="bicubic")
    assert torch.allclose(doubled(x), theirs, atol=1e-6)
    assert doubled(x.double()).dtype == torch.float64


def test_what_it_sees_is_read_from_shapes():
    network = RefiningGenerator(REFINER, SMALL)
    assert config_from_shapes(shapes_of(network.state_dict())) == REFINER
    assert network.size_multiple == 16


def test_a_network_begins_with_the_levels_and_blocks_of_a_deeper_one_that_it_has():
    deep, short = LiteGenerator(replace(SMALL, widths=(8, 12, 16), blocks=(2, 2, 1))), LiteGenerator(SMALL)
    state = shortened(deep.state_dict(), short.state_dict())
    short.load_state_dict(state)
    assert torch.equal(short.decoder[0][0].conv1.weight, deep.decoder[0][0].conv1.weight)
    with pytest.raises(RuntimeError, match="down"):  # what lacks a level is not made whole
        deep.load_state_dict(shortened(state, deep.state_dict()))


def test_a_widened_network_begins_with_the_mean_of_its_own_result_and_what_it_refines():
    torch.manual_seed(0)
    alone, refiner = LiteGenerator(SMALL), LiteGenerator(REFINER)
    state = widened(alone.state_dict(), refiner.state_dict())
    refiner.load_state_dict(state)
    x = torch.rand(1, 6, 16, 16)
    with torch.no_grad():
        assert torch.allclose(refiner(x), (alone(x[:, :3]) + x[:, 3:]) / 2, atol=1e-5)
    assert widened(refiner.state_dict(), state).keys() == state.keys()


# --- its weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [Base(FILES[CLEAN]), Base(FILES[DETAIL], Mix(FILES[CLEAN], 0.8))])
def test_torch_and_the_graph_refine_alike(refiner, base):
    faces = trial_faces(512)[:1]
    ours, theirs = (load_backend(refiner, place=at, base=base).restore(faces)[0] for at in (Place(), None))
    assert ours.shape == (512, 512, 3)
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


def test_detail_is_that_of_what_is_refined(refiner):
    plain, detailed = (
        load_backend(refiner, place=Place(), base=base)
        for base in (Base(FILES[CLEAN]), Base(FILES[DETAIL], Mix(FILES[CLEAN], 0.5)))
    )
    assert (plain.descriptor.detail, detailed.descriptor.detail) == (None, 0.5)
    faces = trial_faces(512)[:1]
    assert not np.array_equal(plain.restore(faces)[0], detailed.restore(faces)[0])


@pytest.mark.parametrize("place", [None, Place()])
def test_without_what_it_refines_it_is_refused(refiner, place):
    with pytest.raises(CheckpointError, match="refines what other weights give"):
        load_backend(refiner, place=place)


def test_weights_that_refine_nothing_refuse_a_base():
    with pytest.raises(CheckpointError, match="refines nothing"):
        load_backend(FILES[CLEAN], base=Base(FILES[CLEAN]))


@pytest.mark.parametrize(
    ("detail", "base", "share"), [(None, CLEAN, None), (0, CLEAN, None), (0.3, DETAIL, 0.3)]
)
def test_it_comes_with_what_it_refines(store, refiner, detail, base, share):
    found = choose("restore", RestoreConfig(weights=str(refiner), detail=detail), store)
    assert (found.name, found.mix) == (str(refiner), None)
    assert (found.base.name, found.base.mix and found.base.mix.share) == (base, share)


def test_what_is_refined_is_among_the_settings_of_a_batch(store, refiner):
    chosen = RestoreConfig(weights=str(refiner), detail=0.5)
    networks = settings_of(chosen, OutputConfig(), store)["networks"]
    assert networks[0].startswith(str(refiner))
    assert any("0.5 of lite.detail-256" in network for network in networks)


@pytest.mark.parametrize(
    ("detail", "name", "share", "base"),
    [
        (None, LARGE, None, CLEAN),
        (0, LARGE, None, CLEAN),
        (0.3, DETAIL_LARGE, 0.3, DETAIL),
    ],
)
def test_those_that_ship_have_the_detail_of_what_they_refine(store, detail, name, share, base):
    found = choose("restore", RestoreConfig(weights=LARGE, detail=detail), store)
    assert (found.name, found.mix and found.mix.share) == (name, share)
    assert (found.base.name, found.base.mix and found.base.mix.share) == (base, share)
    detailed = choose("restore", RestoreConfig(weights=DETAIL_LARGE, detail=detail), store)
    assert detailed.name == (LARGE if detail == 0 else DETAIL_LARGE)


def test_weights_that_only_refine_have_the_detail_of_what_they_refine_alone(store, refiner):
    store.import_file("lite.mine", refiner)
    found = choose("restore", RestoreConfig(weights="lite.mine", detail=0.5), store)
    assert (found.name, found.mix) == ("lite.mine", None)
    assert (found.base.name, found.base.mix.share) == (DETAIL, 0.5)


# --- its training ----------------------------------------------------------------------------------------------------

TINY = (
    "data.face_size=64",
    "recipe.task='refine'",
    "recipe.network={inputs=6, widths=[8, 8], blocks=[1, 1], fine_widths=[6, 4], fine_blocks=[1, 1]}",
    "engine.steps=2",
    "engine.warmup_steps=1",
)


def test_what_is_refined_is_not_trained(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("lite", tmp_path, *TINY)
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    with torch.no_grad():  # the last layer starts from zeros, and lets no gradient through
        networks["generator"].fine.draw.weight.normal_()
    scene = scene_of(plan, networks, first_batch(plan))
    assert plan.recipe.base.config == BUNDLED
    terms, found = gradients(plan, networks, scene, phase)
    assert terms.keys() == {"pixel", "frequency"}
    assert all(key.startswith("generator.") and value.abs().sum() > 0 for key, value in found.items())
    assert all(parameter.grad is None for parameter in plan.recipe.base.parameters())


def test_the_run_of_the_log_is_understood(tmp_path):
    faces, _ = write_drawn_faces(tmp_path, count=1, face_size=64)
    config = Path(__file__).parents[1] / "examples" / "train_lite_large_1.toml"
    plan = make_plan("lite", faces=faces, config=config, assignments=["data.set_weights={}"])
    assert plan.recipe.settings.network == WIDENED
    assert (plan.recipe.settings.start, plan.recipe.settings.base) == (CLEAN, CLEAN)
    assert (plan.data.face_size, plan.data.crop_size) == (512, 256)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("train_lite_detail_512", LARGE),
        ("train_lite_detail_512_2", DETAIL_LARGE),
        ("train_lite_detail_512_3", DETAIL_LARGE),
    ],
)
def test_the_runs_that_drew_detail_are_understood(tmp_path, name, start):
    faces, _ = write_drawn_faces(tmp_path, count=1, face_size=64)
    config = Path(__file__).parents[1] / "examples" / f"{name}.toml"
    plan = make_plan("lite", faces=faces, config=config, assignments=["data.set_weights={}"])
    assert (plan.recipe.settings.start, plan.recipe.settings.base) == (start, DETAIL)
    named = plan.recipe.networks()["generator"].named_parameters()
    trained = {key for key, parameter in named if parameter.requires_grad}
    assert trained == load_state_dict(WEIGHTS / "lite_detail_512.safetensors").keys()


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("recipe.network.inputs=3", "inputs is 3; the task 'refine' takes 6"),
        ("recipe.network={inputs=6, widths=[8, 8], blocks=[1, 1]}", "draws at the full size"),
        ("recipe.base='lite.safetensors'", "a name of the catalog"),
    ],
)
def test_a_run_says_what_refining_asks_for(tmp_path, assignment, told):
    with pytest.raises(ConfigError, match=told):
        drawn_plan("lite", tmp_path, *TINY, assignment)


def test_an_export_refines_as_a_file_and_under_a_name(tmp_path, store):
    plan = drawn_plan("lite", tmp_path, *TINY)
    trained(plan, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("psnr" in record for record in records)
    path = tmp_path / "large.safetensors"
    export_run(tmp_path / "run", path, licence="MIT", data="drawn faces", half=True)
    embed_graph(path)
    header = look_at(path).metadata
    assert (header["purpose"], header[REFINES], header["face_size"]) == ("restore", CLEAN, "64")
    faces = trial_faces(64)[:1]
    chosen = choose("restore", RestoreConfig(weights=str(path)), store)
    by_file = [load_restorer(chosen, provider=provider).restore(faces)[0] for provider in (None, "torch")]
    assert np.abs(by_file[0] - by_file[1]).max() < 1e-4
    store.import_file("lite.mine", path)
    named = choose("restore", RestoreConfig(weights="lite.mine"), store)
    assert named.base.name == CLEAN
    assert np.array_equal(load_restorer(named).restore(faces)[0], by_file[0])


LAYERS = ("decoder.0.", "fine.")


def drawing_plan(folder, start, *more):
    """Return a plan of two steps of an adversary on some layers of what is `LARGE`, or was trained from it."""
    return drawn_plan(
        "lite",
        folder,
        "data.face_size=64",
        "recipe.task='refine'",
        "recipe.network={inputs=6, fine_widths=[32, 12], fine_blocks=[3, 1]}",
        f"recipe.start='{start}'",
        f"recipe.base='{DETAIL}'",
        f"recipe.layers={list(LAYERS)}",
        "recipe.adversary={weight=0.4, width=4, cut_size=32, alone_steps=0, ramp_steps=1, none_db=5, full_db=9}",
        "recipe.learning_rate=0.01",
        "engine.steps=2",
        "engine.warmup_steps=1",
        *more,
    )


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """Return a file of two steps of an adversary on some layers of `LARGE`."""
    folder = tmp_path_factory.mktemp("drawing")
    trained(drawing_plan(folder, LARGE), folder / "run")
    path = folder / "drawing.safetensors"
    export_run(folder / "run", path, licence="MIT", data="drawn faces")
    embed_graph(path)
    return path


def test_what_only_some_layers_draw_holds_those_alone(drawing):
    header, state = look_at(drawing).metadata, load_state_dict(drawing)
    assert (header[DETAIL_OF], header[REFINES]) == (LARGE, DETAIL)
    theirs = load_state_dict(WEIGHTS / "lite_large_512.safetensors")
    assert {key for key in theirs if key.startswith(LAYERS)} == state.keys()
    assert any(not torch.equal(value, theirs[key]) for key, value in state.items())


def test_what_is_trained_on_from_some_layers_is_used_with_the_same_others(tmp_path, drawing):
    further = drawing_plan(tmp_path, drawing)
    networks = further.recipe.networks()
    further.recipe.start(networks)
    state, own = networks["generator"].state_dict(), load_state_dict(drawing)
    theirs = load_state_dict(WEIGHTS / "lite_large_512.safetensors")
    assert all(torch.equal(value, own.get(key, theirs[key]).float()) for key, value in state.items())
    made = further.recipe.export(networks["generator"])
    assert made.metadata[DETAIL_OF] == LARGE
    assert made.state_dict.keys() == own.keys()
    fewer = drawing_plan(tmp_path, drawing, "recipe.layers=['fine.']").recipe
    with pytest.raises(ConfigError, match=r"holds 'decoder\.0.* would be lost"):
        fewer.start(networks)


def test_the_other_layers_are_those_that_it_was_trained_from(store, drawing):
    faces = trial_faces(64)[:1]
    made = {}
    for detail in (None, 0.5):
        chosen = choose("restore", RestoreConfig(weights=str(drawing), detail=detail), store)
        assert (chosen.mix.share, chosen.base.name) == (detail or 1, DETAIL)
        ours, theirs = (load_restorer(chosen, provider=at).restore(faces)[0] for at in (None, "torch"))
        assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()
        made[detail] = ours
    careful = choose("restore", RestoreConfig(weights=str(drawing), detail=0), store)
    assert (careful.name, careful.mix, careful.base.name) == (LARGE, None, CLEAN)
    store.import_file("lite.drawing", drawing)
    named = choose("restore", RestoreConfig(weights="lite.drawing"), store)
    assert np.array_equal(load_restorer(named).restore(faces)[0], made[None])
    assert not np.array_equal(made[None], made[0.5])


def test_a_batch_names_what_layers_alone_are_mixed_with(store, drawing):
    networks = settings_of(RestoreConfig(weights=str(drawing)), OutputConfig(), store)["networks"]
    assert any(each.startswith(f"{LARGE} ") and each.endswith(f"1 of {drawing}") for each in networks)
    assert any("0.9 of lite.detail-256" in each for each in networks)


ADVERSARY = "recipe.adversary={weight=0.4, width=4, cut_size=32}"


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["recipe.layers=['fine.']"], r"set recipe\.adversary\.weight"),
        (
            ["recipe.layers=['fine.', 'find.']", f"recipe.start='{LARGE}'", ADVERSARY],
            "no parameter .* begin with decoder,",
        ),
    ],
)
def test_layers_that_would_not_be_trained_are_refused(tmp_path, assignments, told):
    with pytest.raises(ConfigError, match=told):
        drawn_plan("lite", tmp_path, *TINY, *assignments).recipe.networks()


def test_layers_are_trained_of_a_network_as_it_is_in_the_catalog(tmp_path):
    plan = drawn_plan(
        "lite", tmp_path, *TINY, "recipe.layers=['fine.']", f"recipe.start='{LARGE}'", ADVERSARY
    )
    with pytest.raises(CheckpointError, match=r"to start from 'lite\.large-512'"):  # which is not as tiny
        plan.recipe.start(plan.recipe.networks())


@pytest.mark.parametrize("place", [None, Place()])
def test_layers_alone_are_no_network(drawing, place):
    with pytest.raises(CheckpointError, match=rf"trained on from '{LARGE}' alone"):
        load_backend(drawing, place=place, base=Base(FILES[DETAIL], Mix(FILES[CLEAN], 0.8)))


def test_layers_of_another_network_are_refused(tmp_path, store, drawing):
    path, header = tmp_path / "other.safetensors", dict(look_at(drawing).metadata)
    assert store.import_file("lite.whole", drawing)
    save_state_dict(path, {"fine.other": torch.zeros(2)}, metadata=header)
    with pytest.raises(WeightsError, match=r"cannot import .* as 'lite\.mine': .*fine\.other"):
        store.import_file("lite.mine", path)
    chosen = choose("restore", RestoreConfig(weights=str(path), provider="torch"), store)
    with pytest.raises(CheckpointError, match=r"fine\.other"):
        load_restorer(chosen, provider="torch")
    # With layers of its own beside it, it would go unseen where ONNX Runtime takes by name what it needs.
    save_state_dict(path, {**load_state_dict(drawing), "fine.other": torch.zeros(2)}, metadata=header)
    with pytest.raises(CheckpointError, match=r"holds 'fine\.other', which its network does not take"):
        load_restorer(choose("restore", RestoreConfig(weights=str(path)), store))
    save_state_dict(path, load_state_dict(drawing), metadata=header | {DETAIL_OF: "lite.unheard-of"})
    with pytest.raises(WeightsError, match=r"over 'lite\.unheard-of'"):
        store.import_file("lite.mine", path)


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        (
            DETAIL_OF,
            "parse.clean-256",
            r"over 'parse\.clean-256', which are for the purpose 'parse', not 'restore'",
        ),
        (
            REFINES,
            "lite.colour-128",
            r"'lite\.colour-128', which are for the purpose 'colorize', not 'restore'",
        ),
        (REFINES, LARGE, r"refines 'lite\.large-512', which refine others themselves"),
    ],
)
def test_layers_that_do_not_go_with_what_they_name_are_not_installed(
    tmp_path, store, drawing, key, name, message
):
    path = tmp_path / "other.safetensors"
    save_state_dict(path, load_state_dict(drawing), metadata={**look_at(drawing).metadata, key: name})
    with pytest.raises(WeightsError, match=message):
        store.import_file("lite.mine", path)
    assert not store.is_own("lite.mine")


def test_a_network_that_shares_parameters_with_what_it_refines_keeps_its_own(tmp_path, refiner):
    state = widened(load_state_dict(FILES[CLEAN]), load_state_dict(refiner))
    path = tmp_path / "same.safetensors"
    header = {"backend": "lite", REFINES: CLEAN, "face_size": "512"}
    save_state_dict(path, {**load_state_dict(refiner), **state}, metadata=header)
    embed_graph(path)
    base, faces = Base(FILES[DETAIL], Mix(FILES[CLEAN], 0.5)), trial_faces(512)[:1]
    ours, theirs = (load_backend(path, place=at, base=base).restore(faces)[0] for at in (Place(), None))
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


def test_a_file_that_refines_what_nobody_knows_is_not_installed(tmp_path, store, refiner):
    path = tmp_path / "other.safetensors"
    header = {**look_at(refiner).metadata, REFINES: "lite.unheard-of"}
    save_state_dict(path, load_state_dict(refiner), metadata=header)
    with pytest.raises(WeightsError, match=r"refines 'lite\.unheard-of'"):
        store.import_file("lite.mine", path)

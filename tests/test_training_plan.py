"""From what was asked for to a run: which settings win, what is refused, and what a dry run tells."""

from pathlib import Path

import pytest
import torch
from tiny_runs import drawn_plan

from facerestore.errors import ConfigError, FaceRestoreError
from facerestore.training.data.datasets import PairDataset, PositionsOnly
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine import state
from facerestore.training.engine.state import check_room, checkpoint_bytes
from facerestore.training.plan import make_plan, preview, samples_of, validation_of
from facerestore.training.recipes import RECIPES, recipe_class
from facerestore.training.recipes.lite.recipe import LiteRecipe


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Return the folders of drawn faces and maps."""
    return write_drawn_faces(tmp_path_factory.mktemp("drawn"), count=3, face_size=64)


def test_recipe_then_smoke_then_file_then_assignments(drawn, tmp_path):
    faces, _ = drawn
    config = tmp_path / "run.toml"
    config.write_text("[engine]\nbatch_size = 3\nsteps = 7\n[recipe.network]\nwidths = [4, 4]\n")
    full = make_plan("lite", faces=faces)
    assert (full.engine.steps, full.engine.warmup_steps, full.data.face_size) == (5500, 100, 256)
    plan = make_plan(
        "lite", faces=faces, config=config, assignments=["engine.steps=9", "engine.steps=11"], smoke=True
    )
    assert (plan.engine.steps, plan.engine.batch_size, plan.data.face_size) == (11, 3, 64)
    assert plan.engine.clip_norm == 1.0  # of the recipe's defaults
    assert plan.engine.log_every == 1  # of any smoke run
    assert plan.recipe.settings.network.widths == (4, 4)
    assert plan.recipe.settings.network.blocks == (1, 1)  # of the recipe's smoke run
    assert plan.described["lite"]["network"]["widths"] == [4, 4]


def test_shares_are_replaced_as_a_whole_by_a_file(drawn, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("[data.mix]\nsevere = 1.0\n")
    assert make_plan("lite", faces=drawn[0], config=config).data.mix == {"severe": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engine]\nsteps = ", r"run.toml' cannot be read"),
        ("[engin]\nsteps = 3\n", "unknown table 'engin'"),
        ("[engine]\nstep = 3\n", r"\[engine\]: unknown key 'step'; did you mean 'steps'"),
        ("[data]\nface_size = 'big'\n", r"\[data\]: 'face_size' is 'big'"),
        ("[recipe]\nlearning_rat = 3\n", "did you mean 'learning_rate'"),
        ("[validation]\nsede = 3\n", "did you mean 'seed'"),
        ("engine = 3\n", "'engine' is 3 and no table"),
    ],
)
def test_faults_of_a_file_are_named(drawn, tmp_path, text, message):
    config = tmp_path / "run.toml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_plan("lite", faces=drawn[0], config=config)


def test_faults_beside_the_file_are_named(drawn, tmp_path):
    with pytest.raises(ConfigError, match=r"absent.toml' cannot be read"):
        make_plan("lite", faces=drawn[0], config=tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="unknown recipe 'light'"):
        make_plan("light", faces=drawn[0])
    with pytest.raises(ConfigError, match="with --data"):
        make_plan("lite", faces=None)
    with pytest.raises(ConfigError, match=r"make them with .facerestore parse .* --maps MAPS"):
        make_plan("parse", faces=drawn[0])
    with pytest.raises(ConfigError, match=r"sets nothing; write key=value"):
        make_plan("lite", faces=drawn[0], assignments=["engine.steps"])


def test_validation_faces_are_spread_over_their_folder(drawn):
    plan = make_plan("lite", faces=drawn[0], validation_faces=drawn[0], assignments=["validation.count=2"])
    assert [file.name for file in plan.validation_files] == ["0000", "0001"]
    everything = make_plan(
        "lite", faces=drawn[0], validation_faces=drawn[0], assignments=["validation.count=0"]
    )
    assert len(everything.validation_files) == 3
    assert validation_of(make_plan("lite", faces=drawn[0])) == {}


def test_a_plan_knows_its_faces_wherever_they_lie(drawn, tmp_path):
    here = make_plan("lite", faces=drawn[0]).described["faces"]
    assert here["train"].startswith("3 faces, ")
    moved = tmp_path / "moved"
    (moved / "drawn").mkdir(parents=True)
    for path in drawn[0].rglob("*.png"):
        (moved / "drawn" / path.name).write_bytes(path.read_bytes())
    assert make_plan("lite", faces=moved).described["faces"] == here
    (moved / "drawn" / "0002.png").rename(moved / "drawn" / "other.png")
    assert make_plan("lite", faces=moved).described["faces"] != here


class _Free(LiteRecipe):
    needs = frozenset()


class _Own(LiteRecipe):
    def samples(self, files, data):
        return [{"own": torch.tensor(len(files))}]

    def validation(self, files, data, *, seed):
        return {"own": torch.tensor([seed])}


def test_samples_are_pairs_or_nothing_or_the_recipes_own(tmp_path):
    plan = drawn_plan("lite", tmp_path)
    assert isinstance(samples_of(plan), PairDataset)
    assert validation_of(plan).keys() == {"lq", "hq", "parsing"}

    def of(recipe):
        return type(plan)(
            recipe(plan.recipe.settings, face_size=64),
            plan.engine,
            plan.data,
            plan.validation,
            plan.files,
            plan.validation_files,
            {},
        )

    assert isinstance(samples_of(of(_Free)), PositionsOnly)
    assert samples_of(of(_Own))[0]["own"] == 4
    assert validation_of(of(_Own))["own"].tolist() == [7]


def test_a_preview_counts_what_the_run_will_hold(tmp_path):
    plan = drawn_plan("lite", tmp_path)
    shown = preview(plan)
    (count,) = shown.networks.values()
    assert count == sum(p.numel() for p in plan.recipe.networks()["generator"].parameters())
    assert shown.state_bytes == 4 * 5 * count
    assert shown.checkpoint_bytes == checkpoint_bytes(count, count) == 4 * 4 * count
    assert [row.shape for row in shown.rows] == [(2, 3, 64, 64)] * 3  # lq, hq and the map in colours
    assert all(row.min() >= 0 and row.max() <= 1 for row in shown.rows)


def test_room_is_needed_for_all_kept_checkpoints_and_one_more(tmp_path, monkeypatch):
    monkeypatch.setattr(state.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 299 * 2**20}))
    check_room(tmp_path, 99 * 2**20, keep=2)
    with pytest.raises(
        FaceRestoreError, match=r"about 100 MiB .* 300 MiB in all, and 299 MiB are free; free some"
    ):
        check_room(tmp_path, 100 * 2**20, keep=2)
    for step in (1, 2):
        (tmp_path / f"step_{step:08d}").mkdir()
    check_room(tmp_path, 299 * 2**20, keep=2)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_who_it_is(name):
    cls = recipe_class(name)
    assert cls.name == name
    assert cls.defaults()["engine"]["steps"] >= 500
    assert cls.smoke()["engine"]["steps"] <= 60


@pytest.mark.parametrize(
    ("name", "precision", "needs_maps"),
    [("gpen", "bf16", False), ("mmrb", "bf16", False), ("psfr", "auto", True)],
)
def test_the_settings_of_the_bundled_networks_are_known_and_train_one_network(
    tmp_path, name, precision, needs_maps
):
    faces, _ = write_drawn_faces(tmp_path, count=1, face_size=128)
    config = Path(__file__).parent.parent / f"examples/train_{name}_128.toml"
    plan = make_plan(name, faces=faces, config=config)
    assert (plan.data.face_size, plan.engine.precision) == (128, precision)
    assert {phase.trains for phase in plan.recipe.phases} == {("generator",)}
    assert ("parsing" in plan.recipe.needs) is needs_maps

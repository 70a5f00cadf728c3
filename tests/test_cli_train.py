"""``facerestore train``: every recipe from start to weights, what it says and refuses, and how it is interrupted."""

import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_runs import same_networks

from facerestore.backends import load_backend
from facerestore.cli.app import main
from facerestore.cli.train import _Progress
from facerestore.errors import ImageError
from facerestore.training.data.drawn import write_drawn_faces
from facerestore.training.engine import state
from facerestore.training.engine.state import checkpoints
from facerestore.training.engine.step import plainly
from facerestore.training.recipes import RECIPES
from facerestore.training.recipes.lite.recipe import LiteRecipe
from facerestore.weights.checkpoint import read_metadata

TINY = (
    "--smoke",
    "--steps=4",
    "--set=data.face_size=32",
    "--set=recipe.network={unshuffle=4, widths=[8, 8], blocks=[1, 1]}",
    "--set=engine.save_every=2",
    "--set=engine.validate_every=4",
)


def train_lite(run, *options):
    return main(["train", "lite", "--run", str(run), "--device", "cpu", *TINY, *options])


@pytest.fixture
def faces(tmp_path):
    return write_drawn_faces(tmp_path, count=4, face_size=32)[0]


def one_line_of(capsys):
    """Return what a person is told of an error: one line."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("facerestore: error: ")
    return err


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_run_of_every_recipe_ends_in_weights(name, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "weights.safetensors"
    short = ("--smoke", "--steps=2", "--set=engine.save_every=1", "--set=validation.count=2")
    assert main(["train", name, "--run", str(run), "--device", "cpu", *short]) == 0
    told = capsys.readouterr().out
    assert "step 2: " in told
    assert f"done: {run / 'checkpoints' / 'step_00000002'}" in told
    assert (run / "curves.png").exists()
    assert (run / "samples" / "step_00000002.png").exists()
    assert json.loads((run / "settings.json").read_text())["recipe"] == name
    assert main(["train", "export", str(run), str(out), "--licence", "CC0-1.0", "--data", "drawn"]) == 0
    header = read_metadata(out)
    assert (header["recipe"], header["licence"], header["data"], header["step"]) == (
        name,
        "CC0-1.0",
        "drawn",
        "2",
    )
    assert json.loads(header["training"])["engine"]["steps"] == 2
    assert json.loads(header["metrics"])["step"] == 2
    if RECIPES[name].purpose == "restore":
        assert load_backend(out).name == header["backend"] == RECIPES[name].backend


def test_the_export_works_in_enhance_at_once_and_by_a_name_of_its_own(tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    assert train_lite(tmp_path / "run") == 0
    assert main(["train", "export", str(tmp_path / "run"), str(out)]) == 0
    assert f"facerestore weights import lite.NAME {out}" in capsys.readouterr().out
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "face.png")
    crop = [str(tmp_path / "face.png"), "--aligned", "--overwrite", "-o", str(tmp_path / "restored.png")]
    assert main(["enhance", *crop, "--weights", str(out)]) == 0
    assert main(["weights", "import", "lite.mine", str(out)]) == 0
    assert main(["enhance", *crop, "--weights", "lite.mine"]) == 0
    assert "lite.mine" in capsys.readouterr().out
    assert main(["train", "export", str(tmp_path / "run"), str(out)]) == 2
    assert "exists; give --overwrite" in one_line_of(capsys)


def test_a_dry_run_tells_and_shows_and_trains_nothing(tmp_path, capsys):
    run = tmp_path / "run"
    assert train_lite(run, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "generator: " in told
    assert "MiB of memory" in told
    assert "MiB a checkpoint, of which 2 are kept" in told
    assert "16 faces to learn from, 16 to judge on" in told
    assert '"face_size": 32' in told
    picture = run / "lite_first_batch.png"
    assert f"first batch: {picture}" in told
    with Image.open(picture) as found:
        assert found.size == (2 * 32, 3 * 32)
    assert not (run / "checkpoints").exists()


def test_a_dry_run_without_a_folder_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "lite", *TINY, "--dry-run"]) == 0
    assert "give --run DIR to have it there" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_smoke_run_without_a_folder_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "lite", "--device", "cpu", *TINY]) == 0
    assert "done: recipe 'lite' works here; give --run DIR to keep what it makes" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_flags_win_over_the_file_and_steps_over_both(tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text("[engine]\nbatch_size = 3\nseed = 1\nsteps = 50\n")
    options = ("--config", str(config), "--set", "engine.batch_size=1", "--set", "engine.steps=40")
    assert train_lite(tmp_path / "run", *options, "--dry-run") == 0
    told = capsys.readouterr().out
    assert '"batch_size": 1' in told
    assert '"seed": 1' in told
    assert '"steps": 4,' in told


def test_quiet_says_nothing(tmp_path, capsys):
    assert train_lite(tmp_path / "run", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_an_interrupted_run_goes_on_with_the_same_command(tmp_path, monkeypatch, capsys):
    losses = LiteRecipe.losses

    def interrupted(self, phase, scene):
        if scene.step == 3:
            raise KeyboardInterrupt
        return losses(self, phase, scene)

    assert train_lite(tmp_path / "whole") == 0
    # Paths of drawn faces are settings; both runs take those of the first.
    faces = tmp_path / "whole" / "drawn"
    given = ("--data", str(faces / "faces"), "--val", str(faces / "faces"))
    monkeypatch.setattr(LiteRecipe, "losses", interrupted)
    capsys.readouterr()
    assert train_lite(tmp_path / "broken", *given) == 130
    assert "stopped; the same command goes on from the last checkpoint" in capsys.readouterr().out
    monkeypatch.undo()
    assert train_lite(tmp_path / "broken", *given) == 0
    assert "going on at step 2 of 4" in capsys.readouterr().out
    ends = [checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("whole", "broken")]
    assert same_networks(*ends)


def test_a_run_with_other_settings_is_not_continued(tmp_path, capsys):
    assert train_lite(tmp_path / "run") == 0
    capsys.readouterr()
    assert train_lite(tmp_path / "run", "--set", "recipe.learning_rate=0.5") == 2
    assert "lite.learning_rate was 0.001, is 0.5" in one_line_of(capsys)


def test_a_folder_of_another_recipe_is_named_and_long_differences_are_cut(tmp_path, faces, capsys):
    run = tmp_path / "run"
    assert train_lite(run, "--quiet") == 0
    assert main(["train", "stylegan2", "--smoke", "--run", str(run), "--device", "cpu"]) == 2
    assert "holds a run of recipe 'lite' and not of 'stylegan2'; give another --run" in one_line_of(capsys)
    changed = [f"--set=engine.{key}" for key in ("batch_size=3", "clip_norm=9", "seed=1", "ema_decay=0.5")]
    changed += [f"--set=data.{key}" for key in ("seed=1", "face_size=48")]
    assert train_lite(run, *changed) == 2
    assert "; and 1 more)" in one_line_of(capsys)


@pytest.mark.parametrize(
    ("name", "message"), [("file", "cannot be written"), ("file/deeper", "cannot be written")]
)
def test_a_run_folder_that_cannot_be_is_one_line(tmp_path, capsys, name, message):
    (tmp_path / "file").write_text("")
    assert train_lite(tmp_path / name) == 2
    assert message in one_line_of(capsys)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ("[]", "holds no JSON object")])
def test_damaged_settings_of_a_run_are_one_line(tmp_path, faces, capsys, text, message):
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.json").write_text(text)
    assert train_lite(run, "--data", str(faces)) == 2
    assert message in one_line_of(capsys)


def test_a_run_folder_below_a_file_is_one_line(tmp_path, faces, capsys):
    (tmp_path / "file").write_text("")
    assert train_lite(tmp_path / "file" / "run", "--data", str(faces)) == 2
    assert "cannot be made" in one_line_of(capsys)


def test_a_run_goes_on_under_a_version_with_more_settings_but_not_with_other_faces(tmp_path, faces, capsys):
    run = tmp_path / "run"
    assert train_lite(run) == 0
    stored = json.loads((run / "settings.json").read_text())
    del stored["data"]["landmarks"]
    (run / "settings.json").write_text(json.dumps(stored))
    assert train_lite(run, "--steps=5") == 0
    capsys.readouterr()
    assert (
        train_lite(run, "--data", str(faces), "--set", f"data.parsing={str(run / 'drawn' / 'parsing')!r}")
        == 2
    )
    assert "faces.train was '16 faces, " in one_line_of(capsys)


def test_two_processes_by_torchrun_equal_one_of_twice_the_batch(tmp_path):
    assert train_lite(tmp_path / "one", "--set", "engine.batch_size=4") == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [
        "-m",
        "facerestore",
        "train",
        "lite",
        "--run-folder",
        str(tmp_path / "two"),
        "--device",
        "cpu",
        *TINY,
    ]
    done = subprocess.run(
        [*launcher, *command, "--set", "engine.batch_size=2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("done: ") == 1
    from safetensors.torch import load_file

    one, two = (
        load_file(checkpoints(tmp_path / n / "checkpoints")[-1] / "model.safetensors") for n in ("one", "two")
    )
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5
    assert (tmp_path / "two" / "curves.png").exists()


def test_several_processes_need_a_folder(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "lite", *TINY]) == 2
    assert "several processes need one folder for their run; give --run DIR" in one_line_of(capsys)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--set", "engine.stpes=3"], 2, "[engine]: unknown key 'stpes'; did you mean 'steps'?"),
        (["--set", "engine.steps"], 2, "'engine.steps' sets nothing; write key=value"),
        (["--set", "data.mix={gfpgna=1}"], 2, "gfpgna"),
        (["--set", "data.face_size=30"], 2, "faces of 30 px do not suit 2 levels"),
        (["--config", "absent.toml"], 2, "'absent.toml' cannot be read"),
        (["--data", "absent"], 1, "absent"),
        (["--device", "abacus"], 2, "abacus"),
    ],
)
def test_wrong_options_cost_one_line(tmp_path, capsys, options, code, message):
    assert train_lite(tmp_path / "run", *options) == code
    assert message in one_line_of(capsys)


def test_a_run_needs_a_folder_and_faces(tmp_path, capsys):
    assert main(["train", "lite", "--data", str(tmp_path)]) == 2
    assert "give --run DIR" in one_line_of(capsys)
    assert main(["train", "lite", "--run", str(tmp_path / "run")]) == 2
    assert "with --data" in one_line_of(capsys)
    (tmp_path / "empty").mkdir()
    assert train_lite(tmp_path / "run", "--data", str(tmp_path / "empty")) == 2
    assert "no pictures in" in one_line_of(capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_one_bad_picture_is_left_out_and_many_are_the_wrong_folder(tmp_path, faces, capsys, caplog):
    (faces / "drawn" / "0001.png").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        assert train_lite(tmp_path / "run", "--data", str(faces), "--steps=8") == 0
    assert [record.message.startswith("left out: ") for record in caplog.records].count(True) == 1
    for path in faces.rglob("*.png"):
        Image.new("RGB", (48, 32)).save(path)
    capsys.readouterr()
    assert train_lite(tmp_path / "other", "--data", str(faces), "--quiet") == 1
    assert "an aligned face is square and at least 32 px" in one_line_of(capsys)


def test_a_map_with_an_unknown_class_is_named(tmp_path, faces, capsys):
    for path in (tmp_path / "parsing").rglob("*.png"):
        Image.new("L", (32, 32), 25).save(path)
    maps = ("--set", f"data.parsing={str(tmp_path / 'parsing')!r}")
    assert train_lite(tmp_path / "run", "--data", str(faces), *maps, "--quiet") == 1
    assert "has class 25; the classes are 0 to 18" in one_line_of(capsys)


def test_a_small_disk_is_told_before_the_first_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(state.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert train_lite(tmp_path / "run", "--quiet") == 1
    assert "too little room" in one_line_of(capsys)
    assert not checkpoints(tmp_path / "run" / "checkpoints")


def test_what_is_no_run_cannot_be_exported_or_drawn(tmp_path, capsys):
    assert main(["train", "export", str(tmp_path), str(tmp_path / "a.safetensors")]) == 2
    assert "no folder of a training run" in one_line_of(capsys)
    assert main(["train", "export", str(tmp_path), str(tmp_path / "a.pth")]) == 2
    assert "a.safetensors" in one_line_of(capsys)
    assert main(["train", "plot", str(tmp_path)]) == 2
    assert "has no log of any step" in one_line_of(capsys)


def test_curves_are_drawn_where_they_are_wanted(tmp_path, capsys):
    assert train_lite(tmp_path / "run", "--quiet") == 0
    assert main(["train", "plot", str(tmp_path / "run"), "-o", str(tmp_path / "here.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'here.png'}\n"
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "run" / "curves.png").read_bytes()


def test_an_error_in_a_worker_comes_without_its_traceback():
    def loader():
        raise ImageError(
            "Caught ImageError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "  File \"x.py\", line 1\nfacerestore.errors.ImageError: 'a.png' is 3 x 4; an aligned face is square\n"
        )
        yield

    with pytest.raises(ImageError) as caught:
        list(plainly(loader()))
    assert str(caught.value) == "'a.png' is 3 x 4; an aligned face is square"


def test_without_a_terminal_losses_are_said_once_a_minute(capsys):
    progress = _Progress(quiet=False, bar=True)
    progress.begin(0, 9)
    for step, seconds in ((1, 2.0), (2, 30.0), (3, 62.5), (4, 70.0)):
        progress.step({"step": step, "seconds": seconds, "rate": 1.0, "pixel": 0.25, "gradient_norm/g": 1.0})
    progress.close()
    assert capsys.readouterr().out == "step 1 of 9: pixel 0.25\nstep 3 of 9: pixel 0.25\n"


def test_a_terminal_sees_a_bar_with_losses(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = _Progress(quiet=False, bar=True)
    progress.begin(0, 2)
    progress.step({"step": 1, "seconds": 2.0, "rate": 1.0, "pixel": 0.25})
    progress.message("step 1: psnr 23")
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 1: psnr 23" in err
    assert "pixel 0.25" in err


def test_help_and_enhance_import_nothing_of_training():
    code = (
        "import sys, facerestore.cli, facerestore.pipeline.build, facerestore.pipeline.restore;"
        "print(*(m for m in sys.modules if m.startswith('facerestore.training.')), *{'torch', 'accelerate', 'pydantic',"
        " 'numpy'} & {m for m in sys.modules})"
    )
    only_cli = code.replace(", facerestore.pipeline.build, facerestore.pipeline.restore", "")
    done = subprocess.run([sys.executable, "-c", only_cli], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"accelerate", "pydantic"} & set(done.stdout.split())

"""Detectors, recipes, degradations and metrics of other packages: found, used, refused, and harmless when broken."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_fakes import face, fill
from fakes import photo, trial_photo

import facerestore
from facerestore import extensions
from facerestore.cli.app import main
from facerestore.config import RestoreConfig
from facerestore.degradation import BicubicReduction, preset
from facerestore.detection import DETECTORS, DetectorOptions, create_detector
from facerestore.errors import BackendError, ConfigError, ExtensionError
from facerestore.evaluation.metrics import SPECS, FaceMetric, Setting, Spec, open_metrics, parse_metrics
from facerestore.extensions import all_extensions, forget_registered
from facerestore.io import write_image
from facerestore.testing.doctor import State, diagnose
from facerestore.training.recipes import RECIPES, recipe_class
from facerestore.weights import WeightsStore
from facerestore.weights.checkpoint import read_metadata

DETECTOR = """
    import numpy as np
    from facerestore import DetectedFace
    from facerestore.imaging.alignment import template

    class Middle:
        name = "middle"

        def __init__(self, options):
            self.options = options

        def detect(self, image):
            height, width = image.shape[:2]
            points = template(min(height, width)).astype(np.float32)
            return [DetectedFace((0.0, 0.0, float(width), float(height)), points, 0.5)]
    """

DEGRADATION = """
    from facerestore.degradation import Degradation, DegradationDraw
    from facerestore.degradation.steps import Jpeg

    class Squeezed(Degradation):
        def draw(self, face_size, rng):
            return DegradationDraw(self.name, face_size, (), (Jpeg(int(rng.integers(5, 9))),))

    squeezed = Squeezed(name="squeezed")
    """

METRIC = """
    import numpy as np
    from facerestore.evaluation.metrics import FaceMetric, Spec

    def open_mae(spec, setting):
        def measure(face, hq):
            return np.abs(face.astype(float) - hq).mean()
        return FaceMetric(spec, {"implementation": "by hand"}, measure)

    mae = Spec(name="mae", title="MAE", better="lower", decimals=1, opener="my_metric:open_mae")
    """

RECIPE = """
    from dataclasses import dataclass
    import torch
    from torch import nn
    from facerestore.training.recipes.base import Exported, Phase, Recipe, Term, pair_validation

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Settings:
        width: int = 3

    class Shift(Recipe):
        name = "shift"
        title = "one convolution"
        settings_class = Settings
        averaged = "generator"
        phases = (Phase("generator", ("generator",), "generator"),)

        def __init__(self, settings, *, face_size):
            self.width = settings.width

        @classmethod
        def defaults(cls):
            return {}

        @classmethod
        def smoke(cls):
            return {"engine": {"steps": 2, "batch_size": 2}, "data": {"face_size": 32}}

        def networks(self):
            return {"generator": nn.Conv2d(3, 3, self.width, padding="same")}

        def optimisers(self, networks):
            return {"generator": torch.optim.Adam(networks["generator"].parameters())}

        def losses(self, phase, scene):
            made = scene.networks["generator"](scene.batch["lq"])
            return [Term("pixel", (made - scene.batch["hq"]).abs().mean())]

        def validate(self, network, batch):
            return pair_validation(network(batch["lq"]), batch)

        def export(self, network):
            return Exported(network.state_dict())
    """


@pytest.fixture(autouse=True)
def _unregistered():
    yield
    forget_registered()


@pytest.fixture
def bring(install_package):
    """Return a function that installs a package of one module with these extensions: kind, module, source, names."""

    def install(kind, module, source, package="my-package", **points):
        located = {name: f"{module}:{thing}" for name, thing in points.items()}
        return install_package(package, {f"facerestore.{kind}s": located}, {f"{module}.py": source})

    return install


@pytest.fixture
def broken(install_package):
    """Install a package that cannot be imported, with something of each kind."""
    kinds = ("backend", "detector", "recipe", "degradation", "metric")
    groups = {f"facerestore.{kind}s": {"gone": "gone_module:Gone"} for kind in kinds}
    install_package("broken", groups, {"gone_module.py": "raise OSError('no libgone.so')"})


# --- through the commands ---------------------------------------------------------------------------------------------


def test_enhance_finds_faces_by_a_detector_of_another_package(bring, tmp_path, capsys):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    write_image(tmp_path / "a.png", photo(200, 200))
    words = ["--detector", "middle", "--force", "--device", "cpu", "--report", str(tmp_path / "r.json")]
    assert main(["enhance", str(tmp_path / "a.png"), *words, "-o", str(tmp_path / "b.png")]) == 0
    assert "detector middle" in capsys.readouterr().out
    (report,) = json.loads((tmp_path / "r.json").read_text())["photos"]
    assert (report["found"], report["detector"]) == (1, "middle")


def test_a_detector_is_told_how_to_look(bring):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    made = create_detector("middle", weights_for=Path, device="cpu", detect_size=640, rotations=True)
    assert made.detector.options == DetectorOptions("cpu", 640, True)


def test_train_and_export_take_a_recipe_of_another_package(bring, tmp_path, capsys):
    bring("recipe", "my_recipe", RECIPE, shift="Shift")
    run, out = tmp_path / "run", tmp_path / "shift.safetensors"
    assert (
        main(["train", "shift", "--smoke", "--run", str(run), "--device", "cpu", "--set=recipe.width=5"]) == 0
    )
    assert main(["train", "export", str(run), str(out)]) == 0
    assert f"{out}: shift after 2 steps" in capsys.readouterr().out
    header = read_metadata(out)
    assert header["recipe"] == "shift"
    assert "backend" not in header
    assert json.loads(header["training"])["shift"] == {"width": 5}


def test_a_recipe_of_another_package_is_previewed_and_has_help(bring, capsys):
    bring("recipe", "my_recipe", RECIPE, shift="Shift")
    assert main(["train", "shift", "--help"]) == 0
    assert "Train by the recipe 'shift', from my-package 1.2." in capsys.readouterr().out
    assert "my_recipe" not in sys.modules
    assert main(["train", "shift", "--smoke", "--dry-run"]) == 0
    assert "shift: one convolution" in capsys.readouterr().out


def test_data_degrade_and_evaluate_take_a_degradation_of_another_package(bring, tmp_path, capsys):
    bring("degradation", "my_degradation", DEGRADATION, squeezed="squeezed")
    faces, pairs = fill(tmp_path / "hq", sets=("a",), count=2), tmp_path / "pairs"
    order = ["data", "degrade", str(faces), "--preset", "squeezed", "--size", "48", "--pairs", str(pairs)]
    assert main(order) == 0
    records = [json.loads(line) for line in (pairs / "pairs.jsonl").read_text().splitlines()]
    assert {record["preset"] for record in records} == {"squeezed"}
    words = ["--degradation", "squeezed", "--metrics", "psnr", "--face-size", "64", "--backend", "lite"]
    assert main(["evaluate", "--hq", str(faces), *words]) == 0
    assert "degraded by the preset 'squeezed', seed 7" in capsys.readouterr().out


def test_evaluate_measures_by_a_metric_of_another_package(bring, tmp_path, capsys):
    bring("metric", "my_metric", METRIC, mae="mae")
    for name in ("hq", "lq"):
        fill(tmp_path / name, sets=("a",), count=2)
    words = ["--lq", str(tmp_path / "lq"), "--hq", str(tmp_path / "hq"), "--restored", str(tmp_path / "lq")]
    assert main(["evaluate", *words, "--metrics", "mae,psnr", "--face-size", "64"]) == 0
    out = capsys.readouterr().out
    assert "| method | PSNR dB ↑ | MAE ↓ |" in out
    assert "- MAE: implementation by hand" in out


# --- what is broken ---------------------------------------------------------------------------------------------------

CAUSE = r" 'gone' \(gone_module:Gone, from broken 1\.2\) cannot be imported: OSError: no libgone\.so; update or un"


def test_a_broken_package_is_named_where_it_is_asked_for_and_nowhere_else(broken, bring, tmp_path, capsys):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    bring("metric", "my_metric", METRIC, mae="mae", package="other-package")
    assert create_detector("middle", weights_for=Path).name == "middle"
    for ask, kind in (
        (lambda: create_detector("gone", weights_for=Path), "detector"),
        (lambda: recipe_class("gone"), "recipe"),
        (lambda: preset("gone"), "degradation"),
        (lambda: open_metrics(["gone"], SETTING, has_reference=True, has_reference_set=False), "metric"),
    ):
        with pytest.raises(ExtensionError, match=f"^{kind}{CAUSE}"):
            ask()
    chosen = open_metrics(None, SETTING, has_reference=True, has_reference_set=False)
    assert {"psnr", "mae"} <= {metric.spec.name for metric in chosen.faces}
    assert "no libgone.so" in chosen.unavailable["gone"]
    assert main(["train", "gone", "--smoke"]) == 1
    assert "error: recipe 'gone'" in capsys.readouterr().err


def test_listing_and_doctor_name_what_comes_from_outside(broken, bring, capsys):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    bring("recipe", "my_recipe", RECIPE, package="other-package", shift="Shift")
    assert main(["extensions"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        f"detectors: {', '.join(DETECTORS)} middle from my-package 1.2 gone BROKEN, from broken 1.2" in told
    )
    assert "shift from other-package 1.2" in told
    assert main(["extensions", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows["recipe"]] == [*RECIPES, "shift", "gone"]
    assert "no libgone.so" in rows["metric"][-1]["problem"]
    checks = {(check.topic, check.name): check for check in diagnose()}
    assert checks["detector", "middle"].state is State.OK
    assert checks["detector", "middle"].detail.endswith("from my-package 1.2")
    assert checks["recipe", "shift"].detail == "from other-package 1.2"
    for kind in ("backend", "detector", "recipe", "degradation", "metric"):
        assert checks[kind, "gone"].state is State.BROKEN
        assert "no libgone.so" in checks[kind, "gone"].detail


def test_damaged_entry_points_keep_no_other_package_from_being_found(bring, capsys):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    folder = bring("detector", "other", "", package="damaged")
    (next(folder.glob("*.dist-info")) / "entry_points.txt").write_text("[facerestore.detectors]\nnonsense\n")
    assert create_detector("middle", weights_for=Path).name == "middle"
    with pytest.raises(
        ConfigError, match=r"'damaged' of damaged 1\.2 .* cannot be read: .*; reinstall damaged"
    ):
        create_detector("damaged", weights_for=Path)


SETTING = Setting(WeightsStore(offline=True), torch.device("cpu"), 64)


@pytest.mark.parametrize(
    ("kind", "location", "said"),
    [
        ("recipe", "builtins:dict", "no class derived from facerestore.training.recipes.base.Recipe"),
        (
            "recipe",
            "facerestore.training.recipes.base:Recipe",
            "class Recipe lacks __init__, defaults, export",
        ),
        ("recipe", "facerestore.training.recipes.lite.recipe:LiteRecipe", "calls itself 'lite', not 'mine'"),
        ("degradation", "builtins:dict", "no instance of a class derived from facerestore.degradation.Deg"),
        ("degradation", "facerestore.degradation.presets:PRESETS", "no instance of a class derived"),
        ("metric", "builtins:dict", "no facerestore.evaluation.metrics.Spec"),
        ("detector", "facerestore:__version__", "cannot be called with DetectorOptions to make a detector"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(install_package, kind, location, said):
    install_package("wrong", {f"facerestore.{kind}s": {"mine": location}})
    (found,) = [each for each in all_extensions() if each.kind == kind]
    with pytest.raises(
        ExtensionError, match=rf"{kind} 'mine' .* is no {kind}: .*{said}.*; update or unin"
    ) as error:
        found.load("mine")
    assert "wrong 1.2" in str(error.value)


class Unlike(BicubicReduction):
    """Draws another thing each time it is asked."""

    def draw(self, face_size, rng):
        raise ZeroDivisionError("no range")


def test_a_degradation_that_cannot_be_drawn_is_refused():
    with pytest.raises(
        ExtensionError, match="cannot be registered: it cannot be drawn: ZeroDivisionError: no r"
    ):
        facerestore.register_degradation("unlike", Unlike(name="unlike", factor=2))
    with pytest.raises(ExtensionError, match="calls itself 'unlike', not 'like'"):
        facerestore.register_degradation("like", Unlike(name="unlike", factor=2))


class Given:
    """A detector that gives what it was made with."""

    name = "given"

    def __init__(self, found):
        self.found = found

    def detect(self, image):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def found_face(box=(1.0, 2.0, 3.0, 4.0), landmarks=None, score=0.5):
    points = np.zeros((5, 2), np.float32) if landmarks is None else landmarks
    return facerestore.DetectedFace(box, points, score)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ZeroDivisionError("no pixels"), "'given' failed: ZeroDivisionError: no pixels; report this"),
        (None, "gave NoneType, expected a list of facerestore.DetectedFace"),
        ([(0, 0, 1, 1)], "gave a face as tuple, expected facerestore.DetectedFace"),
        ([found_face(landmarks=np.zeros((5, 2)))], r"landmarks as float64 \(5, 2\), expected float32"),
        ([found_face(landmarks=[[0, 0]] * 5)], "landmarks as list, expected float32"),
        ([found_face(box=(1.0, 2.0, 3.0, np.nan))], "no finite numbers: .*nan"),
        (
            [found_face(box=(3.0, 2.0, 1.0, 4.0))],
            r"the box \(3\.0, 2\.0, 1\.0, 4\.0\) .* expected left < right",
        ),
        ([found_face(score=7.0)], "the score 7.0, expected"),
    ],
)
def test_a_detector_that_fails_or_gives_no_faces_is_named(found, said):
    facerestore.register_detector("given", lambda options: Given(found))
    detector = create_detector("given", weights_for=Path)
    with pytest.raises(ExtensionError, match=said):
        detector.detect(trial_photo(size=64))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda options: options.size, "'odd' cannot be made: AttributeError: .*size.*; report this"),
        (lambda options: 7, r"'odd' is made as int, which has no method detect\(image\)"),
    ],
)
def test_a_detector_that_cannot_be_made_is_named(make, said):
    facerestore.register_detector("odd", make)
    with pytest.raises(ExtensionError, match=said):
        create_detector("odd", weights_for=Path)


def fails(spec, setting):
    return FaceMetric(spec, {}, lambda restored, hq: 1 / 0)


def test_a_metric_that_fails_costs_its_faces_and_is_named(tmp_path, capsys):
    spec = Spec(name="odd", title="ODD", better="lower", decimals=1, opener=fails)
    facerestore.register_metric("odd", spec)
    (metric,) = open_metrics(["odd"], SETTING, has_reference=True, has_reference_set=False).faces
    with pytest.raises(
        ExtensionError, match=r"metric 'odd' failed: ZeroDivisionError: .*; report this to the author"
    ):
        metric.measure(face(0), face(1))
    with pytest.raises(
        ExtensionError, match="'sets' cannot be registered: it judges sets, which FID and KID"
    ):
        facerestore.register_metric(
            "sets", Spec(name="sets", title="S", better="lower", decimals=1, of_sets=True, opener=fails)
        )


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_of_ours_and_names_that_two_have_are_refused(bring, install_package):
    bring("detector", "my_detector", DETECTOR, yunet="Middle", middle="Middle", auto="Middle")
    install_package("rival", {"facerestore.detectors": {"middle": "rival:Middle"}})
    assert create_detector.__module__ == "facerestore.detection"
    (detectors,) = [each for each in all_extensions() if each.kind == "detector"]
    assert detectors.names() == list(DETECTORS)
    problems = {(each.name, each.package): each.problem for each in detectors.outside()}
    assert problems["yunet", "my-package 1.2"].startswith(
        "its name 'yunet' is that of a detector of facerestore"
    )
    assert problems["auto", "my-package 1.2"].startswith(
        "'auto' is no name of a detector; its author must choose"
    )
    assert problems["middle", "rival 1.2"] == "my-package 1.2 has a detector 'middle' too; uninstall one"
    with pytest.raises(
        ConfigError, match=r"'middle' of rival 1\.2 cannot be used: my-package 1\.2 has a detector"
    ):
        create_detector("middle", weights_for=Path)


def test_registering_a_taken_name_is_refused_with_a_remedy(bring):
    bring("detector", "my_detector", DETECTOR, middle="Middle")
    with pytest.raises(
        ConfigError, match="'yunet' cannot be registered: its name 'yunet' is that of a detector of"
    ):
        facerestore.register_detector("yunet", Given)
    with pytest.raises(
        ConfigError, match=r"my-package 1\.2 has a detector 'middle' too; choose another name"
    ):
        facerestore.register_detector("middle", Given)
    with pytest.raises(ConfigError, match=r"'a b' is no name of a detector; .* such as 'my-detector'"):
        facerestore.register_detector("a b", Given)
    with pytest.raises(ConfigError, match="'export' is no name of a recipe"):
        facerestore.register_recipe("export", RECIPES)
    facerestore.register_detector("given", Given)
    facerestore.register_detector("given", Given)  # as when a cell of a notebook is run again
    with pytest.raises(
        ConfigError, match=r"this program \(\w+\) has a detector 'given' too; choose another name"
    ):
        facerestore.register_detector("given", lambda options: Given([]))


def test_a_registered_backend_restores():
    class Halver(facerestore.Restorer):
        descriptor = facerestore.Descriptor(name="halver", face_size=64, needs_weights=False)

        def restore(self, faces, parsing_maps=None):
            return [crop / 2 for crop in self.crops(faces)]

    facerestore.register_backend("halver", Halver)
    assert facerestore.build_pipeline(RestoreConfig(backend="halver", device="cpu")).restorer.name == "halver"
    with pytest.raises(
        BackendError, match="backend 'other' cannot be registered: class dict does not say what"
    ):
        facerestore.register_backend("other", dict)


def test_unknown_names_are_told_with_those_of_all_packages(bring):
    bring("metric", "my_metric", METRIC, mae="mae")
    assert parse_metrics("mae, psnr") == ("psnr", "mae")
    with pytest.raises(ConfigError, match=f"unknown metric 'pnsr'; choose one of {', '.join(SPECS)}, mae$"):
        parse_metrics("pnsr")


# --- how much it costs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["enhance", "--help"]])
def test_help_looks_at_no_package(words, monkeypatch, capsys):
    def looked(path):
        raise AssertionError("installed packages were looked at")

    monkeypatch.setattr(extensions, "_installed", looked)
    assert main(words) == 0


def test_packages_are_looked_through_once_for_a_path(bring):
    bring("metric", "my_metric", METRIC, mae="mae")
    extensions._installed.cache_clear()
    for kind in all_extensions():
        assert kind.names()
    assert extensions._installed.cache_info().misses == 1


def test_our_own_names_import_nothing_of_others(broken):
    code = "import sys, facerestore.training.recipes as r; r.recipe_class('lite'); print('gone_module' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

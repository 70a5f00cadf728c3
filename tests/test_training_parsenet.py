"""Training of ParseNet: what a phase moves, what is measured, and what comes out of a run."""

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, same_networks, scene_of, trained

from facerestore.errors import CheckpointError, ConfigError
from facerestore.imaging.alignment import template
from facerestore.parsing import load_parser
from facerestore.training.data.maps import mean_iou
from facerestore.training.engine.folder import RunFolder
from facerestore.training.engine.settings import make_settings
from facerestore.training.export import export_run
from facerestore.training.recipes.parsenet import ParseNetRecipe, ParseNetSettings
from facerestore.types import AlignedFace, DetectedFace
from facerestore.weights.checkpoint import save_state_dict

TINY = (
    "recipe.network={encoder=[4, 4, 4], body_blocks=1, decoder=[4, 4]}",
    "engine.schedule='constant'",
)


def test_gradients_reach_every_parameter(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("parsenet", tmp_path, *TINY)
    networks = plan.recipe.networks()
    (phase,) = plan.recipe.phases
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    assert terms.keys() == {"labels", "image"}
    assert terms["labels"] == pytest.approx(np.log(19), rel=0.5)
    for key, gradient in found.items():
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().sum() > 0, key


def test_a_run_learns_and_its_export_parses(tmp_path):
    settings = (*TINY, "engine.steps=40", "recipe.learning_rate=5e-3", "engine.validate_every=20")
    run = tmp_path / "run"
    trained(drawn_plan("parsenet", tmp_path, *settings), run)
    judged = [record for record in RunFolder(run).records() if "miou" in record]
    assert judged[-1]["miou"] > judged[0]["miou"]
    assert judged[-1]["pixel_accuracy"] > 0.3
    assert {"psnr", "psnr_input"} <= judged[-1].keys()
    out = tmp_path / "parse.safetensors"
    export_run(run, out, licence="CC0-1.0", data="drawn")
    parser = load_parser(out)
    assert (parser.name, parser.input_size) == ("parsenet", 64)
    face = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    (labels,) = parser.parse(
        [AlignedFace(DetectedFace((0, 0, 96, 96), template(96), 1.0), np.eye(2, 3), face)]
    )
    assert labels.shape == (96, 96)


def test_two_short_runs_equal_a_long_one(tmp_path):
    whole = trained(drawn_plan("parsenet", tmp_path, *TINY, "engine.steps=4"), tmp_path / "whole")
    trained(drawn_plan("parsenet", tmp_path, *TINY, "engine.steps=2"), tmp_path / "pieces")
    resumed = trained(drawn_plan("parsenet", tmp_path, *TINY, "engine.steps=4"), tmp_path / "pieces")
    assert same_networks(whole, resumed)


def test_iou_is_the_mean_over_the_classes_of_each_face():
    labels = torch.zeros(2, 2, 4, dtype=torch.long)
    labels[0, :, 2:] = 13
    predicted = labels.clone()
    assert mean_iou(predicted, labels) == 1
    predicted[0, :, 2:] = 0  # background: 4 of 8; hair: none of 4
    predicted[1, 0] = 5  # background: 4 of 8; an eye that is not there
    assert mean_iou(predicted, labels) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("network", "size", "fault"),
    [
        ({}, 40, "multiple of 16 from 32 px"),
        ({}, 16, "multiple of 16 from 32 px"),
        ({"encoder": [8, 8]}, 64, "need 1 of the decoder, not 4"),
        ({"classes": 11}, 64, "maps have 19 classes, and recipe.network.classes is 11"),
    ],
)
def test_networks_that_suit_no_map_are_refused(network, size, fault):
    with pytest.raises(ConfigError, match=fault):
        ParseNetRecipe(make_settings(ParseNetSettings, {"network": network}), face_size=size)


@pytest.mark.parametrize("text", ["0", "large", "-3"])
def test_a_header_without_a_size_is_refused(tmp_path, text):
    recipe = ParseNetRecipe(
        make_settings(ParseNetSettings, {"network": {"encoder": [4, 4], "body_blocks": 1, "decoder": [4]}}),
        face_size=64,
    )
    path = tmp_path / "parse.safetensors"
    save_state_dict(path, recipe.networks()["parser"].state_dict(), {"face_size": text})
    with pytest.raises(CheckpointError, match="face_size is no side in pixels"):
        load_parser(path)

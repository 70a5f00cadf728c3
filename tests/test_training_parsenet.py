"""Training of ParseNet: what a phase moves, what is measured, and what comes out of a run."""

import numpy as np
import pytest
import torch
from tiny_runs import check_parser, check_resuming, drawn_plan, first_batch, gradients, scene_of

from facerestore.errors import CheckpointError, ConfigError
from facerestore.parsing import load_parser
from facerestore.training.data.maps import mean_iou
from facerestore.training.engine.settings import make_settings
from facerestore.training.recipes.parsenet import ParseNetRecipe, ParseNetSettings
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
    judged = check_parser("parsenet", tmp_path, *TINY)
    assert judged["pixel_accuracy"] > 0.3
    assert {"psnr", "psnr_input"} <= judged.keys()


def test_two_short_runs_equal_a_long_one(tmp_path):
    check_resuming("parsenet", tmp_path, *TINY)


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

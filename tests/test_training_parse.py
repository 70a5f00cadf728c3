"""Training of the small parser: losses over what is known, a run that learns, an export that parses."""

import math

import pytest
import torch
from tiny_runs import check_parser, check_resuming, drawn_plan, first_batch, gradients, scene_of

from facerestore.errors import ConfigError
from facerestore.training.engine.settings import make_settings
from facerestore.training.recipes.parse import ParseRecipe, ParseSettings, dice, part_iou

TINY = (
    "recipe.network={widths=[6, 8], blocks=[1, 1]}",
    "engine.schedule='constant'",
    "engine.precision='no'",
)


def test_gradients_reach_every_parameter(tmp_path):
    torch.manual_seed(0)
    plan = drawn_plan("parse", tmp_path, *TINY)
    networks = plan.recipe.networks()
    (phase,) = plan.recipe.phases
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan)), phase)
    assert terms["labels"] == pytest.approx(math.log(19), rel=0.5)
    assert 0 < terms["dice"] < 1
    for key, gradient in found.items():
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().sum() > 0, key


def test_what_is_unknown_costs_nothing():
    torch.manual_seed(0)
    logits = torch.randn(1, 19, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, :2] = 255
    (torch.nn.functional.cross_entropy(logits, labels, ignore_index=255) + dice(logits, labels)).backward()
    assert not logits.grad[0, :, :2].any()
    assert logits.grad[0, :, 2:].abs().sum() > 0


def test_dice_counts_each_class_by_its_own_size():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, 0, 0] = 4
    right = torch.nn.functional.one_hot(labels, 19).permute(0, 3, 1, 2).float() * 100
    assert dice(right, labels) == pytest.approx(0, abs=1e-6)
    missed = torch.zeros(1, 19, 4, 4)
    missed[:, 0] = 100  # 15 of 16 pixels are right, and one of the two classes is lost
    assert dice(missed, labels) == pytest.approx(1 - (2 * 15 / (16 + 15)) / 2)


def test_iou_of_a_part_joins_its_classes_and_leaves_the_unknown_out():
    labels = torch.tensor([[[4, 4, 0, 255]]])
    predicted = torch.tensor([[[5, 0, 0, 4]]])
    assert part_iou(predicted, labels, ("left_eye", "right_eye")) == 0.5
    assert part_iou(predicted, labels, ("hair",)) == 1


def test_a_run_learns_and_its_export_parses(tmp_path):
    judged = check_parser("parse", tmp_path, *TINY)
    assert {"eyes", "brows", "mouth", "skin", "hair"} <= judged.keys()


def test_two_short_runs_equal_a_long_one(tmp_path):
    check_resuming("parse", tmp_path, *TINY)


@pytest.mark.parametrize(
    ("network", "size", "fault"),
    [
        ({}, 40, "multiple of 32 px"),
        ({"classes": 11}, 64, "maps have 19 classes, and recipe.network.classes is 11"),
    ],
)
def test_networks_that_suit_no_map_are_refused(network, size, fault):
    with pytest.raises(ConfigError, match=fault):
        ParseRecipe(make_settings(ParseSettings, {"network": network}), face_size=size)

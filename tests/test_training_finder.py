"""The finder's recipe: composites that say where their faces are, which cells answer, and a tiny run."""

import numpy as np
import pytest
import torch
from tiny_runs import drawn_plan, first_batch, gradients, scene_of, trained

from facerestore.archs.detector import OUTPUTS, cell_centres
from facerestore.detection.embedded import open_cells, search
from facerestore.errors import ConfigError
from facerestore.imaging.alignment import FFHQ_TEMPLATE, resize_affine, transform_points
from facerestore.training.data.drawn import landmarks_file
from facerestore.training.engine.folder import RunFolder
from facerestore.training.export import export_run
from facerestore.training.plan import samples_of
from facerestore.training.recipes.finder.backgrounds import BANK_SIDE_PX, make_bank, read_backgrounds
from facerestore.training.recipes.finder.light import photographed
from facerestore.training.recipes.finder.losses import (
    IGNORED,
    USABLE,
    assign,
    finder_losses,
    overlap_and_distance,
    quality_focal,
)
from facerestore.training.recipes.finder.recipe import FinderRecipe, FinderSettings, mine
from facerestore.training.recipes.finder.scenes import finder_data, make_composite
from facerestore.weights.checkpoint import load_state_dict, read_metadata

SIDE = 64
"""Of the faces, px."""


def marked_face(value=120):
    """A grey face with a red dot on each of its five points."""
    face = np.full((SIDE, SIDE, 3), value, np.uint8)
    points = transform_points(resize_affine(SIDE / 512), FFHQ_TEMPLATE)
    for x, y in np.rint(points).astype(int):
        face[y - 2 : y + 3, x - 2 : x + 3] = (255, 0, 0)
    return face, points


@pytest.fixture(scope="module")
def data():
    face, points = marked_face()
    faces = np.stack([face] * 3)
    bank = make_bank(faces, [], np.random.default_rng(0), size=4)
    return finder_data(faces, np.stack([points] * 3), np.full_like(bank, 60))


def test_backgrounds_are_pictures_of_one_size(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (50, 900, 3), dtype=np.uint8)).save(tmp_path / "wide.png")
    given = read_backgrounds(tmp_path)
    assert min(given[0].shape[:2]) >= BANK_SIDE_PX
    bank = make_bank(np.stack([marked_face()[0]]), given, np.random.default_rng(0), size=30)
    assert bank.shape == (30, BANK_SIDE_PX, BANK_SIDE_PX, 3)
    again = make_bank(np.stack([marked_face()[0]]), given, np.random.default_rng(0), size=30)
    assert np.array_equal(bank, again)


def test_a_folder_without_pictures_is_no_background(tmp_path):
    with pytest.raises(ConfigError, match="no picture"):
        read_backgrounds(tmp_path)


def test_composites_are_functions_of_their_key(data):
    one, other = (make_composite(data, 128, (1, 0, 3)) for _ in range(2))
    assert np.array_equal(one.picture, other.picture)
    assert np.array_equal(one.points, other.points)
    assert not np.array_equal(one.picture, make_composite(data, 128, (1, 0, 4)).picture)


def test_points_lie_where_the_composite_shows_them(data):
    seen = []
    for index in range(60):
        made = make_composite(data, 128, (7, 0, index), photograph=lambda picture, *_: picture)
        assert made.picture.shape == (128, 128, 3)
        sides = np.sqrt(np.prod(made.boxes[:, 2:] - made.boxes[:, :2], axis=1))
        for points, side, usable in zip(made.points, sides, made.usable, strict=True):
            x, y = np.rint(points).astype(int).T
            inside = (x > 2) & (y > 2) & (x < 125) & (y < 125)
            if usable and side > 40:
                red = made.picture[y[inside], x[inside]].astype(int)
                seen += (red[:, 0] - red[:, 1] > 60).tolist()
    assert len(seen) > 50
    assert np.mean(seen) > 0.9  # the rest is covered by something


def test_boxes_hold_their_points_and_left_is_left(data):
    for index in range(40):
        made = make_composite(data, 128, (3, 1, index))
        for box, points in zip(made.boxes, made.points, strict=True):
            assert (points >= box[:2] - 1).all()
            assert (points <= box[2:] + 1).all()
            level = abs(points[1] - points[0])
            if level[0] > 2 * level[1]:
                assert points[0, 0] < points[1, 0]
                assert points[3, 0] < points[4, 0]


def test_light_keeps_size_and_depends_on_the_generator_alone():
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for seed in range(40):
        one, other = (photographed(picture, 80.0, np.random.default_rng(seed)) for _ in range(2))
        assert one.shape == picture.shape
        assert one.dtype == np.uint8
        assert np.array_equal(one, other)


def faces_of(*boxes):
    return torch.tensor([list(boxes)], dtype=torch.float32)


def test_cells_near_the_middle_answer_at_the_level_of_the_size():
    centres, strides = cell_centres(256, 256)
    boxes = faces_of((20, 20, 32, 32), (60, 60, 220, 220), (100, 0, 112, 12))
    goals = assign(boxes, torch.tensor([[USABLE, USABLE, IGNORED]]), centres, strides)
    small, large = (strides[goals.face[0] == n].unique().tolist() for n in (0, 1))
    assert small == [8.0]
    assert large == [32.0, 64.0]
    assert not (goals.face[0] == 2).any()
    inside = ((centres - torch.tensor([106.0, 6.0])).abs() < 6).all(dim=1)
    assert inside.any()
    assert not goals.counts[0][inside].any()
    assert goals.counts[0].sum() == len(centres) - inside.sum()


def test_a_picture_without_faces_asks_for_silence():
    state, boxes = torch.full((1, 2), -1), torch.zeros(1, 2, 4)
    cells = len(cell_centres(64, 64)[0])
    quiet, loud = torch.zeros(1, cells, OUTPUTS), torch.zeros(1, cells, OUTPUTS)
    quiet[..., 0], loud[..., 0] = -6.0, 2.0
    points = torch.zeros(1, 2, 5, 2)
    low, high = (finder_losses(one, (64, 64), boxes, points, state) for one in (quiet, loud))
    assert low.score < 0.01 < high.score
    assert low.box == low.points == 0


def test_overlap_of_boxes():
    found, goal = (
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 1, 1]]),
        torch.tensor([[0.0, 0, 10, 10], [9, 9, 10, 10]]),
    )
    overlap, distance = overlap_and_distance(found, goal)
    assert overlap.tolist() == pytest.approx([1, 0])
    assert distance.tolist() == pytest.approx([0, 0.81])


def test_quality_is_what_the_score_should_be():
    logits = torch.linspace(-4, 4, 81)
    losses = quality_focal(logits, torch.full_like(logits, 0.7))
    assert torch.sigmoid(logits[losses.argmin()]) == pytest.approx(0.7, abs=0.02)


class Sure(torch.nn.Module):
    """Sees one face, in the second cell of the first row of the finest map."""

    def forward(self, pictures):
        size = pictures.shape[2]
        maps = [torch.zeros(1, OUTPUTS, size // s, size // s) for s in (8, 16, 32, 64)]
        for one in maps:
            one[:, 0] = -9
        maps[0][0, 0, 0, 1] = 3
        return maps


def test_false_faces_are_mined_with_their_place_and_size():
    mined = mine(Sure(), np.zeros((2, 64, 64, 3), np.uint8))
    assert mined.tolist() == [[0, 11.5, 3.5, 24], [1, 11.5, 3.5, 24]]


def finder_plan(folder, *assignments):
    """Return a tiny run on drawn faces, whose landmarks are known."""
    labels = landmarks_file(folder / "drawn")
    return drawn_plan("finder", folder, f"data.landmarks={str(labels)!r}", *assignments, count=2)


def test_a_tiny_run_is_exported_loaded_and_begun_from(tmp_path):
    trained(finder_plan(tmp_path), tmp_path / "run")
    judged = RunFolder(tmp_path / "run").judgements()
    assert judged[-1].keys() >= {"recall", "precision", "points_error"}
    out = tmp_path / "finder.safetensors"
    export_run(tmp_path / "run", out, licence="CC0-1.0", data="drawn")
    assert read_metadata(out)["arch"] == "finder"
    found = search(open_cells(out), np.zeros((70, 100, 3), np.uint8), 0.99)
    assert len(found.scores) == 0
    again = finder_plan(tmp_path, f"recipe.first={str(out)!r}")
    networks = again.recipe.networks()
    again.recipe.start(networks)
    assert torch.equal(networks["detector"].stem[0][0].weight, load_state_dict(out)["stem.0.0.weight"])
    samples_of(again)
    assert "are shown again" in again.recipe.notes[-1]


def test_the_loss_reaches_every_parameter(tmp_path):
    torch.manual_seed(0)
    plan = finder_plan(tmp_path, "recipe.picture_size=192")
    networks, (phase,) = plan.recipe.networks(), plan.recipe.phases
    terms, found = gradients(plan, networks, scene_of(plan, networks, first_batch(plan, size=8)), phase)
    assert terms.keys() == {"score", "box", "points"}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_a_first_network_that_is_not_there_is_named(tmp_path):
    recipe = FinderRecipe(FinderSettings(first=str(tmp_path / "none.safetensors")), face_size=64)
    with pytest.raises(ConfigError, match=r"recipe\.first"):
        recipe.start(recipe.networks())

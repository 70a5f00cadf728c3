"""The bundled restorer's network."""

import pytest
import torch

from facerestore.archs.judges import PIXEL_SCORES, Judges, places
from facerestore.archs.lite import BUNDLED, LiteConfig, LiteGenerator, config_from_shapes

TINY = LiteConfig(unshuffle=4, widths=(8, 12, 16), blocks=(1, 2, 1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LiteGenerator(TINY)


def test_shape_is_kept_and_output_is_finite(network):
    y = network(torch.rand(2, 3, 64, 64))
    assert y.shape == (2, 3, 64, 64)
    assert torch.isfinite(y).all()


def test_every_parameter_gets_a_gradient(network):
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_faces_of_a_batch_do_not_mix(network):
    x = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network(x)[1:2], network(x[1:2]), atol=1e-6)


def test_configuration_is_read_from_shapes(network):
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert config_from_shapes(shapes) == TINY


GROWN = LiteConfig(unshuffle=4, widths=(8, 12, 16), blocks=(1, 2, 1), fine_widths=(6, 4), fine_blocks=(2, 1))


def test_a_grown_head_changes_nothing_at_first_and_learns():
    torch.manual_seed(0)
    network, x = LiteGenerator(GROWN), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        h = network.features(x)
        plain = x + torch.nn.functional.pixel_shuffle(network.head(h), 4)
        assert torch.equal(network(x), plain)
        network.fine.draw.weight.normal_()
    network(x).square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_a_grown_configuration_is_read_from_shapes():
    shapes = {key: tuple(value.shape) for key, value in LiteGenerator(GROWN).state_dict().items()}
    assert config_from_shapes(shapes) == GROWN


@pytest.mark.parametrize("fine", [((6,), (1,)), ((6, 4), (1,)), ((6, 4, 4), (1, 1, 1))])
def test_a_head_that_does_not_lead_to_the_size_of_the_face_is_refused(fine):
    with pytest.raises(ValueError, match="one entry for each doubling from 1/4"):
        LiteGenerator(LiteConfig(4, (8, 8), (1, 1), *fine))


def test_the_bundled_size_is_what_the_card_says():
    with torch.device("meta"):
        network = LiteGenerator(BUNDLED)
    assert sum(p.numel() for p in network.parameters()) == 7_722_359


def test_levels_without_blocks_are_refused():
    with pytest.raises(ValueError, match="one entry for each"):
        LiteGenerator(LiteConfig(widths=(8, 8, 8), blocks=(1, 1)))


def judged(judges, planes, noise=None):
    torch.manual_seed(1)
    encoded = [torch.rand(len(planes), width, size, size) for width, size in ((8, 16), (12, 8))]
    return judges(planes, encoded, noise), encoded


def test_judges_score_each_cut_by_itself_at_each_level():
    torch.manual_seed(0)
    judges, planes = Judges(4, (8, 12)), torch.rand(2, 4, 64, 64)
    (scores, activations, again), encoded = judged(judges, planes)
    assert [tuple(s.shape[1:]) for s in scores] == [(1, 8, 8), (1, 4, 4), (1, 16, 16), (1, 8, 8)]
    assert [a.shape[-1] for a in activations] == [32, 16, 8, 8, 4, 4]
    assert again == []
    alone = judges(planes[1:], [x[1:] for x in encoded])[0]
    assert all(torch.allclose(a, b[1:], atol=1e-5) for a, b in zip(alone, scores, strict=True))


def test_noise_is_added_to_the_face_alone():
    torch.manual_seed(0)
    judges, planes, noise = Judges(4, (8, 12)), torch.rand(1, 4, 64, 64), torch.rand(1, 1, 64, 64)
    (_, _, again), _ = judged(judges, planes, noise)
    moved = torch.cat((planes[:, :1] + noise, planes[:, 1:]), dim=1)
    (scores, _, _), _ = judged(judges, moved)
    assert len(again) == PIXEL_SCORES
    assert all(torch.equal(a, b) for a, b in zip(again, scores, strict=False))


def test_places_run_from_left_to_right_and_from_top_to_bottom():
    across, down = places(5, like=torch.zeros(1))
    assert across[0].tolist() == down[:, 0].tolist() == [-1, -0.5, 0, 0.5, 1]

"""The bundled restorer's network."""

import pytest
import torch

from facerestore.archs.lite import BUNDLED, LiteConfig, LiteDiscriminator, LiteGenerator, config_from_shapes

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


def test_a_discriminator_judges_patches_of_each_face_by_itself():
    torch.manual_seed(0)
    network = LiteDiscriminator(4)
    faces, lq = torch.rand(2, 2, 3, 128, 128)
    scores, features = network(faces, lq)
    assert scores.shape == (2, 1, 16, 16)
    assert [f.shape[-1] for f in features] == [64, 32, 16, 16]
    assert torch.allclose(network(faces[1:], lq[1:])[0], scores[1:], atol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_a_score_sees_56_px_of_the_face_and_of_its_input(which):
    torch.manual_seed(0)
    pair = [torch.rand(1, 3, 128, 128, requires_grad=True) for _ in range(2)]
    LiteDiscriminator(8)(*pair)[0][0, 0, 8, 8].backward()
    seen = pair[which].grad.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [56, 56]

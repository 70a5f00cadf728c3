"""VGG19 and ArcFace: parity with the official networks, where they tap, and what they are fed with."""

import numpy as np
import pytest
import torch
from golden import Golden, assert_near, closed_form_weights, listed_keys
from torch.nn import functional

from facerestore.archs.arcface import CROP_COLUMNS, CROP_FRAME, CROP_ROWS, ArcFace, arcface_crop
from facerestore.archs.vgg import IMAGENET_DEVIATION, IMAGENET_MEAN, PERCEPTUAL_TAPS, PSFR_TAPS, VGG19
from facerestore.imaging.alignment import ARCFACE_TEMPLATE, template


def test_arcface_gives_the_official_result_from_the_official_keys():
    golden = Golden("retinaface_arcface_recipe")
    with torch.device("meta"):
        network = ArcFace().eval()
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == listed_keys("arcface_irse50_keys")
    assert len(own) == 397
    assert sum(p.numel() for p in network.parameters()) == 43_797_696
    network.load_state_dict(closed_form_weights(network.state_dict(), gain=0.8), strict=True, assign=True)
    with torch.no_grad():
        assert_near(network(golden["arcface.in"]), golden["arcface.out"], 1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_arcface_sees_the_official_part_of_a_face(scale):
    face = torch.rand(1, 3, 256 * scale, 256 * scale)
    side = face.shape[-1]
    part = face[..., 35 * scale : side - 33 * scale, 32 * scale : side - 36 * scale]
    assert torch.equal(arcface_crop(face), functional.adaptive_avg_pool2d(part, 112))


@pytest.mark.parametrize("side", [64, 300])
def test_arcface_takes_faces_of_any_size(side):
    ramp = torch.linspace(-1, 1, side).expand(1, 3, side, side)
    crop = arcface_crop(ramp)
    assert crop.shape == (1, 3, 112, 112)
    centre = (CROP_COLUMNS[0] + CROP_COLUMNS[1]) / CROP_FRAME - 1
    assert float(crop.mean()) == pytest.approx(centre, abs=0.02)


def test_the_part_of_a_face_lies_in_arcfaces_frame():
    points = template(CROP_FRAME) - (CROP_COLUMNS[0], CROP_ROWS[0])
    shift = abs(points * 112 / (CROP_ROWS[1] - CROP_ROWS[0]) - (ARCFACE_TEMPLATE + np.array([8, 0])))
    assert shift.max() < 3.4


def plain_vgg(network, x, place):
    """The network up to one of torchvision's places, layer by layer."""
    x = ((x + 1) / 2 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_DEVIATION)[
        :, None, None
    ]
    return network.features[: place + 1](x)


def test_vgg_has_torchvisions_keys_and_taps():
    network = VGG19(PSFR_TAPS, least_size=0)
    convolutions = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    assert set(network.state_dict()) == {
        f"features.{place}.{kind}" for place in convolutions for kind in ("weight", "bias")
    }
    assert sum(p.numel() for p in network.parameters()) == 20_024_384
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        # Ends of the official slices [0:3], [3:8], [8:17], [17:26], [26:35]; all but the last are seen after the ReLU
        # that begins the next slice.
        for tap, place in zip(network(x), (3, 8, 17, 26, 34), strict=True):
            assert torch.equal(tap, plain_vgg(network, x, place))
        network.taps, network._places = PERCEPTUAL_TAPS, VGG19(PERCEPTUAL_TAPS)._places
        for tap, place in zip(network(x), (2, 7, 16, 25, 34), strict=True):
            assert torch.equal(tap, plain_vgg(network, x, place))
            assert float(tap.min()) < 0


def test_vgg_enlarges_small_pictures_and_keeps_gradients():
    network = VGG19(("relu1_2", "relu2_2")).requires_grad_(False)
    x = (torch.rand(1, 3, 64, 64) * 2 - 1).requires_grad_()
    first, second = network(x)
    assert first.shape == (1, 64, 224, 224)
    assert second.shape == (1, 128, 112, 112)
    second.mean().backward()
    assert float(x.grad.abs().sum()) > 0
    assert network(torch.zeros(1, 3, 240, 240))[0].shape[-1] == 240


def test_unknown_taps_are_refused():
    with pytest.raises(ValueError, match=r"conv6_1.*relu5_4"):
        VGG19(("conv6_1",))

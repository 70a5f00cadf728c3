"""The parser networks: parity with the official ones, published sizes, and what any network must do."""

import numpy as np
import pytest
import torch
from golden import Golden, assert_near, closed_form_weights, listed_keys

from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.parsenet import ParseNet, ParseNetConfig

SMALL_PARSENET = ParseNetConfig(encoder=(8, 16, 16), body_blocks=2, decoder=(16, 8))
SMALL_BISENET = BiSeNetConfig(stages=(4, 6, 8, 10), context=6, head=4, squeeze=3)


def small_networks():
    torch.manual_seed(5)
    return [ParseNet(SMALL_PARSENET), BiSeNet(SMALL_BISENET)]


def test_parsenet_gives_the_official_result():
    golden = Golden("psfr_parsenet")
    network = ParseNet(SMALL_PARSENET).eval()
    network.load_state_dict(golden.under("sd."), strict=True)
    seen = {}
    for name in ("encoder", "body", "decoder"):
        getattr(network, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output})
        )
    with torch.no_grad():
        mask, image = network(golden["in"])
        assert_near(mask, golden["out.mask"], 2e-4)
        assert_near(image, golden["out.img"], 2e-4)
        assert_near(network.logits(golden["in"]), golden["out.mask"], 2e-4)
    assert torch.equal(mask.argmax(1).to(torch.uint8), golden["out.argmax"])
    for name, output in seen.items():
        assert_near(output, golden[f"act.{name}"], 2e-4)


@pytest.fixture(scope="module", params=["parsenet", "bisenet"])
def full_size(request):
    """A network of the published widths, with the weights of the closed-form recipe."""
    golden = Golden("facexlib_parse_recipe")
    network = ParseNet() if request.param == "parsenet" else BiSeNet()
    gain = {"parsenet": 0.7, "bisenet": 1.0}[request.param]
    weights = closed_form_weights(network.state_dict(), gain=gain)
    for key, first in golden.under(f"check.{request.param}|").items():
        assert_near(weights[key].reshape(-1)[: first.numel()], first.reshape(-1), 1e-6)
    network.load_state_dict(weights, strict=True)
    return request.param, network.eval(), golden


def test_full_size_parsers_give_the_official_results(full_size):
    name, network, golden = full_size
    outputs = {"parsenet": ["mask", "img"], "bisenet": ["out", "out16", "out32"]}[name]
    prefix = "parsenet.out." if name == "parsenet" else "bisenet."
    with torch.no_grad():
        for output, given in zip(outputs, network(golden["in"]), strict=True):
            assert_near(given, golden[prefix + output], 3e-4)


@pytest.mark.parametrize(
    ("network", "listing", "parameters"),
    [
        (ParseNet, "psfr_parse_keys", 21_303_254),
        (ParseNet, "facexlib_parsenet_keys", 21_303_254),
        (BiSeNet, "facexlib_bisenet_keys", 13_300_416),
    ],
)
def test_keys_and_shapes_are_those_that_are_published(network, listing, parameters):
    with torch.device("meta"):
        built = network()
    own = {key: tuple(value.shape) for key, value in built.state_dict().items()}
    assert own == listed_keys(listing)
    assert sum(p.numel() for p in built.parameters()) == parameters


@pytest.mark.parametrize("index", [0, 1])
def test_every_parameter_has_a_gradient(index):
    network = small_networks()[index].train()
    sum(output.square().mean() for output in network(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("index", [0, 1])
def test_a_face_is_labelled_the_same_in_any_batch(index):
    network = small_networks()[index].eval()
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = network.logits(x), network.logits(x[1:2])
    assert together.shape == (3, 19, 64, 64)
    assert_near(together[1:2], alone, 1e-5)


@pytest.mark.parametrize("index", [0, 1])
def test_half_precision_keeps_the_labels(index):
    """bfloat16 has 8 bits: labels may change only where two classes are nearly as likely."""
    network = small_networks()[index].eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        full, half = network.logits(x), network.bfloat16().logits(x.bfloat16()).float()
    assert torch.isfinite(half).all()
    assert float((half - full).abs().max() / full.abs().max()) < 0.05
    assert np.mean((half.argmax(1) == full.argmax(1)).numpy()) > 0.9

"""Networks on an accelerator never wait for the host: the condition for recording them as a CUDA graph.

On the meta device nothing has a value, so that whatever reads one fails; and every operation is watched for a tensor of
another device, which would be a copy between host and device. No GPU is needed for that.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.detector import DetectorNet, without_norms
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.gpen_fused import FusedGPEN
from facerestore.archs.landmarks import LandmarkNet
from facerestore.archs.parsenet import ParseNet, ParseNetConfig, fuse_parsenet
from facerestore.archs.psfr import PSFRConfig, PSFRGenerator
from facerestore.archs.replay import colours_last
from facerestore.archs.rrdb import RRDBNet
from facerestore.backends import backend_class
from facerestore.backends.psfr import PSFRRestorer

META = torch.device("meta")
RESTORERS = ("codeformer", "gpen", "lite", "mmrb", "psfr")


class OnOneDevice(TorchDispatchMode):
    """Refuses every operation that takes or gives a tensor that is not on the meta device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.device != META:
                raise AssertionError(f"{func} has a tensor on {leaf.device}")
        return result


def run(network: Callable[..., Any], *inputs: Any) -> Any:
    """Run a network on the meta device, watched."""
    with torch.inference_mode(), OnOneDevice():
        return network(*inputs)


def test_the_watch_sees_what_reads_a_value_and_what_comes_from_the_host():
    x = torch.ones(2, device="meta")
    for harmful in (
        lambda: bool(x.any()),
        lambda: x.sum().item(),
        lambda: torch.zeros(2).to(META) + x,
        lambda: x + torch.tensor(1.0),
    ):
        with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
            run(harmful)
    assert run(lambda: 2 * x + 1).shape == (2,)


def face(batch: int, side: int, channels: int = 3) -> Tensor:
    return torch.empty(batch, channels, side, side, device="meta")


def restored(name: str, batch: int) -> tuple[Tensor, int]:
    """Return what a backend's network, in the form that is shipped, gives on the meta device, and its size."""
    found = backend_class(name)
    restorer = found.build(found.example_state_dict())
    network = colours_last(restorer.network.to(META))
    x = face(batch, restorer.input_size).contiguous(memory_format=torch.channels_last)
    if name == "psfr":
        return run(network, x, face(batch, restorer.input_size, 19)), restorer.face_size
    if name == "codeformer":
        return run(network, x, 0.5), restorer.face_size
    return run(network, x), restorer.face_size


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_restoring_networks_stay_on_the_device(name, batch):
    y, size = restored(name, batch)
    assert y.shape == (batch, 3, size, size)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_gpen_that_gives_larger_faces_than_it_takes_has_its_noise_on_the_device(batch):
    config = GPENConfig(64, input_size=32, style_dim=8, mapping_layers=2, narrow=1 / 64)
    network = FusedGPEN(GPENGenerator(config).eval().requires_grad_(False)).to(META)
    assert run(network, face(batch, 32)).shape == (batch, 3, 64, 64)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_forms_of_large_layers_stay_on_the_device_too(batch):
    config = GPENConfig(512, style_dim=8, mapping_layers=2, narrow=1 / 32)
    gpen = FusedGPEN(GPENGenerator(config).eval().requires_grad_(False))
    psfr = PSFRRestorer(PSFRGenerator(PSFRConfig(512, 16, (8, 32))), face_size=512).network
    x = face(batch, 512).contiguous(memory_format=torch.channels_last)
    assert run(colours_last(gpen.to(META)), x).shape == x.shape
    assert run(colours_last(psfr.to(META)), x, face(batch, 512, 19)).shape == x.shape


def small_gpen() -> FusedGPEN:
    return backend_class("gpen").build(backend_class("gpen").example_state_dict()).network


def test_styles_stay_in_float32_whatever_the_features_are_in():
    modulation = small_gpen().convs[1].modulation
    latent = torch.randn(2, 8)
    plain = modulation(latent)
    with torch.autocast("cpu", torch.bfloat16):
        for given, wanted in zip(modulation(latent.bfloat16().float()), plain, strict=True):
            assert given.dtype == torch.float32
            assert torch.allclose(given, wanted, rtol=0.05, atol=1e-3)  # the latent alone is rounded
        features = small_gpen().convs[2](torch.randn(2, 16, 8, 8).bfloat16(), latent, torch.randn(2, 8, 8, 8))
    assert features.dtype == torch.bfloat16


@pytest.mark.parametrize("batch", [1, 3])
def test_colours_last_in_memory_give_the_same_faces(batch):
    network = small_gpen()
    x = torch.rand(batch, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        plain = network._restored_together(x)
        network = colours_last(network)
        other = network._restored_together(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(other, plain, atol=1e-4 * float(plain.std()))


PARTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "bisenet": (
        lambda: BiSeNet(BiSeNetConfig(stages=(8, 16, 16, 16), context=16, head=8, squeeze=8)),
        (2, 3, 64, 64),
    ),
    "parsenet": (
        lambda: fuse_parsenet(ParseNet(ParseNetConfig((8, 8, 16), 1, (16, 8))).eval(), side=256),
        (2, 3, 32, 32),
    ),
    "detector": (lambda: without_norms(DetectorNet()), (1, 3, 128, 192)),
    "landmarks": (LandmarkNet, (2, 1, 64, 64)),
    "rrdb": (lambda: RRDBNet(scale=2, width=8, blocks=1, growth=4), (1, 3, 16, 16)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", PARTS)
def test_the_other_networks_stay_on_the_device(name, layout):
    build, shape = PARTS[name]
    network = colours_last(build().eval().requires_grad_(False).to(META))
    run(network, torch.empty(shape, device="meta").contiguous(memory_format=layout))

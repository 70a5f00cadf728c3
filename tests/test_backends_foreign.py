"""GFPGAN and RestoreFormer: found by their keys, run at the range that they were trained for, told apart when wrong."""

import sys

import numpy as np
import pytest
import torch
from fakes import face_at
from torch.nn import functional

from facerestore.backends import BACKENDS, backend_class, identify, load_backend
from facerestore.backends.foreign import GFPGANRestorer, RestoreFormerRestorer
from facerestore.errors import BackendError, CheckpointError, ConfigError
from facerestore.types import AlignedFace
from facerestore.weights.checkpoint import save_state_dict

spandrel = pytest.importorskip("spandrel")

SIZE = 64


def randomise(network, *, seed=0):
    """Give every parameter and buffer a value of its own, biases and noise strengths included."""
    generator = torch.Generator().manual_seed(seed)
    for value in (*network.parameters(), *network.buffers()):
        fan = max(1, value[0].numel()) if value.ndim > 1 else 25
        value.data.copy_(torch.randn(value.shape, generator=generator) / fan**0.5)
    return network.state_dict()


@pytest.fixture(scope="module")
def gfpgan():
    from spandrel.architectures.GFPGAN import GFPGAN

    network = GFPGAN(out_size=SIZE, narrow=1 / 32, num_style_feat=12, num_mlp=2, channel_multiplier=1)
    return randomise(network)


@pytest.fixture(scope="module")
def restoreformer():
    from spandrel.architectures.RestoreFormer import RestoreFormer

    network = RestoreFormer(
        n_embed=20, embed_dim=8, z_channels=8, ch=32, ch_mult=(1, 1, 2), num_res_blocks=1, resolution=SIZE
    )
    return randomise(network)


def faces(count, *, size=SIZE, low=0.0, high=1.0):
    crops = np.random.default_rng(3).uniform(low, high, (count, size, size, 3)).astype(np.float32)
    return [AlignedFace(detected=face_at(0, 0), affine=np.eye(2, 3), lq=crop) for crop in crops]


def as_input(face):
    """The tensor that the authors' programs make of a face: (x - 0.5) / 0.5, channels first."""
    return torch.from_numpy((face.lq - 0.5) / 0.5).permute(2, 0, 1)[None]


def as_face(y):
    """The face that they make of the network's result: read as [-1, 1]."""
    return ((y[0] + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy()


# GFPGAN again, from its paper (arXiv 2101.04061, section 3) and StyleGAN2's (arXiv 1912.04958, section 2.2), as plain
# functions of the parameters. It knows no range but that of its input.


def leaky(x):
    return functional.leaky_relu(x, 0.2)


def doubled(x):
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def conv(p, name, x):
    weight = p[f"{name}.weight"]
    return functional.conv2d(x, weight, p.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def unet_block(p, name, x, resize):
    y = leaky(conv(p, f"{name}.conv2", resize(leaky(conv(p, f"{name}.conv1", x)))))
    return y + conv(p, f"{name}.skip", resize(x))


def modulated(p, name, x, style, *, demodulate):
    """One face at a time: the kernel times the style, normalised over each output channel."""
    scale = functional.linear(style, p[f"{name}.modulation.weight"], p[f"{name}.modulation.bias"])
    weight = p[f"{name}.weight"][0] * scale[None, :, None, None]
    if demodulate:
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


def styled(p, name, x, style, noise):
    y = modulated(p, f"{name}.modulated_conv", x, style, demodulate=True) * 2**0.5
    return leaky(y + p[f"{name}.weight"] * noise + p[f"{name}.bias"])


def to_rgb(p, name, x, style):
    return modulated(p, f"{name}.modulated_conv", x, style, demodulate=False) + p[f"{name}.bias"]


def gfpgan_forward(p, x):
    """GFPGAN with the noise of its checkpoint, on one face (1, 3, S, S)."""
    levels = x.shape[-1].bit_length() - 3
    x, skips = leaky(conv(p, "conv_body_first", x)), []
    for i in range(levels):
        x = unet_block(p, f"conv_body_down.{i}", x, lambda f: functional.avg_pool2d(f, 2))
        skips.append(x)
    x = leaky(conv(p, "final_conv", x))
    codes = functional.linear(x.flatten(1), p["final_linear.weight"], p["final_linear.bias"])[0]
    g = {key.removeprefix("stylegan_decoder."): value for key, value in p.items() if "stylegan" in key}
    codes = codes.view(-1, g["style_mlp.1.weight"].shape[1])
    y = styled(g, "style_conv1", g["constant_input.weight"], codes[0], g["noises.noise0"])
    rgb = to_rgb(g, "to_rgb1", y, codes[1])
    for i in range(levels):
        x = unet_block(p, f"conv_body_up.{i}", x + skips.pop(), doubled)
        scale, shift = (
            conv(p, f"condition_{part}.{i}.2", leaky(conv(p, f"condition_{part}.{i}.0", x)))
            for part in ("scale", "shift")
        )
        y = styled(g, f"style_convs.{2 * i}", doubled(y), codes[2 * i + 1], g[f"noises.noise{2 * i + 1}"])
        kept, changed = y.chunk(2, dim=1)
        y = torch.cat([kept, changed * scale + shift], dim=1)
        y = styled(g, f"style_convs.{2 * i + 1}", y, codes[2 * i + 2], g[f"noises.noise{2 * i + 2}"])
        rgb = doubled(rgb) + to_rgb(g, f"to_rgbs.{i}", y, codes[2 * i + 3])
    return rgb


def test_gfpgan_is_the_network_of_its_paper_at_the_range_it_was_trained_for(gfpgan):
    restorer = GFPGANRestorer.build(gfpgan)
    assert restorer.face_size == SIZE
    for face in faces(2):
        x = as_input(face)
        with torch.no_grad():
            expected, given = gfpgan_forward(gfpgan, x), restorer.forward(x, None)
        assert float((given - expected).abs().max()) < 2e-5 * float(expected.abs().max())
        restored = restorer.restore([face])[0]
        np.testing.assert_allclose(restored, as_face(expected), atol=5e-5)
        wrong = as_face(gfpgan_forward(gfpgan, torch.from_numpy(face.lq).permute(2, 0, 1)[None]) * 2 - 1)
        assert np.abs(restored - wrong).mean() > 0.02, "at [0, 1] the network does something else"


def test_gfpgan_draws_no_noise(gfpgan):
    restorer = GFPGANRestorer.build(gfpgan)
    pair = faces(2)
    first = restorer.restore(pair)
    np.testing.assert_array_equal(restorer.restore(pair), first)
    for face, alone in zip(pair, first, strict=True):
        np.testing.assert_allclose(restorer.restore([face])[0], alone, atol=2e-5)


def test_restoreformer_takes_and_gives_minus_one_to_one(restoreformer):
    restorer = RestoreFormerRestorer.build(restoreformer)
    assert restorer.face_size == SIZE
    for face in faces(2):
        with torch.no_grad():
            expected = as_face(restorer.network(as_input(face))[0])
        np.testing.assert_allclose(restorer.restore([face])[0], expected, atol=2e-5)


def test_restoreformer_is_what_spandrel_makes_of_the_published_layout():
    from spandrel.architectures.RestoreFormer import RestoreFormer, RestoreFormerArch

    shape = {
        "n_embed": 16,
        "embed_dim": 8,
        "z_channels": 8,
        "ch": 32,
        "ch_mult": (1,) * 6,
        "num_res_blocks": 1,
    }
    state_dict = randomise(RestoreFormer(**shape))
    restorer = RestoreFormerRestorer.build(state_dict)
    assert restorer.face_size == 512
    (face,) = faces(1, size=512)
    theirs = RestoreFormerArch().load(state_dict)
    expected = theirs(torch.from_numpy(face.lq).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(restorer.restore([face])[0], expected, atol=5e-5)


@pytest.mark.parametrize("backend", ["gfpgan", "restoreformer"])
@pytest.mark.parametrize(("shade", "value"), [(0.0, -1.0), (0.5, 0.0), (1.0, 1.0)])
def test_black_grey_and_white_become_the_ends_and_the_middle_of_the_range(backend, shade, value, request):
    state_dict = request.getfixturevalue(backend)
    restorer = backend_class(backend).build(state_dict)
    seen = []
    restorer.network.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    restorer.restore(faces(1, low=shade, high=shade))
    assert torch.all(seen[0] == value)


@pytest.mark.parametrize("backend", ["gfpgan", "restoreformer"])
def test_a_saved_checkpoint_is_claimed_by_its_backend_alone(backend, tmp_path, request):
    state_dict = request.getfixturevalue(backend)
    claims = [name for name in BACKENDS if backend_class(name).detect(state_dict)]
    assert claims == [backend] == [identify(state_dict)]
    path = tmp_path / "published.pth"
    torch.save({"params_ema": state_dict}, path)
    restorer = load_backend(path)
    assert restorer.name == backend
    face = restorer.restore(faces(1))[0]
    assert face.shape == (SIZE, SIZE, 3)
    assert face.dtype == np.float32
    assert np.ptp(face) > 0.05


@pytest.mark.parametrize("backend", ["gfpgan", "restoreformer"])
def test_a_file_that_does_not_fit_is_told_by_its_keys(backend, request):
    state_dict = dict(request.getfixturevalue(backend))
    build = backend_class(backend).build
    lost = [key for key in state_dict if key.endswith("conv2.bias")][-1]
    with pytest.raises(
        CheckpointError, match=f"1 missing \\(first '{lost}'\\); 1 unexpected \\(first 'extra'\\)"
    ):
        build({**{k: v for k, v in state_dict.items() if k != lost}, "extra": torch.zeros(1)})
    keep = {"gfpgan": "conv_body", "restoreformer": "encoder."}[backend]
    with pytest.raises(CheckpointError, match="cut short or foreign"):
        build({key: value for key, value in state_dict.items() if key.startswith(keep)})


@pytest.mark.parametrize("backend", ["gfpgan", "restoreformer"])
def test_without_the_extra_a_file_is_still_recognised_and_the_remedy_named(backend, request, monkeypatch):
    state_dict = request.getfixturevalue(backend)
    for name in [name for name in sys.modules if name.partition(".")[0] == "spandrel"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert identify(state_dict) == backend
    with pytest.raises(
        BackendError, match=r"needs the package spandrel.*pip install \"facerestore\[extra-backends\]\""
    ):
        backend_class(backend).build(state_dict)


@pytest.mark.parametrize("backend", ["gfpgan", "restoreformer"])
def test_no_fidelity_weight_is_pretended(backend, request):
    restorer = backend_class(backend).build(request.getfixturevalue(backend))
    with pytest.raises(ConfigError, match=f"'{backend}' has no fidelity weight, and 0.3 was given"):
        restorer.with_fidelity(0.3)


def test_half_precision_files_are_computed_in_full(gfpgan, tmp_path):
    save_state_dict(tmp_path / "half.safetensors", {key: value.half() for key, value in gfpgan.items()})
    restorer = load_backend(tmp_path / "half.safetensors")
    assert {value.dtype for value in restorer.network.state_dict().values()} == {torch.float32}
    full = GFPGANRestorer.build(gfpgan).restore(faces(1))[0]
    assert np.abs(restorer.restore(faces(1))[0] - full).mean() < 0.01

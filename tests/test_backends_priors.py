"""Loading StyleGAN2 generators of every origin: one tiny network, written under each one's names."""

import math
import re
from dataclasses import replace

import pytest
import torch
from golden import Golden, assert_near
from torch.nn import functional

from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.mmrb import MMRBConfig, MMRBGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.stylegan2 import GeneratorConfig, enlarge_bilinear, modulated_conv2d_ref
from facerestore.backends.priors import canonical_prior, prior_config, prior_from_state_dict, prior_origin
from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import load_state_dict, save_state_dict

CONFIG = GeneratorConfig(64, style_dim=16, mapping_layers=3, channel_multiplier=2, narrow=1 / 32)


def make_prior(upsampling="fir"):
    torch.manual_seed(0)
    prior = StyleGAN2Prior(replace(CONFIG, upsampling=upsampling)).eval()
    with torch.no_grad():  # make every tensor matter, biases and noise too
        for name, parameter in prior.named_parameters():
            if name.endswith("bias") or name.endswith("noise.weight"):
                parameter.add_(torch.randn_like(parameter), alpha=0.3 / (0.01 if "style." in name else 1))
        for name, buffer in prior.named_buffers():
            if name.startswith("noises."):
                buffer.normal_()  # stored noise, not the one that a new network draws
    prior.set_mean_latent()
    return prior


def as_rosinality(prior):
    return {key: value for key, value in prior.state_dict().items() if key != "w_avg"}


def as_basicsr(prior):
    """BasicSR's names; its filters are no part of the state dict."""
    renamed = {}
    for key, value in as_rosinality(prior).items():
        if key.endswith("kernel"):
            continue
        key = re.sub(r"^style\.", "style_mlp.", key)
        key = re.sub(r"^input\.input$", "constant_input.weight", key)
        key = re.sub(r"^conv1\.noise", "style_conv1", re.sub(r"^(convs\.\d+)\.noise", r"style_\1", key))
        key = re.sub(r"^conv1\.", "style_conv1.", re.sub(r"^convs\.", "style_convs.", key))
        key = re.sub(r"noise_(\d+)$", r"noise\1", key)
        renamed[key.replace(".conv.", ".modulated_conv.")] = value
    return renamed


def as_clean(prior):
    """GFPGAN's clean form: what the network multiplies at run time is multiplied into the tensors."""
    clean = {}
    for key, value in as_basicsr(prior).items():
        if key.startswith("style_mlp."):
            _, index, kind = key.split(".")
            scale = 0.01 / math.sqrt(value.shape[1]) if kind == "weight" else 0.01
            clean[f"style_mlp.{2 * int(index) - 1}.{kind}"] = value * scale * math.sqrt(2)
        elif key.endswith("modulated_conv.weight"):
            clean[key] = value / math.sqrt(value[0, 0].numel())
        elif key.endswith("modulation.weight"):
            clean[key] = value / math.sqrt(value.shape[1])
        elif key.endswith("activate.bias"):
            clean[key.replace("activate.", "")] = value.reshape(1, -1, 1, 1) * math.sqrt(2)
        elif re.fullmatch(r"style_conv(1|s\.\d+)\.weight", key):
            clean[key] = value * math.sqrt(2)
        else:
            clean[key] = value
    return clean


FORMS = {
    "rosinality": ("fir", as_rosinality),
    "basicsr": ("fir", as_basicsr),
    "clean": ("bilinear", as_clean),
    "own": ("fir", lambda prior: prior.state_dict()),
    "own-bilinear": ("bilinear", lambda prior: prior.state_dict()),
}


@pytest.fixture(params=FORMS)
def form(request):
    upsampling, write = FORMS[request.param]
    prior = make_prior(upsampling)
    return request.param.partition("-")[0], prior, write(prior)


def test_each_origin_is_recognised_and_gives_the_same_faces(form):
    origin, prior, state_dict = form
    assert prior_origin(state_dict) == origin
    loaded = prior_from_state_dict(state_dict).eval()
    assert loaded.config == prior.config
    assert loaded.config.mapping_layers == 3
    z = torch.randn(2, 16)
    atol = 2e-5 if origin == "clean" else 0  # its scales go there and back
    with torch.no_grad():
        assert_near(loaded(z), prior(z), atol)
        assert_near(loaded.w_avg, prior.w_avg, 1e-5)
    assert {key: value.shape for key, value in loaded.state_dict().items()} == {
        key: value.shape for key, value in prior.state_dict().items()
    }


@pytest.mark.parametrize("wrapper", ["params_ema", "g_ema"])
def test_files_load_as_published(form, tmp_path, wrapper):
    _, prior, state_dict = form
    path = tmp_path / "generator.pth"
    torch.save({wrapper: state_dict, "latent_avg": torch.zeros(16)}, path)
    loaded = prior_from_state_dict(load_state_dict(path)).eval()
    z = torch.randn(1, 16)
    with torch.no_grad():
        assert_near(loaded(z), prior(z), 2e-5)


def test_a_clean_generator_draws_what_its_own_formulas_say():
    """The published clean form, written out for 8 px with tensors of its own: no scale, sqrt2 before the noise."""
    torch.manual_seed(4)
    dim, width = 8, 4

    def tensors(name, out, kernel):
        return {
            f"{name}.modulated_conv.weight": torch.randn(1, out, width, kernel, kernel) * 0.2,
            f"{name}.modulated_conv.modulation.weight": torch.randn(width, dim) * 0.3,
            f"{name}.modulated_conv.modulation.bias": 1 + 0.1 * torch.randn(width),
            f"{name}.bias": torch.randn(1, out, 1, 1),
        }

    convs = ("style_conv1", "style_convs.0", "style_convs.1")
    clean = {"constant_input.weight": torch.randn(1, width, 4, 4)}
    for index in range(2):
        clean[f"style_mlp.{2 * index + 1}.weight"] = torch.randn(dim, dim) * 0.5
        clean[f"style_mlp.{2 * index + 1}.bias"] = torch.randn(dim)
    for index, name in enumerate(convs):
        clean |= tensors(name, width, 3) | {f"{name}.weight": torch.randn(1)}
        clean[f"noises.noise{index}"] = torch.randn(1, 1, 8 if index else 4, 8 if index else 4)
    clean |= tensors("to_rgb1", 3, 1) | tensors("to_rgbs.0", 3, 1)

    def modulated(name, x, w, *, demodulate):
        style = functional.linear(w, clean[f"{name}.modulation.weight"], clean[f"{name}.modulation.bias"])
        return modulated_conv2d_ref(x, clean[f"{name}.weight"][0], style, demodulate=demodulate)

    def styled(index, x, w):
        name = convs[index]
        y = modulated(f"{name}.modulated_conv", x, w, demodulate=True) * math.sqrt(2)
        y = y + clean[f"{name}.weight"] * clean[f"noises.noise{index}"] + clean[f"{name}.bias"]
        return functional.leaky_relu(y, 0.2)

    def rgb(name, x, w):
        return modulated(f"{name}.modulated_conv", x, w, demodulate=False) + clean[f"{name}.bias"]

    z = torch.randn(2, dim)
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for index in (1, 3):
        layer = functional.linear(w, clean[f"style_mlp.{index}.weight"], clean[f"style_mlp.{index}.bias"])
        w = functional.leaky_relu(layer, 0.2)
    x = styled(0, clean["constant_input.weight"].expand(2, -1, -1, -1), w)
    image = rgb("to_rgb1", x, w)
    x = styled(2, styled(1, enlarge_bilinear(x), w), w)
    image = enlarge_bilinear(image) + rgb("to_rgbs.0", x, w)
    loaded = prior_from_state_dict(clean).eval()
    with torch.no_grad():
        assert_near(loaded.style(z), w, 1e-5)
        assert_near(loaded(z), image, 1e-5)


def test_official_tensors_draw_the_official_faces():
    """GPEN's golden network without concatenation: its generator is rosinality's, its features are the noise."""
    golden = Golden("gpen_full_64_noconcat")
    state_dict = golden.under("sd.generator.")
    sizes = [4, *(size for size in (8, 16, 32, 64) for _ in range(2))]
    state_dict |= {f"noises.noise_{i}": torch.zeros(1, 1, size, size) for i, size in enumerate(sizes)}
    loaded = prior_from_state_dict(state_dict).eval()
    assert loaded.config == GeneratorConfig(
        64, style_dim=32, mapping_layers=4, channel_multiplier=2, narrow=0.125
    )
    encoder = GPENGenerator(
        GPENConfig(64, style_dim=32, mapping_layers=4, narrow=0.125, noise_mode="add")
    ).eval()
    encoder.load_state_dict(golden.under("sd."), strict=True)
    with torch.no_grad():
        latents, features = encoder.encode(golden["in"])
        noise = encoder.layer_noise(features, [])
        assert_near(loaded.synthesise(latents, noise=noise), golden["out"], 2e-4)


def test_a_files_own_mean_style_is_kept():
    state_dict = make_prior().state_dict()
    state_dict["w_avg"] = torch.full((16,), 0.25)
    assert torch.equal(prior_from_state_dict(state_dict).w_avg, state_dict["w_avg"])


def test_saved_priors_come_back(tmp_path):
    prior = make_prior()
    save_state_dict(tmp_path / "prior.safetensors", prior.state_dict())
    loaded = prior_from_state_dict(load_state_dict(tmp_path / "prior.safetensors"))
    assert all(torch.equal(value, prior.state_dict()[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("upsampling", ["fir", "bilinear"])
@pytest.mark.parametrize("inject", ["sft_half", "noise_concat"])
def test_the_prior_inside_a_restorer_is_found(upsampling, inject):
    config = MMRBConfig(
        32, style_dim=16, narrow=1 / 32, block_counts=(1,) * 4, upsampling=upsampling, inject=inject
    )
    network = MMRBGenerator(config)
    loaded = prior_from_state_dict(network.state_dict())
    assert loaded.config == config.prior()
    assert all(torch.equal(v, network.prior.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_bilinear_generators_under_filtered_names_need_a_word():
    """GFPGAN's "bilinear" generators have BasicSR's keys to the last; only the user can tell."""
    prior = make_prior("bilinear")
    z = torch.randn(1, 16)
    with torch.no_grad():
        assert_near(prior_from_state_dict(as_basicsr(prior), upsampling="bilinear").eval()(z), prior(z), 0)
        assert not torch.allclose(prior_from_state_dict(as_basicsr(prior)).eval()(z), prior(z))


@pytest.mark.parametrize(
    ("size", "multiplier", "depth"), [(512, 1, 8), (256, 2, 8), (1024, 2, 8), (1024, 1, 4), (32, 1, 8)]
)
def test_sizes_are_read_from_shapes(size, multiplier, depth):
    config = GeneratorConfig(size, channel_multiplier=multiplier, mapping_layers=depth)
    with torch.device("meta"):
        prior = StyleGAN2Prior(config)
    for write, origin in ((as_rosinality, "rosinality"), (as_basicsr, "basicsr"), (as_clean, "clean")):
        canonical = canonical_prior(write(prior), origin)
        shapes = {key: tuple(value.shape) for key, value in canonical.items()}
        assert prior_config(shapes, upsampling="fir") == config, origin


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        (as_basicsr, {"style_convs.3.weight": None}, r"1 missing \(first 'convs\.3\.noise\.weight'\)"),
        (as_basicsr, {"style_conv9.weight": (1,)}, r"1 unexpected \(first 'style_conv9\.weight'\)"),
        (
            as_clean,
            {"to_rgbs.1.bias": (1, 4, 1, 1)},
            r"'to_rgbs\.1\.bias' is \(1, 4, 1, 1\), expected \(1, 3",
        ),
        (as_rosinality, {"convs.0.conv.blur.kernel": None}, r"first 'convs\.0\.conv\.blur\.kernel'"),
        (as_rosinality, {"noises.noise_2": None}, r"first 'noises\.noise_2'"),
        (as_rosinality, {"style.2.weight": None}, r"1 missing|1 unexpected"),
        (as_rosinality, {"convs.6.conv.weight": None}, r"key 'convs\.6\.conv\.weight' is missing"),
        (as_rosinality, {"conv1.activate.bias": (7,)}, "has 7 values for 16 channels"),
        (as_rosinality, {"input.input": ()}, "the file is of another network"),
        (as_rosinality, {"input.input": None}, "are no StyleGAN2 generator's; give a checkpoint of BasicSR"),
    ],
)
def test_what_does_not_fit_is_named(form, change, message):
    state_dict = form(make_prior())
    for key, shape in change.items():
        state_dict.pop(key, None)
        if shape is not None:
            state_dict[key] = torch.ones(shape)
    with pytest.raises(CheckpointError, match=message):
        prior_from_state_dict(state_dict)


def test_a_prior_without_mapping_must_have_its_mean_style():
    state_dict = {key: v for key, v in as_rosinality(make_prior()).items() if not key.startswith("style.")}
    with pytest.raises(CheckpointError, match=r"1 missing \(first 'w_avg'\)"):
        prior_from_state_dict(state_dict)

"""MMRB as a backend: its file says all that is needed to build it again."""

from dataclasses import replace

import pytest
import torch
from golden import assert_near

from facerestore.archs.mmrb import INJECTIONS, BlockConfig, MMRBConfig, MMRBGenerator
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.backends import identify, load_backend
from facerestore.backends.mmrb import MMRBRestorer
from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import save_state_dict

TINY = MMRBConfig(32, style_dim=16, narrow=1 / 32, block_counts=(1, 1, 2, 1))


def network_of(config, seed=0):
    torch.manual_seed(seed)
    network = MMRBGenerator(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".heads." in name or ".offsets." in name or name.endswith("noise.weight"):
                parameter.normal_(std=0.05)
    return network


@pytest.mark.parametrize(
    "config",
    [
        *(replace(TINY, inject=inject) for inject in INJECTIONS),
        replace(TINY, upsampling="bilinear"),
        replace(TINY, mod_max_res=8),
        replace(TINY, block_counts=(2, 0, 1, 3)),
        replace(TINY, block_counts=(0, 0, 0, 0)),
        replace(TINY, block=BlockConfig(rounds=1, attention=False)),
        replace(TINY, block=BlockConfig(paths=((3, 1, 1.0),), rounds=3)),
        replace(TINY, block=BlockConfig(paths=((3, 1, 0.5), (3, 1, 0.25), (3, 4, 0.25)))),
        MMRBConfig(64, style_dim=8, channel_multiplier=2, narrow=1 / 16),
        MMRBConfig(256),
        MMRBConfig(512, channel_multiplier=2, upsampling="bilinear"),
    ],
)
def test_configuration_is_read_from_the_state_dict(config):
    with torch.device("meta"):
        network = MMRBGenerator(config)
    assert MMRBRestorer.config_from_state_dict(network.state_dict()) == config
    assert identify(network.state_dict()) == "mmrb"


@pytest.mark.parametrize("inject", INJECTIONS)
def test_a_saved_file_restores_alike(tmp_path, inject):
    network = network_of(replace(TINY, inject=inject))
    path = tmp_path / "mine.safetensors"
    save_state_dict(path, network.state_dict())
    loaded = load_backend(path)
    assert (loaded.name, loaded.face_size, loaded.network_range) == ("mmrb", 32, (-1.0, 1.0))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert_near(loaded.network(x), network(x), 1e-5)  # memory may lie otherwise, and kernels follow that


def test_the_noise_of_the_file_counts(tmp_path):
    network = network_of(TINY)
    x = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        network.prior.noises.get_buffer("noise_5").normal_()
        save_state_dict(tmp_path / "other.safetensors", network.state_dict())
        after = load_backend(tmp_path / "other.safetensors").network(x)
        assert not torch.equal(before, after)
        assert_near(after, network(x), 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec.rgb.8.bias": None}, r"1 missing \(first 'codec\.rgb\.8\.bias'\)"),
        ({"prior.style.1.weight": (16, 16)}, r"1 unexpected \(first 'prior\.style\.1\.weight'\)"),
        ({"codec.latent.offsets.weight": (7, 16)}, r"'codec\.latent\.offsets\.weight' is \(7, 16\)"),
        ({"codec.heads.other.8.weight": (1,)}, r"1 unexpected \(first 'codec\.heads\.other\.8\.weight'\)"),
        ({"codec.heads.add.8.weight": (1,)}, "its modulation heads are: add, sft_half; it needs one kind"),
        ({"codec.heads.sft_half.64.weight": (1,)}, "mod_max_res must be a power of two from 8 to 32, got 64"),
        (
            {"codec.encoder.8.0.rounds.0.0_k3_d1.weight": None},
            "1 missing .first 'codec.encoder.8.0.rounds.0.0_k3",
        ),
        (
            {f"codec.encoder.16.0.rounds.{index}.0_k3_d1.weight": None for index in range(2)},
            "no MMRB network: a block needs paths whose shares add to 1",
        ),
        ({"prior.convs.0.conv.blur.kernel": None}, "unexpected"),
        ({"prior.conv1.conv.modulation.weight": None}, "is missing; the file is incomplete"),
        ({"codec.stem.weight": None}, "no backend recognises"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    state_dict = network_of(TINY).state_dict()
    for key, shape in change.items():
        state_dict.pop(key, None)
        if shape is not None:
            state_dict[key] = torch.ones(shape)
    save_state_dict(tmp_path / "wrong.safetensors", state_dict)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backend(tmp_path / "wrong.safetensors")
    assert "wrong.safetensors" in str(caught.value)


def test_a_prior_alone_is_no_restorer():
    prior = StyleGAN2Prior(replace(TINY.prior(), mapping_layers=1))
    with pytest.raises(CheckpointError, match="no backend recognises"):
        identify(prior.state_dict())

"""CodeFormer: its shape, its fidelity weight, and the adapter around it."""

import numpy as np
import pytest
import torch
from fakes import face_at

from facerestore.archs.codeformer import CodeFormer, CodeFormerConfig, config_from_shapes, with_statistics_of
from facerestore.backends import BACKENDS, backend_class, identify, load_backend
from facerestore.backends.codeformer import CodeFormerRestorer
from facerestore.errors import CheckpointError, ConfigError
from facerestore.types import AlignedFace

TINY = CodeFormerConfig(
    width=32,
    multipliers=(1, 1, 2),
    blocks=1,
    code_dim=8,
    codes=12,
    grid=4,
    token_dim=16,
    layers=2,
    hidden=24,
    fused=(8, 16),
)


def network(config=TINY, seed=0):
    torch.manual_seed(seed)
    made = CodeFormer(config).eval()
    for parameter in made.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    made.position_emb.data.normal_()
    return made


def faces(count, size=TINY.face_size):
    crops = np.random.default_rng(1).random((count, size, size, 3), dtype=np.float32)
    return [AlignedFace(detected=face_at(0, 0), affine=np.eye(2, 3), lq=crop) for crop in crops]


def shapes_of(module):
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def test_the_published_network_has_515_tensors_and_94_million_parameters():
    with torch.device("meta"):
        made = CodeFormer(CodeFormerConfig())
    shapes = shapes_of(made)
    assert len(shapes) == 515
    assert sum(p.numel() for p in made.parameters()) == 94_112_707
    assert made.config.face_size == 512
    assert config_from_shapes(shapes) == made.config
    # Where the published network fuses the encoder in: block numbers of both halves by side.
    assert made.encoder.taps | {16: 18} == {512: 2, 256: 5, 128: 8, 64: 11, 32: 14, 16: 18}
    assert {side: index for index, side in made.generator.taps.items() if side > 16} == {
        32: 9, 64: 12, 128: 15, 256: 18, 512: 21
    }  # fmt: skip


def test_every_parameter_has_a_gradient():
    made = network()
    x = torch.rand(2, 3, TINY.face_size, TINY.face_size) * 2 - 1
    # The choice of a code has no slope; in training the transformer learns from the scores it is taken from.
    (made(x, 0.7).square().mean() + made.predict(made.encoder(x)[0]).square().mean()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_statistics_are_taken_over_channel_by_channel():
    torch.manual_seed(0)
    x, like = torch.randn(2, 3, 8, 8), 4 * torch.randn(2, 3, 8, 8) + 2
    y = with_statistics_of(x, like)
    torch.testing.assert_close(y.mean((2, 3)), like.mean((2, 3)))
    torch.testing.assert_close(y.std((2, 3)), like.std((2, 3)), rtol=1e-4, atol=1e-4)


def test_fidelity_goes_from_the_codebook_alone_to_the_input():
    restorer = CodeFormerRestorer.build(network().state_dict())
    pair = faces(1)
    assert restorer.descriptor.fidelity == 0.5
    quality, default, faithful = (
        r.restore(pair)[0] for r in (restorer.with_fidelity(0), restorer, restorer.with_fidelity(1))
    )
    assert np.abs(default - quality).mean() > 1e-3
    assert np.abs(faithful - quality).mean() > np.abs(default - quality).mean()
    np.testing.assert_array_equal(restorer.with_fidelity(0.5).restore(pair)[0], default)


def test_another_fidelity_shares_the_network_and_leaves_the_first_alone():
    restorer = CodeFormerRestorer.build(network().state_dict())
    other = restorer.with_fidelity(0.9)
    assert other.network is restorer.network
    assert (restorer.descriptor.fidelity, other.descriptor.fidelity) == (0.5, 0.9)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_fidelity_out_of_range_is_refused(value):
    restorer = CodeFormerRestorer.build(network().state_dict())
    with pytest.raises(ConfigError, match=r"fidelity is .*; give a number from 0 .* to 1"):
        restorer.with_fidelity(value)


def test_the_network_takes_and_gives_minus_one_to_one():
    made = network()
    restorer = CodeFormerRestorer.build(made.state_dict())
    for face, restored in zip(faces(3), restorer.restore(faces(3)), strict=True):
        x = torch.from_numpy((face.lq - 0.5) / 0.5).permute(2, 0, 1)[None]
        with torch.no_grad():
            y = made(x, 0.5)[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(restored, np.clip((y + 1) / 2, 0, 1), atol=1e-5)
    assert np.ptp(restored) > 0.05


def test_a_saved_checkpoint_is_claimed_by_codeformer_alone_and_loaded(tmp_path):
    state_dict = network().state_dict()
    assert [name for name in BACKENDS if backend_class(name).detect(state_dict)] == ["codeformer"]
    torch.save({"params_ema": state_dict}, tmp_path / "codeformer.pth")
    restorer = load_backend(tmp_path / "codeformer.pth")
    assert isinstance(restorer, CodeFormerRestorer)
    assert restorer.face_size == TINY.face_size == 16
    assert identify(state_dict) == "codeformer"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda sd: sd.pop("idx_pred_layer.1.weight"), "keys are not those"),
        (lambda sd: sd.pop("ft_layers.1.norm2.bias"), r"1 missing \(first 'ft_layers.1.norm2.bias'\)"),
        (lambda sd: sd.update(position_emb=torch.zeros(15, 16)), "grid of 15 cells"),
        (lambda sd: sd.update({"encoder.blocks.0.weight": torch.zeros(0, 3, 3, 3)}), "no CodeFormer"),
        (lambda sd: [sd.pop(k) for k in list(sd) if k.startswith("generator")], "missing"),
    ],
)
def test_a_file_that_does_not_fit_is_told(damage, message, tmp_path):
    state_dict = dict(network().state_dict())
    damage(state_dict)
    torch.save(state_dict, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointError, match=message):
        load_backend(tmp_path / "damaged.pth", name="codeformer")

"""What every network owes, whatever its paper: finite results, a gradient everywhere, faces apart, half precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from facerestore.archs.bisenet import BiSeNet, BiSeNetConfig
from facerestore.archs.codeformer import CodeFormer, CodeFormerConfig
from facerestore.archs.gpen import GPENConfig, GPENGenerator
from facerestore.archs.landmarks import LandmarkNet
from facerestore.archs.lite import LiteConfig, LiteGenerator
from facerestore.archs.mmrb import MMRBConfig, MMRBGenerator
from facerestore.archs.parsenet import ParseNet, ParseNetConfig
from facerestore.archs.prior import StyleGAN2Prior
from facerestore.archs.psfr import PSFRConfig, PSFRDiscriminator, PSFRGenerator
from facerestore.archs.rrdb import RRDBNet
from facerestore.archs.stylegan2 import GeneratorConfig


def _face(batch: int, side: int) -> Tensor:
    return torch.rand(batch, 3, side, side) * 2 - 1


def _labels(batch: int, side: int) -> Tensor:
    ids = torch.randint(19, (batch, side, side))
    return nn.functional.one_hot(ids, 19).permute(0, 3, 1, 2).float()


class _WithScores(CodeFormer):
    """CodeFormer with the scores by which codes are chosen: the choice itself has no gradient."""

    def forward(self, x: Tensor, w: float) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x, w), self.predict(self.encoder(x)[0]).transpose(0, 1)


class _WithSideImages(MMRBGenerator):
    """MMRB with the pictures of its side heads, which only training looks at."""

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:  # type: ignore[override]
        codes = self.codec(x)
        return self.synthesise(codes), self.codec.side_images(codes.features)


Inputs = Callable[[int], tuple[Tensor | float, ...]]

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "bisenet": (
        lambda: BiSeNet(BiSeNetConfig(stages=(8, 16, 16, 16), context=16, head=8, squeeze=8)),
        lambda batch: (_face(batch, 64),),
    ),
    "codeformer": (
        lambda: _WithScores(
            CodeFormerConfig(
                width=32,
                multipliers=(1, 2),
                blocks=1,
                code_dim=32,
                codes=16,
                grid=8,
                token_dim=32,
                layers=2,
                heads=2,
                hidden=32,
                fused=(16,),
            )
        ),
        lambda batch: (_face(batch, 16), 0.5),
    ),
    "gpen": (
        lambda: GPENGenerator(
            GPENConfig(face_size=32, input_size=32, style_dim=16, mapping_layers=2, narrow=1 / 32)
        ),
        lambda batch: (_face(batch, 32),),
    ),
    "landmarks": (LandmarkNet, lambda batch: (_face(batch, 64)[:, :1],)),
    "lite": (
        lambda: LiteGenerator(LiteConfig(widths=(8, 16), blocks=(1, 1))),
        lambda batch: (_face(batch, 32),),
    ),
    "mmrb": (
        lambda: _WithSideImages(MMRBConfig(face_size=16, style_dim=16, narrow=1 / 16)),
        lambda batch: (_face(batch, 16),),
    ),
    "parsenet": (
        lambda: ParseNet(ParseNetConfig(encoder=(8, 8, 16), body_blocks=1, decoder=(16, 8))),
        lambda batch: (_face(batch, 32),),
    ),
    "prior": (
        lambda: StyleGAN2Prior(GeneratorConfig(face_size=16, style_dim=16, mapping_layers=2, narrow=1 / 32)),
        lambda batch: (torch.randn(batch, 16),),
    ),
    "psfr": (
        lambda: PSFRGenerator(PSFRConfig(face_size=32, least_size=16, ch_range=(4, 8))),
        lambda batch: (_face(batch, 32), _labels(batch, 32)),
    ),
    "psfr discriminator": (
        lambda: PSFRDiscriminator(4, layers=2, scales=2),
        lambda batch: (_face(batch, 64), _labels(batch, 64)),
    ),
    "rrdb": (lambda: RRDBNet(scale=2, width=8, blocks=1, growth=4), lambda batch: (_face(batch, 8),)),
}

# Mean and largest error of bfloat16 (8 bits of mantissa), over the root mean square of the float32 result.
# CodeFormer chooses codes, and a near tie that falls the other way changes a whole patch; scores are near zero.
BFLOAT16 = {"codeformer": (0.5, 3.0), "psfr discriminator": (0.15, 1.0)}
BFLOAT16_OTHERS = (0.05, 0.5)


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[str, nn.Module, Inputs]:
    build, inputs = NETWORKS[request.param]
    torch.manual_seed(3)
    network = build()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # branches that start at zero must not hide what is behind them
                parameter.normal_(0, 0.1)
    return request.param, network, inputs


def _tensors(output: object) -> list[Tensor]:
    """Return the floating tensors of a result, however it is nested."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return [tensor for part in output for tensor in _tensors(part)]
    return []


def test_results_are_finite_and_repeat(case):
    _, network, inputs = case
    network.eval()
    batch = inputs(2)
    with torch.no_grad():
        first, again = _tensors(network(*batch)), _tensors(network(*batch))
    assert first
    for a, b in zip(first, again, strict=True):
        assert torch.isfinite(a).all()
        assert a.std() > 0
        assert torch.equal(a, b)


def test_a_face_does_not_depend_on_its_batch(case):
    _, network, inputs = case
    network.eval()
    batch = inputs(3)
    with torch.no_grad():
        together = _tensors(network(*batch))
        alone = _tensors(network(*(part[1:2] if isinstance(part, Tensor) else part for part in batch)))
    for a, b in zip(together, alone, strict=True):
        assert (a[1:2] - b).abs().max() <= 1e-4 * a.std().clamp_min(1e-3)


def test_bfloat16_stays_near_float32(case):
    name, network, inputs = case
    network.eval()
    batch = inputs(2)
    mean, worst = BFLOAT16.get(name, BFLOAT16_OTHERS)
    with torch.no_grad():
        full = _tensors(network(*batch))
        half = _tensors(
            network.bfloat16()(*(part.bfloat16() if isinstance(part, Tensor) else part for part in batch))
        )
    for a, b in zip(full, half, strict=True):
        error = (a - b.float()).abs() / a.square().mean().sqrt().clamp_min(1e-3)
        assert error.mean() < mean
        assert error.max() < worst


def test_the_gradient_reaches_every_parameter(case):
    _, network, inputs = case
    network.train()
    outputs = _tensors(network(*inputs(2)))
    torch.manual_seed(4)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []

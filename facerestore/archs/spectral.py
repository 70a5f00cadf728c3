"""Spectral norm: on every convolution for training, folded into the weights for inference, in two key layouts.

Miyato et al., "Spectral Normalization for Generative Adversarial Networks", arXiv 1802.05957. A convolution
computes with W = weight / sigma, where sigma = u . (M v) estimates the largest singular value of the weight M
seen as (out, in * kh * kw). While training, each use moves u and v one power iteration on; after it, u and v
stand still, and whoever computes W anew from the singular values gets another network.

Published checkpoints have the keys ``weight_orig``, ``weight_u`` and ``weight_v`` of each convolution, here
called *official*; torch's parametrisation, which training uses, has others for the same tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# Official ending -> ending in a module that `attach_spectral_norm` was applied to.
PARAMETRISED = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0._u",
    "weight_v": "parametrizations.weight.0._v",
}

Module = TypeVar("Module", bound=nn.Module)


def attach_spectral_norm(module: Module) -> Module:
    """Put torch's spectral norm (one power iteration per use, eps 1e-12) on every convolution; return the module."""
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d):
            spectral_norm(part)
    return module


def has_spectral_norm(state_dict: Mapping[str, Tensor]) -> bool:
    """Say whether keys are those of a checkpoint with spectral norm, official layout."""
    return any(key.rpartition(".")[2] in PARAMETRISED for key in state_dict)


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a module with spectral norm under the keys of published checkpoints."""
    return _with_endings(state_dict, {own: official for official, own in PARAMETRISED.items()})


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published checkpoint under the keys of a module with spectral norm."""
    return _with_endings(state_dict, PARAMETRISED)


def official_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Return the keys and shapes of the published checkpoint of a module without spectral norm."""
    convolutions = {name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    shapes: dict[str, torch.Size] = {}
    for key, value in module.state_dict().items():
        name, _, ending = key.rpartition(".")
        if ending == "weight" and name in convolutions:
            shapes[f"{name}.weight_orig"] = value.shape
            shapes[f"{name}.weight_u"] = value.shape[:1]
            shapes[f"{name}.weight_v"] = torch.Size([value[0].numel()])
        else:
            shapes[key] = value.shape
    return shapes


def fuse(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return plain weights, W = weight_orig / (u . (M v)) with the stored u and v, in float32.

    Args:
        state_dict: official keys; each ``weight_orig`` has its ``weight_u`` and ``weight_v``. Other tensors are
            passed on as they are, so that plain weights come back unchanged.

    Raises:
        ValueError: u and v of a convolution give a sigma that is not a positive number.
        KeyError: u or v is missing.
    """
    fused: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        ending = key.rpartition(".")[2]
        if ending == "weight_orig":
            prefix = key.removesuffix(ending)
            u, v = state_dict[f"{prefix}weight_u"], state_dict[f"{prefix}weight_v"]
            fused[f"{prefix}weight"] = _weight_over_sigma(key, value.float(), u.float(), v.float())
        elif ending not in PARAMETRISED:
            fused[key] = value
    return fused


def _weight_over_sigma(key: str, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    sigma = torch.dot(u, torch.mv(weight.flatten(1), v))
    if not (torch.isfinite(sigma) and sigma > 0):
        raise ValueError(f"weight_u and weight_v beside '{key}' give the spectral norm {float(sigma):g}")
    return weight / sigma


def _with_endings(state_dict: Mapping[str, Tensor], endings: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state_dict.items():
        old = next((ending for ending in endings if f".{key}".endswith(f".{ending}")), None)
        renamed[key if old is None else key.removesuffix(old) + endings[old]] = value
    return renamed

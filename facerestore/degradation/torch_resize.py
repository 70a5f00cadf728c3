"""Resizing many pictures of different sizes to different sizes at once: interpolation as one matrix per picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from facerestore.degradation.steps import Interpolation

CV2_CUBIC, PILLOW_CUBIC = -0.75, -0.5
"""The a of Keys' cubic."""


def resize(
    pictures: Tensor, from_px: Sequence[int], to_px: Sequence[int], methods: Sequence[Interpolation]
) -> Tensor:
    """Return (N, 3, D, D) pictures, each of its own new side; D is the largest of them.

    The results are those of OpenCV and Pillow up to their rounding.

    Args:
        pictures: (N, 3, C, C); the n-th is its first ``from_px[n]`` rows and columns.
        from_px: N sides.
        to_px: N new sides; beyond them a result is 0.
        methods: N interpolations; ``area`` is for reduction.
    """
    matrix = torch.zeros(len(from_px), max(to_px), pictures.shape[-1], device=pictures.device)
    for method in dict.fromkeys(methods):
        members = [n for n, own in enumerate(methods) if own == method]
        sides = [(from_px[n], to_px[n]) for n in members]
        matrix[members] = _weight_matrices(method, sides, matrix.shape[1], matrix.shape[2], pictures.device)
    rows = matrix[:, None]
    return rows @ pictures @ rows.transpose(2, 3)


def _weight_matrices(
    method: Interpolation, sides: Sequence[tuple[int, int]], rows: int, columns: int, device: torch.device
) -> Tensor:
    """Return (N, rows, columns) weights, 0 outside each picture's sides."""
    old, new = (np.array(values, dtype=np.float64)[:, None] for values in zip(*sides, strict=True))
    factor = old / new
    place = np.arange(rows, dtype=np.float64)[None]
    # Places are found on the host in double precision: a pixel more or less is decided by their last bits.
    where = (
        np.floor(place * factor)
        if method == "nearest"
        else place * factor
        if method == "area"
        else (place + 0.5) * factor - 0.5
    )
    where = np.clip(where, 0, old - 1) if method in {"nearest", "linear"} else where
    at, scale, last = (
        torch.from_numpy(values.astype(np.float32)).to(device)[..., None]
        for values in (where, factor, old - 1)
    )
    j = torch.arange(columns, device=device, dtype=torch.float32)
    weights = torch.where(j <= last, _WEIGHTS[method](j, at, scale, last), 0.0)
    filled = torch.from_numpy(place < new).to(device)[..., None]
    return torch.where(filled, weights, 0.0)


def _area_weights(j: Tensor, at: Tensor, scale: Tensor, last: Tensor) -> Tensor:
    """Return how much of pixel j the new pixel covers."""
    return (torch.minimum(j + 1, at + scale) - torch.maximum(j, at)).clamp_min(0) / scale


def _cubic_weights(j: Tensor, at: Tensor, scale: Tensor, last: Tensor) -> Tensor:
    """Return OpenCV's weights: not widened; what falls beyond the border is the border's."""
    weights = _keys_cubic(j - at, CV2_CUBIC)
    for beyond in (1, 2):
        weights = weights + (j == 0) * _keys_cubic(-beyond - at, CV2_CUBIC)
        weights = weights + (j == last) * _keys_cubic(last + beyond - at, CV2_CUBIC)
    return weights


def _bicubic_weights(j: Tensor, at: Tensor, scale: Tensor, last: Tensor) -> Tensor:
    """Return Pillow's weights: widened by a reduction; what falls beyond the border is left out."""
    weights = torch.where(j <= last, _keys_cubic((j - at) / scale.clamp_min(1), PILLOW_CUBIC), 0.0)
    return weights / weights.sum(dim=-1, keepdim=True)


def _lanczos_weights(j: Tensor, at: Tensor, scale: Tensor, last: Tensor) -> Tensor:
    """Return Pillow's weights of three lobes, at the border as in ``bicubic``."""
    distance = (j - at) / scale.clamp_min(1)
    inside = (j <= last) & (distance.abs() < 3)
    weights = torch.where(inside, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    return weights / weights.sum(dim=-1, keepdim=True)


def _keys_cubic(distance: Tensor, a: float) -> Tensor:
    """Return Keys' cubic convolution kernel (IEEE TASSP 1981, eq. 4 with a free)."""
    d = distance.abs()
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


_WEIGHTS: Mapping[Interpolation, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "nearest": lambda j, at, *_: (j == at).float(),
    "linear": lambda j, at, *_: (1 - (j - at).abs()).clamp_min(0),
    "area": _area_weights,
    "cubic": _cubic_weights,
    "bicubic": _bicubic_weights,
    "lanczos": _lanczos_weights,
}

"""Losses of an adversary for fine detail, without their weights: luma, pairs, smoothness of a judge, lattices, cuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facerestore.imaging.alignment import template
from facerestore.imaging.pixels import LUMA

EYES_SHARE, MOUTH_SHARE = 0.4, 0.25
"""Shares of cuts that lie about an eye and about the mouth; the others lie anywhere."""
JITTER = 0.12
"""Most that such a cut lies off its part, as a share of the face's side."""

LATTICE_WINDOW_PX = 32
LATTICE_PERIODS_PX = (4, 8)

SPECTRUM_WINDOW_PX = 32
COARSE_BINS = 3
"""Frequencies below so many waves in a window are left to the distances of pixels."""
UNSEEN = 0.5 / 255
"""Standard deviation of noise that lies over spectra, so that nothing counts that nobody sees."""


def luma_of(x: Tensor) -> Tensor:
    """Return the luma of B 3 S S pictures, B 1 S S."""
    shares = torch.as_tensor(LUMA, device=x.device, dtype=x.dtype)[:, None, None]
    return (x * shares).sum(dim=1, keepdim=True)


def pair_loss(higher: Sequence[Tensor], lower: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the mean of softplus(lower - higher) over pairs and levels (relativistic pairs, R3GAN, arXiv 2501.05441).

    Args:
        higher: scores that are to be the higher ones, B 1 H W a level.
        lower: scores of their partners.
        weights: (B,) how much each pair counts.
    """
    found = [
        (functional.softplus(b.float() - a.float()).flatten(1).mean(dim=1) * weights).mean()
        for a, b in zip(higher, lower, strict=True)
    ]
    return torch.stack(found).mean()


def matching_loss(fake: Sequence[Tensor], real: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the mean distance of activations as a share of their size, over levels.

    Args:
        fake: B C H W a level, of restored faces.
        real: those of real faces; no gradient flows to them.
        weights: (B,) how much each pair counts.
    """
    found = []
    for ours, theirs in zip(fake, real, strict=True):
        target = theirs.detach().float()
        distance = (ours.float() - target).abs().flatten(1).mean(dim=1)
        found.append((distance * weights).mean() / target.abs().mean().clamp_min(1e-3))
    return torch.stack(found).mean()


def lattice_loss(drawn: Tensor, hq: Tensor) -> Tensor:
    """Return how strongly the error repeats every 4 and every 8 px within windows of 32 px.

    Args:
        drawn: B 1 S S luma, S a multiple of 32.
        hq: the real one.
    """
    window = LATTICE_WINDOW_PX
    error = drawn.float() - hq.float()
    batch, _, height, width = error.shape
    tiles = error.reshape(batch, height // window, window, width // window, window).transpose(2, 3)
    found = []
    for period in LATTICE_PERIODS_PX:
        count = window // period
        repeats = tiles.reshape(*tiles.shape[:3], count, period, count, period).mean(dim=(3, 5))
        found.append((repeats - repeats.mean(dim=(-2, -1), keepdim=True)).abs().mean())
    return torch.stack(found).mean()


def spectrum_loss(drawn: Tensor, hq: Tensor) -> Tensor:
    """Return the mean distance of the logarithms of power spectra, over windows of 32 px that overlap by half.

    What Yamamoto et al., "Parallel WaveGAN" (arXiv 1910.11480, equation 5), ask of sound: how much there is of each
    frequency in each place, and not in which phase. By the logarithm a weave on smooth skin weighs as much as lashes.

    Args:
        drawn: B 1 S S luma, S a multiple of 32.
        hq: the real one.
    """
    return (_spectra(drawn.float()) - _spectra(hq.float())).abs().mean()


def _spectra(luma: Tensor) -> Tensor:
    """B 1 S S -> N F, the natural logarithm of the power at F frequencies, each with those beside it, in N windows."""
    side = SPECTRUM_WINDOW_PX
    hann = torch.hann_window(side, device=luma.device)
    window = hann[:, None] * hann
    tiles = luma.unfold(2, side, side // 2).unfold(3, side, side // 2).flatten(0, 3)
    power = torch.fft.fft2((tiles - tiles.mean(dim=(-2, -1), keepdim=True)) * window).abs().square()
    beside = functional.avg_pool2d(
        functional.pad(power[:, None], (1, 1, 1, 1), mode="circular"), 3, stride=1
    )[:, 0]
    waves = torch.fft.fftfreq(side, 1 / side, device=luma.device).abs()
    fine = torch.maximum(waves[:, None], waves[: side // 2 + 1]) >= COARSE_BINS
    return torch.log(beside[..., : side // 2 + 1][:, fine] + UNSEEN**2 * window.square().sum())


def quality_weights(lq: Tensor, hq: Tensor, *, none_db: float, full_db: float) -> Tensor:
    """Return how much each pair counts for an adversary, (B,): what severe damage took is not to be invented.

    Args:
        lq: B 3 S S in [0, 1].
        hq: B 3 S S in [0, 1].
        none_db: PSNR of the input up to which a pair does not count.
        full_db: PSNR from which it counts fully.
    """
    squares = (luma_of(lq) - luma_of(hq)).square().flatten(1).mean(dim=1).clamp_min(1e-10)
    return ((-10 * torch.log10(squares) - none_db) / (full_db - none_db)).clamp(0, 1)


def cut_places(
    rng: np.random.Generator, corners: Tensor, *, side: int, cuts: int, size: int, face_size: int | None
) -> list[list[slice]]:
    """Return where pictures are cut, as [rows, columns, rows, columns, ...] of each picture.

    Aligned faces are cut by preference at eyes and mouth, other pictures anywhere.

    Args:
        rng: what is drawn from; the same for every process.
        corners: B 2, column and row of the face at which each picture begins, px.
        side: of a picture, px: that of a face, or less.
        cuts: of each picture.
        size: side of a cut, px.
        face_size: side of an aligned face, px; None for pictures of anything.
    """
    extent = face_size or side
    points = template(extent)
    eyes, mouth = points[:2], points[3:].mean(axis=0)
    found: list[list[slice]] = []
    for corner in corners.tolist():
        slices: list[slice] = []
        for _ in range(cuts):
            kind = rng.random() if face_size else 1.0
            jitter = rng.uniform(-JITTER, JITTER, 2) * extent
            middle = rng.uniform(0, extent, 2)
            if kind < EYES_SHARE:
                middle = eyes[rng.integers(2)] + jitter
            elif kind < EYES_SHARE + MOUTH_SHARE:
                middle = mouth + jitter
            left, top = np.clip(np.round(middle - corner - size / 2), 0, side - size).astype(int)
            slices += [slice(top, top + size), slice(left, left + size)]
        found.append(slices)
    return found


def cut(x: Tensor, where: Sequence[Sequence[slice]]) -> Tensor:
    """Return the cuts of B C S S pictures, (B * cuts) C size size, those of one face after another."""
    return torch.stack(
        [
            face[:, rows, columns]
            for face, slices in zip(x, where, strict=True)
            for rows, columns in zip(slices[::2], slices[1::2], strict=True)
        ]
    )

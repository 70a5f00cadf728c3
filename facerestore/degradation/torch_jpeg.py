"""JPEG on any device: the baseline codec's arithmetic without its entropy coding.

Follows libjpeg as OpenCV uses it: 4:2:0 chroma, the tables of the standard scaled by quality, chroma enlarged by a
triangle filter. libjpeg's own files differ by a level here and there, where its integer transform rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facerestore.imaging.pixels import JPEG_LUMA_TABLE

BLOCK_PX = 8
LUMA_TABLE: NDArray[np.int64] = np.array(JPEG_LUMA_TABLE).reshape(8, 8)
"""Quantisation of luma at quality 50 (ITU-T T.81, table K.1), rows of rising vertical frequency."""
CHROMA_TABLE: NDArray[np.int64] = np.full((8, 8), 99)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""Quantisation of chroma at quality 50 (ITU-T T.81, table K.2)."""
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
"""RGB to Y, Cb, Cr less 128 (JFIF 1.02)."""

TIE = 1e-5
"""Share of a quantisation step by which float32 may miss a tie."""


def quantisation_tables(quality: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the (8, 8) tables of luma and chroma at a quality of 1 to 100, scaled as libjpeg does."""
    quality = min(max(quality, 1), 100)
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (np.clip((table * percent + 50) // 100, 1, 255) for table in (LUMA_TABLE, CHROMA_TABLE))
    return luma.astype(np.float32), chroma.astype(np.float32)


def jpeg(pictures: Tensor, sides: Tensor, qualities: Sequence[int]) -> Tensor:
    """Return (N, 3, C, C) RGB levels 0 to 255 after a JPEG round trip.

    Args:
        pictures: (N, 3, C, C) levels; the n-th picture is its first ``sides[n]`` rows and columns.
        sides: (N,) int64 on the device of the pictures.
        qualities: N values of 1 to 100.

    Returns:
        (N, 3, C, C); beyond its side, the n-th picture continues its border.
    """
    canvas = pictures.shape[-1]
    size = -(-canvas // (2 * BLOCK_PX)) * 2 * BLOCK_PX
    levels = bordered(pictures.round().clamp(0, 255), sides, size)
    matrix = torch.tensor(TO_YCC, device=levels.device)
    ycc = torch.einsum("kc,nchw->nkhw", matrix, levels)
    luma, chroma = ycc[:, :1].round() - 128, ycc[:, 1:].round()
    tables = [quantisation_tables(quality) for quality in qualities]
    luma_table, chroma_table = (
        torch.from_numpy(np.stack([pair[k] for pair in tables])).to(levels.device) for k in (0, 1)
    )
    luma = _quantised(luma, luma_table) + 128
    chroma = (_quantised(_halved_chroma(chroma), chroma_table) + 128).round().clamp(0, 255)
    chroma = _doubled_chroma(bordered(chroma, (sides + 1) // 2, size // 2)) - 128
    luma = luma.round().clamp(0, 255)
    blue, red = chroma[:, :1], chroma[:, 1:]
    rgb = torch.cat(
        [luma + 1.402 * red, luma - 0.344136286 * blue - 0.714136286 * red, luma + 1.772 * blue], 1
    )
    return rgb.round().clamp(0, 255)[..., :canvas, :canvas]


def bordered(pictures: Tensor, sides: Tensor, size: int) -> Tensor:
    """Return pictures on (size, size), each continuing its last row and column from its side on."""
    index = torch.minimum(torch.arange(size, device=pictures.device), sides[:, None] - 1)
    return taken(pictures, index)


def taken(pictures: Tensor, index: Tensor) -> Tensor:
    """Return (N, K, L, L): the rows and columns ``index`` (N, L) of (N, K, C, C) pictures."""
    number, channels, _, width = pictures.shape
    length = index.shape[1]
    rows = pictures.gather(2, index[:, None, :, None].expand(number, channels, length, width))
    return rows.gather(3, index[:, None, None, :].expand(number, channels, length, length))


def _halved_chroma(chroma: Tensor) -> Tensor:
    """Return the means of 2 x 2 px, rounded up and down in turn along each row, as libjpeg does."""
    sums = torch.nn.functional.avg_pool2d(chroma, 2) * 4
    bias = 1 + torch.arange(sums.shape[-1], device=chroma.device) % 2
    return torch.floor((sums + bias) / 4)


def _doubled_chroma(chroma: Tensor) -> Tensor:
    """Return chroma of twice the size: each value is 3/4 of the nearer and 1/4 of the further, along both axes."""
    tall = _triangle_sums(chroma.transpose(2, 3)).transpose(2, 3)
    sums = _triangle_sums(tall)
    bias = 8 - torch.arange(sums.shape[-1], device=chroma.device) % 2
    return torch.floor((sums + bias) / 16)


def _triangle_sums(chroma: Tensor) -> Tensor:
    """Return 3 times the nearer plus the further along the last axis, twice as long."""
    before = torch.cat([chroma[..., :1], chroma[..., :-1]], -1)
    after = torch.cat([chroma[..., 1:], chroma[..., -1:]], -1)
    return torch.stack([3 * chroma + before, 3 * chroma + after], -1).flatten(-2)


def _quantised(planes: Tensor, tables: Tensor) -> Tensor:
    """Return (N, K, H, W) planes around 0 after quantisation of their 8 x 8 transforms by (N, 8, 8) tables."""
    transform = _dct_matrix(planes.device)
    number, channels, height, width = planes.shape
    blocks = planes.view(number, channels, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    blocks = blocks.transpose(3, 4)
    steps = tables[:, None, None, None]
    ratios = transform @ blocks @ transform.T / steps
    # Ties are common, since sums of whole levels are divided by whole numbers; libjpeg rounds them away from 0.
    coefficients = torch.sign(ratios) * torch.floor(ratios.abs() + (0.5 + TIE)) * steps
    return (transform.T @ coefficients @ transform).transpose(3, 4).reshape(planes.shape)


def _dct_matrix(device: torch.device) -> Tensor:
    """Return the orthonormal (8, 8) DCT-II."""
    k = np.arange(BLOCK_PX)
    matrix = np.sqrt(2 / BLOCK_PX) * np.cos(np.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK_PX))
    matrix[0] /= np.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32)).to(device)

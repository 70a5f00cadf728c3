"""How well faces are restored: PSNR and SSIM of every method beside the degraded input and classical baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from facerestore.evaluation.faces import FacePair

Method = Callable[[FacePair], NDArray[np.uint8]]
"""Takes a pair (whose ``hq`` it leaves alone) to an (S, S, 3) uint8 RGB face."""


def unchanged(pair: FacePair) -> NDArray[np.uint8]:
    """Return the degraded face itself."""
    return pair.lq


def bicubic(pair: FacePair) -> NDArray[np.uint8]:
    """Return the degraded face, reduced to the resolution that it was given, and enlarged by bicubic interpolation."""
    size = pair.lq.shape[0]
    small = max(int(size // max(pair.drawn.downsample, 1)), 4)
    reduced = cv2.resize(pair.lq, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def bilateral(pair: FacePair) -> NDArray[np.uint8]:
    """Return a bilateral filter of the degraded face (5 px, sigma 30 levels, 2 px)."""
    return np.asarray(cv2.bilateralFilter(pair.lq, 5, 30, 2), dtype=np.uint8)


def non_local_means(pair: FacePair) -> NDArray[np.uint8]:
    """Return non-local means of the degraded face (Buades 2005; strength 5, 7 px patches, 21 px window)."""
    denoised = cv2.fastNlMeansDenoisingColored(pair.lq, None, 5, 5, 7, 21)
    return np.asarray(denoised, dtype=np.uint8)


BASELINES: Mapping[str, Method] = {
    "input": unchanged,
    "bicubic": bicubic,
    "bilateral": bilateral,
    "NLM": non_local_means,
}


@dataclass(frozen=True, slots=True)
class Score:
    """Mean quality of one method over the faces of one set.

    Attributes:
        method: name of the method.
        set_name: name of the set; ``all`` for every face.
        count: number of faces.
        psnr_db: mean over faces of the PSNR over RGB, in decibels.
        ssim: mean over faces of SSIM (Wang 2004; 11 px Gaussian window, sigma 1.5) over RGB.
    """

    method: str
    set_name: str
    count: int
    psnr_db: float
    ssim: float


def score(pairs: Sequence[FacePair], methods: Mapping[str, Method]) -> list[Score]:
    """Return one row for each method and set, and for all sets together."""
    rows: list[Score] = []
    for method, restore in methods.items():
        values = np.array([_quality(restore(pair), pair.hq) for pair in pairs])
        sets = np.array([pair.set_name for pair in pairs])
        for set_name in [*sorted(set(sets)), "all"]:
            chosen = values[sets == set_name] if set_name != "all" else values
            psnr_db, ssim = chosen.mean(axis=0)
            rows.append(Score(method, str(set_name), len(chosen), float(psnr_db), float(ssim)))
    return rows


def _quality(restored: NDArray[np.uint8], hq: NDArray[np.uint8]) -> tuple[float, float]:
    a, b = (torch.from_numpy(face.copy()).permute(2, 0, 1)[None].double() for face in (restored, hq))
    psnr = peak_signal_noise_ratio(a, b, data_range=255.0)
    ssim = structural_similarity_index_measure(a, b, data_range=255.0)
    if not isinstance(ssim, torch.Tensor):
        raise TypeError(f"SSIM is a {type(ssim).__name__}, expected one tensor")
    return psnr.item(), ssim.item()


def markdown_table(rows: Sequence[Score]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| method | set | faces | PSNR dB | SSIM |", "|---|---|--:|--:|--:|"]
    lines += [f"| {r.method} | {r.set_name} | {r.count} | {r.psnr_db:.2f} | {r.ssim:.4f} |" for r in rows]
    return "\n".join(lines)

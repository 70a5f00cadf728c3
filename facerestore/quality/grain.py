"""Grain: the noise of a photo around a face, measured, and as much given to the restored face that both look alike.

A restored face is smooth. In a grainy photo it looks pasted, so what noise the surroundings have more than the face is
drawn anew, from a seed, with the spectrum of theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PATCH_PX = 16
"""Side of the patches whose spectra are taken, pixels of the picture."""

QUIET = (0.05, 0.35)
"""Of the patches, by how little light and shade they have, those between these shares are taken: before them lies what
is clipped or painted over, behind them what has edges and texture."""

LEAST_PATCHES = 12
"""Fewer say nothing reliable of a spectrum."""

LEAST_STEP_PX = 4
"""From patch to patch."""

MOST_PATCHES = 800
"""More say no more."""

QUICK_PATCHES = 100
"""Of luma alone, to see whether there is any grain."""

LEAST_LEVELS = 2.5
"""Standard deviation of luma, levels of 255, from which a photo has grain that anybody sees at full size."""

LEAST_SHARE = 0.35
"""Least standard deviation of the patch at a tenth of those taken, over that at nine tenths: grain is alike."""

COARSEST = 1.5
"""Frequencies below so many waves a patch are light and shade, not grain."""

SHARPENING_STEPS = 20
"""Of taking off what the window of a patch smears: more change no band by a percent."""

OPPONENT: NDArray[np.float32] = np.array(
    [[0.299, 0.587, 0.114], [0.5, -0.5, 0.0], [-0.25, -0.25, 0.5]], dtype=np.float32
)
"""From RGB to luma and two planes of colour, which have grain of their own."""
BACK: NDArray[np.float32] = np.linalg.inv(OPPONENT).astype(np.float32)

Plane = NDArray[np.float32]
Spectrum = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grain:
    """The noise of some part of a picture.

    Attributes:
        spectra: (3, P, P) power of luma and two planes of colour, in squared levels; their sums are variances.
        alike: it is much the same in all patches: noise, and no texture.
    """

    spectra: Spectrum
    alike: bool

    @property
    def levels(self) -> float:
        """Standard deviation of luma, levels of 255."""
        return float(np.sqrt(self.spectra[0].sum()))


def grain_of(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> Grain | None:
    """Return the grain of a part of a picture; None where too little of it is quiet.

    Args:
        levels: (H, W, 3) RGB in levels of 255.
        where: (H, W), the part.
    """
    spectra = _patch_spectra(levels @ OPPONENT.T, where)
    if len(spectra) * (QUIET[1] - QUIET[0]) < LEAST_PATCHES:
        return None
    fine = _fine_grid()
    # By their light and shade alone: by the grain itself, those that have little by chance would be taken.
    order = np.argsort(spectra[:, 0][:, ~fine].sum(axis=1), kind="stable")
    first, last = (int(share * len(order)) for share in QUIET)
    chosen = spectra[order[first:last]] * fine
    powers = np.sort(chosen[:, 0].sum(axis=(1, 2)))
    low, high = powers[len(powers) // 10], powers[-1 - len(powers) // 10]
    return Grain(chosen.mean(axis=0), alike=bool(low >= LEAST_SHARE**2 * high))


def is_smooth(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
    """Say after a quick look whether a part of a picture has far too little grain to be seen; see `grain_of`."""
    power = _patch_spectra(levels @ OPPONENT[0][:, None], where, QUICK_PATCHES)[:, 0][:, _fine_grid()].sum(
        axis=1
    )
    return not len(power) or float(np.sort(power)[len(power) // 2]) < (LEAST_LEVELS / 2) ** 2


def missing(outside: Grain, inside: Grain) -> Spectrum:
    """Return the (3, P, P) power that a face lacks beside its surroundings, alike in all directions."""
    ring = np.rint(np.hypot(*np.meshgrid(*[np.fft.fftfreq(PATCH_PX) * PATCH_PX] * 2))).astype(int)
    counts = np.bincount(ring.ravel())
    lacks = [
        np.bincount(ring.ravel(), (theirs - own).ravel()) / counts
        for theirs, own in zip(outside.spectra, inside.spectra, strict=True)
    ]
    return np.maximum(np.array(lacks), 0)[:, ring]


def drawn(spectra: Spectrum, shape: tuple[int, int], *, seed: int) -> NDArray[np.float32]:
    """Return (H, W, 3) RGB noise in levels, of mean 0, with these spectra of luma and two planes of colour."""
    import cv2

    rng = np.random.default_rng(seed)
    planes = []
    for power in spectra:
        # A filter of this response makes white noise of variance 1 into noise of this power.
        response = np.sqrt(_unsmeared(power) * power.size)
        kernel = np.fft.fftshift(np.real(np.fft.ifft2(response))).astype(np.float32)
        white = rng.standard_normal(shape, dtype=np.float32)
        planes.append(cv2.filter2D(white, -1, kernel, borderType=cv2.BORDER_REFLECT_101))
    return np.stack(planes, axis=-1) @ BACK.T


def _unsmeared(power: Spectrum) -> Spectrum:
    """Return the power whose patches, seen through their window, have this one (Richardson 1972; Lucy 1974)."""
    window = _window()
    leak = np.abs(np.fft.fft2(window)) ** 2
    leak = np.fft.fft2(leak / leak.sum())  # even, so that it serves both ways
    found, seen = power.copy(), _fine_grid()
    for _ in range(SHARPENING_STEPS):
        smeared = np.real(np.fft.ifft2(np.fft.fft2(found) * leak))
        ratio = np.where(seen & (smeared > 0), power / np.maximum(smeared, np.finfo(np.float64).tiny), 1)
        found = found * np.maximum(np.real(np.fft.ifft2(np.fft.fft2(ratio) * leak)), 0)
    return found


def _window() -> Spectrum:
    window = np.outer(np.hanning(PATCH_PX + 2)[1:-1], np.hanning(PATCH_PX + 2)[1:-1])
    return np.asarray(window / np.sqrt((window**2).mean()))


def _fine_grid() -> NDArray[np.bool_]:
    """Return which frequencies are grain's, (P, P)."""
    frequency = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    return np.asarray(np.hypot(frequency[:, None], frequency[None]) >= COARSEST)


def _patch_spectra(
    planes: NDArray[np.float32], where: NDArray[np.bool_], most: int = MOST_PATCHES
) -> Spectrum:
    """Return (N, C, P, P) power spectra of (H, W, C) planes, in patches that lie wholly in a part: about ``most``."""
    side = PATCH_PX
    step = max(LEAST_STEP_PX, math.isqrt(int(where.sum()) // most))
    if min(where.shape) < side:
        return np.empty((0, planes.shape[2], side, side))
    whole = np.lib.stride_tricks.sliding_window_view(where, (side, side))[::step, ::step].all(axis=(2, 3))
    patches = np.lib.stride_tricks.sliding_window_view(planes, (side, side), axis=(0, 1))[::step, ::step][
        whole
    ]
    patches = patches - patches.mean(axis=(2, 3), keepdims=True)
    return np.asarray(np.abs(np.fft.fft2(patches * _window())) ** 2 / side**4)

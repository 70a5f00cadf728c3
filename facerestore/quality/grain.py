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
        patches: (N, 3, P, P) luma and two planes of colour, in levels of 255, of its quiet patches.
        levels: standard deviation of luma, levels of 255.
        alike: it is much the same in all patches: noise, and no texture.
    """

    patches: NDArray[np.float32]
    levels: float
    alike: bool

    @property
    def spectra(self) -> Spectrum:
        """(3, P, P) mean power of luma and two planes of colour, in squared levels; their sums are variances."""
        half = np.square(np.abs(np.fft.rfft2(self.patches))).mean(axis=0, dtype=np.float64) / PATCH_PX**4
        # A real picture's spectrum is the same seen from behind.
        behind = np.roll(half[:, ::-1, -2:0:-1], 1, axis=1)
        return np.concatenate([half, behind], axis=2) * _fine_grid()


def grain_of(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> Grain | None:
    """Return the grain of a part of a picture; None where too little of it is quiet.

    Args:
        levels: (H, W, 3) RGB in levels of 255.
        where: (H, W), the part.
    """
    rows, columns = _places(where)
    if len(rows) * (QUIET[1] - QUIET[0]) < LEAST_PATCHES:
        return None
    shades, fine = _powers(_patches((levels @ OPPONENT[0])[..., None], rows, columns))
    # By their light and shade alone: by the grain itself, those that have little by chance would be taken.
    first, last = (int(share * len(rows)) for share in QUIET)
    quiet = np.argsort(shades, kind="stable")[first:last]
    powers = np.sort(fine[quiet])
    low, high = powers[len(powers) // 10], powers[-1 - len(powers) // 10]
    return Grain(
        _patches(levels @ OPPONENT.T, rows[quiet], columns[quiet]),
        levels=math.sqrt(powers.mean()),
        alike=bool(low >= LEAST_SHARE**2 * high),
    )


def is_smooth(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
    """Say after a quick look whether a part of a picture has far too little grain to be seen; see `grain_of`."""
    patches = _patches((levels @ OPPONENT[0])[..., None], *_places(where, QUICK_PATCHES))
    power = np.sort(_powers(patches)[1])
    return not len(power) or float(power[len(power) // 2]) < (LEAST_LEVELS / 2) ** 2


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
    # Filters of these responses make white noise of variance 1 into noise of this power.
    responses = np.sqrt(_unsmeared(spectra) * PATCH_PX**2)
    planes = []
    for kernel in np.fft.fftshift(np.real(np.fft.ifft2(responses)), axes=(1, 2)).astype(np.float32):
        white = rng.standard_normal(shape, dtype=np.float32)
        planes.append(cv2.filter2D(white, -1, kernel, borderType=cv2.BORDER_REFLECT_101))
    return np.stack(planes, axis=-1) @ BACK.T


def _unsmeared(powers: Spectrum) -> Spectrum:
    """Return the powers whose patches, seen through their window, have these (Richardson 1972; Lucy 1974)."""
    leak = np.abs(np.fft.fft2(_window())) ** 2
    leak = np.fft.rfft2(leak / leak.sum())  # even, so that it serves both ways
    found, seen = powers, _fine_grid()
    for _ in range(SHARPENING_STEPS):
        smeared = np.fft.irfft2(np.fft.rfft2(found) * leak)
        ratio = np.where(seen & (smeared > 0), powers / np.maximum(smeared, np.finfo(np.float64).tiny), 1)
        found = found * np.maximum(np.fft.irfft2(np.fft.rfft2(ratio) * leak), 0)
    return found


def _window() -> Spectrum:
    window = np.outer(np.hanning(PATCH_PX + 2)[1:-1], np.hanning(PATCH_PX + 2)[1:-1])
    return np.asarray(window / np.sqrt((window**2).mean()))


def _fine_grid() -> NDArray[np.bool_]:
    """Return which frequencies are grain's, (P, P)."""
    frequency = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    return np.asarray(np.hypot(frequency[:, None], frequency[None]) >= COARSEST)


def _places(where: NDArray[np.bool_], most: int = MOST_PATCHES) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first rows and columns of patches that lie wholly in a part: about ``most``."""
    import cv2

    step = max(LEAST_STEP_PX, math.isqrt(int(where.sum()) // most))
    whole = cv2.erode(where.view(np.uint8), np.ones((PATCH_PX, PATCH_PX), np.uint8), anchor=(0, 0))
    height, width = (max(0, side - PATCH_PX + 1) for side in where.shape)
    rows, columns = np.nonzero(whole[:height:step, :width:step])
    return rows * step, columns * step


def _patches(
    pixels: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the (N, C, P, P) patches of (H, W, C) pixels that begin there, as their window shows them."""
    if not len(rows):
        return np.empty((0, pixels.shape[2], PATCH_PX, PATCH_PX), np.float32)
    patches = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH_PX, PATCH_PX), (0, 1))[rows, columns]
    patches = patches - patches.mean(axis=(2, 3), keepdims=True)
    return np.asarray(patches * _window().astype(np.float32))


def _powers(patches: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the power of light and shade, and that of grain, of each of (N, 1, P, P) patches."""
    places = (
        np.argwhere(~_fine_grid()) @ np.indices((PATCH_PX, PATCH_PX)).reshape(2, -1) * (math.tau / PATCH_PX)
    )
    coarse = np.concatenate([np.cos(places), np.sin(places)]).astype(np.float32)
    flat = patches.reshape(-1, PATCH_PX**2)
    shades = np.square(flat @ coarse.T).sum(axis=1) / PATCH_PX**4
    fine = np.square(flat).sum(axis=1) / PATCH_PX**2 - shades  # by Parseval's theorem
    return shades, np.maximum(fine, 0)

"""Grain: the noise of a photo around a face, measured, and as much given to the restored face that both look alike.

A restored face is smooth. In a grainy photo it looks pasted, so what noise it lacks is drawn anew, from a seed, with
the spectrum of the photo's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

PATCH_PX = 16
"""Side of the patches whose spectra are taken, pixels of the picture."""

QUIET = (0.05, 0.35)
"""Of the patches, by how little light and shade they have, those between these shares are taken: before them lies what
is clipped or painted over, behind them what has edges and texture."""

SHADE_SIGMA_PX = 5.0
"""Of the blur that leaves light and shade: it takes all but a fiftieth of what the patches see as grain."""

SHADE_REACH_PX = 40
"""Beyond a patch nothing changes its slopes: twice as far as that blur reaches, for OpenCV rounds the last pixels of a
row in another way."""

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

CORRECTIONS = 20
"""Of a filter by what it gives: three times as many change no band by 2%."""

OPPONENT: NDArray[np.float32] = np.array(
    [[0.299, 0.587, 0.114], [0.5, -0.5, 0.0], [-0.25, -0.25, 0.5]], dtype=np.float32
)
"""From RGB to luma and two planes of colour, which have grain of their own."""
BACK: NDArray[np.float32] = np.linalg.inv(OPPONENT).astype(np.float32)

LOW_SHARE = 0.25
"""Of the patches lie below what counts as the power of noise at a frequency, times what noise has on the mean over
it."""

MEAN_OVER_LOW: NDArray[np.float64] = np.array(
    [
        9.543743653151308, 1.96671382866256, 1.5803130603090145, 1.4672095169390678,
        1.3402525260544105, 1.315959322449494, 1.2770166020168543, 1.2642063902707736,
        1.2645540515696498, 1.3654399510554145, 1.7243011680998215, 2.4101686137518405,
    ]
)  # fmt: skip
"""Mean power of noise over that below which `LOW_SHARE` of its patches lie, by whole waves a patch: of 4000 patches of
white noise, which a test draws again."""

Spectrum = NDArray[np.float64]
Places: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp]]
"""First rows and columns of patches."""


@dataclass(frozen=True, slots=True)
class Grain:
    """The noise of some part of a picture.

    Attributes:
        spectra: (3, P, P) power of luma and two planes of colour, in squared levels of 255, alike in all directions;
            their sums are variances.
        alike: it is much the same in all quiet patches: noise, and no texture.
    """

    spectra: Spectrum
    alike: bool

    @property
    def levels(self) -> float:
        """Standard deviation of luma, levels of 255."""
        return math.sqrt(self.spectra[0].sum())


def grain_of(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> Grain | None:
    """Return the grain of a part of a picture; None where too little of it is quiet.

    Args:
        levels: (H, W, 3) RGB in levels of 255.
        where: (H, W), the part.
    """
    return grains_of(levels, [where])[0]


def grains_of(
    levels: NDArray[np.float32], parts: Sequence[NDArray[np.bool_]], *, least_levels: float = 0.0
) -> list[Grain | None]:
    """Return the grain of each of some parts of a picture, as `grain_of` does.

    Args:
        levels: (H, W, 3) RGB in levels of 255.
        parts: (H, W) each.
        least_levels: of luma in a part, else those behind it are not looked at, and are None.
    """
    places = [_places(where) for where in parts]
    enough = [begin for begin in places if _are_enough(begin)]
    found: list[Grain | None] = [None] * len(parts)
    if not enough:
        return found
    # By their slopes alone: by the grain itself, those that have little by chance would be taken.
    slopes = _slopes_at(levels, enough)
    for index, begin in enumerate(places):
        if _are_enough(begin):
            found[index] = own = _grain_at(levels, slopes, begin)
            if own.spectra[0].sum() < least_levels**2:
                break
    return found


def _are_enough(places: Places) -> bool:
    return len(places[0]) * (QUIET[1] - QUIET[0]) >= LEAST_PATCHES


def _slopes_at(levels: NDArray[np.float32], places: Sequence[Places]) -> NDArray[np.float32]:
    """Return the slopes of the patches that begin at some places, (H, W); what lies far from all of them is 0."""
    reach = []
    for along, side in zip((0, 1), levels.shape, strict=False):
        least, most = (int(f([f(begin[along]) for begin in places])) for f in (np.min, np.max))
        reach.append(slice(max(0, least - SHADE_REACH_PX), min(side, most + PATCH_PX + SHADE_REACH_PX)))
    rows, columns = reach
    slopes = np.zeros(levels.shape[:2], np.float32)
    slopes[rows, columns] = _slopes(levels[rows, columns] @ OPPONENT[0])
    return slopes


def _grain_at(levels: NDArray[np.float32], slopes: NDArray[np.float32], places: Places) -> Grain:
    """Return the grain of the quiet ones of the patches that begin at some places."""
    rows, columns = places
    first, last = (int(share * len(rows)) for share in QUIET)
    quiet = np.argsort(slopes[rows, columns], kind="stable")[first:last]
    patches = _patches(levels, rows[quiet], columns[quiet])
    powers = np.sort(_powers(patches[:, :1]))
    low, high = powers[len(powers) // 10], powers[-1 - len(powers) // 10]
    return Grain(_spectra(patches), alike=bool(low >= LEAST_SHARE**2 * high))


def is_smooth(levels: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
    """Say after a quick look whether a part of a picture has far too little grain to be seen; see `grain_of`."""
    power = np.sort(_powers(_patches(levels, *_places(where, QUICK_PATCHES))[:, :1]))
    return not len(power) or float(power[len(power) // 2]) < (LEAST_LEVELS / 2) ** 2


def rounding(step: float, *, grey: bool) -> Spectrum:
    """Return the (3, 1, 1) power that rounding adds at each frequency.

    Args:
        step: between two values of a pixel, levels of 255.
        grey: all channels are rounded alike.
    """
    rows = np.square(OPPONENT.sum(axis=1)) if grey else np.square(OPPONENT).sum(axis=1)
    return np.asarray(rows * step**2 / 12 / PATCH_PX**2, dtype=np.float64)[:, None, None]


def white_noise(shape: tuple[int, int], *, seed: int) -> NDArray[np.float32]:
    """Return three (H, W) planes of white noise, (3, H, W), of variance 1: what `drawn` makes grain of."""
    return np.random.default_rng(seed).standard_normal((3, *shape), dtype=np.float32)


def drawn(
    spectra: Spectrum, white: NDArray[np.float32], part: tuple[slice, slice] = (slice(None), slice(None))
) -> NDArray[np.float32]:
    """Return (H, W, 3) RGB noise in levels, of mean 0, with these spectra of luma and two planes of colour.

    Args:
        spectra: (3, P, P), as `Grain` has them.
        white: what it is made of, see `white_noise`.
        part: rows and columns of it that are wanted.
    """
    import cv2

    kernels = _kernels(spectra).astype(np.float32)
    planes = [
        cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT_101)[part]
        for plane, kernel in zip(white, kernels, strict=True)
    ]
    return np.asarray(cv2.merge(planes) @ BACK.T, dtype=np.float32)


def _kernels(spectra: Spectrum) -> Spectrum:
    """Return the (3, P, P) filters that make white noise of variance 1 into noise whose patches have these spectra.

    Where a window shows noise, its power is the Fourier transform of the product of two autocorrelations, the filter's
    and the window's: so what a filter gives is known, and its response is corrected by it, again and again.
    """
    seen, ring, window = _fine_grid(), _ring(), _autocorrelation(_window()[None])
    # A filter that is cut off at the side of a patch would leak into frequencies that have little.
    taper = np.outer(*[np.hanning(PATCH_PX + 1)[:-1]] * 2)
    response = np.sqrt(spectra * PATCH_PX**2)
    for _ in range(CORRECTIONS):
        # Noise has about as much below the frequencies that light and shade hide as right above them.
        edge = response[:, ring == math.ceil(COARSEST)].mean(axis=1)[:, None, None]
        response = np.where(seen, response, edge)
        kernels = np.fft.fftshift(np.real(np.fft.ifft2(response)), axes=(1, 2)) * taper
        gives = np.real(np.fft.fft2(_autocorrelation(kernels) * window))[:, ::2, ::2] / PATCH_PX**4
        ratio = spectra / np.maximum(_around(gives), np.finfo(np.float64).tiny)
        response = np.where(seen, response * np.sqrt(ratio), response)
    return kernels


def _autocorrelation(planes: Spectrum) -> Spectrum:
    """Return the (N, 2P, 2P) autocorrelations of (N, P, P) planes."""
    power = np.square(np.abs(np.fft.fft2(planes, (2 * PATCH_PX, 2 * PATCH_PX))))
    return np.real(np.fft.ifft2(power))


def _spectra(patches: NDArray[np.float32]) -> Spectrum:
    """Return the (C, P, P) spectra of (N, C, P, P) patches, by those that have little of each frequency.

    Content only adds to noise, so that what has little of both shows it.
    """
    low = quantile_of(ring_powers(patches), LOW_SHARE) * MEAN_OVER_LOW
    return np.asarray(low[:, _ring()] * _fine_grid(), dtype=np.float64)


def quantile_of(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return below what ``share`` of (N, ...) values lie, (...), as ``np.quantile`` does; that imports numpy.ma."""
    place = share * (len(values) - 1)
    first, last = math.floor(place), math.ceil(place)
    ordered = np.partition(values, (first, last), axis=0)
    step, part = ordered[last] - ordered[first], place - first
    found = ordered[first] + step * part if part < 0.5 else ordered[last] - step * (1 - part)
    return np.asarray(found, dtype=np.float64)


def ring_powers(patches: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (N, C, R) mean power of each of (N, C, P, P) patches by how many waves a patch."""
    half = np.square(np.abs(np.fft.rfft2(patches))) / PATCH_PX**4
    return np.asarray(np.tensordot(half, _ring_shares(), 2), dtype=np.float64)


@cache
def _ring_shares() -> NDArray[np.float64]:
    """Return what part each frequency is of the mean over as many waves a patch, (P, P / 2 + 1, R)."""
    ring = _ring()[:, : PATCH_PX // 2 + 1]
    twice = np.ones(ring.shape[1])
    twice[1:-1] = 2  # a real picture's spectrum is the same seen from behind
    shares = np.eye(ring.max() + 1)[ring] * twice[:, None]
    return np.asarray(shares / shares.sum(axis=(0, 1)))


@cache
def _ring() -> NDArray[np.intp]:
    """Return how many waves a patch each frequency is, whole ones, (P, P)."""
    frequency = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    return np.asarray(np.rint(np.hypot(frequency[:, None], frequency)), dtype=np.intp)


def _around(spectra: Spectrum) -> Spectrum:
    """Return (N, P, P) spectra, each frequency with the mean of those of as many waves a patch."""
    ring = _ring()
    counts = np.bincount(ring.ravel())
    means = [np.bincount(ring.ravel(), plane.ravel()) / counts for plane in spectra]
    return np.asarray(means)[:, ring]


@cache
def _window() -> Spectrum:
    window = np.outer(np.hanning(PATCH_PX + 2)[1:-1], np.hanning(PATCH_PX + 2)[1:-1])
    return np.asarray(window / np.sqrt((window**2).mean()))


@cache
def _fine_grid() -> NDArray[np.bool_]:
    """Return which frequencies are grain's, (P, P)."""
    frequency = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    return np.asarray(np.hypot(frequency[:, None], frequency[None]) >= COARSEST)


def _places(where: NDArray[np.bool_], most: int = MOST_PATCHES) -> Places:
    """Return the first rows and columns of patches that lie wholly in a part: about ``most``."""
    import cv2

    step = max(LEAST_STEP_PX, math.isqrt(int(where.sum()) // most))
    whole = cv2.erode(where.view(np.uint8), np.ones((PATCH_PX, PATCH_PX), np.uint8), anchor=(0, 0))
    height, width = (max(0, side - PATCH_PX + 1) for side in where.shape)
    rows, columns = np.nonzero(whole[:height:step, :width:step])
    return rows * step, columns * step


def _patches(
    levels: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the (N, 3, P, P) patches that begin there, luma and two planes of colour, as their window shows them."""
    if not len(rows):
        return np.empty((0, 3, PATCH_PX, PATCH_PX), np.float32)
    begun = np.lib.stride_tricks.sliding_window_view(levels, (PATCH_PX, PATCH_PX), (0, 1))[rows, columns]
    patches = (begun.transpose(0, 2, 3, 1) @ OPPONENT.T).transpose(0, 3, 1, 2)
    patches -= patches.mean(axis=(2, 3), keepdims=True)
    patches *= _window().astype(np.float32)
    return np.asarray(patches)


def _slopes(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how strong light and shade are in the patch that begins at each pixel, (H, W), in no unit."""
    import cv2

    low = cv2.GaussianBlur(luma, (0, 0), SHADE_SIGMA_PX)
    power = np.zeros_like(luma)
    power[:, 1:] += np.square(np.diff(low, axis=1))
    power[1:] += np.square(np.diff(low, axis=0))
    return np.asarray(cv2.boxFilter(power, -1, (PATCH_PX, PATCH_PX), anchor=(0, 0)))


def _powers(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the power of grain of each of (N, 1, P, P) patches."""
    places = (
        np.argwhere(~_fine_grid()) @ np.indices((PATCH_PX, PATCH_PX)).reshape(2, -1) * (math.tau / PATCH_PX)
    )
    coarse = np.concatenate([np.cos(places), np.sin(places)]).astype(np.float32)
    flat = patches.reshape(-1, PATCH_PX**2)
    shades = np.square(flat @ coarse.T).sum(axis=1) / PATCH_PX**4
    fine = np.square(flat).sum(axis=1) / PATCH_PX**2 - shades  # by Parseval's theorem
    return np.asarray(np.maximum(fine, 0))

"""From what TIFF can store in a sample to the 8 and 16 bits that a picture has here, and how to say it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ImageError
from facerestore.io._source import Samples, Source
from facerestore.io._tiff_page import CIE_LAB, FLOAT, ICC_LAB, SIGNED, Page

_ROWS_PER_BAND = 64
# Of samples below zero: fewer are noise about black, more are a picture whose black is the lowest number.
_FEW = 0.001
_CLIPPED_MOST = 0.5
# For CIELAB (CIE 15): ICC.1's white point, and Lindbloom's Bradford matrices.
_D50 = np.array((0.9642, 1.0, 0.8249))
# XYZ of D50 to linear sRGB, whose white is D65: adapted as Bradford has it.
_TO_LINEAR = np.array(
    (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
)
_KNEE = 6 / 29


def as_integers(source: Source, page: Page, samples: Samples) -> tuple[Samples, str | None, tuple[str, ...]]:
    """Return (H, W, C) uint8 or uint16, what they were stored as where they were neither, and notes.

    LAB becomes sRGB; its alpha, and every other sample, is scaled so that white is white.

    Args:
        source: the file.
        page: whose samples they are.
        samples: (H, W, C) as stored: unsigned of ``page``'s bits, or float.

    Raises:
        ImageError: float samples most of which are above 1.
    """
    bits = max(page.bits)
    if page.colour in (CIE_LAB, ICC_LAB):
        return _from_lab(page, samples, bits), f"{bits}-bit CIELAB", ()
    if FLOAT in page.sample_formats:
        return _from_float(source, samples, bits)
    if SIGNED in page.sample_formats:
        return _from_signed(samples, bits)
    if bits in (8, 16):
        return samples, None, ()
    dtype = np.uint8 if bits < 8 else np.uint16
    top, white = 2**bits - 1, int(np.iinfo(dtype).max)
    scaled = _in_bands(samples, dtype, lambda band: np.rint(band * (white / top)))
    return scaled, f"{bits}-bit samples", ()


def _in_bands(samples: Samples, dtype: type, convert: Callable[[Samples], Samples]) -> Samples:
    """Return samples converted some rows at a time, so that what is computed beside the result stays small."""
    result: Samples = np.empty(samples.shape, dtype)
    for top in range(0, len(samples), _ROWS_PER_BAND):
        result[top : top + _ROWS_PER_BAND] = convert(samples[top : top + _ROWS_PER_BAND])
    return result


def _from_float(source: Source, samples: Samples, bits: int) -> tuple[Samples, str, tuple[str, ...]]:
    """Return uint16 samples of floats, of which 0 is black and 1 is white."""

    def convert(band: Samples) -> Samples:
        with np.errstate(invalid="ignore"):  # of signalling numbers that are none
            wide = band.astype(np.float64)
        return np.rint(np.clip(np.nan_to_num(wide, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0) * 65535)

    above = sum(
        int(np.count_nonzero(samples[top : top + _ROWS_PER_BAND] > 1))
        for top in range(0, len(samples), _ROWS_PER_BAND)
    )
    if above > _CLIPPED_MOST * samples.size:
        raise ImageError(
            f"{source.name}: {above / samples.size:.0%} of its float samples are above 1, which is white; divide"
            " them by the number that is white, or save it with 8 or 16 bits"
        )
    low, high = float(np.fmin.reduce(samples, None)), float(np.fmax.reduce(samples, None))
    notes = (f"samples go from {low:.3g} to {high:.3g}; what is not within 0 to 1 was cut off",)
    return _in_bands(samples, np.uint16, convert), f"{bits}-bit float", notes if low < 0 or high > 1 else ()


def _from_signed(samples: Samples, bits: int) -> tuple[Samples, str, tuple[str, ...]]:
    """Return uint8 or uint16 samples of signed ones: 0 is black (TIFF 6.0, photometric interpretation)."""
    dtype = np.uint8 if bits == 8 else np.uint16
    signed = samples.view(f"i{bits // 8}")
    white, top = int(np.iinfo(dtype).max), 2 ** (bits - 1) - 1
    below = int(np.count_nonzero(signed < 0))
    stored = f"signed {bits}-bit samples"
    if below > _FEW * signed.size:
        low = -(2 ** (bits - 1))
        note = f"many samples are below 0, so {low} was taken for black"
        scale = white / (2**bits - 1)
        return (
            _in_bands(signed, dtype, lambda b: np.rint((b.astype(np.float64) - low) * scale)),
            stored,
            (note,),
        )
    result = _in_bands(signed, dtype, lambda band: np.rint(np.maximum(band, 0) * (white / top)))
    notes = (f"{below} samples below 0 were taken for black",) if below else ()
    return result, stored, notes


def _from_lab(page: Page, samples: Samples, bits: int) -> Samples:
    """Return sRGB samples of L, a and b, and of an alpha behind them (TIFF 6.0 section 23, ICC's technical note)."""
    white = np.float64(2**bits - 1)
    dtype = np.uint8 if bits == 8 else np.uint16

    def convert(band: Samples) -> Samples:
        if page.colour == ICC_LAB:
            # ICC's 16-bit encoding is its 8-bit one times 256.
            unit = np.float64(2 ** (bits - 8))
            light, tint = band[..., :1] / (unit * 255) * 100, band[..., 1:3] / unit - 128
        else:
            light = band[..., :1] / white * 100
            tint = band[..., 1:3].view(f"i{bits // 8}") / np.float64(2 ** (bits - 8))
        colours = _lab_to_srgb(np.concatenate((light, tint), axis=2))
        others = band[..., 3:] / white
        return np.rint(np.concatenate((colours, others), axis=2) * np.iinfo(dtype).max)

    return _in_bands(np.ascontiguousarray(samples), dtype, convert)


def _lab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (..., 3) sRGB in [0, 1], encoded, of CIELAB with L in [0, 100], as seen under D50; clipped where it must.

    Args:
        lab: (..., 3) L, a, b.
    """
    middle = (lab[..., 0] + 16) / 116
    bent = np.stack((middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200), axis=-1)
    xyz = np.where(bent > _KNEE, bent**3, 3 * _KNEE**2 * (bent - 4 / 29)) * _D50
    linear = np.clip(xyz @ _TO_LINEAR.T, 0.0, 1.0)
    encoded: NDArray[np.float64] = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return encoded

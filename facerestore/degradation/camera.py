"""Steps of a small camera: noise of its sensor under a colour mosaic, and the software that smears it away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.steps import HostStep, Pixels
from facerestore.imaging.pixels import whole_levels

RAW_WHITE, RAW_BLACK = 50000.0, 8000.0
"""Levels of white, and of black, which leaves room for noise below it, in the 16 bits that cv2's demosaicing takes."""
LINEAR_LEVELS = 2**14
MARGIN_PX = 4
"""Of mirrored picture around the mosaic; even, so that its corner stays the same colour."""
DEMOSAIC = {False: cv2.COLOR_BayerRGGB2RGB, True: cv2.COLOR_BayerRGGB2RGB_EA}


@lru_cache(maxsize=1)
def _to_linear() -> NDArray[np.float32]:
    """Return linear light in [0, 1] of the 256 levels of sRGB (IEC 61966-2-1)."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


@lru_cache(maxsize=1)
def _to_levels() -> NDArray[np.float32]:
    """Return the sRGB level, 0 to 255, of each of `LINEAR_LEVELS` + 1 steps of linear light."""
    light = np.arange(LINEAR_LEVELS + 1) / LINEAR_LEVELS
    level = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * level).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Sensor(HostStep):
    """Light counted under a Bayer mosaic, with noise, and demosaiced.

    The noise is Poisson-Gaussian in linear light (Foi et al., IEEE TIP 2008), the Poisson part by its normal
    approximation: variance ``shot * x + read**2`` of a signal x that is 1 at white.

    Attributes:
        shot: variance of the light's own noise at white.
        read: standard deviation of the electronics' noise.
        red_gain: by which white balance multiplies red, and its noise.
        blue_gain: by which it multiplies blue.
        edge_aware: demosaiced along edges, not bilinearly.
    """

    shot: float
    read: float
    red_gain: float
    blue_gain: float
    edge_aware: bool

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the noisy picture."""
        light = np.asarray(cv2.LUT(whole_levels(picture), _to_linear()), dtype=np.float32)
        light = np.asarray(
            cv2.copyMakeBorder(light, *(MARGIN_PX,) * 4, cv2.BORDER_REFLECT_101), dtype=np.float32
        )
        raw = np.empty(light.shape[:2], np.float32)
        raw[::2, ::2] = light[::2, ::2, 0] / np.float32(self.red_gain)
        raw[::2, 1::2], raw[1::2, ::2] = light[::2, 1::2, 1], light[1::2, ::2, 1]
        raw[1::2, 1::2] = light[1::2, 1::2, 2] / np.float32(self.blue_gain)
        noise = np.sqrt(np.float32(self.shot) * raw + np.float32(self.read**2))
        raw += noise * rng.standard_normal(raw.shape, dtype=np.float32)
        counts = np.clip(raw * RAW_WHITE + RAW_BLACK, 0, 65535).astype(np.uint16)
        colours = np.asarray(cv2.cvtColor(counts, DEMOSAIC[self.edge_aware]), dtype=np.float32)
        gains = np.array([self.red_gain, 1, self.blue_gain], dtype=np.float32) / np.float32(RAW_WHITE)
        steps = (colours - np.float32(RAW_BLACK)) * (gains * np.float32(LINEAR_LEVELS))
        levels = _to_levels()[np.clip(steps + np.float32(0.5), 0, LINEAR_LEVELS).astype(np.int32)]
        inner = slice(MARGIN_PX, -MARGIN_PX)
        return np.ascontiguousarray(levels[inner, inner])

    @property
    def text(self) -> str:
        """Say it, as the noise of a mid-grey."""
        return f"sensor {1000 * self.shot:.1f}/1000, {100 * self.read:.1f}%"


@dataclass(frozen=True, slots=True)
class Smear(HostStep):
    """A denoiser that keeps edges and smears what is fainter: skin turns to wax, and colours run.

    Attributes:
        tolerance: difference in levels that it takes for noise (standard deviation of a bilateral filter's range).
        reach_px: standard deviation of its space.
        chroma_px: standard deviation of the blur of colours; 0 for none.
        kept: share of the fine structure that is put back.
    """

    summary: ClassVar[str] = "smeared {0.tolerance:.0f}, {0.reach_px:.1f} px"
    tolerance: float
    reach_px: float
    chroma_px: float
    kept: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the smeared picture."""
        colours = np.asarray(cv2.cvtColor(whole_levels(picture), cv2.COLOR_RGB2YCrCb), dtype=np.uint8)
        luma = np.ascontiguousarray(colours[..., 0])
        width = 2 * min(4, max(1, round(1.5 * self.reach_px))) + 1
        smooth = cv2.bilateralFilter(luma, width, self.tolerance, self.reach_px)
        if self.chroma_px > 0:
            colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), self.chroma_px), dtype=np.uint8)
        colours[..., 0] = cv2.addWeighted(luma, self.kept, smooth, 1 - self.kept, 0)
        return np.asarray(cv2.cvtColor(colours, cv2.COLOR_YCrCb2RGB), dtype=np.float32)

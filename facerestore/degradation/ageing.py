"""Steps of ageing prints. See :mod:`facerestore.degradation.steps` for what a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.kernels import gaussian_kernel
from facerestore.degradation.shapes import stain_field, worn_layers
from facerestore.degradation.steps import DamageStep, Pixels, Step


@dataclass(frozen=True, slots=True)
class Fading(Step):
    """Blacks that have turned grey and whites that have turned yellow.

    Attributes:
        black: what became of 0, R, G, B levels.
        white: what became of 255, R, G, B levels.
    """

    black: tuple[float, float, float]
    white: tuple[float, float, float]

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the faded picture."""
        black, white = (np.array(levels, dtype=np.float32) for levels in (self.black, self.white))
        return black + (white - black) * (picture / np.float32(255))

    @property
    def text(self) -> str:
        """Say it."""
        return f"faded to {np.mean(self.black):.0f}-{np.mean(self.white):.0f}"


@dataclass(frozen=True, slots=True)
class Stains(Step):
    """Light and dark blotches, a fifth of the picture wide, where the print has aged unevenly.

    Attributes:
        amplitude: largest change, levels of 255.
        layout_seed: of where they lie.
    """

    summary: ClassVar[str] = "stains {0.amplitude:.0f}"
    amplitude: float
    layout_seed: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the stained picture."""
        field = stain_field(picture.shape[0], self.layout_seed)
        return picture + np.float32(self.amplitude) * field[..., None]


@dataclass(frozen=True, slots=True)
class Grain(Step):
    """Noise of the emulsion: grey, coarser than a pixel, and strongest in the mid-tones.

    Attributes:
        sigma: its standard deviation at mid-grey, levels of 255.
        size_px: standard deviation of a grain's shape.
    """

    summary: ClassVar[str] = "grain {0.sigma:.1f}, {0.size_px:.1f} px"
    sigma: float
    size_px: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the grainy picture."""
        field = rng.standard_normal(picture.shape[:2], dtype=np.float32)
        kernel = self.kernel()
        field = np.asarray(cv2.filter2D(field, -1, kernel, borderType=cv2.BORDER_REFLECT_101))
        # Averaging by a kernel k multiplies the variance of white noise by sum k^2.
        strength = np.float32(self.sigma / np.sqrt(np.square(kernel).sum()))
        return picture + strength * midtones(picture) * field[..., None]

    def kernel(self) -> NDArray[np.float32]:
        """Return the shape of a grain, three sigma to each side."""
        side = 2 * max(1, int(np.ceil(3 * self.size_px))) + 1
        return gaussian_kernel(side, self.size_px, self.size_px, 0.0)


def midtones(picture: Pixels) -> Pixels:
    """Return (H, W, 1) weights: 1 at mid-grey, a third at black and white, where a print has little grain."""
    level = np.clip(picture.mean(axis=2, keepdims=True) / np.float32(255), 0, 1)
    return np.asarray((1 + 8 * level * (1 - level)) / 3, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Damage(DamageStep):
    """Scratches, cracks and dust on the print.

    Attributes:
        scratches: long thin lines, nearly straight.
        cracks: jagged lines with branches, where the print was folded.
        specks: grains of dust and pin holes.
        width_px: of a typical line; also the radius of a typical speck.
        layout_seed: of where they lie, and how light or dark each is.
    """

    summary: ClassVar[str] = "{0.scratches} scratches, {0.cracks} cracks, {0.specks} specks"
    scratches: int
    cracks: int
    specks: int
    width_px: float
    layout_seed: int

    def layers(self, size_px: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what lies on a picture of that side: (S, S) opacity in [0, 1] and (S, S) level, 0 to 255."""
        worn = worn_layers(
            size_px,
            scratches=self.scratches,
            cracks=self.cracks,
            specks=self.specks,
            width_px=self.width_px,
            seed=self.layout_seed,
        )
        return worn.opacity, worn.level

    def mask(self, size_px: int) -> NDArray[np.float32]:
        """Return the opacity alone."""
        return self.layers(size_px)[0]

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the damaged picture."""
        opacity, level = (layer[..., None] for layer in self.layers(picture.shape[0]))
        return picture + opacity * (level - picture)

"""Steps of what happens to a picture on its way through the web: sharpened, and stored as JPEG again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from facerestore.degradation.steps import HostStep, Jpeg, Pixels


@dataclass(frozen=True, slots=True)
class Sharpen(HostStep):
    """An unsharp mask, which leaves halos along edges.

    Attributes:
        amount: of what the blur takes away, added on top.
        sigma_px: standard deviation of the blur: the width of a halo.
    """

    word: ClassVar[str] = "sharpen"
    amount: float
    sigma_px: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the sharpened picture, clipped as 8 bits clip it."""
        blurred = cv2.GaussianBlur(picture, (0, 0), self.sigma_px, borderType=cv2.BORDER_REFLECT_101)
        sharp = cv2.addWeighted(picture, 1 + self.amount, blurred, -self.amount, 0)
        return np.asarray(np.clip(sharp, 0, 255), dtype=np.float32)

    @property
    def text(self) -> str:
        """Say it."""
        return f"sharpened {self.amount:.1f}, {self.sigma_px:.1f} px"


@dataclass(frozen=True, slots=True)
class CroppedJpeg(HostStep):
    """A JPEG file of a larger picture, cropped afterwards: its blocks do not begin at the picture's corner.

    Attributes:
        quality: 1 to 100.
        left_px: columns between the corner of a block and that of the picture, 0 to 15.
        top_px: rows between them, 0 to 15; the blocks of the halved chroma are 16 px wide.
    """

    word: ClassVar[str] = "cropped-jpeg"
    quality: int
    left_px: int
    top_px: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after a round trip."""
        whole = cv2.copyMakeBorder(picture, self.top_px, 0, self.left_px, 0, cv2.BORDER_REPLICATE)
        stored = Jpeg(self.quality).apply(np.asarray(whole, dtype=np.float32), rng)
        return np.ascontiguousarray(stored[self.top_px :, self.left_px :])

    @property
    def text(self) -> str:
        """Say it."""
        return f"JPEG {self.quality} at {self.left_px}, {self.top_px}"

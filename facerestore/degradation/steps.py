"""The steps of degradations: small frozen records of drawn parameters that are applied to a picture.

A step takes a float32 (H, W, 3) RGB picture in levels 0 to 255, square or not, and gives another; it may leave the
range, which is clipped where a picture is stored: in JPEG, and at the end. What a step draws while it works - the field
of a noise - comes from a generator; everything else is in its parameters, so that the same steps with the same
generator repeat a picture. Widths are in pixels of the picture that the step is done to.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from facerestore.degradation.kernels import (
    box_kernel,
    gaussian_kernel,
    motion_kernel,
    pillow_cubic,
    pillow_lanczos,
)
from facerestore.imaging.pixels import whole_levels

Pixels = NDArray[np.float32]
Interpolation = Literal["nearest", "linear", "area", "cubic", "bicubic", "lanczos"]
"""How a picture is resized. The first four are OpenCV's, which do not antialias ``linear`` and ``cubic`` when they
reduce; ``bicubic``, which is Matlab's too, and ``lanczos`` are Pillow's, which do."""

PILLOW_MATRICES = {"bicubic": pillow_cubic, "lanczos": pillow_lanczos}

CV2_FLAGS: Mapping[str, int] = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """One thing that is done to a picture."""

    word: ClassVar[str]
    """The step's name in JSON: ``GaussianBlur`` is ``gaussian-blur``."""

    summary: ClassVar[str] = ""
    """A few words with places for the parameters; none for what nobody sees."""

    def __init_subclass__(cls) -> None:
        """Name the step after its class."""
        cls.word = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @abstractmethod
    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after the step."""

    @property
    def text(self) -> str:
        """The step and its parameters in a few words."""
        return self.summary.format(self)


@dataclass(frozen=True, slots=True)
class HostStep(Step):
    """A step that keeps the size and runs on the CPU, one picture at a time, even for a batch on a device."""


@dataclass(frozen=True, slots=True)
class DamageStep(HostStep):
    """Damage that covers a part of the picture; a layout seed fixes it, so that nothing is drawn while it works."""

    @abstractmethod
    def mask(self, size_px: int) -> NDArray[np.float32]:
        """Return how far a picture of that side is covered, (S, S) in [0, 1]; where it is 0, nothing is changed."""


@dataclass(frozen=True, slots=True)
class Grey(Step):
    """Turns the picture into its BT.601 luma."""

    summary: ClassVar[str] = "grey"

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the luma in every channel, in whole levels."""
        grey = cv2.cvtColor(whole_levels(picture), cv2.COLOR_RGB2GRAY)
        levels = np.asarray(grey, dtype=np.uint8)[..., None].astype(np.float32)
        return np.repeat(levels, 3, axis=2)


@dataclass(frozen=True, slots=True)
class Toning(Step):
    """Gives a grey picture the tone of its print: each channel is raised to a power.

    Attributes:
        red: exponent of red; below 1 the mid-tones turn red.
        green: exponent of green.
        blue: exponent of blue; above 1 the mid-tones turn yellow.
    """

    summary: ClassVar[str] = "toned {0.red:.2f} {0.green:.2f} {0.blue:.2f}"
    red: float
    green: float
    blue: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the toned picture, in whole levels."""
        exponents = np.array([self.red, self.green, self.blue], dtype=np.float32)
        toned = 255 * (np.clip(picture, 0, 255) / np.float32(255)) ** exponents
        return np.asarray(np.rint(toned), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class KernelBlur(Step):
    """A blur by a kernel; the picture is mirrored at its borders."""

    @abstractmethod
    def kernel(self) -> NDArray[np.float32]:
        """Return the odd-sided kernel, which sums to 1."""

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the correlation with the kernel."""
        blurred = cv2.filter2D(picture, -1, self.kernel(), borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(blurred, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class GaussianBlur(KernelBlur):
    """A Gaussian, perhaps longer one way.

    Attributes:
        kernel_size_px: odd side of its kernel.
        sigma_x_px: standard deviation along its own x axis.
        sigma_y_px: standard deviation along its own y axis.
        angle_rad: by which these axes are turned.
    """

    kernel_size_px: int
    sigma_x_px: float
    sigma_y_px: float
    angle_rad: float = 0.0

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return gaussian_kernel(self.kernel_size_px, self.sigma_x_px, self.sigma_y_px, self.angle_rad)

    @property
    def text(self) -> str:
        """The blur, with both widths where they differ."""
        if self.sigma_x_px == self.sigma_y_px:
            return f"blur {self.sigma_x_px:.1f} px"
        return f"blur {self.sigma_x_px:.1f} x {self.sigma_y_px:.1f} px"


def round_blur(sigma_px: float) -> GaussianBlur:
    """Return a blur that is the same in all directions, its kernel three sigma to each side."""
    return GaussianBlur(2 * max(1, math.ceil(3 * sigma_px)) + 1, sigma_px, sigma_px)


@dataclass(frozen=True, slots=True)
class BoxBlur(KernelBlur):
    """An average over a square.

    Attributes:
        width_px: its side.
    """

    summary: ClassVar[str] = "box blur {0.width_px:.1f} px"
    width_px: float

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return box_kernel(self.width_px)


@dataclass(frozen=True, slots=True)
class MotionBlur(KernelBlur):
    """An average along a line.

    Attributes:
        length_px: of the line.
        angle_rad: of the line; 0 runs along x.
        direction: -1 to 1: how the weight changes along the line.
    """

    summary: ClassVar[str] = "motion {0.length_px:.1f} px"
    length_px: float
    angle_rad: float
    direction: float

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return motion_kernel(self.length_px, self.angle_rad, self.direction)


@dataclass(frozen=True, slots=True)
class MedianBlur(Step):
    """A median over a square, channel by channel.

    Attributes:
        width_px: its odd side; 1 leaves the picture as it is.
    """

    summary: ClassVar[str] = "median {0.width_px} px"
    width_px: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the median, of whole levels."""
        if self.width_px == 1:
            return picture
        return np.asarray(cv2.medianBlur(whole_levels(picture), self.width_px), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Resize(Step):
    """Another size.

    Attributes:
        side_px: the new side, of both axes.
        interpolation: how.
    """

    summary: ClassVar[str] = "{0.side_px} px {0.interpolation}"
    side_px: int
    interpolation: Interpolation

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture in the new size."""
        side = self.side_px
        if self.interpolation in PILLOW_MATRICES:
            matrix = PILLOW_MATRICES[self.interpolation]
            down, across = matrix(picture.shape[0], side), matrix(picture.shape[1], side)
            return np.ascontiguousarray(np.einsum("iy,yxc,jx->ijc", down, picture, across, optimize=True))
        resized = cv2.resize(picture, (side, side), interpolation=CV2_FLAGS[self.interpolation])
        return np.asarray(resized, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Noise(Step):
    """Gaussian noise, independent from pixel to pixel.

    Attributes:
        sigma: its standard deviation, levels of 255.
        coloured: each channel has its own.
    """

    sigma: float
    coloured: bool

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the noisy picture."""
        shape = (*picture.shape[:2], 3 if self.coloured else 1)
        return picture + rng.standard_normal(shape, dtype=np.float32) * np.float32(self.sigma)

    @property
    def text(self) -> str:
        """The noise, and whether it is grey."""
        return f"noise {self.sigma:.1f}{'' if self.coloured else ' grey'}"


@dataclass(frozen=True, slots=True)
class Jpeg(Step):
    """A JPEG file between here and there, with chroma of half the size.

    Attributes:
        quality: 1 to 100.
    """

    summary: ClassVar[str] = "JPEG {0.quality}"
    quality: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after a round trip."""
        parameters = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        _, data = cv2.imencode(".jpg", whole_levels(picture)[..., ::-1], parameters)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
        return np.ascontiguousarray(decoded[..., ::-1]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Sharpen(HostStep):
    """An unsharp mask, which leaves halos along edges.

    Attributes:
        amount: of what the blur takes away, added on top.
        sigma_px: standard deviation of the blur: the width of a halo.
    """

    summary: ClassVar[str] = "sharpened {0.amount:.1f}, {0.sigma_px:.1f} px"
    amount: float
    sigma_px: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the sharpened picture, clipped as 8 bits clip it."""
        blurred = cv2.GaussianBlur(picture, (0, 0), self.sigma_px, borderType=cv2.BORDER_REFLECT_101)
        sharp = cv2.addWeighted(picture, 1 + self.amount, blurred, -self.amount, 0)
        return np.asarray(np.clip(sharp, 0, 255), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class CroppedJpeg(HostStep):
    """A JPEG file of a larger picture, cropped afterwards: its blocks do not begin at the picture's corner.

    Attributes:
        quality: 1 to 100.
        left_px: columns between the corner of a block and that of the picture, 0 to 15.
        top_px: rows between them, 0 to 15; the blocks of the halved chroma are 16 px wide.
    """

    summary: ClassVar[str] = "JPEG {0.quality} at {0.left_px}, {0.top_px}"
    quality: int
    left_px: int
    top_px: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after a round trip."""
        whole = cv2.copyMakeBorder(picture, self.top_px, 0, self.left_px, 0, cv2.BORDER_REPLICATE)
        stored = Jpeg(self.quality).apply(np.asarray(whole, dtype=np.float32), rng)
        return np.ascontiguousarray(stored[self.top_px :, self.left_px :])


@dataclass(frozen=True, slots=True)
class WholeLevels(Step):
    """Stores the picture in 8 bits."""

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture rounded and clipped."""
        return whole_levels(picture).astype(np.float32)


def apply_steps(
    face: NDArray[np.uint8], steps: Sequence[Step], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return an (H, W, 3) uint8 RGB face after all steps."""
    if not steps:
        return face
    picture = face.astype(np.float32)
    for step in steps:
        picture = step.apply(picture, rng)
    return whole_levels(picture)

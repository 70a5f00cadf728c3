"""The steps that degradations are made of: small frozen records of drawn parameters that are done to a picture.

A step takes a float32 (H, W, 3) RGB picture in levels 0 to 255, square or not, and gives another; it may leave the
range, which is clipped where a picture is stored: in JPEG, and at the end. What a step draws while it works - the field
of a noise - comes from a generator; everything else is in its parameters, so that the same steps with the same
generator repeat a picture. Widths are in pixels of the picture that the step is done to.
"""

from __future__ import annotations

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
from facerestore.pixels import whole_levels

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
    """The step's name in JSON."""

    @abstractmethod
    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after the step."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Say the step and its parameters in few words."""


@dataclass(frozen=True, slots=True)
class HostStep(Step):
    """A step that keeps the size and is done on the CPU, a picture at a time, even where a batch is on a device."""


@dataclass(frozen=True, slots=True)
class DamageStep(HostStep):
    """Damage that covers a part of the picture; a layout seed fixes it, so that nothing is drawn while it works."""

    @abstractmethod
    def mask(self, size_px: int) -> NDArray[np.float32]:
        """Return how far a picture of that side is covered, (S, S) in [0, 1]; where it is 0, nothing is changed."""


@dataclass(frozen=True, slots=True)
class Grey(Step):
    """Turns the picture into its BT.601 luma."""

    word: ClassVar[str] = "grey"

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the luma in every channel, in whole levels."""
        grey = cv2.cvtColor(whole_levels(picture), cv2.COLOR_RGB2GRAY)
        levels = np.asarray(grey, dtype=np.uint8)[..., None].astype(np.float32)
        return np.repeat(levels, 3, axis=2)

    @property
    def text(self) -> str:
        """Say it."""
        return "grey"


@dataclass(frozen=True, slots=True)
class Toning(Step):
    """Gives a grey picture the tone of its print: each channel is raised to a power.

    Attributes:
        red: exponent of red; below 1 the mid-tones turn red.
        green: exponent of green.
        blue: exponent of blue; above 1 the mid-tones turn yellow.
    """

    word: ClassVar[str] = "toning"
    red: float
    green: float
    blue: float

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the toned picture, in whole levels."""
        exponents = np.array([self.red, self.green, self.blue], dtype=np.float32)
        toned = 255 * (np.clip(picture, 0, 255) / np.float32(255)) ** exponents
        return np.asarray(np.rint(toned), dtype=np.float32)

    @property
    def text(self) -> str:
        """Say it."""
        return f"toned {self.red:.2f} {self.green:.2f} {self.blue:.2f}"


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

    word: ClassVar[str] = "gaussian-blur"
    kernel_size_px: int
    sigma_x_px: float
    sigma_y_px: float
    angle_rad: float = 0.0

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return gaussian_kernel(self.kernel_size_px, self.sigma_x_px, self.sigma_y_px, self.angle_rad)

    @property
    def text(self) -> str:
        """Say it."""
        if self.sigma_x_px == self.sigma_y_px:
            return f"blur {self.sigma_x_px:.1f} px"
        return f"blur {self.sigma_x_px:.1f} x {self.sigma_y_px:.1f} px"


@dataclass(frozen=True, slots=True)
class BoxBlur(KernelBlur):
    """An average over a square.

    Attributes:
        width_px: its side.
    """

    word: ClassVar[str] = "box-blur"
    width_px: float

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return box_kernel(self.width_px)

    @property
    def text(self) -> str:
        """Say it."""
        return f"box blur {self.width_px:.1f} px"


@dataclass(frozen=True, slots=True)
class MotionBlur(KernelBlur):
    """An average along a line.

    Attributes:
        length_px: of the line.
        angle_rad: of the line; 0 runs along x.
        direction: -1 to 1: how the weight changes along the line.
    """

    word: ClassVar[str] = "motion-blur"
    length_px: float
    angle_rad: float
    direction: float

    def kernel(self) -> NDArray[np.float32]:
        """Return the kernel."""
        return motion_kernel(self.length_px, self.angle_rad, self.direction)

    @property
    def text(self) -> str:
        """Say it."""
        return f"motion {self.length_px:.1f} px"


@dataclass(frozen=True, slots=True)
class MedianBlur(Step):
    """A median over a square, channel by channel.

    Attributes:
        width_px: its odd side; 1 leaves the picture as it is.
    """

    word: ClassVar[str] = "median-blur"
    width_px: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the median, of whole levels."""
        if self.width_px == 1:
            return picture
        return np.asarray(cv2.medianBlur(whole_levels(picture), self.width_px), dtype=np.float32)

    @property
    def text(self) -> str:
        """Say it."""
        return f"median {self.width_px} px"


@dataclass(frozen=True, slots=True)
class Resize(Step):
    """Another size.

    Attributes:
        side_px: the new side, of both axes.
        interpolation: how.
    """

    word: ClassVar[str] = "resize"
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

    @property
    def text(self) -> str:
        """Say it."""
        return f"{self.side_px} px {self.interpolation}"


@dataclass(frozen=True, slots=True)
class Noise(Step):
    """Gaussian noise, independent from pixel to pixel.

    Attributes:
        sigma: its standard deviation, levels of 255.
        coloured: each channel has its own.
    """

    word: ClassVar[str] = "noise"
    sigma: float
    coloured: bool

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the noisy picture."""
        shape = (*picture.shape[:2], 3 if self.coloured else 1)
        return picture + rng.standard_normal(shape, dtype=np.float32) * np.float32(self.sigma)

    @property
    def text(self) -> str:
        """Say it."""
        return f"noise {self.sigma:.1f}{'' if self.coloured else ' grey'}"


@dataclass(frozen=True, slots=True)
class Jpeg(Step):
    """A JPEG file between here and there, with chroma of half the size.

    Attributes:
        quality: 1 to 100.
    """

    word: ClassVar[str] = "jpeg"
    quality: int

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture after a round trip."""
        parameters = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        _, data = cv2.imencode(".jpg", whole_levels(picture)[..., ::-1], parameters)
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
        return np.ascontiguousarray(decoded[..., ::-1]).astype(np.float32)

    @property
    def text(self) -> str:
        """Say it."""
        return f"JPEG {self.quality}"


@dataclass(frozen=True, slots=True)
class WholeLevels(Step):
    """Stores the picture in 8 bits."""

    word: ClassVar[str] = "whole-levels"

    def apply(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture rounded and clipped."""
        return whole_levels(picture).astype(np.float32)

    @property
    def text(self) -> str:
        """Say nothing: nobody sees it."""
        return ""


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

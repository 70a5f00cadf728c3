"""Named, seeded degradations that turn a real face into a degraded one.

The model is ``y = resize_S( JPEG_q( resize_{S/s}(x * k) + n ) )`` (GFP-GAN, arXiv 2101.04061, eq. 1), with the
ranges of the presets below. Blur widths are stated at 512 px and scale with the face, so that a preset means the
same look at every face size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facerestore.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_SIZE = 512
"""Face size in pixels at which ``blur_sigma_px`` and ``kernel_size_px`` are stated (GFP-GAN trains at 512)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """Ranges from which one degradation is drawn, each uniformly.

    Attributes:
        name: name of the preset.
        kernel_size_px: odd side of the blur kernel, at 512 px.
        blur_sigma_px: standard deviation of each axis of the blur, at 512 px.
        isotropic_probability: chance that both axes share one sigma.
        downsample: factor by which the face is reduced.
        noise_sigma: standard deviation of Gaussian colour noise, in levels of 255.
        jpeg_quality: JPEG quality, both ends included.
        grey_probability: chance that input and target are both turned grey.
    """

    name: str
    kernel_size_px: int = 41
    blur_sigma_px: tuple[float, float] = (0.1, 10.0)
    isotropic_probability: float = 0.5
    downsample: tuple[float, float] = (0.8, 8.0)
    noise_sigma: tuple[float, float] = (0.0, 20.0)
    jpeg_quality: tuple[int, int] = (60, 100)
    grey_probability: float = 0.2


PRESETS = {
    preset.name: preset
    for preset in (
        # GFP-GAN's published training options, as GPEN's public training script uses them.
        Degradation(name="gfpgan"),
        # The ranges for seriously degraded faces; kernel widened to hold three sigma on each side.
        Degradation(
            name="severe",
            kernel_size_px=91,
            blur_sigma_px=(1.0, 15.0),
            downsample=(1.0, 30.0),
            jpeg_quality=(30, 90),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class DegradationDraw:
    """The parameters of one degradation, as drawn; writing them down repeats it."""

    blur_sigma_x_px: float
    blur_sigma_y_px: float
    blur_angle_rad: float
    downsample: float
    noise_sigma: float
    jpeg_quality: int
    grey: bool


def preset(name: str) -> Degradation:
    """Return the preset ``name``.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown degradation '{name}'; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def draw(degradation: Degradation, *, face_size: int, rng: np.random.Generator) -> DegradationDraw:
    """Draw one set of parameters for a face of ``face_size`` px."""
    scale = face_size / REFERENCE_SIZE
    sigma_x, sigma_y = scale * rng.uniform(*degradation.blur_sigma_px, size=2)
    if rng.random() < degradation.isotropic_probability:
        sigma_y = sigma_x
    return DegradationDraw(
        blur_sigma_x_px=float(sigma_x),
        blur_sigma_y_px=float(sigma_y),
        blur_angle_rad=float(rng.uniform(-np.pi, np.pi)),
        downsample=float(rng.uniform(*degradation.downsample)),
        noise_sigma=float(rng.uniform(*degradation.noise_sigma)),
        jpeg_quality=int(rng.integers(degradation.jpeg_quality[0], degradation.jpeg_quality[1] + 1)),
        grey=bool(rng.random() < degradation.grey_probability),
    )


def gaussian_kernel(
    size_px: int, sigma_x_px: float, sigma_y_px: float, angle_rad: float
) -> NDArray[np.float32]:
    """Return a (size, size) Gaussian that sums to 1, its x axis turned by the angle."""
    axis = np.arange(size_px, dtype=np.float64) - size_px // 2
    x, y = np.meshgrid(axis, axis)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    along, across = cosine * x + sine * y, cosine * y - sine * x
    kernel = np.exp(-0.5 * ((along / sigma_x_px) ** 2 + (across / sigma_y_px) ** 2))
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def to_grey(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) with the BT.601 luma of an RGB face in every channel."""
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def apply(
    face: NDArray[np.uint8],
    drawn: DegradationDraw,
    *,
    kernel_size_px: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the degraded face: blurred, reduced, noisy, compressed, and enlarged back to its size.

    Args:
        face: (S, S, 3) uint8 RGB; already grey where ``drawn.grey`` says so.
        drawn: the parameters.
        kernel_size_px: odd side of the blur kernel at this face size.
        rng: source of the noise field.
    """
    size = face.shape[0]
    kernel = gaussian_kernel(
        kernel_size_px, drawn.blur_sigma_x_px, drawn.blur_sigma_y_px, drawn.blur_angle_rad
    )
    lq = cv2.filter2D(face.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    small = max(int(size // drawn.downsample), 4)
    lq = cv2.resize(lq, (small, small), interpolation=cv2.INTER_LINEAR)
    noise_shape = (small, small, 1) if drawn.grey else lq.shape
    noise = rng.standard_normal(noise_shape, dtype=np.float32) * np.float32(drawn.noise_sigma)
    lq8 = np.clip(np.rint(lq + noise), 0, 255).astype(np.uint8)
    lq8 = _jpeg(lq8, drawn.jpeg_quality)
    resized = cv2.resize(lq8.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def _jpeg(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the RGB face after a JPEG round trip."""
    _, data = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(decoded, dtype=np.uint8)[..., ::-1])


def degrade(
    face: NDArray[np.uint8], degradation: Degradation, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], DegradationDraw]:
    """Return (lq, hq, parameters) for one real face.

    Args:
        face: (S, S, 3) uint8 RGB.
        degradation: the ranges.
        rng: the only source of randomness; the same state gives the same pair.

    Returns:
        lq and hq, both (S, S, 3) uint8 RGB; hq is ``face`` itself, or its grey version.
    """
    size = face.shape[0]
    drawn = draw(degradation, face_size=size, rng=rng)
    hq = to_grey(face) if drawn.grey else face
    kernel_size_px = max(3, round(degradation.kernel_size_px * size / REFERENCE_SIZE) | 1)
    return apply(hq, drawn, kernel_size_px=kernel_size_px, rng=rng), hq, drawn

"""Face alignment: the five-point templates, the similarity between frames, and the antialiased face crop.

Pixel convention: integer coordinates are pixel centres, so the picture's area reaches from -0.5 to W - 0.5.
A frame that is resized by s therefore maps x to s * x + (s - 1) / 2, and never to s * x; the half pixel
matters when a restored face is pasted back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facerestore.errors import ConfigError, ImageError
from facerestore.types import Affine, AlignedFace, DetectedFace, Image

FFHQ_TEMPLATE: NDArray[np.float64] = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Mean five points of the FFHQ-aligned faces at 512 px, image-left first; as facexlib publishes them."""
FFHQ_TEMPLATE.setflags(write=False)
FFHQ_SIZE = 512

ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [
        [30.29459953, 51.69630051],
        [65.53179932, 51.50139999],
        [48.02519989, 71.73660278],
        [33.54930115, 92.3655014],
        [62.72990036, 92.20410156],
    ]
)
"""ArcFace's five points in a 96 x 112 crop, which GPEN's framing is made from."""
ARCFACE_TEMPLATE.setflags(write=False)
GPEN_OFFSET = (36.0, 28.0)  # 8 px make 96 x 112 square, 28 px are GPEN's inner padding of 0.25
GPEN_FRAME = 168.0  # 112 + 2 * 28

DEGENERATE_SPREAD_PX = 1e-6  # five points closer together than this have no orientation in float64
CUBIC_REACH_PX = 2  # the bicubic kernel reads two pixels to each side
OVERSAMPLING = 2  # a crop is reduced by area from a grid at least this dense, so that it is antialiased
BAND_PIXELS = 2**20  # photo pixels turned to float at a time while reducing: 12 MB


class _Region(NamedTuple):
    """A float32 RGB [0, 1] piece of the photo, and the affine from photo pixels to its pixels."""

    pixels: NDArray[np.float32]
    affine: Affine


def template(face_size: int) -> NDArray[np.float64]:
    """Return the (5, 2) FFHQ template for a square crop of ``face_size`` px.

    The points scale about pixel centres, (x + 0.5) * face_size / 512 - 0.5, so that a 512 px crop reduced by
    area to ``face_size`` has its landmarks exactly here. (facexlib multiplies only: 0.25 px off at 256 px.)

    Raises:
        ConfigError: ``face_size`` is not positive.
    """
    _check_size(face_size)
    return (FFHQ_TEMPLATE + 0.5) * (face_size / FFHQ_SIZE) - 0.5


def gpen_template(face_size: int) -> NDArray[np.float64]:
    """Return the (5, 2) points GPEN aligns to in a crop of ``face_size`` px.

    Its faces are 15% smaller than FFHQ's. Scaled by plain multiplication, as GPEN's weights were trained.

    Raises:
        ConfigError: ``face_size`` is not positive.
    """
    _check_size(face_size)
    return (ARCFACE_TEMPLATE + GPEN_OFFSET) * (face_size / GPEN_FRAME)


def estimate_similarity(source: ArrayLike, target: ArrayLike) -> Affine:
    """Return the (2, 3) float64 similarity that takes ``source`` to ``target`` with least squared error.

    Rotation, uniform scale and shift, never a reflection: Umeyama (TPAMI 1991, eq. 40 to 42) with its sign
    guard, which in the plane is one complex division.

    Args:
        source: (N, 2) points, N >= 2.
        target: (N, 2) points in the other frame.

    Raises:
        ConfigError: the shapes differ, a value is not finite, or the points coincide.
    """
    points, goals = _finite_points(source), _finite_points(target)
    if points.shape != goals.shape:
        raise ConfigError(f"{len(points)} source points cannot match {len(goals)} target points; give pairs")
    z, w = points @ (1, 1j), goals @ (1, 1j)
    z_mean, w_mean = z.mean(), w.mean()
    spread = float(np.mean(np.abs(z - z_mean) ** 2))
    if math.sqrt(spread) < DEGENERATE_SPREAD_PX:
        raise ConfigError(
            f"the points {points.tolist()} coincide, which fixes no orientation; give distinct points"
        )
    factor = np.mean((z - z_mean).conj() * (w - w_mean)) / spread
    if abs(factor) * math.sqrt(spread) < DEGENERATE_SPREAD_PX:
        raise ConfigError(
            f"the points {points.tolist()} match the target in no orientation; give five distinct points"
        )
    shift = w_mean - factor * z_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def invert_affine(affine: Affine) -> Affine:
    """Return the (2, 3) float64 inverse of an affine.

    Raises:
        ConfigError: the affine is singular.
    """
    linear, shift = affine[:, :2].astype(np.float64), affine[:, 2].astype(np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(linear)) < DEGENERATE_SPREAD_PX**2:
        raise ConfigError(
            f"the affine {affine.tolist()} has no inverse; it must not shrink the plane to a line"
        )
    inverse = np.linalg.inv(linear)
    return np.column_stack([inverse, -inverse @ shift])


def compose_affine(outer: Affine, inner: Affine) -> Affine:
    """Return the affine that applies ``inner`` first and ``outer`` to its result."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def resize_affine(scale: float | tuple[float, float]) -> Affine:
    """Return the pixel-centre affine of a resize, x' = scale * x + (scale - 1) / 2; a pair scales x and y apart."""
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])


def upscale_affine(affine: Affine, upscale: float | tuple[float, float]) -> Affine:
    """Return ``affine`` (image px to aligned px) for the image enlarged by ``upscale``.

    A pixel x of the image lies at upscale * x + (upscale - 1) / 2 in the enlarged image; the result takes
    those coordinates to the same aligned pixels.

    Args:
        affine: image px to aligned px.
        upscale: the factor, or one for each axis, as they come out when sides are rounded to whole pixels.

    Raises:
        ConfigError: ``upscale`` is not positive and finite.
    """
    if not all(math.isfinite(factor) and factor > 0 for factor in np.atleast_1d(upscale)):
        raise ConfigError(f"upscale is {upscale}; give a positive number")
    return compose_affine(affine, invert_affine(resize_affine(upscale)))


def transform_points(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """Return (N, 2) points taken through ``affine``."""
    return np.asarray(points, dtype=np.float64) @ affine[:, :2].T + affine[:, 2]


def affine_scale(affine: Affine) -> float:
    """Return by how much ``affine`` enlarges lengths (exact for a similarity)."""
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def align_face(image: Image, detected: DetectedFace, face_size: int) -> AlignedFace:
    """Cut ``detected`` out of ``image`` into a square crop of ``face_size`` px.

    Args:
        image: (H, W, 3) RGB, uint8 or uint16.
        detected: the face, in pixels of ``image``.
        face_size: side of the crop, px.

    Returns:
        The face with its affine (image px to crop px) and its float32 RGB crop in [0, 1].

    Raises:
        ConfigError: the landmarks are degenerate or ``face_size`` is not positive.
        ImageError: the image is no RGB picture, or the face lies wholly outside it.
    """
    affine = estimate_similarity(detected.landmarks, template(face_size))
    return AlignedFace(detected=detected, affine=affine, lq=warp_to_crop(image, affine, face_size))


def warp_to_crop(image: Image, affine: Affine, face_size: int) -> NDArray[np.float32]:
    """Return the (face_size, face_size, 3) float32 RGB [0, 1] crop that ``affine`` takes out of ``image``.

    Bicubic where the crop enlarges, area-averaged where it reduces; beyond the photo's border the photo is
    reflected. Only the face's own rectangle is read, and at most a grid of 4 * face_size a side is held, so
    the memory is bounded by the crop, whatever the size of the photo.

    Raises:
        ConfigError: ``affine`` is singular or ``face_size`` is not positive.
        ImageError: the image is no RGB picture, or the crop lies wholly outside it.
    """
    import cv2

    _check_size(face_size)
    _check_image(image)
    reduction = affine_scale(invert_affine(affine))
    step = max(1, math.floor(reduction / OVERSAMPLING))
    region = _read_region(image, affine, face_size, step)
    density = 1 if reduction <= 1 else max(OVERSAMPLING, math.ceil(reduction / step))
    to_grid = compose_affine(resize_affine(density), compose_affine(affine, invert_affine(region.affine)))
    side = face_size * density
    grid = cv2.warpAffine(
        region.pixels, to_grid, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    if density > 1:
        grid = cv2.resize(grid, (face_size, face_size), interpolation=cv2.INTER_AREA)
    crop: NDArray[np.float32] = np.clip(grid, 0.0, 1.0).astype(np.float32, copy=False)
    return crop


def _read_region(image: Image, affine: Affine, face_size: int, step: int) -> _Region:
    """Return the rectangle of ``image`` under the crop, averaged over ``step`` x ``step`` blocks.

    The rectangle is cut to whole blocks: at the photo's edge up to half a crop pixel is reflected, not read.
    """
    edge = face_size - 0.5
    corners = transform_points(
        invert_affine(affine), [(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)]
    )
    reach = CUBIC_REACH_PX * step + 1
    columns = _blocks(corners[:, 0], reach, image.shape[1], step)
    rows = _blocks(corners[:, 1], reach, image.shape[0], step)
    pixels = _reduce(image[rows[0] : rows[1], columns[0] : columns[1]], step)
    for axis in (0, 1):
        if pixels.shape[axis] == 1:  # OpenCV never comes to an end of reflecting a single row or column
            pixels = np.repeat(pixels, 2, axis=axis)
    shift = np.array([[1.0, 0.0, -columns[0]], [0.0, 1.0, -rows[0]]])
    return _Region(pixels, compose_affine(resize_affine(1 / step), shift))


def _blocks(coordinates: NDArray[np.float64], reach: int, length: int, step: int) -> tuple[int, int]:
    """Return start and end of the whole blocks of ``step`` px that cover ``coordinates`` in the photo."""
    start = max(0, math.floor(coordinates.min()) - reach)
    end = min(length, math.ceil(coordinates.max()) + reach + 1)
    if end <= start:
        raise ImageError(
            f"the face lies outside the photo (from {start} px, the photo has {length} px); drop this face"
        )
    if length < step:
        raise ImageError(
            f"the photo's side of {length} px is under one pixel of the crop; use a smaller face size"
        )
    count = min(math.ceil((end - start) / step), length // step)
    start = min(start, length - count * step)
    return start, start + count * step


def _reduce(pixels: Image, step: int) -> NDArray[np.float32]:
    """Return ``pixels`` as float32 in [0, 1], averaged over ``step`` x ``step`` blocks, band by band."""
    import cv2

    scale = np.float32(1 / np.iinfo(pixels.dtype).max)
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    reduced = np.empty((height, width, 3), dtype=np.float32)
    rows = max(1, BAND_PIXELS // (pixels.shape[1] * step))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = pixels[top * step : bottom * step].astype(np.float32) * scale
        reduced[top:bottom] = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_AREA)
    return reduced


def _finite_points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < 2:
        raise ConfigError(f"points have shape {array.shape}; give (N, 2) with N of at least 2")
    if not np.isfinite(array).all():
        raise ConfigError(f"the points {array.tolist()} are not all finite; drop this face")
    return array


def _check_size(face_size: int) -> None:
    if face_size < 1:
        raise ConfigError(f"face size is {face_size} px; give a positive number")


def _check_image(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16) or image.size == 0:
        raise ImageError(f"the image is {image.dtype} {image.shape}; give (H, W, 3) RGB in uint8 or uint16")

"""The canvas: the photo at the size of the result, on which faces are pasted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerestore.errors import ConfigError, ImageError
from facerestore.types import FaceImage, Image, Mask, ParsingMap

JPEG_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""How finely JPEG quantises brightness at quality 50 (ITU-T T.81 table K.1), rows of rising vertical frequency."""


def resize_image(pixels: Image, upscale: float) -> Image:
    """Return a resized copy of ``pixels``: Lanczos where it grows, area-averaged where it shrinks.

    Pixel x of the input lies at ``s * x + (s - 1) / 2`` of the result, s being the exact ratio of the sides.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or uint16.
        upscale: factor, above 0; sides are rounded to whole pixels, at least one.

    Raises:
        ConfigError: ``upscale`` is not a positive number, or the pixels have another layout.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ConfigError(
            f"the image is {pixels.dtype} {pixels.shape}; give uint8 or uint16 (H, W) or (H, W, 3)"
        )
    if not (math.isfinite(upscale) and upscale > 0):
        raise ConfigError(f"upscale is {upscale}; give a positive number")
    if upscale == 1:
        return pixels.copy()
    resized = resize_to(pixels, result_size(pixels, upscale))
    return resized.copy() if resized is pixels else resized


def resize_to(pixels: Image, size: tuple[int, int]) -> Image:
    """Return pixels at ``size`` (width, height), resized as by `resize_image`; the very same where they have it."""
    import cv2

    height, width = pixels.shape[:2]
    if size == (width, height):
        return pixels
    grows = size[0] >= width and size[1] >= height
    method = cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA
    resized: Image = cv2.resize(pixels, size, interpolation=method)  # type: ignore[assignment]
    return resized


def result_size(pixels: Image, upscale: float) -> tuple[int, int]:
    """Return (width, height) of a photo enlarged by ``upscale``, in whole pixels, at least one."""
    return max(1, round(pixels.shape[1] * upscale)), max(1, round(pixels.shape[0] * upscale))


def checked_canvas(canvas: Image, image: Image, upscale: float) -> Image:
    """Return ``canvas``.

    Raises:
        ConfigError: it is not the size or dtype of ``image`` enlarged by ``upscale``.
    """
    width, height = result_size(image, upscale)
    if canvas.shape != (height, width, 3) or canvas.dtype != image.dtype:
        raise ConfigError(
            f"the background is {canvas.dtype} {canvas.shape}; the photo enlarged {upscale:g} times is"
            f" {image.dtype} {(height, width, 3)}"
        )
    return canvas


def check_size(width: int, height: int, *, name: str, max_pixels: int) -> None:
    """Make sure that a picture of a file may be decoded; call before it is.

    Raises:
        ImageError: a side is not positive, or there are more pixels than ``max_pixels``.
    """
    if width < 1 or height < 1:
        raise ImageError(f"{name}: damaged: the header states {width}x{height} pixels; get a whole copy")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} = {width * height} pixels, over the limit of {max_pixels}; "
            f"if the file can be trusted, raise the limit with --max-pixels {width * height}"
        )


def check_result_size(pixels: Image, upscale: float, *, max_pixels: int) -> None:
    """Make sure that a photo is not enlarged beyond ``max_pixels``; at its own size or below it may have any.

    Raises:
        ImageError: it would be.
    """
    height, width = pixels.shape[:2]
    result = round(width * upscale) * round(height * upscale)
    if upscale > 1 and result > max_pixels:
        raise ImageError(
            f"{width} x {height} enlarged {upscale:g} times has {result:,} pixels, the limit is {max_pixels:,};"
            " choose a smaller --upscale, or raise --max-pixels"
        )


LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of R, G, B in luma, ITU-R BT.601."""

COLOUR_SIGMA = 0.06
"""Sigma of the colour match, of the crop's side: it spans an eye (0.1) and lies well within a cheek."""

COLOUR_GRID_PX = 64
"""Side of the grid on which low frequencies are compared; COLOUR_SIGMA is 4 px there, so nothing is lost."""

COLOUR_FLOOR = 1e-3
"""Least mask weight, of 1, that a low-frequency average may rest on; below it is float noise."""

SINGLE_TONE_RMS = 2 / 255
"""Most deviation of a single-toned face from its tone: 0.3 to 1.7 levels on scanned sepia, 2.7 up on colour photos."""

TONE_MASK = 0.5
"""Mask weight from which a pixel counts as face when its tone is looked for."""

LEAST_TONE_PIXELS = 30
"""Ten for each of the three numbers of a parabola; fewer fit anything."""


def match_colour(restored: FaceImage, lq: FaceImage, mask: Mask) -> FaceImage:
    """Return ``restored`` with the low-frequency colours that ``lq`` has under the mask.

    Adds the difference of both, low-passed with the mask as weight (normalised convolution, Knutsson and
    Westin, CVPR 1993), so that skin tone, shading and cast stay those of the photo and only detail is new.
    Where ``lq`` has a single tone the restored detail gets it too: a grey face stays exactly grey, sepia sepia.

    Args:
        restored: (S, S, 3) float32 RGB in [0, 1].
        lq: (S, S, 3) float32 RGB in [0, 1], the same crop.
        mask: (S, S) float32 in [0, 1]; what lies outside it does not count.
    """
    toned = _in_single_tone(restored, lq, mask)
    matched: FaceImage = np.clip(toned + _low_pass(lq - toned, mask), 0, 1)
    return matched


def grey_face(face: FaceImage) -> FaceImage:
    """Return an (H, W, 3) float32 RGB picture with its luma in all three channels."""
    return np.repeat((face @ LUMA)[..., None], 3, axis=2)


def has_single_tone(face: FaceImage, mask: Mask, *, most_rms: float) -> bool:
    """Say whether the colour of a face is a function of its luma alone under the mask: grey, sepia or another tint.

    Args:
        face: (S, S, 3) float32 RGB in [0, 1].
        mask: (S, S) float32 in [0, 1].
        most_rms: deviation from the tone that is still taken for noise, root mean square of values in [0, 1].
    """
    return is_grey(face) or _tone(face, mask, most_rms) is not None


def _in_single_tone(restored: FaceImage, lq: FaceImage, mask: Mask) -> FaceImage:
    """Return ``restored`` in the tone of ``lq`` when its colour is a function of luma alone; else unchanged.

    The function is a parabola per channel, fitted under the mask and held constant beyond the lumas it saw.
    """
    if is_grey(lq):
        return grey_face(restored)
    found = _tone(lq, mask)
    if found is None:
        return restored
    luma = (restored @ LUMA)[..., None]
    known = np.clip(luma, found.darkest, found.lightest)
    tone = found.parabola
    toned: FaceImage = (luma + (known * tone[0] + tone[1]) * known + tone[2]).astype(np.float32)
    return toned


def is_grey(face: FaceImage | Image) -> bool:
    """Say whether the three channels of a picture are the same, bit for bit."""
    return np.array_equal(face[..., 0], face[..., 1]) and np.array_equal(face[..., 0], face[..., 2])


class _Tone(NamedTuple):
    """RGB less luma as parabolas of luma, (3, 3) coefficients, and the lumas they were fitted to."""

    parabola: NDArray[np.floating]
    darkest: np.floating
    lightest: np.floating


def _tone(face: FaceImage, mask: Mask, most_rms: float = SINGLE_TONE_RMS) -> _Tone | None:
    """Return the single tone of a face under the mask; None where it has several, or too few pixels to tell."""
    import cv2

    grid = (min(len(face), COLOUR_GRID_PX),) * 2
    inside = cv2.resize(mask, grid, interpolation=cv2.INTER_AREA) > TONE_MASK
    colours = cv2.resize(face, grid, interpolation=cv2.INTER_AREA)[inside]
    if len(colours) < LEAST_TONE_PIXELS:
        return None
    seen = colours @ LUMA
    powers = np.vander(seen, 3)
    tone = np.linalg.lstsq(powers, colours - seen[:, None], rcond=None)[0]
    if np.sqrt(np.mean((colours - seen[:, None] - powers @ tone) ** 2)) > most_rms:
        return None
    return _Tone(tone, seen.min(), seen.max())


def _low_pass(difference: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """Return the mask-weighted low frequencies of (S, S, 3) ``difference``; 0 far outside the mask."""
    import cv2

    size = mask.shape[0]
    side = min(size, COLOUR_GRID_PX)
    weighted = cv2.resize(difference * mask[..., None], (side, side), interpolation=cv2.INTER_AREA)
    weight = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    sigma = COLOUR_SIGMA * side
    blurred = cv2.GaussianBlur(weighted, (0, 0), sigma)
    total = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), COLOUR_FLOOR)
    low = cv2.resize(blurred / total[..., None], (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(low, dtype=np.float32)


def resize_face(face: FaceImage, size: int) -> FaceImage:
    """Return a square float32 RGB face in [0, 1] at ``size`` pixels a side; the same array where it has that size.

    By area when reducing, cubic when enlarging; what a cubic overshoots is clipped.
    """
    if face.shape[0] == size:
        return face
    import cv2

    interpolation = cv2.INTER_AREA if face.shape[0] > size else cv2.INTER_CUBIC
    resized = cv2.resize(face, (size, size), interpolation=interpolation)
    return np.asarray(np.clip(resized, 0.0, 1.0), dtype=np.float32)


def resize_map(parsing_map: ParsingMap, size: int) -> ParsingMap:
    """Return a square map of class ids at ``size`` pixels a side, by nearest pixel centres: ids are never blended."""
    side = parsing_map.shape[0]
    if side == size:
        return np.ascontiguousarray(parsing_map)
    nearest = ((np.arange(size) + 0.5) * side / size).astype(np.intp)
    return np.ascontiguousarray(parsing_map[np.ix_(nearest, nearest)])


def to_8_bit(face: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return values in [0, 1], such as a ``FaceImage``, as the nearest of 256 levels; others are clipped."""
    return whole_levels(face * 255)


def whole_levels(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return levels of 0 to 255 as the nearest whole ones; others are clipped."""
    whole: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return whole


def in_8_bits(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return a picture of 8 or 16 bits in 8, each level of 65535 as the nearest of 255."""
    if pixels.dtype == np.uint16:
        return np.rint(pixels / np.float32(257)).astype(np.uint8)  # 65535 / 255
    return np.ascontiguousarray(pixels, dtype=np.uint8)

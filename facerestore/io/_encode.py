"""From a DecodedImage to the bytes of a picture file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from facerestore.errors import ConfigError, ImageError
from facerestore.io import _avif, _bmp, _exif, _heif, _jpeg, _jpeg_metadata, _png, _tiff, _webp
from facerestore.io._across import for_format
from facerestore.io._files import Buffer
from facerestore.io._formats import FORMATS, check_holds, fitted, resolve_format
from facerestore.io._opencv import opencv_jpeg, swap_red_and_blue, with_blue_first
from facerestore.io._source import Rows, Samples
from facerestore.types import DecodedImage, Metadata

# At 95 with full colour resolution a JPEG written again differs from its source by about a level, which no eye sees;
# halved colour (4:2:0) would soften lips and irises, the very places that were restored (see `opencv_jpeg`).
DEFAULT_QUALITY = 95


class _LossyWriter(Protocol):
    """Writes a format that is written with a quality."""

    def __call__(
        self, samples: Samples, metadata: Metadata, quality: int | None, *, default_quality: int
    ) -> bytes:
        """Return the file of (H, W, C) samples; raises OSError or ValueError where it cannot be made."""
        ...


_WRITERS: Mapping[str, Callable[[Rows, Metadata], Sequence[Buffer]]] = MappingProxyType(
    {"PNG": _png.encode, "TIFF": _tiff.encode, "BMP": _bmp.encode}
)
_LOSSY: Mapping[str, _LossyWriter] = MappingProxyType(
    {"WEBP": _webp.encode, "AVIF": _avif.encode, "HEIF": _heif.encode}
)


def encode_image(image: DecodedImage, *, format: str, quality: int | None = None) -> bytes:
    """Return the bytes of a picture file, with depth, alpha, grey and metadata as in the DecodedImage.

    What the source carried goes into the same format as it was, and into another as far as that has a place for it;
    ``left_out`` tells the rest. Width and height in EXIF and XMP are set to the pixels'.

    Args:
        image: uint8 or uint16. A grey picture is written from one channel: the common value where the three are
            equal, their rounded mean where they differ.
        format: ``JPEG``, ``PNG``, ``WEBP``, ``TIFF``, ``BMP``, ``AVIF`` or ``HEIF``, in any case, or a suffix.
        quality: 1 to 100 for JPEG (4:4:4), WebP, AVIF (4:4:4; 100 is without loss) and HEIC; by default 95, or for a
            JPEG more where its source was stored more finely, and no loss for a WebP that had none. The other formats
            are lossless and ignore it.

    Raises:
        ImageError: the format cannot hold the picture's depth, alpha, size or metadata, or the picture is malformed.
        ConfigError: unknown format, or quality out of range.
    """
    return b"".join(encoded_parts(image, format=format, quality=quality))


def encode_spent(image: DecodedImage, *, format: str, quality: int | None = None) -> Sequence[Buffer]:
    """Return what `encode_image` does, in pieces, of a picture that is not looked at again: its pixels may be changed.

    So a JPEG takes no copy of them. Args and errors are those of `encode_image`.
    """
    return _encoded(image, format, quality, swap_red_and_blue)


def encoded_parts(image: DecodedImage, *, format: str, quality: int | None = None) -> Sequence[Buffer]:
    """Return what `encode_image` does, in pieces; raises as it does."""
    return _encoded(image, format, quality, with_blue_first)


def _encoded(
    image: DecodedImage, format: str, quality: int | None, blue_first: Callable[[Samples], Samples]
) -> Sequence[Buffer]:
    """Return a picture file in pieces; ``blue_first`` returns (H, W, 3) RGB pixels as BGR, in place or not."""
    target = resolve_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality {quality} is out of range; choose 1 to 100")
    _check_form(image)
    image = fitted(image, format=target)
    check_holds(image, format=target)
    metadata, _ = for_format(image, target)
    rows = Rows(image)
    if target in _WRITERS:
        return _WRITERS[target](rows, metadata)
    try:
        if target == "JPEG":
            samples = rows[:] if image.grey else blue_first(image.pixels)
            return _encode_jpeg(samples, metadata, quality)
        return [_LOSSY[target](rows[:], metadata, quality, default_quality=DEFAULT_QUALITY)]
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot encode the picture as {target} ({error}); write PNG or TIFF") from error


def encode_page(image: DecodedImage, *, source: bytes) -> bytes:
    """Return the TIFF of one page, as `joined` takes it.

    Args:
        image: the page.
        source: the TIFF whose page it was, whose byte order all pages have.

    Raises:
        ImageError: the picture is malformed, or too large for TIFF.
    """
    _check_form(image)
    metadata, _ = for_format(image, "TIFF")
    order = _exif.read_layout(source)[0].order
    if not metadata.exif:
        metadata = replace(metadata, exif=_exif.header(order, 8) + bytes(6))
    return b"".join(_tiff.encode(Rows(image), metadata))


def left_out(image: DecodedImage, *, format: str) -> str | None:
    """Return a line on what a picture carries and what does not come into a file of a format; None for nothing.

    Args:
        image: the picture to be written.
        format: a name that ``resolve_format`` knows.

    Raises:
        ConfigError: unknown format.
    """
    return for_format(image, resolve_format(format))[1]


def is_lossy(image: DecodedImage) -> bool:
    """Say whether the format that a picture was read from has lost some of what was encoded."""
    traits = FORMATS.get(image.format or "")
    return traits is not None and traits.lossy and image.metadata.body_of(_webp.LOSSLESS) is None


def quality_written(image: DecodedImage) -> int | None:
    """Return the quality, from 50 on, that a JPEG says it was written with; None for other pictures."""
    return _jpeg_metadata.quality_of(image.metadata, 50) if image.format == "JPEG" else None


def _check_form(image: DecodedImage) -> None:
    """Raise ImageError unless pixels and alpha have the shapes and types that a DecodedImage promises."""
    pixels, alpha = image.pixels, image.alpha
    if (
        pixels.dtype not in (np.uint8, np.uint16)
        or pixels.ndim != 3
        or pixels.shape[2] != 3
        or 0 in pixels.shape
    ):
        raise ImageError(f"pixels are {pixels.dtype} {pixels.shape}; give uint8 or uint16 of shape (H, W, 3)")
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise ImageError(
            f"alpha is {alpha.dtype} {alpha.shape}, pixels are {pixels.dtype} {pixels.shape}; "
            "resize and convert alpha together with the pixels"
        )


def _encode_jpeg(samples: Samples, metadata: Metadata, quality: int | None) -> list[Buffer]:
    """Return a JPEG of (H, W, 1) grey or (H, W, 3) BGR: the metadata, and OpenCV's picture.

    OpenCV and Pillow have the same encoder (libjpeg-turbo), and the result is that of Pillow alone, byte for byte; but
    Pillow would hold a copy of the picture with 4 bytes a pixel.
    """
    progressive = metadata.body_of(_jpeg_metadata.PROGRESSIVE) is not None
    quality = quality or _jpeg_metadata.quality_of(metadata, DEFAULT_QUALITY)
    body = opencv_jpeg(samples, quality, progressive=progressive)
    return [*_jpeg_metadata.head(metadata), body[_jpeg.tables_start(body) :]]

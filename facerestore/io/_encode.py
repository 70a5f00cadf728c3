"""From a DecodedImage to the bytes of a picture file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage

from facerestore.errors import ConfigError, ImageError
from facerestore.io import _exif, _jpeg, _png, _tiff
from facerestore.io._files import Buffer
from facerestore.io._formats import check_holds, resolve_format
from facerestore.io._opencv import opencv_jpeg, swap_red_and_blue, with_blue_first
from facerestore.io._rows import Rows
from facerestore.io._source import Samples, sane_dpi
from facerestore.types import DecodedImage, Metadata

# At 95 with full colour resolution a JPEG written again differs from its source by about a level, which no eye sees;
# halved colour (4:2:0) would soften lips and irises, the very places that were restored (see `opencv_jpeg`).
DEFAULT_QUALITY = 95


def encode_image(image: DecodedImage, *, format: str, quality: int | None = None) -> bytes:
    """Return the bytes of a picture file, with depth, alpha, grey and metadata as in the DecodedImage.

    EXIF, XMP and ICC profile go into JPEG, PNG, WebP and TIFF; the resolution into all (WebP states it in EXIF, where
    there is no other); BMP holds nothing else. Width and height in the EXIF are set to the pixels'.

    Args:
        image: uint8 or uint16. A grey picture is written from one channel: the common value where the three are
            equal, their rounded mean where they differ.
        format: ``JPEG``, ``PNG``, ``WEBP``, ``TIFF`` or ``BMP``, in any case, or a suffix.
        quality: 1 to 100 for JPEG (4:4:4) and WebP, 95 by default; the other formats are lossless and ignore it.

    Raises:
        ImageError: the format cannot hold the picture's depth, alpha, size or metadata, or the picture is malformed.
        ConfigError: unknown format, or quality out of range.
    """
    return b"".join(encoded_parts(image, format=format, quality=quality))


def encode_spent(image: DecodedImage, *, format: str, quality: int | None = None) -> Sequence[Buffer]:
    """Return what `encode_image` does, in pieces, of a picture that is not looked at again: its pixels may be changed.

    So a JPEG takes no copy of them. Args and errors are those of `encode_image`.
    """
    return encoded_parts(image, format=format, quality=quality, blue_first=swap_red_and_blue)


def encoded_parts(
    image: DecodedImage,
    *,
    format: str,
    quality: int | None = None,
    blue_first: Callable[[Samples], Samples] = with_blue_first,
) -> Sequence[Buffer]:
    """Return the bytes of a picture file, as `encode_image` does, in pieces; raises as it does.

    Args:
        image: as for `encode_image`.
        format: as for `encode_image`.
        quality: as for `encode_image`.
        blue_first: returns (H, W, 3) RGB pixels as BGR; ``swap_red_and_blue``, which does so in place, is for a picture
            that is not looked at again.
    """
    target = resolve_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality {quality} is out of range; choose 1 to 100")
    _check_form(image)
    check_holds(image, format=target)
    metadata = _metadata_for(image, target)
    rows = Rows(image)
    if target == "PNG":
        return _png.encode(rows, metadata)
    if target == "TIFF":
        return _tiff.encode(rows, metadata)
    try:
        if target == "JPEG":
            samples = rows[:] if image.grey else blue_first(image.pixels)
            return _encode_jpeg(samples, metadata, quality or DEFAULT_QUALITY)
        return [_encode_with_pillow(rows[:], metadata, target, quality or DEFAULT_QUALITY)]
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot encode the picture as {target} ({error}); write PNG or TIFF") from error


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


def _metadata_for(image: DecodedImage, target: str) -> Metadata:
    """Return the metadata as they go into a file of the target format."""
    stored, (height, width) = image.metadata, image.pixels.shape[:2]
    dpi = sane_dpi(stored.dpi)
    exif = _exif.with_size(stored.exif.removeprefix(_exif.PREFIX), width, height) if stored.exif else None
    if target == "WEBP" and exif is None and dpi is not None:
        exif = _exif.pack(_exif.Directory(_exif.resolution_fields(dpi, "<")), "<")
    return Metadata(exif=exif, xmp=stored.xmp, icc=stored.icc, dpi=dpi)


def _encode_jpeg(samples: Samples, metadata: Metadata, quality: int) -> list[Buffer]:
    """Return a JPEG of (H, W, 1) grey or (H, W, 3) BGR: metadata as Pillow writes them, and OpenCV's picture.

    Both have the same encoder (libjpeg-turbo), and the result is that of Pillow alone, byte for byte; but Pillow would
    hold a copy of the picture with 4 bytes a pixel.
    """
    stream = BytesIO()
    dpi = tuple(round(value) for value in metadata.dpi) if metadata.dpi else (0, 0)
    exif = _exif.PREFIX + metadata.exif if metadata.exif else b""
    least = PillowImage.new("L", (1, 1))
    least.save(stream, "JPEG", exif=exif, xmp=metadata.xmp or b"", icc_profile=metadata.icc or b"", dpi=dpi)
    head, body = stream.getvalue(), opencv_jpeg(samples, quality)
    return [head[: _jpeg.tables_start(head)], body[_jpeg.tables_start(body) :]]


def _encode_with_pillow(samples: Samples, metadata: Metadata, target: str, quality: int) -> bytes:
    """Return a WebP or BMP of 8-bit samples."""
    stream = BytesIO()
    picture = PillowImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    exif, xmp, icc = metadata.exif or b"", metadata.xmp or b"", metadata.icc or b""
    if target == "WEBP":
        # exact: the colours under full transparency are the picture's too.
        picture.save(stream, target, quality=quality, exact=True, exif=exif, xmp=xmp, icc_profile=icc)
    else:
        # Pillow states 96 dots per inch where none are given.
        picture.save(stream, target, dpi=metadata.dpi or (0.0, 0.0))
    return stream.getvalue()

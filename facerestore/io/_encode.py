"""From a DecodedImage to the bytes of a picture file."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image as PillowImage

from facerestore.errors import ConfigError, ImageError
from facerestore.io import _exif, _png, _tiff
from facerestore.io._formats import check_holds, resolve_format
from facerestore.io._source import Samples, sane_dpi
from facerestore.types import DecodedImage, Metadata

# At 95 with full colour resolution a JPEG written again differs from its source by about a level, which no eye sees;
# halved colour (4:2:0) would soften lips and irises, the very places that were restored.
DEFAULT_QUALITY = 95
_FULL_COLOUR_RESOLUTION = 0


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
    target = resolve_format(format)
    if quality is not None and not 1 <= quality <= 100:
        raise ConfigError(f"quality {quality} is out of range; choose 1 to 100")
    _check_form(image)
    check_holds(image, format=target)
    metadata = _metadata_for(image, target)
    samples = _samples(image)
    if target == "PNG":
        return _png.encode(samples, metadata)
    if target == "TIFF":
        return _tiff.encode(samples, metadata)
    try:
        return _encode_with_pillow(samples, metadata, target, quality or DEFAULT_QUALITY)
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


def _samples(image: DecodedImage) -> Samples:
    """Return (H, W, C): grey or RGB, with alpha as the last channel where there is one."""
    colour: Samples = _one_channel(image.pixels)[..., None] if image.grey else image.pixels
    return colour if image.alpha is None else np.concatenate((colour, image.alpha[..., None]), axis=2)


def _one_channel(pixels: Samples) -> Samples:
    """Return (H, W): the mean of three channels, rounded to nearest; exact where they are equal."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    total: Samples = pixels.sum(axis=2, dtype=np.uint32)
    return ((total + 1) // 3).astype(pixels.dtype)


def _encode_with_pillow(samples: Samples, metadata: Metadata, target: str, quality: int) -> bytes:
    """Return a JPEG, WebP or BMP of 8-bit samples."""
    stream = BytesIO()
    picture = PillowImage.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    exif, xmp, icc = metadata.exif or b"", metadata.xmp or b"", metadata.icc or b""
    dpi = tuple(round(value) for value in metadata.dpi) if metadata.dpi else None
    if target == "JPEG":
        prefixed = _exif.PREFIX + exif if exif else b""
        picture.save(
            stream,
            target,
            quality=quality,
            subsampling=_FULL_COLOUR_RESOLUTION,
            exif=prefixed,
            xmp=xmp,
            icc_profile=icc,
            dpi=dpi or (0, 0),
        )
    elif target == "WEBP":
        # exact: the colours under full transparency are the picture's too.
        picture.save(stream, target, quality=quality, exact=True, exif=exif, xmp=xmp, icc_profile=icc)
    else:
        # Pillow states 96 dots per inch where none are given.
        picture.save(stream, target, dpi=metadata.dpi or (0.0, 0.0))
    return stream.getvalue()
